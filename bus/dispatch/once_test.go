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
	"time"

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
		for _, q := range []string{"q", "p"} {
			if b := w.get("b3"); b.Requested["queue:"+q] != w.head(q).ID || b.Trigger == 0 {
				t.Errorf("C47: %+v", b)
			}
		}
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
