// Package registry registers bots, systems and queue schemas on a bus the way stacks declare them: as a whole set at a time, from
// which things are added, changed and removed (bus.md 3.11, W-P15).
//
// A set is declared by a registrar, in practice a custom resource of a stack. What is in it is registered. Bots that were in it
// and no longer are get retired: paused and archived, with their checkpoints kept, so that a declaration that comes back revives
// them as they were. A bot that another registrar declares too is left alone, so that a resource may be renamed or split, and such a
// change may be rolled back: of several registrars of a bot, the last one that lets go of it retires it.
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
	// Properties are declarations by name (see Parse), Bots further bots that are declared otherwise.
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
	// Retired are the bots that were paused and archived, Kept those that another registrar has by now.
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
	plan := &declared{bots: map[string]store.Registration{}}
	if next != nil {
		var err error
		if plan, err = next.parse(); err != nil {
			return result, err
		}
	}
	for _, id := range slices.Sorted(maps.Keys(plan.bots)) {
		revived, err := r.register(ctx, registrar, plan.bots[id])
		if err != nil {
			return result, fmt.Errorf("bot %s: %w", id, err)
		}
		result.Registered = append(result.Registered, id)
		if revived {
			result.Revived = append(result.Revived, id)
		}
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
	var gone []string
	if old != nil {
		for _, id := range old.IDs() {
			if _, ok := plan.bots[id]; !ok {
				gone = append(gone, id)
			}
		}
	}
	retired, err := r.Retire(ctx, registrar, false, gone...)
	result.Retired, result.Kept = retired.Retired, retired.Kept
	return result, err
}

// IDs returns the ids of the bots that the set declares, in order, as far as they can be told: a declaration that could not be
// registered counts too, and one that names no bot does not.
func (s *Set) IDs() []string {
	seen := map[string]bool{}
	for name, value := range s.Properties {
		if d, err := object(value); err == nil {
			if kind, id, err := d.kind(name); err == nil && kind == kindBot {
				seen[id] = true
			}
		}
	}
	for _, b := range s.Bots {
		seen[b.ID] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// retired is what is remembered of a bot while it is retired.
type retired struct {
	// Paused is what it was before.
	Paused bool `json:"paused"`
	// At is when it was retired, in ms.
	At int64 `json:"at"`
}

// RetiredPrefix is what the names of the settings begin with that remember retired bots.
const RetiredPrefix = "retired_"

func retiredKey(bot string) string { return RetiredPrefix + bot }

// register writes the registration and revives the bot if it was retired.
func (r *Registry) register(ctx context.Context, registrar string, b store.Registration) (revived bool, err error) {
	if registrar != "" {
		text, err := json.Marshal(registrar)
		if err != nil {
			return false, err
		}
		extra := maps.Clone(b.Extra)
		if extra == nil {
			extra = map[string]json.RawMessage{}
		}
		extra[registrarAttribute] = text
		b.Extra = extra
	}
	shared, err := r.claim(ctx, registrar, b.ID)
	if err != nil {
		return false, err
	}
	if err := r.store.Bots.Register(ctx, b); err != nil {
		return false, err
	}
	if shared == alone { // The row says so now.
		if err := r.store.Settings.Delete(ctx, claimsKey(b.ID)); err != nil {
			return false, err
		}
	}
	value, err := r.store.Settings.Get(ctx, retiredKey(b.ID))
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var was retired
	if err := json.Unmarshal(value, &was); err != nil {
		return false, fmt.Errorf("%w: setting %s: %w", store.ErrCorrupt, retiredKey(b.ID), err)
	}
	archived := false
	if err := r.store.Bots.Control(ctx, b.ID, store.Control{Paused: &was.Paused, Archived: &archived}); err != nil {
		return false, err
	}
	return true, r.store.Settings.Delete(ctx, retiredKey(b.ID))
}

// Retire pauses and archives bots. Absent ones, and those that another registrar declared since, are left alone; with strict also
// those of no registrar, which the original software registered.
func (r *Registry) Retire(ctx context.Context, registrar string, strict bool, ids ...string) (Result, error) {
	var result Result
	for _, id := range ids {
		bot, err := r.store.Bots.Get(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return result, fmt.Errorf("bot %s: %w", id, err)
		}
		claims, noted, err := r.claims(ctx, bot)
		if err != nil {
			return result, fmt.Errorf("bot %s: %w", id, err)
		}
		left := slices.DeleteFunc(slices.Clone(claims), func(by string) bool { return by == registrar })
		if len(left) > 0 || strict && len(claims) == 0 {
			if noted && len(left) < len(claims) {
				err = r.noteClaims(ctx, id, left)
			}
			if err != nil {
				return result, fmt.Errorf("bot %s: %w", id, err)
			}
			result.Kept = append(result.Kept, id)
			continue
		}
		if err = r.retire(ctx, bot); err == nil && noted {
			err = r.store.Settings.Delete(ctx, claimsKey(id))
		}
		if err != nil {
			return result, fmt.Errorf("bot %s: %w", id, err)
		}
		result.Retired = append(result.Retired, id)
	}
	return result, nil
}

// retire pauses and archives one bot. What it was is noted first: whoever revives it must find that.
func (r *Registry) retire(ctx context.Context, bot store.Bot) error {
	if bot.Archived {
		return nil // It is retired, or an operator archived it, whose decision a later registration must not undo.
	}
	value, err := json.Marshal(retired{Paused: bot.Paused, At: r.now().UnixMilli()})
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

// claimsKey is the setting that has the registrars of a bot, the newest last, where there are or were several.
func claimsKey(bot string) string { return "registrars_" + bot }

// claims returns the registrars that declare a bot: those that are noted, or else the one that its row names.
func (r *Registry) claims(ctx context.Context, bot store.Bot) (list []string, noted bool, err error) {
	value, err := r.store.Settings.Get(ctx, claimsKey(bot.ID))
	switch {
	case errors.Is(err, store.ErrNotFound):
		if by := registrarOf(bot); by != "" {
			list = []string{by}
		}
		return list, false, nil
	case err != nil:
		return nil, false, err
	}
	if err := json.Unmarshal(value, &list); err != nil {
		return nil, false, fmt.Errorf("%w: setting %s: %w", store.ErrCorrupt, claimsKey(bot.ID), err)
	}
	return list, true, nil
}

func (r *Registry) noteClaims(ctx context.Context, bot string, list []string) error {
	value, err := json.Marshal(list)
	if err != nil {
		return err
	}
	return r.store.Settings.Put(ctx, claimsKey(bot), value)
}

// sharing tells whether a note of a bot's registrars is needed.
type sharing int

const (
	unnoted sharing = iota // none is there, and none is needed
	alone                  // one is there that is not needed any more
	several
)

// claim notes that a registrar is about to declare a bot, besides others that do.
func (r *Registry) claim(ctx context.Context, registrar, id string) (sharing, error) {
	if registrar == "" {
		return unnoted, nil
	}
	bot, err := r.store.Bots.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return unnoted, nil
	}
	if err != nil {
		return unnoted, err
	}
	claims, noted, err := r.claims(ctx, bot)
	if err != nil {
		return unnoted, err
	}
	claims = slices.DeleteFunc(claims, func(by string) bool { return by == registrar })
	switch {
	case len(claims) > 0 && !bot.Archived: // Nobody declares a retired bot.
		return several, r.noteClaims(ctx, id, append(claims, registrar))
	case noted:
		return alone, nil
	}
	return unnoted, nil
}

// registrarOf returns who declared the bot last, "" where that is not known.
func registrarOf(bot store.Bot) string {
	var name string
	if value := bot.Extra[registrarAttribute]; len(value) == 0 || json.Unmarshal(value, &name) != nil {
		return ""
	}
	return name
}
