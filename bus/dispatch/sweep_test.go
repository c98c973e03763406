package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// minutes sweeps as the scheduler does, every minute for so long, each in an invocation of its own.
func (w *world) minutes(o *Once, n int, stay time.Duration) {
	w.t.Helper()
	for range n {
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.sweep(o, stay)
		}()
		time.Sleep(time.Minute)
		<-done
	}
	synctest.Wait()
}

// TestC54SchedulesFireAtTheirTimes, to the second, while the scheduler stays for what is due within the minute (W-S7).
func TestC54SchedulesFireAtTheirTimes(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "five", Schedule: "*/5 * * * *"}, nothing)
		w.bot(store.Registration{ID: "seconds", Schedule: "*/20 35 2 * * *"}, nothing)
		w.bot(store.Registration{ID: "three", Schedule: "0 3 * * *"}, nothing)
		w.bot(store.Registration{ID: "berlin", Schedule: "0 4 * * *", TimeZone: "Europe/Berlin"}, nothing)
		w.bot(store.Registration{ID: "paused", Schedule: "0 3 * * *", Paused: true}, nothing)
		w.bot(store.Registration{ID: "wrong", Schedule: "no schedule"}, nothing)
		time.Sleep(7 * time.Second)
		w.minutes(w.once(OnceConfig{}), 60, 55*time.Second)
		if ran := w.ran("five"); len(ran) != 12 || ran[0] != 5*time.Minute || ran[11] != time.Hour {
			t.Errorf("five ran at %v", ran)
		}
		if ran := w.ran("seconds"); len(ran) != 2 || ran[0] != 20*time.Second || ran[1] != 40*time.Second {
			t.Errorf("seconds ran at %v", ran)
		}
		for _, id := range []string{"three", "berlin"} {
			if ran := w.ran(id); len(ran) != 1 || ran[0] != 25*time.Minute {
				t.Errorf("%s ran at %v", id, ran)
			}
		}
		at := w.began.Add(25 * time.Minute).UnixMilli()
		if w.get("three").Trigger != at || w.get("paused").Trigger != at {
			t.Errorf("triggers %d and %d are not the occurrence, %d", w.get("three").Trigger, w.get("paused").Trigger, at)
		}
		if len(w.ran("wrong"))+len(w.ran("paused")) != 0 {
			t.Errorf("wrong ran at %v, paused at %v", w.ran("wrong"), w.ran("paused"))
		}
	})
}

// TestWS7ASweepEndsAtOnceWhenNothingIsDueSoon, and says when the next thing is.
func TestWS7ASweepEndsAtOnceWhenNothingIsDueSoon(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "five", Schedule: "*/5 * * * *"}, nothing)
		w.bot(store.Registration{ID: "later"}, nothing)
		w.control("later", store.Control{ScheduledTrigger: ptr(w.began.Add(3 * time.Minute).UnixMilli())})
		o := w.once(OnceConfig{})
		next, r := w.sweep(o, 55*time.Second)
		if took := time.Since(w.began); took != 0 || !next.Equal(w.began.Add(3*time.Minute)) || r.Bots != 0 {
			t.Errorf("it took %v, next is %v: %+v", took, next, r)
		}
		time.Sleep(2*time.Minute + 30*time.Second)
		next, r = w.sweep(o, 55*time.Second)
		if took := time.Since(w.began); took != 3*time.Minute || !next.Equal(w.began.Add(5*time.Minute)) || r.Started != 1 {
			t.Errorf("C55: it took %v, next is %v: %+v", took, next, r)
		}
		if next, _ := w.sweep(NewOnce(newWorld(t).st, w, OnceConfig{}), time.Minute); !next.IsZero() {
			t.Errorf("on an empty bus, next is %v", next)
		}
	})
}

// TestWD12OccurrencesMissedWhileNobodySweptFireOnce, however long that was; a bus that never swept makes up for nothing.
func TestWD12OccurrencesMissedWhileNobodySweptFireOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Schedule: "*/5 * * * *"}, nothing)
		w.sweep(w.once(OnceConfig{}), 0)
		if ran := w.ran("a"); len(ran) != 0 {
			t.Errorf("the first sweep ran it at %v", ran)
		}
		for _, pause := range []time.Duration{17 * time.Minute, 3 * time.Hour, 40 * 24 * time.Hour} {
			time.Sleep(pause)
			before := len(w.ran("a"))
			for range 3 {
				w.sweep(w.once(OnceConfig{}), 0) // each by a new process
				synctest.Wait()
			}
			if got := len(w.ran("a")) - before; got != 1 {
				t.Errorf("after %v it ran %d times", pause, got)
			}
		}
	})
}

// TestWD12ASweepThatDiesLosesNothing: whatever the last write of a sweep is, the next one serves each occurrence once.
func TestWD12ASweepThatDiesLosesNothing(t *testing.T) {
	for writes := range 12 {
		t.Run(fmt.Sprint(writes), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				for i := range 4 {
					w.bot(store.Registration{ID: fmt.Sprint("b", i), Schedule: "*/5 * * * *"}, nothing)
				}
				w.sweep(w.once(OnceConfig{}), 0)
				time.Sleep(4*time.Minute + 30*time.Second)
				st := w.st
				c := &crasher{left: writes}
				st.Bots, st.Settings = crashingBots{st.Bots, c}, crashingSwaps{crashingSettings{st.Settings, c}}
				// The next scheduler begins while the one that dies is still there.
				crashed := make(chan struct{})
				go func() {
					defer close(crashed)
					w.onceOn(st, OnceConfig{Parallel: 1}).Sweep(t.Context(), 55*time.Second) //nolint:errcheck // It dies.
				}()
				time.Sleep(time.Minute)
				w.sweep(w.once(OnceConfig{}), 0)
				<-crashed
				synctest.Wait()
				time.Sleep(time.Minute)
				w.sweep(w.once(OnceConfig{}), 0)
				synctest.Wait()
				for i := range 4 {
					if ran := w.ran(fmt.Sprint("b", i)); len(ran) != 1 {
						t.Errorf("b%d ran at %v", i, ran)
					}
				}
			})
		})
	}
}

type crashingSwaps struct{ crashingSettings }

func (s crashingSwaps) Swap(ctx context.Context, id string, old, next json.RawMessage) error {
	if err := s.c.write(); err != nil {
		return err
	}
	return s.Settings.Swap(ctx, id, old, next)
}

// TestWD12AnOccurrenceThatCannotBeStoredIsNotTickedOff, but holds the tick back for an hour at most.
func TestWD12AnOccurrenceThatCannotBeStoredIsNotTickedOff(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Schedule: "*/30 * * * *"}, nothing)
		w.bot(store.Registration{ID: "b", Schedule: "* * * * *"}, nothing)
		st := w.st
		bad := &refusing{Bots: st.Bots, bot: "a"}
		st.Bots = bad
		sweep := func(minutes int) {
			for range minutes {
				_, _, err := w.onceOn(st, OnceConfig{}).Sweep(t.Context(), 0)
				var f *Failures
				if err != nil && !(errors.As(err, &f) && f.Bots[0].Bot == "a") {
					t.Error(err)
				}
				time.Sleep(time.Minute)
			}
		}
		sweep(40) // 03:00 could not be stored
		bad.well.Store(true)
		sweep(1)
		synctest.Wait()
		if ran := w.ran("a"); len(ran) != 1 || ran[0] != 40*time.Minute {
			t.Errorf("a ran at %v", ran)
		}
		if got := len(w.ran("b")); got != 40 {
			t.Errorf("b ran %d times", got)
		}
		bad.well.Store(false)
		sweep(5 * 60)
		raw, err := w.st.Settings.Get(t.Context(), TickSetting)
		if err != nil {
			t.Fatal(err)
		}
		var tick int64
		if err := json.Unmarshal(raw, &tick); err != nil || time.Since(time.UnixMilli(tick)) > maxHold+2*time.Minute {
			t.Errorf("the tick is %v old: %v", time.Since(time.UnixMilli(tick)), err)
		}
	})
}

// TestWD12AScheduledTriggerIsServedWheneverItWasSet: before, between or after sweeps.
func TestWD12AScheduledTriggerIsServedWheneverItWasSet(t *testing.T) {
	for _, set := range []time.Duration{0, 10 * time.Second, 59 * time.Second, 61 * time.Second} {
		for _, in := range []time.Duration{0, time.Second, 30 * time.Second, 90 * time.Second} {
			bubble(t, func(t *testing.T, w *world) {
				w.bot(store.Registration{ID: "a"}, nothing)
				done := make(chan struct{})
				go func() {
					defer close(done)
					time.Sleep(set)
					w.control("a", store.Control{ScheduledTrigger: ptr(time.Now().Add(in).UnixMilli())})
				}()
				w.minutes(w.once(OnceConfig{}), 5, 55*time.Second)
				<-done
				due := set + in
				if ran := w.ran("a"); len(ran) != 1 || ran[0] < due || ran[0] > due+time.Minute {
					t.Errorf("set at %v for %v, ran at %v", set, due, ran)
				}
			})
		}
	}
}

// TestAnUnreadableTickMakesUpForNothing.
func TestAnUnreadableTickMakesUpForNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Schedule: "*/5 * * * *"}, nothing)
		if err := w.st.Settings.Put(t.Context(), TickSetting, json.RawMessage(`"yesterday"`)); err != nil {
			t.Fatal(err)
		}
		w.minutes(w.once(OnceConfig{}), 7, 0)
		if ran := w.ran("a"); len(ran) != 1 || ran[0] != 5*time.Minute {
			t.Errorf("ran at %v", ran)
		}
	})
}

// TestSweepsAtTheSameTimeServeEachOccurrenceOnce.
func TestSweepsAtTheSameTimeServeEachOccurrenceOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for i := range 10 {
			w.bot(store.Registration{ID: fmt.Sprint("b", i), Schedule: "* * * * *"}, nothing)
		}
		var all []chan struct{}
		for i := range 4 {
			done := make(chan struct{})
			all = append(all, done)
			go func() {
				defer close(done)
				time.Sleep(time.Duration(i) * 7 * time.Second)
				w.minutes(w.once(OnceConfig{}), 10, 65*time.Second)
			}()
		}
		for _, done := range all {
			<-done
		}
		for i := range 10 {
			if ran := w.ran(fmt.Sprint("b", i)); len(ran) < 10 || len(ran) > 11 {
				t.Errorf("b%d ran at %v", i, ran)
			}
		}
	})
}

// TestAWrongClockHoldsNothingUp: a run that never started, invoked under a clock that was a day ahead, is found dead after its
// time, if the process lives so long; the tick and triggers of that clock hold up no schedule.
func TestAWrongClockHoldsNothingUp(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}, Timeout: 60_000}, reads("q"))
		w.bot(store.Registration{ID: "b", Schedule: "*/5 * * * *"}, nothing)
		ahead := time.Now().Add(24 * time.Hour)
		row := w.get("a")
		if err := w.st.Bots.Lock(t.Context(), LockFor(row, ahead)); err != nil {
			t.Fatal(err)
		}
		if err := w.st.Settings.Put(t.Context(), TickSetting, json.RawMessage(fmt.Sprint(ahead.UnixMilli()))); err != nil {
			t.Fatal(err)
		}
		w.control("b", store.Control{Trigger: ptr(ahead.UnixMilli())})
		o := w.once(OnceConfig{})
		w.publish("q", 0)
		w.minutes(o, 12, 55*time.Second)
		if ran := w.ran("a"); len(ran) != 1 || ran[0] > 4*time.Minute {
			t.Errorf("a ran at %v", ran)
		}
		if ran := w.ran("b"); len(ran) < 2 {
			t.Errorf("b ran at %v", ran)
		}
	})
}
