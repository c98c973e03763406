package sqlite

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Polling for the commits of other processes, while somebody waits. After idleAfter without a change it slows down.
const (
	feedPoll  = 4 * time.Millisecond
	idlePoll  = 20 * time.Millisecond
	idleAfter = 10 * time.Second
)

// defaultChanges is the limit of Changes where the caller gives none.
const defaultChanges = 1000

// feedState is what this process knows of the table of changes.
type feedState struct {
	mu  sync.Mutex
	seq int64 // the newest change that was seen
	// wake is closed when seq grows; it is nil while nobody waits.
	wake chan struct{}
	// leader is taken by the one waiting call that polls for all.
	leader chan struct{}
}

// recordChanges stores changes in their order and returns the number of the last one, 0 for none.
func recordChanges(c *conn, changes []store.Change) (int64, error) {
	var seq int64
	for _, ch := range changes {
		// The subquery runs before the old row of the same thing is removed, so numbers never repeat.
		err := c.row("insert or replace into changes(seq, kind, id) "+
			"values((select coalesce(max(seq), 0) + 1 from changes), ?, ?) returning seq", int(ch.Kind), ch.ID).Scan(&seq)
		if err != nil {
			return 0, err
		}
	}
	return seq, nil
}

func newestChange(c *conn) (int64, error) {
	var seq int64
	err := c.row("select coalesce(max(seq), 0) from changes").Scan(&seq)
	return seq, err
}

// advance notes that changes up to seq are committed.
func (f *feedState) advance(seq int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq <= f.seq {
		return
	}
	f.seq = seq
	if f.wake != nil {
		close(f.wake)
		f.wake = nil
	}
}

// waiter returns the newest known change, and a channel that is closed by the next one.
func (f *feedState) waiter() (int64, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.wake == nil {
		f.wake = make(chan struct{})
	}
	return f.seq, f.wake
}

type feed struct{ db *DB }

func (f feed) cursor(seq int64) string { return f.db.id + ":" + strconv.FormatInt(seq, 10) }

// position reads a cursor. One of another file is too old by definition.
func (f feed) position(cursor string) (int64, error) {
	id, n, _ := strings.Cut(cursor, ":")
	seq, err := strconv.ParseInt(n, 10, 64)
	if id != f.db.id || err != nil || seq < 0 {
		return 0, tooOld(cursor)
	}
	return seq, nil
}

func tooOld(cursor string) error { return fmt.Errorf("feed cursor %q: %w", cursor, store.ErrNotFound) }

func (f feed) Changes(ctx context.Context, cursor string, limit int) ([]store.Change, string, error) {
	if limit <= 0 {
		limit = defaultChanges
	}
	var out []store.Change
	var at int64
	err := view{db: f.db}.snapshot(ctx, func(c *conn) error {
		out = nil
		newest, err := newestChange(c)
		if err != nil {
			return err
		}
		if cursor == "" {
			at = newest
			return nil
		}
		if at, err = f.position(cursor); err != nil {
			return err
		}
		if at > newest {
			return tooOld(cursor) // the file was replaced by an older copy of itself
		}
		rows, err := c.query("select seq, kind, id from changes where seq > ? order by seq limit ?", at, limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var ch store.Change
			if err := rows.Scan(&at, &ch.Kind, &ch.ID); err != nil {
				return err
			}
			out = append(out, ch)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, "", err
	}
	return out, f.cursor(at), nil
}

func (f feed) Wait(ctx context.Context, cursor string) error {
	if err := f.db.begun(ctx); err != nil {
		return err
	}
	s := &f.db.feed
	at, wake := s.waiter()
	if cursor != "" {
		pos, err := f.position(cursor)
		if err != nil || pos < at {
			return nil // Changes has something to say
		}
		at = pos
	}
	select {
	case s.leader <- struct{}{}:
		defer func() { <-s.leader }()
		return f.poll(ctx, at, wake)
	default:
	}
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-f.db.closing:
		return errClosed
	case s.leader <- struct{}{}: // the one that polled has left
		defer func() { <-s.leader }()
		return f.poll(ctx, at, wake)
	}
}

// poll waits for a change after at, of this process or of another.
func (f feed) poll(ctx context.Context, at int64, wake <-chan struct{}) error {
	tick := time.NewTicker(feedPoll)
	defer tick.Stop()
	for n := 0; ; n++ {
		if time.Duration(n)*feedPoll == idleAfter {
			tick.Reset(idlePoll)
		}
		var seq int64
		err := f.db.read(ctx, func(c *conn) (err error) {
			seq, err = newestChange(c)
			return err
		})
		if err != nil {
			return err
		}
		f.db.feed.advance(seq)
		if seq != at { // less than at: the file was replaced, which Changes reports
			return nil
		}
		select {
		case <-tick.C:
		case <-wake:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-f.db.closing:
			return errClosed
		}
	}
}
