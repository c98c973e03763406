package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/store"
)

// once returns a one-shot dispatcher on the world's store.
func (w *world) once(cfg OnceConfig) *Once { return w.onceOn(w.st, cfg) }

func (w *world) onceOn(st store.Store, cfg OnceConfig) *Once {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return NewOnce(st, w, cfg)
}

// head returns the head of a queue as the change of its row tells it.
func (w *world) head(queue string) Head {
	w.t.Helper()
	q, err := w.st.Queues.Get(w.t.Context(), queue)
	if err != nil {
		w.t.Fatal(err)
	}
	return Head{ID: q.Head, At: q.Timestamp}
}

// moves publishes to queues and serves that.
func (w *world) moves(o *Once, queues ...string) Report {
	w.t.Helper()
	heads := map[string]Head{}
	for _, q := range queues {
		w.publish(q, 0)
		heads[q] = w.head(q)
	}
	r, err := o.Moved(w.t.Context(), heads)
	if err != nil {
		w.t.Error(err)
	}
	return r
}

// streamed serves the changes that fn makes to bots, as their stream would tell them. Changes made by the bots' runs are
// not among them.
func (w *world) streamed(o *Once, ids []string, fn func()) Report {
	w.t.Helper()
	var changes []RowChange
	for _, id := range ids {
		row, err := w.st.Bots.Get(w.t.Context(), id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			w.t.Fatal(err)
		}
		changes = append(changes, RowChange{Old: row})
	}
	fn()
	for i, id := range ids {
		changes[i].New = w.get(id)
	}
	r, err := o.Rows(w.t.Context(), changes)
	if err != nil {
		w.t.Error(err)
	}
	return r
}

func (w *world) sweep(o *Once, stay time.Duration) (time.Time, Report) {
	w.t.Helper()
	next, r, err := o.Sweep(w.t.Context(), stay)
	if err != nil {
		w.t.Error(err)
	}
	return next, r
}

// counted counts the calls of a store.
type counted struct {
	mu sync.Mutex
	n  map[string]int
}

func (c *counted) add(call string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[call]++
}

func (c *counted) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := ""
	for _, k := range slices.Sorted(maps.Keys(c.n)) {
		out += fmt.Sprintf("%s %d, ", k, c.n[k])
	}
	c.n = nil
	if out == "" {
		return out
	}
	return out[:len(out)-2]
}

func (c *counted) wrap(st store.Store) store.Store {
	st.Bots, st.Queues, st.Settings = countedBots{st.Bots, c}, countedQueues{st.Queues, c}, countedSettings{st.Settings, c}
	return st
}

type countedBots struct {
	store.Bots
	c *counted
}

func (b countedBots) Get(ctx context.Context, id string) (store.Bot, error) {
	b.c.add("get")
	return b.Bots.Get(ctx, id)
}

func (b countedBots) List(ctx context.Context, after string, n int) ([]store.Bot, error) {
	b.c.add("list")
	return b.Bots.List(ctx, after, n)
}

func (b countedBots) Request(ctx context.Context, r store.Request) error {
	b.c.add("request")
	return b.Bots.Request(ctx, r)
}

func (b countedBots) Lock(ctx context.Context, l store.Lock) error {
	b.c.add("lock")
	return b.Bots.Lock(ctx, l)
}

func (b countedBots) Control(ctx context.Context, id string, c store.Control) error {
	b.c.add("control")
	return b.Bots.Control(ctx, id, c)
}

func (b countedBots) Complete(ctx context.Context, c store.Complete) error {
	b.c.add("complete")
	return b.Bots.Complete(ctx, c)
}

type countedQueues struct {
	store.Queues
	c *counted
}

func (q countedQueues) Get(ctx context.Context, name string) (store.Queue, error) {
	q.c.add("head")
	return q.Queues.Get(ctx, name)
}

func (q countedQueues) List(ctx context.Context, after string, n int) ([]store.Queue, error) {
	q.c.add("heads")
	return q.Queues.List(ctx, after, n)
}

type countedSettings struct {
	store.Settings
	c *counted
}

func (s countedSettings) Get(ctx context.Context, id string) (json.RawMessage, error) {
	s.c.add("setting")
	return s.Settings.Get(ctx, id)
}

// TestWS4OneReadAndOneWriteForEachTriggeredRun: what a triggered run costs in requests (besides the run's own), and that what
// a run writes costs the dispatcher nothing.
func TestWS4OneReadAndOneWriteForEachTriggeredRun(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for i := range 10 {
			w.bot(store.Registration{ID: fmt.Sprintf("b%d", i), Triggers: []string{"q", "p"}}, func(r *run) error {
				time.Sleep(time.Second)
				r.read("q")
				r.read("p")
				return nil
			})
		}
		var c counted
		o := w.onceOn(c.wrap(w.st), OnceConfig{})
		want := func(what, want string) {
			t.Helper()
			if got := c.take(); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
		}
		if r := w.moves(o, "q", "p"); r.Started != 10 {
			t.Errorf("%+v", r)
		}
		want("the first time", "get 10, list 1, lock 10, setting 1")
		time.Sleep(2 * time.Second)
		w.moves(o, "q", "p")
		want("ten runs", "get 10, lock 10, setting 1")
		time.Sleep(time.Millisecond)
		if r := w.moves(o, "q", "p"); r.Requested != 10 {
			t.Errorf("%+v", r)
		}
		want("while they run", "get 10, request 10, setting 1")
		if r := w.moves(o, "nobody's"); r != (Report{}) {
			t.Errorf("%+v", r)
		}
		want("a queue that triggers nobody", "setting 1")

		time.Sleep(2 * time.Second)
		c.take()
		if _, err := o.Changed(t.Context(), []string{"b0"}); err != nil { // It was triggered after its invocation.
			t.Fatal(err)
		}
		want("a run because of the request", "get 1, lock 1")
		before := w.get("b0")
		time.Sleep(2 * time.Second)
		if r, err := o.Rows(t.Context(), []RowChange{{Old: before, New: w.get("b0")}}); err != nil || r.Bots != 0 {
			t.Errorf("caught up: %+v, %v", r, err)
		}
		want("a run that ended with nothing more to do", "")
	})
}

// TestWS4WritesOfARunNeedNoLook: lock, confirm, extend, checkpoint and request of a running bot are passed over without a
// request; a completion that leaves it behind is not (C51).
func TestWS4WritesOfARunNeedNoLook(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, func(r *run) error {
			head := w.head("q")
			time.Sleep(time.Second)
			r.checkpoint("q", head.ID)
			time.Sleep(time.Second)
			return nil
		})
		// Every write of the row, as its stream has them.
		rec := &recorder{Bots: w.st.Bots, t: t}
		w.st.Bots = rec
		var c counted
		o := w.onceOn(c.wrap(w.st), OnceConfig{})
		w.moves(o, "q")
		time.Sleep(500 * time.Millisecond)
		w.moves(o, "q") // while it runs: a request
		time.Sleep(1700 * time.Millisecond)
		c.take()
		changes := rec.take()
		looked := 0
		for i, ch := range changes {
			r, err := o.Rows(t.Context(), []RowChange{ch})
			if err != nil {
				t.Fatal(err)
			}
			if looked += r.Bots; r.Bots > 0 != (i == len(changes)-1) {
				t.Errorf("change %d of %d: %+v", i, len(changes), r)
			}
		}
		if got := c.take(); len(changes) != 5 || looked != 1 || got != "get 1, lock 1" {
			t.Errorf("%d changes, %d looks, %s", len(changes), looked, got)
		}
		time.Sleep(5 * time.Second)
		if ran := w.ran("a"); len(ran) != 2 {
			t.Errorf("C51: it ran at %v", ran)
		}
	})
}

// recorder keeps what a change stream of the bots would deliver.
type recorder struct {
	store.Bots
	t       *testing.T
	mu      sync.Mutex
	changes []RowChange
}

func (r *recorder) write(ctx context.Context, id string, fn func() error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	before, _ := r.Bots.Get(ctx, id)
	if err := fn(); err != nil {
		return err
	}
	after, err := r.Bots.Get(ctx, id)
	if err != nil {
		r.t.Error(err)
	}
	if !reflect.DeepEqual(before, after) {
		r.changes = append(r.changes, RowChange{Old: before, New: after})
	}
	return nil
}

// take returns the changes since the last time.
func (r *recorder) take() []RowChange {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.changes
	r.changes = nil
	return c
}

func (r *recorder) Register(ctx context.Context, reg store.Registration) error {
	return r.write(ctx, reg.ID, func() error { return r.Bots.Register(ctx, reg) })
}

func (r *recorder) Control(ctx context.Context, id string, c store.Control) error {
	return r.write(ctx, id, func() error { return r.Bots.Control(ctx, id, c) })
}

func (r *recorder) Checkpoint(ctx context.Context, c store.CheckpointWrite) error {
	return r.write(ctx, c.Bot, func() error { return r.Bots.Checkpoint(ctx, c) })
}

func (r *recorder) Request(ctx context.Context, q store.Request) error {
	return r.write(ctx, q.Bot, func() error { return r.Bots.Request(ctx, q) })
}

func (r *recorder) Lock(ctx context.Context, l store.Lock) error {
	return r.write(ctx, l.Bot, func() error { return r.Bots.Lock(ctx, l) })
}

func (r *recorder) Confirm(ctx context.Context, c store.Confirm) error {
	return r.write(ctx, c.Bot, func() error { return r.Bots.Confirm(ctx, c) })
}

func (r *recorder) Complete(ctx context.Context, c store.Complete) error {
	return r.write(ctx, c.Bot, func() error { return r.Bots.Complete(ctx, c) })
}

// TestWP4OneBadBotDoesNotHoldUpTheOthers also tests that the call names it, and that a sweep serves it once it is well.
func TestWP4OneBadBotDoesNotHoldUpTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for i := range 20 {
			w.bot(store.Registration{ID: fmt.Sprintf("b%02d", i), Triggers: []string{"q"}}, reads("q"))
		}
		st := w.st
		bad := &refusing{Bots: st.Bots, bot: "b07"}
		st.Bots = bad
		o := w.onceOn(st, OnceConfig{})
		w.publish("q", 0)
		r, err := o.Moved(t.Context(), map[string]Head{"q": w.head("q")})
		var f *Failures
		if !errors.As(err, &f) || f.All() || len(f.Bots) != 1 || f.Bots[0].Bot != "b07" || !errors.Is(err, store.ErrThrottled) || r.Started != 19 {
			t.Errorf("%+v, %v", r, err)
		}
		time.Sleep(time.Second)
		for i := range 20 {
			id := fmt.Sprintf("b%02d", i)
			if got := len(w.ran(id)); (got != 1) != (id == "b07") {
				t.Errorf("%s ran %d times", id, got)
			}
		}
		bad.well.Store(true)
		w.sweep(o, 0)
		time.Sleep(time.Second)
		if got := len(w.ran("b07")); got != 1 {
			t.Errorf("b07 ran %d times once the storage took its row", got)
		}
	})
}

// refusing refuses every use of one bot's row until it is well.
type refusing struct {
	store.Bots
	bot  string
	well atomic.Bool
}

func (r *refusing) Get(ctx context.Context, id string) (store.Bot, error) {
	if id == r.bot && !r.well.Load() {
		return store.Bot{}, store.ErrThrottled
	}
	return r.Bots.Get(ctx, id)
}

func TestFailuresTellWhetherTheStorageIsAtFault(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
		st := w.st
		st.Bots = &refusing{Bots: st.Bots, bot: "a"}
		o := w.onceOn(st, OnceConfig{})
		w.publish("q", 0)
		_, err := o.Moved(t.Context(), map[string]Head{"q": w.head("q")})
		var f *Failures
		if !errors.As(err, &f) || !f.All() {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		o = w.once(OnceConfig{})
		if _, err := o.Moved(ctx, map[string]Head{"q": w.head("q")}); !errors.Is(err, context.Canceled) {
			t.Errorf("with an ended context: %v", err)
		}
		if len(w.ran("a")) != 0 {
			t.Error("it ran")
		}
	})
}

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
