package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/rstreams-go/rstreams/bus/sequencer"
)

// mapping is an event source mapping: it hands the records of each shard to the sequencer's function in order, in batches of
// any size, at least once, and goes on only when a batch has succeeded (or, with a limit of attempts, was given up).
type mapping struct {
	w      *world
	stream *stream
	oracle *oracle
	number int
	onHead func(queue, head string)
	// failures counts, by first record, the calls that failed after the faults ended.
	failures map[string]int
}

// poll follows one shard from its beginning, once its parents are drained.
func (m *mapping) poll(p *proc, sh *shard) {
	for _, parent := range sh.parents {
		for !parent.drained {
			p.sleep(200 * time.Millisecond)
		}
	}
	at := 0
	for {
		if at == len(sh.records) {
			sh.drained = true
			if sh.closed {
				return
			}
			sh.wait(p)
			continue
		}
		sh.drained = false
		if d := time.Duration(p.rng.IntN(3)) * 100 * time.Millisecond; d > 0 {
			p.sleep(d)
		}
		n := min(1+p.rng.IntN(m.w.plan.batchSize), len(sh.records)-at)
		done := m.deliver(p, sh.records[at:at+n], 0)
		at += done
		if at > 0 && !m.w.calm && chance(p.rng, m.w.plan.again) {
			// The poller moved to another machine, which goes on from an older place.
			back := 1 + p.rng.IntN(min(at, 12))
			at -= back
			m.w.note(p.name, "goes back %d records", back)
			m.w.counters.repeats += back
		}
	}
}

// deliver hands over batch until it succeeds. It returns how many records are done; fewer than all when the poller starts
// over from there with a batch of another cut.
func (m *mapping) deliver(p *proc, batch []*record, depth int) (done int) {
	plan := &m.w.plan
	for attempt := 1; ; attempt++ {
		if depth > 0 {
			m.w.note(p.name, "half of a batch: %d records", len(batch)-done)
		}
		n, err := m.invoke(p, batch[done:])
		if m.w.calm && n == 0 {
			first := batch[done].shard.name + " " + batch[done].sequence
			if m.failures[first]++; m.failures[first] > 200 {
				m.w.fail("no batch fails for ever", "%s: records from %s on: %v", p.name, first, err)
				p.check()
			}
		}
		if err == nil && n == len(batch)-done {
			return len(batch)
		}
		if err == nil {
			done += n // Reported failures: everything from there on comes again.
			if n > 0 {
				attempt = 0
			}
		}
		rest := batch[done:]
		switch {
		case plan.attempts > 0 && attempt >= plan.attempts:
			m.giveUp(p, rest)
			return len(batch)
		case depth == 0 && chance(p.rng, 0.2):
			p.sleep(p.between(0, time.Second))
			return done
		case err != nil && plan.bisect && len(rest) > 1:
			half := len(rest) / 2
			a := m.deliver(p, rest[:half], depth+1)
			b := m.deliver(p, rest[half:], depth+1)
			return done + a + b
		}
		p.sleep(p.between(0, time.Duration(1+min(attempt, 5))*time.Second))
	}
}

// giveUp moves records to the failure destination, from where they are put into the stream again.
func (m *mapping) giveUp(p *proc, list []*record) {
	for _, r := range list {
		m.w.note(p.name, "gives up %s, puts it again", r.sequence)
		r.discarded = true
		m.stream.store(r.content)
	}
}

var errFunction = errors.New("the function failed")

// invoke runs the function once. It returns how many records from the first are done, or an error when the function died.
func (m *mapping) invoke(p *proc, batch []*record) (int, error) {
	w := m.w
	if !w.plan.lanes {
		return m.function(p, batch, batch[0].shard.name)
	}
	// A parallelization factor: each partition key is a lane with a batch of its own. The lanes of the batch run at once.
	var keys []string
	for _, r := range batch {
		if !slices.Contains(keys, r.partition) {
			keys = append(keys, r.partition)
		}
	}
	errs := make([]error, len(keys))
	ended := make(chan struct{}, len(keys))
	for i, key := range keys {
		lane := fmt.Sprintf("%s/%s", batch[0].shard.name, key)
		var own []*record
		for _, r := range batch {
			if r.partition == key {
				own = append(own, r)
			}
		}
		m.number++
		w.spawn(fmt.Sprintf("lane-%s-%d", lane, m.number), func(p *proc) {
			defer func() { ended <- struct{}{} }()
			if w.plan.plainLanes {
				lane = batch[0].shard.name
			}
			n, err := m.function(p, own, lane)
			if err == nil && n < len(own) {
				err = errFunction
			}
			errs[i] = err
		})
	}
	for range keys {
		select {
		case <-ended:
		case <-w.ctx.Done():
		}
	}
	p.turn("lanes")
	if err := errors.Join(errs...); err != nil {
		return 0, err
	}
	return len(batch), nil
}

// function is the Lambda function: the sequencer on a batch.
func (m *mapping) function(parent *proc, batch []*record, shard string) (int, error) {
	w := m.w
	m.number++
	p := w.process(parent.ctx, fmt.Sprintf("%s#%d", shard, m.number))
	if !w.plan.overlap {
		defer p.cancel(nil)
	}
	p.batch = fmt.Sprintf("%s %s-%s", shard, batch[0].sequence, batch[len(batch)-1].sequence)
	st, _ := connect(p, m.oracle, w.plan.atomic)
	s := sequencer.New(st, w.sequencing(func(c *sequencer.Config) {
		c.OwnPerBatch = w.plan.lanes
		if w.plan.owners {
			c.Owner = p.name
		}
		c.OnPublish = m.onHead
	}))
	b := sequencer.Batch{Shard: shard}
	for _, r := range batch {
		b.Records = append(b.Records, sequencer.Record{Sequence: r.sequence, Arrival: r.arrival, Data: r.data})
	}
	w.note(parent.name, "invokes %s with %s..%s (%d)", p.name, batch[0].sequence, batch[len(batch)-1].sequence, len(batch))
	ctx, cancel := invocation(p)
	if !w.plan.overlap {
		defer cancel()
	}
	if w.plan.overlap && !w.calm && chance(parent.rng, 0.1) {
		w.spawn(p.name+" alone", func(*proc) { _, _ = w.sequence(ctx, s, b) })
		parent.sleep(parent.between(0, 5*time.Second))
		w.note(parent.name, "%s: connection lost", p.name)
		return 0, errNetwork
	}
	r, err := w.sequence(ctx, s, b)
	parent.turn("response")
	w.note(parent.name, "%s: done %d events %d repeats %d, error %v", p.name, r.Done, r.Events, r.Repeats, err)
	switch {
	case p.dead:
		return 0, errCrashed
	case ctx.Err() != nil:
		return 0, errTimeout
	case r.Done > len(batch) || err == nil && r.Done != len(batch):
		w.fail("result names the records done", "%d of %d, error %v", r.Done, len(batch), err)
	case err == nil:
		return len(batch), nil
	case w.plan.report:
		return r.Done, nil
	}
	return 0, err
}

// sequence runs the sequencer on a batch: at once, or with each group prepared while the one before is not committed.
func (w *world) sequence(ctx context.Context, s *sequencer.Sequencer, b sequencer.Batch) (total sequencer.Result, err error) {
	if !w.plan.ahead {
		return s.Process(ctx, b)
	}
	p, err := s.Prepare(ctx, b, sequencer.Cursor{})
	for err == nil {
		var next *sequencer.Prepared
		if p.Next.More(b) {
			if next, err = s.Prepare(ctx, b, p.Next); err != nil {
				break
			}
		}
		var r sequencer.Result
		if r, err = s.Commit(ctx, p); err != nil {
			break
		}
		total.Done = r.Done
		total.Events += r.Events
		total.Repeats += r.Repeats
		if next == nil {
			return total, nil
		}
		p = next
	}
	return total, err
}

// sequencing is the sequencer's configuration in this world.
func (w *world) sequencing(change func(*sequencer.Config)) sequencer.Config {
	c := sequencer.Config{
		Lease: w.plan.lease, TTL: -1, Parallel: 1, Now: w.now, Logger: slog.New(slog.DiscardHandler),
		ChunkBytes: w.plan.chunkBytes, ChunkRecords: w.plan.chunkRecords, GroupBytes: w.plan.groupBytes, MaxLine: w.plan.lineLength,
	}
	change(&c)
	return c
}
