package aws

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

// systems is the table LeoSystem (bus.md 1.6).
type systems struct {
	table   table
	listing *listing[store.System]
}

func newSystems(b *Bus) store.Systems {
	t := table{bus: b, name: b.o.Resources.LeoSystem, part: "LeoSystem", key: "id"}
	return systems{t, &listing[store.System]{
		table: t, key: func(s store.System) string { return s.ID },
		decode: func(row item) (store.System, bool) {
			s, err := decodeSystem(row)
			if err != nil {
				b.o.Logger.Warn("a system is left out of a listing", "error", err)
			}
			return s, err == nil
		},
	}}
}

func decodeSystem(it item) (store.System, error) {
	s := store.System{ID: text(it["id"])}
	doc := maps.Clone(it)
	delete(doc, rules.SystemID)
	var err error
	if s.Doc, err = toJSON(object(doc)); err != nil {
		return s, fmt.Errorf("system %s: %w", s.ID, err)
	}
	return s, nil
}

// Get implements store.Systems.
func (s systems) Get(ctx context.Context, id string) (store.System, error) {
	it, err := s.table.get(ctx, id)
	if err != nil {
		return store.System{}, err
	}
	if it == nil {
		return store.System{}, fmt.Errorf("system %s: %w", id, store.ErrNotFound)
	}
	return decodeSystem(it)
}

// List implements store.Systems; see listing for its cost.
func (s systems) List(ctx context.Context, after string, limit int) ([]store.System, error) {
	return s.listing.page(ctx, after, limit)
}

// Merge implements store.Systems: a read, and an update of the members that differ. Documents with more than maxPaths of them
// take several updates.
func (s systems) Merge(ctx context.Context, m store.System) error {
	if err := rules.System(m); err != nil {
		return err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(m.Doc, &fields); err != nil {
		return fmt.Errorf("%w system %s: %w", store.ErrInvalid, m.ID, err)
	}
	delete(fields, rules.SystemID)
	doc := item{}
	for name, text := range fields {
		v, err := fromJSON(text)
		if err != nil {
			return fmt.Errorf("system %s: %w", m.ID, err)
		}
		doc[name] = v
	}
	for more := true; more; {
		err := s.table.change(ctx, m.ID, func(seen *sight) (*update, error) {
			if seen == nil {
				return nil, errLook
			}
			u := newUpdate()
			if seen.item == nil {
				u.create = maps.Clone(doc)
				u.create[rules.SystemID] = str(m.ID)
				more = false
				return u, nil
			}
			mergeInto(u, nil, seen.item, doc)
			more = len(u.sets) > maxPaths
			if len(u.sets) == 0 {
				return nil, nil
			}
			u.exists(rules.SystemID)
			return u, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// mergeInto adds to u what makes the map stored, which is at path, hold the members of doc as well. A member that
// becomes a map is written only if it is still as it was seen, for another merge may have put a map there.
func mergeInto(u *update, path []string, stored, doc item) {
	for _, name := range slices.Sorted(maps.Keys(doc)) {
		if len(u.sets) > maxPaths {
			return
		}
		at, old, v := append(slices.Clone(path), name), stored[name], doc[name]
		inner, outer := members(v), members(old)
		switch {
		case inner == nil || outer == nil:
			if equal(old, v) {
				continue
			}
			u.set(v, at...)
			if inner != nil {
				u.is(old, at...)
			}
		case hasEmptyName(inner): // Such a member has no path.
			if merged := merged(outer, inner); !equal(old, merged) {
				u.set(merged, at...)
				u.is(old, at...)
			}
		default:
			mergeInto(u, at, outer, inner)
		}
	}
}

func hasEmptyName(m item) bool {
	for name, v := range m {
		if name == "" || hasEmptyName(members(v)) {
			return true
		}
	}
	return false
}

// merged returns outer with the members of inner merged into it.
func merged(outer, inner item) value {
	out := maps.Clone(outer)
	for name, v := range inner {
		if a, b := members(out[name]), members(v); a != nil && b != nil {
			out[name] = merged(a, b)
		} else {
			out[name] = v
		}
	}
	return object(out)
}
