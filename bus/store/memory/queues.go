package memory

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/rstreams-go/rstreams/bus/store"
)

type queues struct{ view }

func (q queues) Get(ctx context.Context, queue string) (store.Queue, error) {
	if err := q.enter(ctx); err != nil {
		return store.Queue{}, err
	}
	defer q.leave()
	row, ok := q.db.queues.rows[queue]
	if !ok {
		return store.Queue{}, fmt.Errorf("queue %s: %w", queue, store.ErrNotFound)
	}
	return cloneQueue(row), nil
}

func (q queues) List(ctx context.Context, after string, limit int) ([]store.Queue, error) {
	if err := q.enter(ctx); err != nil {
		return nil, err
	}
	defer q.leave()
	keys := q.db.queues.after("", after, limit)
	out := make([]store.Queue, len(keys))
	for i, k := range keys {
		out[i] = cloneQueue(q.db.queues.rows[k])
	}
	return out, nil
}

func (q queues) Claim(ctx context.Context, c store.Claim) (store.Grant, error) {
	var grant store.Grant
	err := q.change(ctx, c.Queue, func(row store.Queue) (store.Queue, error) {
		next, g, err := row.Claim(c)
		grant = g
		return next, err
	})
	return grant, err
}

func (q queues) Advance(ctx context.Context, a store.Advance) error {
	moved := false
	return q.changeThen(ctx, a.Queue, func(row store.Queue) (store.Queue, error) {
		next, err := row.Advance(a)
		moved = next.Head != row.Head
		return next, err
	}, func() {
		if moved {
			q.changed(store.QueueChanged, a.Queue)
		}
	})
}

func (q queues) SetArchive(ctx context.Context, queue, end string) error {
	return q.change(ctx, queue, func(row store.Queue) (store.Queue, error) {
		row.ArchiveEnd = max(row.ArchiveEnd, end)
		return row, nil
	})
}

func (q queues) SetSnapshot(ctx context.Context, queue, start, next string) error {
	return q.change(ctx, queue, func(row store.Queue) (store.Queue, error) {
		row.SnapshotStart, row.SnapshotNext = start, next
		return row, nil
	})
}

func (q queues) change(ctx context.Context, queue string, fn func(store.Queue) (store.Queue, error)) error {
	return q.changeThen(ctx, queue, fn, func() {})
}

// changeThen replaces the row of queue, made where needed, by what fn returns, unless that is an error.
func (q queues) changeThen(ctx context.Context, queue string, fn func(store.Queue) (store.Queue, error), done func()) error {
	if queue == "" {
		return fmt.Errorf("%w queue name: it is empty", store.ErrInvalid)
	}
	if err := q.enter(ctx); err != nil {
		return err
	}
	defer q.leave()
	row := q.db.queues.rows[queue]
	row.Name = queue
	row, err := fn(row)
	if err != nil {
		return err
	}
	undo := q.db.queues.replace(queue, row)
	q.onRollback(undo)
	done()
	return nil
}

func cloneQueue(q store.Queue) store.Queue {
	q.Sequencing.Through = maps.Clone(q.Sequencing.Through)
	q.Sequencing.Paths = slices.Clone(q.Sequencing.Paths)
	return q
}
