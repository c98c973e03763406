package rstreams_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

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
