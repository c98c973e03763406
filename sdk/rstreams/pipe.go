package rstreams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// pipeline is one run of Enrich or Offload.
type pipeline struct {
	bus     *Bus
	op      string
	o       EnrichOptions
	records int // of a batch; 1 means that no batches are made
	handler BatchHandler
	w       *Writer

	sources []*source
	// calling is held while the handler runs: it sees one event or batch at a time.
	calling sync.Mutex
	mu      sync.Mutex // guards stats
	stats   RunStats
}

// source is one queue that a run reads.
type source struct {
	reader *Reader
	track  tracker
	reason EndReason
}

// errPeer stops the other sources of a run when one has failed or was told to stop.
var errPeer = errors.New("another part of the run has ended")

func (b *Bus) pipe(ctx context.Context, op string, o EnrichOptions, records int, h BatchHandler) (RunStats, error) {
	o.Bot = b.bot(o.Bot)
	if err := o.check(); err != nil {
		return RunStats{}, wrap(op, "", "", err)
	}
	setDefault(&o.Batch.Bytes, defaultBatchBytes)
	setDefault(&o.Batch.Linger, defaultBatchLinger)
	setDefault(&o.CheckpointEvery, defaultCheckpoint)
	p := &pipeline{bus: b, op: op, o: o, records: records, handler: h}
	for _, queue := range o.From {
		s := &source{}
		read := o.Read
		read.Bot = o.Bot
		onMalformed := read.OnMalformed
		if records == 1 { // Batches note it in their own order; see collect.
			read.OnMalformed = func(le *LineError) {
				s.track.pass(le.EID)
				if onMalformed != nil {
					onMalformed(le)
				}
			}
		}
		var err error
		if s.reader, err = b.NewReader(queue, read); err != nil {
			return RunStats{}, err
		}
		// One time for the whole run: a retry of the handler ends with it too.
		set := &s.reader.set
		set.StopAt, set.RunTime = set.stopAt(b), 0
		s.reader.onLatest = func(ctx context.Context, position string) error {
			return s.reader.handle.write(ctx, progress{position: position}.checkpoint(b.millis()))
		}
		if records == 1 {
			s.reader.onPassed = s.track.pass
		}
		if slices.ContainsFunc(p.sources, func(t *source) bool { return t.reader.queue == s.reader.queue }) {
			return RunStats{}, wrap(op, s.reader.queue, "", fmt.Errorf("%w: From names the queue twice", errOptions))
		}
		p.sources = append(p.sources, s)
	}
	o.Write.Bot, o.Write.Queue = o.Bot, o.To
	var err error
	if p.w, err = b.NewWriter(o.Write); err != nil {
		return RunStats{}, err
	}
	return p.run(ctx)
}

// run reads until every source has ended, finishes what is in flight and stores the last checkpoints.
func (p *pipeline) run(ctx context.Context) (RunStats, error) {
	reading, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	committing, endCommits := context.WithCancel(ctx)
	defer endCommits()

	var commits, sources sync.WaitGroup
	var failed error // of the periodic checkpoints
	commits.Go(func() {
		if failed = p.commitEvery(ctx, committing.Done()); failed != nil {
			stop(errPeer)
		}
	})
	errs := make([]error, len(p.sources))
	for i, s := range p.sources {
		work := func() {
			if errs[i] = p.readSource(ctx, reading, s); errs[i] != nil {
				stop(errPeer)
			}
		}
		if len(p.sources) == 1 {
			work()
		} else {
			sources.Go(work)
		}
	}
	sources.Wait()
	endCommits()
	commits.Wait()

	var causes []error
	for i, err := range errs {
		switch {
		case stops(err):
			p.sources[i].reason = EndStopped
		case err != nil && !errors.Is(err, errPeer):
			causes = append(causes, err)
		}
	}
	if failed != nil {
		causes = append(causes, failed)
	}
	causes = p.finish(ctx, causes, failed == nil)
	return p.result(), join(causes)
}

// finish makes what was handled durable and stores the last checkpoints. It returns the causes with what went wrong here.
func (p *pipeline) finish(ctx context.Context, causes []error, checkpoint bool) []error {
	closed := p.w.Close(ctx)
	switch {
	case ctx.Err() != nil:
		if len(causes) == 0 {
			causes = append(causes, wrap(p.op, "", "", context.Cause(ctx)))
		}
		return causes
	case closed != nil && !slices.ContainsFunc(causes, func(err error) bool { return errors.Is(err, p.w.err) }):
		causes = append(causes, closed)
	}
	if checkpoint {
		// A writer that failed is told already; what was durable before is checkpointed all the same.
		if err := p.commit(ctx); err != nil && closed == nil {
			causes = append(causes, err)
		}
	}
	return causes
}

// join returns one error for all.
func join(errs []error) error {
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

func (p *pipeline) result() RunStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stats.Checkpoints = map[string]string{}
	p.stats.Reasons = map[string]EndReason{}
	for _, s := range p.sources {
		queue := s.reader.queue
		p.stats.Checkpoints[queue] = s.reader.handle.written
		p.stats.Reasons[queue] = s.reason
	}
	return p.stats
}

// commitEvery stores checkpoints from time to time until end is closed; a write that has begun is then finished, because what
// became of it must be known. It fails when another run has taken over, or derived events cannot be written; other failures are
// tried again.
func (p *pipeline) commitEvery(ctx context.Context, end <-chan struct{}) error {
	if p.o.CheckpointEvery < 0 {
		return nil
	}
	tick := time.NewTicker(p.o.CheckpointEvery)
	defer tick.Stop()
	for {
		select {
		case <-end:
			return nil
		case <-tick.C:
		}
		err := p.commit(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, ErrStaleCheckpoint) || errors.Is(err, errDerived):
			return err
		default:
			p.bus.log().WarnContext(ctx, "cannot store a checkpoint; trying again", "bot", p.o.Bot, "error", err)
		}
	}
}

// errDerived reports that derived events could not be written.
var errDerived = errors.New("derived events are not durable")

// commit stores the checkpoint of every source that got further. One that fails does not keep the others back (faults 21, C7).
func (p *pipeline) commit(ctx context.Context) error {
	var errs []error
	for _, s := range p.sources {
		ready, failed := s.track.take()
		if failed != nil {
			errs = append(errs, wrap(p.op, s.reader.queue, ready.position, fmt.Errorf("%w: %w", errDerived, failed)))
		}
		if ready.position == "" {
			continue
		}
		if err := s.reader.handle.write(ctx, ready.checkpoint(p.bus.millis())); err != nil {
			s.track.giveBack(ready)
			errs = append(errs, err)
		}
	}
	return join(errs)
}

// readSource hands the events of one source to the handler. reading ends when the run is to end soon.
func (p *pipeline) readSource(ctx, reading context.Context, s *source) error {
	err := protect(func() error { // The options' functions are called while the queue is read.
		if p.records > 1 {
			return p.readBatches(ctx, reading, s)
		}
		return p.readEvents(ctx, reading, s)
	})
	s.reason = s.reader.Reason()
	return err
}

func (p *pipeline) readEvents(ctx, reading context.Context, s *source) error {
	one := make([]Event, 1)
	for e, err := range s.reader.All(reading) {
		if err != nil {
			return err
		}
		one[0] = e
		if err := p.handle(ctx, reading, s, one); err != nil {
			return err
		}
	}
	return nil
}

// handle calls the handler for events and does what it asks for. An error ends the source's part of the run.
func (p *pipeline) handle(ctx, reading context.Context, s *source, events []Event) error {
	last := &events[len(events)-1]
	for attempt := 1; ; attempt++ {
		result, err := p.call(ctx, events)
		var (
			retry *RetryError
			dead  *DeadLetterError
			part  *PartialError
		)
		switch {
		case err == nil && result.kind == resultNone:
			err = ErrNoResult
		case err == nil:
			return p.accept(ctx, s, events, result, nil, nil, attempt)
		case errors.As(err, &retry):
			if p.await(reading, s, retry.After) {
				p.count(func(st *RunStats) { st.Retries++ })
				continue
			}
		case errors.As(err, &dead):
			if wrong := dead.check(len(events)); wrong != nil {
				err = fmt.Errorf("%w: %w", wrong, err)
				break
			}
			if result.kind == resultNone {
				result = Handled()
			}
			return p.accept(ctx, s, events, result, dead, err, attempt)
		case errors.As(err, &part) && part.Done > 0:
			n := min(part.Done, len(events))
			if result.kind == resultNone {
				result = Handled()
			}
			if err := p.accept(ctx, s, events[:n], result, nil, nil, attempt); err != nil {
				return err
			}
			last = &events[min(n, len(events)-1)]
		}
		return &Error{Op: p.op, Queue: s.reader.queue, EID: last.EID, Err: err}
	}
}

// await waits before a retry, if the run still lasts so long.
func (p *pipeline) await(reading context.Context, s *source, d time.Duration) bool {
	if stop := s.reader.set.StopAt; !stop.IsZero() && p.bus.now().Add(d).After(stop) {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-reading.Done():
	case <-p.bus.session.Stop:
	}
	return false
}

// call runs the handler.
func (p *pipeline) call(ctx context.Context, events []Event) (r Result, err error) {
	p.calling.Lock()
	defer p.calling.Unlock()
	err = protect(func() (err error) {
		r, err = p.handler(ctx, events)
		return err
	})
	return r, err
}

// accept writes what the handler returned, and notes the events as handled.
func (p *pipeline) accept(
	ctx context.Context, s *source, events []Event, r Result, dead *DeadLetterError, cause error, attempts int,
) error {
	var done progress
	for i := range events {
		done.add(&events[i])
	}
	done.start = p.bus.millis()
	if r.kind == resultSkip && dead == nil {
		s.track.hold(done)
		return nil
	}
	var chunks []*batch
	add := func(a Ack, err error) error {
		if err != nil {
			return &Error{Op: p.op, Queue: s.reader.queue, EID: done.position, Err: err}
		}
		if !slices.Contains(chunks, a.b) {
			chunks = append(chunks, a.b)
		}
		return nil
	}
	outputs, letters, err := p.derive(s, events, done.source, r.outputs, dead, cause, attempts)
	if err != nil {
		return add(Ack{}, err)
	}
	for i := range outputs {
		if err := add(p.w.put(ctx, &outputs[i], true)); err != nil {
			return err
		}
	}
	p.count(func(st *RunStats) {
		st.Events += int64(len(events))
		st.Outputs += int64(len(r.outputs))
		st.DeadLetters += int64(letters)
	})
	s.track.handled(done, chunks)
	return nil
}

func (p *pipeline) count(fn func(*RunStats)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn(&p.stats)
}
