package rstreams

import (
	"fmt"
	"slices"
	"sync"
)

// tracker keeps, for one source queue, which events are dealt with: those whose derived events are all durable. The checkpoint
// moves over an event only when that holds for it and for every event before it (C6).
type tracker struct {
	mu sync.Mutex
	// ready is dealt with and not checkpointed yet; marks wait for their chunks, in order; held was read and is not to move
	// the position by itself.
	ready progress
	marks []mark
	held  progress
}

// mark is a run of events that wait for the same chunks.
type mark struct {
	progress
	chunks []*batch
}

// handled notes that events up to p.position are dealt with once chunks are durable.
func (t *tracker) handled(p progress, chunks []*batch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p = t.held.and(p)
	t.held = progress{}
	n := len(t.marks)
	switch {
	case n > 0 && (len(chunks) == 0 || slices.Equal(t.marks[n-1].chunks, chunks)):
		t.marks[n-1].progress = t.marks[n-1].and(p)
	case len(chunks) == 0:
		t.ready = t.ready.and(p)
	default:
		t.marks = append(t.marks, mark{progress: p, chunks: chunks})
	}
}

// hold notes an event that is not dealt with.
func (t *tracker) hold(p progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.held = t.held.and(p)
}

// pass notes what is not the handler's: an event of another instance of a fan-out, a line that is no event. The position moves past
// it, unless an event before it is held. "" is no position: in an archive, a line may have none that is known.
func (t *tracker) pass(position string) {
	if position == "" {
		return
	}
	t.mu.Lock()
	held := t.held.position != ""
	if held {
		t.held.position = position
	}
	t.mu.Unlock()
	if !held {
		t.handled(progress{position: position}, nil)
	}
}

// take returns what may be checkpointed now, and the error of the first chunk that failed. What it returns is no longer kept
// here: give it back if it cannot be checkpointed.
func (t *tracker) take() (progress, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	var failed error
	for n < len(t.marks) {
		var done bool
		if done, failed = durable(t.marks[n].chunks); !done {
			break
		}
		t.ready = t.ready.and(t.marks[n].progress)
		n++
	}
	t.marks = slices.Delete(t.marks, 0, n)
	ready := t.ready
	t.ready = progress{}
	return ready, failed
}

// giveBack undoes a take.
func (t *tracker) giveBack(p progress) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ready = p.and(t.ready)
}

// durable tells whether all chunks are acknowledged.
func durable(chunks []*batch) (bool, error) {
	for _, b := range chunks {
		select {
		case <-b.done:
			if b.err != nil {
				return false, fmt.Errorf("derived events for queue %s: %w", b.queue, b.err)
			}
		default:
			return false, nil
		}
	}
	return true, nil
}

// and returns the progress of both, q being the later.
func (p progress) and(q progress) progress {
	if p.source == 0 || q.source != 0 && q.source < p.source {
		p.source = q.source
	}
	if p.start == 0 {
		p.start = q.start
	}
	p.units += q.units
	if q.position != "" {
		p.position = q.position
	}
	return p
}
