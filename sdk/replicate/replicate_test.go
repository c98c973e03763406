package replicate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/replicate"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

const copier = "replicate-orders"

func options(from, to *rstreams.Bus) replicate.Options {
	return replicate.Options{From: from, To: to, Source: "orders", Destination: "orders.copy", Bot: copier}
}

func all(t *testing.T, bus *rstreamstest.Bus, queue string) []rstreams.Event {
	t.Helper()
	var events []rstreams.Event
	for e, err := range bus.Read(t.Context(), queue, rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, rstreams.Clone(e))
	}
	return events
}

func TestACopyHasItsOwnEnvelope(t *testing.T) { // W-O6
	from, to := rstreamstest.New(t), rstreamstest.New(t)
	ids := from.PutEvents("orders", rstreams.Event{
		Bot: "shop", Payload: []byte(`{"n":1}`), Timestamp: 1_700_000_000_001, SourceTimestamp: 1_700_000_000_000, Units: 3,
		Correlation: &rstreams.Correlation{Source: "upstream", Start: "z/2026/11/21/02/35/1795228519000-0000001"},
		Extra:       []event.Member{{Name: "trace", Value: []byte(`"abc"`)}},
	})
	stats, err := replicate.Run(t.Context(), options(from.Bus, to.Bus))
	if d := cmp.Diff(replicate.Stats{Events: 1, Checkpoint: ids[0], Reason: rstreams.EndCaughtUp}, stats); err != nil || d != "" {
		t.Fatalf("%v, %s", err, d)
	}
	want := []rstreams.Event{{
		Bot: copier, Queue: "orders.copy", Payload: []byte(`{"n":1}`), SourceTimestamp: 1_700_000_000_000, Units: 3,
		Correlation: &rstreams.Correlation{Source: "orders", Start: ids[0], Units: 3},
		Extra:       []event.Member{{Name: "trace", Value: []byte(`"abc"`)}},
	}}
	got := all(t, to, "orders.copy")
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(rstreams.Event{}, "EID", "Timestamp")); d != "" {
		t.Error(d)
	}
	// Upstream queues of one bus mean nothing on the other.
	if row, err := to.Store().Bots.Get(t.Context(), copier); err == nil && len(row.Read) > 0 {
		t.Errorf("the copier has checkpoints on the destination: %v", row.Read)
	}
	if c, err := from.GetCheckpoint(t.Context(), copier, "orders"); err != nil || c.Position != ids[0] || c.Records != 3 {
		t.Errorf("%v, %+v", err, c)
	}
}

func TestACopyBeginsAtTheBeginningAndGoesOnWhereItWas(t *testing.T) {
	from, to := rstreamstest.New(t), rstreamstest.New(t)
	for round := range 3 {
		from.Put("orders", map[string]int{"n": 2 * round}, map[string]int{"n": 2*round + 1})
		if stats, err := replicate.Run(t.Context(), options(from.Bus, to.Bus)); err != nil || stats.Events != 2 {
			t.Fatalf("%v, %+v", err, stats)
		}
	}
	if stats, err := replicate.Run(t.Context(), options(from.Bus, to.Bus)); err != nil || stats.Events != 0 {
		t.Fatalf("%v, %+v", err, stats)
	}
	for i, e := range all(t, to, "orders.copy") {
		if want := fmt.Sprintf(`{"n":%d}`, i); string(e.Payload) != want {
			t.Errorf("event %d is %s", i, e.Payload)
		}
	}
}

// flaky is an intake that refuses everything once it took so many calls.
type flaky struct {
	store.Intake
	calls, limit int
}

func (f *flaky) Put(ctx context.Context, records []store.Record) ([]store.Ack, error) {
	if f.calls++; f.calls > f.limit {
		return nil, fmt.Errorf("%w: no intake", store.ErrUnavailable)
	}
	return f.Intake.Put(ctx, records)
}

func TestACopyThatFailsHasNoGapAndItsRepeatsAreVisible(t *testing.T) {
	from := rstreamstest.New(t)
	const n = 500
	payloads := make([]any, n)
	for i := range payloads {
		payloads[i] = map[string]int{"n": i + 1}
	}
	ids := from.Put("orders", payloads...)
	f := &flaky{}
	to := rstreamstest.NewWith(t, rstreamstest.Options{Wrap: func(st store.Store) store.Store {
		f.Intake = st.Intake
		st.Intake = f
		return st
	}})
	o := options(from.Bus, to.Bus)
	o.Every = time.Nanosecond // a checkpoint after every event
	var last string
	for runs := 1; ; runs++ {
		f.calls, f.limit = 0, 97
		stats, err := replicate.Run(t.Context(), o)
		c, cerr := from.GetCheckpoint(t.Context(), copier, "orders")
		if cerr != nil || c.Position < last {
			t.Fatalf("%v, checkpoint went from %s to %s", cerr, last, c.Position)
		}
		last = c.Position
		if err == nil {
			if stats.Checkpoint != ids[n-1] {
				t.Errorf("got %+v", stats)
			}
			break
		}
		if !errors.Is(err, store.ErrUnavailable) || runs > 20 {
			t.Fatalf("run %d: %v", runs, err)
		}
	}
	// Each original is there, in order; a repeat begins at an original that was copied before.
	next := 0
	for _, e := range all(t, to, "orders.copy") {
		if e.Correlation == nil || e.Correlation.Source != "orders" {
			t.Fatalf("event %s has no correlation", e.EID)
		}
		switch start := e.Correlation.Start; {
		case next < n && start == ids[next]:
			next++
		case next == 0 || start > ids[next-1]:
			t.Fatalf("after %d copies comes that of %s", next, start)
		}
	}
	if next != n {
		t.Errorf("%d of %d events were copied", next, n)
	}
}

func TestADamagedLineDoesNotHoldTheQueueUp(t *testing.T) {
	from, to := rstreamstest.New(t), rstreamstest.New(t)
	from.Put("orders", "a", "b", "c")
	page, err := from.Store().Chunks.Query(t.Context(), "orders", "", "~", 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	c := page.Chunks[0]
	text, err := chunk.AppendGunzip(nil, c.Gzip, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	c.Sealed = false
	c.Gzip = chunk.AppendGzip(nil, []byte(lines[0]+"{damaged\n"+lines[2]))
	if err := from.Store().Chunks.Put(t.Context(), []store.Chunk{c}); err != nil {
		t.Fatal(err)
	}
	stats, err := replicate.Run(t.Context(), options(from.Bus, to.Bus))
	if err != nil || stats.Events != 2 || stats.Checkpoint != c.End {
		t.Errorf("%v, %+v", err, stats)
	}
	if letters := all(t, from, deadletter.Queue); len(letters) != 1 {
		t.Errorf("%d dead letters", len(letters))
	}
}

func TestAQueueThatDoesNotExistYetIsEmpty(t *testing.T) {
	from, to := rstreamstest.New(t), rstreamstest.New(t)
	if stats, err := replicate.Run(t.Context(), options(from.Bus, to.Bus)); err != nil || stats.Events != 0 {
		t.Errorf("%v, %+v", err, stats)
	}
}

func TestAnotherRunThatTookOverEndsTheCopy(t *testing.T) {
	from, to := rstreamstest.New(t), rstreamstest.New(t)
	ids := from.Put("orders", "a", "b")
	bots := from.Store().Bots
	wrapped := from.Store()
	wrapped.Bots = &overtaken{Bots: bots, position: ids[1]}
	_, err := replicate.Run(t.Context(), options(rstreams.New(wrapped, rstreams.Options{}), to.Bus))
	if !errors.Is(err, rstreams.ErrStaleCheckpoint) {
		t.Error(err)
	}
}

// overtaken has another run move the checkpoint before this one does.
type overtaken struct {
	store.Bots
	position string
}

func (o *overtaken) Checkpoint(ctx context.Context, w store.CheckpointWrite) error {
	other := w
	other.Position = o.position
	if err := o.Bots.Checkpoint(ctx, other); err != nil {
		return err
	}
	return o.Bots.Checkpoint(ctx, w)
}
