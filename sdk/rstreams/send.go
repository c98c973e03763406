package rstreams

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/store"
)

// send sends sealed chunks until none is left or the writer has failed. One call is in flight at a time, and it carries at most
// one record of each queue: whatever the intake refuses of a call, no event can then overtake an earlier one of its queue, and
// nothing that was accepted is sent twice (sdk.md fault 24, W10). While a call is in flight, the next chunks fill.
func (w *Writer) send() {
	failures := 0
	var since time.Time
	for {
		call := w.pick()
		if len(call) == 0 {
			return
		}
		sent, err := w.attempt(call)
		if panicked := w.settle(sent); panicked != nil {
			err = panicked
		}
		switch {
		case err == nil:
			failures = 0
			continue
		case w.ctx.Err() != nil:
			w.fail(context.Cause(w.ctx))
			return
		case permanent(err) || errors.As(err, new(*PanicError)):
			w.fail(err)
			return
		case len(sent) > 0:
			failures = 0
		}
		if failures++; failures == 1 {
			since = w.bus.now()
		}
		refused := w.bus.now().Sub(since)
		if w.o.GiveUp > 0 && refused >= w.o.GiveUp {
			w.fail(fmt.Errorf("given up after %d attempts in %s: %w", failures, refused.Round(time.Millisecond), err))
			return
		}
		delay := w.o.Retry.delay(failures)
		if failures >= 4 && failures&(failures-1) == 0 { // 4, 8, 16 …: neither a hiccup nor a long outage fills the log.
			w.bus.log().Warn("the bus refuses events; trying again", "bot", w.o.Bot, "queue", call[0].queue,
				"attempt", failures, "wait", delay, "error", err)
		}
		if pause(w.ctx, delay) != nil {
			w.fail(context.Cause(w.ctx))
			return
		}
	}
}

// maxScan bounds how many sealed chunks are looked at for one call.
const maxScan = 1000

// pick returns the chunks for the next call: the oldest of each queue, in order, as far as they fit. Without any, the sender
// ends.
func (w *Writer) pick() []*batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.flushing {
		w.flushing = false
		w.sealAll()
	}
	if w.err != nil || len(w.ready) == 0 {
		w.sending = false
		return nil
	}
	seen := map[string]bool{}
	var call []*batch
	size := 0
	for _, b := range w.ready[:min(len(w.ready), maxScan)] {
		if seen[b.queue] {
			continue
		}
		seen[b.queue] = true // Also when it does not fit: a later one must not overtake it.
		n := len(b.text) + len(b.queue) + 1024
		if len(call) > 0 && (w.limits.Records > 0 && len(call) >= w.limits.Records || w.limits.Bytes > 0 && size+n > w.limits.Bytes) {
			continue
		}
		size += n
		call = append(call, b)
	}
	return call
}

// attempt sends chunks and returns those that are durable now, with the first failure of the others.
func (w *Writer) attempt(call []*batch) (sent []*batch, err error) {
	if w.o.Path == PathBlobs {
		w.uploadAll(call) // What fails here fails below.
	}
	if w.o.Path == PathFirehose || w.o.Path == PathFirehoseGzip {
		return w.toFirehose(call)
	}
	parcels := make([]parcel, 0, len(call))
	for i, b := range call {
		if b.data == nil {
			if b.data, err = w.record(b); err != nil {
				if i == 0 {
					return nil, err
				}
				break // Send what is ready; the failure is met again.
			}
		}
		parcels = append(parcels, parcel{chunks: []*batch{b}, data: b.data})
	}
	w.join(parcels)
	records := make([]store.Record, len(parcels))
	for i, p := range parcels {
		partition, hash := w.o.Partition.key(p.chunks[0].queue)
		records[i] = store.Record{PartitionKey: partition, HashKey: hash, Data: p.data}
	}
	acks, err := w.intake.Put(w.ctx, records)
	if err != nil {
		return nil, err
	}
	if len(acks) != len(records) {
		return nil, fmt.Errorf("%w: the intake acknowledged %d of %d records", store.ErrCorrupt, len(acks), len(records))
	}
	for i, p := range parcels {
		if acks[i].Err != nil {
			if err == nil || permanent(acks[i].Err) {
				err = acks[i].Err
			}
			continue
		}
		for _, b := range p.chunks {
			b.shard, b.sequence = acks[i].Shard, acks[i].Sequence
			sent = append(sent, b)
		}
	}
	return sent, err
}

// settle makes it known that chunks are durable. The error is the first panic of OnAck.
func (w *Writer) settle(sent []*batch) (panicked error) {
	if len(sent) == 0 {
		return nil
	}
	durable := make(map[*batch]bool, len(sent))
	for _, b := range sent {
		durable[b] = true
	}
	w.mu.Lock()
	kept := w.ready[:0]
	sent = sent[:0]
	for _, b := range w.ready {
		if durable[b] {
			sent = append(sent, b) // in the order in which they were sealed
			w.bytes -= b.held
			w.events -= b.events
			continue
		}
		kept = append(kept, b)
	}
	clear(w.ready[len(kept):])
	w.ready = kept
	w.wake()
	w.mu.Unlock()
	for _, b := range sent {
		text := b.text
		b.text, b.data, b.file = nil, nil, nil
		close(b.done)
		panicked = cmp.Or(panicked, w.tell(b, nil))
		texts.put(text)
	}
	return panicked
}

// tell calls OnAck, and returns a panic of it as an error.
func (w *Writer) tell(b *batch, err error) error {
	if w.o.OnAck == nil {
		return nil
	}
	return protect(func() error {
		w.o.OnAck(b.receipt(0), err)
		return nil
	})
}

// wake lets those who wait for room look again. w.mu is held.
func (w *Writer) wake() {
	if w.space != nil {
		close(w.space)
		w.space = nil
	}
}

// fail ends the writer: nothing more is sent, so that no event overtakes one that was refused.
func (w *Writer) fail(err error) {
	w.mu.Lock()
	w.err = err
	w.sending = false
	w.unsent = w.ready
	for _, b := range w.open {
		if b.events > 0 {
			w.unsent = append(w.unsent, b)
		}
	}
	w.ready, w.last = nil, nil
	clear(w.open)
	unsent := w.unsent
	w.wake()
	w.mu.Unlock()
	for _, b := range unsent {
		b.err = err
		close(b.done)
		_ = w.tell(b, err) // The writer has failed already.
	}
}

// record returns the chunk as an intake record: lines on an intake in this process, else gzip of them, which is what every
// bus reads. What travels in an object is put there first, and its pointer is the record.
func (w *Writer) record(b *batch) ([]byte, error) {
	text, err := w.lines(b)
	if err != nil || w.plain {
		return text, err
	}
	gz := chunk.AppendGzip(make([]byte, 0, len(text)/4+512), text)
	if len(gz) >= len(text) {
		return text, nil // Begins with {", which is as good.
	}
	return gz, nil
}

// lines returns the lines that go into the chunk's record.
func (w *Writer) lines(b *batch) ([]byte, error) {
	if b.file == nil {
		return b.text, nil
	}
	return w.upload(b)
}
