package sequencer_test

import (
	"testing"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// Who takes a snapshot at a time and reads live events from then on must find every event that arrived later, in whatever
// company it was delivered.
func TestNoEventGetsAnIDBeforeItsArrival(t *testing.T) {
	st := memory.New(memory.Options{})
	seq := sequencer.New(st, sequencer.Config{})
	early, late := plain(1, line("q", 0), line("p", 0)), plain(2, line("q", 1))
	late.Arrival = early.Arrival + 90_000
	if _, err := seq.Process(t.Context(), sequencer.Batch{Shard: "s", Records: []sequencer.Record{early, late}}); err != nil {
		t.Fatal(err)
	}
	for queue, want := range map[string]int64{"q": late.Arrival, "p": early.Arrival} {
		row, err := st.Queues.Get(t.Context(), queue)
		if err != nil {
			t.Fatal(err)
		}
		head, err := eid.Parse(row.Head)
		if err != nil || head.Millis < want {
			t.Errorf("%s: the event that arrived at %d has id %s (%v)", queue, want, row.Head, err)
		}
	}
}
