package rstreams_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// A run's position moves over what is dealt with, and over nothing else.

func TestMalformedLineDoesNotAckTheEventsThatTheHandlerHolds(t *testing.T) {
	for _, policy := range []rstreams.MalformedPolicy{rstreams.MalformedSkip, rstreams.MalformedDeadLetter} {
		for _, records := range []int{1, 2} {
			bus := rstreamstest.New(t)
			ids := bus.Put("in", numbers(5)...)
			damage(t, bus, "in", 2, 4)
			o := enrichOptions()
			o.Read.Malformed, o.Batch.Records = policy, records
			run := func(handled int) {
				t.Helper()
				_, err := bus.EnrichBatch(t.Context(), o, func(_ context.Context, events []rstreams.Event) (rstreams.Result, error) {
					for _, e := range events {
						if n, _ := rstreams.Decode[number](e); n.I == handled {
							return rstreams.Handled(), nil
						}
					}
					return rstreams.SkipAck(), nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			run(-1)
			if got := bus.Position("bot", "in"); got != "" {
				t.Errorf("policy %d, batches of %d: nothing was dealt with, and the checkpoint is %s", policy, records, got)
			}
			// The event that is dealt with takes along those before it and the malformed lines on both sides.
			run(3)
			if got := bus.Position("bot", "in"); got != ids[4] {
				t.Errorf("policy %d, batches of %d: checkpoint %q, want %q", policy, records, got, ids[4])
			}
		}
	}
}

func TestFailureBesideAWishToStopFailsTheRun(t *testing.T) {
	boom := errors.New("boom")
	stop := rstreams.StopWithoutCheckpoint()
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"stop":                       {stop, nil},
		"stop, twice":                {errors.Join(stop, stop), nil},
		"stop and a failure":         {errors.Join(boom, stop), boom},
		"a part is done, then stop":  {rstreams.HandledFirst(1, stop), nil},
		"a part is done, then both":  {rstreams.HandledFirst(1, errors.Join(stop, boom)), boom},
		"a retry that is not waited": {rstreams.RetryAfter(time.Hour, errors.Join(stop, boom)), boom},
	} {
		bus := rstreamstest.New(t)
		bus.Put("in", number{0})
		o := enrichOptions()
		o.Read.RunTime = time.Minute
		stats, err := bus.Bus.Enrich(t.Context(), o, func(context.Context, rstreams.Event) (rstreams.Result, error) {
			return rstreams.Result{}, c.err
		})
		if !errors.Is(err, c.want) || (c.want == nil) != (stats.Reasons["in"] == rstreams.EndStopped) {
			t.Errorf("%s: the run ended with %v, %v", name, err, stats.Reasons)
		}
	}
}

func TestErrorOfTheLastBatchFailsTheRunAlthoughAnotherQueueStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := rstreamstest.New(t)
		bus.Put("a", number{0})
		bus.Put("b", number{1})
		boom := errors.New("boom")
		o := enrichOptions()
		o.From, o.Read.Follow = []string{"a", "b"}, true
		o.Batch = rstreams.BatchOptions{Records: 10, Linger: 5 * time.Second}
		calls := 0
		_, err := bus.EnrichBatch(t.Context(), o, func(context.Context, []rstreams.Event) (rstreams.Result, error) {
			if calls++; calls == 1 {
				return rstreams.Result{}, rstreams.StopWithoutCheckpoint()
			}
			return rstreams.Result{}, boom
		})
		if calls != 2 || !errors.Is(err, boom) {
			t.Errorf("after %d calls the run ended with %v", calls, err)
		}
	})
}

func TestSkippedGapIsMetOnce(t *testing.T) {
	for _, records := range []int{1, 2} {
		bus := rstreamstest.New(t)
		bus.Put("in", number{0})
		ids := bus.Put("in", number{1})
		if err := bus.Store().Chunks.Delete(t.Context(), "in", ids); err != nil {
			t.Fatal(err)
		}
		o := enrichOptions()
		o.Batch.Records = records
		var gaps []string
		o.Read.Gaps, o.Read.OnGap = rstreams.GapSkip, func(g *rstreams.GapError) { gaps = append(gaps, g.Missing) }
		for range 3 {
			_, err := bus.EnrichBatch(t.Context(), o, func(context.Context, []rstreams.Event) (rstreams.Result, error) {
				return rstreams.Handled(), nil
			})
			if err != nil || len(gaps) != 1 || gaps[0] != ids[0] || bus.Position("bot", "in") != ids[0] {
				t.Fatalf("gaps %v, checkpoint %s, head %s, %v", gaps, bus.Position("bot", "in"), ids[0], err)
			}
		}
	}
}

func TestSkippedGapBehindTheEndIsNotPassed(t *testing.T) {
	bus := rstreamstest.New(t)
	first := bus.Put("q", number{0})
	ids := bus.Put("q", numbers(2)...)
	if err := bus.Store().Chunks.Delete(t.Context(), "q", ids[1:]); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", End: ids[0], Gaps: rstreams.GapSkip})
	if _, _, err := read(r); err != nil || r.Position() != first[0] {
		t.Fatal(r.Position(), err)
	}
}

func TestFollowingReadMeetsASkippedGapOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := rstreamstest.New(t)
		bus.Put("q", number{0})
		if err := bus.Store().Chunks.Delete(t.Context(), "q", bus.Put("q", number{1})); err != nil {
			t.Fatal(err)
		}
		r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", Follow: true, RunTime: time.Minute, Gaps: rstreams.GapSkip})
		time.AfterFunc(time.Second, func() { bus.Put("q", number{2}) })
		ids, values, err := read(r)
		if err != nil || len(values) != 2 || values[1] != 2 || r.Stats().Gaps != 1 || r.Position() != ids[1] {
			t.Fatal(values, r.Stats().Gaps, err)
		}
	})
}

func TestRefusedOutputKeepsTheOthersFromBeingWritten(t *testing.T) {
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		result rstreams.Result
		err    error
	}{
		"no payload":         {rstreams.Emit(number{1}, nil), nil},
		"no JSON":            {rstreams.Emit(number{1}, func() {}), nil},
		"too large":          {rstreams.Emit(number{1}, strings.Repeat("x", 2000)), nil},
		"no queue":           {rstreams.Emit(number{1}).And(rstreams.EmitTo("\n", number{2})), nil},
		"a letter beside it": {rstreams.Emit(number{1}, nil), rstreams.DeadLetterAt(boom, 0)},
		"a place behind":     {rstreams.Emit(number{1}), rstreams.DeadLetterAt(boom, 0, 2)},
		"a place before":     {rstreams.Emit(number{1}), rstreams.DeadLetterAt(boom, -1)},
		"no place":           {rstreams.Emit(number{1}), rstreams.DeadLetterAt(boom)},
	} {
		bus := rstreamstest.New(t)
		bus.Put("in", numbers(2)...)
		o := enrichOptions()
		o.Batch.Records, o.Write.MaxEventBytes = 2, 1000
		for range 3 {
			stats, err := bus.EnrichBatch(t.Context(), o, func(context.Context, []rstreams.Event) (rstreams.Result, error) {
				return c.result, c.err
			})
			if err == nil || stats.Events != 0 || strings.HasPrefix(name, "a place") && !errors.Is(err, boom) {
				t.Errorf("%s: %v, %+v", name, err, stats)
			}
		}
		for _, queue := range []string{"out", deadletter.Queue} {
			if n := len(bus.Events(queue)); n != 0 || bus.Position("bot", "in") != "" {
				t.Errorf("%s: the events were never handled, and %s has %d", name, queue, n)
			}
		}
	}
}

func TestOutputsUpToTheWritersLimitAreWritten(t *testing.T) {
	bus := rstreamstest.New(t)
	bus.Put("in", number{0})
	o := enrichOptions()
	o.Write.MaxEventBytes = 1000
	large := strings.Repeat("x", 600)
	bus.Enrich(o, func(context.Context, rstreams.Event) (rstreams.Result, error) {
		return rstreams.Emit(large, large).And(rstreams.EmitTo("bot:other", large)), rstreams.DeadLetter(errors.New("boom"))
	})
	for queue, want := range map[string]int{"out": 2, "bot.other": 1, deadletter.Queue: 1} {
		if got := len(bus.Events(queue)); got != want {
			t.Errorf("%s has %d events, want %d", queue, got, want)
		}
	}
}
