package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/rstreams-go/rstreams/bus/store"
)

var feedTests = []test{
	{"the empty cursor stands for now", func(e *env) {
		e.publish(e.name("q"), "a", 1, id(1, 0))
		got, cursor, err := e.Feed.Changes(e.Context(), "", 10)
		e.ok(err)
		e.same(got, []store.Change{})
		if cursor == "" {
			e.Error("the cursor for now is empty")
		}
	}},
	{"a head that moved is a change; a claim, a release and a lower head are not", func(e *env) {
		f := e.follow()
		q := e.name("q")
		g, err := e.Queues.Claim(e.Context(), claim(q, "a", "1", 1))
		e.ok(err)
		f.none()
		e.ok(e.Queues.Advance(e.Context(), store.Advance{Queue: q, Fence: g.Fence}))
		f.none()
		e.publish(q, "a", 2, id(5, 0))
		f.next(store.Change{Kind: store.QueueChanged, ID: q})
		e.publish(q, "a", 3, id(4, 0))
		f.none()
	}},
	{"every write to a bot's row is a change", func(e *env) {
		f := e.follow()
		b, q := e.name("bot"), "queue:"+e.name("q")
		yes := true
		for what, write := range []func() error{
			func() error { return e.Bots.Register(e.Context(), store.Registration{ID: b}) },
			func() error { return e.Bots.Control(e.Context(), b, store.Control{Paused: &yes}) },
			func() error { return e.Bots.Checkpoint(e.Context(), checkpoint(b, q, "", id(1, 0))) },
			func() error { return e.Bots.Produced(e.Context(), []store.Produced{produced(b, q, id(1, 0))}) },
			func() error { return e.Bots.Request(e.Context(), request(b, q, id(1, 0), 5)) },
			func() error { return e.Bots.Lock(e.Context(), store.Lock{Bot: b, At: 10}) },
			func() error { return e.Bots.Confirm(e.Context(), confirm(b, 10, "r")) },
			func() error { // by another time: a write that changes nothing need not be told
				longer := confirm(b, 10, "r")
				longer.MaxDuration++
				return e.Bots.Extend(e.Context(), longer)
			},
			func() error {
				return e.Bots.Complete(e.Context(), store.Complete{Bot: b, Token: 10, RequestID: "r", At: 12})
			},
		} {
			if err := write(); err != nil {
				e.Fatalf("write %d: %v", what, err)
			}
			f.next(store.Change{Kind: store.BotChanged, ID: b})
		}
		e.is(e.Bots.Checkpoint(e.Context(), checkpoint(b, q, "wrong", id(2, 0))), store.ErrConflict)
		e.is(e.Bots.Request(e.Context(), request(e.name("none"), q, id(1, 0), 5)), store.ErrNotFound)
		e.ok(e.Bots.Produced(e.Context(), []store.Produced{produced(e.name("none"), q, id(1, 0))}))
		f.none()
	}},
	{"changes come in the order of their commits, page by page", func(e *env) {
		f := e.follow()
		var want []store.Change
		for i := range 9 {
			q, b := e.name(fmt.Sprint("q", i)), e.name(fmt.Sprint("b", 9-i))
			e.publish(q, "a", 1, id(1, 0))
			e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
			want = append(want, store.Change{Kind: store.QueueChanged, ID: q}, store.Change{Kind: store.BotChanged, ID: b})
		}
		f.next(want...)
	}},
	{"every change is told, merged or not, whatever the pace of the reader", func(e *env) {
		f := e.follow()
		queues := []string{e.name("q1"), e.name("q2"), e.name("q3")}
		n := e.rounds(60)
		var wg sync.WaitGroup
		for _, q := range queues {
			wg.Go(func() {
				for i := range n {
					if err := e.tryPublish(q, "a", i+1, id(int64(i), 0)); err != nil {
						e.Error(err)
					}
				}
			})
		}
		// Looking up every row that is told must end with the newest heads: nothing that matters is lost in merging.
		heads := map[string]string{}
		ctx := e.soon()
		for done := 0; done < len(queues); {
			e.ok(e.Feed.Wait(ctx, f.cursor))
			changes, cursor, err := e.Feed.Changes(ctx, f.cursor, 2)
			e.ok(err)
			f.cursor = cursor
			for _, c := range changes {
				if !e.mine(c.ID) {
					continue
				}
				head := e.queue(c.ID).Head
				if head < heads[c.ID] {
					e.Fatalf("head of %s went from %s to %s", c.ID, heads[c.ID], head)
				}
				if head == id(int64(n-1), 0) && heads[c.ID] != head {
					done++
				}
				heads[c.ID] = head
			}
		}
		wg.Wait()
	}},
	{"a cursor that is none, or cannot be continued from, is ErrNotFound", func(e *env) {
		for _, cursor := range []string{"garbage", "-1", "9999999999", " "} {
			_, _, err := e.Feed.Changes(e.Context(), cursor, 10)
			e.is(err, store.ErrNotFound)
			e.ok(e.Feed.Wait(e.soon(), cursor))
		}
	}},
	{"Wait returns at once when there are changes already", func(e *env) {
		f := e.follow()
		e.publish(e.name("q"), "a", 1, id(1, 0))
		e.ok(e.Feed.Wait(e.soon(), f.cursor))
	}},
	{"Wait wakes every waiting call", func(e *env) {
		f := e.follow()
		q := e.name("q")
		ctx := e.soon()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				for at := f.cursor; ; {
					if err := e.Feed.Wait(ctx, at); err != nil {
						e.Error(err)
						return
					}
					changes, next, err := e.Feed.Changes(ctx, at, 100)
					if err != nil {
						e.Error(err)
						return
					}
					for _, c := range changes {
						if c.ID == q {
							return
						}
					}
					at = next
				}
			})
		}
		e.publish(q, "a", 1, id(1, 0))
		wg.Wait()
	}},
	{"Wait ends with its context", func(e *env) {
		ctx, cancel := context.WithCancel(e.Context())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				for {
					_, cursor, err := e.Feed.Changes(e.Context(), "", 1)
					if err != nil {
						e.Error(err)
						return
					}
					if err := e.Feed.Wait(ctx, cursor); err != nil { // it may return early
						if !errors.Is(err, context.Canceled) {
							e.Error(err)
						}
						return
					}
				}
			})
		}
		cancel()
		wg.Wait()
	}},
}

// follower reads the feed for a test.
type follower struct {
	e      *env
	cursor string
	told   map[store.Change]bool
	marks  int
}

// follow begins now.
func (e *env) follow() *follower {
	e.Helper()
	_, cursor, err := e.Feed.Changes(e.Context(), "", 1)
	e.ok(err)
	return &follower{e: e, cursor: cursor, told: map[store.Change]bool{}}
}

// next waits for the changes, of those to the test's own rows. Merging drops what is told again right away.
func (f *follower) next(want ...store.Change) {
	f.e.Helper()
	if f.e.o.FeedByTable {
		f.nextByTable(want)
		return
	}
	ctx := f.e.soon()
	var got []store.Change
	for len(got) < len(want) {
		if err := f.e.Feed.Wait(ctx, f.cursor); err != nil {
			f.e.Fatalf("waited for %v, got %v: %v", want, got, err)
		}
		changes, cursor, err := f.e.Feed.Changes(ctx, f.cursor, 3)
		f.e.ok(err)
		f.cursor = cursor
		for _, c := range changes {
			if f.e.mine(c.ID) {
				got = append(got, c)
			}
		}
	}
	f.e.same(got, want)
}

// nextByTable is next for a feed that keeps the order within a table: the changes of each kind come in their order, and what
// was told may come again.
func (f *follower) nextByTable(want []store.Change) {
	f.e.Helper()
	ctx := f.e.soon()
	wants := map[store.ChangeKind][]store.Change{}
	for _, c := range want {
		wants[c.Kind] = append(wants[c.Kind], c)
	}
	told := map[store.Change]bool{}
	for left := len(want); left > 0; {
		if err := f.e.Feed.Wait(ctx, f.cursor); err != nil {
			f.e.Fatalf("waited for %v: %v", wants, err)
		}
		changes, cursor, err := f.e.Feed.Changes(ctx, f.cursor, 3)
		f.e.ok(err)
		f.cursor = cursor
		for _, c := range changes {
			rest := wants[c.Kind]
			switch {
			case !f.e.mine(c.ID):
			case len(rest) > 0 && rest[0] == c:
				wants[c.Kind] = rest[1:]
				told[c] = true
				left--
			case !told[c] && !f.told[c]:
				f.e.Fatalf("got %v, want %v", c, rest)
			}
		}
	}
	maps.Copy(f.told, told)
}

// none checks that nothing is told: the change of a row made for the purpose comes next.
func (f *follower) none() {
	f.e.Helper()
	f.marks++
	mark := f.e.name(fmt.Sprint("mark", f.marks))
	want := []store.Change{{Kind: store.BotChanged, ID: mark}}
	f.e.ok(f.e.Bots.Register(f.e.Context(), store.Registration{ID: mark}))
	if f.e.o.FeedByTable {
		want = append(want, store.Change{Kind: store.QueueChanged, ID: mark})
		f.e.publish(mark, "a", 1, id(1, 0))
	}
	f.next(want...)
}
