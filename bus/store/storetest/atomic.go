package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/rstreams-go/rstreams/bus/store"
)

var atomicTests = []test{
	{"the writes of all ports commit together", func(e *env) {
		f := e.follow()
		q, b := e.name("q"), e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		f.next(store.Change{Kind: store.BotChanged, ID: b})
		e.ok(e.Atomic(e.Context(), func(ctx context.Context, tx store.Store) error { return e.writeAll(ctx, tx) }))
		e.same(ends(e.all(q)), []string{id(1, 9)})
		e.same(e.queue(q).Head, id(1, 9))
		e.same(e.bot(b).Write["queue:q"].Position, id(1, 9))
		e.setting(e.name("s"), `"new"`)
		e.setting(e.name("swap"), `1`)
		e.sameSystem(e.name("sys"), `{"new":1}`)
		f.next(store.Change{Kind: store.QueueChanged, ID: q}, store.Change{Kind: store.BotChanged, ID: b})
	}},
	{"an error undoes everything and is returned", func(e *env) {
		q, b := e.name("q"), e.name("b")
		e.ok(e.Bots.Register(e.Context(), registration(b)))
		e.busy(b)
		e.publish(q, "a", 1, id(0, 0))
		e.ok(e.Chunks.Put(e.Context(), []store.Chunk{chunk(q, 0, 0, 1), chunk(q, 1, 5, 5)}))
		e.ok(e.Settings.Put(e.Context(), e.name("s"), json.RawMessage(`"old"`)))
		e.ok(e.Settings.Put(e.Context(), e.name("del"), json.RawMessage(`"kept"`)))
		e.merge(e.name("sys"), `{"old":1}`)
		before := struct {
			q store.Queue
			b store.Bot
			c []store.Chunk
		}{e.queue(q), e.bot(b), e.all(q)}
		f := e.follow()
		boom := errors.New("boom")
		err := e.Atomic(e.Context(), func(ctx context.Context, tx store.Store) error {
			if err := e.writeAll(ctx, tx); err != nil {
				return err
			}
			if err := tx.Chunks.Delete(ctx, q, []string{id(0, 0)}); err != nil {
				return err
			}
			return boom
		})
		e.is(err, boom)
		f.none()
		e.same(e.queue(q), before.q)
		e.same(e.bot(b), before.b)
		e.same(e.all(q), before.c)
		got, err := e.Settings.Get(e.Context(), e.name("s"))
		e.ok(err)
		e.sameJSON(got, `"old"`)
		e.setting(e.name("del"), `"kept"`)
		_, err = e.Settings.Get(e.Context(), e.name("swap"))
		e.is(err, store.ErrNotFound)
		e.sameSystem(e.name("sys"), `{"old":1}`)
		e.ok(e.Settings.Acquire(e.Context(), e.name("lock"), "other", 1, 2))
	}},
	{"a panic undoes everything and goes on", func(e *env) {
		q := e.name("q")
		func() {
			defer func() { e.same(recover(), any("boom")) }()
			_ = e.Atomic(e.Context(), func(ctx context.Context, tx store.Store) error {
				if err := tx.Queues.SetArchive(ctx, q, id(1, 0)); err != nil {
					e.Error(err)
				}
				panic("boom")
			})
		}()
		_, err := e.Queues.Get(e.Context(), q)
		e.is(err, store.ErrNotFound)
		e.ok(e.Queues.SetArchive(e.Context(), q, id(1, 0))) // the store still works
	}},
	{"a context that ends before the commit undoes everything", func(e *env) {
		ctx, cancel := context.WithCancel(e.Context())
		err := e.Atomic(ctx, func(_ context.Context, tx store.Store) error {
			err := tx.Queues.SetArchive(e.Context(), e.name("q"), id(1, 0))
			cancel()
			return err
		})
		e.is(err, context.Canceled)
		_, err = e.Queues.Get(e.Context(), e.name("q"))
		e.is(err, store.ErrNotFound)
	}},
	{"reads inside see the writes inside", func(e *env) {
		q, b := e.name("q"), e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Atomic(e.Context(), func(ctx context.Context, tx store.Store) error {
			if err := e.writeAll(ctx, tx); err != nil {
				return err
			}
			row, err := tx.Queues.Get(ctx, q)
			if err != nil || row.Head != id(1, 9) {
				return fmt.Errorf("head inside is %q: %w", row.Head, err)
			}
			page, err := tx.Chunks.Query(ctx, q, "", last, 0, 0)
			if err != nil || len(page.Chunks) != 1 {
				return fmt.Errorf("%d chunks inside: %w", len(page.Chunks), err)
			}
			bot, err := tx.Bots.Get(ctx, b)
			if err != nil || bot.Write["queue:q"].Position != id(1, 9) {
				return fmt.Errorf("bot inside is %+v: %w", bot, err)
			}
			list, err := tx.Bots.List(ctx, e.prefix, 1)
			if err != nil || len(list) != 1 || list[0].Write["queue:q"].Position != id(1, 9) {
				return fmt.Errorf("bots inside are %+v: %w", list, err)
			}
			return nil
		}))
	}},
	{"a failed condition inside does not spoil the rest", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Atomic(e.Context(), func(ctx context.Context, tx store.Store) error {
			for _, err := range []error{
				tx.Bots.Checkpoint(ctx, checkpoint(b, "queue:q", "wrong", id(1, 0))),
				tx.Bots.Lock(ctx, store.Lock{Bot: b, Seen: 5, At: 10}),
				tx.Queues.Advance(ctx, store.Advance{Queue: e.name("q"), Fence: 4, Head: id(1, 0)}),
			} {
				if !errors.Is(err, store.ErrConflict) {
					return fmt.Errorf("got %v, want a conflict", err)
				}
			}
			return tx.Bots.Checkpoint(ctx, checkpoint(b, "queue:q", "", id(1, 0)))
		}))
		e.same(e.bot(b).Read["queue:q"].Position, id(1, 0))
	}},
	{"nobody outside sees half of it", func(e *env) {
		q1, q2 := e.name("q1"), e.name("q2")
		n := e.rounds(50)
		done := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			defer close(done)
			for i := range n {
				err := e.Atomic(e.Context(), func(ctx context.Context, tx store.Store) error {
					return errors.Join(tx.Queues.SetArchive(ctx, q1, id(int64(i), 0)), tx.Queues.SetArchive(ctx, q2, id(int64(i), 0)))
				})
				if err != nil {
					e.Error(err)
				}
			}
		})
		for running := true; running; {
			select {
			case <-done:
				running = false
			default:
			}
			// q2 is read after q1, so it may be newer, never older.
			a, err := e.Queues.Get(e.Context(), q1)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			e.ok(err)
			if b := e.queue(q2); b.ArchiveEnd < a.ArchiveEnd {
				e.Fatalf("saw %s in one row and then %s in the other", a.ArchiveEnd, b.ArchiveEnd)
			}
		}
		wg.Wait()
	}},
	{"concurrent calls do not mix", func(e *env) {
		n := e.rounds(20)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range n {
					err := e.Atomic(e.Context(), func(ctx context.Context, tx store.Store) error {
						b, err := tx.Bots.Get(ctx, e.name("b"))
						if err != nil && !errors.Is(err, store.ErrNotFound) {
							return err
						}
						at := b.Read["queue:q"]
						w := checkpoint(e.name("b"), "queue:q", at.Position, id(at.Records+1, 0))
						w.Records = at.Records + 1
						return tx.Bots.Checkpoint(ctx, w)
					})
					if err != nil {
						e.Error(err)
					}
				}
			})
		}
		wg.Wait()
		e.same(e.bot(e.name("b")).Read["queue:q"].Records, int64(4*n))
	}},
	{"the ports inside may be used by several goroutines", func(e *env) {
		n := e.rounds(20)
		e.ok(e.Atomic(e.Context(), func(ctx context.Context, tx store.Store) error {
			errs := make([]error, n)
			var wg sync.WaitGroup
			for i := range n {
				wg.Go(func() { errs[i] = tx.Chunks.Put(ctx, []store.Chunk{chunk(e.name("q"), int64(i), 0, 1)}) })
			}
			wg.Wait()
			return errors.Join(errs...)
		}))
		e.same(len(e.all(e.name("q"))), n)
	}},
	{"the view is of no use after the call", func(e *env) {
		var kept store.Store
		e.ok(e.Atomic(e.Context(), func(_ context.Context, tx store.Store) error { kept = tx; return nil }))
		if err := kept.Queues.SetArchive(e.Context(), e.name("q"), id(1, 0)); err == nil {
			e.Error("a write through an old view succeeded")
		}
		_, err := e.Queues.Get(e.Context(), e.name("q"))
		e.is(err, store.ErrNotFound)
	}},
	{"blobs written inside go with the rest", func(e *env) {
		var kept store.BlobRef
		put := func(key, text string, end error) error {
			return e.Atomic(e.Context(), func(ctx context.Context, tx store.Store) error {
				ref, _, err := tx.Blobs.Put(ctx, e.name(key), strings.NewReader(text))
				if err != nil {
					return err
				}
				kept = ref
				r, err := tx.Blobs.Get(ctx, ref, 0, -1)
				if err != nil {
					return err
				}
				return errors.Join(r.Close(), end)
			})
		}
		e.ok(put("a", "text", nil))
		e.same(e.blob(kept, 0, -1), "text")
		boom := errors.New("boom")
		e.is(put("a", "new", boom), boom)
		e.same(e.blob(kept, 0, -1), "text")
		e.is(put("b", "new", boom), boom)
		_, err := e.Blobs.Get(e.Context(), kept, 0, -1)
		e.is(err, store.ErrNotFound)
	}},
}

// writeAll writes to every port, to the names q, b, s and lock.
func (e *env) writeAll(ctx context.Context, tx store.Store) error {
	q := e.name("q")
	g, err := tx.Queues.Claim(ctx, claim(q, "a", "7", 1))
	if err != nil {
		return err
	}
	return errors.Join(
		tx.Chunks.Put(ctx, []store.Chunk{chunk(q, 1, 0, 10)}),
		tx.Queues.Advance(ctx, store.Advance{Queue: q, Fence: g.Fence, Head: id(1, 9), Shard: "s", Through: "7", Now: base}),
		tx.Bots.Produced(ctx, []store.Produced{produced(e.name("b"), "queue:q", id(1, 9))}),
		tx.Settings.Put(ctx, e.name("s"), json.RawMessage(`"new"`)),
		tx.Settings.Acquire(ctx, e.name("lock"), "owner", 1, 1000),
		tx.Settings.Swap(ctx, e.name("swap"), nil, json.RawMessage(`1`)),
		tx.Settings.Delete(ctx, e.name("del")),
		tx.Systems.Merge(ctx, store.System{ID: e.name("sys"), Doc: json.RawMessage(`{"new":1}`)}),
	)
}
