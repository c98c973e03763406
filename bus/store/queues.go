package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rstreams-go/rstreams/bus/eid"
)

// Suffixes of the queues that hold a queue's archive and its snapshots.
const (
	ArchiveSuffix  = "/_archive"
	SnapshotSuffix = "/_snapshot"
)

// Queue is a queue's row: its head and what belongs to it (bus.md 1.3).
type Queue struct {
	// Name is the plain queue name.
	Name string
	// Head is the id of the newest readable event (max_eid), "" when nothing was published yet.
	Head string
	// Timestamp is when the row was last published to, in ms.
	Timestamp int64
	// ArchiveEnd is the id up to which "<name>/_archive" is complete, "" for none.
	ArchiveEnd string
	// SnapshotStart and SnapshotNext are the latest registered snapshot's positions, "" for none (C41).
	SnapshotStart, SnapshotNext string
	// SkipArchive keeps the queue from being archived.
	SkipArchive bool
	// Sequencing is the sequencer's own state.
	Sequencing Sequencing
}

// Sequencing is what sequencers keep on a queue's row so that one at a time owns the queue, a retry finds its own work
// again, and a record that comes twice is numbered once (bus.md 5.5, rules 1, 2, 7, 8). These are additions to the RStreams
// item (C28 permits them).
type Sequencing struct {
	// Owner holds the queue until Lease, in ms. Lease 0 means released.
	Owner string
	Lease int64
	// Fence grows with every claim. Only the holder of the newest fence may publish.
	Fence int64
	// Base is the newest base ms that was ever reserved, whether or not it was published.
	Base int64
	// Open tells that the newest claim was neither published nor released, so chunks above Head may be leftovers.
	Open bool
	// Shard and First name the batch of the newest claim: the shard, and the Mark of the queue's first event in it.
	Shard, First string
	// Paths is where leftovers of open claims may be, as in Grant.Paths. It is nil while none is open.
	Paths []string
	// Through is, for each intake shard, the Mark of the last record whose events of this queue are published.
	Through map[string]string
}

// Claim asks for the right to number and publish a batch's events of one queue.
type Claim struct {
	// Queue is the plain queue name.
	Queue string
	// Owner identifies the sequencer. Two sequencers that may run at the same time must differ; the retry of a crashed one
	// should be the same, or it waits for the lease to end.
	Owner string
	// Shard and First name the batch for this queue. First is the Mark of its first event.
	Shard, First string
	// Arrival is when the batch arrived, in ms: the base that it would get on an idle queue.
	Arrival int64
	// Paths is what the ids of the batch's chunks begin with, for queues whose ids do not grow as strings; nil means anywhere above
	// the head.
	Paths []string
	// Now and Lease are when the claim is made and how long it shall last, in ms. The owner must not write after it.
	Now, Lease int64
}

// Grant is what a claim gives.
type Grant struct {
	// Base is the ms of the ids the batch gets. It is greater than that of Head and of every earlier base, except that the
	// retry of an unpublished batch gets its first base again.
	Base int64
	// Fence must be shown to Advance.
	Fence int64
	// Head is the queue's head at the time of the claim.
	Head string
	// Through is the Mark up to which this shard's events are published already: later deliveries of them are repeats.
	Through string
	// Dirty tells that chunks above Head may exist that no one published. The owner must delete those that are not its
	// own before it publishes, and all of them before it releases the claim: the next grant will not tell of them again.
	Dirty bool
	// Paths is what the ids of those chunks begin with; nil means anywhere.
	Paths []string
}

// Advance publishes a batch's events of one queue.
type Advance struct {
	// Queue is the plain queue name, as claimed.
	Queue string
	// Fence is the grant's.
	Fence int64
	// Head is the id of the batch's last event. A head at or below the stored one leaves the stored one: heads never move
	// backwards (W-D4, C31). "" releases the claim without publishing.
	Head string
	// Shard and Through record what of the intake is now published.
	Shard, Through string
	// Now is the time of the publication, in ms.
	Now int64
}

// Queues holds one row for each queue.
type Queues interface {
	// Get returns the row of queue, or ErrNotFound.
	Get(ctx context.Context, queue string) (Queue, error)
	// List returns up to limit rows with names after the given one, in order of name. Fewer than limit means the end.
	List(ctx context.Context, after string, limit int) ([]Queue, error)
	// Claim applies Queue.Claim to the stored row, creating it where needed. Of several concurrent claims each sees the
	// outcome of the one before. ErrConflict means that another owner holds the queue (see LeasedError).
	Claim(ctx context.Context, c Claim) (Grant, error)
	// Advance applies Queue.Advance to the stored row. A head that is no event id is ErrInvalid. ErrConflict means that a later
	// claim was granted: the caller must take its work back and claim again.
	Advance(ctx context.Context, a Advance) error
	// SetArchive moves the archive end of queue forward to end; a lower end changes nothing (C40). The row is created
	// where needed.
	SetArchive(ctx context.Context, queue, end string) error
	// SetSnapshot registers a snapshot; the last one wins. The row is created where needed.
	SetSnapshot(ctx context.Context, queue, start, next string) error
}

// LeasedError is the ErrConflict of a claim on a queue that another owner holds until the given time, in ms.
type LeasedError struct {
	// Queue is what was claimed, Owner who holds it.
	Queue, Owner string
	// Until is when the lease ends, in ms. Claiming again before that is in vain unless the owner is done.
	Until int64
}

// Error says who holds the queue.
func (e *LeasedError) Error() string {
	return fmt.Sprintf("queue %s is sequenced by %s until %d", e.Queue, e.Owner, e.Until)
}

// Is makes errors.Is(err, ErrConflict) true.
func (e *LeasedError) Is(target error) bool { return target == ErrConflict }

// Claim returns the row as it is after c, and the grant. It is the rule that every backend applies: pure, so that a
// backend may run it inside its own conditional write as often as that needs.
func (q Queue) Claim(c Claim) (Queue, Grant, error) {
	s := q.Sequencing
	if s.Open && s.Owner != c.Owner && s.Lease > c.Now {
		return q, Grant{}, &LeasedError{Queue: c.Queue, Owner: s.Owner, Until: s.Lease}
	}
	g := Grant{Fence: s.Fence + 1, Head: q.Head, Through: s.Through[c.Shard], Dirty: s.Open, Paths: s.Paths}
	if s.Open && s.Shard == c.Shard && s.First == c.First {
		g.Base = s.Base
	} else {
		g.Base = max(c.Arrival, s.Base+1)
		if q.Head != "" {
			head, err := eid.Parse(q.Head)
			if err != nil {
				return q, Grant{}, fmt.Errorf("%w: head of queue %s: %w", ErrCorrupt, c.Queue, err)
			}
			g.Base = max(g.Base, head.Millis+1)
		}
	}
	q.Name = c.Queue
	q.Sequencing = Sequencing{
		Owner: c.Owner, Lease: c.Now + c.Lease, Fence: g.Fence, Base: g.Base, Open: true,
		Shard: c.Shard, First: c.First, Paths: joinPaths(c.Paths, c.Paths), Through: s.Through,
	}
	if s.Open {
		q.Sequencing.Paths = joinPaths(s.Paths, c.Paths)
	}
	return q, g, nil
}

// maxPaths is how many paths a row keeps. A search in more of them is no better than one in the whole queue.
const maxPaths = 64

// joinPaths returns the places where leftovers of two claims may be. nil, which means anywhere, has all others in it.
func joinPaths(a, b []string) []string {
	if a == nil || b == nil {
		return nil
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	if all = slices.Compact(all); len(all) > maxPaths {
		return nil
	}
	return all
}

// LaterHead tells whether id a was published after id b in queue, so that a head moves from b to a. Ids of a queue grow as
// strings, except in "/_snapshot" queues, whose date paths are of the snapshots: there only the base ms tells.
func LaterHead(queue, a, b string) bool {
	if strings.HasSuffix(queue, SnapshotSuffix) {
		x, errA := eid.Parse(a)
		y, errB := eid.Parse(b)
		if errA == nil && errB == nil && x.Millis != y.Millis {
			return x.Millis > y.Millis
		}
	}
	return a > b
}

// maxThrough is how many shards' marks a row keeps. A stream that is resharded more often than that within its retention
// would lose the oldest marks; each costs some 80 bytes of the row.
const maxThrough = 256

// Advance returns the row as it is after a, ErrConflict when a.Fence is not the newest, or ErrInvalid for a head that is no id.
func (q Queue) Advance(a Advance) (Queue, error) {
	s := &q.Sequencing
	if s.Fence != a.Fence || !s.Open {
		return q, fmt.Errorf("%w: queue %s has fence %d, publisher has %d", ErrConflict, a.Queue, s.Fence, a.Fence)
	}
	if a.Head == "" {
		s.Open, s.Lease, s.Paths = false, 0, nil
		return q, nil
	}
	if _, err := eid.Parse(a.Head); err != nil {
		// Later claims could not tell what comes after it.
		return q, fmt.Errorf("%w: head of queue %s: %w", ErrInvalid, a.Queue, err)
	}
	s.Open, s.Lease, s.Paths = false, 0, nil
	if LaterHead(a.Queue, a.Head, q.Head) {
		q.Head = a.Head
	}
	q.Timestamp = a.Now
	if a.Shard != "" && CompareMarks(a.Through, s.Through[a.Shard]) > 0 {
		through := maps.Clone(s.Through)
		if through == nil {
			through = map[string]string{}
		}
		through[a.Shard] = a.Through
		if len(through) > maxThrough {
			oldest := ""
			for shard, mark := range through {
				if shard == a.Shard {
					continue // Its retry may come next, so it is the last one to forget.
				}
				if c := CompareMarks(mark, through[oldest]); oldest == "" || c < 0 || c == 0 && shard < oldest {
					oldest = shard
				}
			}
			delete(through, oldest)
		}
		s.Through = through
	}
	return q, nil
}
