// Package registry registers bots, systems and queue schemas on a bus the way stacks declare them: as a whole set at a time, from
// which things are added, changed and removed (bus.md 3.11, W-P15).
//
// A set is declared by a registrar, in practice a custom resource of a stack. What is in it is registered. Bots that were in it
// and no longer are get retired: paused and archived, with their checkpoints kept, so that a declaration that comes back revives
// them as they were. A bot that another registrar declares too is left alone, so that a resource may be renamed or split, and such a
// change may be rolled back: of several registrars of a bot, the last one that lets go of it retires it. A bot that was there before
// its first registrar is given back as it was, if that registrar lets go of it within a day.
//
// A declaration changes what it speaks of. The rest of a bot's configuration stays, but for what the registrar declared before.
//
// Everything is checked before anything is written, and every write may be repeated: applying a set twice changes nothing.
package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// ErrInvalid reports a declaration that cannot be registered. Callers should show the text: it names the declaration and says what
// is wrong.
var ErrInvalid = errors.New("invalid registration")

// Set is what a registrar declares.
type Set struct {
	// Properties are declarations by name. Bots are further bots, whose fields are all declared: empty ones too.
	Properties map[string]json.RawMessage
	Bots       []store.Registration
}

// Registry registers sets on a bus. It is safe for concurrent use.
type Registry struct {
	store store.Store
	now   func() time.Time
}

// New returns a registry of the bus on st, which needs Bots, Settings, Systems and Blobs. now is the clock; nil means time.Now.
func New(st store.Store, now func() time.Time) *Registry {
	if now == nil {
		now = time.Now
	}
	return &Registry{store: st, now: now}
}

// Result tells what a call did, in order of names.
type Result struct {
	// Registered are the bots that were created or brought up to date, Revived those of them that had been retired.
	Registered []string `json:"registered,omitempty"`
	Revived    []string `json:"revived,omitempty"`
	// Retired are the bots that were paused and archived, Kept those that another registrar has by now, or had before.
	Retired []string `json:"retired,omitempty"`
	Kept    []string `json:"kept,omitempty"`
	// Systems were merged, and the schemas of these Queues stored.
	Systems []string `json:"systems,omitempty"`
	Queues  []string `json:"queues,omitempty"`
}

// registrarAttribute is where a bot's row names who declared it last. The original knows no such attribute, and keeps it.
const registrarAttribute = "registrar"

// Apply registers what next declares and retires the bots that only old, what the registrar declared before, declares; nil means
// nothing. Systems and schemas are never removed, as nobody knows who else relies on them. An empty registrar leaves the bots'
// registrar as it is. The error wraps ErrInvalid where a declaration is at fault, and then nothing was written.
func (r *Registry) Apply(ctx context.Context, registrar string, next, old *Set) (Result, error) {
	var result Result
	plan := &declared{bots: map[string]declaration{}}
	if next != nil {
		var err error
		if plan, err = next.parse(); err != nil {
			return result, err
		}
	}
	gone := old.fields()
	for _, id := range slices.Sorted(maps.Keys(plan.bots)) {
		before, known := gone[id]
		revived, err := r.register(ctx, registrar, plan.bots[id], before, !known)
		if err != nil {
			return result, fmt.Errorf("bot %s: %w", id, err)
		}
		result.Registered = append(result.Registered, id)
		if revived {
			result.Revived = append(result.Revived, id)
		}
		delete(gone, id)
	}
	for _, s := range plan.systems {
		if err := r.store.Systems.Merge(ctx, s); err != nil {
			return result, fmt.Errorf("system %s: %w", s.ID, err)
		}
		result.Systems = append(result.Systems, s.ID)
	}
	for _, s := range plan.schemas {
		if err := r.storeSchemas(ctx, s); err != nil {
			return result, fmt.Errorf("schemas of queue %s: %w", s.queue, err)
		}
		result.Queues = append(result.Queues, s.queue)
	}
	return result, r.letGo(ctx, registrar, false, gone, &result)
}

// Retire pauses and archives the bots that old, what the registrar declared, declares. Absent ones, and those that another registrar
// declared since, are left alone; with strict also those of no registrar, which the original software registered.
func (r *Registry) Retire(ctx context.Context, registrar string, strict bool, old *Set) (Result, error) {
	var result Result
	return result, r.letGo(ctx, registrar, strict, old.fields(), &result)
}

// letGo retires bots, of which the registrar declared these fields, as far as they are its own.
func (r *Registry) letGo(ctx context.Context, registrar string, strict bool, gone map[string]fields, result *Result) error {
	for _, id := range slices.Sorted(maps.Keys(gone)) {
		left, err := r.release(ctx, registrar, strict, id, gone[id])
		if err != nil {
			return fmt.Errorf("bot %s: %w", id, err)
		}
		switch left {
		case isRetired:
			result.Retired = append(result.Retired, id)
		case isKept:
			result.Kept = append(result.Kept, id)
		}
	}
	return nil
}

// fields returns the bots that the set declares, as far as they can be told, and what it says of each: a declaration that could not
// be registered counts too, and one that names no bot does not.
func (s *Set) fields() map[string]fields {
	bots := map[string]fields{}
	if s == nil {
		return bots
	}
	for name, value := range s.Properties {
		if d, err := object(value); err == nil {
			if kind, id, err := d.kind(name); err == nil && kind == kindBot {
				bots[id] = append(bots[id], d.fields()...)
			}
		}
	}
	for _, b := range s.Bots {
		bots[b.ID] = allFields[:]
	}
	return bots
}

// retired is what is remembered of a bot while it is retired.
type retired struct {
	// Paused is what it was before.
	Paused bool `json:"paused"`
	// At is when it was retired, in ms.
	At int64 `json:"at"`
	// Said are the fields that its registrar had declared, nil where that was not noted.
	Said fields `json:"said"`
}

// RetiredPrefix is what the names of the settings begin with that remember retired bots.
const RetiredPrefix = "retired_"

func retiredKey(bot string) string { return RetiredPrefix + bot }

// register writes the registration and revives the bot if it was retired. before is what the registrar said of the bot the last time,
// and first tells that it said nothing.
func (r *Registry) register(ctx context.Context, registrar string, d declaration, before fields, first bool) (revived bool, err error) {
	if registrar != "" {
		text, err := json.Marshal(registrar)
		if err != nil {
			return false, err
		}
		d.Extra = with(d.Extra, registrarAttribute, text)
	}
	row, exists, err := r.claim(ctx, registrar, d.Registration, first)
	if err != nil {
		return false, err
	}
	var was retired
	noted, err := r.setting(ctx, retiredKey(d.ID), &was)
	if err != nil {
		return false, err
	}
	// A bot that is not archived was taken back by an operator, who may have paused it since.
	revived = noted && exists && row.Archived
	b := d.Registration
	if exists {
		by := registrarOf(row)
		switch {
		case first && registrar != "" && by != "" && by != registrar, revived && was.Said == nil:
			// A bot that moves between resources is the new one's, whichever of them comes first, and nothing stays that
			// only the other one had declared.
			before = allFields[:]
		case revived:
			before = slices.Concat(before, was.Said)
		}
		b = d.onto(row, before)
	}
	if err := r.store.Bots.Register(ctx, b); err != nil {
		return false, err
	}
	if revived {
		archived := false
		if err := r.store.Bots.Control(ctx, d.ID, store.Control{Paused: &was.Paused, Archived: &archived}); err != nil {
			return false, err
		}
	}
	if noted {
		err = r.store.Settings.Delete(ctx, retiredKey(d.ID))
	}
	return revived, err
}

// row returns the bot's row, if it has one.
func (r *Registry) row(ctx context.Context, id string) (row store.Bot, exists bool, err error) {
	row, err = r.store.Bots.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Bot{}, false, nil
	}
	return row, err == nil, err
}

// setting reads a setting, if it is there.
func (r *Registry) setting(ctx context.Context, key string, into any) (exists bool, err error) {
	value, err := r.store.Settings.Get(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := json.Unmarshal(value, into); err != nil {
		return false, fmt.Errorf("%w: setting %s: %w", store.ErrCorrupt, key, err)
	}
	return true, nil
}

// retire pauses and archives one bot. What it was is noted first: whoever revives it must find that.
func (r *Registry) retire(ctx context.Context, bot store.Bot, said fields) error {
	if bot.Archived {
		return nil // It is retired, or an operator archived it, whose decision a later registration must not undo.
	}
	value, err := json.Marshal(retired{Paused: bot.Paused, At: r.now().UnixMilli(), Said: said})
	if err != nil {
		return err
	}
	if err := r.store.Settings.Put(ctx, retiredKey(bot.ID), value); err != nil {
		return err
	}
	yes := true
	err = r.store.Bots.Control(ctx, bot.ID, store.Control{Paused: &yes, Archived: &yes})
	if errors.Is(err, store.ErrNotFound) {
		return r.store.Settings.Delete(ctx, retiredKey(bot.ID))
	}
	return err
}

// unretire takes back what retire did to a bot.
func (r *Registry) unretire(ctx context.Context, bot store.Bot) error {
	if bot.Archived {
		return nil
	}
	err := r.store.Bots.Control(ctx, bot.ID, store.Control{Paused: &bot.Paused, Archived: &bot.Archived})
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	return r.store.Settings.Delete(ctx, retiredKey(bot.ID))
}
