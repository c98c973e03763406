package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// The bubble's world begins at 02:35:00 UTC.

func nothing(*run) error { return nil }

func TestSchedulesFireAtTheirTimes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "five", Schedule: "*/5 * * * *"}, nothing)
		w.bot(store.Registration{ID: "three", Schedule: "0 3 * * *"}, nothing)
		w.bot(store.Registration{ID: "berlin", Schedule: "0 4 * * *", TimeZone: "Europe/Berlin"}, nothing)
		w.bot(store.Registration{ID: "wrong", Schedule: "no schedule"}, nothing)
		_, stop := w.dispatch(Config{})
		defer stop()
		time.Sleep(time.Hour)
		synctest.Wait()
		if ran := w.ran("five"); len(ran) != 12 || ran[0] != 5*time.Minute || ran[11] != time.Hour {
			t.Errorf("five ran at %v", ran)
		}
		for _, id := range []string{"three", "berlin"} {
			if ran := w.ran(id); len(ran) != 1 || ran[0] != 25*time.Minute {
				t.Errorf("%s ran at %v", id, ran)
			}
		}
		if b := w.get("three"); b.Trigger != w.began.Add(25*time.Minute).UnixMilli() {
			t.Errorf("the trigger is %v, not the occurrence", time.UnixMilli(b.Trigger))
		}
		if ran := w.ran("wrong"); len(ran) != 0 {
			t.Errorf("wrong ran at %v", ran)
		}
	})
}

func TestAChangedScheduleCountsFromTheChange(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Schedule: "*/5 * * * *"}, nothing)
		_, stop := w.dispatch(Config{})
		defer stop()
		time.Sleep(6 * time.Minute)
		w.bot(store.Registration{ID: "a", Schedule: "0 * * * *"}, nothing)
		time.Sleep(30 * time.Minute)
		if ran := w.ran("a"); len(ran) != 2 || ran[1] != 25*time.Minute {
			t.Errorf("ran at %v", ran)
		}
		w.bot(store.Registration{ID: "a"}, nothing)
		time.Sleep(3 * time.Hour)
		if ran := w.ran("a"); len(ran) != 2 {
			t.Errorf("without a schedule it ran at %v", ran)
		}
	})
}

func TestOccurrencesMissedWhileNobodyServedFireOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Schedule: "*/5 * * * *"}, nothing)
		_, stop := w.dispatch(Config{})
		time.Sleep(6 * time.Minute)
		stop()
		time.Sleep(17 * time.Minute) // 02:58; 02:45, 02:50 and 02:55 are missed
		w.bot(store.Registration{ID: "paused", Schedule: "*/5 * * * *", Paused: true}, nothing)
		_, stop = w.dispatch(Config{})
		synctest.Wait()
		if ran := w.ran("a"); len(ran) != 2 || ran[1] != 23*time.Minute {
			t.Errorf("ran at %v", ran)
		}
		if got := w.get("paused").Trigger; got != w.began.Add(20*time.Minute).UnixMilli() {
			t.Errorf("the paused bot was triggered for %v", time.UnixMilli(got))
		}
		// A restart at once fires nothing again.
		stop()
		_, stop = w.dispatch(Config{})
		defer stop()
		synctest.Wait()
		if ran := w.ran("a"); len(ran) != 2 {
			t.Errorf("after another restart it ran at %v", ran)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if ran := w.ran("a"); len(ran) != 3 || ran[2] != 25*time.Minute {
			t.Errorf("ran at %v", ran)
		}
	})
}

func TestTheFirstStartMakesUpForNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Schedule: "0 2 * * *"}, nothing)
		_, stop := w.dispatch(Config{})
		defer stop()
		time.Sleep(time.Hour)
		if ran := w.ran("a"); len(ran) != 0 {
			t.Errorf("ran at %v for an occurrence before the bus existed", ran)
		}
	})
}

// TestASleepingMachineFiresOnceWhenItWakes: timers stand still meanwhile and the clock jumps.
func TestASleepingMachineFiresOnceWhenItWakes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var slept atomic.Int64
		w.bot(store.Registration{ID: "a", Schedule: "0 * * * *"}, nothing)
		_, stop := w.dispatch(Config{Now: func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }})
		defer stop()
		time.Sleep(time.Second)
		slept.Store(int64(5 * time.Hour)) // from 02:35 to 07:35
		time.Sleep(2 * time.Minute)
		want := w.began.Add(4*time.Hour + 25*time.Minute).UnixMilli()
		if b := w.get("a"); len(w.ran("a")) != 1 || b.Trigger != want {
			t.Errorf("ran at %v, for %v", w.ran("a"), time.UnixMilli(b.Trigger).UTC())
		}
	})
}

func TestAnOccurrenceThatCouldNotBeStoredIsNotTickedOff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Schedule: "*/30 * * * *"}, nothing)
		w.bot(store.Registration{ID: "b", Schedule: "* * * * *"}, nothing)
		st := w.st
		st.Bots = &flaky{Bots: st.Bots, bot: "a"}
		_, stop := w.dispatchOn(st, Config{})
		time.Sleep(28*time.Minute + time.Second)
		stop()
		if got := len(w.ran("b")); got != 28 {
			t.Errorf("b ran %d times", got)
		}
		_, stop = w.dispatch(Config{})
		defer stop()
		synctest.Wait()
		if ran := w.ran("a"); len(ran) != 1 {
			t.Errorf("a ran at %v", ran)
		}
	})
}

// TestACrashDoesNotLoseAnOccurrence: whatever the last write of a dispatcher is, the next one serves each occurrence once.
func TestACrashDoesNotLoseAnOccurrence(t *testing.T) {
	// The first two writes, the lease and the first tick, are the beginning of all service.
	for writes := 2; writes < 30; writes++ {
		t.Run(fmt.Sprint(writes), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.bot(store.Registration{ID: "a", Schedule: "*/5 * * * *"}, nothing)
				st := w.st
				c := &crasher{left: writes}
				st.Bots, st.Settings = crashingBots{st.Bots, c}, crashingSettings{st.Settings, c}
				_, stop := w.dispatchOn(st, Config{Retry: time.Hour})
				time.Sleep(6 * time.Minute)
				stop()
				_, stop = w.dispatch(Config{})
				defer stop()
				time.Sleep(10 * time.Second) // the lease of the crashed one ends
				if ran := w.ran("a"); len(ran) != 1 {
					t.Errorf("ran at %v", ran)
				}
			})
		})
	}
}

// crasher lets so many writes through, then fails all.
type crasher struct {
	mu   sync.Mutex
	left int
}

var errCrashed = errors.New("crashed")

func (c *crasher) write() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.left <= 0 {
		return errCrashed
	}
	c.left--
	return nil
}

type crashingBots struct {
	store.Bots
	c *crasher
}

func (b crashingBots) Request(ctx context.Context, r store.Request) error {
	if err := b.c.write(); err != nil {
		return err
	}
	return b.Bots.Request(ctx, r)
}

func (b crashingBots) Lock(ctx context.Context, l store.Lock) error {
	if err := b.c.write(); err != nil {
		return err
	}
	return b.Bots.Lock(ctx, l)
}

type crashingSettings struct {
	store.Settings
	c *crasher
}

func (s crashingSettings) Put(ctx context.Context, id string, v json.RawMessage) error {
	if err := s.c.write(); err != nil {
		return err
	}
	return s.Settings.Put(ctx, id, v)
}

func (s crashingSettings) Acquire(ctx context.Context, name, owner string, now, expires int64) error {
	if err := s.c.write(); err != nil {
		return err
	}
	return s.Settings.Acquire(ctx, name, owner, now, expires)
}

func (s crashingSettings) Release(context.Context, string, string) error { return errCrashed }
