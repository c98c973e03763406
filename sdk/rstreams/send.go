package rstreams

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/eid"
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
		w.settle(sent)
		switch {
		case err == nil:
			failures = 0
			continue
		case w.ctx.Err() != nil:
			w.fail(context.Cause(w.ctx))
			return
		case permanent(err):
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
	limits := w.bus.core.store.Intake.Limits()
	w.mu.Lock()
	defer w.mu.Unlock()
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
		if len(call) > 0 && (limits.Records > 0 && len(call) >= limits.Records || limits.Bytes > 0 && size+n > limits.Bytes) {
			continue
		}
		size += n
		call = append(call, b)
	}
	return call
}

// attempt sends chunks and returns those that are durable now, with the first failure of the others.
func (w *Writer) attempt(call []*batch) (sent []*batch, err error) {
	records := make([]store.Record, 0, len(call))
	for i, b := range call {
		if b.data == nil {
			if b.data, err = w.record(b); err != nil {
				if call = call[:i]; i == 0 {
					return nil, err
				}
				break // Send what is ready; the failure is met again.
			}
		}
		partition, hash := w.o.Partition.key(b.queue)
		records = append(records, store.Record{PartitionKey: partition, HashKey: hash, Data: b.data})
	}
	acks, err := w.bus.core.store.Intake.Put(w.ctx, records)
	if err != nil {
		return nil, err
	}
	if len(acks) != len(records) {
		return nil, fmt.Errorf("%w: the intake acknowledged %d of %d records", store.ErrCorrupt, len(acks), len(records))
	}
	for i, b := range call {
		if acks[i].Err != nil {
			if err == nil || permanent(acks[i].Err) {
				err = acks[i].Err
			}
			continue
		}
		b.shard, b.sequence = acks[i].Shard, acks[i].Sequence
		sent = append(sent, b)
	}
	return sent, err
}

// settle makes it known that chunks are durable.
func (w *Writer) settle(sent []*batch) {
	if len(sent) == 0 {
		return
	}
	w.mu.Lock()
	kept := w.ready[:0]
	next := 0
	for _, b := range w.ready { // sent is in the order of ready.
		if next < len(sent) && b == sent[next] {
			next++
			w.bytes -= len(b.text)
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
		b.text, b.data = nil, nil
		close(b.done)
		if w.o.OnAck != nil {
			w.o.OnAck(b.receipt(0), nil)
		}
		texts.put(text)
	}
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
		if w.o.OnAck != nil {
			w.o.OnAck(b.receipt(0), err)
		}
	}
}

// record returns the chunk as an intake record: lines on an intake in this process, else gzip of them, which is what every
// bus reads. The text of an oversize event goes into an object first.
func (w *Writer) record(b *batch) ([]byte, error) {
	text := b.text
	if b.oversize {
		var err error
		if text, err = w.offload(b); err != nil {
			return nil, err
		}
	}
	if w.plain {
		return text, nil
	}
	gz := chunk.AppendGzip(make([]byte, 0, len(text)/4+512), text)
	if len(gz) >= len(text) {
		return text, nil // Begins with {", which is as good.
	}
	return gz, nil
}

// offload stores an oversize event as an object in its own queue's name and returns its pointer record (sdk.md 2.3, W9).
func (w *Writer) offload(b *batch) ([]byte, error) {
	gz := chunk.AppendGzip(nil, b.text)
	now := w.bus.millis()
	// The names are for people who look at the bucket. A key has 1024 bytes at most, a queue's name alone up to twice that.
	queue, bot := shorten(b.queue, 600), shorten(b.first.bot, 200)
	key := fmt.Sprintf("bus/%s/%s/%s%d-%07d-%s.gz", queue, bot, eid.MinutePath(now), now, 1, uuid.New())
	blob, _, err := w.bus.core.store.Blobs.Put(w.ctx, key, bytes.NewReader(gz))
	if err != nil {
		return nil, fmt.Errorf("object of an oversize event: %w", err)
	}
	o, size := &b.first, int64(len(gz))
	correlations, err := correlationsJSON(o)
	if err != nil {
		return nil, err
	}
	return chunk.AppendPointer(nil, &chunk.Pointer{
		Queue: b.queue, Blob: blob, Records: 1, Size: int64(len(b.text)), GzipSize: size,
		Offsets:      []store.Offset{{Event: b.queue, Records: 1, Size: int64(len(b.text)), GzipSize: size}},
		Stats:        map[string]chunk.Stat{o.bot: {Start: o.source, End: o.timestamp, Units: o.units, Checkpoint: json.RawMessage("0")}},
		Correlations: correlations,
		Timestamp:    o.timestamp, SourceTimestamp: o.source,
	})
}

// correlationsJSON returns the `correlations` of a pointer record for one event.
func correlationsJSON(o *origin) (json.RawMessage, error) {
	type entry struct {
		Source          string `json:"source"`
		Start           string `json:"start"`
		End             string `json:"end"`
		Records         int64  `json:"records"`
		SourceTimestamp int64  `json:"source_timestamp"`
		Timestamp       int64  `json:"timestamp"`
	}
	sources := map[string]entry{}
	if c := o.correlation; c != nil {
		end := c.End
		if end == "" {
			end = c.Start
		}
		sources[c.Source] = entry{c.Source, c.Start, end, max(c.Units, 1), o.source, o.timestamp}
	}
	return json.Marshal([]map[string]entry{sources})
}

// shorten cuts a name to at most n bytes.
func shorten(name string, n int) string {
	if len(name) <= n {
		return name
	}
	return strings.ToValidUTF8(name[:n], "")
}
