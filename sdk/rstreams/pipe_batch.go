package rstreams

import (
	"context"
	"sync"
	"time"
)

// item is what the reading goroutine of a batching source hands over.
type item struct {
	kind  itemKind
	event Event
	// position is of what was passed over: the event of another instance of a fan-out, or a line that is no event. It is "" where
	// the line's place has no id that is known.
	position string
	err      error
}

type itemKind int

const (
	itemEvent itemKind = iota
	itemPassed
	itemFailure // the read's last
)

// readBatches hands events over in batches. A goroutine reads, so that a batch can be handed over when its time is up although
// no further event comes.
func (p *pipeline) readBatches(ctx, reading context.Context, s *source) error {
	reading, cancel := context.WithCancelCause(reading)
	items := make(chan item, 256)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(items)
		p.collect(reading, s, items)
	})
	defer func() {
		cancel(errBreak)
		for range items { // Lets the reader see that it is over.
		}
		wg.Wait()
	}()

	b := batcher{p: p, ctx: ctx, reading: reading, s: s}
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			if err := b.flush(); err != nil {
				return err
			}
		case it, ok := <-items:
			switch {
			case !ok:
				return b.flush()
			case it.kind == itemFailure:
				// What was read before the failure is handled, unless the context is what failed.
				if ctx.Err() == nil {
					if err := b.flush(); err != nil {
						return err
					}
				}
				return it.err
			case it.kind == itemPassed:
				b.pass(it.position)
			default:
				if b.add(it.event); len(b.events) == 1 {
					timer.Reset(p.o.Batch.Linger)
				}
				if b.full() {
					if err := b.flush(); err != nil {
						return err
					}
				}
			}
			if len(b.events) == 0 {
				timer.Stop()
			}
		}
	}
}

// collect reads the source and sends what it gets.
func (p *pipeline) collect(ctx context.Context, s *source, items chan<- item) {
	onMalformed := s.reader.set.OnMalformed
	defer func() { s.reader.set.OnMalformed = onMalformed }()
	s.reader.set.OnMalformed = func(le *LineError) {
		if onMalformed != nil {
			onMalformed(le)
		}
		items <- item{kind: itemPassed, position: le.EID}
	}
	s.reader.onPassed = func(position string) { items <- item{kind: itemPassed, position: position} }
	err := protect(func() error {
		for e, err := range s.reader.All(ctx) {
			if err != nil {
				return err
			}
			items <- item{event: e}
		}
		return nil
	})
	if err != nil {
		items <- item{kind: itemFailure, err: err}
	}
}

// batcher collects the events of one batch.
type batcher struct {
	p            *pipeline
	ctx, reading context.Context
	s            *source
	events       []Event
	size         int
	passed       string // behind the last of the events, "" for nothing
}

// pass notes what was passed over: the position moves past it with the batch before it.
func (b *batcher) pass(position string) {
	if position == "" {
		return
	}
	if len(b.events) > 0 {
		b.passed = position
		return
	}
	b.s.track.pass(position)
}

func (b *batcher) add(e Event) {
	b.passed = ""
	b.events = append(b.events, e)
	b.size += len(e.Payload)
}

func (b *batcher) full() bool {
	return len(b.events) >= b.p.records || b.size >= b.p.o.Batch.Bytes
}

// flush hands the batch to the handler, which may keep it.
func (b *batcher) flush() error {
	if len(b.events) == 0 {
		return nil
	}
	events, passed := b.events, b.passed
	b.events, b.size, b.passed = nil, 0, ""
	err := b.p.handle(b.ctx, b.reading, b.s, events)
	if err == nil && passed != "" {
		b.s.track.pass(passed)
	}
	return err
}
