package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// ClaimsPrefix is what the names of the settings begin with that remember who declares which bots.
const ClaimsPrefix = "registrars_"

func claimsKey(bot string) string { return ClaimsPrefix + bot }

// claims are who declares a bot. They change by conditional writes only: several stacks may deploy at the same moment.
type claims struct {
	// By are the registrars that declare it.
	By []string `json:"by"`
	// Leaving is a registrar that has let go of it, and has not finished.
	Leaving string `json:"leaving,omitempty"`
	// Adopted is what the bot was before it had a registrar, nil where there was no bot, or where that counts no more.
	Adopted *adopted `json:"adopted,omitempty"`
}

// adopted is a bot that somebody else made, before a registrar declared it.
type adopted struct {
	// By is that registrar.
	By string `json:"by"`
	// At is when, in ms.
	At int64 `json:"at"`
	// Was is what the bot was.
	Was store.Registration `json:"was"`
}

// undoFor is how long a bot that was adopted can be given back. CloudFormation deletes what it has created both where the rest of a
// stack cannot be created, which takes hours at most, and where somebody deletes the stack, and does not say which. In the second
// case what the bot was long ago would be of no use.
const undoFor = 24 * time.Hour

// maxSwaps is how often a note is tried to be written beside others that write it.
const maxSwaps = 20

var errClaimed = fmt.Errorf("%w: others register the bot all the time; register it again", store.ErrConflict)

// claims returns who declares a bot, and the text that is stored of that, nil for none. Without it the row says who declared it last,
// which counts for nothing once it is retired.
func (r *Registry) claims(ctx context.Context, id string, row store.Bot) (c claims, stored json.RawMessage, err error) {
	if exists, err := r.setting(ctx, claimsKey(id), &stored); err != nil {
		return c, nil, err
	} else if !exists {
		if by := registrarOf(row); by != "" && !row.Archived {
			c.By = []string{by}
		}
		return c, nil, nil
	}
	// Once it was only a list.
	if json.Unmarshal(stored, &c.By) == nil {
		return c, stored, nil
	}
	if err := json.Unmarshal(stored, &c); err != nil {
		return c, nil, fmt.Errorf("%w: setting %s: %w", store.ErrCorrupt, claimsKey(id), err)
	}
	return c, stored, nil
}

// note stores the claims if stored is what is there, else it returns ErrConflict. It returns the text that is stored now.
func (r *Registry) note(ctx context.Context, id string, stored json.RawMessage, c claims) (json.RawMessage, error) {
	if c.By == nil {
		c.By = []string{}
	}
	next, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	return next, r.store.Settings.Swap(ctx, claimsKey(id), stored, next)
}

// claim notes that a registrar is about to declare a bot, and returns the bot's row as it is then. A note that comes before the row is
// read, and before the row is archived in release, cannot be missed by both.
func (r *Registry) claim(ctx context.Context, registrar string, b store.Registration, first bool) (row store.Bot, exists bool, err error) {
	for range maxSwaps {
		row, exists, err = r.row(ctx, b.ID)
		if err != nil || registrar == "" {
			return row, exists, err
		}
		c, stored, err := r.claims(ctx, b.ID, row)
		if err != nil {
			return row, false, err
		}
		known := slices.Contains(c.By, registrar)
		final := !first && c.Adopted != nil && c.Adopted.By == registrar
		switch {
		case known && !final:
			return row, exists, nil
		case final:
			c.Adopted = nil
		case first && exists && runs(row) && len(c.By) == 0 && c.Leaving == "":
			c.Adopted = &adopted{By: registrar, At: r.now().UnixMilli(), Was: configuration(row, b)}
		}
		if c.Leaving = ""; !known {
			c.By = append(c.By, registrar)
		}
		_, err = r.note(ctx, b.ID, stored, c)
		if err == nil {
			return r.row(ctx, b.ID)
		}
		if !errors.Is(err, store.ErrConflict) {
			return row, false, err
		}
	}
	return row, false, errClaimed
}

// runs tells whether a row is of a bot that could run. Others are made by a checkpoint, too.
func runs(row store.Bot) bool {
	return !row.Archived && (row.Invocation.Type != "" || row.Schedule != "" || len(row.Triggers) > 0)
}

// outcome is what became of a bot that its registrar has let go of.
type outcome int

const (
	isAbsent outcome = iota
	isKept
	isRetired
)

// release takes a registrar's claim away and, where it was the last one, retires the bot, or gives it back. It may be repeated,
// wherever it broke off.
func (r *Registry) release(ctx context.Context, registrar string, strict bool, id string, said fields) (outcome, error) {
	for range maxSwaps {
		row, exists, err := r.row(ctx, id)
		if err != nil {
			return isAbsent, err
		}
		c, stored, err := r.claims(ctx, id, row)
		if err != nil {
			return isAbsent, err
		}
		others := slices.DeleteFunc(slices.Clone(c.By), func(by string) bool { return by == registrar })
		mine := len(others) < len(c.By) || registrar != "" && c.Leaving == registrar
		last := exists && len(others) == 0 && (mine || !strict)
		c.By = others
		switch {
		case last:
			c.Leaving = registrar
		case mine:
			c.Leaving = ""
			if c.Adopted != nil && c.Adopted.By == registrar {
				c.Adopted = nil
			}
		default:
			return kept(exists), nil
		}
		stored, err = r.note(ctx, id, stored, c)
		if errors.Is(err, store.ErrConflict) {
			continue
		}
		if err != nil || !last {
			return kept(exists), err
		}
		return r.finish(ctx, registrar, row, c, stored, said)
	}
	return isAbsent, errClaimed
}

func kept(exists bool) outcome {
	if exists {
		return isKept
	}
	return isAbsent
}

// finish retires a bot that nobody declares any more, or gives it back. stored is the note of that.
func (r *Registry) finish(ctx context.Context, registrar string, row store.Bot, c claims, stored json.RawMessage, said fields) (outcome, error) {
	if a := c.Adopted; a != nil && a.By == registrar && r.now().Sub(time.UnixMilli(a.At)) < undoFor {
		if err := r.giveBack(ctx, a.Was); err != nil {
			return isAbsent, err
		}
		_, err := r.note(ctx, row.ID, stored, claims{})
		if errors.Is(err, store.ErrConflict) {
			err = nil // Somebody declares it, or gave it back at the same time.
		}
		return isKept, err
	}
	if err := r.retire(ctx, row, said); err != nil {
		return isAbsent, err
	}
	_, err := r.note(ctx, row.ID, stored, claims{})
	if !errors.Is(err, store.ErrConflict) {
		return isRetired, err
	}
	now, _, err := r.claims(ctx, row.ID, store.Bot{})
	if err != nil || len(now.By) == 0 {
		return isRetired, err
	}
	// Somebody declared it meanwhile, and may not have seen it archived.
	return isKept, r.unretire(ctx, row)
}

// giveBack makes a bot what it was before it had a registrar.
func (r *Registry) giveBack(ctx context.Context, was store.Registration) error {
	if string(was.Settings) == "null" {
		was.Settings = nil
	}
	was.Extra = with(was.Extra, registrarAttribute, json.RawMessage(`""`))
	return r.store.Bots.Register(ctx, was)
}

// registrarOf returns who declared the bot last, "" where that is not known.
func registrarOf(bot store.Bot) string {
	var name string
	if value := bot.Extra[registrarAttribute]; len(value) == 0 || json.Unmarshal(value, &name) != nil {
		return ""
	}
	return name
}
