package rstreams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// A queue's events lie in up to three stored queues that are read one after another: a snapshot, the archive, and the live
// queue. Each has its own name and its own bounds, so that having all three skips nothing (sdk.md faults 3 and 4).

// segment is one stored queue to read, with bounds in the form of its stored ids.
type segment struct {
	// queue is the stored name, prefix what delivered ids carry in front of the stored ones.
	queue, prefix string
	// from is the position to start after and through the last id to query.
	from, through string
	// head is the id that the segment is known to end with, "" where that is not known.
	head string
	// within is what all ids of the segment begin with.
	within string
}

// resumes tells whether from is a place between two events, so that the first chunk must connect to it. Below a prefix,
// the first chunks may have expired before anyone asked for them.
func (s *segment) resumes() bool {
	_, err := eid.Parse(strings.TrimSuffix(s.from, " "))
	return err == nil
}

// route is the way of one read through a queue.
type route struct {
	// before are the segments that end; live is read last, and again while the head moves.
	before []segment
	live   segment
	// start is the position the route begins at, in the form of delivered ids.
	start string
	// closed tells that live lies behind the end of the read.
	closed bool
	// latest is the place at which Latest begins, "" where the read begins otherwise.
	latest string
}

// open reads the rows that a read begins with and decides its route.
func (r *Reader) open(ctx context.Context) (*route, error) {
	row, known, err := r.rows(ctx)
	if err != nil {
		return nil, err
	}
	if !known && r.set.StrictQueue {
		return nil, fmt.Errorf("%w: nothing was ever written to it", ErrQueueNotFound)
	}
	start, latest, err := r.start(ctx, &row)
	if err != nil {
		return nil, err
	}
	way, err := r.route(row, start)
	if err != nil {
		return nil, err
	}
	if latest {
		way.latest = strings.TrimSuffix(start, " ")
	}
	if len(way.before) > 0 && way.before[0].prefix != "" {
		r.handle.begun.in(way.before[0].within)
	}
	return way, nil
}

// rows returns the queue's row and whether it exists, and with the same request, where that is possible, has the bot's checkpoint
// loaded. What cannot be read together, for whatever reason, is read one by one.
func (r *Reader) rows(ctx context.Context) (row store.Queue, known bool, err error) {
	look := r.bus.core.store.Look
	if look == nil || r.position != "" || r.set.Bot == "" || r.bus.session.Ledger != nil {
		return r.row(ctx, r.queue)
	}
	bot := plainBot(r.set.Bot)
	rows, err := look(ctx, store.Keys{Bots: []string{bot}, Queues: []string{r.queue}})
	if err != nil {
		return r.row(ctx, r.queue)
	}
	r.handle.found(rows.Bots[bot].Read[r.handle.ref].Position)
	if row, known = rows.Queues[r.queue]; !known {
		row.Name = r.queue
	}
	return row, known, nil
}

// rowOf returns a queue's row, an empty one where there is none.
func (r *Reader) rowOf(ctx context.Context, queue string) (store.Queue, error) {
	row, _, err := r.row(ctx, queue)
	return row, err
}

// row returns a queue's row and whether it exists.
func (r *Reader) row(ctx context.Context, queue string) (row store.Queue, known bool, err error) {
	err = r.retry(ctx, func() (err error) {
		row, err = r.bus.core.store.Queues.Get(ctx, queue)
		return err
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Queue{Name: queue}, false, nil
	case err != nil:
		return store.Queue{}, false, fmt.Errorf("row of queue %s: %w", queue, err)
	}
	return row, true, nil
}

// start returns the position to start after, and whether it is where Latest begins. A trailing space, meaning "strictly after", is
// there where the position is one that was reached.
func (r *Reader) start(ctx context.Context, row *store.Queue) (start string, latest bool, err error) {
	if r.position != "" { // A further call of All goes on where the last one ended.
		return eid.After(r.position), false, nil
	}
	stored := ""
	if r.set.Bot != "" {
		if stored, err = r.handle.position(ctx); err != nil {
			return "", false, err
		}
	}
	given := r.bus.session.Starts[ref.QueueRef(r.queue)]
	switch {
	case r.set.Start != "":
		return eid.After(r.set.Start), false, nil
	case given != "":
		start, err = validStart(given, "the session's start")
		return start, false, err
	case stored != "":
		start, err = validStart(stored, "the checkpoint of bot "+r.set.Bot)
		return start, false, err
	}
	start, err = r.set.From.position(r.bus.now(), eid.Max(row.Head, row.ArchiveEnd))
	return start, r.set.From.kind == startLatest, err
}

func validStart(position, what string) (string, error) {
	if err := eid.ValidatePosition(position); err != nil {
		return "", fmt.Errorf("%s: %w", what, err)
	}
	return eid.After(position), nil
}

// position returns the policy's start for a queue whose newest event is head, "" for none.
func (p StartPolicy) position(now time.Time, head string) (string, error) {
	const day = "z/2006/01/02"
	switch p.kind {
	case startEarliest:
		return eid.First, nil
	case startLatest:
		if head == "" {
			// Whatever comes is new, and comes after yesterday; z/ would be the queue's snapshot.
			return now.UTC().AddDate(0, 0, -1).Format(day), nil
		}
		return eid.After(head), nil
	case startAt:
		return eid.FromTime(p.at, eid.Millisecond)
	default:
		return now.UTC().Format(day), nil
	}
}

// route splits the way from start to the head into segments.
func (r *Reader) route(row store.Queue, start string) (*route, error) {
	way := &route{start: start}
	if strings.TrimSuffix(start, " ") == eid.First && row.SnapshotStart != "" && !r.set.NoSnapshot {
		start = row.SnapshotStart
	}
	from := start
	if body, ok := strings.CutPrefix(start, eid.SnapshotPrefix); ok {
		seg, err := r.snapshot(&row, body)
		if err != nil {
			return nil, err
		}
		way.before = append(way.before, seg)
		from = row.SnapshotNext
	}
	if row.ArchiveEnd > from {
		way.before = append(way.before, segment{
			queue: r.queue + store.ArchiveSuffix, from: from, through: row.ArchiveEnd, head: row.ArchiveEnd,
		})
		from = eid.After(row.ArchiveEnd)
	}
	way.live = segment{queue: r.queue, from: from, through: row.Head, head: row.Head}
	r.bound(way)
	return way, nil
}

// snapshot returns the segment of the registered snapshot from body on, a position without the snapshot prefix. A position in
// another snapshot starts the registered one from its beginning: going on behind the other one would miss what happened
// between the two.
func (r *Reader) snapshot(row *store.Queue, body string) (segment, error) {
	dir := strings.TrimPrefix(row.SnapshotStart, eid.SnapshotPrefix)
	if dir == "" || row.SnapshotNext == "" {
		return segment{}, fmt.Errorf("position %s%s: %w", eid.SnapshotPrefix, body, ErrNoSnapshot)
	}
	if !strings.HasPrefix(body, dir) {
		if !strings.HasPrefix(dir, strings.TrimSuffix(body, " ")) {
			r.bus.log().Warn("the snapshot that was being read is no longer the registered one; reading that from its start",
				"queue", r.queue, "bot", r.set.Bot, "position", eid.SnapshotPrefix+strings.TrimSuffix(body, " "), "snapshot", row.SnapshotStart)
		}
		body = dir
	}
	return segment{
		queue: r.queue + store.SnapshotSuffix, prefix: eid.SnapshotPrefix, within: dir,
		from: body, through: dir + "99999999999999", // 14 digits: above every id of the minute.
	}, nil
}

// bound applies the end of the read to the route.
func (r *Reader) bound(way *route) {
	end := r.set.End
	if body, ok := strings.CutPrefix(end, eid.SnapshotPrefix); ok {
		// The read ends inside the snapshot: nothing behind it is wanted.
		if n := len(way.before); n > 0 && way.before[0].prefix != "" {
			way.before = way.before[:1]
			r.limitSegment(&way.before[0], body)
		} else {
			way.before = nil
		}
		way.closed = true
		return
	}
	if end == "" {
		return
	}
	for i := range way.before {
		if s := &way.before[i]; s.prefix == "" {
			r.limitSegment(s, end)
		}
	}
	r.limitSegment(&way.live, end)
}

func (r *Reader) limitSegment(s *segment, end string) {
	if r.set.EndByChunk && end < s.through {
		s.through, s.head = end, ""
	}
}

// ended tells whether id, as stored in s, lies behind the end of the read.
func (r *Reader) ended(s *segment, id string) bool { return r.atEnd(s, id, 1) }

// reached tells whether nothing behind id, as stored in s, is wanted.
func (r *Reader) reached(s *segment, id string) bool { return r.atEnd(s, id, 0) }

func (r *Reader) atEnd(s *segment, id string, least int) bool {
	end := r.set.End
	if end == "" {
		return false
	}
	body, inSnapshot := strings.CutPrefix(end, eid.SnapshotPrefix)
	if inSnapshot != (s.prefix != "") {
		return inSnapshot // Behind a snapshot's end lies everything that is not a snapshot.
	}
	return strings.Compare(id, body) >= least
}
