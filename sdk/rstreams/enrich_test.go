package rstreams_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// double is a handler that emits the double of each number.
func double(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
	n, err := rstreams.Decode[number](e)
	if err != nil {
		return rstreams.Result{}, err
	}
	return rstreams.Emit(number{2 * n.I}), nil
}

func enrichOptions() rstreams.EnrichOptions {
	return rstreams.EnrichOptions{
		Bot: "bot", From: []string{"in"}, To: "out", Read: rstreams.ReadOptions{From: rstreams.Earliest()}, CheckpointEvery: -1,
	}
}

func outputs(t *testing.T, bus *rstreamstest.Bus, queue string) []int {
	t.Helper()
	var values []int
	for _, n := range rstreamstest.Payloads[number](bus, queue) {
		values = append(values, n.I)
	}
	return values
}

func TestEnrichWritesWhatTheHandlerReturns(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.PutEvents("in",
		rstreams.Event{Payload: []byte(`{"i":1}`), SourceTimestamp: 1700000000001},
		rstreams.Event{Payload: []byte(`{"i":2}`), SourceTimestamp: 1700000000002, Units: 4},
		rstreams.Event{Payload: []byte(`{"i":3}`), SourceTimestamp: 1700000000003},
	)
	stats := bus.Enrich(enrichOptions(), func(ctx context.Context, e rstreams.Event) (rstreams.Result, error) {
		switch n, _ := rstreams.Decode[number](e); n.I {
		case 1:
			return rstreams.Emit(number{10}, number{11}, number{12}).And(rstreams.EmitTo("side", number{13})), nil
		case 2:
			return rstreams.EmitOutputs(rstreams.Output{
				Payload: number{20}, Units: 7, SourceTimestamp: 5e11, Extra: []event.Member{{Name: "x", Value: []byte("1")}},
			}), nil
		}
		return rstreams.Handled(), nil
	})
	if stats.Events != 3 || stats.Outputs != 5 || stats.Checkpoints["in"] != ids[2] || stats.Reasons["in"] != rstreams.EndCaughtUp {
		t.Fatalf("%+v", stats)
	}
	if got := outputs(t, bus, "out"); !slices.Equal(got, []int{10, 11, 12, 20}) {
		t.Fatal(got)
	}
	if got := outputs(t, bus, "side"); !slices.Equal(got, []int{13}) {
		t.Fatal(got)
	}
	out := bus.Events("out")
	for i, e := range out {
		source := i / 3
		want := rstreams.Correlation{Source: "in", Start: ids[source], Units: []int64{1, 4}[source]}
		if e.Bot != "bot" || e.Correlation == nil || e.Correlation.Source != want.Source || e.Correlation.Start != want.Start ||
			e.Correlation.End != "" || e.Correlation.Units != want.Units {
			t.Fatalf("%+v %+v", e, e.Correlation)
		}
	}
	if out[0].SourceTimestamp != 1700000000001 || out[3].SourceTimestamp != 5e11 || out[3].Units != 7 || len(out[3].Extra) != 1 {
		t.Fatalf("%+v", out)
	}
	cp, err := bus.GetCheckpoint(t.Context(), "bot", "in")
	if err != nil {
		t.Fatal(err)
	}
	if cp.Position != ids[2] || cp.Records != 6 || cp.SourceTimestamp != 1700000000001 || cp.EndedTimestamp < cp.StartedTimestamp {
		t.Fatalf("%+v", cp)
	}
}

func TestEveryBatchOutputNamesAllItsEvents(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("in", numbers(7)...)
	o := enrichOptions()
	o.Batch.Records = 3
	var sizes []int
	stats, err := bus.EnrichBatch(t.Context(), o, func(_ context.Context, events []rstreams.Event) (rstreams.Result, error) {
		sizes = append(sizes, len(events))
		return rstreams.Emit(number{len(events)}), nil
	})
	if err != nil || stats.Events != 7 || !slices.Equal(sizes, []int{3, 3, 1}) {
		t.Fatal(stats, sizes, err)
	}
	for i, e := range bus.Events("out") {
		c, last := e.Correlation, min(3*i+2, 6)
		if c.Start != ids[3*i] || last > 3*i && c.End != ids[last] || last == 3*i && c.End != "" || c.Units != int64(sizes[i]) {
			t.Fatalf("%d: %+v", i, c)
		}
	}
	if got := bus.Position("bot", "in"); got != ids[6] {
		t.Fatal(got)
	}
}

// TestRestartAtEveryEventOfABatch stops the bot at each event, of batches of each size, and lets it go on.
func TestRestartAtEveryEventOfABatch(t *testing.T) {
	const n = 9
	boom := errors.New("boom")
	for size := 1; size <= 4; size++ {
		for at := range n {
			bus := rstreamstest.New(t)
			ids := bus.Put("in", numbers(n)...)
			o := enrichOptions()
			o.Batch.Records = size
			run := func(fail bool) error {
				_, err := bus.EnrichBatch(t.Context(), o, func(_ context.Context, events []rstreams.Event) (rstreams.Result, error) {
					var out rstreams.Result
					for i, e := range events {
						v, _ := rstreams.Decode[number](e)
						if fail && v.I == at {
							return out, rstreams.HandledFirst(i, boom)
						}
						out = out.And(rstreams.Emit(v))
					}
					return out, nil
				})
				return err
			}
			err := run(true)
			var e *rstreams.Error
			if !errors.Is(err, boom) || !errors.As(err, &e) || e.Queue != "in" || e.Op != "enrich" {
				t.Fatalf("size %d, at %d: %v", size, at, err)
			}
			want := ""
			if at > 0 {
				want = ids[at-1]
			}
			if got := bus.Position("bot", "in"); got != want {
				t.Fatalf("size %d, failed at %d: checkpoint %q, want %q", size, at, got, want)
			}
			if err := run(false); err != nil {
				t.Fatal(err)
			}
			wantRange(t, outputs(t, bus, "out"), 0, n) // Nothing twice, nothing lost.
		}
	}
}

// TestCrashesRepeatButNeverLose cuts the storage off at every call, as a killed process would, and runs the bot again.
func TestCrashesRepeatButNeverLose(t *testing.T) {
	const n = 12
	boom := errors.New("the machine is gone")
	for at := 0; ; at++ {
		f := &faults{}
		crashed := false
		bus := rstreamstest.NewWith(t, rstreamstest.Options{Wrap: func(st store.Store) store.Store {
			st = f.wrap(st)
			st.Intake = faultyIntake{st.Intake, f}
			st.Bots = faultyCheckpoints{st.Bots, f}
			return st
		}})
		for i := 0; i < n; i += 4 {
			bus.Put("in", numbers(n)[i:i+4]...)
		}
		f.fail = func(call int, _ string) error {
			if call >= at {
				crashed = true
				return fmt.Errorf("%w: %w", store.ErrUnavailable, boom)
			}
			return nil
		}
		o := enrichOptions()
		o.Write.Chunk.Records = 2
		_, err := bus.Bus.Enrich(t.Context(), o, double)
		if crashed != (err != nil) {
			t.Fatalf("call %d: %v", at, err)
		}
		f.fail = nil
		// What is checkpointed is durable.
		done := map[int]bool{}
		for _, v := range outputs(t, bus, "out") {
			done[v/2] = true
		}
		position := bus.Position("bot", "in")
		for i, e := range bus.Events("in") {
			if e.EID <= position && !done[i] {
				t.Fatalf("crash at call %d: event %d is checkpointed and its output is not there", at, i)
			}
		}
		if _, err := bus.Bus.Enrich(t.Context(), o, double); err != nil {
			t.Fatal(err)
		}
		for _, v := range outputs(t, bus, "out") {
			done[v/2] = true
		}
		if len(done) != n {
			t.Fatalf("crash at call %d: outputs %v", at, done)
		}
		if !crashed {
			if at < 10 {
				t.Fatalf("only %d calls", at)
			}
			return
		}
	}
}

type faultyIntake struct {
	store.Intake
	f *faults
}

func (i faultyIntake) Put(ctx context.Context, records []store.Record) ([]store.Ack, error) {
	if err := i.f.err("put"); err != nil {
		return nil, err
	}
	return i.Intake.Put(ctx, records)
}

type faultyCheckpoints struct {
	store.Bots
	f *faults
}

func (b faultyCheckpoints) Checkpoint(ctx context.Context, w store.CheckpointWrite) error {
	if err := b.f.err("checkpoint"); err != nil {
		return err
	}
	return b.Bots.Checkpoint(ctx, w)
}

func TestOneHandlerSeesAllQueuesAndEachIsCheckpointed(t *testing.T) {
	bus := rstreamstest.New(t)
	want := map[string]string{}
	for _, queue := range []string{"a", "b", "c"} {
		ids := bus.Put(queue, numbers(20)...)
		want[queue] = ids[19]
	}
	o := enrichOptions()
	o.From = []string{"a", "queue:b", "c"}
	running := false
	stats := bus.Enrich(o, func(ctx context.Context, e rstreams.Event) (rstreams.Result, error) {
		if running {
			t.Error("the handler runs twice at a time")
		}
		running = true
		defer func() { running = false }()
		return double(ctx, e)
	})
	if stats.Events != 60 || stats.Outputs != 60 {
		t.Fatalf("%+v", stats)
	}
	for queue, id := range want {
		if got := bus.Position("bot", queue); got != id || stats.Checkpoints[queue] != id {
			t.Errorf("checkpoint of %s: %q, want %q", queue, got, id)
		}
	}
	if len(outputs(t, bus, "out")) != 60 {
		t.Fatal("outputs are missing")
	}
}

func TestAFailingQueueEndsTheOthersInOrder(t *testing.T) {
	bus := rstreamstest.New(t)
	bus.Put("a", numbers(200)...)
	bus.Put("b", numbers(200)...)
	o := enrichOptions()
	o.From = []string{"a", "b"}
	boom := errors.New("boom")
	stats, err := bus.Bus.Enrich(t.Context(), o, func(ctx context.Context, e rstreams.Event) (rstreams.Result, error) {
		if n, _ := rstreams.Decode[number](e); e.Queue == "a" && n.I == 5 {
			return rstreams.Result{}, boom
		}
		return double(ctx, e)
	})
	if !errors.Is(err, boom) || strings.Contains(err.Error(), "another part") {
		t.Fatal(err)
	}
	if len(outputs(t, bus, "out")) != int(stats.Outputs) {
		t.Fatalf("%d outputs, %+v", len(outputs(t, bus, "out")), stats)
	}
	if got, want := bus.Position("bot", "a"), bus.Events("a")[4].EID; got != want {
		t.Fatalf("checkpoint %q, want %q", got, want)
	}
}

func TestForgottenResultFailsTheRun(t *testing.T) {
	bus := rstreamstest.New(t)
	bus.Put("in", numbers(1)...)
	_, err := bus.Bus.Enrich(t.Context(), enrichOptions(), func(context.Context, rstreams.Event) (rstreams.Result, error) {
		return rstreams.Result{}, nil
	})
	if !errors.Is(err, rstreams.ErrNoResult) || bus.Position("bot", "in") != "" {
		t.Fatal(err, bus.Position("bot", "in"))
	}
	_, err = bus.Bus.Enrich(t.Context(), enrichOptions(), func(context.Context, rstreams.Event) (rstreams.Result, error) {
		return rstreams.Emit(nil), nil
	})
	if !errors.Is(err, event.ErrFalsyPayload) || bus.Position("bot", "in") != "" {
		t.Fatal(err, bus.Position("bot", "in"))
	}
}

func TestSkipAckKeepsThePositionUntilTheNextAck(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("in", numbers(6)...)
	sum := 0
	handler := func(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
		n, _ := rstreams.Decode[number](e)
		sum += n.I
		if n.I%4 == 3 {
			return rstreams.Emit(number{sum}), nil
		}
		return rstreams.SkipAck(), nil
	}
	bus.Enrich(enrichOptions(), handler)
	if got := outputs(t, bus, "out"); !slices.Equal(got, []int{6}) {
		t.Fatal(got)
	}
	if got := bus.Position("bot", "in"); got != ids[3] {
		t.Fatalf("checkpoint %q, want %q", got, ids[3])
	}
	if cp, _ := bus.GetCheckpoint(t.Context(), "bot", "in"); cp.Records != 4 {
		t.Fatalf("%+v", cp)
	}
}

func TestReplayFromAnEarlierStartMovesTheCheckpointBack(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("in", numbers(5)...)
	bus.Enrich(enrichOptions(), double)
	o := enrichOptions()
	o.Read.Start, o.Read.Limit = ids[0], 2
	if stats := bus.Enrich(o, double); stats.Checkpoints["in"] != ids[2] || stats.Reasons["in"] != rstreams.EndLimit {
		t.Fatalf("%+v", stats)
	}
	if got := outputs(t, bus, "out"); !slices.Equal(got, []int{0, 2, 4, 6, 8, 2, 4}) {
		t.Fatal(got)
	}
}

func TestCheckpointsAreStoredWhileTheRunLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := rstreamstest.New(t)
		ids := bus.Put("in", numbers(3)...)
		stop := make(chan struct{})
		o := enrichOptions()
		o.CheckpointEvery, o.Read.Follow = time.Second, true
		done := make(chan rstreams.RunStats)
		go func() {
			stats, err := bus.Session(rstreams.Session{Stop: stop}).Enrich(t.Context(), o, double)
			if err != nil {
				t.Error(err)
			}
			done <- stats
		}()
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if got := bus.Position("bot", "in"); got != ids[2] {
			t.Fatalf("after a second: %q", got)
		}
		more := bus.Put("in", numbers(5)[3:]...)
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		if got := bus.Position("bot", "in"); got != more[1] {
			t.Fatalf("after another second: %q", got)
		}
		last := bus.Put("in", number{5})
		synctest.Wait()
		close(stop)
		stats := <-done
		if stats.Reasons["in"] != rstreams.EndTime || bus.Position("bot", "in") != last[0] {
			t.Fatalf("%+v %s", stats, bus.Position("bot", "in"))
		}
		if got := outputs(t, bus, "out"); !slices.Equal(got, []int{0, 2, 4, 6, 8, 10}) {
			t.Fatal(got)
		}
	})
}

func TestCanceledRunCheckpointsNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := rstreamstest.New(t)
		bus.Put("in", numbers(3)...)
		ctx, cancel := context.WithCancel(t.Context())
		_, err := bus.Bus.Enrich(ctx, enrichOptions(), func(ctx context.Context, e rstreams.Event) (rstreams.Result, error) {
			cancel()
			return double(ctx, e)
		})
		if !errors.Is(err, context.Canceled) || bus.Position("bot", "in") != "" {
			t.Fatal(err, bus.Position("bot", "in"))
		}
	})
}

func TestLingeringBatchesAreHandedOverInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := rstreamstest.New(t)
		bus.Put("in", numbers(5)...)
		stop := make(chan struct{})
		batches := make(chan int, 10)
		o := rstreams.OffloadOptions{
			Bot: "bot", From: []string{"in"}, Read: rstreams.ReadOptions{From: rstreams.Earliest(), Follow: true},
			Batch: rstreams.BatchOptions{Records: 3, Linger: time.Second},
		}
		done := make(chan error)
		go func() {
			_, err := bus.Session(rstreams.Session{Stop: stop}).OffloadBatch(t.Context(), o,
				func(_ context.Context, events []rstreams.Event) error {
					batches <- len(events)
					return nil
				})
			done <- err
		}()
		synctest.Wait()
		if len(batches) != 1 {
			t.Fatalf("%d batches at once", len(batches))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(batches) != 2 {
			t.Fatalf("%d batches after the linger", len(batches))
		}
		close(stop)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	})
}

func TestOffloadChecksTheQueueOffAsTheHandlerSucceeds(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("in", numbers(10)...)
	boom := errors.New("boom")
	var got []int
	o := rstreams.OffloadOptions{Bot: "bot", From: []string{"in"}, Read: rstreams.ReadOptions{From: rstreams.Earliest()}}
	fail := true
	handler := func(_ context.Context, n number, _ rstreams.Event) error {
		if n.I == 6 && fail {
			return boom
		}
		got = append(got, n.I)
		return nil
	}
	if _, err := rstreams.OffloadTyped(t.Context(), bus.Bus, o, handler); !errors.Is(err, boom) {
		t.Fatal(err)
	}
	if p := bus.Position("bot", "in"); p != ids[5] {
		t.Fatal(p)
	}
	fail = false
	if _, err := rstreams.OffloadTyped(t.Context(), bus.Bus, o, handler); err != nil {
		t.Fatal(err)
	}
	wantRange(t, got, 0, 10)
}

func TestMalformedLinesInARunCountAsHandled(t *testing.T) {
	for _, records := range []int{1, 2} {
		bus := rstreamstest.New(t)
		ids := bus.Put("in", numbers(4)...)
		damage(t, bus, "in", 3)
		o := enrichOptions()
		o.Read.Malformed = rstreams.MalformedSkip
		o.Batch.Records = records
		_, err := bus.EnrichBatch(t.Context(), o, func(context.Context, []rstreams.Event) (rstreams.Result, error) {
			return rstreams.Handled(), nil
		})
		if err != nil || bus.Position("bot", "in") != ids[3] {
			t.Fatal(err, bus.Position("bot", "in"))
		}
	}
}

func TestEnrichOptionsAreChecked(t *testing.T) {
	bus := rstreamstest.New(t)
	for name, o := range map[string]rstreams.EnrichOptions{
		"no bot":     {From: []string{"in"}},
		"no queue":   {Bot: "b"},
		"twice":      {Bot: "b", From: []string{"in", "queue:in"}},
		"bad name":   {Bot: "b", From: []string{"in\n"}},
		"bad target": {Bot: "b", From: []string{"in"}, To: "\n"},
		"bad start":  {Bot: "b", From: []string{"in"}, Read: rstreams.ReadOptions{Start: "yesterday"}},
		"bad batch":  {Bot: "b", From: []string{"in"}, Batch: rstreams.BatchOptions{Records: -1}},
	} {
		if _, err := bus.Bus.EnrichBatch(t.Context(), o, nil); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
