package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

// reading is one reader's way through a queue, over a store that fails.
type reading struct {
	w     *world
	st    store.Store
	queue string
	// position is the last event read; chunk the End of the last chunk seen, "" when the reading began inside the queue.
	position, chunk string
	fresh           bool
}

// next reads up to limit events after the position. It returns fewer only at the head. An error is the store's.
func (r *reading) next(ctx context.Context, limit int) (ids, keys []string, err error) {
	row, err := r.st.Queues.Get(ctx, r.queue)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for len(ids) < limit && r.position < row.Head {
		page, err := r.st.Chunks.Query(ctx, r.queue, r.position, row.Head, 1+limit%7, 0)
		if err != nil {
			return ids, keys, err
		}
		if len(page.Chunks) == 0 && !page.More {
			r.w.fail("what is below a visible head is complete (C32)", "queue %s: nothing between %s and the head %s", r.queue, r.position, row.Head)
			return ids, keys, nil
		}
		for i := range page.Chunks {
			c := &page.Chunks[i]
			if c.End != r.chunk {
				if r.fresh && c.Prev != r.chunk {
					r.w.fail("a reader sees every chunk", "queue %s: %s..%s follows %q, the reader is at %q", r.queue, c.Start, c.End, c.Prev, r.chunk)
					return ids, keys, nil
				}
				r.chunk, r.fresh = c.End, true
			}
			lines, err := r.lines(ctx, c)
			if err != nil {
				return ids, keys, err
			}
			id, err := eid.Parse(c.Start)
			if err != nil {
				return ids, keys, err
			}
			for n, l := range lines {
				at := id
				at.Counter += n
				if s := at.String(); s > r.position {
					r.position = s
					ids, keys = append(ids, s), append(keys, keyOf(l))
				}
				if len(ids) == limit {
					return ids, keys, nil
				}
			}
		}
	}
	return ids, keys, nil
}

// lines gets a chunk's lines; a blob is read section by section.
func (r *reading) lines(ctx context.Context, c *store.Chunk) ([][]byte, error) {
	if c.Blob == nil {
		return decode(c.Gzip)
	}
	var all [][]byte
	for _, s := range c.Offsets {
		body, err := r.st.Blobs.Get(ctx, *c.Blob, s.GzipOffset, s.GzipSize)
		if err != nil {
			return nil, err
		}
		data, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		lines, err := decode(data)
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return all, nil
}

// tail follows a queue from its beginning while it is written, and remembers what it saw.
type tail struct {
	p         *proc
	queue     string
	ids, keys []string
}

func (t *tail) run(o *oracle) {
	p := t.p
	st, _ := connect(p, o, false)
	r := &reading{w: p.w, st: st, queue: t.queue, fresh: true}
	for !p.w.settled {
		ids, keys, _ := r.next(p.ctx, 1+p.rng.IntN(30)) // After an error it goes on from where it was.
		p.turn("read")
		t.ids, t.keys = append(t.ids, ids...), append(t.keys, keys...)
		if p.dead { // A reader that dies starts again with all it knows.
			p.dead = false
			p.ctx, p.cancel = context.WithCancelCause(p.w.ctx)
		}
		p.sleep(p.between(0, 2*time.Second))
	}
}

// check compares what the tail saw with what was published in the end.
func (t *tail) check(o *oracle) {
	q := o.queue(t.queue)
	for i, id := range t.ids {
		if i >= len(q.events) || q.events[i].id != id || q.events[i].key != t.keys[i] {
			o.w.fail("a reader misses nothing (C36)", "queue %s: event %d was read as %s %s, is %v", t.queue, i, id, t.keys[i], at(q.events, i))
			return
		}
	}
}

func at(list []publishedEvent, i int) string {
	if i >= len(list) {
		return "absent"
	}
	return list[i].id + " " + list[i].key
}

// reader is a bot that runs now and then, reads from its checkpoint, and moves it.
type reader struct {
	p     *proc
	id    string
	queue string
	seen  map[string]bool // ids
}

func (b *reader) run(o *oracle) {
	w := b.p.w
	for n := 0; !b.caughtUp(o); n++ {
		p := w.process(w.ctx, fmt.Sprintf("%s#%d", b.id, n))
		if err := b.once(p, o); err != nil {
			b.p.turn("failed")
			w.note(p.name, "ends: %v", err)
		}
		p.cancel(nil)
		b.p.sleep(b.p.between(0, 3*time.Second))
	}
}

func (b *reader) caughtUp(o *oracle) bool {
	return b.p.w.settled && o.bot(b.id).read["queue:"+b.queue] == o.queue(b.queue).head
}

// once is one run.
func (b *reader) once(p *proc, o *oracle) error {
	st, _ := connect(p, o, false)
	row, err := st.Bots.Get(p.ctx, b.id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	_, err = b.read(p.ctx, p, st, o, row.Read["queue:"+b.queue].Position, func(string) bool { return true })
	return err
}

// read reads from position on to the head and moves the checkpoint after each batch. It returns the last position stored.
func (b *reader) read(ctx context.Context, p *proc, st store.Store, o *oracle, position string, more func(at string) bool) (string, error) {
	w := p.w
	r := &reading{w: w, st: st, queue: b.queue, position: position}
	for {
		before := r.position
		ids, keys, err := r.next(ctx, 1+p.rng.IntN(20))
		w.gate(p.name, "process")
		if err != nil {
			return position, err
		}
		if len(ids) == 0 {
			return position, nil
		}
		q := o.queue(b.queue)
		i := 0
		if before != "" {
			for i < len(q.events) && q.events[i].id <= before {
				i++
			}
		}
		for n, id := range ids {
			if i+n >= len(q.events) || q.events[i+n].id != id || q.events[i+n].key != keys[n] {
				w.fail("a reader misses nothing (C36)", "%s after %s: %s %s, is %s", b.id, before, id, keys[n], at(q.events, i+n))
				return position, nil
			}
			b.seen[id] = true
		}
		now := w.now().UnixMilli()
		err = st.Bots.Checkpoint(ctx, store.CheckpointWrite{
			Bot: b.id, Ref: "queue:" + b.queue, Expected: position,
			Checkpoint: store.Checkpoint{Position: r.position, StartedTimestamp: now, EndedTimestamp: now, Records: int64(len(ids))},
		})
		if err != nil {
			return position, err
		}
		position = r.position
		if !more(position) {
			return position, nil
		}
	}
}

// check tells whether every event was handled.
func (b *reader) check(o *oracle) {
	for _, e := range o.queue(b.queue).events {
		if !b.seen[e.id] {
			o.w.fail("a bot handles every event", "%s passed over %s %s", b.id, e.id, e.key)
			return
		}
	}
}

func parseLetter(raw []byte) (deadletter.Letter, error) {
	var e struct {
		Payload json.RawMessage `json:"payload"`
	}
	if err := json.Unmarshal(bytes.TrimSpace(raw), &e); err != nil {
		return deadletter.Letter{}, err
	}
	return deadletter.Parse(e.Payload)
}
