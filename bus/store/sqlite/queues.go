package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/store"
)

type queues struct{ view }

const queueColumns = "name, head, timestamp, archive_end, snapshot_start, snapshot_next, skip_archive, " +
	"owner, lease, fence, base, open, shard, first, through, paths"

// scanner is a *sql.Rows or a row.
type scanner interface{ Scan(dest ...any) error }

func scanQueue(s scanner) (store.Queue, error) {
	var q store.Queue
	var through, paths string
	sq := &q.Sequencing
	err := s.Scan(&q.Name, &q.Head, &q.Timestamp, &q.ArchiveEnd, &q.SnapshotStart, &q.SnapshotNext, &q.SkipArchive,
		&sq.Owner, &sq.Lease, &sq.Fence, &sq.Base, &sq.Open, &sq.Shard, &sq.First, &through, &paths)
	if err != nil {
		return q, err
	}
	if through != "" {
		if err := json.Unmarshal([]byte(through), &sq.Through); err != nil {
			return q, fmt.Errorf("%w: marks of queue %s: %w", store.ErrCorrupt, q.Name, err)
		}
	}
	if paths != "" {
		if err := json.Unmarshal([]byte(paths), &sq.Paths); err != nil {
			return q, fmt.Errorf("%w: paths of queue %s: %w", store.ErrCorrupt, q.Name, err)
		}
	}
	return q, nil
}

// loadQueue returns the row, or a new one.
func loadQueue(c *conn, name string) (q store.Queue, found bool, err error) {
	q, err = scanQueue(c.row("select "+queueColumns+" from queues where name = ?", name))
	if errors.Is(err, sql.ErrNoRows) {
		return store.Queue{Name: name}, false, nil
	}
	return q, err == nil, err
}

func saveQueue(c *conn, q store.Queue) error {
	var through, paths []byte
	sq := &q.Sequencing
	if len(sq.Through) > 0 {
		var err error
		if through, err = json.Marshal(sq.Through); err != nil {
			return err
		}
	}
	if len(sq.Paths) > 0 {
		var err error
		if paths, err = json.Marshal(sq.Paths); err != nil {
			return err
		}
	}
	_, err := c.exec("insert or replace into queues("+queueColumns+") values(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
		q.Name, q.Head, q.Timestamp, q.ArchiveEnd, q.SnapshotStart, q.SnapshotNext, q.SkipArchive,
		sq.Owner, sq.Lease, sq.Fence, sq.Base, sq.Open, sq.Shard, sq.First, string(through), string(paths))
	return err
}

func (q queues) Get(ctx context.Context, queue string) (store.Queue, error) {
	var out store.Queue
	err := q.read(ctx, func(c *conn) error {
		row, found, err := loadQueue(c, queue)
		if err == nil && !found {
			return fmt.Errorf("queue %s: %w", queue, store.ErrNotFound)
		}
		out = row
		return err
	})
	return out, err
}

func (q queues) List(ctx context.Context, after string, limit int) ([]store.Queue, error) {
	var out []store.Queue
	err := q.read(ctx, func(c *conn) error {
		out = nil
		rows, err := c.query("select "+queueColumns+" from queues where name > ? order by name limit ?", after, sqlLimit(limit))
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			row, err := scanQueue(rows)
			if err != nil {
				return err
			}
			out = append(out, row)
		}
		return rows.Err()
	})
	return out, err
}

// sqlLimit returns n as SQL has it: no limit for 0.
func sqlLimit(n int) int {
	if n <= 0 {
		return -1
	}
	return n
}

func (q queues) Claim(ctx context.Context, c store.Claim) (store.Grant, error) {
	var grant store.Grant
	err := q.change(ctx, c.Queue, func(_ *txn, row store.Queue) (store.Queue, error) {
		next, g, err := row.Claim(c)
		grant = g
		return next, err
	})
	if err != nil {
		return store.Grant{}, err
	}
	return grant, nil
}

func (q queues) Advance(ctx context.Context, a store.Advance) error {
	return q.change(ctx, a.Queue, func(t *txn, row store.Queue) (store.Queue, error) {
		next, err := row.Advance(a)
		if err == nil && next.Head != row.Head {
			t.changed(store.QueueChanged, a.Queue)
		}
		return next, err
	})
}

func (q queues) SetArchive(ctx context.Context, queue, end string) error {
	return q.change(ctx, queue, func(_ *txn, row store.Queue) (store.Queue, error) {
		row.ArchiveEnd = max(row.ArchiveEnd, end)
		return row, nil
	})
}

func (q queues) SetSnapshot(ctx context.Context, queue, start, next string) error {
	return q.change(ctx, queue, func(_ *txn, row store.Queue) (store.Queue, error) {
		row.SnapshotStart, row.SnapshotNext = start, next
		return row, nil
	})
}

// change replaces the row of queue, made where needed, by what fn returns, unless that is an error.
func (q queues) change(ctx context.Context, queue string, fn func(*txn, store.Queue) (store.Queue, error)) error {
	if queue == "" {
		return fmt.Errorf("%w queue name: it is empty", store.ErrInvalid)
	}
	return q.write(ctx, func(t *txn) error {
		row, _, err := loadQueue(t.conn, queue)
		if err != nil {
			return err
		}
		if row, err = fn(t, row); err != nil {
			return err
		}
		return saveQueue(t.conn, row)
	})
}
