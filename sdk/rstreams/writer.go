package rstreams

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Writer writes events. It is safe for concurrent use; events of one queue are stored in the order in which Put took them.
// It holds no goroutine while it has nothing to send. Close it to know that everything is durable.
type Writer struct {
	bus *Bus
	o   WriterOptions
	// intake takes the records; limits are its own, and plain says that compressing for it is of no use.
	intake store.Intake
	limits store.IntakeLimits
	plain  bool
	// inline is the longest line that travels in a record, without its newline.
	inline int

	mu   sync.Mutex
	open map[string]*batch // chunks that still grow, by queue
	// last is the chunk of the newest event, which named its queue raw: most events go where the one before went.
	last  *batch
	raw   string
	ready []*batch // sealed, in order; those being sent are among them
	// joins tells that chunks of a queue that wait together travel in one record, as far as they fit. Where the program chose the
	// bounds of a chunk, it chose those of a record.
	joins   bool
	bytes   int // held for what is not acknowledged
	events  int
	space   chan struct{} // closed when space was freed; nil while nobody waits
	sending bool
	// flushing asks the sender to take the open chunks with its next call.
	flushing bool
	timer    *time.Timer
	armed    bool
	closed   bool
	err      error // why the writer failed for good
	unsent   []*batch
	// compressing counts the sections of objects that are being compressed, files the objects begun; spare is for the text of
	// the next section.
	compressing, files int
	spare              []byte

	ctx    context.Context // of sending; ends with Close
	cancel context.CancelCauseFunc
	sender sync.WaitGroup
}

// NewWriter returns a writer. The error tells what is wrong with the options.
func (b *Bus) NewWriter(o WriterOptions) (*Writer, error) {
	w := &Writer{bus: b, o: o, open: map[string]*batch{}}
	if err := w.resolve(); err != nil {
		return nil, wrap("write", o.Queue, "", err)
	}
	w.ctx, w.cancel = context.WithCancelCause(context.Background())
	return w, nil
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
	w.fill(e)
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

// fill sets what the event lacks.
func (w *Writer) fill(e *Event) {
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
}

// check fills in the event and tells why put would refuse it, whatever the state of the writer.
func (w *Writer) check(e *Event) error {
	w.fill(e)
	if err := ref.ValidateQueue(e.Queue); e.Queue != "" && err != nil {
		return wrap("write", e.Queue, "", err)
	}
	stored := *e
	stored.Queue = ref.Queue(e.Queue)
	text := texts.get()
	defer func() { texts.put(text) }()
	line, err := event.AppendLine(text, &stored, 0)
	if err == nil {
		text = line
		err = w.permit(stored.Queue, len(line))
	}
	return wrap("write", e.Queue, "", err)
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
		if w.compressing == 0 { // Compressing makes room too.
			w.sealAll() // What waits for company will get none while Put waits for room.
		}
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
	if w.o.Path == PathBlobs {
		return w.appendToFile(b, e)
	}
	before := len(b.text)
	text, err := event.AppendLine(b.text, e, b.events)
	if err != nil {
		return Ack{}, err
	}
	size := len(text) - before
	if err := w.permit(b.queue, size); err != nil {
		return Ack{}, err
	}
	oversize := size-1 > w.inline
	if before > 0 && (len(text) > w.most() || oversize) {
		// The event opens the next chunk; its line there carries another index.
		w.seal(b)
		return w.append(e)
	}
	b.text = text
	if oversize {
		b.file = w.newFile(e.Bot)
		b.file.note(e)
	}
	ack := w.take(b, size)
	switch {
	case oversize || len(text) >= w.o.Chunk.Bytes || b.events >= w.o.Chunk.Records:
		w.seal(b)
	case b.events == 1 && w.o.Chunk.Linger > 0 && !w.armed:
		w.arm()
	}
	return ack, nil
}

// permit refuses lines that are too long. size counts the newline.
func (w *Writer) permit(queue string, size int) error {
	if limit := w.longest(queue); size-1 > limit {
		return fmt.Errorf("%w: its line has %d bytes, the writer permits %d", ErrTooLarge, size-1, limit)
	}
	return nil
}

// longest returns how long the line of an event of the queue may be.
func (w *Writer) longest(queue string) int {
	if queue == deadletter.Queue {
		return max(w.o.MaxEventBytes, maxLetter)
	}
	return w.o.MaxEventBytes
}

// take counts an event whose line of size bytes was appended to b. w.mu is held.
func (w *Writer) take(b *batch, size int) Ack {
	ack := Ack{b: b, index: b.events}
	b.events++
	b.held += size
	w.bytes += size
	w.events++
	return ack
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
	if w.o.Path == PathBlobs {
		w.closeSection(b)
	}
	w.push(b)
}

// push has a chunk sent. w.mu is held.
func (w *Writer) push(b *batch) {
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
	var waiting []*batch
	if w.sending && w.o.Path == PathIntake {
		// The sender takes the open chunks with its next call, and with them what others put until then: many writes of one
		// event each share calls, instead of waiting for a call each.
		w.flushing = true
		for _, b := range w.open {
			if b.events > 0 {
				waiting = append(waiting, b)
			}
		}
	} else {
		w.sealAll()
	}
	waiting = append(waiting, w.ready...)
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
		lines := chunk.NewLines(b.lines(), w.longest(b.queue)+1)
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
