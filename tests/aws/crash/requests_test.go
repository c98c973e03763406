//go:build aws

package crash

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
)

// counter counts requests by operation.
type counter struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	name, _ := operation(r)
	c.mu.Lock()
	c.counts[name]++
	c.mu.Unlock()
	return http.DefaultTransport.RoundTrip(r)
}

func (c *counter) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.counts
	c.counts = map[string]int{}
	return taken
}

// TestTheRequestsOfABatchGrowWithItsQueuesAndNotWithItsEvents is W-S2 and W-S10: a head for each queue, one write for the chunks of all
// queues, one for their claims and one for the statistics of all bots.
func TestTheRequestsOfABatchGrowWithItsQueuesAndNotWithItsEvents(t *testing.T) {
	options := awstest.New(t)
	count := &counter{counts: map[string]int{}}
	options.HTTPClient = &http.Client{Transport: count}
	st := awstest.OpenWith(t, *options).Store()
	for bot := range 2 {
		if err := st.Bots.Register(t.Context(), store.Registration{ID: fmt.Sprintf("bot-%d", bot)}); err != nil {
			t.Fatal(err)
		}
	}
	sequence := 0
	publish := func(queues, bots, events int) map[string]int {
		t.Helper()
		count.take()
		var text strings.Builder
		for n := range events {
			fmt.Fprintf(&text, `{"id":"bot-%d","event":"queue-%d","payload":{"n":%d}}`+"\n", n%bots, n%queues, n)
		}
		sequence++
		r, err := sequencer.New(st, sequencer.Config{Owner: "test"}).Process(t.Context(), sequencer.Batch{Shard: "s", Records: []sequencer.Record{
			{Sequence: fmt.Sprint(sequence), Arrival: time.Now().UnixMilli(), Data: chunk.AppendGzip(nil, []byte(text.String()))}}})
		if err != nil || r.Events != int64(events) {
			t.Fatalf("%+v, %v", r, err)
		}
		got := count.take()
		t.Logf("%d events, %d queues, %d bots: %v", events, queues, bots, got)
		return got
	}
	publish(20, 2, 1000) // Makes the rows.
	for _, c := range []struct{ queues, bots, events int }{{1, 1, 1}, {1, 1, 1000}, {5, 2, 1000}, {20, 2, 1000}, {1, 1, 20_000}} {
		got := publish(c.queues, c.bots, c.events)
		for name, n := range publish(c.queues, c.bots, c.events) {
			got[name] = min(got[name], n) // A busy emulator makes the client try again.
		}
		updates, together := c.queues, 0
		for _, rows := range []int{c.queues, c.bots} {
			if rows == 1 {
				updates++
			} else {
				together++
			}
		}
		if got["DynamoDB UpdateItem"] > updates || got["DynamoDB BatchExecuteStatement"] > together || got["DynamoDB GetItem"] > 0 || got["DynamoDB BatchWriteItem"] > 1 ||
			got["S3 PUT"] > 0 || got["DynamoDB Query"] > 0 {
			t.Errorf("these are more requests than are needed: %v", got)
		}
	}
}
