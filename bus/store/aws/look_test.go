package aws_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
)

func TestRowsThatAreReadTogetherAreThoseReadOneByOne(t *testing.T) {
	st := awstest.OpenWith(t, *awstest.New(t)).Store()
	ctx := t.Context()
	if err := st.Settings.Put(ctx, "s", json.RawMessage(`{"a":[1,"x"]}`)); err != nil {
		t.Fatal(err)
	}
	if err := st.Bots.Checkpoint(ctx, store.CheckpointWrite{Bot: "b", Ref: "queue:q", Checkpoint: store.Checkpoint{Position: "z/1"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Queues.Claim(ctx, store.Claim{Queue: "q", Owner: "o", First: "1", Arrival: 1, Now: 1, Lease: 1000}); err != nil {
		t.Fatal(err)
	}
	rows, err := st.Look(ctx, store.Keys{Settings: []string{"s", "none"}, Bots: []string{"b", "none"}, Queues: []string{"q", "none"}})
	if err != nil {
		t.Fatal(err)
	}
	doc, err1 := st.Settings.Get(ctx, "s")
	bot, err2 := st.Bots.Get(ctx, "b")
	queue, err3 := st.Queues.Get(ctx, "q")
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	want := store.Rows{
		Settings: map[string]json.RawMessage{"s": doc}, Bots: map[string]store.Bot{"b": bot}, Queues: map[string]store.Queue{"q": queue},
	}
	if !reflect.DeepEqual(rows, want) {
		t.Errorf("got  %+v\nwant %+v", rows, want)
	}
	var many store.Keys
	for n := range store.MaxKeys + 1 {
		many.Bots = append(many.Bots, strconv.Itoa(n))
	}
	for _, keys := range []store.Keys{{}, many} {
		if _, err := st.Look(ctx, keys); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%d keys: %v", len(keys.Bots), err)
		}
	}
}
