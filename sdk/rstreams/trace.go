package rstreams

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/ref"
)

// Get returns one event by its id, or ErrEventNotFound. It looks in the live queue, the archive, or the snapshot, wherever the
// id is stored.
func (b *Bus) Get(ctx context.Context, queue, id string) (Event, error) {
	notFound := func() error { return wrap("get", ref.Queue(queue), id, ErrEventNotFound) }
	stored, snapshot := strings.CutPrefix(id, eid.SnapshotPrefix)
	parsed, err := eid.Parse(stored)
	if err != nil {
		return Event{}, wrap("get", ref.Queue(queue), id, err)
	}
	// The position before it: the event in front of it in its batch, or what all ids of the batch begin with.
	start := parsed.Prefix()
	if parsed.Counter > 0 {
		before, err := parsed.Add(-1)
		if err != nil {
			return Event{}, wrap("get", ref.Queue(queue), id, err)
		}
		start = before.String()
	}
	if snapshot {
		start = eid.SnapshotPrefix + start
	}
	view := &Bus{core: b.core} // No stop time of a session ends the look-up with a wrong answer.
	r, err := view.NewReader(queue, ReadOptions{Start: start, End: id, Limit: 1, Parallel: 1})
	if err != nil {
		return Event{}, wrap("get", ref.Queue(queue), id, err)
	}
	r.set.lookup = true
	for e, err := range r.All(ctx) {
		switch {
		case errors.Is(err, ErrGap), errors.Is(err, ErrNoSnapshot):
			return Event{}, notFound()
		case err != nil:
			return Event{}, wrap("get", ref.Queue(queue), id, err)
		case e.EID == id:
			return e, nil
		}
	}
	return Event{}, notFound()
}

// TraceStep is an event in a line of ancestors.
type TraceStep struct {
	// Queue and EID name it. End is the last event that the one before was derived from, "" where that was one event, and
	// Units how many logical events those stood for.
	Queue, EID, End string
	Units           int64
	// Event is the event, if Err is nil. Otherwise it could not be read, mostly because it has expired (ErrEventNotFound), and
	// the line ends here.
	Event Event
	Err   error
}

// maxTrace bounds a line of ancestors: no sensible chain of bots is longer, and one that goes round in a circle ends.
const maxTrace = 100

// Trace returns the event and its line of ancestors, the event first: each step is the first event that the one before was
// derived from (sdk.md 2.6, 8). The event itself must be readable; an ancestor that is not ends the line with its Err.
func (b *Bus) Trace(ctx context.Context, queue, id string) ([]TraceStep, error) {
	e, err := b.Get(ctx, queue, id)
	if err != nil {
		return nil, err
	}
	steps := []TraceStep{{Queue: e.Queue, EID: e.EID, Units: max(e.Units, 1), Event: e}}
	for {
		c := steps[len(steps)-1].Event.Correlation
		if c == nil || c.Source == "" || c.Start == "" {
			return steps, nil
		}
		if len(steps) >= maxTrace {
			return steps, wrap("trace", ref.Queue(queue), id, fmt.Errorf("more than %d steps: the events name each other", maxTrace))
		}
		step := TraceStep{Queue: ref.Queue(c.Source), EID: c.Start, End: c.End, Units: max(c.Units, 1)}
		if step.End == step.EID {
			step.End = ""
		}
		step.Event, step.Err = b.Get(ctx, c.Source, c.Start)
		if ctx.Err() != nil {
			return steps, wrap("trace", ref.Queue(queue), id, context.Cause(ctx))
		}
		steps = append(steps, step)
		if step.Err != nil {
			return steps, nil
		}
	}
}
