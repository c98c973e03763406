package sequencer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

// publication is a prepared group on its way into the store.
type publication struct {
	seq     *Sequencer
	p       *Prepared
	pending []string // queues not yet published, sorted
	result  Result
	stats   *[]store.Produced // of what is published, where there are no transactions
	// lost are queues whose claim was lost after chunks were stored, perhaps too late for the one who took over to find them.
	lost map[string]bool
	// refused are queues whose rows cannot be used, and why.
	refused map[string]error
	// done are the queues of which this call has published everything.
	done map[string]bool
	// left are the units of an attempt that asks for the group to be prepared again (anew).
	left []unit
}

// refusalError tells that a queue's row, or its index above the head, contradicts itself, so that nothing can be published to the queue until somebody mends it. That
// must not stop the other queues of its shard. Where there are transactions, there are no shards, and the writer gets the error.
type refusalError struct {
	queue string
	err   error
}

func (e *refusalError) Error() string { return e.err.Error() }

func (e *refusalError) Unwrap() error { return e.err }

// unit is the publication of one queue.
type unit struct {
	queue string
	grant store.Grant
	busy  time.Duration // over 0: another owner holds the queue for so long
	out   numbered
	// repeats counts events that were published before.
	repeats int64
	failed  error
	open    bool // the claim was asked for and is not given back
}

// errLease ends work that would outlast its claim.
var errLease = errors.New("the claim on a queue is about to end; a smaller batch or a longer lease is needed")

// run claims every pending queue, and publishes those it gets. Nothing is held while it waits, so sequencers cannot block each
// other for ever. What it could not publish is pending afterwards.
//
// Dead letters come last, alone. What becomes one may depend on what is stored: another attempt may find a queue whose row cannot be
// used, or an archive that has grown. Were its mark in the dead-letter queue there before everything else is done, that attempt
// would take the new letter for one that is published, and the event would be nowhere.
func (pub *publication) run(ctx context.Context, st store.Store, parallel int) (wait time.Duration, err error) {
	cfg := &pub.seq.cfg
	work, letters := pub.pending, []string(nil)
	if i := slices.Index(work, deadletter.Queue); i >= 0 && len(work) > 1 && pub.seq.store.Atomic == nil {
		work, letters = slices.Delete(slices.Clone(work), i, i+1), work[i:i+1]
	}
	units := make([]unit, len(work))
	defer func(ctx context.Context) {
		if err != nil && pub.anew(err) {
			pub.left = units
		} else if err != nil {
			pub.release(ctx, st, units)
		}
	}(ctx)
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.Lease/10*9, errLease)
	defer cancel()

	for i, queue := range work {
		units[i].queue = queue
	}
	if err := pub.claimAll(ctx, st, units, parallel); err != nil {
		return 0, err
	}
	var held []string
	granted := make([]*unit, 0, len(units))
	for i := range units {
		u := &units[i]
		if u.busy > 0 {
			held = append(held, u.queue)
			wait = max(wait, u.busy)
			continue
		}
		granted = append(granted, u)
	}
	if err := pub.numberAll(ctx, st, granted, parallel); err != nil {
		return 0, err
	}
	if err := pub.put(ctx, st, granted); err != nil {
		return 0, err
	}
	err = each(ctx, parallel, granted, func(ctx context.Context, u *unit) error { return pub.advance(ctx, st, u) })
	lost, doneErr := pub.finish(ctx, st, granted)
	if err = errors.Join(err, doneErr); err != nil {
		return 0, err
	}
	pub.pending = slices.Concat(held, lost, letters)
	switch {
	case len(held)+len(lost) > 0:
		return max(min(wait, time.Second), time.Millisecond), nil
	case len(letters) > 0:
		return 0, nil
	}
	archives := pub.p.group.archives
	for _, queue := range slices.Sorted(maps.Keys(archives)) {
		if err := st.Queues.SetArchive(ctx, queue, archives[queue]); err != nil {
			return 0, fmt.Errorf("sequencer: archive end of %s: %w", queue, err)
		}
	}
	for _, s := range pub.p.group.snapshots {
		if err := st.Queues.SetSnapshot(ctx, s.queue, s.start, s.next); err != nil {
			return 0, fmt.Errorf("sequencer: snapshot of %s: %w", s.queue, err)
		}
	}
	return 0, nil
}

// each runs fn for every unit, at most parallel at once, and returns the first error after all have ended. One that fails does not end
// the others: a request that was given up may still be carried out, after what this attempt or its next try writes.
func each(ctx context.Context, parallel int, units []*unit, fn func(context.Context, *unit) error) error {
	if parallel <= 1 || len(units) <= 1 {
		for _, u := range units {
			if err := fn(ctx, u); err != nil {
				return err
			}
		}
		return nil
	}
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, u := range units {
		g.Go(func() error { return fn(ctx, u) })
	}
	return g.Wait()
}

func refs(units []unit) []*unit {
	out := make([]*unit, len(units))
	for i := range units {
		out[i] = &units[i]
	}
	return out
}

// claimAll claims the queues of all units.
func (pub *publication) claimAll(ctx context.Context, st store.Store, units []unit, parallel int) error {
	if st.ClaimAll == nil || len(units) == 1 {
		return each(ctx, parallel, refs(units), func(ctx context.Context, u *unit) error {
			u.open = true
			return pub.granted(u, pub.claimFor(ctx, st, u, pub.seq.cfg.Lease))
		})
	}
	claims := make([]store.Claim, len(units))
	for i := range units {
		units[i].open = true
		claims[i] = pub.claim(units[i].queue, pub.seq.cfg.Lease)
	}
	var first error
	for i, c := range st.ClaimAll(ctx, claims) {
		u := &units[i]
		u.grant = c.Grant
		if err := pub.granted(u, claimError(u.queue, c.Err)); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// granted looks at the outcome of a unit's claim: it notes for how long the queue is held by others.
func (pub *publication) granted(u *unit, err error) error {
	var leased *store.LeasedError
	if errors.As(err, &leased) {
		u.open = false
		u.busy = time.Duration(max(leased.Until-pub.seq.cfg.Now().UnixMilli(), 1)) * time.Millisecond
		return nil
	}
	if errors.Is(err, store.ErrCorrupt) && pub.seq.store.Atomic == nil {
		u.open = false
		return &refusalError{u.queue, err}
	}
	return err
}

// claim returns the claim of a queue.
func (pub *publication) claim(queue string, lease time.Duration) store.Claim {
	cfg, g := &pub.seq.cfg, pub.p.group
	owner := cfg.Owner
	if owner == "" {
		owner = g.shard
	}
	if cfg.OwnPerBatch {
		owner += ":" + pub.p.batch.Records[0].Sequence
	}
	return store.Claim{
		Queue: queue, Owner: owner, Shard: g.shard, First: g.of(queue)[0].first, Paths: g.paths(queue),
		Arrival: g.latest, Now: cfg.Now().UnixMilli(), Lease: lease.Milliseconds(),
	}
}

func (pub *publication) claimFor(ctx context.Context, st store.Store, u *unit, lease time.Duration) error {
	var err error
	u.grant, err = st.Queues.Claim(ctx, pub.claim(u.queue, lease))
	return claimError(u.queue, err)
}

func claimError(queue string, err error) error {
	if err != nil {
		return fmt.Errorf("sequencer: claim of queue %s: %w", queue, err)
	}
	return nil
}

// errStale asks for the group to be prepared again: an archive has grown since that its pointers were checked against.
var errStale = errors.New("an archive has grown since the group was prepared")

// anew tells whether an attempt ended because the group has to be prepared again. It has stored no chunks.
func (pub *publication) anew(err error) bool {
	var refusal *refusalError
	return errors.Is(err, errStale) ||
		errors.As(err, &refusal) && refusal.queue != deadletter.Queue && pub.refused[refusal.queue] == nil
}

// numberAll gives the chunks of all units their ids, and removes what crashed attempts left in their way (rule 8).
func (pub *publication) numberAll(ctx context.Context, st store.Store, units []*unit, parallel int) error {
	// Of some queues only a part was published: the rest is cut and numbered by itself. It is prepared for all of them at once, as
	// the claims run out meanwhile.
	rest := map[string]string{}
	for _, u := range units {
		if pub.published(u) && store.CompareMarks(pub.p.group.to, u.grant.Through) > 0 {
			rest[u.queue] = u.grant.Through
		}
	}
	var again *Prepared
	if len(rest) > 0 {
		var err error
		if again, err = pub.seq.again(ctx, st, pub.p, rest, pub.refused); err != nil {
			return err
		}
		if !slices.Equal(again.group.dead, pub.p.group.dead) {
			return errStale // Something else becomes a letter now, and only the group as a whole has that.
		}
	}
	var dirty []*unit
	for _, u := range units {
		streams := pub.p.group.of(u.queue)
		if pub.published(u) {
			for _, s := range streams {
				u.repeats += s.total
			}
			streams = nil
			if rest[u.queue] != "" {
				streams = again.group.of(u.queue)
			}
			for _, s := range streams {
				u.repeats -= s.total
			}
		}
		if err := pub.number(ctx, st, u, streams); err != nil {
			return err
		}
		if u.grant.Dirty || pub.lost[u.queue] {
			dirty = append(dirty, u)
		}
	}
	return each(ctx, parallel, dirty, func(ctx context.Context, u *unit) error { return pub.sweep(ctx, st, u) })
}

// published tells whether the unit's events, or the first of them, were published before.
func (pub *publication) published(u *unit) bool {
	return u.grant.Through != "" && store.CompareMarks(pub.p.group.of(u.queue)[0].first, u.grant.Through) <= 0
}

// number gives the chunks of a unit's streams their ids.
func (pub *publication) number(ctx context.Context, st store.Store, u *unit, streams []*stream) error {
	if hasSuffix(u.queue, store.ArchiveSuffix) && len(streams) > 0 && streams[0].chunks[0].pointer.StartID <= u.grant.Head {
		return errStale
	}
	if pub.seq.store.Atomic != nil {
		if err := upload(ctx, st, streams); err != nil {
			return err
		}
	}
	prev := u.grant.Head
	next := map[string]place{} // by minute, as several snapshots may be of one
	for _, s := range streams {
		minute := eid.MinutePath(s.snapshot)
		at, ok := next[minute]
		if !ok {
			at.base = u.grant.Base
		}
		n, err := s.number(&at, prev)
		next[minute] = at
		if err != nil {
			return fmt.Errorf("sequencer: %w", err)
		}
		u.out.chunks = append(u.out.chunks, n.chunks...)
		u.out.stats = mergeStats(u.out.stats, n.stats)
		if u.out.last == "" || store.LaterHead(u.queue, n.last, u.out.last) {
			u.out.last = n.last
		}
		prev = n.last
	}
	return nil
}

// put writes the chunks of all queues together, so that a backend can share its requests among them (rule 5). Queues of which
// a chunk failed are marked; the others go on.
func (pub *publication) put(ctx context.Context, st store.Store, units []*unit) error {
	var chunks []store.Chunk
	var owner []int
	for i, u := range units {
		for _, c := range u.out.chunks {
			chunks = append(chunks, c)
			owner = append(owner, i)
		}
	}
	if len(chunks) == 0 {
		return nil
	}
	err := st.Chunks.Put(ctx, chunks)
	var batch *store.BatchError
	if errors.As(err, &batch) {
		for _, it := range batch.Items {
			u := units[owner[it.Index]]
			u.failed = fmt.Errorf("sequencer: chunk of queue %s: %w", u.queue, it.Err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("sequencer: chunks: %w", err)
	}
	return nil
}

// errLost marks a unit whose claim another sequencer took over.
var errLost = errors.New("the claim was lost")

// advance publishes a unit whose chunks are all written. Without chunks it only gives the claim back.
func (pub *publication) advance(ctx context.Context, st store.Store, u *unit) error {
	if u.failed != nil {
		return nil
	}
	err := st.Queues.Advance(ctx, store.Advance{
		Queue: u.queue, Fence: u.grant.Fence, Head: u.out.last,
		Shard: pub.p.group.shard, Through: pub.p.group.to, Now: pub.seq.cfg.Now().UnixMilli(),
	})
	if err == nil || errors.Is(err, store.ErrConflict) {
		u.open = false
	}
	switch {
	case errors.Is(err, store.ErrConflict):
		u.failed = errLost // The one who took over has swept away those of our chunks that it saw: claim again, with new ids (rule 7).
	case err != nil:
		u.failed = fmt.Errorf("sequencer: head of queue %s: %w", u.queue, err)
	case hasSuffix(u.queue, store.ArchiveSuffix) && u.out.last != "":
		queue := u.queue[:len(u.queue)-len(store.ArchiveSuffix)]
		if err := st.Queues.SetArchive(ctx, queue, u.out.last); err != nil {
			u.failed = fmt.Errorf("sequencer: archive end of %s: %w", queue, err)
		}
	}
	return nil
}

// finish accounts for what was published, and returns the queues whose claims were lost.
func (pub *publication) finish(ctx context.Context, st store.Store, units []*unit) (lost []string, err error) {
	var stats []store.Produced
	for _, u := range units {
		switch {
		case errors.Is(u.failed, errLost):
			lost = append(lost, u.queue)
			if pub.lost == nil {
				pub.lost = map[string]bool{}
			}
			pub.lost[u.queue] = true
		case u.failed != nil:
			err = errors.Join(err, u.failed)
		default:
			if pub.done == nil {
				pub.done = map[string]bool{}
			}
			pub.done[u.queue] = true
			pub.result.Repeats += u.repeats
			if u.out.last == "" {
				break
			}
			var records int64
			for _, c := range u.out.chunks {
				records += c.Records
			}
			pub.result.Events += records
			if u.queue == deadletter.Queue {
				pub.result.DeadLetters += records
			}
			if pub.result.Heads == nil {
				pub.result.Heads = map[string]string{}
			}
			pub.result.Heads[u.queue] = eid.Max(pub.result.Heads[u.queue], u.out.last)
			stats = mergeStats(stats, u.out.stats)
		}
	}
	if pub.seq.store.Atomic == nil {
		*pub.stats = mergeStats(*pub.stats, stats)
		return lost, err
	}
	if len(stats) == 0 {
		return lost, err
	}
	if statErr := st.Bots.Produced(ctx, stats); statErr != nil {
		return lost, errors.Join(err, fmt.Errorf("sequencer: producer statistics: %w", statErr))
	}
	return lost, err
}
