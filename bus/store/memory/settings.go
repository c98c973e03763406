package memory

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

type settings struct{ view }

func (s settings) Get(ctx context.Context, id string) (json.RawMessage, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	defer s.leave()
	v, ok := s.db.settings[id]
	if !ok {
		return nil, fmt.Errorf("setting %s: %w", id, store.ErrNotFound)
	}
	return json.RawMessage(v), nil
}

func (s settings) Put(ctx context.Context, id string, value json.RawMessage) error {
	if err := rules.Setting(id, value); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	keep(s.view, s.db.settings, id)
	s.db.settings[id] = string(value)
	return nil
}

func (s settings) Swap(ctx context.Context, id string, old, next json.RawMessage) error {
	if err := rules.Swap(id, old, next); err != nil {
		return err
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	var stored json.RawMessage
	if v, ok := s.db.settings[id]; ok {
		stored = json.RawMessage(v)
	}
	if !rules.SameJSON(stored, old) {
		return rules.Swapped(id)
	}
	keep(s.view, s.db.settings, id)
	s.db.settings[id] = string(next)
	return nil
}

func (s settings) Delete(ctx context.Context, id string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	keep(s.view, s.db.settings, id)
	delete(s.db.settings, id)
	return nil
}

func (s settings) Acquire(ctx context.Context, name, owner string, now, expires int64) error {
	if name == "" || owner == "" {
		return fmt.Errorf("%w lock %q of owner %q: both need a name", store.ErrInvalid, name, owner)
	}
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if l := s.db.leases[name]; l.owner != owner && !rules.LockEnded(l.expires, now, expires) {
		return fmt.Errorf("%w: lock %s is held by %s until %d", store.ErrConflict, name, l.owner, l.expires)
	}
	keep(s.view, s.db.leases, name)
	s.db.leases[name] = lease{owner: owner, expires: expires}
	return nil
}

func (s settings) Release(ctx context.Context, name, owner string) error {
	if err := s.enter(ctx); err != nil {
		return err
	}
	defer s.leave()
	if s.db.leases[name].owner == owner {
		keep(s.view, s.db.leases, name)
		delete(s.db.leases, name)
	}
	return nil
}

// keep notes what m holds under key for rollback.
func keep[V any](v view, m map[string]V, key string) {
	old, ok := m[key]
	v.onRollback(func() {
		if ok {
			m[key] = old
		} else {
			delete(m, key)
		}
	})
}
