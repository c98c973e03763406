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

type systems struct{ view }

func (s systems) Get(ctx context.Context, id string) (store.System, error) {
	var doc string
	err := s.read(ctx, func(c *conn) error {
		return c.row("select doc from systems where id = ?", id).Scan(&doc)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return store.System{}, fmt.Errorf("system %s: %w", id, store.ErrNotFound)
	}
	if err != nil {
		return store.System{}, err
	}
	return store.System{ID: id, Doc: json.RawMessage(doc)}, nil
}

func (s systems) List(ctx context.Context, after string, limit int) ([]store.System, error) {
	var out []store.System
	err := s.read(ctx, func(c *conn) error {
		rows, err := c.query("select id, doc from systems where id > ? order by id limit ?", after, sqlLimit(limit))
		if err != nil {
			return err
		}
		defer rows.Close()
		out = nil
		for rows.Next() {
			var id, doc string
			if err := rows.Scan(&id, &doc); err != nil {
				return err
			}
			out = append(out, store.System{ID: id, Doc: json.RawMessage(doc)})
		}
		return rows.Err()
	})
	return out, err
}

func (s systems) Merge(ctx context.Context, m store.System) error {
	if err := rules.System(m); err != nil {
		return err
	}
	return s.write(ctx, func(t *txn) error {
		var text sql.NullString
		err := t.row("select doc from systems where id = ?", m.ID).Scan(&text)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		var old json.RawMessage
		if text.Valid {
			old = json.RawMessage(text.String)
		}
		doc, err := rules.MergeSystem(old, m.Doc)
		if err != nil {
			return fmt.Errorf("%w: system %s: %w", store.ErrCorrupt, m.ID, err)
		}
		_, err = t.exec("insert or replace into systems(id, doc) values(?, ?)", m.ID, string(doc))
		return err
	})
}
