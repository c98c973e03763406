package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

type settings struct{ view }

func (s settings) Get(ctx context.Context, id string) (json.RawMessage, error) {
	var value string
	err := s.read(ctx, func(c *conn) error {
		return c.row("select value from settings where id = ?", id).Scan(&value)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("setting %s: %w", id, store.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return json.RawMessage(value), nil
}

func (s settings) Put(ctx context.Context, id string, value json.RawMessage) error {
	if err := rules.Setting(id, value); err != nil {
		return err
	}
	return s.write(ctx, func(t *txn) error { return putSetting(t, id, value) })
}

func putSetting(t *txn, id string, value json.RawMessage) error {
	_, err := t.exec("insert or replace into settings(id, value) values(?, ?)", id, string(value))
	return err
}

func (s settings) Swap(ctx context.Context, id string, old, next json.RawMessage) error {
	if err := rules.Swap(id, old, next); err != nil {
		return err
	}
	return s.write(ctx, func(t *txn) error {
		var value sql.NullString
		err := t.row("select value from settings where id = ?", id).Scan(&value)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var stored json.RawMessage
		if value.Valid {
			stored = json.RawMessage(value.String)
		}
		if !rules.SameJSON(stored, old) {
			return rules.Swapped(id)
		}
		return putSetting(t, id, next)
	})
}

func (s settings) Delete(ctx context.Context, id string) error {
	return s.write(ctx, func(t *txn) error {
		_, err := t.exec("delete from settings where id = ?", id)
		return err
	})
}

func (s settings) Acquire(ctx context.Context, name, owner string, now, expires int64) error {
	if name == "" || owner == "" {
		return fmt.Errorf("%w lock %q of owner %q: both need a name", store.ErrInvalid, name, owner)
	}
	return s.write(ctx, func(t *txn) error {
		var holder string
		var until int64
		err := t.row("select owner, expires from locks where name = ?", name).Scan(&holder, &until)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if err == nil && holder != owner && !rules.LockEnded(until, now, expires) {
			return fmt.Errorf("%w: lock %s is held by %s until %d", store.ErrConflict, name, holder, until)
		}
		_, err = t.exec("insert or replace into locks(name, owner, expires) values(?, ?, ?)", name, owner, expires)
		return err
	})
}

func (s settings) Release(ctx context.Context, name, owner string) error {
	return s.write(ctx, func(t *txn) error {
		_, err := t.exec("delete from locks where name = ? and owner = ?", name, owner)
		return err
	})
}
