package sqlite

import (
	"context"
	"os"
	"time"
)

// turn lets processes that write all the time take turns. SQLite's write lock has no queue: a process that commits and
// begins again at once would keep the others out for as long as it has work. A process that has to wait therefore touches
// a file, and one that has been writing for a while looks at it and pauses. Only the holder of the write slot uses it.
type turn struct {
	hint    string    // the file's path
	touched time.Time // when this process last asked
	last    time.Time // of the newest commit
	since   time.Time // begin of the present run of writes without a pause
}

const (
	turnLength = 25 * time.Millisecond
	turnPause  = 2 * busyPoll
	// turnMemory is how long a request counts.
	turnMemory = time.Second
)

// waiting asks the others to pause.
func (t *turn) waiting() {
	now := time.Now()
	if now.Sub(t.touched) < turnMemory/4 {
		return
	}
	t.touched = now
	if err := os.Chtimes(t.hint, now, now); err != nil {
		// The hint is a courtesy: without it this process waits longer.
		if f, err := os.OpenFile(t.hint, os.O_CREATE|os.O_WRONLY, 0o644); err == nil {
			_ = f.Close()
		}
	}
}

// wrote notes a commit.
func (t *turn) wrote() { t.last = time.Now() }

// yield pauses when this process has been writing for long and another one has asked.
func (t *turn) yield(ctx context.Context) {
	now := time.Now()
	if now.Sub(t.last) > turnPause {
		t.since = now // there was a pause
		return
	}
	if now.Sub(t.since) < turnLength {
		return
	}
	t.since = now
	fi, err := os.Stat(t.hint)
	if err != nil {
		return
	}
	// Its own request counts as well: while it waited, others were there.
	if age := now.Sub(fi.ModTime()); age < -turnMemory || age > turnMemory {
		return
	}
	pause := time.NewTimer(turnPause)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-ctx.Done():
	}
	t.since = time.Now()
}
