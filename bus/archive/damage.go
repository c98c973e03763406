package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
)

// damageError is a chunk that cannot be archived whole, however often it is read.
type damageError struct {
	// before is where the chunk before it ends, "" where the object would begin with this one.
	before string
	err    error
}

// Error says what is wrong.
func (e *damageError) Error() string { return e.err.Error() }

// Unwrap returns the error of the store, or of the text.
func (e *damageError) Unwrap() error { return e.err }

// damaged tells whether an error of reading a chunk is the chunk's own, and not of a storage that may be well the next time.
func damaged(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrInvalid) ||
		errors.Is(err, chunk.ErrCorrupt)
}

// late tells whether a chunk is so old that what follows it must not wait for it any longer. What follows may have been given less
// time than chunks are given today: it was given as much as this one, or what is given today.
func (a *Archiver) late(c *store.Chunk) bool {
	now := a.cfg.Now()
	end, err := eid.Parse(c.End)
	if err != nil {
		return a.giveUp > 0 || c.Expires != 0 // Nobody can tell how old it is, and it says nothing of what an operator could restore.
	}
	made := time.UnixMilli(end.Millis)
	if a.giveUp > 0 && now.Sub(made) >= a.giveUp {
		return true
	}
	if c.Expires == 0 {
		return false
	}
	expires := time.Unix(c.Expires, 0)
	return expires.Sub(now) <= expires.Sub(made)/4
}

// overlaps tells whether a chunk that begins before the object's last event is one of two that have the same ids: a leftover of the
// original's (W-D1). Otherwise it is one that an archive ends within.
func (a *Archiver) overlaps(ctx context.Context, c *store.Chunk, o *object) (bool, error) {
	if o.last != "" {
		return true, nil // The object has the other.
	}
	if o.end == "" {
		return false, nil
	}
	last := len(o.end) - 1
	before := o.end[:last] + string([]byte{o.end[last] - 1, '~'}) // after every other id below the end, as digits come before ~
	page, _, err := a.query(ctx, c.Queue, before, o.end, 1)
	return len(page.Chunks) > 0, err
}

// passed is what was passed over.
type passed struct {
	gaps int
	// letters are the lines of dead letters.
	letters []byte
}

// passOver notes a chunk that is not archived, or not whole. The events before its damage are in the object, as readers got them too.
func (a *Archiver) passOver(ctx context.Context, o *object, c *store.Chunk, cause error) {
	a.cfg.Logger.ErrorContext(ctx, "a chunk is not archived, or not all of it",
		"queue", c.Queue, "from", c.Start, "to", c.End, "error", cause)
	o.ahead.gaps++
	if o.damage == nil {
		o.damage = cause
	}
	line, err := a.letter(c, cause)
	if err != nil {
		a.cfg.Logger.ErrorContext(ctx, "the chunk gets no dead letter", "queue", c.Queue, "to", c.End, "error", err)
		return
	}
	if o.room(len(line)) {
		o.ahead.letters = append(o.ahead.letters, line...)
	}
}

// letter returns the line of the dead letter of a chunk.
func (a *Archiver) letter(c *store.Chunk, cause error) ([]byte, error) {
	at := a.cfg.Now().UnixMilli()
	letter := deadletter.Letter{
		Reason: deadletter.ReasonChunk, Queue: c.Queue, EID: c.Start, At: at,
		Error: fmt.Sprintf("events from %s to %s (%d, by what the index says) are not in the archive, but for those before the damage: %v",
			c.Start, c.End, c.Records, cause),
	}
	switch {
	case c.Blob != nil:
		letter.SetRaw([]byte("s3://" + c.Blob.Bucket + "/" + c.Blob.Key))
	case len(c.Gzip) > 0:
		letter.SetRaw(c.Gzip)
	default:
		letter.SetRaw(fmt.Appendf(nil, "event=%s end=%s", c.Queue, c.End)) // Where it is in the index.
	}
	payload, err := json.Marshal(letter)
	if err != nil {
		return nil, err
	}
	return event.AppendLine(nil, &event.Event{
		Bot: deadletter.SequencerBot, Queue: deadletter.Queue, Payload: payload, Timestamp: at, SourceTimestamp: at,
	}, -1)
}
