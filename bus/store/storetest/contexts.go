package storetest

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/rstreams-go/rstreams/bus/store"
)

var contextTests = []test{
	{"every method returns the error of a context that is done, and changes nothing", func(e *env) {
		q, b := e.name("q"), e.name("b")
		e.publish(q, "a", 1, id(1, 0))
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Settings.Put(e.Context(), e.name("kept"), json.RawMessage("1")))
		ref, _, err := e.Blobs.Put(e.Context(), e.name("k"), strings.NewReader("text"))
		e.ok(err)
		queue, bot := e.queue(q), e.bot(b)
		_, cursor, err := e.Feed.Changes(e.Context(), "", 1)
		e.ok(err)

		ctx, cancel := context.WithCancel(e.Context())
		cancel()
		calls := map[string]func() error{
			"Chunks.Put":   func() error { return e.Chunks.Put(ctx, []store.Chunk{chunk(q, 1, 0, 1)}) },
			"Chunks.Query": func() error { _, err := e.Chunks.Query(ctx, q, "", last, 0, 0); return err },
			"Chunks.Delete": func() error {
				return e.Chunks.Delete(ctx, q, []string{id(1, 0)})
			},
			"Queues.Get":         func() error { _, err := e.Queues.Get(ctx, q); return err },
			"Queues.List":        func() error { _, err := e.Queues.List(ctx, "", 1); return err },
			"Queues.Claim":       func() error { _, err := e.Queues.Claim(ctx, claim(q, "a", "9", 1)); return err },
			"Queues.Advance":     func() error { return e.Queues.Advance(ctx, store.Advance{Queue: q, Fence: 1}) },
			"Queues.SetArchive":  func() error { return e.Queues.SetArchive(ctx, q, id(1, 0)) },
			"Queues.SetSnapshot": func() error { return e.Queues.SetSnapshot(ctx, q, "a", "b") },
			"Bots.Get":           func() error { _, err := e.Bots.Get(ctx, b); return err },
			"Bots.List":          func() error { _, err := e.Bots.List(ctx, "", 1); return err },
			"Bots.Register":      func() error { return e.Bots.Register(ctx, store.Registration{ID: b, Name: "x"}) },
			"Bots.Control":       func() error { return e.Bots.Control(ctx, b, store.Control{ErrorCount: new(int)}) },
			"Bots.Checkpoint":    func() error { return e.Bots.Checkpoint(ctx, checkpoint(b, "queue:q", "", id(1, 0))) },
			"Bots.Produced":      func() error { return e.Bots.Produced(ctx, []store.Produced{produced(b, "queue:q", id(1, 0))}) },
			"Bots.Request":       func() error { return e.Bots.Request(ctx, request(b, "queue:q", id(1, 0), 1)) },
			"Bots.Lock":          func() error { return e.Bots.Lock(ctx, store.Lock{Bot: b, At: 1}) },
			"Bots.Confirm":       func() error { return e.Bots.Confirm(ctx, confirm(b, 1, "r")) },
			"Bots.Extend":        func() error { return e.Bots.Extend(ctx, confirm(b, 1, "r")) },
			"Bots.Complete":      func() error { return e.Bots.Complete(ctx, store.Complete{Bot: b, Token: 1}) },
			"Settings.Get":       func() error { _, err := e.Settings.Get(ctx, "x"); return err },
			"Settings.Put":       func() error { return e.Settings.Put(ctx, e.name("x"), json.RawMessage("1")) },
			"Settings.Swap": func() error {
				return e.Settings.Swap(ctx, e.name("x"), nil, json.RawMessage("1"))
			},
			"Settings.Delete": func() error { return e.Settings.Delete(ctx, e.name("kept")) },
			"Systems.Get":     func() error { _, err := e.Systems.Get(ctx, "x"); return err },
			"Systems.List":    func() error { _, err := e.Systems.List(ctx, "", 1); return err },
			"Systems.Merge": func() error {
				return e.Systems.Merge(ctx, store.System{ID: e.name("x"), Doc: json.RawMessage("{}")})
			},
			"Settings.Acquire": func() error { return e.Settings.Acquire(ctx, e.name("x"), "o", 1, 2) },
			"Settings.Release": func() error { return e.Settings.Release(ctx, e.name("x"), "o") },
			"Blobs.Put":        func() error { _, _, err := e.Blobs.Put(ctx, e.name("k"), strings.NewReader("x")); return err },
			"Blobs.Get":        func() error { _, err := e.Blobs.Get(ctx, ref, 0, -1); return err },
			"Blobs.Delete":     func() error { return e.Blobs.Delete(ctx, []string{e.name("k")}) },
			"Blobs.List":       func() error { _, err := e.Blobs.List(ctx, "", "", 1); return err },
			"Feed.Changes":     func() error { _, _, err := e.Feed.Changes(ctx, cursor, 1); return err },
			"Feed.Wait":        func() error { return e.Feed.Wait(ctx, cursor) },
		}
		if e.Atomic != nil {
			calls["Atomic"] = func() error {
				return e.Atomic(ctx, func(ctx context.Context, tx store.Store) error {
					return tx.Queues.SetArchive(context.WithoutCancel(ctx), q, id(1, 0))
				})
			}
		}
		for name, call := range calls {
			if err := call(); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
				e.Errorf("%s returned %v", name, err)
			} else {
				e.is(err, context.Canceled)
			}
		}
		e.same(e.queue(q), queue)
		e.same(e.bot(b), bot)
		e.same(len(e.all(q)), 0)
		e.same(e.blob(ref, 0, -1), "text")
		_, err = e.Settings.Get(e.Context(), e.name("x"))
		e.is(err, store.ErrNotFound)
		_, err = e.Systems.Get(e.Context(), e.name("x"))
		e.is(err, store.ErrNotFound)
		e.setting(e.name("kept"), "1")
	}},
}
