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

// gate lets an actor take one step at a time, until it is opened.
type gate struct{ steps chan struct{} }

func newGate() gate  { return gate{make(chan struct{})} }
func (g gate) pass() { <-g.steps }
func (g gate) open() { close(g.steps) }
func (g gate) grant() { // if it waits for that
	select {
	case g.steps <- struct{}{}:
	default:
	}
}

// stepwise stops its actor before each call that matters for the table of triggers.
func stepwise(st store.Store, g gate) store.Store {
	st.Bots, st.Queues, st.Settings = stepBots{st.Bots, g}, stepQueues{st.Queues, g}, stepSettings{st.Settings, g}
	return st
}

type stepBots struct {
	store.Bots
	g gate
}

func (b stepBots) Register(ctx context.Context, r store.Registration) error {
	b.g.pass()
	return b.Bots.Register(ctx, r)
}

func (b stepBots) List(ctx context.Context, after string, n int) ([]store.Bot, error) {
	b.g.pass()
	return b.Bots.List(ctx, after, n)
}

type stepQueues struct {
	store.Queues
	g gate
}

func (q stepQueues) Get(ctx context.Context, name string) (store.Queue, error) {
	q.g.pass()
	return q.Queues.Get(ctx, name)
}

type stepSettings struct {
	store.Settings
	g gate
}

func (s stepSettings) Get(ctx context.Context, id string) (json.RawMessage, error) {
	s.g.pass()
	return s.Settings.Get(ctx, id)
}

func (s stepSettings) Put(ctx context.Context, id string, v json.RawMessage) error {
	s.g.pass()
	return s.Settings.Put(ctx, id, v)
}

// TestWP13NoEventFallsBetweenANewTriggerAndTheTable tries every order of the steps of two actors: one registers a trigger and
// serves that change (register, set the version, read the head), the other publishes and serves that (move the head, read the
// version, perhaps read all rows) with a table from before. The bot must be asked for the event in each.
func TestWP13NoEventFallsBetweenANewTriggerAndTheTable(t *testing.T) {
	const steps = 3
	for order := range 1 << (2 * steps) {
		registrar := 0
		for i := range 2 * steps {
			registrar += order >> i & 1
		}
		if registrar != steps {
			continue
		}
		t.Run(fmt.Sprintf("%06b", order), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.bot(store.Registration{ID: "a"}, reads("q"))
				a, b := newGate(), newGate()
				events := w.onceOn(stepwise(w.st, b), OnceConfig{})
				done := make(chan struct{}, 2)
				go func() { // a table from before
					if _, err := events.Moved(t.Context(), map[string]Head{"other": {ID: "z/1", At: 1}}); err != nil {
						t.Error(err)
					}
					done <- struct{}{}
				}()
				for range 2 {
					synctest.Wait()
					b.grant()
				}
				<-done
				old := w.get("a")

				go func() {
					st := stepwise(w.st, a)
					if err := st.Bots.Register(t.Context(), store.Registration{
						ID: "a", Triggers: []string{"q"}, Invocation: store.Invocation{Type: "local"},
					}); err != nil {
						t.Error(err)
					}
					if _, err := w.onceOn(st, OnceConfig{}).Rows(t.Context(), []RowChange{{Old: old, New: w.get("a")}}); err != nil {
						t.Error(err)
					}
					done <- struct{}{}
				}()
				go func() {
					b.pass()
					head := w.publish("q", 0)
					if _, err := events.Moved(t.Context(), map[string]Head{"q": {ID: head, At: time.Now().UnixMilli()}}); err != nil {
						t.Error(err)
					}
					done <- struct{}{}
				}()
				for i := range 2 * steps {
					synctest.Wait()
					if order>>i&1 == 1 {
						a.grant()
					} else {
						b.grant()
					}
				}
				synctest.Wait()
				a.open()
				b.open()
				<-done
				<-done
				synctest.Wait()
				if bot := w.get("a"); bot.Requested["queue:q"] == "" || bot.Read["queue:q"].Position != bot.Requested["queue:q"] {
					t.Errorf("the event was missed: %+v", bot)
				}
				time.Sleep(time.Second)
				w.moves(events, "q")
				synctest.Wait()
				if bot := w.get("a"); bot.Read["queue:q"].Position != w.head("q").ID {
					t.Errorf("the next event was missed: %+v", bot)
				}
			})
		})
	}
}

// TestWP13ATriggerThatComesWhileTheTableIsReadIsInTheNext.
func TestWP13ATriggerThatComesWhileTheTableIsReadIsInTheNext(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		st := w.st
		l := &listening{Bots: st.Bots, after: func() {
			w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
			if _, err := w.once(OnceConfig{}).Rows(t.Context(), []RowChange{{New: w.get("a")}}); err != nil {
				t.Error(err)
			}
		}}
		st.Bots = l
		o := w.onceOn(st, OnceConfig{})
		w.moves(o, "other")
		if r := w.moves(o, "q"); r.Started != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// listening calls a function when the first page of rows was read.
type listening struct {
	store.Bots
	after func()
}

func (l *listening) List(ctx context.Context, after string, n int) ([]store.Bot, error) {
	page, err := l.Bots.List(ctx, after, n)
	if fn := l.after; fn != nil {
		l.after = nil
		fn()
	}
	return page, err
}

// TestWP13TheTableHasEveryBotHoweverManyThereAre.
func TestWP13TheTableHasEveryBotHoweverManyThereAre(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		const bots = 2*scanPage + 7
		for i := range bots {
			w.bot(store.Registration{ID: fmt.Sprintf("b%05d", i), Triggers: []string{"q"}}, reads("q"))
		}
		o := w.once(OnceConfig{})
		if r := w.moves(o, "q"); r.Started != bots {
			t.Errorf("%+v", r)
		}
		synctest.Wait()
		w.publish("q", 5)
		time.Sleep(time.Second)
		if _, r := w.sweep(w.once(OnceConfig{}), 0); r.Started != bots {
			t.Errorf("sweep: %+v", r)
		}
	})
}

// TestWP13TheTableIsReadAgainWhenItIsOld, although nobody announced the change.
func TestWP13TheTableIsReadAgainWhenItIsOld(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		o := w.once(OnceConfig{})
		w.moves(o, "q")
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
		time.Sleep(time.Minute)
		if r := w.moves(o, "q"); r.Bots != 0 {
			t.Errorf("%+v", r)
		}
		time.Sleep(4 * time.Minute)
		if r := w.moves(o, "q"); r.Started != 1 {
			t.Errorf("%+v", r)
		}
	})
}

// TestANewTriggerOnAnOldQueueRunsItsBot: registration, a change of triggers, and the end of an archived time.
func TestANewTriggerOnAnOldQueueRunsItsBot(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.publish("q", 0)
		w.publish("p", 0)
		var c counted
		o := w.onceOn(c.wrap(w.st), OnceConfig{})
		w.moves(o, "r")
		c.take()
		step := func(what string, want int, calls string, fn func()) {
			t.Helper()
			time.Sleep(time.Second)
			if r := w.streamed(o, []string{"a"}, fn); r.Started != want {
				t.Errorf("%s: %+v", what, r)
			}
			if got := c.take(); got != calls {
				t.Errorf("%s: %q, want %q", what, got, calls)
			}
			time.Sleep(time.Second)
		}
		both := func(r *run) error { r.read("q"); r.read("p"); return nil }
		step("registered", 1, "get 1, head 1, lock 1", func() { w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, both) })
		step("registered again", 0, "", func() { w.bot(store.Registration{ID: "a", Name: "new", Triggers: []string{"q"}}, both) })
		step("another trigger, on which it is not behind", 0, "get 1, head 1, request 1", func() {
			w.bot(store.Registration{ID: "a", Triggers: []string{"q", "p"}}, both)
		})
		step("archived", 0, "", func() { w.control("a", store.Control{Archived: ptr(true)}) })
		w.publish("q", 1)
		step("back", 1, "get 1, head 2, lock 1", func() { w.control("a", store.Control{Archived: ptr(false)}) })
		step("a trigger without a queue", 0, "head 1", func() { w.bot(store.Registration{ID: "a", Triggers: []string{"q", "p", "none"}}, both) })
	})
}

// TestAVersionThatCannotBeSetFailsTheCall: it must be repeated. One that cannot be read fails Moved.
func TestAVersionThatCannotBeSetFailsTheCall(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
		st := w.st
		st.Settings = mute{st.Settings}
		o := w.onceOn(st, OnceConfig{})
		var f *Failures
		if _, err := o.Rows(t.Context(), []RowChange{{New: w.get("a")}}); !errors.Is(err, store.ErrThrottled) || errors.As(err, &f) {
			t.Errorf("%v", err)
		}
		if _, err := o.Moved(t.Context(), map[string]Head{"q": {ID: "z/1", At: 1}}); !errors.Is(err, store.ErrThrottled) || errors.As(err, &f) {
			t.Errorf("%v", err)
		}
		if _, _, err := o.Sweep(t.Context(), 0); !errors.Is(err, store.ErrThrottled) {
			t.Errorf("%v", err)
		}
	})
}

// mute is settings that are throttled.
type mute struct{ store.Settings }

func (mute) Get(context.Context, string) (json.RawMessage, error) { return nil, store.ErrThrottled }

func (mute) Put(context.Context, string, json.RawMessage) error { return store.ErrThrottled }

// TestANewestChangeCounts: a batch may hold several changes of a bot, and its deletion.
func TestTheNewestChangeCounts(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.publish("q", 0)
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
		with := w.get("a")
		w.bot(store.Registration{ID: "a"}, reads("q"))
		without := w.get("a")
		o := w.once(OnceConfig{})
		for _, c := range []struct {
			what    string
			changes []RowChange
			bots    int
		}{
			{"added and removed", []RowChange{{Old: without, New: with}, {Old: with, New: without}}, 0},
			{"deleted", []RowChange{{Old: without, New: with}, {Old: with}}, 0},
			{"removed and added", []RowChange{{Old: with, New: without}, {Old: without, New: with}}, 1},
			{"deleted and made again", []RowChange{{Old: with}, {New: with}}, 1},
			{"nothing", nil, 0},
		} {
			if r, err := o.Rows(t.Context(), c.changes); err != nil || r.Bots != c.bots {
				t.Errorf("%s: %+v, %v", c.what, r, err)
			}
		}
	})
}
