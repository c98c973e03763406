package sequencer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

// release cuts the claims of an attempt that failed short, where the next one would have to wait for their end: it has another
// owner. They are not given back, and nothing is removed, as requests of this attempt may still be on their way: what they do
// is the next owner's to find (Grant.Dirty), after the same tenth of the lease that every claim leaves for that.
func (pub *publication) release(ctx context.Context, st store.Store, units []unit) {
	pub.releaseFor(ctx, st, units, pub.seq.cfg.Lease/10)
}

// drop cuts the claims of an attempt that stored no chunks short, but for those of the queues in keep, which the next try claims again.
// Nothing of it can be on its way, unless a try before it lost its claim.
func (pub *publication) drop(ctx context.Context, keep []string) {
	var lost, free []unit
	for _, u := range pub.left {
		switch {
		case slices.Contains(keep, u.queue):
		case pub.lost[u.queue]:
			lost = append(lost, u)
		default:
			free = append(free, u)
		}
	}
	pub.release(ctx, pub.seq.store, lost)
	pub.releaseFor(ctx, pub.seq.store, free, time.Millisecond)
	pub.left = nil
}

func (pub *publication) releaseFor(ctx context.Context, st store.Store, units []unit, lease time.Duration) {
	if pub.seq.cfg.Owner == "" || pub.seq.store.Atomic != nil {
		return
	}
	var left []*unit
	for i := range units {
		if units[i].open {
			left = append(left, &units[i])
		}
	}
	if len(left) == 0 {
		return
	}
	ctx, cancel := pub.seq.grace(ctx)
	defer cancel()
	err := each(ctx, pub.seq.cfg.Parallel, left, func(ctx context.Context, u *unit) error {
		err := pub.claimFor(ctx, st, u, lease)
		if errors.Is(err, store.ErrConflict) {
			return nil // It is another's already.
		}
		return err
	})
	if err != nil {
		pub.seq.cfg.Logger.WarnContext(ctx, "claims stay until their lease ends", "error", err)
	}
}

// sweep deletes chunks above the head that are not this unit's own: no one published them, and no one ever will. They are of
// an attempt that crashed, or of this one, when its claim was taken over before its chunks were stored, as happens where clocks
// differ by more than the tenth of the lease that is left for that.
func (pub *publication) sweep(ctx context.Context, st store.Store, u *unit) error {
	own := make(map[string]bool, len(u.out.chunks))
	for _, c := range u.out.chunks {
		own[c.End] = true
	}
	if !hasSuffix(u.queue, store.SnapshotSuffix) {
		return pub.sweepRange(ctx, st, u, own, u.grant.Head, beyond)
	}
	// The order of publication is not that of the ids. Snapshots are kept for ever, so that to look through all of them might take
	// longer than the claim lasts.
	if u.grant.Dirty && u.grant.Paths == nil {
		return pub.sweepRange(ctx, st, u, own, "", beyond)
	}
	paths := slices.Concat(u.grant.Paths, pub.p.group.paths(u.queue))
	slices.Sort(paths)
	from := "" // The ids of a path grow with their base, and no claim after that of the head has a lower one.
	if head, err := eid.Parse(u.grant.Head); err == nil {
		from = strconv.FormatInt(head.Millis, 10)
	}
	for _, path := range slices.Compact(paths) {
		if err := pub.sweepRange(ctx, st, u, own, path+from, path+endOfPath); err != nil {
			return err
		}
	}
	return nil
}

const (
	beyond    = "z0" // above every id, as '0' follows '/'
	endOfPath = ":"  // above what follows an id's path, as it follows '9'
	// sweepBytes is how much of the index a sweep holds at once, as many run side by side.
	sweepBytes = 1 << 20
)

func (pub *publication) sweepRange(ctx context.Context, st store.Store, u *unit, own map[string]bool, after, through string) error {
	for {
		page, err := st.Chunks.Query(ctx, u.queue, after, through, 0, sweepBytes)
		if errors.Is(err, store.ErrCorrupt) && pub.seq.store.Atomic == nil {
			// Perhaps it is a leftover, perhaps an event of other software: nobody can tell, and no reader gets past it.
			return &refusalError{u.queue, fmt.Errorf("sequencer: leftovers of queue %s: %w", u.queue, err)}
		}
		if err != nil {
			return fmt.Errorf("sequencer: leftovers of queue %s: %w", u.queue, err)
		}
		var ends []string
		for _, c := range page.Chunks {
			after = c.End
			if !own[c.End] && store.LaterHead(u.queue, c.End, u.grant.Head) {
				ends = append(ends, c.End)
			}
		}
		if len(ends) > 0 {
			pub.seq.cfg.Logger.WarnContext(ctx, "removing unpublished chunks of an earlier attempt",
				"queue", u.queue, "head", u.grant.Head, "chunks", len(ends))
			if err := st.Chunks.Delete(ctx, u.queue, ends); err != nil {
				return fmt.Errorf("sequencer: leftovers of queue %s: %w", u.queue, err)
			}
		}
		if !page.More {
			return nil
		}
	}
}
