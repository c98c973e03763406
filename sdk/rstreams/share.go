package rstreams

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/rstreams-go/rstreams/bus/ref"
)

// Share is one instance's part of the events of a fan-out (sdk.md 6.5): those whose hash, without its sign, leaves the
// remainder Index when it is divided by Count. Every event belongs to exactly one instance. Lines that are no events belong to
// instance 0.
type Share struct {
	// Index is the instance, from 0; Count is how many there are, at least 1.
	Index, Count int
	// Hash returns the hash of an event's key. It is called for every event that is read, from the goroutine that reads.
	Hash func(*Event) int64
}

// has tells whether an event belongs to the instance. A nil Share has all.
func (s *Share) has(e *Event, malformed error) bool {
	if s == nil {
		return true
	}
	if malformed != nil {
		return s.Index == 0
	}
	h := s.Hash(e) % int64(s.Count)
	return max(h, -h) == int64(s.Index)
}

// reach moves the position where no event takes it.
func (r *Reader) reach(ctx context.Context, p *piece) error {
	if !p.start || r.onLatest == nil {
		r.passOver(p.passed)
		return nil
	}
	r.position = p.passed
	return r.onLatest(ctx, p.passed)
}

// passOver moves the position past what is not delivered.
func (r *Reader) passOver(position string) {
	if position == "" {
		return
	}
	r.position, r.pending.position = position, position
	if r.onPassed != nil {
		r.onPassed(position)
	}
}

// Ledger takes the read checkpoints of one instance of a fan-out. They hold for the instance's later reads, and reach the bus
// only when whoever reduces them stores them. It is safe for concurrent use.
type Ledger struct {
	mu      sync.Mutex
	entries map[ledgerKey]LedgerEntry
}

type ledgerKey struct{ bot, ref string }

// LedgerEntry is a checkpoint in a Ledger.
type LedgerEntry struct {
	// Bot is the plain id, Ref the reference, such as "queue:q".
	Bot, Ref string
	// Checkpoint is the newest one; its Records are those of all since Expected, the position that the bus had.
	Checkpoint
	Expected string
	// From is the least id that the first of the reads could meet that were checkpointed, Snapshot the path of the newest snapshot
	// that such a read was in; "" where there was none. Of instances that differ in them, one may have passed over events, as another's,
	// that the other never met: the start depends on the clock (Today), the head (Latest) and the registered snapshot.
	From, Snapshot string
}

// get returns the checkpoint that is held. A nil Ledger holds none.
func (l *Ledger) get(bot, key string) (Checkpoint, bool) {
	if l == nil {
		return Checkpoint{}, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[ledgerKey{plainBot(bot), key}]
	return e.Checkpoint, ok
}

// put holds a checkpoint, on the conditions on which the bus would store it.
func (l *Ledger) put(c CheckpointRequest) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ref.Parse(c.Queue).Type == ref.TypeSystem {
		return fmt.Errorf("%w: an instance of a fan-out cannot checkpoint a system: its positions have no order", errOptions)
	}
	key := ledgerKey{plainBot(c.Bot), ref.QueueRef(c.Queue)}
	e, ok := l.entries[key]
	switch {
	case !ok:
		e = LedgerEntry{Bot: key.bot, Ref: key.ref, Expected: c.Expected}
	case !c.Force && e.Position != c.Expected:
		return fmt.Errorf("%w: it is %s", ErrStaleCheckpoint, e.Position)
	}
	if c.SourceTimestamp = min(c.SourceTimestamp, cmp.Or(e.SourceTimestamp, c.SourceTimestamp)); e.StartedTimestamp != 0 {
		c.StartedTimestamp = min(c.StartedTimestamp, e.StartedTimestamp)
	}
	c.Records += e.Records
	e.Checkpoint = c.Checkpoint
	e.From, e.Snapshot = cmp.Or(e.From, c.from), max(e.Snapshot, c.snapshot)
	if l.entries == nil {
		l.entries = map[ledgerKey]LedgerEntry{}
	}
	l.entries[key] = e
	return nil
}

// Entries returns what is held, in order of bot and reference.
func (l *Ledger) Entries() []LedgerEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []LedgerEntry
	for _, e := range l.entries {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b LedgerEntry) int { return cmp.Or(cmp.Compare(a.Bot, b.Bot), cmp.Compare(a.Ref, b.Ref)) })
	return all
}

// plainBot is a bot's id as its row has it (C10).
func plainBot(bot string) string { return strings.TrimSuffix(bot, "_reader") }

// begun is where a reader's reads began. The goroutine that plans notes it while another checkpoints. The zero value is ready.
type begun struct {
	mu             sync.Mutex
	from, snapshot string // see LedgerEntry
}

// at notes the least id that a read can meet; the first one counts.
func (b *begun) at(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.from = cmp.Or(b.from, id)
}

// in notes that a read is in the snapshot with this path; the newest counts.
func (b *begun) in(path string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.snapshot = max(b.snapshot, path)
}

func (b *begun) get() (from, snapshot string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.from, b.snapshot
}
