package bot

import (
	"context"
	"errors"
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
