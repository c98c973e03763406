package rstreams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

// planner walks through the index of a queue, ahead of the consumer. It proves that chunks connect, cuts them into units, and
// starts a goroutine for each unit. The channel of units keeps their order; its capacity bounds how many are in work, and so
// how far the planner gets ahead.
type planner struct {
	r       *Reader
	ctx     context.Context
	running *sync.WaitGroup
	units   chan *unit

	// reason and err are set before units is closed.
	reason EndReason
	err    error

	group     []part // inline chunks that wait to become one unit
	groupSize int64
	planned   int64 // events planned so far
}

// run plans the whole read and closes units.
func (p *planner) run() {
	defer close(p.units)
	p.reason, p.err = p.plan()
	// What was planned before a failure is delivered before it.
	if err := p.flush(); p.err == nil {
		p.err = err
	}
}

// plan walks the route. It returns why there is nothing more to read.
func (p *planner) plan() (EndReason, error) {
	cursor, err := p.cursor()
	if err != nil {
		return EndError, err
	}
	way, err := p.r.open(p.ctx)
	if err != nil {
		return EndError, err
	}
	if way.latest != "" {
		if err := p.pass(piece{passed: way.latest, start: true}); err != nil {
			return EndError, err
		}
	}
	for i := range way.before {
		if err := p.snapshotHead(&way.before[i]); err != nil {
			return EndError, err
		}
		if ended, err := p.segment(&way.before[i], &progressOf{}); ended || err != nil {
			return EndReached, err
		}
	}
	if way.closed {
		return EndReached, nil
	}
	var at progressOf
	for {
		if ended, err := p.segment(&way.live, &at); ended || err != nil {
			return EndReached, err
		}
		if way.live.through != way.live.head { // EndByChunk.
			return EndReached, nil
		}
		if !p.r.set.Follow {
			return EndCaughtUp, nil
		}
		if err := p.flush(); err != nil {
			return EndError, err
		}
		if cursor, err = p.follow(cursor, &way.live); err != nil {
			return EndError, err
		}
	}
}

// snapshotHead finds out what a snapshot's segment must end with. An end in the live queue says nothing about the snapshot.
func (p *planner) snapshotHead(s *segment) error {
	if s.prefix == "" || p.r.set.EndByChunk && strings.HasPrefix(p.r.set.End, eid.SnapshotPrefix) {
		return nil
	}
	row, err := p.r.rowOf(p.ctx, s.queue)
	if err == nil && strings.HasPrefix(row.Head, s.within) {
		s.head = row.Head
	}
	return err
}

// progressOf is how far a segment was read.
type progressOf struct {
	last string // the End of the last chunk, "" before the first
}

// segment plans s up to its head. ended tells that the end of the read lies within it.
func (p *planner) segment(s *segment, at *progressOf) (ended bool, err error) {
	after := s.from
	if at.last != "" {
		after = at.last
	}
	if s.through <= after {
		return p.r.reached(s, strings.TrimSuffix(after, " ")), nil
	}
	for empty := 0; ; {
		page, err := p.query(s, after)
		if err != nil {
			return false, err
		}
		for i := range page.Chunks {
			c := &page.Chunks[i]
			if c.End <= after {
				return false, fmt.Errorf("%w: index of %s is out of order: %s after %s", store.ErrCorrupt, s.queue, c.End, after)
			}
			if p.r.ended(s, c.Start) {
				return true, nil
			}
			if err := p.connect(s, at.last, c); err != nil {
				return false, err
			}
			p.r.handle.begun.at(s.prefix + max(c.Start, strings.TrimSuffix(s.from, " ")))
			if err := p.add(s, c); err != nil {
				return false, err
			}
			after, at.last = c.End, c.End
			if p.r.reached(s, c.End) || p.enough() {
				return true, nil
			}
		}
		if !page.More {
			return false, p.arrived(s, at)
		}
		if empty++; len(page.Chunks) > 0 {
			empty = 0
		}
		if empty > 1000 {
			return false, fmt.Errorf("%w: index of %s: 1000 empty pages in a row after %s", store.ErrUnavailable, s.queue, after)
		}
	}
}

// enough tells that what is planned reaches the limit for certain, so that nothing is fetched in vain.
func (p *planner) enough() bool {
	limit := p.r.set.Limit
	return limit > 0 && p.planned >= limit && p.r.set.Malformed == MalformedFail && p.r.bus.session.Share == nil
}

// query reads one page of the index.
func (p *planner) query(s *segment, after string) (page store.Page, err error) {
	limit := 0
	if n := p.r.set.Limit; n > 0 {
		// A chunk has at least one event, so that a small limit needs no more chunks than that.
		limit = int(min(max(n-p.planned, 1), 1000))
	}
	err = p.r.retry(p.ctx, func() error {
		page, err = p.r.bus.core.store.Chunks.Query(p.ctx, s.queue, after, s.through, limit, p.r.set.page)
		return err
	})
	if err != nil {
		return page, fmt.Errorf("index of %s after %q: %w", s.queue, after, err)
	}
	return page, nil
}

// connect proves that no chunk is missing, or doubled, between the last one and c.
func (p *planner) connect(s *segment, last string, c *store.Chunk) error {
	if from := strings.TrimSuffix(s.from, " "); last == "" && c.Start <= from && !p.r.set.lookup {
		// The read goes on within c, unless another chunk ends there: c then has other events under the ids up to that place, and
		// they would be taken for read.
		doubled, err := p.endsAt(s, from)
		if err != nil {
			return err
		}
		if doubled && p.r.set.Gaps == GapFail {
			return overlap(s, from, c)
		}
		if doubled {
			return p.gap(s, c.Start, from, "the chunk that ends with "+c.End+" has these ids too")
		}
	}
	if last != "" && c.Start <= last {
		return overlap(s, last, c)
	}
	if c.Prev == "" || !strings.HasPrefix(c.Prev, s.within) || c.Prev >= c.Start {
		return nil
	}
	reached := last
	if reached == "" {
		if !s.resumes() {
			return nil
		}
		reached = s.from
	}
	if c.Prev > reached {
		return p.gap(s, strings.TrimSuffix(reached, " "), c.Prev, "the chunk that begins with "+c.Start+" was written after it")
	}
	return nil
}

// overlap reports that c begins before the end of the chunk before it.
func overlap(s *segment, last string, c *store.Chunk) error {
	return fmt.Errorf("%w: chunks of %s overlap: the one from %s to %s begins before %s, where another ends",
		store.ErrCorrupt, s.queue, c.Start, c.End, last)
}

// endsAt tells whether a chunk of s ends with the event id.
func (p *planner) endsAt(s *segment, id string) (bool, error) {
	parsed, err := eid.Parse(id)
	if err != nil {
		return false, nil //nolint:nilerr // It is no event's id, but a prefix.
	}
	before := parsed.Prefix()
	if parsed.Counter > 0 {
		parsed.Counter--
		before = parsed.String()
	}
	var page store.Page
	err = p.r.retry(p.ctx, func() (err error) {
		page, err = p.r.bus.core.store.Chunks.Query(p.ctx, s.queue, before, id, 1, p.r.set.page)
		return err
	})
	var bad *store.ChunkError
	if err != nil && !errors.As(err, &bad) { // What is no chunk, before the position, is not of this read.
		return false, fmt.Errorf("index of %s at %q: %w", s.queue, id, err)
	}
	return len(page.Chunks) > 0, nil
}

// arrived proves that the segment was read up to its head. Behind a gap that is passed over, the head is what was read last.
func (p *planner) arrived(s *segment, at *progressOf) error {
	if s.head == "" || at.last >= s.head {
		return nil
	}
	after := at.last
	if after == "" {
		if after = strings.TrimSuffix(s.from, " "); after >= s.head {
			return nil
		}
		if !s.resumes() && !p.young(s.head) {
			return nil // Everything below the prefix may have expired before anyone asked for it.
		}
	}
	at.last = s.head
	return p.gap(s, after, s.head, "it is the queue's head")
}

// young tells whether the event cannot have expired yet.
func (p *planner) young(id string) bool {
	parsed, err := eid.Parse(id)
	retention := p.r.bus.core.opts.Retention
	return err == nil && retention > 0 && p.r.bus.now().Sub(parsed.Time()) < retention
}

// gap applies the policy for gaps. The position moves past one that is passed over, so that the next read does not meet it again.
func (p *planner) gap(s *segment, after, missing, evidence string) error {
	g := &GapError{Queue: s.queue, After: after, Missing: missing, Evidence: evidence}
	if p.r.set.Gaps == GapFail {
		return g
	}
	p.r.bus.log().WarnContext(p.ctx, "going on behind missing events", "queue", s.queue, "bot", p.r.set.Bot,
		"after", after, "missing", missing, "evidence", evidence)
	p.r.gaps.Add(1)
	if p.r.set.OnGap != nil {
		err := protect(func() error {
			p.r.set.OnGap(g)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if p.r.ended(s, missing) {
		return nil
	}
	return p.pass(piece{passed: s.prefix + missing})
}

// add plans one chunk: into the group of inline chunks, or as units of its blob.
func (p *planner) add(s *segment, c *store.Chunk) error {
	whole, err := newPart(s, c)
	if err != nil {
		return err
	}
	if whole.skip >= whole.until {
		return nil
	}
	if !c.Archive { // How many of an archive's events lie before the position shows when they are read.
		p.planned += whole.until - whole.skip
	}
	if c.Blob == nil {
		p.group = append(p.group, whole)
		p.groupSize += max(c.Size, int64(len(c.Gzip)))
		if p.groupSize >= int64(p.r.set.block) {
			return p.flush()
		}
		return nil
	}
	if err := p.flush(); err != nil {
		return err
	}
	for _, stretch := range whole.stretches() {
		if err := p.start(func(u *unit) { u.fetchBlob(p.ctx, p.r, stretch) }); err != nil {
			return err
		}
	}
	return nil
}

// flush makes the group a unit.
func (p *planner) flush() error {
	if len(p.group) == 0 {
		return nil
	}
	group := p.group
	p.group, p.groupSize = nil, 0
	return p.start(func(u *unit) { u.decodeInline(p.ctx, group) })
}

// pass hands over a piece without text, in its order among the events.
func (p *planner) pass(what piece) error {
	if err := p.flush(); err != nil {
		return err
	}
	return p.start(func(u *unit) { u.send(p.ctx, what) })
}

// start puts a unit into the order and sets it to work, once there is room.
func (p *planner) start(work func(*unit)) error {
	u := &unit{pieces: make(chan piece, 1), maxLine: p.r.set.MaxLine}
	select {
	case p.units <- u:
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
	p.running.Go(func() {
		defer close(u.pieces)
		work(u)
	})
	return nil
}

// cursor returns the present end of the feed, before anything is read, so that no change can be missed in between.
func (p *planner) cursor() (string, error) {
	feed := p.r.bus.core.store.Feed
	if !p.r.set.Follow || feed == nil {
		return "", nil
	}
	_, cursor, err := p.changes(feed, "")
	if err != nil {
		return "", fmt.Errorf("feed: %w", err)
	}
	return cursor, nil
}

// maxChanges is how many changes are asked for at a time.
const maxChanges = 1000

// changes is feed.Changes with patience.
func (p *planner) changes(feed store.Feed, cursor string) (list []store.Change, next string, err error) {
	err = p.r.retry(p.ctx, func() error {
		list, next, err = feed.Changes(p.ctx, cursor, maxChanges)
		return err
	})
	return list, next, err
}

// pollEvery is how often the head is looked at where the store has no feed.
const pollEvery = time.Second

// follow waits until the head of live has moved and updates it.
func (p *planner) follow(cursor string, live *segment) (string, error) {
	for {
		row, err := p.r.rowOf(p.ctx, p.r.queue)
		if err != nil {
			return cursor, err
		}
		if row.Head > live.head {
			live.head, live.through = row.Head, row.Head
			p.r.limitSegment(live, p.r.set.End)
			return cursor, nil
		}
		if cursor, err = p.await(cursor); err != nil {
			return cursor, err
		}
	}
}

// await returns soon after the queue's row may have changed.
func (p *planner) await(cursor string) (string, error) {
	feed := p.r.bus.core.store.Feed
	if feed == nil {
		return cursor, pause(p.ctx, pollEvery)
	}
	for {
		if err := p.r.retry(p.ctx, func() error { return feed.Wait(p.ctx, cursor) }); err != nil {
			return cursor, fmt.Errorf("feed: %w", err)
		}
		for {
			changes, next, err := p.changes(feed, cursor)
			if errors.Is(err, store.ErrNotFound) { // Too old: what changed is unknown, so look.
				return p.cursor()
			}
			if err != nil {
				return cursor, fmt.Errorf("feed: %w", err)
			}
			ours := false
			for _, c := range changes {
				ours = ours || c.Kind == store.QueueChanged && c.ID == p.r.queue
			}
			cursor = next
			if ours {
				return cursor, nil
			}
			if len(changes) < maxChanges {
				break
			}
		}
	}
}
