package sqlite

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// WAL sizes. A checkpoint copies the WAL into the file after walPages pages (8 MB); when readers kept it from starting
// over until it had walLimit bytes, the writer waits for them once.
const (
	walPages = 1000
	walLimit = 64 << 20
)

// view is what the ports work on: the file itself, or one Atomic call's transaction.
type view struct {
	db *DB
	tx *txn
}

func (v view) store() store.Store {
	return store.Store{
		Chunks: chunks{v}, Queues: queues{v}, Bots: bots{v}, Settings: settings{v}, Systems: systems{v}, Blobs: blobs{v},
	}
}

// txn is a write transaction.
type txn struct {
	*conn
	mu    sync.Mutex // held by each operation: the ports stay safe for concurrent use inside Atomic
	ended bool
	// failed is an error of the database after which the transaction cannot commit: part of it may be gone.
	failed  error
	changes []store.Change
	// committed and aborted run once the outcome is known.
	committed, aborted []func()
}

// changed notes a change for the feed.
func (t *txn) changed(kind store.ChangeKind, id string) {
	c := store.Change{Kind: kind, ID: id}
	if n := len(t.changes); n > 0 && t.changes[n-1] == c {
		return
	}
	t.changes = append(t.changes, c)
}

var errEnded = errors.New("sqlite store: the view of an Atomic call was used after the call")

// write runs fn in the view's transaction, or in one of its own. fn must not write before an error of its own making: a
// transaction of Atomic goes on after it.
func (v view) write(ctx context.Context, fn func(t *txn) error) error {
	if v.tx == nil {
		return v.db.transact(ctx, fn)
	}
	t := v.tx
	if err := ctx.Err(); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.ended:
		return errEnded
	case t.failed != nil:
		return t.failed
	}
	err := fn(t)
	if isDatabase(err) {
		err = v.db.mapError(err)
		t.failed = err
	}
	return err
}

// read runs fn on the view's transaction, or on a connection of the pool. fn may be run again after it failed.
func (v view) read(ctx context.Context, fn func(c *conn) error) error {
	if v.tx == nil {
		return v.db.read(ctx, fn)
	}
	return v.write(ctx, func(t *txn) error { return fn(t.conn) })
}

func (d *DB) atomic(ctx context.Context, fn func(ctx context.Context, tx store.Store) error) error {
	return d.transact(ctx, func(t *txn) error {
		defer func() {
			t.mu.Lock()
			t.ended = true
			t.mu.Unlock()
		}()
		if err := fn(ctx, view{db: d, tx: t}.store()); err != nil {
			return err
		}
		if t.failed != nil {
			return t.failed
		}
		return ctx.Err()
	})
}

// transact runs fn in a write transaction of its own and commits it.
func (d *DB) transact(ctx context.Context, fn func(t *txn) error) (err error) {
	c, err := d.acquire(ctx)
	if err != nil {
		return err
	}
	defer func() { d.slot <- c }()
	t := &txn{conn: c}
	done := false
	defer func() { // also when fn panics
		hooks := t.aborted
		if done {
			hooks = t.committed
		} else {
			_, _ = c.exec("rollback") // fails where SQLite has rolled back already
		}
		for _, hook := range hooks {
			hook()
		}
	}()
	if err := d.begin(ctx, c); err != nil {
		return err
	}
	if err := fn(t); err != nil {
		return d.mapError(err)
	}
	seq, err := recordChanges(c, t.changes)
	if err != nil {
		return d.mapError(err)
	}
	if _, err := c.exec("commit"); err != nil {
		return d.mapError(err)
	}
	done = true
	d.turn.wrote()
	d.feed.advance(seq)
	d.boundWAL(c)
	return nil
}

func (d *DB) acquire(ctx context.Context) (*conn, error) {
	if err := d.begun(ctx); err != nil {
		return nil, err
	}
	select {
	case c := <-d.slot:
		return c, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-d.closing:
		return nil, errClosed
	}
}

// begin takes the file's write lock.
func (d *DB) begin(ctx context.Context, c *conn) error {
	d.turn.yield(ctx)
	return d.retry(ctx, func() error {
		_, err := c.exec("begin immediate")
		if isBusy(err) {
			d.turn.waiting()
		}
		return err
	})
}

// read runs fn on a connection of the pool.
func (d *DB) read(ctx context.Context, fn func(c *conn) error) error {
	if err := d.begun(ctx); err != nil {
		return err
	}
	var c *conn
	select {
	case c = <-d.pool:
	case <-ctx.Done():
		return ctx.Err()
	case <-d.closing:
		return errClosed
	}
	defer func() { d.pool <- c }()
	return d.retry(ctx, func() error {
		if c == nil {
			var err error
			if c, err = newConn(ctx, d.reads); err != nil {
				return err
			}
		}
		return fn(c)
	})
}

// snapshot runs fn so that all its queries see one state.
func (v view) snapshot(ctx context.Context, fn func(c *conn) error) error {
	if v.tx != nil {
		return v.read(ctx, fn)
	}
	return v.db.read(ctx, func(c *conn) error {
		if _, err := c.exec("begin"); err != nil {
			return err
		}
		err := fn(c)
		if err == nil {
			_, err = c.exec("commit")
		}
		if err != nil {
			_, _ = c.exec("rollback")
		}
		return err
	})
}

// retry runs fn again while other processes hold locks, until ctx ends or the busy timeout has passed. SQLite's own
// waiting would not end with ctx.
func (d *DB) retry(ctx context.Context, fn func() error) error {
	err := fn()
	if !isBusy(err) {
		return d.mapError(err)
	}
	timeout := time.NewTimer(d.o.BusyTimeout)
	defer timeout.Stop()
	tick := time.NewTicker(busyPoll)
	defer tick.Stop()
	for isBusy(err) {
		select {
		case <-tick.C:
			err = fn()
		case <-timeout.C:
			return d.mapError(err)
		case <-ctx.Done():
			return ctx.Err()
		case <-d.closing:
			return errClosed
		}
	}
	return d.mapError(err)
}

// busyPoll is how often a process tries for a lock that another one holds. A commit takes about a millisecond.
const busyPoll = time.Millisecond

// boundWAL makes the WAL start over when it has grown too long: checkpoints that ran beside readers could not do that.
func (d *DB) boundWAL(c *conn) {
	if fi, err := os.Stat(d.path + "-wal"); err != nil || fi.Size() < d.walLimit {
		return
	}
	// A reader that is still busy makes this fail; the next write tries again.
	_ = c.run("pragma wal_checkpoint(truncate)")
}
