package rstreams

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Checkpoint is how far a bot came on a queue, with what the bus's monitor needs to know of the work.
type Checkpoint = store.Checkpoint

// Location is a place for the checkpoints of one instance of a bus-side fan-out.
type Location = store.Location

// CheckpointRequest moves a read checkpoint.
type CheckpointRequest struct {
	// Bot is whose checkpoint it is; "" means the session's bot. Queue is a queue, or a reference ("system:s").
	Bot, Queue string
	// Checkpoint is the new value. Times that are 0 become the present.
	Checkpoint
	// Expected is the position that must be stored now, "" for none at all. If another is stored, nothing changes and the
	// error is ErrStaleCheckpoint.
	Expected string
	// Backwards permits a position before Expected. Otherwise that is ErrBackwards, which mostly means a mistake.
	Backwards bool
	// Force writes whatever is stored, as Session.Force does. It is for operators.
	Force bool

	from, snapshot string // of the reader; see LedgerEntry
}

// Checkpoint moves a read checkpoint on condition of the stored position. Of several callers that expect the same position
// exactly one succeeds. A bot without a row gets one.
func (b *Bus) Checkpoint(ctx context.Context, c CheckpointRequest) error {
	c.Bot = b.bot(c.Bot)
	c.Force = c.Force || b.session.Force
	queue := ref.Queue(c.Queue)
	if c.Bot == "" {
		return wrap("checkpoint", queue, c.Position, fmt.Errorf("%w: no bot is named, here or in the session", errOptions))
	}
	if err := ref.ValidateQueue(c.Queue); err != nil {
		return wrap("checkpoint", queue, c.Position, err)
	}
	if ref.Parse(c.Queue).Type != ref.TypeSystem { // Positions in systems are the systems' own.
		if err := eid.ValidatePosition(c.Position); err != nil {
			return wrap("checkpoint", queue, c.Position, err)
		}
	}
	if !c.Force && !c.Backwards && isBefore(c.Position, c.Expected) {
		return wrap("checkpoint", queue, c.Position, fmt.Errorf("%w: the present one is %s", ErrBackwards, c.Expected))
	}
	if c.Force {
		b.log().InfoContext(ctx, "forcing a checkpoint", "bot", c.Bot, "queue", queue, "position", c.Position)
	}
	now := b.millis()
	for _, t := range []*int64{&c.SourceTimestamp, &c.StartedTimestamp, &c.EndedTimestamp} {
		if *t == 0 {
			*t = now
		}
	}
	if l := b.session.Ledger; l != nil {
		return wrap("checkpoint", queue, c.Position, l.put(c))
	}
	err := b.retryThrottled(ctx, func() error {
		return b.core.store.Bots.Checkpoint(ctx, store.CheckpointWrite{
			Bot: c.Bot, Ref: ref.QueueRef(c.Queue), Checkpoint: c.Checkpoint, Expected: c.Expected, Force: c.Force,
			Location: b.session.Location,
		})
	})
	return wrap("checkpoint", queue, c.Position, stale(err))
}

// isBefore tells whether position lies before expected, where that can be told: both are places in the live queue.
func isBefore(position, expected string) bool {
	return strings.HasPrefix(position, eid.First) && strings.HasPrefix(expected, eid.First) && position < expected
}

// GetCheckpoint returns the bot's read checkpoint on queue. A bot that never checkpointed there has the zero Checkpoint, which
// is no error. bot "" means the session's.
func (b *Bus) GetCheckpoint(ctx context.Context, bot, queue string) (Checkpoint, error) {
	if bot = b.bot(bot); bot == "" {
		return Checkpoint{}, wrap("get checkpoint", queue, "", fmt.Errorf("%w: no bot is named, here or in the session", errOptions))
	}
	c, err := b.stored(ctx, bot, ref.QueueRef(queue))
	return c, wrap("get checkpoint", ref.Queue(queue), "", err)
}

// stored returns the stored checkpoint of a bot, the zero one where there is none.
func (b *Bus) stored(ctx context.Context, bot, key string) (Checkpoint, error) {
	if c, ok := b.session.Ledger.get(bot, key); ok {
		return c, nil
	}
	var row store.Bot
	err := b.retryThrottled(ctx, func() (err error) {
		row, err = b.core.store.Bots.Get(ctx, plainBot(bot)) // As leo-sdk does (C10).
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Checkpoint{}, nil
	case err != nil:
		return Checkpoint{}, fmt.Errorf("checkpoint of bot %s: %w", bot, err)
	}
	return row.Read[key], nil
}

// throttleAttempts is how often a throttled call is tried: with the default Backoff for some 20 seconds.
const throttleAttempts = 14

// retryThrottled runs fn again while the storage is throttled.
func (b *Bus) retryThrottled(ctx context.Context, fn func() error) error {
	for failures := 1; ; failures++ {
		err := fn()
		if err == nil || !errors.Is(err, store.ErrThrottled) || failures >= throttleAttempts {
			return err
		}
		if pause(ctx, Backoff{}.delay(failures)) != nil {
			return err
		}
	}
}

// handle is one reader's hold on a checkpoint: it remembers what the reader found or wrote, and expects nothing else to be
// there. Two readers of one queue have two handles, and the slower one gets ErrStaleCheckpoint (sdk.md fault 20).
type handle struct {
	bus       *Bus
	bot, ref  string
	backwards bool
	expected  string
	loaded    bool
	fresh     bool   // expected was read for the read that begins
	written   string // the last position that was written here
	begun     begun
	// doubtful is a checkpoint whose writing failed: it may be stored all the same.
	doubtful Checkpoint
}

// load reads the stored position.
func (h *handle) load(ctx context.Context) (string, error) {
	c, err := h.bus.stored(ctx, h.bot, h.ref)
	if err != nil {
		return "", err
	}
	h.expected, h.loaded = c.Position, true
	return c.Position, nil
}

// found notes the stored position, for the next call of position.
func (h *handle) found(position string) {
	h.expected, h.loaded, h.fresh = position, true, true
}

// position returns the stored position: what was found just now, else it reads it.
func (h *handle) position(ctx context.Context) (string, error) {
	if h.fresh {
		h.fresh = false
		return h.expected, nil
	}
	return h.load(ctx)
}

// write moves the checkpoint and remembers it.
func (h *handle) write(ctx context.Context, c Checkpoint) error {
	if !h.loaded {
		return fmt.Errorf("%w: the reader belongs to no bot", errOptions)
	}
	err := h.try(ctx, c)
	if errors.Is(err, ErrStaleCheckpoint) && h.doubtful.Position != "" {
		stored, lookErr := h.bus.stored(ctx, h.bot, h.ref)
		if lookErr == nil && stored == h.doubtful {
			h.expected = stored.Position // It was this handle that moved it.
			err = h.try(ctx, c)
		}
	}
	switch {
	case err == nil:
		// A start before the checkpoint moves it back once; from then on it only moves forward.
		h.expected, h.written, h.backwards, h.doubtful = c.Position, c.Position, false, Checkpoint{}
	case !errors.Is(err, ErrStaleCheckpoint):
		h.doubtful = c
	}
	return err
}

func (h *handle) try(ctx context.Context, c Checkpoint) error {
	from, snapshot := h.begun.get()
	return h.bus.Checkpoint(ctx, CheckpointRequest{
		Bot: h.bot, Queue: h.ref, Checkpoint: c, Expected: h.expected, Backwards: h.backwards, from: from, snapshot: snapshot,
	})
}

// progress is work that is not checkpointed yet.
type progress struct {
	position string
	units    int64
	// source is the earliest source time of the events, start when the work began; both in ms, 0 for not known.
	source, start int64
}

// add counts an event as the newest.
func (p *progress) add(e *Event) {
	p.position = e.EID
	p.units += max(e.Units, 1)
	if p.source == 0 || e.SourceTimestamp != 0 && e.SourceTimestamp < p.source {
		p.source = e.SourceTimestamp
	}
}

// checkpoint returns the progress as a checkpoint.
func (p progress) checkpoint(now int64) Checkpoint {
	c := Checkpoint{Position: p.position, SourceTimestamp: p.source, StartedTimestamp: p.start, EndedTimestamp: now, Records: p.units}
	if c.StartedTimestamp == 0 {
		c.StartedTimestamp = now
	}
	if c.SourceTimestamp == 0 {
		c.SourceTimestamp = now
	}
	return c
}

// Checkpoint stores the position of the last event that was delivered as the bot's checkpoint: everything up to it is done.
// It is conditional on the position that the reader found when it started or wrote last; ErrStaleCheckpoint means that
// someone else moved it. Without new events it does nothing, except after the first read of a bot from Latest: then it stores where
// that began.
func (r *Reader) Checkpoint(ctx context.Context) error {
	if r.pending.position == "" {
		return nil
	}
	if err := r.handle.write(ctx, r.pending.checkpoint(r.bus.millis())); err != nil {
		return wrap("checkpoint", r.queue, r.pending.position, err)
	}
	r.pending = progress{start: r.bus.millis()}
	return nil
}
