package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// A wish about the next run does not hide that something else went wrong in this one.
func TestAFailureBesideAWishIsAFailure(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		failed bool
	}{
		"stop":                    {rstreams.StopWithoutCheckpoint(), false},
		"later":                   {rstreams.RetryAfter(time.Hour, nil), false},
		"later, wrapped":          {fmt.Errorf("api: %w", rstreams.RetryAfter(time.Hour, nil)), false},
		"both":                    {errors.Join(rstreams.StopWithoutCheckpoint(), rstreams.RetryAfter(time.Hour, nil)), false},
		"later, with a cause":     {rstreams.RetryAfter(time.Hour, errBoom), true},
		"later, beside a failure": {errors.Join(rstreams.RetryAfter(time.Hour, nil), errBoom), true},
		"stop, beside a failure":  {errors.Join(rstreams.StopWithoutCheckpoint(), errBoom), true},
		"a failure of no parts":   {noPartsError{}, true},
		"one beside a stop":       {errors.Join(rstreams.StopWithoutCheckpoint(), noPartsError{}), true},
	} {
		t.Run(name, func(t *testing.T) {
			deploy(t, Bot{Run: func(context.Context, *Run) error { return c.err }}, LambdaConfig{}, func(t *testing.T, d *deployed) {
				answer := d.answer("r", time.Minute, d.reserve())
				row := d.row()
				if (row.ErrorCount == 1) != c.failed || strings.Contains(answer, "boom") != c.failed {
					t.Errorf("answer %s, row %+v", answer, row)
				}
				if later := strings.Contains(c.err.Error(), "retry"); later != (row.ScheduledTrigger > time.Now().UnixMilli()) {
					t.Errorf("scheduled for %d", row.ScheduledTrigger)
				}
			})
		})
	}
}

// noPartsError is an error that could have others in it and has none, as of a check that found one fault of its own.
type noPartsError struct{}

func (noPartsError) Error() string   { return "boom" }
func (noPartsError) Unwrap() []error { return nil }

// A panic is a failure, even with an error that would be none if it were returned.
func TestAPanicWithAWishIsAFailure(t *testing.T) {
	deploy(t, Bot{Run: func(context.Context, *Run) error { panic(rstreams.StopWithoutCheckpoint()) }}, LambdaConfig{}, func(t *testing.T, d *deployed) {
		if answer := d.answer("r", time.Minute, d.reserve()); d.row().ErrorCount != 1 {
			t.Errorf("answer %s", answer)
		}
	})
}

// What an instance asks for holds wherever it runs.
func TestAnInstancesWishForALaterRunIsTheRunsOwn(t *testing.T) {
	for _, inLambda := range []bool{true, false} {
		for asking := range 2 {
			for _, cause := range []error{nil, errBoom} {
				f := new(fan)
				b := Bot{FanOut: &FanOut{Instances: 2, Key: keyOf}}
				b.Run = func(ctx context.Context, run *Run) error {
					if run.Instance == asking {
						return rstreams.RetryAfter(time.Hour, cause)
					}
					if cause == nil {
						return nil // A wish ends nobody else.
					}
					<-ctx.Done() // A sibling's failure ends it; in another process, its time.
					return ctx.Err()
				}
				if inLambda && asking == 0 {
					continue // The worker's invocation outlives the run, and is nobody's concern.
				}
				fanned(t, b, inLambda, func(t *testing.T, got *fan) {
					f = got
					f.answer("r", time.Minute, f.reserve())
					row := f.row()
					if row.ScheduledTrigger < time.Now().Add(50*time.Minute).UnixMilli() || (row.ErrorCount == 1) != (cause != nil) || f.checkpoint().Position != "" {
						t.Errorf("in Lambda %v, instance %d, cause %v: %+v", inLambda, asking, cause, row)
					}
				})
			}
		}
	}
}

// A bot behind an interface with a rate limit asks for a later run in every run, and gets a bit further in each.
func TestAWishInAnInstanceDoesNotUndoTheRun(t *testing.T) {
	for _, inLambda := range []bool{true, false} {
		for asking := range 2 {
			t.Run(fmt.Sprintf("instance %d, in Lambda %v", asking, inLambda), func(t *testing.T) {
				f := new(fan)
				var calls atomic.Int32
				b := Bot{FanOut: &FanOut{Instances: 2, Key: keyOf}}
				b.Run = offload(&f, func(run *Run, _ rstreams.Event) error {
					if run.Instance == asking && calls.Add(1)%20 == 0 {
						return rstreams.RetryAfter(time.Hour, nil)
					}
					return nil
				})
				fanned(t, b, inLambda, func(t *testing.T, got *fan) {
					f = got
					last := ""
					for n := 0; last != f.head(); n++ {
						answer := f.answer(fmt.Sprint("r", n), time.Minute, f.reserve())
						row, at := f.row(), f.checkpoint().Position
						if at <= last || row.ErrorCount != 0 {
							t.Errorf("run %d: from %s to %s, answer %s", n, last, at, answer)
							return
						}
						if later := row.ScheduledTrigger > time.Now().Add(50*time.Minute).UnixMilli(); at != f.head() && !later {
							t.Errorf("run %d: scheduled for %d", n, row.ScheduledTrigger)
						}
						last = at
					}
					if n := f.unseen(0, fanEvents); n > 0 {
						t.Errorf("%d events handled by nobody", n)
					}
				})
			})
		}
	}
}

// The run is not to come before any of the times that were asked for, and a wish for a run right now is one too.
func TestOfSeveralWishesTheLatestCounts(t *testing.T) {
	for _, inLambda := range []bool{true, false} {
		after := []time.Duration{time.Minute, time.Hour, 0}
		b := Bot{FanOut: &FanOut{Instances: 3}, Run: func(_ context.Context, run *Run) error {
			return rstreams.RetryAfter(after[run.Instance], nil)
		}}
		fanned(t, b, inLambda, func(t *testing.T, f *fan) {
			answer := f.answer("r", time.Minute, f.reserve())
			if row := f.row(); row.ErrorCount != 0 || row.ScheduledTrigger < time.Now().Add(50*time.Minute).UnixMilli() {
				t.Errorf("in Lambda %v: answer %s, %d errors, scheduled for %d", inLambda, answer, row.ErrorCount, row.ScheduledTrigger)
			}
		})
	}
}

// An instance that stops does not hide what else went wrong in it, or that it wants a later run.
func TestAnInstanceThatStopsTellsTheRest(t *testing.T) {
	for _, inLambda := range []bool{true, false} {
		for beside, failed := range map[error]bool{errBoom: true, rstreams.RetryAfter(time.Hour, nil): false, nil: false} {
			b := Bot{FanOut: &FanOut{Instances: 2}, Run: func(_ context.Context, run *Run) error {
				if run.Instance == 0 {
					return nil
				}
				return errors.Join(rstreams.StopWithoutCheckpoint(), beside)
			}}
			fanned(t, b, inLambda, func(t *testing.T, f *fan) {
				answer := f.answer("r", time.Minute, f.reserve())
				row := f.row()
				later := beside != nil && !failed
				if (row.ErrorCount == 1) != failed || strings.Contains(answer, "boom") != failed || later != (row.ScheduledTrigger > time.Now().UnixMilli()) {
					t.Errorf("in Lambda %v, beside %v: answer %s, %d errors", inLambda, beside, answer, row.ErrorCount)
				}
			})
		}
	}
}

// An instance that fails with a canceled context of its own is a failure like any other.
func TestAnInstanceWhoseOwnContextEndsMovesNothing(t *testing.T) {
	f := new(fan)
	b := Bot{FanOut: &FanOut{Instances: 2, Key: keyOf}}
	all := offload(&f, nil)
	b.Run = func(ctx context.Context, run *Run) error {
		err := all(ctx, run)
		if run.Instance == 1 {
			return context.Canceled
		}
		return err
	}
	fanned(t, b, false, func(t *testing.T, got *fan) {
		f = got
		f.answer("r", time.Minute, f.reserve())
		if row := f.row(); row.ErrorCount != 1 || f.checkpoint().Position != "" {
			t.Errorf("%+v", row)
		}
	})
}

// A worker that starts late, because of a cold start or a throttle, still ends in time for its answer to count.
func TestAWorkerEndsWithTheRunAndNotWithItsOwnInvocation(t *testing.T) {
	f := new(fan)
	b := Bot{FanOut: &FanOut{Instances: 2, Key: keyOf}}
	var left time.Duration
	b.Run = func(ctx context.Context, run *Run) error {
		if run.Instance == 1 {
			end, _ := ctx.Deadline()
			left = min(time.Until(run.StopAt), time.Until(end))
		}
		return offload(&f, nil)(ctx, run)
	}
	fanned(t, b, true, func(t *testing.T, got *fan) {
		f = got
		invoke := f.fn.cfg.Invoke
		f.fn.cfg.Invoke = func(ctx context.Context, payload []byte) ([]byte, error) {
			time.Sleep(9 * time.Second)
			return invoke(ctx, payload) // Gets 20 s of its own.
		}
		if a := f.answer("r", 20*time.Second, f.reserve()); a != "null" || f.checkpoint().Position != f.head() {
			t.Errorf("answer %s, checkpoint %+v", a, f.checkpoint())
		}
		if left <= 0 || left > 8*time.Second {
			t.Errorf("the worker may read for %v, the run had 11 s left", left)
		}
	})
}

// blind is a store whose bots cannot be read for a while.
type blind struct {
	store.Bots
	fail int
}

func (b *blind) Get(ctx context.Context, id string) (store.Bot, error) {
	if b.fail > 0 {
		b.fail--
		return store.Bot{}, errShaky
	}
	return b.Bots.Get(ctx, id)
}

// An invocation that waited in Lambda's queue for long reckons its lock from the row: without that, the lock would end while the
// run goes on, and another run would begin beside it.
func TestALateInvocationsLockCoversTheRunAlthoughTheRowIsHardToRead(t *testing.T) {
	bl := &blind{}
	wrap := func(st store.Store) store.Store {
		bl.Bots = st.Bots
		st.Bots = bl
		return st
	}
	st := new(store.Store)
	b := Bot{Run: func(ctx context.Context, _ *Run) error {
		row, err := st.Bots.Get(ctx, "b")
		end, _ := ctx.Deadline()
		if in := row.Instance; err != nil || in.InvokeTime+in.MaxDuration < end.UnixMilli() {
			t.Errorf("the lock ends %v before the function", end.Sub(time.UnixMilli(in.InvokeTime+in.MaxDuration)))
		}
		return nil
	}}
	deployOn(t, b, LambdaConfig{}, wrap, func(t *testing.T, d *deployed) {
		*st = d.st
		payload := d.reserve()
		time.Sleep(5 * time.Minute)
		bl.fail = 2
		if a := d.answer("r", time.Minute, payload); a != "null" {
			t.Errorf("answer %s", a)
		}
		payload = d.reserve()
		time.Sleep(5 * time.Minute)
		bl.fail = 1000
		if a, row := d.answer("r2", time.Minute, payload), d.row(); !strings.Contains(a, "failed getting lock") && !json.Valid([]byte(a)) || row.Instance.StartTime != 0 {
			t.Errorf("answer %s, row %+v", a, row)
		}
	})
}

func TestAFailureWhoseCauseIsTheEndOfTheRunIsNone(t *testing.T) {
	kind := errors.New("feed")
	for _, err := range []error{
		fmt.Errorf("%w: fetch page 3: %w", kind, context.Canceled),
		fmt.Errorf("%w: %w", rstreams.ErrDecode, context.Canceled),
	} {
		if !cutShort(err) {
			t.Errorf("%v is not cut short", err)
		}
	}
}
