package memory

import (
	"context"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

type bots struct{ view }

func (b bots) Get(ctx context.Context, id string) (store.Bot, error) {
	if err := b.enter(ctx); err != nil {
		return store.Bot{}, err
	}
	defer b.leave()
	row, ok := b.db.bots.rows[id]
	if !ok {
		return store.Bot{}, notFound(id)
	}
	return rules.CloneBot(row), nil
}

func notFound(id string) error { return fmt.Errorf("bot %s: %w", id, store.ErrNotFound) }

func (b bots) List(ctx context.Context, after string, limit int) ([]store.Bot, error) {
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.leave()
	keys := b.db.bots.after("", after, limit)
	out := make([]store.Bot, len(keys))
	for i, k := range keys {
		out[i] = rules.CloneBot(b.db.bots.rows[k])
	}
	return out, nil
}

func (b bots) Register(ctx context.Context, r store.Registration) error {
	return b.upsert(ctx, r.ID, func(row *store.Bot, exists bool) error { return rules.Register(row, exists, r) })
}

func (b bots) Control(ctx context.Context, id string, c store.Control) error {
	return b.update(ctx, id, func(row *store.Bot) error { rules.Control(row, c); return nil })
}

func (b bots) Checkpoint(ctx context.Context, w store.CheckpointWrite) error {
	if err := rules.NoLocation(w); err != nil {
		return err
	}
	return b.upsert(ctx, rules.BotID(w.Bot), func(row *store.Bot, exists bool) error { return rules.Checkpoint(row, exists, w) })
}

func (b bots) Produced(ctx context.Context, list []store.Produced) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	for _, p := range list {
		if row, ok := b.db.bots.rows[p.Bot]; ok && rules.Produced(&row, p) {
			b.save(row)
		}
	}
	return nil
}

func (b bots) Request(ctx context.Context, r store.Request) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	row, ok := b.db.bots.rows[r.Bot]
	if !ok {
		return notFound(r.Bot)
	}
	if rules.Request(&row, r) {
		b.save(row)
	}
	return nil
}

func (b bots) Lock(ctx context.Context, l store.Lock) error {
	return b.update(ctx, l.Bot, func(row *store.Bot) error { return rules.Lock(row, l) })
}

func (b bots) Confirm(ctx context.Context, c store.Confirm) error {
	return b.update(ctx, c.Bot, func(row *store.Bot) error { return rules.Confirm(row, c) })
}

func (b bots) Extend(ctx context.Context, c store.Confirm) error {
	return b.update(ctx, c.Bot, func(row *store.Bot) error { return rules.Extend(row, c) })
}

func (b bots) Complete(ctx context.Context, c store.Complete) error {
	return b.update(ctx, c.Bot, func(row *store.Bot) error { return rules.Complete(row, c) })
}

func (b bots) update(ctx context.Context, id string, fn func(row *store.Bot) error) error {
	return b.upsert(ctx, id, func(row *store.Bot, exists bool) error {
		if !exists {
			return notFound(id)
		}
		return fn(row)
	})
}

// upsert replaces the row of the bot, or the zero row, by what fn makes of it, unless fn returns an error. fn works on a
// copy of the struct and replaces what hangs on it, so that the old row stays whole for rollback.
func (b bots) upsert(ctx context.Context, id string, fn func(row *store.Bot, exists bool) error) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	row, ok := b.db.bots.rows[id]
	if err := fn(&row, ok); err != nil {
		return err
	}
	b.save(row)
	return nil
}

func (b bots) save(row store.Bot) {
	b.onRollback(b.db.bots.replace(row.ID, row))
	b.changed(store.BotChanged, row.ID)
}
