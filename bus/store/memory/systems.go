package memory

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

type systems struct{ view }

func (s systems) Get(ctx context.Context, id string) (store.System, error) {
	if err := s.enter(ctx); err != nil {
		return store.System{}, err
	}
	defer s.leave()
	doc, ok := s.db.systems.rows[id]
	if !ok {
		return store.System{}, fmt.Errorf("system %s: %w", id, store.ErrNotFound)
	}
	return store.System{ID: id, Doc: json.RawMessage(doc)}, nil
}

func (s systems) List(ctx context.Context, after string, limit int) ([]store.System, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	keys := s.db.systems.after("", after, limit)
	out := make([]store.System, len(keys))
	for i, k := range keys {
		out[i] = store.System{ID: k, Doc: json.RawMessage(s.db.systems.rows[k])}
	}
	return out, nil
}

func (s systems) Merge(ctx context.Context, m store.System) error {
	if err := rules.System(m); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	var old json.RawMessage
	if doc, ok := s.db.systems.rows[m.ID]; ok {
		old = json.RawMessage(doc)
	}
	doc, err := rules.MergeSystem(old, m.Doc)
	if err != nil {
		return fmt.Errorf("system %s: %w", m.ID, err)
	}
	s.onRollback(s.db.systems.replace(m.ID, string(doc)))
	return nil
}
