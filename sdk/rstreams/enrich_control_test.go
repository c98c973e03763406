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

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

func TestDeadLettersHoldTheEventAndTheReason(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("in", numbers(3)...)
	poison := errors.New("cannot digest")
	stats := bus.Enrich(enrichOptions(), func(ctx context.Context, e rstreams.Event) (rstreams.Result, error) {
		if n, _ := rstreams.Decode[number](e); n.I == 1 {
			return rstreams.Result{}, fmt.Errorf("handler: %w", rstreams.DeadLetter(poison))
		}
		return double(ctx, e)
	})
	if stats.DeadLetters != 1 || stats.Events != 3 || bus.Position("bot", "in") != ids[2] {
		t.Fatalf("%+v", stats)
	}
	letters := bus.Events(deadletter.Queue)
	if len(letters) != 1 {
		t.Fatal(letters)
	}
	l, err := deadletter.Parse(letters[0].Payload)
	if err != nil {
		t.Fatal(err)
	}
	if l.Reason != deadletter.ReasonHandler || l.Queue != "in" || l.Bot != "bot" || l.EID != ids[1] || l.Attempts != 1 ||
		!strings.Contains(l.Error, "cannot digest") {
		t.Fatalf("%+v", l)
	}
	e, err := event.Parse(l.Bytes())
	if err != nil || string(e.Payload) != `{"i":1}` || e.Queue != "in" {
		t.Fatalf("%+v %v", e, err)
	}
}

func TestDeadLettersOfABatchAreChosenOneByOne(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("in", numbers(5)...)
	stats, err := bus.EnrichBatch(t.Context(), enrichOptions(), func(context.Context, []rstreams.Event) (rstreams.Result, error) {
		return rstreams.Emit(number{1}), rstreams.DeadLetterAt(errors.New("bad"), 1, 3)
	})
	if err != nil || stats.DeadLetters != 2 || stats.Outputs != 1 || bus.Position("bot", "in") != ids[4] {
		t.Fatal(stats, err)
	}
	if n := len(bus.Events(deadletter.Queue)); n != 2 {
		t.Fatal(n)
	}
}

func TestRetryAfterCallsAgainWhileTheRunLasts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := rstreamstest.New(t)
		bus.Put("in", numbers(3)...)
		calls := 0
		begin := time.Now()
		stats := bus.Enrich(enrichOptions(), func(ctx context.Context, e rstreams.Event) (rstreams.Result, error) {
			if n, _ := rstreams.Decode[number](e); n.I == 1 {
				if calls++; calls < 4 {
					return rstreams.Result{}, rstreams.RetryAfter(time.Minute, errors.New("busy"))
				}
			}
			return double(ctx, e)
		})
		if stats.Retries != 3 || calls != 4 || time.Since(begin) != 3*time.Minute {
			t.Fatalf("%+v, %d calls, %s", stats, calls, time.Since(begin))
		}
		if got := outputs(t, bus, "out"); !slices.Equal(got, []int{0, 2, 4}) {
			t.Fatal(got)
		}
	})
}

func TestRetryAfterTheEndOfTheRunIsReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := rstreamstest.New(t)
		ids := bus.Put("in", numbers(3)...)
		o := enrichOptions()
		o.Read.RunTime = 10 * time.Second
		_, err := bus.Bus.Enrich(t.Context(), o, func(ctx context.Context, e rstreams.Event) (rstreams.Result, error) {
			if n, _ := rstreams.Decode[number](e); n.I == 1 {
				return rstreams.Result{}, rstreams.RetryAfter(time.Minute, errors.New("busy"))
			}
			return double(ctx, e)
		})
		var retry *rstreams.RetryError
		if !errors.As(err, &retry) || retry.After != time.Minute {
			t.Fatal(err)
		}
		if got := bus.Position("bot", "in"); got != ids[0] {
			t.Fatalf("checkpoint %q", got)
		}
	})
}

func TestStopWithoutCheckpointEndsWellBeforeTheEvent(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("in", numbers(3)...)
	stats, err := bus.Bus.Enrich(t.Context(), enrichOptions(), func(ctx context.Context, e rstreams.Event) (rstreams.Result, error) {
		if n, _ := rstreams.Decode[number](e); n.I == 2 {
			return rstreams.Result{}, rstreams.StopWithoutCheckpoint()
		}
		return double(ctx, e)
	})
	if err != nil || stats.Reasons["in"] != rstreams.EndStopped || bus.Position("bot", "in") != ids[1] {
		t.Fatal(stats, err, bus.Position("bot", "in"))
	}
}

func TestPanickingHandlerFailsTheRunOnly(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("in", numbers(3)...)
	_, err := bus.Bus.Enrich(t.Context(), enrichOptions(), func(ctx context.Context, e rstreams.Event) (rstreams.Result, error) {
		if n, _ := rstreams.Decode[number](e); n.I == 2 {
			panic("ouch")
		}
		return double(ctx, e)
	})
	var p *rstreams.PanicError
	if !errors.As(err, &p) || p.Value != "ouch" || !strings.Contains(string(p.Stack), "enrich_control_test.go") {
		t.Fatal(err)
	}
	if bus.Position("bot", "in") != ids[1] {
		t.Fatal(bus.Position("bot", "in"))
	}
}

func TestAnotherRunEndsThisOneWithStaleCheckpoint(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("in", numbers(3)...)
	steal := func(ctx context.Context, e rstreams.Event) (rstreams.Result, error) {
		if e.EID == ids[1] {
			err := bus.Checkpoint(ctx, rstreams.CheckpointRequest{
				Bot: "bot", Queue: "in", Checkpoint: rstreams.Checkpoint{Position: ids[0]}, Force: true,
			})
			if err != nil {
				return rstreams.Result{}, err
			}
		}
		return double(ctx, e)
	}
	_, err := bus.Bus.Enrich(t.Context(), enrichOptions(), steal)
	if !errors.Is(err, rstreams.ErrStaleCheckpoint) || bus.Position("bot", "in") != ids[0] {
		t.Fatal(err, bus.Position("bot", "in"))
	}
	// With force, the run overwrites it.
	forced := bus.Session(rstreams.Session{Force: true})
	if _, err := forced.Enrich(t.Context(), enrichOptions(), steal); err != nil || bus.Position("bot", "in") != ids[2] {
		t.Fatal(err, bus.Position("bot", "in"))
	}
}

// lostAnswers makes checkpoints whose answer is lost.
type lostAnswers struct {
	store.Bots
	lose *int
}

func (l lostAnswers) Checkpoint(ctx context.Context, w store.CheckpointWrite) error {
	err := l.Bots.Checkpoint(ctx, w)
	if *l.lose > 0 {
		*l.lose--
		return errors.Join(err, errors.New("the answer was lost"))
	}
	return err
}

func TestCheckpointWhoseAnswerWasLostIsNotTakenForAnotherRuns(t *testing.T) {
	lose := 0
	bus := rstreamstest.NewWith(t, rstreamstest.Options{Wrap: func(st store.Store) store.Store {
		st.Bots = lostAnswers{st.Bots, &lose}
		return st
	}})
	ids := bus.Put("q", numbers(3)...)
	r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Bot: "b", From: rstreams.Earliest(), Limit: 1})
	for i, id := range ids {
		if _, _, err := read(r); err != nil {
			t.Fatal(err)
		}
		lose = 1
		if err := r.Checkpoint(t.Context()); err == nil || errors.Is(err, rstreams.ErrStaleCheckpoint) {
			t.Fatal(i, err)
		}
		if err := r.Checkpoint(t.Context()); err != nil || bus.Position("b", "q") != id {
			t.Fatal(i, err)
		}
	}
	// Someone else's checkpoint is still that.
	lose = 1
	more := bus.Put("q", number{3})
	if _, _, err := read(r); err != nil {
		t.Fatal(err)
	}
	if err := r.Checkpoint(t.Context()); err == nil {
		t.Fatal("no error")
	}
	err := bus.Checkpoint(t.Context(), rstreams.CheckpointRequest{
		Bot: "b", Queue: "q", Checkpoint: rstreams.Checkpoint{Position: more[0], Records: 99}, Force: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Checkpoint(t.Context()); !errors.Is(err, rstreams.ErrStaleCheckpoint) {
		t.Fatal(err)
	}
}

func TestRetriesEndWithTheRunTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, records := range []int{1, 2} {
			bus := rstreamstest.New(t)
			bus.Put("in", numbers(1)...)
			o := enrichOptions()
			o.Read.RunTime, o.Batch.Records = 10*time.Second, records
			begin, calls := time.Now(), 0
			_, err := bus.EnrichBatch(t.Context(), o, func(context.Context, []rstreams.Event) (rstreams.Result, error) {
				if calls++; calls > 100 {
					return rstreams.Result{}, errors.New("the run does not end")
				}
				return rstreams.Result{}, rstreams.RetryAfter(time.Second, errors.New("busy"))
			})
			var later *rstreams.RetryError
			if took := time.Since(begin); took > 10*time.Second || took < 9*time.Second || !errors.As(err, &later) {
				t.Errorf("RunTime is 10 s; the run took %s, %d calls: %v", took, calls, err)
			}
		}
	})
}
