// Package crash makes the processes of tests die: a view of a store in which the n-th write is the last thing that happens,
// or that does not. Trying every n shows what a crash at any place leaves behind.
package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"github.com/rstreams-go/rstreams/bus/store"
)

// ErrDead is what a process gets from its store once it has died.
var ErrDead = errors.New("the process is dead")

// A Process sees a store until it dies. The zero Process lives for ever.
type Process struct {
	// At is the write, from 1, at which the process dies; 0 for never. With After, that write takes effect.
	At    int
	After bool
	// Before, if set, is called before every write that takes effect, with its name, such as "Chunks.Put".
	Before func(write string)

	mu     sync.Mutex
	writes int
	dead   bool
}

// Writes returns how many writes were tried.
func (p *Process) Writes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.writes
}

// Dead tells whether the process has died.
func (p *Process) Dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

func (p *Process) do(write string, fn func() error) error {
	p.mu.Lock()
	if p.dead {
		p.mu.Unlock()
		return ErrDead
	}
	p.writes++
	now := p.writes == p.At
	p.dead = now
	p.mu.Unlock()
	if now && !p.After {
		return ErrDead
	}
	if p.Before != nil {
		p.Before(write)
	}
	if err := fn(); err != nil || !now {
		return err
	}
	return ErrDead
}

func (p *Process) alive() error {
	if p.Dead() {
		return ErrDead
	}
	return nil
}

// View returns st as the process sees it, without transactions. Chunks are written and deleted, and blobs deleted, one by one.
func View(st store.Store, p *Process) store.Store {
	st.Atomic = nil
	st.Chunks = chunks{st.Chunks, p}
	st.Queues = queues{st.Queues, p}
	st.Bots = bots{st.Bots, p}
	st.Blobs = blobs{st.Blobs, p}
	st.Settings = settings{st.Settings, p}
	if st.Intake != nil {
		st.Intake = intake{st.Intake, p}
	}
	return st
}

type chunks struct {
	store.Chunks
	p *Process
}

func (c chunks) Put(ctx context.Context, list []store.Chunk) error {
	for i := range list {
		if err := c.p.do("Chunks.Put", func() error { return c.Chunks.Put(ctx, list[i:i+1]) }); err != nil {
			return err
		}
	}
	return nil
}

func (c chunks) Query(ctx context.Context, queue, after, through string, limit, maxBytes int) (store.Page, error) {
	if err := c.p.alive(); err != nil {
		return store.Page{}, err
	}
	return c.Chunks.Query(ctx, queue, after, through, limit, maxBytes)
}

func (c chunks) Delete(ctx context.Context, queue string, ends []string) error {
	for i := range ends {
		if err := c.p.do("Chunks.Delete", func() error { return c.Chunks.Delete(ctx, queue, ends[i:i+1]) }); err != nil {
			return err
		}
	}
	return nil
}

type queues struct {
	store.Queues
	p *Process
}

func (q queues) Claim(ctx context.Context, c store.Claim) (g store.Grant, err error) {
	err = q.p.do("Queues.Claim", func() error { g, err = q.Queues.Claim(ctx, c); return err })
	return g, err
}

func (q queues) Advance(ctx context.Context, a store.Advance) error {
	return q.p.do("Queues.Advance", func() error { return q.Queues.Advance(ctx, a) })
}

func (q queues) SetArchive(ctx context.Context, queue, end string) error {
	return q.p.do("Queues.SetArchive", func() error { return q.Queues.SetArchive(ctx, queue, end) })
}

func (q queues) SetSnapshot(ctx context.Context, queue, start, next string) error {
	return q.p.do("Queues.SetSnapshot", func() error { return q.Queues.SetSnapshot(ctx, queue, start, next) })
}

type bots struct {
	store.Bots
	p *Process
}

func (b bots) Produced(ctx context.Context, list []store.Produced) error {
	return b.p.do("Bots.Produced", func() error { return b.Bots.Produced(ctx, list) })
}

type blobs struct {
	store.Blobs
	p *Process
}

func (b blobs) Put(ctx context.Context, key string, r io.Reader) (ref store.BlobRef, n int64, err error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return ref, 0, err
	}
	err = b.p.do("Blobs.Put", func() error { ref, n, err = b.Blobs.Put(ctx, key, bytes.NewReader(data)); return err })
	return ref, n, err
}

func (b blobs) Get(ctx context.Context, ref store.BlobRef, offset, length int64) (io.ReadCloser, error) {
	if err := b.p.alive(); err != nil {
		return nil, err
	}
	return b.Blobs.Get(ctx, ref, offset, length)
}

func (b blobs) Delete(ctx context.Context, keys []string) error {
	for i := range keys {
		if err := b.p.do("Blobs.Delete", func() error { return b.Blobs.Delete(ctx, keys[i:i+1]) }); err != nil {
			return err
		}
	}
	return nil
}

type settings struct {
	store.Settings
	p *Process
}

func (s settings) Put(ctx context.Context, id string, v json.RawMessage) error {
	return s.p.do("Settings.Put", func() error { return s.Settings.Put(ctx, id, v) })
}

func (s settings) Swap(ctx context.Context, id string, old, next json.RawMessage) error {
	return s.p.do("Settings.Swap", func() error { return s.Settings.Swap(ctx, id, old, next) })
}

func (s settings) Acquire(ctx context.Context, name, owner string, now, expires int64) error {
	return s.p.do("Settings.Acquire", func() error { return s.Settings.Acquire(ctx, name, owner, now, expires) })
}

func (s settings) Release(ctx context.Context, name, owner string) error {
	return s.p.do("Settings.Release", func() error { return s.Settings.Release(ctx, name, owner) })
}

type intake struct {
	store.Intake
	p *Process
}

func (i intake) Put(ctx context.Context, records []store.Record) (acks []store.Ack, err error) {
	err = i.p.do("Intake.Put", func() error { acks, err = i.Intake.Put(ctx, records); return err })
	return acks, err
}
