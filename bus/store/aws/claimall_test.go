package aws_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// Two processes claim and publish queues, many with one call, and what each is told is what the memory store tells them about
// claims made one by one: of new queues, of those that the other process has written since, holds or has published to.
func TestQueuesClaimedTogetherAreClaimedAsEachAlone(t *testing.T) {
	o := awstest.New(t)
	counting := &lossy{every: 1 << 30, next: http.DefaultTransport, counts: map[string]int{}}
	o.HTTPClient = &http.Client{Transport: counting}
	processes := []store.Store{awstest.OpenWith(t, *o).Store(), awstest.OpenWith(t, *o).Store()}
	model := memory.New(memory.Options{})
	rng := rand.New(rand.NewPCG(1, 2))
	now := int64(1704164645678)
	asked, alone := 0, 0
	rounds := 40
	if testing.Short() { // As for slow emulators.
		rounds = 12
	}
	for round := range rounds {
		now += 500
		who := rng.IntN(2)
		st, owner := processes[who], fmt.Sprint("owner", who)
		var claims []store.Claim
		for q := range 60 {
			if rng.IntN(3) > 0 && q < 10+2*round {
				c := store.Claim{
					Queue: fmt.Sprintf("queue/%02d", q), Owner: owner, Shard: owner, First: fmt.Sprint(round), Arrival: now, Now: now, Lease: 1200,
				}
				if q%3 == 0 {
					c.Paths = []string{fmt.Sprintf("z/%d/", round)}
				}
				claims = append(claims, c)
			}
		}
		before := counting.counts["UpdateItem"]
		claimed := st.ClaimAll(t.Context(), claims)
		asked, alone = asked+len(claims), alone+counting.counts["UpdateItem"]-before
		for i, got := range claimed {
			want, err := model.Queues.Claim(t.Context(), claims[i])
			if !reflect.DeepEqual(got.Grant, want) || fmt.Sprint(got.Err) != fmt.Sprint(err) {
				t.Fatalf("round %d, %s: got %+v, want %+v, %v", round, claims[i].Queue, got, want, err)
			}
			if err != nil || rng.IntN(4) == 0 {
				if err != nil && !errors.Is(err, store.ErrConflict) {
					t.Fatal(err)
				}
				continue
			}
			a := store.Advance{
				Queue: claims[i].Queue, Fence: want.Fence, Head: fmt.Sprintf("z/2024/01/02/03/04/%d-0000000", want.Base), Shard: owner,
				Through: claims[i].First, Now: now,
			}
			if rng.IntN(4) == 0 {
				a.Head = ""
			}
			if got, want := st.Queues.Advance(t.Context(), a), model.Queues.Advance(t.Context(), a); got != nil || want != nil {
				t.Fatal(got, want)
			}
		}
	}
	if alone > asked/2 { // What the other process wrote, or nobody yet.
		t.Errorf("%d of %d claims had a request of their own: %v", alone, asked, counting.counts)
	}
	t.Logf("%d of %d claims had a request of their own", alone, asked)
	want, err := model.Queues.List(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	got, err := processes[0].Queues.List(t.Context(), "", 100)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the rows differ (-alone +together):\n%s", d)
	}
}
