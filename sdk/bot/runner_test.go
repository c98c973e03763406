package bot

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func TestMain(m *testing.M) {
	// Tests with an emulator leave connections that clients keep for the next request.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
}

var quiet = slog.New(slog.DiscardHandler)

var errBoom = errors.New("boom")

// stage is a Runner with one bot "b" on a bus in memory.
type stage struct {
	t      *testing.T
	st     store.Store
	runner *Runner
}

// play runs fn in a bubble of virtual time.
func play(t *testing.T, b Bot, fn func(t *testing.T, s *stage)) {
	t.Helper()
	playOn(t, b, func(st store.Store) store.Store { return st }, fn)
}

func playOn(t *testing.T, b Bot, wrap func(store.Store) store.Store, fn func(t *testing.T, s *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 21, 2, 35, 0, 0, time.UTC)))
		b.ID = "b"
		s := &stage{t: t, st: memory.New(memory.Options{})}
		if err := Register(t.Context(), s.st.Bots, b); err != nil {
			t.Fatal(err)
		}
		var err error
		s.runner, err = NewRunner(rstreams.New(wrap(s.st), rstreams.Options{Logger: quiet}), RunnerConfig{Logger: quiet}, b)
		if err != nil {
			t.Fatal(err)
		}
		fn(t, s)
		if err := s.runner.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// reserve locks the bot and returns the payload of the run.
func (s *stage) reserve() []byte {
	s.t.Helper()
	row := s.row()
	lock := dispatch.LockFor(row, time.Now())
	if err := s.st.Bots.Lock(s.t.Context(), lock); err != nil {
		s.t.Fatal(err)
	}
	payload, err := dispatch.Payload(row, lock.At)
	if err != nil {
		s.t.Fatal(err)
	}
	return payload
}

func (s *stage) row() store.Bot {
	s.t.Helper()
	row, err := s.st.Bots.Get(s.t.Context(), "b")
	if err != nil {
		s.t.Fatal(err)
	}
	return row
}

// unpack decodes what a row holds as log or result.
func unpack(t *testing.T, gz []byte, v any) {
	t.Helper()
	r, err := gzip.NewReader(bytes.NewReader(gz))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestARunIsConfirmedAndCompletedOnce(t *testing.T) {
	b := Bot{Settings: map[string]any{"color": "red"}, Run: func(ctx context.Context, run *Run) error {
		row, err := run.Bus.Store().Bots.Get(ctx, "b")
		if err != nil {
			return err
		}
		if in := row.Instance; in.RequestID != run.RequestID || in.StartTime == 0 || in.Token != run.Token || in.CompletedTime != 0 {
			t.Errorf("while running: %+v", in)
		}
		var settings struct{ Color string }
		if err := run.DecodeSettings(&settings); err != nil || settings.Color != "red" {
			t.Errorf("settings %s, %v", run.Settings, err)
		}
		time.Sleep(time.Second)
		return run.SetResult(map[string]int{"n": 7})
	}}
	play(t, b, func(t *testing.T, s *stage) {
		if err := s.runner.Do(t.Context(), s.reserve()); err != nil {
			t.Fatal(err)
		}
		row := s.row()
		var log any
		var result map[string]int
		unpack(t, row.Instance.Log, &log)
		unpack(t, row.Instance.Result, &result)
		if row.Instance.Status != store.StatusComplete || row.ErrorCount != 0 || log != "" || result["n"] != 7 ||
			row.Instance.CompletedTime != time.Now().UnixMilli() {
			t.Errorf("row %+v, log %v, result %v", row, log, result)
		}
	})
}

func TestFailuresLeaveTheirMessageAndStack(t *testing.T) {
	for name, c := range map[string]struct {
		run   func(context.Context, *Run) error
		msg   string
		stack string
	}{
		"error":  {func(context.Context, *Run) error { return errBoom }, "boom", ""},
		"panic":  {func(context.Context, *Run) error { panic("ouch") }, "panic: ouch", "runner_test.go"},
		"nil":    {func(context.Context, *Run) error { var m map[int]int; m[1] = 1; return nil }, "panic: assignment to entry in nil map", "runner_test.go"},
		"goexit": {func(context.Context, *Run) error { runtime.Goexit(); return nil }, "runtime.Goexit", ""},
		"long":   {func(context.Context, *Run) error { return errors.New(strings.Repeat("x", 1<<20)) }, strings.Repeat("x", maxLog) + " ...", ""},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Bot{Run: c.run}, func(t *testing.T, s *stage) {
				if err := s.runner.Do(t.Context(), s.reserve()); err == nil {
					t.Error("no error")
				}
				row := s.row()
				var log dispatch.RunError
				unpack(t, row.Instance.Log, &log)
				if row.Instance.Status != store.StatusError || row.ErrorCount != 1 ||
					!strings.Contains(log.Message, c.msg) || !strings.Contains(log.Stack, c.stack) || c.stack == "" && log.Stack != "" {
					t.Errorf("status %s, errors %d, log %.300v", row.Instance.Status, row.ErrorCount, log)
				}
			})
		})
	}
}

func TestControlOfTheNextRun(t *testing.T) {
	for name, c := range map[string]struct {
		run    func(context.Context, *Run) error
		failed int
		again  bool
		at     time.Duration
	}{
		"run again":              {func(_ context.Context, r *Run) error { r.RunAgain(); return nil }, 0, true, 0},
		"later":                  {func(context.Context, *Run) error { return rstreams.RetryAfter(time.Minute, nil) }, 0, false, time.Minute},
		"failed, and later":      {func(context.Context, *Run) error { return fmt.Errorf("x: %w", rstreams.RetryAfter(time.Hour, errBoom)) }, 1, false, time.Hour},
		"failed, and run again":  {func(_ context.Context, r *Run) error { r.RunAgain(); return errBoom }, 1, true, 0},
		"stop":                   {func(context.Context, *Run) error { return rstreams.StopWithoutCheckpoint() }, 0, false, 0},
		"neither: nothing asked": {func(context.Context, *Run) error { return nil }, 0, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Bot{Run: c.run}, func(t *testing.T, s *stage) {
				err := s.runner.Do(t.Context(), s.reserve())
				row := s.row()
				var at int64
				if c.at != 0 {
					at = time.Now().Add(c.at).UnixMilli()
				}
				if row.ErrorCount != c.failed || (err != nil) != (c.failed > 0) || row.ScheduledTrigger != at || (row.Trigger > row.InvokeTime) != c.again {
					t.Errorf("row %+v, error %v", row, err)
				}
			})
		})
	}
}

func TestARunThatWasBegunElsewhereIsLeftAlone(t *testing.T) {
	var runs atomic.Int32
	play(t, Bot{Run: func(context.Context, *Run) error { runs.Add(1); return nil }}, func(t *testing.T, s *stage) {
		payload := s.reserve()
		// A second delivery of the same invocation, as Lambda's own retries are.
		for range 2 {
			if err := s.runner.Do(t.Context(), payload); err != nil {
				t.Error(err)
			}
		}
		if runs.Load() != 1 || s.row().ErrorCount != 0 {
			t.Errorf("%d runs, row %+v", runs.Load(), s.row())
		}
	})
}

func TestTheHeartbeatKeepsTheLock(t *testing.T) {
	play(t, Bot{Run: func(ctx context.Context, _ *Run) error {
		select {
		case <-time.After(10 * time.Minute):
		case <-ctx.Done():
		}
		return context.Cause(ctx)
	}}, func(t *testing.T, s *stage) {
		done := make(chan error)
		payload := s.reserve()
		go func() { done <- s.runner.Do(t.Context(), payload) }()
		for range 9 {
			time.Sleep(time.Minute)
			row := s.row()
			if d := dispatch.Decide(row, time.Now()); d.Action != dispatch.Wait || d.Reason != dispatch.Running || d.Until.After(time.Now().Add(31*time.Second)) {
				t.Errorf("decision %+v", d)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestALostLockEndsTheRunAndNothingElse(t *testing.T) {
	var cause error
	play(t, Bot{Run: func(ctx context.Context, _ *Run) error {
		<-ctx.Done()
		cause = context.Cause(ctx)
		return cause
	}}, func(t *testing.T, s *stage) {
		done := make(chan error)
		payload := s.reserve()
		go func() { done <- s.runner.Do(t.Context(), payload) }()
		time.Sleep(time.Second)
		other := dispatch.LockFor(s.row(), time.Now())
		if err := s.st.Bots.Lock(t.Context(), other); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, ErrLockLost) || !errors.Is(cause, ErrLockLost) {
			t.Errorf("ended with %v, cause %v", err, cause)
		}
		if row := s.row(); row.Token != other.At || row.Instance.CompletedTime != 0 || row.ErrorCount != 0 {
			t.Errorf("the other run's row was touched: %+v", row)
		}
	})
}

func TestTimeLimits(t *testing.T) {
	t.Run("reads end after four fifths", func(t *testing.T) {
		play(t, Bot{Timeout: 100 * time.Second, Run: func(ctx context.Context, run *Run) error {
			begin := time.Now()
			<-run.Stopping()
			if got := time.Since(begin); got != 80*time.Second || !run.StopAt.Equal(time.Now()) || ctx.Err() != nil {
				t.Errorf("soft stop after %v", got)
			}
			return nil
		}}, func(t *testing.T, s *stage) {
			if err := s.runner.Do(t.Context(), s.reserve()); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("the context ends at the limit", func(t *testing.T) {
		play(t, Bot{Timeout: 100 * time.Second, Run: func(ctx context.Context, _ *Run) error {
			<-ctx.Done()
			return ctx.Err()
		}}, func(t *testing.T, s *stage) {
			begin := time.Now()
			if err := s.runner.Do(t.Context(), s.reserve()); !errors.Is(err, ErrTimeLimit) || time.Since(begin) != 100*time.Second {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
			if row := s.row(); row.ErrorCount != 1 {
				t.Errorf("row %+v", row)
			}
		})
	})
	t.Run("code that does not return is left behind", func(t *testing.T) {
		release := make(chan struct{})
		play(t, Bot{Timeout: 100 * time.Second, Run: func(context.Context, *Run) error {
			<-release
			return nil
		}}, func(t *testing.T, s *stage) {
			release = make(chan struct{})
			begin := time.Now()
			if err := s.runner.Do(t.Context(), s.reserve()); !errors.Is(err, ErrTimeLimit) || time.Since(begin) != 110*time.Second {
				t.Errorf("after %v: %v", time.Since(begin), err)
			}
			if row := s.row(); row.ErrorCount != 1 || row.Instance.CompletedTime == 0 {
				t.Errorf("row %+v", row)
			}
			close(release)
		})
	})
}

func TestCloseLetsRunsFinish(t *testing.T) {
	var finished atomic.Bool
	play(t, Bot{Run: func(ctx context.Context, run *Run) error {
		<-run.Stopping()
		time.Sleep(5 * time.Second) // what is in work
		finished.Store(true)
		return ctx.Err()
	}}, func(t *testing.T, s *stage) {
		if err := s.runner.Invoke(t.Context(), s.row(), s.reserve()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := s.runner.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if row := s.row(); !finished.Load() || row.Instance.Status != store.StatusComplete {
			t.Errorf("finished %v, row %+v", finished.Load(), row)
		}
		if err := s.runner.Invoke(t.Context(), s.row(), s.reserve()); err == nil {
			t.Error("a closed runner took a run")
		}
	})
}

func TestARunThatCannotBeginBecauseOfCloseIsGivenBack(t *testing.T) {
	play(t, Bot{Run: func(context.Context, *Run) error { t.Error("it ran"); return nil }}, func(t *testing.T, s *stage) {
		inv, err := s.runner.parse(s.reserve())
		if err != nil || !s.runner.begin() {
			t.Fatal(err)
		}
		close(s.runner.stop)
		s.runner.closing = true
		if err := s.runner.run(t.Context(), inv); err != nil {
			t.Error(err)
		}
		s.runner.wg.Done()
		if row := s.row(); row.ErrorCount != 0 || dispatch.Decide(row, time.Now().Add(time.Millisecond)).Action != dispatch.Run {
			t.Errorf("row %+v", row)
		}
	})
}

func TestCloseCutsRunsShortWhenItsContextEnds(t *testing.T) {
	begin := map[string]func(s *stage, payload []byte){
		"invoked": func(s *stage, payload []byte) {
			if err := s.runner.Invoke(s.t.Context(), s.row(), payload); err != nil {
				s.t.Fatal(err)
			}
		},
		"done": func(s *stage, payload []byte) {
			go func() {
				if err := s.runner.Do(s.t.Context(), payload); err != nil {
					s.t.Error(err)
				}
			}()
		},
	}
	for name, begin := range begin {
		t.Run(name, func(t *testing.T) {
			play(t, Bot{Run: func(ctx context.Context, _ *Run) error {
				<-ctx.Done()
				return ctx.Err()
			}}, func(t *testing.T, s *stage) {
				begin(s, s.reserve())
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := s.runner.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("close: %v", err)
				}
				// Not the bot's fault: no error is counted, and it runs again at once elsewhere.
				row := s.row()
				if row.ErrorCount != 0 || row.Instance.Status != store.StatusComplete || dispatch.Decide(row, time.Now()).Action != dispatch.Run {
					t.Errorf("row %+v", row)
				}
			})
		})
	}
}

// That the process stops does not hide what went wrong before.
func TestAFailureBesideTheEndOfTheProcessCounts(t *testing.T) {
	for name, c := range map[string]struct {
		err    error
		failed bool
	}{
		"the end alone":    {fmt.Errorf("read: %w", errors.Join(context.Canceled, ErrStopped)), false},
		"beside a wish":    {errors.Join(ErrStopped, rstreams.StopWithoutCheckpoint()), false},
		"beside a failure": {errors.Join(ErrStopped, errBoom), true},
		"as its cause":     {fmt.Errorf("%w: %w", errBoom, context.Canceled), false},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, Bot{Run: func(ctx context.Context, _ *Run) error {
				<-ctx.Done()
				return c.err
			}}, func(t *testing.T, s *stage) {
				if err := s.runner.Invoke(t.Context(), s.row(), s.reserve()); err != nil {
					t.Error(err)
				}
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := s.runner.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("close: %v", err)
				}
				if row := s.row(); (row.ErrorCount == 1) != c.failed || (row.Trigger != 0) == c.failed {
					t.Errorf("%d errors, trigger %d", row.ErrorCount, row.Trigger)
				}
			})
		})
	}
}

func TestRunNow(t *testing.T) {
	started := make(chan struct{}, 1)
	play(t, Bot{Paused: true, Run: func(_ context.Context, run *Run) error {
		started <- struct{}{}
		<-run.Stopping()
		return nil
	}}, func(t *testing.T, s *stage) {
		done := make(chan error)
		go func() { done <- s.runner.RunNow(t.Context(), "b") }()
		<-started
		if err := s.runner.RunNow(t.Context(), "b"); !errors.Is(err, store.ErrConflict) {
			t.Errorf("a second run at the same time: %v", err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.runner.RunNow(t.Context(), "other"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an unknown bot: %v", err)
		}
	})
}
