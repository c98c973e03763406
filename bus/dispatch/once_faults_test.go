package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/store"
)

// TestWP5AFailedInvocationGivesTheLockBack: the run counts as failed, and the next attempt waits for its back-off.
func TestWP5AFailedInvocationGivesTheLockBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
		w.refuse["a"] = errBoom
		o := w.once(OnceConfig{})
		if r := w.moves(o, "q"); r.Refused != 1 || r.Started != 0 {
			t.Errorf("%+v", r)
		}
		b := w.get("a")
		if b.ErrorCount != 1 || b.Instance.CompletedTime == 0 || b.Instance.Status != store.StatusError || b.Requested["queue:q"] == "" {
			t.Errorf("%+v", b)
		}
		if want := b.Instance.CompletedTime + 2250; b.ScheduledTrigger != want {
			t.Errorf("back-off until %d, want %d", b.ScheduledTrigger, want)
		}
		clear(w.refuse)
		_, r := w.sweep(o, 10*time.Second)
		time.Sleep(time.Second)
		if ran := w.ran("a"); r.Started != 1 || len(ran) != 1 || ran[0] != 2250*time.Millisecond {
			t.Errorf("%+v, ran at %v", r, ran)
		}
	})
}

// TestWP5AReleaseIsTriedAgain: the storage fails while the lock of a failed invocation is given back.
func TestWP5AReleaseIsTriedAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
		w.refuse["a"] = errBoom
		st := w.st
		st.Bots = &completing{Bots: st.Bots, fails: 2}
		o := w.onceOn(st, OnceConfig{})
		if r := w.moves(o, "q"); r.Refused != 1 {
			t.Errorf("%+v", r)
		}
		if b := w.get("a"); b.ErrorCount != 1 || b.Instance.CompletedTime == 0 {
			t.Errorf("%+v", b)
		}
	})
}

// completing fails so many completions.
type completing struct {
	store.Bots
	fails int
}

func (c *completing) Complete(ctx context.Context, r store.Complete) error {
	if c.fails--; c.fails >= 0 {
		return store.ErrUnavailable
	}
	return c.Bots.Complete(ctx, r)
}

// TestALockWhoseAnswerWasLostIsGivenBack: nobody would know of it.
func TestALockWhoseAnswerWasLostIsGivenBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
		st := w.st
		st.Bots = &losing{Bots: st.Bots, left: 1}
		o := w.onceOn(st, OnceConfig{})
		if r := w.moves(o, "q"); r.Refused != 1 {
			t.Errorf("%+v", r)
		}
		w.sweep(o, 10*time.Second)
		synctest.Wait()
		if ran := w.ran("a"); len(ran) != 1 || ran[0] != 2250*time.Millisecond {
			t.Errorf("ran at %v", ran)
		}
	})
}

// losing stores locks and loses the answers.
type losing struct {
	store.Bots
	left int
}

func (l *losing) Lock(ctx context.Context, k store.Lock) error {
	err := l.Bots.Lock(ctx, k)
	if l.left--; l.left >= 0 {
		return store.ErrUnavailable
	}
	return err
}

// TestWP6ArchivedBotsAreNeitherAskedNorRun, also where the table of triggers still has them.
func TestWP6ArchivedBotsAreNeitherAskedNorRun(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}, Schedule: "* * * * *"}, reads("q"))
		o := w.once(OnceConfig{})
		w.moves(o, "other") // makes the table
		w.control("a", store.Control{Archived: ptr(true)})
		if r := w.moves(o, "q"); r != (Report{Bots: 1}) {
			t.Errorf("%+v", r)
		}
		before := w.get("a")
		time.Sleep(3 * time.Minute)
		w.sweep(o, 0)
		w.sweep(o, time.Minute)
		if r, err := o.Changed(t.Context(), []string{"a"}); err != nil || r.Started != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		if diff := cmp.Diff(before, w.get("a")); diff != "" || len(w.ran("a")) != 0 {
			t.Errorf("it ran at %v, or its row changed: %s", w.ran("a"), diff)
		}
	})
}

// TestC52PausedBotsAreAskedAndRunOnceWhenForced.
func TestC52PausedBotsAreAskedAndRunOnceWhenForced(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}, Paused: true}, reads("q"))
		o := w.once(OnceConfig{})
		if r := w.moves(o, "q"); r.Requested != 1 || r.Started != 0 {
			t.Errorf("%+v", r)
		}
		if b := w.get("a"); b.Requested["queue:q"] != w.head("q").ID || b.Trigger == 0 {
			t.Errorf("C47: %+v", b)
		}
		if r := w.streamed(o, []string{"a"}, func() { w.control("a", store.Control{IgnorePaused: ptr(true)}) }); r.Started != 1 {
			t.Errorf("%+v", r)
		}
		synctest.Wait()
		if b := w.get("a"); b.IgnorePaused {
			t.Error("the force is still there")
		}
		time.Sleep(time.Second)
		if r := w.streamed(o, []string{"a"}, func() { w.control("a", store.Control{Trigger: ptr(time.Now().UnixMilli())}) }); r.Started != 0 {
			t.Errorf("%+v", r)
		}
		if r := w.streamed(o, []string{"a"}, func() { w.control("a", store.Control{Paused: ptr(false)}) }); r.Started != 1 {
			t.Errorf("unpaused: %+v", r)
		}
	})
}

// TestWP7ADeadRunIsFoundWithoutOutsideEvents (C58), whether or not it ever started.
func TestWP7ADeadRunIsFoundWithoutOutsideEvents(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		dies := true
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, func(r *run) error {
			if dies {
				r.dies, dies = true, false
				return nil
			}
			r.read("q")
			return nil
		})
		o := w.once(OnceConfig{})
		w.moves(o, "q")
		for range 3 { // as EventBridge does
			time.Sleep(time.Minute)
			w.sweep(o, 55*time.Second)
		}
		ran := w.ran("a")
		if len(ran) != 2 || ran[1] < time.Minute || ran[1] > 3*time.Minute {
			t.Errorf("ran at %v", ran)
		}
		if b := w.get("a"); b.Read["queue:q"].Position != w.head("q").ID || b.ErrorCount != 0 {
			t.Errorf("%+v", b)
		}
	})
}

// TestWP8AnInstanceWithoutInvokeTimeCanBeLocked: software that replaced the instance at the end left none.
func TestWP8AnInstanceWithoutInvokeTimeCanBeLocked(t *testing.T) {
	row := store.Bot{
		ID: "a", Invocation: store.Invocation{Type: "lambda"}, InvokeTime: 5, Token: 5, Trigger: 9,
		Instance: store.Instance{CompletedTime: 7, Status: store.StatusComplete},
	}
	d := Decide(row, time.UnixMilli(100))
	if d.Action != Run || d.Lock.Seen != 5 || d.Lock.At != 100 {
		t.Errorf("%+v", d)
	}
}

// TestWP9ABotThatNeverCheckpointsIsSlowedDown and TestWP11 is its other half: each trigger counts.
func TestWP9ABotThatNeverCheckpointsIsSlowedDown(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, func(r *run) error { time.Sleep(time.Millisecond); return nil })
		rec := &recorder{Bots: w.st.Bots, t: t}
		w.st.Bots = rec
		o := w.once(OnceConfig{})
		w.moves(o, "q")
		for range 600 { // bot-runner sees every change at once, the scheduler looks every minute
			time.Sleep(time.Second)
			if _, err := o.Rows(t.Context(), rec.take()); err != nil {
				t.Fatal(err)
			}
			if time.Now().Second() == 0 {
				w.sweep(o, 0)
			}
		}
		if ran := w.ran("a"); len(ran) < 4 || len(ran) > 10 {
			t.Errorf("%d runs in ten minutes: %v", len(ran), ran)
		}
	})
}

func TestWP11BacklogOnTheSecondTriggerCounts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		first := true
		w.bot(store.Registration{ID: "a", Triggers: []string{"q", "p"}}, func(r *run) error {
			if r.read("q"); first {
				first = false
				return nil
			}
			r.read("p")
			return nil
		})
		o := w.once(OnceConfig{})
		w.moves(o, "q", "p")
		synctest.Wait()
		w.sweep(o, 10*time.Second) // As p did not move, there is a delay (W-P9).
		synctest.Wait()
		if b := w.get("a"); b.Read["queue:p"].Position != w.head("p").ID {
			t.Errorf("%+v", b.Read)
		}
	})
}

// TestWP12DeletedBotsStayDeleted: nothing that the dispatcher writes makes a row.
func TestWP12DeletedBotsStayDeleted(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "zz", Triggers: []string{"q"}, Schedule: "* * * * *"}, reads("q"))
		st := w.st
		del := &deleting{Bots: st.Bots, bot: "zz", t: t}
		st.Bots = del
		o := w.onceOn(st, OnceConfig{})
		w.moves(o, "other")
		w.sweep(o, 0)
		gone := w.get("zz")
		del.gone.Store(true)
		if r := w.moves(o, "q"); r != (Report{Bots: 1}) {
			t.Errorf("%+v", r)
		}
		if r, err := o.Changed(t.Context(), []string{"zz", "zz", "never"}); err != nil || r != (Report{Bots: 2}) {
			t.Errorf("%+v, %v", r, err)
		}
		if r, err := o.Rows(t.Context(), []RowChange{{Old: gone}}); err != nil || r.Bots != 0 {
			t.Errorf("%+v, %v", r, err)
		}
		time.Sleep(2 * time.Minute)
		w.sweep(o, time.Minute)
		if len(w.ran("zz")) != 0 {
			t.Error("it ran")
		}
	})
}

// TestWP16ConsecutiveRunsHaveDifferentTokens, even within one millisecond.
func TestWP16ConsecutiveRunsHaveDifferentTokens(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var tokens []int64
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, func(r *run) error {
			tokens = append(tokens, r.token)
			if len(tokens) < 5 {
				r.done.RunAgain = true
			}
			r.read("q")
			return nil
		})
		rec := &recorder{Bots: w.st.Bots, t: t}
		w.st.Bots = rec
		o := w.once(OnceConfig{})
		w.moves(o, "q")
		for range 10 {
			synctest.Wait()
			if _, err := o.Rows(t.Context(), rec.take()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
		}
		if len(tokens) != 5 || len(slices.Compact(slices.Clone(tokens))) != 5 {
			t.Errorf("C56: tokens %v", tokens)
		}
	})
}

// TestWO10DelayIsTheLeastTimeBetweenRuns.
func TestWO10DelayIsTheLeastTimeBetweenRuns(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}, Delay: 30_000}, reads("q"))
		o := w.once(OnceConfig{})
		w.moves(o, "q")
		time.Sleep(10 * time.Second)
		if r := w.moves(o, "q"); r.Started != 0 || r.Requested != 1 {
			t.Errorf("%+v", r)
		}
		w.sweep(o, 55*time.Second)
		synctest.Wait()
		if ran := w.ran("a"); len(ran) != 2 || ran[1] != 30*time.Second {
			t.Errorf("ran at %v", ran)
		}
	})
}

// TestWS8BotsAreServedInParallelEachByOne.
func TestWS8BotsAreServedInParallelEachByOne(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for i := range 40 {
			w.bot(store.Registration{ID: fmt.Sprintf("b%02d", i), Triggers: []string{"q"}}, reads("q"))
		}
		st := w.st
		s := &slow{Bots: st.Bots, busy: map[string]bool{}, t: t}
		st.Bots = s
		o := w.onceOn(st, OnceConfig{Parallel: 10})
		began := time.Now()
		w.moves(o, "q")
		if took := time.Since(began); took != 400*time.Millisecond || s.most != 10 {
			t.Errorf("40 bots, 100 ms each, took %v; %d at once", took, s.most)
		}
	})
}

// slow takes 100 ms for each read of a row.
type slow struct {
	store.Bots
	t    *testing.T
	mu   sync.Mutex
	busy map[string]bool
	most int
}

func (s *slow) Get(ctx context.Context, id string) (store.Bot, error) {
	s.mu.Lock()
	if s.busy[id] {
		s.t.Errorf("%s is worked on twice at once", id)
	}
	s.busy[id] = true
	s.most = max(s.most, len(s.busy))
	s.mu.Unlock()
	time.Sleep(100 * time.Millisecond)
	s.mu.Lock()
	delete(s.busy, id)
	s.mu.Unlock()
	return s.Bots.Get(ctx, id)
}

// TestC53BackOffIsNotedAndServed: the error is noted when its change is seen, and at its time the bot runs.
func TestC53BackOffIsNotedAndServed(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		fails := 3
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, func(r *run) error {
			if fails--; fails >= 0 {
				return errBoom
			}
			r.read("q")
			return nil
		})
		rec := &recorder{Bots: w.st.Bots, t: t}
		w.st.Bots = rec
		// The scheduler is told what is due soon, and serves it.
		var scheduler *Once
		var wg sync.WaitGroup
		told := 0
		cfg := OnceConfig{Soon: func(_ context.Context, due map[string]time.Time) error {
			told++
			wg.Go(func() {
				if _, err := scheduler.At(context.WithoutCancel(t.Context()), due, time.Minute); err != nil {
					t.Error(err)
				}
			})
			return nil
		}}
		scheduler = w.once(OnceConfig{})
		o := w.once(cfg)
		w.moves(o, "q")
		for range 200 {
			time.Sleep(100 * time.Millisecond)
			if _, err := o.Rows(t.Context(), rec.take()); err != nil {
				t.Fatal(err)
			}
		}
		wg.Wait()
		var got []time.Duration
		for _, at := range w.ran("a") {
			got = append(got, at.Round(50*time.Millisecond))
		}
		want := []time.Duration{0, 2250 * time.Millisecond, 7300 * time.Millisecond, 18700 * time.Millisecond}
		if !slices.Equal(got, want) || told != 3 {
			t.Errorf("ran at %v, want %v; told %d times", got, want, told)
		}
		if b := w.get("a"); b.ErrorCount != 0 {
			t.Errorf("%+v", b)
		}
	})
}

// TestBotsOfOtherHostsAreAskedOnly: somebody else starts them, but here their dead runs are found.
func TestBotsOfOtherHostsAreAskedOnly(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}, Schedule: "* * * * *"}, reads("q"))
		o := w.once(OnceConfig{Hosts: func(b store.Bot) bool { return b.Invocation.Type != "local" }})
		if r := w.moves(o, "q"); r.Requested != 1 || r.Started != 0 {
			t.Errorf("%+v", r)
		}
		w.sweep(o, time.Minute)
		b := w.get("a")
		if len(w.ran("a")) != 0 || b.Trigger != w.began.Add(time.Minute).UnixMilli() {
			t.Errorf("ran at %v, trigger %v", w.ran("a"), time.UnixMilli(b.Trigger))
		}
	})
}

// TestWP4ABotThatTheStorageIsSlowAboutHoldsUpNoOther: it is given up after a time.
func TestWP4ABotThatTheStorageIsSlowAboutHoldsUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for i := range 3 {
			w.bot(store.Registration{ID: fmt.Sprint("b", i), Triggers: []string{"q"}}, reads("q"))
		}
		st := w.st
		st.Bots = stuck{Bots: st.Bots, bot: "b0"}
		o := w.onceOn(st, OnceConfig{Parallel: 1})
		w.publish("q", 0)
		r, err := o.Moved(t.Context(), map[string]Head{"q": w.head("q")})
		if !errors.Is(err, context.DeadlineExceeded) || r.Started != 2 || time.Since(w.began) != 10*time.Second {
			t.Errorf("after %v: %+v, %v", time.Since(w.began), r, err)
		}
	})
}

// stuck never answers for one bot.
type stuck struct {
	store.Bots
	bot string
}

func (s stuck) Get(ctx context.Context, id string) (store.Bot, error) {
	if id == s.bot {
		<-ctx.Done()
		return store.Bot{}, ctx.Err()
	}
	return s.Bots.Get(ctx, id)
}

// hanging is an invoker whose targets never answer for some bots.
type hanging struct {
	*world
	bots map[string]bool
}

func (h hanging) Invoke(ctx context.Context, row store.Bot, payload []byte) error {
	if h.bots[row.ID] {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return h.world.Invoke(ctx, row, payload)
}

func quiet(cfg OnceConfig) OnceConfig {
	cfg.Logger = slog.New(slog.DiscardHandler)
	return cfg
}

// TestWP4ATargetThatDoesNotAnswerHoldsUpNoOther: its invocation is given up soon, and counts as failed.
func TestWP4ATargetThatDoesNotAnswerHoldsUpNoOther(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, id := range []string{"far", "near"} {
			w.bot(store.Registration{ID: id, Triggers: []string{"q"}}, reads("q"))
		}
		o := NewOnce(w.st, hanging{w, map[string]bool{"far": true}}, quiet(OnceConfig{Parallel: 1}))
		if r := w.moves(o, "q"); r.Started != 1 || r.Refused != 1 || time.Since(w.began) != invokeTime {
			t.Errorf("after %v: %+v", time.Since(w.began), r)
		}
		if b := w.get("far"); b.ErrorCount != 1 || b.Instance.CompletedTime == 0 || b.ScheduledTrigger != b.Instance.CompletedTime+2250 {
			t.Errorf("%+v", b)
		}
	})
}

// TestWP5NoRunIsLeftLockedWhenTheTimeOfACallIsOver: what cannot be carried through in time is asked to run, or told to have failed.
func TestWP5NoRunIsLeftLockedWhenTheTimeOfACallIsOver(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		far := map[string]bool{}
		for i := range 20 {
			id := fmt.Sprintf("far%02d", i)
			far[id] = true
			w.bot(store.Registration{ID: id, Triggers: []string{"q"}}, reads("q"))
		}
		w.bot(store.Registration{ID: "near", Triggers: []string{"q"}}, reads("q"))
		o := NewOnce(w.st, hanging{w, far}, quiet(OnceConfig{Parallel: 1}))
		w.publish("q", 0)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		r, err := o.Moved(ctx, map[string]Head{"q": w.head("q")})
		took := time.Since(w.began)
		if err != nil || r.Started != 0 || r.Refused == 0 || r.Refused+r.Requested != 21 || took > time.Minute {
			t.Errorf("after %v: %+v, %v", took, r, err)
		}
		for id := range far {
			if b := w.get(id); Deadline(&b) != 0 {
				t.Errorf("%s is locked: %+v", id, b.Instance)
			}
		}
		// It was asked to run, so that this shows, and whoever has the time starts it.
		if b := w.get("near"); b.InvokeTime != 0 || b.Requested["queue:q"] != w.head("q").ID {
			t.Errorf("%+v", b)
		}
		_, err = o.Changed(ctx, []string{"near"})
		var failures *Failures
		if !errors.Is(err, ErrNoTime) || !errors.As(err, &failures) || !failures.All() || failures.Bots[0].Bot != "near" {
			t.Errorf("got error %v", err)
		}
		if r, err := o.Changed(t.Context(), []string{"near"}); err != nil || r.Started != 1 {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestARunThatIsBegunIsCarriedThroughBeforeTheCallsTimeIsOver, however slow each of its steps is.
func TestARunThatIsBegunIsCarriedThroughBeforeTheCallsTimeIsOver(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
		w.publish("q", 0)
		for _, c := range []struct {
			what           string
			lock, complete time.Duration
			hangs          bool
		}{
			{what: "the lock", lock: time.Hour},
			{what: "the lock and the release", lock: time.Hour, complete: runTime - lockTime - time.Second},
			{what: "all", lock: lockTime - time.Second, complete: runTime - lockTime - invokeTime, hangs: true},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), runTime+time.Millisecond)
			st := w.st
			st.Bots = &slowSteps{Bots: st.Bots, lock: c.lock, complete: c.complete}
			before, began := w.get("a"), time.Now()
			o := NewOnce(st, hanging{w, map[string]bool{"a": c.hangs}}, quiet(OnceConfig{}))
			r, err := o.Moved(ctx, map[string]Head{"q": w.head("q")})
			if err != nil || r.Refused != 1 || ctx.Err() != nil {
				t.Errorf("%s: after %v: %+v, %v", c.what, time.Since(began), r, err)
			}
			cancel()
			if b := w.get("a"); Deadline(&b) != 0 || b.ErrorCount != before.ErrorCount+1 {
				t.Errorf("%s: %+v", c.what, b)
			}
			time.Sleep(time.Hour)
		}
	})
}

// slowSteps stores locks and ends of runs, and then takes its time to answer.
type slowSteps struct {
	store.Bots
	lock, complete time.Duration
}

func (s *slowSteps) Lock(ctx context.Context, l store.Lock) error {
	return errors.Join(s.Bots.Lock(ctx, l), pass(ctx, s.lock))
}

func (s *slowSteps) Complete(ctx context.Context, c store.Complete) error {
	return errors.Join(s.Bots.Complete(ctx, c), pass(ctx, s.complete))
}

func pass(ctx context.Context, d time.Duration) error {
	if !sleep(ctx, d) {
		return context.Cause(ctx)
	}
	return nil
}
