package aws

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/rstreams-go/rstreams/bus/store"
)

// maxRows bounds the rows of queues that a process remembers.
const maxRows = 2048

// queues is the table LeoEvent. A claim and a publication cost one conditional write each and no read, as long as no other
// process writes the row: the process remembers the row it wrote last, and the write is conditional on what the rule of
// package store looks at. A wrong memory costs the failed write, whose answer brings the row.
type queues struct {
	table   table
	listing *listing[store.Queue]

	mu   sync.Mutex
	rows map[string]queueRow
}

// queueRow is a row as it was last seen: decoded, and with the values that writes are conditional on.
type queueRow struct {
	store.Queue
	head, fence, open value
	// lost is as in sight.
	lost bool
}

func newQueues(b *Bus) *queues {
	t := table{bus: b, name: b.o.Resources.LeoEvent, part: "LeoEvent", key: "event"}
	return &queues{table: t, rows: map[string]queueRow{}, listing: &listing[store.Queue]{
		table: t, key: func(q store.Queue) string { return q.Name },
		decode: func(row item) (store.Queue, bool) {
			q, err := decodeQueue(row)
			if err != nil {
				b.o.Logger.Warn("a queue is left out of a listing", "error", err)
			}
			return q, err == nil
		},
	}}
}

// Get implements store.Queues.
func (q *queues) Get(ctx context.Context, queue string) (store.Queue, error) {
	it, err := q.table.get(ctx, queue)
	if err != nil {
		return store.Queue{}, err
	}
	if it == nil {
		return store.Queue{}, fmt.Errorf("queue %s: %w", queue, store.ErrNotFound)
	}
	row, err := decodeQueue(it)
	if err != nil {
		return store.Queue{}, err
	}
	return row, nil
}

// List implements store.Queues; see listing for its cost.
func (q *queues) List(ctx context.Context, after string, limit int) ([]store.Queue, error) {
	return q.listing.page(ctx, after, limit)
}

// Claim implements store.Queues.
func (q *queues) Claim(ctx context.Context, c store.Claim) (store.Grant, error) {
	var grant store.Grant
	var next store.Queue
	err := q.change(ctx, c.Queue, func(row queueRow) (u *update, err error) {
		u, next, grant, err = row.claim(c)
		return u, err
	}, &next)
	if err != nil {
		return store.Grant{}, err
	}
	return grant, nil
}

// claim returns what a claim writes, and the row and the grant that come of it.
func (row queueRow) claim(c store.Claim) (u *update, next store.Queue, grant store.Grant, err error) {
	if next, grant, err = row.Claim(c); err != nil {
		return nil, next, grant, err
	}
	u = newUpdate()
	u.set(sequencingValue(next.Sequencing), "sequencing")
	u.mark("sequencing")
	if row.head == nil {
		u.set(str(noHead), "max_eid")
		u.set(num(formatVersion), "v")
	}
	return u, next, grant, nil
}

// claimParallel is how many queues claimAll claims at once that do not share a request.
const claimParallel = 16

// claimAll implements store.Store's ClaimAll. Queues whose rows this process remembers share a request. A claim that fails there is
// made again by itself: so is one whose answer is lost, and which therefore may take place twice, as any claim may.
func (q *queues) claimAll(ctx context.Context, claims []store.Claim) []store.Claimed {
	out := make([]store.Claimed, len(claims))
	next := make([]store.Queue, len(claims))
	joint := make([]*jointWrite, len(claims))
	var writes []*jointWrite
	for i, c := range claims {
		row, ok := q.recall(c.Queue)
		if !ok {
			continue
		}
		u, after, grant, err := row.claim(c)
		if err != nil {
			continue // The memory may be wrong.
		}
		row.unchanged(u)
		joint[i] = &jointWrite{id: c.Queue, u: u}
		writes = append(writes, joint[i])
		next[i], out[i].Grant = after, grant
	}
	q.table.writeTogether(ctx, writes)
	var g errgroup.Group
	g.SetLimit(claimParallel)
	for i, c := range claims {
		w := joint[i]
		if w != nil && w.done {
			q.remember(c.Queue, next[i], w.u)
			continue
		}
		if w != nil && w.failed {
			q.learn(c.Queue, w.seen)
		}
		g.Go(func() error {
			out[i].Grant, out[i].Err = q.Claim(ctx, c)
			return nil
		})
	}
	_ = g.Wait() // Each claim has its own error.
	return out
}

// Advance implements store.Queues.
func (q *queues) Advance(ctx context.Context, a store.Advance) error {
	var next store.Queue
	err := q.change(ctx, a.Queue, func(row queueRow) (*update, error) {
		var err error
		if next, err = row.Advance(a); err != nil {
			if row.lost && errors.Is(err, store.ErrConflict) && published(row.Queue, a) {
				// A write of this call went through although its answer did not come, and others have gone on since.
				next = row.Queue
				return nil, nil
			}
			return nil, err
		}
		u := newUpdate()
		u.set(sequencingValue(next.Sequencing), "sequencing")
		u.mark("sequencing")
		if a.Head != "" {
			if next.Head != row.Head {
				u.set(str(next.Head), "max_eid")
			}
			u.set(num(next.Timestamp), "timestamp")
			u.set(num(formatVersion), "v")
		}
		return u, nil
	}, &next)
	return err
}

// published tells whether a row says that what a publishes is published.
func published(row store.Queue, a store.Advance) bool {
	if a.Head == "" || row.Head == "" || store.LaterHead(a.Queue, a.Head, row.Head) {
		return false
	}
	return a.Shard != "" && store.CompareMarks(row.Sequencing.Through[a.Shard], a.Through) >= 0 || row.Head == a.Head
}

// change applies rule to the row, remembered or read, and writes what it says on condition that the row is still so. *next is the
// row afterwards.
func (q *queues) change(ctx context.Context, queue string, rule func(row queueRow) (*update, error), next *store.Queue) error {
	if queue == "" {
		return fmt.Errorf("%w queue name: it is empty", store.ErrInvalid)
	}
	var wrote *update
	err := q.table.change(ctx, queue, func(seen *sight) (*update, error) {
		row, ok := q.recall(queue)
		if seen != nil {
			var err error
			if row, err = newQueueRow(queue, seen.item); err != nil {
				return nil, err
			}
			row.lost = seen.lost
		} else if !ok {
			return nil, errLook
		}
		u, err := rule(row)
		if err != nil && seen == nil {
			return nil, errLook // The memory may be wrong.
		}
		if err != nil || u == nil {
			return nil, err
		}
		row.unchanged(u)
		wrote = u
		return u, nil
	})
	if err != nil {
		q.forget(queue)
		return err
	}
	q.remember(queue, *next, wrote)
	return nil
}

// unchanged adds to u that the row is still as it was seen.
func (row queueRow) unchanged(u *update) {
	u.is(row.head, "max_eid")
	u.is(row.fence, "sequencing", "fence")
	u.is(row.open, "sequencing", "open")
}

// newQueueRow returns the row of an item, a new one for nil.
func newQueueRow(queue string, it item) (queueRow, error) {
	row := queueRow{Queue: store.Queue{Name: queue}}
	if it == nil {
		return row, nil
	}
	var err error
	if row.Queue, err = decodeQueue(it); err != nil {
		return row, err
	}
	row.head, row.fence, row.open = it["max_eid"], at(it, "sequencing", "fence"), at(it, "sequencing", "open")
	return row, nil
}

func (q *queues) recall(queue string) (queueRow, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	row, ok := q.rows[queue]
	return row, ok
}

// remember keeps a row that was written. Calls for one queue may overtake each other here; then the newer fence stays.
func (q *queues) remember(queue string, row store.Queue, wrote *update) {
	if wrote == nil {
		return
	}
	head := row.Head
	if head == "" {
		head = noHead
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if old, ok := q.rows[queue]; ok && old.Sequencing.Fence > row.Sequencing.Fence {
		return
	}
	if _, ok := q.rows[queue]; !ok && len(q.rows) >= maxRows {
		for other := range q.rows {
			delete(q.rows, other)
			break
		}
	}
	q.rows[queue] = queueRow{Queue: row, head: str(head), fence: num(row.Sequencing.Fence), open: boolean(row.Sequencing.Open)}
}

// learn keeps a row that was read.
func (q *queues) learn(queue string, it item) {
	row, err := newQueueRow(queue, it)
	q.mu.Lock()
	defer q.mu.Unlock()
	if it == nil || err != nil {
		delete(q.rows, queue)
		return
	}
	q.rows[queue] = row
}

func (q *queues) forget(queue string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.rows, queue)
}

// SetArchive implements store.Queues. The whole map is replaced, as the original does.
func (q *queues) SetArchive(ctx context.Context, queue, end string) error {
	if queue == "" {
		return fmt.Errorf("%w queue name: it is empty", store.ErrInvalid)
	}
	return q.table.change(ctx, queue, func(seen *sight) (*update, error) {
		u := newUpdate()
		if seen != nil {
			if end <= text(members(seen.item["archive"])["end"]) {
				return nil, nil
			}
			u.asIn(seen.item, "archive")
		} else if end == "" {
			return nil, nil
		}
		archive := item{"end": str(end)}
		u.set(object(archive), "archive")
		if seen == nil {
			u.unlessAbove("<", u.v(str(end)), "archive", "end")
		}
		return u, nil
	})
}

// SetSnapshot implements store.Queues.
func (q *queues) SetSnapshot(ctx context.Context, queue, start, next string) error {
	if queue == "" {
		return fmt.Errorf("%w queue name: it is empty", store.ErrInvalid)
	}
	return q.table.change(ctx, queue, func(*sight) (*update, error) {
		u := newUpdate()
		u.set(object(item{"start": str(start), "next": str(next)}), "snapshot")
		return u, nil
	})
}
