package dispatch

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

var errBoom = errors.New("boom")

func reads(queue string) func(*run) error {
	return func(r *run) error { r.read(queue); return nil }
}

func TestPublishedEventsStartTheirBots(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
		w.bot(store.Registration{ID: "b", Triggers: []string{"queue:q", "other"}}, reads("q"))
		w.bot(store.Registration{ID: "c", Triggers: []string{"other"}}, reads("other"))
		_, stop := w.dispatch(Config{})
		defer stop()
		synctest.Wait()
		head := w.publish("q", 0)
		synctest.Wait()
		for _, id := range []string{"a", "b"} {
			b := w.get(id)
			if len(w.ran(id)) != 1 || b.Requested["queue:q"] != head || b.Trigger != time.Now().UnixMilli() {
				t.Errorf("%s ran %v, requested %v, trigger %d", id, w.ran(id), b.Requested, b.Trigger)
			}
		}
		if ran := w.ran("c"); len(ran) != 0 {
			t.Errorf("c ran %v", ran)
		}
		time.Sleep(time.Hour)
		if got := len(w.ran("a")); got != 1 {
			t.Errorf("a ran %d times for one event", got)
		}
	})
}

func TestABotRunsAgainWhileItIsBehind(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var heads []string
		for i := range 5 {
			heads = append(heads, w.publish("q", i))
		}
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, func(r *run) error {
			i := slices.Index(heads, w.get("a").Read["queue:q"].Position)
			r.checkpoint("q", heads[i+1])
			return nil
		})
		_, stop := w.dispatch(Config{})
		defer stop()
		synctest.Wait()
		if got := w.get("a").Read["queue:q"].Position; got != heads[4] {
			t.Errorf("stands at %q after runs at %v", got, w.ran("a"))
		}
		if got := len(w.ran("a")); got != 5 {
			t.Errorf("%d runs, want one for each event", got)
		}
	})
}

func TestEventsThatComeDuringARunAreRunFor(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, func(r *run) error {
			r.read("q")
			time.Sleep(10 * time.Second)
			return nil
		})
		_, stop := w.dispatch(Config{})
		defer stop()
		synctest.Wait()
		w.publish("q", 0)
		for range 50 {
			time.Sleep(100 * time.Millisecond)
			w.publish("q", 1)
		}
		time.Sleep(time.Minute)
		q, err := w.st.Queues.Get(t.Context(), "q")
		if err != nil {
			t.Fatal(err)
		}
		b := w.get("a")
		if b.Read["queue:q"].Position != q.Head || b.Requested["queue:q"] != q.Head || len(w.ran("a")) != 2 {
			t.Errorf("head %s, bot at %s after runs at %v", q.Head, b.Read["queue:q"].Position, w.ran("a"))
		}
	})
}

func TestFailuresBackOffExactly(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, func(r *run) error {
			time.Sleep(time.Second)
			if len(w.ran("a")) <= 12 {
				return errBoom
			}
			r.read("q")
			return nil
		})
		_, stop := w.dispatch(Config{})
		defer stop()
		synctest.Wait()
		w.publish("q", 0)
		time.Sleep(2 * time.Second)
		if b := w.get("a"); b.ErrorCount != 1 || b.ScheduledTrigger != w.began.UnixMilli()+1000+2250 {
			t.Errorf("errors %d, scheduled %d", b.ErrorCount, b.ScheduledTrigger-w.began.UnixMilli())
		}
		time.Sleep(24 * time.Hour)
		ran := w.ran("a")
		if len(ran) != 13 {
			t.Fatalf("ran at %v", ran)
		}
		for i, want := range []time.Duration{2250, 5062, 11390, 25628, 57665, 129746, 291929, 656840, 1477891, 3325256, 3325256, 3325256} {
			if got := ran[i+1] - ran[i] - time.Second; got != want*time.Millisecond {
				t.Errorf("after %d errors it waited %v, want %v", i+1, got, want*time.Millisecond)
			}
		}
		if b := w.get("a"); b.ErrorCount != 0 || b.Instance.Status != store.StatusComplete {
			t.Errorf("after success: %d errors, %s", b.ErrorCount, b.Instance.Status)
		}
	})
}

func TestAFailedInvocationGivesTheLockBackAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
		w.refuse["a"] = errors.New("no such function")
		_, stop := w.dispatch(Config{})
		defer stop()
		synctest.Wait()
		w.publish("q", 0)
		synctest.Wait()
		b := w.get("a")
		if b.ErrorCount != 1 || b.Instance.CompletedTime == 0 || b.Instance.Status != store.StatusError || len(b.Instance.Log) == 0 {
			t.Fatalf("after the failed invocation: %+v", b)
		}
		w.mu.Lock()
		delete(w.refuse, "a")
		w.mu.Unlock()
		time.Sleep(2249 * time.Millisecond)
		if len(w.ran("a")) != 0 {
			t.Error("ran before its back-off was over")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if len(w.ran("a")) != 1 || w.get("a").ErrorCount != 0 {
			t.Errorf("ran %v, errors %d", w.ran("a"), w.get("a").ErrorCount)
		}
	})
}

func TestADeadRunIsRetriedWithoutOutsideHelp(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, func(r *run) error {
			if len(w.ran("a")) == 1 {
				r.dies = true
				return nil
			}
			r.read("q")
			return nil
		})
		_, stop := w.dispatch(Config{})
		defer stop()
		synctest.Wait()
		w.publish("q", 0)
		synctest.Wait()
		time.Sleep(time.Minute) // the run's MaxDuration
		if got := len(w.ran("a")); got != 1 {
			t.Fatalf("%d runs while the first held the lock", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if b := w.get("a"); b.ErrorCount != 1 || b.Instance.Status != store.StatusError {
			t.Errorf("the dead run was not counted: %d, %q", b.ErrorCount, b.Instance.Status)
		}
		time.Sleep(2250 * time.Millisecond)
		synctest.Wait()
		ran := w.ran("a")
		if len(ran) != 2 || ran[1]-ran[0] != time.Minute+time.Millisecond+2250*time.Millisecond {
			t.Errorf("ran at %v", ran)
		}
	})
}

func TestRunsThatGetNowhereAreSlowedDown(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, func(*run) error { return nil })
		_, stop := w.dispatch(Config{})
		defer stop()
		synctest.Wait()
		w.publish("q", 0)
		time.Sleep(time.Minute)
		ran := w.ran("a")
		for i, want := range []time.Duration{2250, 5062, 11390, 25628} {
			if len(ran) != 5 || (ran[i+1]-ran[i]).Round(10*time.Millisecond) != (want*time.Millisecond).Round(10*time.Millisecond) {
				t.Fatalf("ran at %v", ran)
			}
		}
		// Something new lifts the delay, and so does an operator.
		w.publish("q", 1)
		synctest.Wait()
		if got := len(w.ran("a")); got != 6 {
			t.Errorf("%d runs after a new event", got)
		}
		time.Sleep(time.Second)
		w.control("a", store.Control{IgnorePaused: ptr(true), Trigger: ptr(time.Now().UnixMilli())})
		synctest.Wait()
		if got := len(w.ran("a")); got != 7 {
			t.Errorf("%d runs after run now", got)
		}
	})
}

func TestPauseResumeRunNowArchive(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}, Paused: true}, reads("q"))
		_, stop := w.dispatch(Config{})
		defer stop()
		runs := func(want int, when string) {
			t.Helper()
			time.Sleep(time.Second)
			if got := len(w.ran("a")); got != want {
				t.Fatalf("%s: %d runs, want %d", when, got, want)
			}
		}
		head := w.publish("q", 0)
		runs(0, "paused")
		if w.get("a").Requested["queue:q"] != head {
			t.Error("a paused bot is not told of events")
		}
		w.control("a", store.Control{IgnorePaused: ptr(true), Trigger: ptr(time.Now().UnixMilli())})
		runs(1, "run now")
		if b := w.get("a"); b.IgnorePaused || !b.Paused {
			t.Errorf("after run now: %+v", b)
		}
		w.publish("q", 1)
		runs(1, "still paused")
		w.control("a", store.Control{Paused: ptr(false)})
		runs(2, "resumed")
		w.control("a", store.Control{Trigger: ptr(time.Now().UnixMilli())})
		runs(3, "triggered")
		w.control("a", store.Control{Archived: ptr(true)})
		requested := w.get("a").Requested["queue:q"]
		w.publish("q", 2)
		runs(3, "archived")
		if got := w.get("a").Requested["queue:q"]; got != requested {
			t.Error("an archived bot was told of events")
		}
		w.control("a", store.Control{Archived: ptr(false)})
		runs(4, "back from the archive")
	})
}

func TestScheduledTriggerAndRunAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a"}, func(r *run) error {
			r.done.RunAgain = len(w.ran("a")) < 3
			if len(w.ran("a")) == 3 {
				r.done.RetryAt = time.Now().Add(time.Hour).UnixMilli()
			}
			return nil
		})
		_, stop := w.dispatch(Config{})
		defer stop()
		w.control("a", store.Control{ScheduledTrigger: ptr(time.Now().Add(time.Minute).UnixMilli())})
		time.Sleep(3 * time.Hour)
		ran := w.ran("a")
		if len(ran) != 4 || ran[0] != time.Minute || ran[2]-ran[0] > time.Second || (ran[3]-ran[2]).Round(time.Second) != time.Hour {
			t.Errorf("ran at %v", ran)
		}
	})
}

func TestARestartGoesOnFromTheRows(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "behind", Triggers: []string{"q"}}, reads("q"))
		w.bot(store.Registration{ID: "asked"}, func(*run) error { return nil })
		w.bot(store.Registration{ID: "died"}, func(*run) error { return nil })
		// What a crash leaves: a head nobody was told of, a trigger, a run that never ends.
		w.publish("q", 0)
		if err := w.st.Bots.Request(t.Context(), store.Request{Bot: "asked", At: time.Now().UnixMilli()}); err != nil {
			t.Fatal(err)
		}
		now := time.Now().UnixMilli()
		if err := w.st.Bots.Lock(t.Context(), store.Lock{Bot: "died", At: now}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		_, stop := w.dispatch(Config{})
		defer stop()
		time.Sleep(10 * time.Second)
		for _, id := range []string{"behind", "asked", "died"} {
			if got := len(w.ran(id)); got != 1 {
				t.Errorf("%s ran %d times after the restart", id, got)
			}
		}
	})
}

// TestManyBotsAndSeveralDispatchers: whatever the interleaving, no bot runs twice at once (the world checks), and nothing
// published stays without a run.
func TestManyBotsAndSeveralDispatchers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		const bots, queues = 120, 10
		for i := range bots {
			q := fmt.Sprintf("q%d", i%queues)
			w.bot(store.Registration{ID: fmt.Sprintf("bot-%03d", i), Triggers: []string{q, fmt.Sprintf("q%d", (i+1)%queues)}}, func(r *run) error {
				time.Sleep(time.Duration(i%7) * time.Millisecond)
				if i%10 == 3 && len(w.ran(r.row.ID))%3 == 0 {
					return errBoom
				}
				r.read(q)
				r.read(fmt.Sprintf("q%d", (i+1)%queues))
				return nil
			})
		}
		for q := range queues {
			w.publish(fmt.Sprintf("q%d", q), 0)
		}
		var ds []*Dispatcher
		var stops []func()
		for range 3 {
			d, stop := w.dispatch(Config{Parallel: 8})
			defer stop()
			ds, stops = append(ds, d), append(stops, stop)
		}
		for round := range 50 {
			q := fmt.Sprintf("q%d", round%queues)
			w.publish(q, round)
			ds[round%3].Notify(q)
			time.Sleep(time.Duration(round%11) * time.Millisecond)
			if round == 25 {
				stops[0]()
			}
		}
		time.Sleep(time.Hour)
		for i := range bots {
			b := w.get(fmt.Sprintf("bot-%03d", i))
			for _, ref := range b.Triggers {
				q, err := w.st.Queues.Get(t.Context(), strings.TrimPrefix(ref, "queue:"))
				if err != nil {
					t.Fatal(err)
				}
				if b.Read[ref].Position != q.Head || b.Requested[ref] != q.Head {
					t.Errorf("%s is at %s on %s, whose head is %s", b.ID, b.Read[ref].Position, ref, q.Head)
				}
			}
		}
	})
}

func TestAProcessRunsOnlyTheBotsItHosts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "mine", Triggers: []string{"q"}}, reads("q"))
		w.bot(store.Registration{ID: "theirs", Triggers: []string{"q"}}, reads("q"))
		// The first holds the lease and hosts nothing: it asks, the second runs.
		_, stop1 := w.dispatch(Config{Hosts: func(store.Bot) bool { return false }})
		defer stop1()
		synctest.Wait()
		d2, stop2 := w.dispatch(Config{Hosts: func(b store.Bot) bool { return b.ID == "mine" }})
		defer stop2()
		synctest.Wait()
		w.publish("q", 0)
		synctest.Wait()
		if len(w.ran("mine")) != 1 || len(w.ran("theirs")) != 0 || w.get("theirs").Trigger == 0 {
			t.Errorf("mine ran %v, theirs %v", w.ran("mine"), w.ran("theirs"))
		}
		stop1()
		// Without the lease's holder the second still starts its own bots on Notify, before it takes over.
		w.publish("q", 1)
		d2.Notify("q")
		synctest.Wait()
		if len(w.ran("mine")) != 2 {
			t.Errorf("mine ran %v", w.ran("mine"))
		}
	})
}

func TestAnotherProcessTakesOverFromOneThatDied(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		// The lease of a process that is gone.
		now := time.Now()
		if err := w.st.Settings.Acquire(t.Context(), LeaseName, "dead", now.UnixMilli(), now.Add(5*time.Second).UnixMilli()); err != nil {
			t.Fatal(err)
		}
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
		_, stop := w.dispatch(Config{})
		defer stop()
		synctest.Wait()
		w.publish("q", 0)
		time.Sleep(7 * time.Second)
		if got := len(w.ran("a")); got != 1 {
			t.Errorf("%d runs after the take-over", got)
		}
	})
}
