package rstreams

import (
	"errors"
	"fmt"
	"strings"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

var (
	// ErrQueueNotFound reports a read of a queue that was never written to, where ReadOptions.StrictQueue asks for it.
	// Callers should check the name.
	ErrQueueNotFound = errors.New("queue not found")
	// ErrStaleCheckpoint reports a checkpoint that someone else moved since it was read. Callers should stop: another run
	// of the bot, or an operator, has taken over.
	ErrStaleCheckpoint = errors.New("stale checkpoint")
	// ErrBackwards reports a checkpoint before the one that is stored. Callers that mean it should set Backwards.
	ErrBackwards = errors.New("checkpoint would move backwards")
	// ErrFull reports that a Writer's bound is reached. Callers should use Put, which waits, or drop the event knowingly.
	ErrFull = errors.New("writer is full")
	// ErrClosed reports use after Close. Callers should keep the Writer open for longer.
	ErrClosed = errors.New("closed")
	// ErrTooLarge reports an event over WriterOptions.MaxEventBytes. Callers should store the data elsewhere and put a
	// reference to it.
	ErrTooLarge = errors.New("event too large")
	// ErrGap reports that events between two positions cannot be read; see GapError. Callers should stop and tell an
	// operator, who may let the reader go on with GapSkip.
	ErrGap = errors.New("events are missing")
	// ErrMalformed reports a stored line that is no event; see LineError. Callers may choose another MalformedPolicy.
	ErrMalformed = errors.New("malformed event")
	// ErrNoResult reports a handler that returned neither a result nor an error. Callers should return Handled() for events
	// that they want to pass over.
	ErrNoResult = errors.New("the handler returned neither a result nor an error")
	// ErrNoSnapshot reports a position in a snapshot of a queue that has none. Callers should start at z/ or at a date.
	ErrNoSnapshot = errors.New("no snapshot is registered")
	// ErrEventNotFound reports an event id that the queue does not hold, or no longer. Callers should treat it as an answer.
	ErrEventNotFound = errors.New("event not found")
)

// Error is what calls of this package fail with: the cause, wrapped once with what was done and where.
type Error struct {
	// Op is what was done, such as "read".
	Op string
	// Queue and EID tell where; "" when that does not apply.
	Queue, EID string
	// Err is the cause, for errors.Is and errors.As.
	Err error
}

// Error returns operation, place and cause in one line.
func (e *Error) Error() string {
	var s strings.Builder
	s.WriteString("rstreams: ")
	s.WriteString(e.Op)
	if e.Queue != "" {
		s.WriteString(" queue ")
		s.WriteString(e.Queue)
	}
	if e.EID != "" {
		s.WriteString(" at ")
		s.WriteString(e.EID)
	}
	s.WriteString(": ")
	s.WriteString(e.Err.Error())
	return s.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// wrap adds operation and place, once: an error that has them is returned as it is.
func wrap(op, queue, id string, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return err
	}
	return &Error{Op: op, Queue: queue, EID: id, Err: err}
}

// GapError reports events that stored heads and chunks prove to have existed and that cannot be read: they were deleted, lost,
// or expired before they were read.
type GapError struct {
	// Queue is the stored queue, perhaps with "/_archive" or "/_snapshot".
	Queue string
	// After is the last position that was read, or the start; Missing is the id of the last event known to be missing.
	After, Missing string
	// Evidence says what proves the gap, in words.
	Evidence string
}

// Error tells what is missing and why that is known.
func (e *GapError) Error() string {
	return fmt.Sprintf("events of %s after %q up to %s are missing (expired or lost): %s", e.Queue, e.After, e.Missing, e.Evidence)
}

// Is makes errors.Is(err, ErrGap) true.
func (e *GapError) Is(target error) bool { return target == ErrGap }

// LineError is a stored line that is no event.
type LineError struct {
	// Queue and EID are the event's place. Its id counts, whatever becomes of the line. In an archive, where the lines carry their
	// ids, EID is that of the line before it, "" where the read has seen none.
	Queue, EID string
	// Blob is the key of the object that holds the line, "" for an inline chunk, and Line its number from 1 in the chunk or
	// in its section of the object.
	Blob string
	Line int64
	// Text is the line.
	Text []byte
	// Err is what is wrong with it.
	Err error
}

// Error names the place and the fault.
func (e *LineError) Error() string {
	where := "inline chunk"
	if e.Blob != "" {
		where = "blob " + e.Blob
	}
	return fmt.Sprintf("malformed event %s of %s (%s, line %d): %v", e.EID, e.Queue, where, e.Line, e.Err)
}

// Is makes errors.Is(err, ErrMalformed) true.
func (e *LineError) Is(target error) bool { return target == ErrMalformed }

// Unwrap returns the fault.
func (e *LineError) Unwrap() error { return e.Err }

// BlobError reports an object that a chunk names and that cannot be read.
type BlobError struct {
	// Queue is the queue, End the id of the chunk's last event, Key the object's.
	Queue, End, Key string
	// Err is the cause; store.ErrNotFound for a missing object.
	Err error
}

// Error names object and chunk.
func (e *BlobError) Error() string {
	return fmt.Sprintf("object %s of chunk %s of queue %s: %v", e.Key, e.End, e.Queue, e.Err)
}

// Unwrap returns the cause.
func (e *BlobError) Unwrap() error { return e.Err }

// stale turns a store's conflict on a checkpoint into ErrStaleCheckpoint.
func stale(err error) error {
	if errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("%w: %w", ErrStaleCheckpoint, err)
	}
	return err
}

// permanent tells whether trying again cannot help. Throttling and faults nobody named are worth another try.
func permanent(err error) bool {
	for _, target := range []error{
		store.ErrInvalid, store.ErrTooLarge, store.ErrUnavailable, store.ErrCorrupt, store.ErrNotFound, eid.ErrTimeRange,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
