package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

type bots struct{ view }

func notFound(id string) error { return fmt.Errorf("bot %s: %w", id, store.ErrNotFound) }

func (b bots) Get(ctx context.Context, id string) (store.Bot, error) {
	var out store.Bot
	err := b.snapshot(ctx, func(c *conn) error {
		row, found, err := loadBot(c, id)
		if err == nil && !found {
			return notFound(id)
		}
		out = row
		return err
	})
	if err != nil {
		return store.Bot{}, err
	}
	return out, nil
}

func (b bots) List(ctx context.Context, after string, limit int) ([]store.Bot, error) {
	var out []store.Bot
	err := b.snapshot(ctx, func(c *conn) (err error) {
		out, err = loadBots(c, after, limit)
		return err
	})
	return out, err
}

func (b bots) Register(ctx context.Context, r store.Registration) error {
	return b.write(ctx, func(t *txn) error {
		row, exists, err := loadBot(t.conn, r.ID)
		if err != nil {
			return err
		}
		if err := rules.Register(&row, exists, r); err != nil {
			return err
		}
		if err := insertBot(t.conn, row.ID, row.Name, row.Paused); err != nil {
			return err
		}
		if err := saveConfig(t.conn, &row); err != nil {
			return err
		}
		for kind, m := range map[int]map[string]store.Checkpoint{readPosition: row.Read, writePosition: row.Write} {
			for ref, at := range m {
				if err := insertPosition(t.conn, row.ID, kind, ref, at); err != nil {
					return err
				}
			}
		}
		t.changed(store.BotChanged, row.ID)
		return nil
	})
}

// Checkpoint is the bot's hot path: one update where the condition holds, as it does nearly always.
func (b bots) Checkpoint(ctx context.Context, w store.CheckpointWrite) error {
	if err := rules.NoLocation(w); err != nil {
		return err
	}
	id := rules.BotID(w.Bot)
	return b.write(ctx, func(t *txn) error {
		n, err := t.exec("update positions set position = ?, source_timestamp = ?, started_timestamp = ?, "+
			"ended_timestamp = ?, records = ? where bot = ? and kind = ? and ref = ? and (position = ? or ?)",
			w.Position, w.SourceTimestamp, w.StartedTimestamp, w.EndedTimestamp, w.Records,
			id, readPosition, w.Ref, w.Expected, w.Force)
		if err != nil {
			return err
		}
		if n == 0 {
			if err := firstCheckpoint(t.conn, id, w); err != nil {
				return err
			}
		}
		t.changed(store.BotChanged, id)
		return nil
	})
}

// firstCheckpoint stores a checkpoint that no row could be updated with: there is none, or it is not where it should be.
func firstCheckpoint(c *conn, id string, w store.CheckpointWrite) error {
	var stored string
	err := c.row("select position from positions where bot = ? and kind = ? and ref = ?", id, readPosition, w.Ref).Scan(&stored)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if !w.Force && stored != w.Expected {
		return rules.StaleCheckpoint(w, stored)
	}
	row := rules.NewBot(id)
	if err := insertBot(c, id, row.Name, row.Paused); err != nil {
		return err
	}
	return insertPosition(c, id, readPosition, w.Ref, w.Checkpoint)
}

// Produced is the sequencer's hot path.
func (b bots) Produced(ctx context.Context, list []store.Produced) error {
	if len(list) == 0 {
		return b.db.begun(ctx)
	}
	return b.write(ctx, func(t *txn) error {
		for _, p := range list {
			n, err := t.exec("insert into positions(bot, kind, ref, position, source_timestamp, started_timestamp, "+
				"ended_timestamp, records) select id, ?, ?, ?, ?, ?, ?, ? from bots where id = ? "+
				"on conflict(bot, kind, ref) do update set position = excluded.position, "+
				"source_timestamp = excluded.source_timestamp, started_timestamp = excluded.started_timestamp, "+
				"ended_timestamp = excluded.ended_timestamp, records = excluded.records "+
				"where positions.position <= excluded.position",
				writePosition, p.Ref, p.Position, p.SourceTimestamp, p.StartedTimestamp, p.EndedTimestamp, p.Records, p.Bot)
			if err != nil {
				return err
			}
			if n > 0 {
				t.changed(store.BotChanged, p.Bot)
			}
		}
		return nil
	})
}

func (b bots) Request(ctx context.Context, r store.Request) error {
	return b.write(ctx, func(t *txn) error {
		var trigger int64
		err := t.row("select trigger_at from bots where id = ?", r.Bot).Scan(&trigger)
		if errors.Is(err, sql.ErrNoRows) {
			return notFound(r.Bot)
		}
		if err != nil {
			return err
		}
		grown := r.At > trigger
		if grown {
			if _, err := t.exec("update bots set trigger_at = ? where id = ?", r.At, r.Bot); err != nil {
				return err
			}
		}
		moved, err := growHeads(t.conn, r.Bot, r.Heads)
		if err != nil {
			return err
		}
		if grown || moved {
			t.changed(store.BotChanged, r.Bot)
		}
		return nil
	})
}

// growHeads records heads that are newer than the stored ones, and tells whether there were any.
func growHeads(c *conn, bot string, heads map[string]string) (grown bool, err error) {
	for ref, head := range heads {
		if head == "" {
			continue
		}
		n, err := c.exec("insert into positions(bot, kind, ref, position) values(?, ?, ?, ?) "+
			"on conflict(bot, kind, ref) do update set position = excluded.position "+
			"where positions.position < excluded.position", bot, requestedPosition, ref, head)
		if err != nil {
			return false, err
		}
		grown = grown || n > 0
	}
	return grown, nil
}

func (b bots) Control(ctx context.Context, id string, c store.Control) error {
	return b.update(ctx, id, func(row *store.Bot) error { rules.Control(row, c); return nil })
}

func (b bots) Lock(ctx context.Context, l store.Lock) error {
	return b.updateWith(ctx, l.Bot, func(row *store.Bot) error { return rules.Lock(row, l) }, func(t *txn) error {
		_, err := growHeads(t.conn, l.Bot, l.Heads)
		return err
	})
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

// update replaces the execution state of the bot by what fn makes of it, unless that is an error.
func (b bots) update(ctx context.Context, id string, fn func(row *store.Bot) error) error {
	return b.updateWith(ctx, id, fn, func(*txn) error { return nil })
}

// updateWith is update that writes more in the same transaction.
func (b bots) updateWith(ctx context.Context, id string, fn func(row *store.Bot) error, more func(t *txn) error) error {
	return b.write(ctx, func(t *txn) error {
		var row store.Bot
		err := scanState(t.row("select id, "+stateColumns+" from bots where id = ?", id), &row)
		if errors.Is(err, sql.ErrNoRows) {
			return notFound(id)
		}
		if err != nil {
			return err
		}
		if err := fn(&row); err != nil {
			return err
		}
		if err := saveState(t.conn, &row); err != nil {
			return err
		}
		if err := more(t); err != nil {
			return err
		}
		t.changed(store.BotChanged, id)
		return nil
	})
}
