package rstreams

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
)

// batch is a chunk on its way: a run of events of one queue.
type batch struct {
	queue  string
	text   []byte
	events int
	held   int // bytes of memory that count as this chunk's
	// file is the object that the events travel in; nil for those that travel in a record.
	file *file

	data []byte // the record, once it is made

	// done is closed when shard, sequence and err are set.
	done            chan struct{}
	shard, sequence string
	err             error
}

func newBatch(queue string) *batch {
	return &batch{queue: queue, text: texts.get(), done: make(chan struct{})}
}

// Receipt tells where the bus stored a chunk of events.
type Receipt struct {
	// Queue is the queue, Events the number of events in the chunk.
	Queue  string
	Events int
	// Index is the event's place in the chunk, from 0. In a Receipt for a whole chunk it is 0.
	Index int
	// Shard and Sequence are the intake's names for the chunk's record.
	Shard, Sequence string
}

func (b *batch) receipt(index int) Receipt {
	return Receipt{Queue: b.queue, Events: b.events, Index: index, Shard: b.shard, Sequence: b.sequence}
}

// Ack stands for the acknowledgement of one event. It is small and may be copied. The zero Ack belongs to no event.
type Ack struct {
	b     *batch
	index int
}

// Done is closed once the event's fate is known. The zero Ack's is nil.
func (a Ack) Done() <-chan struct{} {
	if a.b == nil {
		return nil
	}
	return a.b.done
}

// Wait waits until the event is durable and returns where it is, or why it will not be: the writer failed or was closed. When
// ctx ends first, the error is its cause and the event's fate is open. Wait does not hasten anything: see Writer.Flush.
func (a Ack) Wait(ctx context.Context) (Receipt, error) {
	if a.b == nil {
		return Receipt{}, nil
	}
	select {
	case <-a.b.done:
		return a.b.receipt(a.index), wrap("write", a.b.queue, "", a.b.err)
	case <-ctx.Done():
		return Receipt{}, wrap("write", a.b.queue, "", context.Cause(ctx))
	}
}

// texts is a pool of the buffers that chunks are encoded into.
var texts textPool

type textPool struct{ pool sync.Pool }

func (t *textPool) get() []byte {
	if b, ok := t.pool.Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 8<<10)
}

func (t *textPool) put(b []byte) {
	if cap(b) <= 2<<20 {
		t.pool.Put(&b)
	}
}

// encoders is a pool of JSON encoders for payloads. They leave <, > and & alone, as Node does (W3).
var encoders encoderPool

type encoderPool struct{ pool sync.Pool }

type encoder struct {
	buf bytes.Buffer
	enc *json.Encoder
}

func (p *encoderPool) get() *encoder {
	if e, ok := p.pool.Get().(*encoder); ok {
		return e
	}
	e := &encoder{}
	e.enc = json.NewEncoder(&e.buf)
	e.enc.SetEscapeHTML(false)
	return e
}

func (p *encoderPool) put(e *encoder) {
	if e.buf.Cap() <= 1<<20 {
		p.pool.Put(e)
	}
}

// encode returns payload as JSON. It is valid until the encoder is used again.
func (e *encoder) encode(payload any) (json.RawMessage, error) {
	e.buf.Reset()
	if err := e.enc.Encode(payload); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(e.buf.Bytes(), []byte("\n")), nil
}
