package memory

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"github.com/rstreams-go/rstreams/bus/store"
)

// feedState is the log of changes. Only the newest entry of a row counts, so that the log is as long as there are rows, at
// most twice that, and no cursor ever gets too old.
type feedState struct {
	mu   sync.Mutex
	seq  int64
	log  []entry // in order of seq
	last map[store.Change]int64
	// wake is closed by the next change; it is nil while nobody waits.
	wake chan struct{}
}

type entry struct {
	seq int64
	c   store.Change
}

func (f *feedState) add(changes ...store.Change) {
	if len(changes) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.last == nil {
		f.last = map[store.Change]int64{}
	}
	for _, c := range changes {
		f.seq++
		f.log = append(f.log, entry{f.seq, c})
		f.last[c] = f.seq
	}
	if len(f.log) > 2*len(f.last)+64 {
		f.log = slices.DeleteFunc(f.log, func(e entry) bool { return f.last[e.c] != e.seq })
	}
	if f.wake != nil {
		close(f.wake)
		f.wake = nil
	}
}

// position returns the sequence number of cursor. A number that was never given out is of another store.
func (f *feedState) position(cursor string) (int64, error) {
	n, err := strconv.ParseInt(cursor, 10, 64)
	if err != nil || n < 0 || n > f.seq {
		return 0, fmt.Errorf("feed cursor %q: %w", cursor, store.ErrNotFound)
	}
	return n, nil
}

type feed struct{ db *db }

// defaultChanges is the limit of Changes where the caller gives none.
const defaultChanges = 1000

func (f feed) Changes(ctx context.Context, cursor string, limit int) ([]store.Change, string, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	if limit <= 0 {
		limit = defaultChanges
	}
	s := &f.db.feedState
	s.mu.Lock()
	defer s.mu.Unlock()
	if cursor == "" {
		return nil, strconv.FormatInt(s.seq, 10), nil
	}
	at, err := s.position(cursor)
	if err != nil {
		return nil, "", err
	}
	i, _ := slices.BinarySearchFunc(s.log, at+1, func(e entry, seq int64) int { return int(e.seq - seq) })
	var out []store.Change
	for _, e := range s.log[i:] {
		if s.last[e.c] != e.seq {
			continue // a newer change of the row follows
		}
		if len(out) == limit {
			break
		}
		out = append(out, e.c)
		at = e.seq
	}
	return out, strconv.FormatInt(at, 10), nil
}

func (f feed) Wait(ctx context.Context, cursor string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s := &f.db.feedState
	s.mu.Lock()
	if cursor != "" {
		// A cursor that Changes will refuse needs no waiting either.
		if at, err := s.position(cursor); err != nil || at < s.seq {
			s.mu.Unlock()
			return nil
		}
	}
	if s.wake == nil {
		s.wake = make(chan struct{})
	}
	wake := s.wake
	s.mu.Unlock()
	select {
	case <-wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
