package rstreams

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/ref"
)

// MaxInlineEvent is the longest line, without its newline, that travels inside an intake record. Longer events are stored as
// an object, and a pointer to it travels instead (sdk.md W9). leo-sdk has the same limit.
const MaxInlineEvent = 614_400

// WriterOptions configures a Writer. Bot is required; Queue too, unless every event names its own.
type WriterOptions struct {
	// Bot is the bot that writes; "" means the session's. Events that name a bot keep it.
	Bot string
	// Queue is where events go that name no queue. It may be a reference ("bot:b").
	Queue string
	// Chunk says when a run of events of one queue is sent.
	Chunk ChunkOptions
	// MaxBytes and MaxEvents bound what is not acknowledged yet; 0 means 32 MiB and 100000 events. When a bound is
	// reached, Put waits.
	MaxBytes, MaxEvents int
	// MaxEventBytes is the longest line of one event; 0 means 16 MiB. Longer ones are ErrTooLarge.
	MaxEventBytes int
	// Partition says which shard of the bus a queue's events go to. The zero value is SinglePartition.
	Partition Partition
	// Retry spaces the attempts to send. Sending is tried until it succeeds, Close's context ends, or GiveUp.
	Retry Backoff
	// GiveUp fails the writer once the same events were refused for so long; 0 means never.
	GiveUp time.Duration
	// OnAck, if set, is called once for every chunk whose fate is known, in order for each queue, from the goroutine that
	// sends. It must not block, and must not call the Writer.
	OnAck func(Receipt, error)
}

// ChunkOptions says when a chunk is sent: as soon as one of its bounds is reached. (In leo-sdk these are fixed, and the options
// of the same name do something else: sdk.md fault 27.)
type ChunkOptions struct {
	// Records and Bytes are events and their text; 0 means 10000 and 1 MiB less a margin. More than fits an intake record
	// counts as that.
	Records, Bytes int
	// Linger is how long an event waits for others; 0 means 200 ms, or 5 ms on an intake in this process. Less than 0 means
	// until a bound is reached or Flush.
	Linger time.Duration
}

// Partition says which shard of the bus events go to. Within a shard, and so always within a queue, order is kept.
type Partition struct {
	perQueue bool
	hash     string
}

// SinglePartition sends everything to the shard of hash key 0, as leo-sdk does by default. Order then holds among all writers.
func SinglePartition() Partition { return Partition{} }

// QueuePartition spreads the queues over the shards: a queue's events stay on one.
func QueuePartition() Partition { return Partition{perQueue: true} }

// HashPartition sends everything to the shard of the given explicit hash key, a decimal number below 2^128.
func HashPartition(key string) Partition { return Partition{hash: key} }

// key returns the partition key and the hash key of a queue's records (sdk.md W8).
func (p Partition) key(queue string) (partition, hash string) {
	switch {
	case p.perQueue:
		return queue, ""
	case p.hash != "":
		return "0", p.hash
	}
	return "0", "0"
}

const (
	defaultChunkRecords = 10_000
	defaultChunkBytes   = 1 << 20
	defaultMaxBytes     = 32 << 20
	defaultMaxEvents    = 100_000
	defaultMaxEvent     = 16 << 20
	// A dead letter holds an event of any legal size, in base64 where that is shorter.
	maxLetter          = 28 << 20
	defaultLinger      = 200 * time.Millisecond
	defaultLocalLinger = 5 * time.Millisecond
)

// Writer writes events. It is safe for concurrent use; events of one queue are stored in the order in which Put took them.
// It holds no goroutine while it has nothing to send. Close it to know that everything is durable.
type Writer struct {
	bus   *Bus
	o     WriterOptions
	plain bool
	// inline is the longest line that travels in a record, without its newline.
	inline int

	mu   sync.Mutex
	open map[string]*batch // chunks that still grow, by queue
	// last is the chunk of the newest event, which named its queue raw: most events go where the one before went.
	last    *batch
	raw     string
	ready   []*batch // sealed, in order; those being sent are among them
	bytes   int      // not acknowledged
	events  int
	space   chan struct{} // closed when space was freed; nil while nobody waits
	sending bool
	timer   *time.Timer
	armed   bool
	closed  bool
	err     error // why the writer failed for good
	unsent  []*batch

	ctx    context.Context // of sending; ends with Close
	cancel context.CancelCauseFunc
	sender sync.WaitGroup
}

// NewWriter returns a writer. The error tells what is wrong with the options.
func (b *Bus) NewWriter(o WriterOptions) (*Writer, error) {
	o.Bot = b.bot(o.Bot)
	intake := b.core.store.Intake
	switch {
	case o.Bot == "":
		return nil, wrap("write", o.Queue, "", fmt.Errorf("%w: no bot is named, here or in the session", errOptions))
	case intake == nil:
		return nil, wrap("write", o.Queue, "", fmt.Errorf("%w: this bus has no intake", errOptions))
	case o.MaxBytes < 0 || o.MaxEvents < 0 || o.MaxEventBytes < 0 || o.Chunk.Records < 0 || o.Chunk.Bytes < 0:
		return nil, wrap("write", o.Queue, "", fmt.Errorf("%w: bounds must not be negative", errOptions))
	}
	if o.Queue != "" {
		if err := ref.ValidateQueue(o.Queue); err != nil {
			return nil, wrap("write", o.Queue, "", err)
		}
	}
	limits := intake.Limits()
	w := &Writer{bus: b, o: o, plain: limits.Plain, open: map[string]*batch{}}
	setDefault(&w.o.MaxBytes, defaultMaxBytes)
	setDefault(&w.o.MaxEvents, defaultMaxEvents)
	setDefault(&w.o.MaxEventBytes, defaultMaxEvent)
	setDefault(&w.o.Chunk.Records, defaultChunkRecords)
	setDefault(&w.o.Chunk.Bytes, defaultChunkBytes)
	w.inline = MaxInlineEvent
	if limits.RecordBytes > 0 {
		// Text that gzip cannot shrink grows by some bytes, and keys count too.
		room := limits.RecordBytes - limits.RecordBytes/256 - 1024
		w.o.Chunk.Bytes, w.inline = min(w.o.Chunk.Bytes, room), min(w.inline, room)
	}
	if w.o.Chunk.Bytes < 1 {
		return nil, wrap("write", o.Queue, "", fmt.Errorf("%w: the intake takes records of %d bytes only", errOptions, limits.RecordBytes))
	}
	if w.o.Chunk.Linger == 0 {
		w.o.Chunk.Linger = defaultLinger
		if w.plain {
			w.o.Chunk.Linger = defaultLocalLinger
		}
	}
	w.ctx, w.cancel = context.WithCancelCause(context.Background())
	return w, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Put writes payload, encoded as JSON, to the writer's queue. It waits while the writer is full, until ctx ends; the event is
// then not taken. A nil error means that it was taken: the Ack tells when it is durable.
//
// Payloads that are null, false, 0 or "" are refused, because the bus does not store them (W2).
func (w *Writer) Put(ctx context.Context, payload any) (Ack, error) {
	return w.encode(ctx, "", payload, true)
}

// TryPut is Put, but returns ErrFull instead of waiting.
func (w *Writer) TryPut(payload any) (Ack, error) {
	return w.encode(context.Background(), "", payload, false)
}

// PutTo is Put to another queue.
func (w *Writer) PutTo(ctx context.Context, queue string, payload any) (Ack, error) {
	return w.encode(ctx, queue, payload, true)
}

// PutRaw is Put of a payload that is JSON already. It is checked, but not decoded.
func (w *Writer) PutRaw(ctx context.Context, payload json.RawMessage) (Ack, error) {
	return w.put(ctx, &Event{Payload: payload}, true)
}

// PutEvent writes an event with its own envelope. Bot, queue and times that it lacks are filled in; its EID is ignored, since
// the bus gives a new one. e may be reused once PutEvent has returned.
func (w *Writer) PutEvent(ctx context.Context, e Event) (Ack, error) { return w.put(ctx, &e, true) }

// TryPutEvent is PutEvent, but returns ErrFull instead of waiting.
func (w *Writer) TryPutEvent(e Event) (Ack, error) { return w.put(context.Background(), &e, false) }

func (w *Writer) encode(ctx context.Context, queue string, payload any, wait bool) (Ack, error) {
	enc := encoders.get()
	defer encoders.put(enc)
	raw, err := enc.encode(payload)
	if err != nil {
		return Ack{}, wrap("write", w.name(queue), "", fmt.Errorf("payload: %w", err))
	}
	return w.put(ctx, &Event{Queue: queue, Payload: raw}, wait)
}

func (w *Writer) name(queue string) string {
	if queue == "" {
		return w.o.Queue
	}
	return queue
}

// put fills in and takes the event.
func (w *Writer) put(ctx context.Context, e *Event, wait bool) (Ack, error) {
	e.Queue = w.name(e.Queue)
	if e.Bot == "" {
		e.Bot = w.o.Bot
	}
	if e.Timestamp == 0 {
		e.Timestamp = w.bus.millis()
	}
	if e.SourceTimestamp == 0 {
		e.SourceTimestamp = e.Timestamp
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.room(ctx, wait); err != nil {
		return Ack{}, wrap("write", e.Queue, "", err)
	}
	ack, err := w.append(e)
	if err != nil {
		return Ack{}, wrap("write", e.Queue, "", err)
	}
	return ack, nil
}

// room waits until an event may be taken. w.mu is held, but not while waiting.
func (w *Writer) room(ctx context.Context, wait bool) error {
	for {
		switch {
		case w.err != nil:
			return w.err
		case w.closed:
			return fmt.Errorf("%w: the writer", ErrClosed)
		case w.bytes < w.o.MaxBytes && w.events < w.o.MaxEvents:
			return nil
		}
		w.sealAll() // What waits for company will get none while Put waits for room.
		if !wait {
			return fmt.Errorf("%w: %d events, %d bytes are not acknowledged", ErrFull, w.events, w.bytes)
		}
		if w.space == nil {
			w.space = make(chan struct{})
		}
		space := w.space
		w.mu.Unlock()
		select {
		case <-space:
			w.mu.Lock()
		case <-ctx.Done():
			w.mu.Lock()
			return context.Cause(ctx)
		}
	}
}

// append encodes the event into the open chunk of its queue. w.mu is held.
func (w *Writer) append(e *Event) (Ack, error) {
	b := w.last
	if b == nil || w.raw != e.Queue {
		var err error
		if b, err = w.batchOf(e.Queue); err != nil {
			return Ack{}, err
		}
	}
	e.Queue = b.queue
	before := len(b.text)
	text, err := event.AppendLine(b.text, e, b.events)
	if err != nil {
		return Ack{}, err
	}
	size := len(text) - before
	limit := w.o.MaxEventBytes
	if b.queue == deadletter.Queue {
		limit = max(limit, maxLetter)
	}
	if size-1 > limit {
		return Ack{}, fmt.Errorf("%w: its line has %d bytes, the writer permits %d", ErrTooLarge, size-1, limit)
	}
	oversize := size-1 > w.inline
	if before > 0 && (len(text) > w.o.Chunk.Bytes || oversize) {
		// The event opens the next chunk; its line there carries another index.
		w.seal(b)
		return w.append(e)
	}
	b.text = text
	if oversize {
		b.oversize = true
		b.first = origin{bot: e.Bot, units: max(e.Units, 1), timestamp: e.Timestamp, source: e.SourceTimestamp}
		if e.Correlation != nil {
			c := *e.Correlation
			b.first.correlation = &c
		}
	}
	ack := Ack{b: b, index: b.events}
	b.events++
	w.bytes += size
	w.events++
	switch {
	case oversize || len(text) >= w.o.Chunk.Bytes || b.events >= w.o.Chunk.Records:
		w.seal(b)
	case b.events == 1 && w.o.Chunk.Linger > 0 && !w.armed:
		w.arm()
	}
	return ack, nil
}

// batchOf returns the open chunk for a queue as an event names it. w.mu is held.
func (w *Writer) batchOf(raw string) (*batch, error) {
	queue := ref.Queue(raw)
	b := w.open[queue]
	if b == nil {
		if raw == "" {
			return nil, fmt.Errorf("%w: neither the event nor the writer names one", event.ErrNoQueue)
		}
		if err := ref.ValidateQueue(raw); err != nil {
			return nil, err
		}
		b = newBatch(queue)
		w.open[queue] = b
	}
	w.last, w.raw = b, raw
	return b, nil
}

// seal closes a chunk and has it sent. w.mu is held.
func (w *Writer) seal(b *batch) {
	delete(w.open, b.queue)
	if w.last == b {
		w.last = nil
	}
	if b.events == 0 {
		return
	}
	w.ready = append(w.ready, b)
	if !w.sending {
		w.sending = true
		w.sender.Go(w.send)
	}
}

// sealAll seals every open chunk. w.mu is held.
func (w *Writer) sealAll() {
	for _, b := range w.open {
		w.seal(b)
	}
	if w.timer != nil {
		w.timer.Stop()
	}
	w.armed = false
}

// arm starts the timer for the oldest open chunk. When it fires, all are sealed: one call takes them all. w.mu is held.
func (w *Writer) arm() {
	w.armed = true
	if w.timer == nil {
		w.timer = time.AfterFunc(w.o.Chunk.Linger, w.linger)
		return
	}
	w.timer.Reset(w.o.Chunk.Linger)
}

func (w *Writer) linger() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.sealAll()
	}
}

// Flush sends everything that was put before the call and waits until it is durable. An error means that ctx ended, or that
// the writer failed; see Unsent.
func (w *Writer) Flush(ctx context.Context) error {
	w.mu.Lock()
	w.sealAll()
	waiting := append([]*batch(nil), w.ready...)
	err := w.err
	w.mu.Unlock()
	for _, b := range waiting {
		select {
		case <-b.done:
			if err == nil {
				err = b.err
			}
		case <-ctx.Done():
			return wrap("flush", w.o.Queue, "", context.Cause(ctx))
		}
	}
	return wrap("flush", w.o.Queue, "", err)
}

// Close sends everything, waits until it is durable, and ends the writer. When ctx ends first, sending is given up, and the
// error tells so; what was not acknowledged is then found with Unsent. No goroutine is left when Close returns. Closing
// again does nothing but return what is wrong with the writer.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	err := w.Flush(ctx)
	if err != nil {
		w.cancel(fmt.Errorf("the writer was closed: %w", err))
	}
	w.sender.Wait()
	w.cancel(ErrClosed)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return wrap("close writer", w.o.Queue, "", fmt.Errorf("%w; events not acknowledged: %d", w.err, w.unsentEvents()))
	}
	return nil
}

// Pending returns how many events, and how many bytes of them, are not acknowledged yet.
func (w *Writer) Pending() (events, bytes int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events, w.bytes
}

// Unsent returns the events that were taken and not acknowledged when the writer failed, in order for each queue. Some of them
// may be stored all the same: the intake's answer may have been what failed. It returns nil while the writer works.
func (w *Writer) Unsent() []Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	var events []Event
	for _, b := range w.unsent {
		lines := chunk.NewLines(bytes.NewReader(b.text), w.o.MaxEventBytes+1)
		for {
			line, err := lines.Next()
			if err != nil {
				break
			}
			if e, err := event.Parse(append([]byte(nil), line...)); err == nil {
				events = append(events, e)
			}
		}
	}
	return events
}

func (w *Writer) unsentEvents() int {
	n := 0
	for _, b := range w.unsent {
		n += b.events
	}
	return n
}
