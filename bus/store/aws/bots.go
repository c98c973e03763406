package aws

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

const (
	// maxPaths bounds the references that one update writes: an expression may have 4 KB and 300 operators.
	maxPaths = 40
	// producedParallel is how many bots' statistics are written at once.
	producedParallel = 8
)

// bots is the table LeoCron. Every change is one conditional update that names what it changes, so that writers of different
// parts of a row, ours and the original's, do not undo each other (W-D13).
type bots struct {
	table   table
	listing *listing[store.Bot]
}

func newBots(b *Bus) store.Bots {
	t := table{bus: b, name: b.o.Resources.LeoCron, part: "LeoCron", key: "id"}
	return bots{t, &listing[store.Bot]{
		table: t, key: func(b store.Bot) string { return b.ID }, decode: func(row item) (store.Bot, bool) { return decodeBot(row), true },
	}}
}

func noBot(id string) error { return fmt.Errorf("bot %s: %w", id, store.ErrNotFound) }

// Get implements store.Bots.
func (b bots) Get(ctx context.Context, id string) (store.Bot, error) {
	it, err := b.table.get(ctx, id)
	if err != nil {
		return store.Bot{}, err
	}
	if it == nil {
		return store.Bot{}, noBot(id)
	}
	return decodeBot(it), nil
}

// List implements store.Bots; see listing for its cost.
func (b bots) List(ctx context.Context, after string, limit int) ([]store.Bot, error) {
	out, err := b.listing.page(ctx, after, limit)
	return out, err
}

// Control implements store.Bots.
func (b bots) Control(ctx context.Context, id string, c store.Control) error {
	return b.table.change(ctx, id, func(seen *sight) (*update, error) {
		if seen != nil && seen.item == nil {
			return nil, noBot(id)
		}
		u := newUpdate()
		u.exists("id")
		flag := func(name string, v *bool) {
			if v != nil {
				u.set(boolean(*v), name)
			}
		}
		number := func(name string, v *int64) {
			if v != nil {
				u.set(num(*v), name)
			}
		}
		flag("paused", c.Paused)
		flag("archived", c.Archived)
		flag("ignorePaused", c.IgnorePaused)
		number("trigger", c.Trigger)
		number("scheduledTrigger", c.ScheduledTrigger)
		if c.ErrorCount != nil {
			u.set(num(int64(*c.ErrorCount)), "errorCount")
		}
		if len(u.sets) > 0 {
			return u, nil
		}
		if seen == nil {
			return nil, errLook
		}
		return nil, nil
	})
}

// Checkpoint implements store.Bots with the update of bus.md 1.4.2.
func (b bots) Checkpoint(ctx context.Context, w store.CheckpointWrite) error {
	if err := rules.CheckpointWrite(w); err != nil {
		return err
	}
	id := rules.BotID(w.Bot)
	if w.Location != (store.Location{}) {
		return b.locate(ctx, id, w)
	}
	at := []string{"checkpoints", "read", w.Ref}
	position := append(slices.Clone(at), "checkpoint")
	return b.table.change(ctx, id, func(seen *sight) (*update, error) {
		u := newUpdate()
		if seen != nil && seen.item == nil {
			var row store.Bot
			if err := rules.Checkpoint(&row, false, w); err != nil {
				return nil, err
			}
			u.create = skeleton(id, w.Ref, checkpointValue(w.Checkpoint))
			u.set(checkpointValue(w.Checkpoint), at...) // For the mark: a lost answer is recognised by it.
			u.mark(at...)
			return u, nil
		}
		u.set(checkpointValue(w.Checkpoint), at...)
		u.mark(at...)
		switch {
		case w.Force:
		case seen != nil:
			row := decodeBot(seen.item)
			if err := rules.Checkpoint(&row, true, w); err != nil {
				return nil, err
			}
			u.asIn(seen.item, position...)
		case w.Expected == "":
			u.is(nil, position...)
		default:
			u.is(str(w.Expected), position...)
		}
		return u, nil
	})
}

// locate stores the checkpoint of an instance of a bus-side fan-out: without a condition, as only that instance writes there
// (sdk.md 3.9, C9).
func (b bots) locate(ctx context.Context, id string, w store.CheckpointWrite) error {
	return b.table.change(ctx, id, func(seen *sight) (*update, error) {
		if seen != nil && seen.item == nil {
			return nil, noBot(id)
		}
		u := newUpdate()
		u.exists("id")
		u.set(checkpointValue(w.Checkpoint), w.Location.Attribute, w.Location.Instance, w.Ref)
		u.mark(w.Location.Attribute, w.Location.Instance, w.Ref)
		return u, nil
	})
}

// skeleton returns the item that the original makes for a bot that nobody registered (C43).
func skeleton(id, reference string, checkpoint value) item {
	return item{
		"id": str(id), "name": str(id), "description": null(), "lambda": object(item{}), "lambdaName": null(), "time": null(),
		"paused": boolean(false), "instances": object(item{}), "requested_kinesis": object(item{}),
		"checkpoints": object(item{"read": object(item{reference: checkpoint}), "write": object(item{})}),
	}
}

// Produced implements store.Bots: one update for each bot and maxPaths queues.
func (b bots) Produced(ctx context.Context, list []store.Produced) error {
	if err := b.table.bus.alive(ctx); err != nil {
		return err
	}
	byBot := map[string]map[string]store.Produced{}
	for _, p := range list {
		refs := byBot[p.Bot]
		if refs == nil {
			refs = map[string]store.Produced{}
			byBot[p.Bot] = refs
		}
		if old, ok := refs[p.Ref]; !ok || old.Position <= p.Position {
			refs[p.Ref] = p
		}
	}
	type part struct {
		bot   string
		refs  []string
		joint *jointWrite
	}
	var parts []part
	var writes []*jointWrite
	for id, refs := range byBot {
		of := slices.Collect(slices.Chunk(slices.Sorted(maps.Keys(refs)), maxPaths))
		for _, some := range of {
			p := part{bot: id, refs: some}
			if len(of) == 1 { // No row can be written twice in one request.
				p.joint = &jointWrite{id: id, u: newerUpdate(some, refs)}
				writes = append(writes, p.joint)
			}
			parts = append(parts, p)
		}
	}
	b.table.writeTogether(ctx, writes)
	var g errgroup.Group
	g.SetLimit(producedParallel)
	var mu sync.Mutex
	failed := map[string]error{}
	for _, p := range parts {
		if w := p.joint; w != nil && (w.done || w.failed && w.seen == nil) {
			continue // Unknown bots have no statistics (C45).
		}
		g.Go(func() error {
			if err := b.produced(ctx, p.bot, p.refs, byBot[p.bot]); err != nil {
				mu.Lock()
				defer mu.Unlock()
				failed[p.bot] = err
			}
			return nil
		})
	}
	_ = g.Wait() // Failures are in failed: one bot's must not keep the others from being written.
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, id := range slices.Sorted(maps.Keys(failed)) {
		return fmt.Errorf("statistics of %d of %d bots, first %s: %w", len(failed), len(byBot), id, failed[id])
	}
	return nil
}

func (b bots) produced(ctx context.Context, id string, refs []string, from map[string]store.Produced) error {
	return b.table.change(ctx, id, func(seen *sight) (*update, error) {
		if seen != nil && seen.item == nil {
			return nil, nil // Unknown bots have no statistics (C45).
		}
		return producedUpdate(refs, from, seen), nil
	})
}

// newerUpdate writes statistics over older ones, as they nearly always are.
func newerUpdate(refs []string, from map[string]store.Produced) *update {
	u := newUpdate()
	for _, r := range refs {
		at := []string{"checkpoints", "write", r}
		u.set(checkpointValue(from[r].Checkpoint), at...)
		u.when(u.p(append(at, "checkpoint")...) + "<=" + u.v(str(from[r].Position)))
	}
	return u
}

// producedUpdate writes statistics to the row that was seen; without one, each is conditional on being newer. nil means that none is.
func producedUpdate(refs []string, from map[string]store.Produced, seen *sight) *update {
	u := newUpdate()
	u.orAbsent = true
	u.exists("id")
	var row store.Bot
	if seen != nil {
		row = decodeBot(seen.item)
	}
	for _, r := range refs {
		at := []string{"checkpoints", "write", r}
		position := append(slices.Clone(at), "checkpoint")
		p := from[r]
		if seen == nil {
			u.set(checkpointValue(p.Checkpoint), at...)
			u.unlessAbove("<=", u.v(str(p.Position)), position...)
		} else if rules.Produced(&row, p) {
			u.set(checkpointValue(p.Checkpoint), at...)
			u.asIn(seen.item, position...)
		}
	}
	if len(u.sets) == 0 {
		return nil
	}
	return u
}

// Request implements store.Bots.
func (b bots) Request(ctx context.Context, r store.Request) error {
	heads := slices.DeleteFunc(slices.Sorted(maps.Keys(r.Heads)), func(ref string) bool { return r.Heads[ref] == "" })
	for len(heads) > maxPaths { // The trigger goes with the last ones: whoever sees it sees all heads.
		if err := b.request(ctx, store.Request{Bot: r.Bot, Heads: only(r.Heads, heads[:maxPaths])}); err != nil {
			return err
		}
		heads = heads[maxPaths:]
	}
	return b.request(ctx, store.Request{Bot: r.Bot, Heads: only(r.Heads, heads), At: r.At})
}

func only(m map[string]string, keys []string) map[string]string {
	out := make(map[string]string, len(keys))
	for _, k := range keys {
		out[k] = m[k]
	}
	return out
}

func (b bots) request(ctx context.Context, r store.Request) error {
	return b.table.change(ctx, r.Bot, func(seen *sight) (*update, error) {
		if seen != nil && seen.item == nil {
			return nil, noBot(r.Bot)
		}
		u := newUpdate()
		u.exists("id")
		request(u, seen, r)
		if len(u.sets) > 0 {
			return u, nil
		}
		if seen == nil {
			return nil, errLook
		}
		return nil, nil
	})
}

// request adds what r asks for to u: heads and the trigger, where they are above those seen, or, of a row that was not seen, on
// condition that they are above those stored.
func request(u *update, seen *sight, r store.Request) {
	var row store.Bot
	if seen != nil {
		row = decodeBot(seen.item)
	}
	for _, reference := range slices.Sorted(maps.Keys(r.Heads)) {
		head, at := r.Heads[reference], []string{"requested_kinesis", reference}
		switch {
		case head == "":
		case seen == nil:
			u.unlessAbove("<", u.set(str(head), at...), at...)
		case head > row.Requested[reference]:
			u.set(str(head), at...)
			u.asIn(seen.item, at...)
		}
	}
	switch {
	case seen == nil && r.At > 0:
		u.unlessAbove("<", u.set(num(r.At), "trigger"), "trigger")
	case seen != nil && r.At > row.Trigger:
		u.set(num(r.At), "trigger")
		u.asIn(seen.item, "trigger")
	}
}
