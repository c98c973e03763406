package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// flaky refuses requests for one bot until it is healed.
type flaky struct {
	store.Bots
	bot    string
	healed atomic.Bool
}

func (f *flaky) heal() { f.healed.Store(true) }

func (f *flaky) Request(ctx context.Context, r store.Request) error {
	if r.Bot == f.bot && !f.healed.Load() {
		return store.ErrUnavailable
	}
	return f.Bots.Request(ctx, r)
}

func TestOneBadBotDoesNotHoldUpTheOthers(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for i := range 20 {
			w.bot(store.Registration{ID: fmt.Sprintf("b%02d", i), Triggers: []string{"q"}}, reads("q"))
		}
		st := w.st
		f := &flaky{Bots: st.Bots, bot: "b07"}
		st.Bots = f
		_, stop := w.dispatchOn(st, Config{})
		defer stop()
		synctest.Wait()
		w.publish("q", 0)
		time.Sleep(100 * time.Millisecond)
		for i := range 20 {
			id := fmt.Sprintf("b%02d", i)
			if got := len(w.ran(id)); (got != 1) != (id == "b07") {
				t.Errorf("%s ran %d times", id, got)
			}
		}
		f.heal()
		time.Sleep(5 * time.Second)
		if got := len(w.ran("b07")); got != 1 {
			t.Errorf("b07 ran %d times once the storage took its row", got)
		}
	})
}

// holey is a feed that loses everything it has until it is told to stop, and then says so.
type holey struct {
	store.Feed
	losing, lost atomic.Bool
}

func (h *holey) Changes(ctx context.Context, cursor string, limit int) ([]store.Change, string, error) {
	if h.losing.Load() {
		h.lost.Store(true)
		return nil, cursor, nil
	}
	if cursor != "" && h.lost.Swap(false) {
		return nil, "", store.ErrNotFound
	}
	return h.Feed.Changes(ctx, cursor, limit)
}

func (h *holey) Wait(ctx context.Context, cursor string) error {
	if h.losing.Load() {
		sleep(ctx, time.Second)
		return ctx.Err()
	}
	return h.Feed.Wait(ctx, cursor)
}

func TestAGapInTheFeedIsMadeUpByAScan(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		st := w.st
		h := &holey{Feed: st.Feed}
		st.Feed = h
		w.bot(store.Registration{ID: "old", Triggers: []string{"q"}}, reads("q"))
		w.bot(store.Registration{ID: "zz-gone", Triggers: []string{"q"}}, reads("q"))
		del := &deleting{Bots: st.Bots, bot: "zz-gone", t: t}
		st.Bots = del
		d, stop := w.dispatchOn(st, Config{})
		defer stop()
		synctest.Wait()
		h.losing.Store(true)
		del.gone.Store(true)
		w.publish("wakes the dispatcher", 0)
		synctest.Wait()
		w.publish("q", 0)
		w.bot(store.Registration{ID: "new", Triggers: []string{"q"}}, reads("q"))
		time.Sleep(10 * time.Second)
		if len(w.ran("old"))+len(w.ran("new")) != 0 {
			t.Fatalf("ran without a feed: %v, %v", w.ran("old"), w.ran("new"))
		}
		h.losing.Store(false)
		time.Sleep(2 * time.Second)
		if len(w.ran("old")) != 1 || len(w.ran("new")) != 1 {
			t.Errorf("after the gap: old ran %v, new %v", w.ran("old"), w.ran("new"))
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		if len(d.table.bots) != 2 {
			t.Errorf("%d bots are known after one was deleted in the gap", len(d.table.bots))
		}
	})
}

// deleting hides a bot's row once it is told to, as if it were deleted.
type deleting struct {
	store.Bots
	bot  string
	gone atomic.Bool
	t    *testing.T
}

func (d *deleting) hidden(id string) bool { return id == d.bot && d.gone.Load() }

func (d *deleting) Get(ctx context.Context, id string) (store.Bot, error) {
	if d.hidden(id) {
		return store.Bot{}, store.ErrNotFound
	}
	return d.Bots.Get(ctx, id)
}

func (d *deleting) List(ctx context.Context, after string, limit int) ([]store.Bot, error) {
	page, err := d.Bots.List(ctx, after, limit)
	if n := len(page); n > 0 && d.hidden(page[n-1].ID) { // The tests' deleted bots are the last.
		page = page[:n-1]
	}
	return page, err
}

func (d *deleting) Request(ctx context.Context, r store.Request) error {
	if d.hidden(r.Bot) {
		d.t.Error("a deleted bot was written to")
	}
	return d.Bots.Request(ctx, r)
}

func TestADeletedBotIsForgottenAndMayComeBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}, Schedule: "* * * * *"}, reads("q"))
		st := w.st
		del := &deleting{Bots: st.Bots, bot: "a", t: t}
		st.Bots = del
		d, stop := w.dispatchOn(st, Config{})
		defer stop()
		w.publish("q", 0)
		synctest.Wait()
		del.gone.Store(true)
		time.Sleep(3 * time.Minute)
		w.publish("q", 1)
		time.Sleep(time.Second)
		if got := len(w.ran("a")); got != 1 {
			t.Errorf("%d runs", got)
		}
		d.mu.Lock()
		known := len(d.table.bots) + len(d.table.triggered) + len(d.table.due)
		d.mu.Unlock()
		if known != 0 {
			t.Errorf("%d entries are left of a deleted bot", known)
		}
		del.gone.Store(false)
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
		synctest.Wait()
		if got := len(w.ran("a")); got != 2 {
			t.Errorf("%d runs after it came back", got)
		}
	})
}

func TestEveryBotIsScannedHoweverManyThereAre(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		const bots = 2*scanPage + 7
		for i := range bots {
			w.bot(store.Registration{ID: fmt.Sprintf("b%05d", i), Triggers: []string{"q"}}, reads("q"))
		}
		w.publish("q", 0)
		_, stop := w.dispatch(Config{})
		defer stop()
		synctest.Wait()
		for i := range bots {
			if id := fmt.Sprintf("b%05d", i); len(w.ran(id)) != 1 {
				t.Fatalf("%s ran %v", id, w.ran(id))
			}
		}
	})
}

// counting counts the requests that are stored.
type counting struct {
	store.Bots
	requests atomic.Int32
}

func (c *counting) Request(ctx context.Context, r store.Request) error {
	c.requests.Add(1)
	return c.Bots.Request(ctx, r)
}

func TestABusyQueueDoesNotRewriteARunningBotForEachEvent(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		st := w.st
		c := &counting{Bots: st.Bots}
		st.Bots = c
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, func(r *run) error {
			time.Sleep(10 * time.Second)
			r.read("q")
			return nil
		})
		_, stop := w.dispatchOn(st, Config{})
		defer stop()
		synctest.Wait()
		for range 1000 {
			w.publish("q", 0)
			time.Sleep(5 * time.Millisecond)
		}
		if got := c.requests.Load(); got < 10 || got > 25 {
			t.Errorf("%d requests for 1000 publications in 5 s", got)
		}
		time.Sleep(time.Minute)
		q, err := w.st.Queues.Get(t.Context(), "q")
		if err != nil {
			t.Fatal(err)
		}
		if b := w.get("a"); b.Requested["queue:q"] != q.Head || b.Read["queue:q"].Position != q.Head {
			t.Errorf("requested %v, read %v, head %s", b.Requested, b.Read, q.Head)
		}
	})
}

// TestTriggersAgreeWithTheOriginal replays stream records of the original's event trigger. Heads only grow here (W-D4), the
// time is the head's publication, and a head that did not change triggers nobody.
func TestTriggersAgreeWithTheOriginal(t *testing.T) {
	var g struct {
		Cases []struct {
			Note    string
			Clock   int64
			Records []struct {
				Dynamodb struct {
					NewImage struct {
						Event struct{ S string }
						Max   struct{ S string } `json:"max_eid"`
					}
				}
			}
			Updates []struct {
				Key                       struct{ ID struct{ S string } }
				ExpressionAttributeNames  map[string]string
				ExpressionAttributeValues map[string]map[string]string
			}
		}
	}
	readGolden(t, "triggers.json", &g)
	bubble(t, func(t *testing.T, w *world) {
		for _, r := range []store.Registration{
			{ID: "t-one", Triggers: []string{"q.t1"}, Paused: true},
			{ID: "t-two", Triggers: []string{"queue:q.t2", "q.t1"}, Paused: true},
			{ID: "t-arch", Triggers: []string{"q.t1"}, Paused: true},
		} {
			w.bot(r, nothing)
		}
		w.control("t-arch", store.Control{Archived: ptr(true)})
		// In the recording the head of q.t2 is known from before.
		for _, c := range g.Cases {
			if c.Note == "head unchanged" {
				i := c.Records[0].Dynamodb.NewImage
				w.advance(i.Event.S, i.Max.S)
			}
		}
		_, stop := w.dispatch(Config{})
		defer stop()
		time.Sleep(time.Second)
		for _, c := range g.Cases {
			before := map[string]store.Bot{}
			for _, id := range []string{"t-one", "t-two", "t-arch"} {
				before[id] = w.get(id)
			}
			for _, r := range c.Records {
				i := r.Dynamodb.NewImage
				w.advance(i.Event.S, i.Max.S)
			}
			time.Sleep(time.Second)
			want := map[string]string{}
			for _, u := range c.Updates {
				for name, attr := range u.ExpressionAttributeNames {
					if n, ok := strings.CutPrefix(name, "#n_"); ok {
						want[u.Key.ID.S+" "+attr] = u.ExpressionAttributeValues[":v_"+n]["S"]
					}
				}
			}
			got := map[string]string{}
			for id, old := range before {
				b := w.get(id)
				for ref, head := range b.Requested {
					if head != old.Requested[ref] {
						got[id+" "+ref] = head
					}
				}
				if (b.Trigger != old.Trigger) != (len(got) > 0 && fmt.Sprint(b.Requested) != fmt.Sprint(old.Requested)) {
					t.Errorf("%s: trigger of %s moved from %d to %d", c.Note, id, old.Trigger, b.Trigger)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: requested %v, the original %v", c.Note, got, want)
			}
		}
	})
}

// held is a store whose rows are read and then held back until the gate opens.
type held struct {
	store.Bots
	gate atomic.Pointer[chan struct{}]
}

func (h *held) Get(ctx context.Context, id string) (store.Bot, error) {
	row, err := h.Bots.Get(ctx, id)
	if gate := h.gate.Load(); gate != nil {
		<-*gate
	}
	return row, err
}

func TestAChangeDuringALookAtABotIsNotLost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		st := w.st
		h := &held{Bots: st.Bots}
		w.bot(store.Registration{ID: "a"}, nothing)
		st.Bots = h
		_, stop := w.dispatchOn(st, Config{})
		defer stop()
		synctest.Wait()
		gate := make(chan struct{})
		h.gate.Store(&gate)
		w.control("a", store.Control{ErrorCount: ptr(0)}) // any change: a look begins, with the row as it is now
		synctest.Wait()
		w.control("a", store.Control{Trigger: ptr(time.Now().UnixMilli())})
		synctest.Wait()
		h.gate.Store(nil)
		close(gate)
		synctest.Wait()
		if len(w.ran("a")) != 1 {
			t.Errorf("ran %v", w.ran("a"))
		}
	})
}

func TestNewHeadsReachARunningBotsRow(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, func(r *run) error {
			time.Sleep(10 * time.Second)
			r.read("q")
			return nil
		})
		_, stop := w.dispatch(Config{})
		defer stop()
		synctest.Wait()
		w.publish("q", 0)
		time.Sleep(10 * time.Millisecond)
		head := w.publish("q", 1)
		time.Sleep(time.Second)
		if b := w.get("a"); b.Requested["queue:q"] != head || b.Instance.CompletedTime != 0 {
			t.Errorf("one second later, requested is %v, not %s", b.Requested, head)
		}
	})
}

func TestARunThatCameAfterTheEventsIsNotRepeated(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a", Triggers: []string{"q"}}, reads("q"))
		// While no dispatcher was up, something was published and the bot was run by hand.
		w.publish("q", 0)
		time.Sleep(time.Second)
		row := w.get("a")
		lock := LockFor(row, time.Now())
		if err := w.st.Bots.Lock(t.Context(), lock); err != nil {
			t.Fatal(err)
		}
		payload, err := Payload(row, lock.At)
		if err != nil {
			t.Fatal(err)
		}
		row.Token = lock.At
		if err := w.Invoke(t.Context(), row, payload); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		_, stop := w.dispatch(Config{})
		defer stop()
		time.Sleep(time.Minute)
		if got := len(w.ran("a")); got != 1 {
			t.Errorf("%d runs", got)
		}
	})
}

// failing is an invoker that fails, after it told so.
type failing func()

func (f failing) Invoke(context.Context, store.Bot, []byte) error { f(); return errBoom }

func TestAShutdownDuringAFailedInvocationStillGivesTheLockBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.bot(store.Registration{ID: "a"}, nothing)
		w.control("a", store.Control{Trigger: ptr(time.Now().UnixMilli())})
		ctx, cancel := context.WithCancel(t.Context())
		d := New(w.st, failing(cancel), Config{Logger: slog.New(slog.DiscardHandler)})
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
		if b := w.get("a"); b.Instance.CompletedTime == 0 || b.ErrorCount != 1 {
			t.Errorf("the lock is left: %+v", b.Instance)
		}
		if err := d.Run(ctx); err == nil {
			t.Error("a dispatcher ran twice")
		}
	})
}
