package dispatch

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// A clock that was ahead for a while leaves times in the rows that do not come for years. Bots must run all the same.

const year = int64(365 * 24 * 3600 * 1000)

// fromTheFuture is a row whose last run took place while the clock was a year ahead.
func fromTheFuture(b *store.Bot) {
	b.InvokeTime, b.Token, b.Trigger = t0+year, t0+year, t0+year
	b.Instance.Token, b.Instance.InvokeTime, b.Instance.StartTime = t0+year, t0+year, t0+year+10
	b.Instance.CompletedTime = t0 + year + 20
}

// ranSince is such a row after a further run under the right clock. Its token is later than the one before all the same.
func ranSince(b *store.Bot) {
	fromTheFuture(b)
	b.InvokeTime, b.Token, b.Instance.Token, b.Instance.InvokeTime = t0+year+1, t0+year+1, t0+year+1, t0+year+1
	b.Instance.StartTime, b.Instance.CompletedTime = t0-9_990, t0-9_000
}

func TestTimesOfAClockThatWasAheadHoldNoBotUp(t *testing.T) {
	for name, c := range map[string]struct {
		bot    store.Bot
		action Action
		reason Reason
	}{
		"caught up":                {base(ranSince), Idle, CaughtUp},
		"behind":                   {base(fromTheFuture, behind), Run, Behind},
		"behind, with spacing":     {base(fromTheFuture, behind, func(b *store.Bot) { b.Delay = 60_000 }), Run, Behind},
		"triggered":                {base(ranSince, triggered), Run, Triggered},
		"trigger not served":       {base(ranSince, func(b *store.Bot) { b.Trigger = t0 + 2*year }), Run, Triggered},
		"scheduled":                {base(ranSince, func(b *store.Bot) { b.ScheduledTrigger = t0 - 5 }), Run, Scheduled},
		"failed under that clock":  {base(fromTheFuture, failed(4)), Run, Retry},
		"that back-off was stored": {base(fromTheFuture, failed(4), func(b *store.Bot) { b.ScheduledTrigger = t0 + year + 20 + 25_628 }), Run, Retry},
		"failed since":             {base(ranSince, failed(4)), Wait, BackingOff},
		"too many errors":          {base(ranSince, triggered, func(b *store.Bot) { b.ErrorCount = 11 }), Wait, Rogue},
		"spacing since":            {base(ranSince, triggered, func(b *store.Bot) { b.Delay = 60_000 }), Wait, Spacing},
		"running under that clock": {base(fromTheFuture, running), Expire, Died},
		"not started":              {base(ranSince, running, func(b *store.Bot) { b.Instance.StartTime = 0 }), Wait, Running},
		"running":                  {base(ranSince, running), Wait, Running},
		"died since":               {base(ranSince, running, func(b *store.Bot) { b.Instance.MaxDuration = 9_000 }), Expire, Died},
		"asked for much later":     {base(func(b *store.Bot) { b.ScheduledTrigger = t0 + year }), Wait, Scheduled},
		"asked for later, and behind": {
			base(behind, func(b *store.Bot) { b.ScheduledTrigger = t0 + year }), Wait, Scheduled,
		},
	} {
		got := Decide(c.bot, time.UnixMilli(t0))
		if got.Action != c.action || got.Reason != c.reason {
			t.Errorf("%s: %v, %s", name, got.Action, got.Reason)
		}
		if got.Action == Wait && c.bot.Instance.StartTime != 0 && c.bot.ScheduledTrigger < t0+year && got.Until.After(time.UnixMilli(t0).Add(time.Hour)) {
			t.Errorf("%s: waits until %v", name, got.Until)
		}
		if got.Action != Run {
			continue
		}
		if got.Lock.At <= c.bot.InvokeTime || got.Lock.At < c.bot.Trigger {
			t.Errorf("%s: the lock at %d does not serve the trigger at %d", name, got.Lock.At, c.bot.Trigger)
		}
	}
}

// setBack is a clock that can be set.
type setBack struct{ ahead atomic.Int64 }

func (c *setBack) set(ahead time.Duration) { c.ahead.Store(int64(ahead)) }

func (c *setBack) now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func TestSchedulesFireAgainOnceAClockThatWasAheadIsSetRight(t *testing.T) {
	for _, restart := range []bool{false, true} {
		bubble(t, func(t *testing.T, w *world) {
			clock := &setBack{}
			clock.set(24 * 365 * time.Hour)
			w.now = clock.now
			w.bot(store.Registration{ID: "a", Schedule: "*/5 * * * *"}, nothing)
			w.bot(store.Registration{ID: "bad", Schedule: "*/5 * * * *"}, func(*run) error { return errors.New("no") })
			_, stop := w.dispatch(Config{Now: clock.now})
			defer func() { stop() }()
			time.Sleep(11 * time.Minute)
			synctest.Wait()
			if n := len(w.ran("a")); n != 2 {
				t.Errorf("ran %d times under the wrong clock", n)
			}
			if restart {
				stop()
			}
			before, bad := len(w.ran("a")), len(w.ran("bad"))
			clock.set(0)
			if restart {
				_, stop = w.dispatch(Config{Now: clock.now})
			}
			time.Sleep(31 * time.Minute)
			synctest.Wait()
			if n := len(w.ran("a")) - before; n < 6 || n > 8 {
				t.Errorf("restart %v: ran %d times in half an hour since the clock was set right", restart, n)
			}
			if n := len(w.ran("bad")) - bad; n < 1 || n > 20 {
				t.Errorf("restart %v: the bot that fails ran %d times", restart, n)
			}
		})
	}
}

func TestASmallStepBackOfTheClockFiresNothingTwice(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		clock := &setBack{}
		w.now = clock.now
		w.bot(store.Registration{ID: "a", Schedule: "*/5 * * * *"}, nothing)
		_, stop := w.dispatch(Config{Now: clock.now})
		defer stop()
		time.Sleep(5*time.Minute + time.Second)
		clock.set(-30 * time.Second)
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if ran := w.ran("a"); len(ran) != 4 && len(ran) != 5 {
			t.Errorf("ran at %v", ran)
		}
	})
}

func TestALockOfAClockThatWasAheadEndsWithoutAStart(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Timeout: 60_000}, nothing)
		at := time.Now().UnixMilli() + year
		if err := w.st.Bots.Lock(t.Context(), store.Lock{Bot: "a", At: at}); err != nil {
			t.Fatal(err)
		}
		_, stop := w.dispatch(Config{})
		defer stop()
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if ran := w.ran("a"); len(ran) != 1 || ran[0] < time.Minute {
			t.Errorf("ran at %v", ran)
		}
	})
}
