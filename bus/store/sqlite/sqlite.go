// Package sqlite is the embedded backend of the bus: one SQLite file, bus.db, and a directory of blobs beside it. Several
// processes on one machine may have it open at the same time; a network file system will not do.
//
// A write is acknowledged when its transaction is on the disk (WAL with synchronous=FULL). Each process writes through one
// connection, one transaction at a time, and reads through a few others, which never wait for a writer. Blobs become
// visible with the row that names their file, so that a crash leaves at most an unnamed file, which DB.Sweep removes.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Names inside the directory of a bus.
const (
	fileName = "bus.db"
	blobsDir = "blobs"
)

// Options configures Open. The zero value is usable.
type Options struct {
	// Now is the clock that decides which chunks have expired; nil means time.Now.
	Now func() time.Time
	// BusyTimeout is how long an operation waits for other processes before it fails with store.ErrUnavailable;
	// 0 means 10 s. A wait also ends with the operation's context.
	BusyTimeout time.Duration
	// Readers is how many reads may run at once; 0 means 4. Each costs some memory for its cache, at most 2 MB.
	Readers int
}

// DB is an open bus directory. It is safe for concurrent use.
type DB struct {
	dir, path string
	o         Options
	id        string // of the file, so that a feed cursor cannot be mistaken for another file's
	walLimit  int64

	writes, reads *sql.DB
	// slot holds the writer connection while nobody writes, pool the reader connections that nobody uses.
	slot chan *conn
	pool chan *conn

	turn turn
	feed feedState
	// orphans is when Sweep last looked for files that no row names.
	orphans atomic.Int64

	closing chan struct{}
	close   func() error
}

// Open opens the bus in dir and makes what is missing, the directory included. Nothing is left behind in memory after an
// error. store.ErrUnavailable and store.ErrCorrupt tell what stands in the way and what to do; a file that a newer version
// of this package wrote is the former. ctx bounds only the opening.
func Open(ctx context.Context, dir string, o Options) (*DB, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = 10 * time.Second
	}
	if o.Readers <= 0 {
		o.Readers = 4
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("bus directory %s: %w", dir, err)
	}
	d := &DB{
		dir: abs, path: filepath.Join(abs, fileName), o: o, walLimit: walLimit,
		slot: make(chan *conn, 1), pool: make(chan *conn, o.Readers), closing: make(chan struct{}),
	}
	d.turn.hint = filepath.Join(abs, "bus.wait")
	d.feed.leader = make(chan struct{}, 1)
	if err := os.MkdirAll(filepath.Join(abs, blobsDir), 0o755); err != nil {
		return nil, d.fileError("make the bus directory", err)
	}
	if d.writes, err = sql.Open("sqlite", dsn(d.path)); err != nil {
		return nil, d.mapError(err)
	}
	// The readers' connections refuse to write, whatever the statement.
	if d.reads, err = sql.Open("sqlite", dsn(d.path, "query_only(1)", "cache_size(-2000)")); err != nil {
		_ = d.writes.Close()
		return nil, d.mapError(err)
	}
	d.close = sync.OnceValue(d.doClose)
	if err := d.prepare(ctx); err != nil {
		_ = d.writes.Close()
		_ = d.reads.Close()
		return nil, err
	}
	return d, nil
}

// dsn names the file at an absolute path for the driver.
func dsn(path string, pragmas ...string) string {
	p := filepath.ToSlash(path)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p // C:/bus
	}
	q := url.Values{}
	for _, pragma := range append([]string{"busy_timeout(0)", "temp_store(memory)"}, pragmas...) {
		q.Add("_pragma", pragma)
	}
	return (&url.URL{Scheme: "file", Path: p, RawQuery: q.Encode()}).String()
}

// prepare opens the writer connection, checks the file or fills an empty one, and offers the connections for use.
func (d *DB) prepare(ctx context.Context) error {
	var c *conn
	err := d.retry(ctx, func() error {
		var err error
		if c == nil {
			if c, err = newConn(ctx, d.writes); err != nil {
				return err
			}
		}
		return d.setUp(c)
	})
	if err != nil {
		return err
	}
	d.slot <- c
	for range cap(d.pool) {
		d.pool <- nil // opened on first use
	}
	return d.read(ctx, func(c *conn) error {
		seq, err := newestChange(c)
		d.feed.seq = seq
		return err
	})
}

// setUp may be repeated after any failure.
func (d *DB) setUp(c *conn) error {
	for _, pragma := range []string{
		// Of 4 to 64 KB, 8 KB pages wrote chunks of 1 and 30 KB fastest and read them as fast as any (2 cores, SSD).
		// It takes effect only on a new file.
		"page_size=8192",
		"journal_mode=wal",
		"synchronous=full",
		// macOS answers a plain fsync before the data is safe.
		"fullfsync=1",
		"checkpoint_fullfsync=1",
		"cache_size=-8000",
		"wal_autocheckpoint=" + strconv.Itoa(walPages),
		// After a checkpoint the WAL file, which a slow reader may have let grow, is cut down to this.
		"journal_size_limit=" + strconv.Itoa(walLimit),
	} {
		if err := c.run("pragma " + pragma); err != nil {
			return err
		}
	}
	if err := d.migrate(c); err != nil {
		return err
	}
	return c.row("select value from meta where name='id'").Scan(&d.id)
}

// Store returns the ports. Their Intake is nil. Inside Atomic, Feed and a further Atomic are nil; blobs written there
// become visible with the rest.
func (d *DB) Store() store.Store {
	s := view{db: d}.store()
	s.Feed = feed{d}
	s.Atomic = d.atomic
	return s
}

// Close waits for the operations in progress and closes the file. Later operations, and calls that wait on the feed, fail
// with store.ErrUnavailable. A second call returns what the first did.
func (d *DB) Close() error { return d.close() }

func (d *DB) doClose() error {
	close(d.closing)
	var errs []error
	for range cap(d.pool) {
		if c := <-d.pool; c != nil {
			errs = append(errs, c.close())
		}
	}
	errs = append(errs, d.reads.Close())
	// The last connection to leave copies the WAL into the file: that should be the one with the writer's care.
	c := <-d.slot
	errs = append(errs, c.close(), d.writes.Close())
	if err := errors.Join(errs...); err != nil {
		return d.mapError(err)
	}
	return nil
}

var errClosed = fmt.Errorf("%w: the bus was closed", store.ErrUnavailable)

// begun returns why an operation must not begin, or nil.
func (d *DB) begun(ctx context.Context) error {
	select {
	case <-d.closing:
		return errClosed
	default:
		return ctx.Err()
	}
}
