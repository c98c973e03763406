package bot

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
)

// shaky is a store whose Bots fail now and then, before or after the write is stored.
type shaky struct {
	store.Bots
	before, after map[string]int // how often each operation fails
}

var errShaky = errors.New("connection reset")

func (s *shaky) wrap(st store.Store) store.Store {
	s.Bots = st.Bots
	st.Bots = s
	return st
}

func (s *shaky) fail(m map[string]int, op string) error {
	if m[op] > 0 {
		m[op]--
		return errShaky
	}
	return nil
}

func (s *shaky) do(op string, fn func() error) error {
	if err := s.fail(s.before, op); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	return s.fail(s.after, op)
}

func (s *shaky) Confirm(ctx context.Context, c store.Confirm) error {
	return s.do("confirm", func() error { return s.Bots.Confirm(ctx, c) })
}

func (s *shaky) Extend(ctx context.Context, c store.Confirm) error {
	return s.do("extend", func() error { return s.Bots.Extend(ctx, c) })
}

func (s *shaky) Complete(ctx context.Context, c store.Complete) error {
	return s.do("complete", func() error { return s.Bots.Complete(ctx, c) })
}

func TestTroubleWithTheStorageDoesNotLoseOrDoubleARun(t *testing.T) {
	for name, sh := range map[string]*shaky{
		"before confirm":  {before: map[string]int{"confirm": 2}},
		"after confirm":   {after: map[string]int{"confirm": 1}},
		"before complete": {before: map[string]int{"complete": 3}},
		"after complete":  {after: map[string]int{"complete": 1}},
		"beats":           {before: map[string]int{"extend": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			var runs atomic.Int32
			b := Bot{Run: func(ctx context.Context, _ *Run) error {
				runs.Add(1)
				time.Sleep(2 * time.Minute)
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return errBoom
			}}
			playOn(t, b, sh.wrap, func(t *testing.T, s *stage) {
				if err := s.runner.Do(t.Context(), s.reserve()); !errors.Is(err, errBoom) {
					t.Errorf("ended with %v", err)
				}
				if row := s.row(); runs.Load() != 1 || row.ErrorCount != 1 || row.Instance.CompletedTime == 0 {
					t.Errorf("%d runs, row %+v", runs.Load(), row)
				}
			})
		})
	}
}

func TestAnEndThatWasStoredAlthoughItFailedIsAnEnd(t *testing.T) {
	sh := &shaky{after: map[string]int{"complete": 1}}
	playOn(t, Bot{Run: func(context.Context, *Run) error { return nil }}, sh.wrap, func(t *testing.T, s *stage) {
		if err := s.runner.Do(t.Context(), s.reserve()); err != nil {
			t.Error(err)
		}
	})
}

func TestALockLostAtTheLastMomentIsReported(t *testing.T) {
	st := new(store.Store)
	b := Bot{Run: func(ctx context.Context, _ *Run) error {
		row, err := st.Bots.Get(ctx, "b")
		if err != nil {
			return err
		}
		return st.Bots.Lock(ctx, dispatch.LockFor(row, time.Now()))
	}}
	play(t, b, func(t *testing.T, s *stage) {
		*st = s.st
		if err := s.runner.Do(t.Context(), s.reserve()); !errors.Is(err, ErrLockLost) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestARunThatCannotBeginIsGivenBack(t *testing.T) {
	sh := &shaky{before: map[string]int{"confirm": 100}}
	playOn(t, Bot{Run: func(context.Context, *Run) error { t.Error("it ran"); return nil }}, sh.wrap, func(t *testing.T, s *stage) {
		if err := s.runner.Do(t.Context(), s.reserve()); !errors.Is(err, errShaky) {
			t.Errorf("ended with %v", err)
		}
		if row := s.row(); row.ErrorCount != 0 || dispatch.Decide(row, time.Now()).Action != dispatch.Run {
			t.Errorf("row %+v", row)
		}
	})
}

func TestHosts(t *testing.T) {
	play(t, Bot{Run: func(context.Context, *Run) error { return nil }}, func(t *testing.T, s *stage) {
		row := s.row()
		if !s.runner.Hosts(row) {
			t.Error("its own bot is not hosted")
		}
		row.Invocation.Type = "lambda"
		if s.runner.Hosts(row) || s.runner.Hosts(store.Bot{ID: "other", Invocation: store.Invocation{Type: "local"}}) {
			t.Error("another's bot is hosted")
		}
	})
}

func TestARunWhoseBeatsFailTooLongGivesUp(t *testing.T) {
	sh := &shaky{before: map[string]int{"extend": 1000}}
	playOn(t, Bot{Run: func(ctx context.Context, _ *Run) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}}, sh.wrap, func(t *testing.T, s *stage) {
		begin := time.Now()
		err := s.runner.Do(t.Context(), s.reserve())
		if !errors.Is(err, ErrLockLost) || time.Since(begin) != 30*time.Second {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

func TestARunWhoseTokenIsAheadOfTheClockIsTimedByItsStart(t *testing.T) {
	play(t, Bot{Timeout: 5 * time.Minute, Run: func(ctx context.Context, run *Run) error {
		time.Sleep(2 * time.Minute)
		run.RunAgain()
		return errBoom
	}}, func(t *testing.T, s *stage) {
		began := time.Now()
		ahead := began.Add(1000 * time.Hour)
		if err := s.st.Bots.Lock(t.Context(), store.Lock{Bot: "b", At: ahead.UnixMilli()}); err != nil {
			t.Fatal(err)
		}
		payload, err := dispatch.Payload(s.row(), ahead.UnixMilli())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- s.runner.Do(context.Background(), payload) }()
		time.Sleep(100 * time.Second)
		if d := dispatch.Decide(s.row(), time.Now()); d.Reason != dispatch.Running || time.Until(d.Until) > time.Minute {
			t.Errorf("while it runs: %v, %s, until %v", d.Action, d.Reason, d.Until)
		}
		if err := <-done; !errors.Is(err, errBoom) {
			t.Fatal(err)
		}
		row := s.row()
		if took := time.UnixMilli(row.Instance.CompletedTime).Sub(began); took != 2*time.Minute {
			t.Errorf("complete after %v", took)
		}
		if d := dispatch.Decide(row, time.Now()); d.Reason != dispatch.BackingOff || time.Until(d.Until) > 3*time.Second {
			t.Errorf("after the failure: %v, %s, until %v", d.Action, d.Reason, d.Until)
		}
		if d := dispatch.Decide(row, time.Now().Add(time.Minute)); d.Action != dispatch.Run {
			t.Errorf("after the back-off: %v, %s", d.Action, d.Reason)
		}
	})
}

func TestRunNowLeavesNoLockBehindWhereNoRunBegins(t *testing.T) {
	play(t, Bot{Run: func(context.Context, *Run) error { return nil }}, func(t *testing.T, s *stage) {
		other := store.Registration{ID: "other", Invocation: store.Invocation{Type: "local"}}
		odd := store.Registration{ID: "b", Invocation: store.Invocation{Type: "local"}, Settings: []byte(`[1]`)}
		for _, r := range []store.Registration{other, odd} {
			if err := s.st.Bots.Register(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			if err := s.runner.RunNow(t.Context(), r.ID); err == nil {
				t.Errorf("bot %s ran", r.ID)
			}
			row, err := s.st.Bots.Get(t.Context(), r.ID)
			if err != nil || dispatch.Deadline(&row) != 0 {
				t.Errorf("bot %s is locked: %+v, %v", r.ID, row.Instance, err)
			}
		}
		if err := s.runner.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		odd.Settings = nil
		if err := s.st.Bots.Register(t.Context(), odd); err != nil {
			t.Fatal(err)
		}
		if err := s.runner.RunNow(t.Context(), "b"); !errors.Is(err, errClosed) {
			t.Errorf("after close: %v", err)
		}
		if row := s.row(); dispatch.Deadline(&row) != 0 {
			t.Errorf("bot b is locked: %+v", row.Instance)
		}
	})
}

func TestSettingsThatAnInvocationWouldOverwriteAreRefused(t *testing.T) {
	for _, name := range []string{"id", "name", "botId", "lock", "__cron"} {
		b := Bot{ID: "b", Run: func(context.Context, *Run) error { return nil }, Settings: map[string]any{name: 1, "x": 2}}
		if err := b.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// hanging is a store that does not answer when a lock is renewed.
type hanging struct{ store.Bots }

func (hanging) Extend(ctx context.Context, _ store.Confirm) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestARunEndsWhenTheStorageHangsUntilItsLockIsOver(t *testing.T) {
	hang := func(st store.Store) store.Store {
		st.Bots = hanging{st.Bots}
		return st
	}
	var ended time.Time
	playOn(t, Bot{Run: func(ctx context.Context, _ *Run) error {
		<-ctx.Done()
		ended = time.Now()
		return ctx.Err()
	}}, hang, func(t *testing.T, s *stage) {
		began := time.Now()
		if err := s.runner.Do(context.Background(), s.reserve()); !errors.Is(err, ErrLockLost) {
			t.Errorf("got %v", err)
		}
		if took := ended.Sub(began); took > 30*time.Second {
			t.Errorf("the code went on for %v, the lock held for 30s", took)
		}
	})
}
