package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

var errNetwork = errors.New("simulated network error")

// connection is the store as one process sees it: each call waits for a turn, may go wrong in the ways of the plan, and is
// watched by the oracle. A process can die between any two calls, and in the middle of one.
type connection struct {
	p      *proc
	base   store.Store
	oracle *oracle
	// commits counts the transactions that this process committed, whatever it was told.
	commits *int
	// after collects what the oracle is to be told when the transaction commits; nil outside one.
	after *[]func()
}

// connect returns the store for p.
func connect(p *proc, o *oracle, atomic bool) (store.Store, *int) {
	c := &connection{p: p, base: o.base, oracle: o, commits: new(int)}
	return c.store(atomic), c.commits
}

func (c *connection) store(atomic bool) store.Store {
	s := store.Store{
		Chunks: chunks{c}, Queues: queues{c}, Bots: bots{c}, Settings: settings{c}, Systems: systems{c}, Blobs: blobs{c}, Feed: feed{c},
	}
	if atomic {
		s.Atomic = c.atomic
	} else if c.p.w.plan.together && c.after == nil {
		s.ClaimAll = c.claimAll
	}
	return s
}

// claimAll is the store's ClaimAll: each claim has a fate of its own.
func (c *connection) claimAll(ctx context.Context, claims []store.Claim) []store.Claimed {
	out := make([]store.Claimed, len(claims))
	for i, cl := range claims {
		out[i].Grant, out[i].Err = queues{c}.Claim(ctx, cl)
	}
	return out
}

// outcome is what was drawn for a call.
type outcome struct {
	fault faultKind
	crash bool
	// applied tells whether a call that is cut off takes effect.
	applied bool
}

// draw decides the fate of a call. kinds are the faults that the call can have besides the general ones.
func (c *connection) draw(kinds faultKind) outcome {
	w := c.p.w
	if w.calm {
		return outcome{applied: true}
	}
	if chance(w.rng, w.plan.crashRate) {
		return outcome{crash: true, applied: w.rng.IntN(2) == 0}
	}
	if !chance(w.rng, w.plan.faultRate) {
		return outcome{applied: true}
	}
	kinds = (kinds | faultDrop | faultLost | faultThrottle | faultSlow) & w.plan.faults
	if kinds == 0 {
		return outcome{applied: true}
	}
	for {
		if f := faultKind(1) << w.rng.IntN(7); f&kinds != 0 {
			w.counters.faults++
			return outcome{fault: f, applied: f != faultDrop && f != faultThrottle}
		}
	}
}

// request is a call on its way to the store.
type request struct {
	what  string
	kinds faultKind
	// do is the call on the underlying store.
	do func(context.Context) error
	// part, if not nil, is run in place of do when the call is cut off in the middle and consists of several requests.
	part func(context.Context)
	// done is run after do has succeeded.
	done func()
	// late requests may arrive long after their caller has died or given up. What a fence does not guard must not.
	late bool
}

// call makes a request that has nothing special about it.
func (c *connection) call(
	ctx context.Context, kinds faultKind, what string, do func(context.Context) error, part func(context.Context), done func(),
) error {
	return c.send(ctx, request{what: what, kinds: kinds, do: do, part: part, done: done})
}

// send makes a request under the faults.
func (c *connection) send(ctx context.Context, r request) error {
	p := c.p
	w := p.w
	what, kinds, do, part, done := r.what, r.kinds, r.do, r.part, r.done
	if c.after != nil {
		return c.inner(ctx, what, do, done)
	}
	w.gate(p.name, what)
	// What this turn did happens before the next turn. The race detector sees that when the goroutine goes on to block, but
	// not when it blocks in WaitGroup.Wait.
	defer w.publish()
	if err := c.alive(ctx); err != nil {
		return err
	}
	w.counters.calls++
	o := c.draw(kinds)
	delay := time.Duration(0)
	if w.plan.latency > 0 {
		delay = time.Duration(w.rng.Int64N(int64(w.plan.latency)))
	}
	if o.fault == faultSlow {
		delay += time.Duration(w.rng.Int64N(int64(20 * time.Second)))
	}
	if delay > 0 && !c.wait(ctx, what, delay) {
		if w.ctx.Err() != nil {
			return errOver
		}
		// The caller's time ran out while the request was under way. It arrives, or it does not; but not later.
		if err := c.alive(context.WithoutCancel(ctx)); err == nil && w.rng.IntN(2) == 0 {
			c.apply(do, done)
			w.note(p.name, "%s: caller gave up, applied", what)
		} else {
			w.note(p.name, "%s: caller gave up, not applied", what)
			c.later(r)
		}
		return context.Cause(ctx)
	}
	var err error
	switch {
	case o.crash && o.applied && part != nil, o.fault == faultLost && part != nil && w.rng.IntN(2) == 0:
		part(w.ctx)
		err = errNetwork
	case o.applied:
		err = c.apply(do, done)
	}
	switch {
	case o.crash:
		w.note(p.name, "%s: CRASH, applied %t %v", what, o.applied, err)
		if p.crash(); !o.applied {
			c.later(r)
		}
		return errCrashed
	case o.fault == faultDrop:
		w.note(p.name, "%s: dropped", what)
		return errNetwork
	case o.fault == faultThrottle:
		w.note(p.name, "%s: throttled", what)
		return fmt.Errorf("simulated: %w", store.ErrThrottled)
	case o.fault == faultLost:
		w.note(p.name, "%s: response lost (%v)", what, err)
		return errNetwork
	case o.fault == faultConflict && err == nil:
		w.note(p.name, "%s: response lost, repeated into a conflict", what)
		return fmt.Errorf("simulated: %w", store.ErrConflict)
	case err != nil:
		w.note(p.name, "%s: %v", what, err)
	default:
		w.note(p.name, "%s", what)
	}
	return err
}

// later lets a request arrive after all, when nobody waits for it any more.
func (c *connection) later(r request) {
	w := c.p.w
	if !r.late || w.rng.IntN(2) == 0 {
		return
	}
	delay := time.Duration(w.rng.Int64N(int64(2 * w.plan.lease)))
	w.packets++
	w.spawn(fmt.Sprintf("packet-%d", w.packets), func(p *proc) {
		p.sleep(delay)
		err := c.apply(r.do, r.done)
		w.note(p.name, "late %s: %v", r.what, err)
	})
}

// apply makes the call happen.
func (c *connection) apply(do func(context.Context) error, done func()) error {
	err := do(c.p.w.ctx)
	if err == nil && done != nil {
		done()
	}
	return err
}

// inner is a call inside a transaction. It takes no turn, as nobody else can look in; it can fail, and the process can die.
func (c *connection) inner(ctx context.Context, what string, do func(context.Context) error, done func()) error {
	p := c.p
	w := p.w
	if err := c.alive(ctx); err != nil {
		return err
	}
	w.counters.calls++
	switch o := c.draw(0); {
	case o.crash:
		w.note(p.name, "  %s: CRASH", what)
		p.crash()
		return errCrashed
	case o.fault == faultDrop, o.fault == faultLost, o.fault == faultThrottle:
		w.note(p.name, "  %s: refused", what)
		return errNetwork
	}
	err := do(c.p.w.ctx)
	if err == nil && done != nil {
		*c.after = append(*c.after, done)
	}
	w.note(p.name, "  %s: %v", what, err)
	return err
}

// alive returns why the caller cannot make calls.
func (c *connection) alive(ctx context.Context) error {
	switch {
	case c.p.dead:
		return errCrashed
	case c.p.w.ctx.Err() != nil:
		return errOver
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return nil
}

// wait lets d pass, and returns false when ctx ends before. The caller has the turn afterwards.
func (c *connection) wait(ctx context.Context, what string, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	ok := true
	select {
	case <-t.C:
	case <-ctx.Done():
		ok = false
	}
	c.p.w.gate(c.p.name, what+" arrives")
	return ok && ctx.Err() == nil && !c.p.dead
}

func (c *connection) atomic(ctx context.Context, fn func(ctx context.Context, tx store.Store) error) error {
	return c.call(ctx, 0, "Atomic", func(ctx context.Context) error {
		var after []func()
		err := c.base.Atomic(ctx, func(ctx context.Context, tx store.Store) error {
			in := &connection{p: c.p, base: tx, oracle: c.oracle, after: &after}
			if err := fn(ctx, in.store(false)); err != nil {
				return err
			}
			if c.p.dead {
				return errCrashed
			}
			return nil
		})
		if err == nil {
			*c.commits++
			for _, f := range after {
				f()
			}
		}
		return err
	}, nil, nil)
}

type chunks struct{ c *connection }

func (s chunks) Put(ctx context.Context, list []store.Chunk) error {
	c := s.c
	w := c.p.w
	what := "Put"
	if w.tracing {
		for _, k := range list {
			what += " " + brief(k)
		}
	}
	subset := func() (some []store.Chunk, failed []store.ItemError) {
		for i, k := range list {
			if w.rng.IntN(2) == 0 {
				some = append(some, k)
			} else {
				failed = append(failed, store.ItemError{Index: i, Err: store.ErrThrottled})
			}
		}
		return some, failed
	}
	part := func(ctx context.Context) {
		some, _ := subset()
		if len(some) > 0 && c.base.Chunks.Put(ctx, some) == nil {
			w.note(c.p.name, "  %d of %d chunks stored", len(some), len(list))
			c.oracle.put(c.p, some)
		}
	}
	if c.after == nil && w.plan.faults&faultPartial != 0 && !w.calm && chance(w.rng, w.plan.faultRate) {
		return c.call(ctx, 0, what+" in part", func(ctx context.Context) error {
			some, failed := subset()
			if len(some) > 0 {
				if err := c.base.Chunks.Put(ctx, some); err != nil {
					return err
				}
				c.oracle.put(c.p, some)
			}
			if len(failed) == 0 {
				return nil
			}
			w.counters.faults++
			return &store.BatchError{Items: failed}
		}, part, nil)
	}
	return c.send(ctx, request{
		what: what, part: part, late: w.plan.stray,
		do:   func(ctx context.Context) error { return c.base.Chunks.Put(ctx, list) },
		done: func() { c.oracle.put(c.p, list) },
	})
}

func (s chunks) Query(ctx context.Context, queue, after, through string, limit, maxBytes int) (page store.Page, err error) {
	c := s.c
	err = c.call(ctx, 0, "Query "+queue, func(ctx context.Context) error {
		w := c.p.w
		if w.plan.faults&faultShort != 0 && c.after == nil && !w.calm {
			switch w.rng.IntN(8) {
			case 0:
				page = store.Page{More: true}
				return nil
			case 1:
				limit = 1 + w.rng.IntN(3)
			}
		}
		page, err = c.base.Chunks.Query(ctx, queue, after, through, limit, maxBytes)
		return err
	}, nil, nil)
	return page, err
}

func (s chunks) Delete(ctx context.Context, queue string, ends []string) error {
	c := s.c
	w := c.p.w
	do := func(ctx context.Context, ends []string) error {
		c.oracle.deleting(queue, ends)
		return c.base.Chunks.Delete(ctx, queue, ends)
	}
	part := func(ctx context.Context) {
		if n := w.rng.IntN(len(ends) + 1); n > 0 {
			_ = do(ctx, ends[:n]) // The memory store does not fail.
		}
	}
	return c.call(ctx, 0, fmt.Sprintf("Delete %s %v", queue, ends), func(ctx context.Context) error { return do(ctx, ends) }, part, nil)
}

type queues struct{ c *connection }

func (s queues) Get(ctx context.Context, queue string) (q store.Queue, err error) {
	err = s.c.call(ctx, 0, "Get queue "+queue, func(ctx context.Context) error {
		q, err = s.c.base.Queues.Get(ctx, queue)
		return err
	}, nil, nil)
	return q, err
}

func (s queues) List(ctx context.Context, after string, limit int) (list []store.Queue, err error) {
	err = s.c.call(ctx, 0, "List queues", func(ctx context.Context) error {
		list, err = s.c.base.Queues.List(ctx, after, limit)
		return err
	}, nil, nil)
	return list, err
}

func (s queues) Claim(ctx context.Context, cl store.Claim) (g store.Grant, err error) {
	c := s.c
	err = c.call(ctx, 0, "Claim "+cl.Queue+" from "+cl.First, func(ctx context.Context) error {
		g, err = c.base.Queues.Claim(ctx, cl)
		c.p.w.note(c.p.name, "  granted fence %d base %d head %s through %s dirty %t: %v",
			g.Fence, g.Base, short(g.Head), g.Through, g.Dirty, err)
		return err
	}, nil, func() { c.oracle.claimed(c.p, cl, g) })
	return g, err
}

func (s queues) Advance(ctx context.Context, a store.Advance) error {
	c := s.c
	return c.send(ctx, request{
		what:  fmt.Sprintf("Advance %s to %s fence %d through %s", a.Queue, short(a.Head), a.Fence, a.Through),
		kinds: faultConflict, late: true,
		do:   func(ctx context.Context) error { return c.base.Queues.Advance(ctx, a) },
		done: func() { c.oracle.advanced(a) },
	})
}

func (s queues) SetArchive(ctx context.Context, queue, end string) error {
	return s.c.call(ctx, 0, "SetArchive "+queue, func(ctx context.Context) error {
		return s.c.base.Queues.SetArchive(ctx, queue, end)
	}, nil, nil)
}

func (s queues) SetSnapshot(ctx context.Context, queue, start, next string) error {
	return s.c.call(ctx, 0, "SetSnapshot "+queue, func(ctx context.Context) error {
		return s.c.base.Queues.SetSnapshot(ctx, queue, start, next)
	}, nil, nil)
}

type blobs struct{ c *connection }

func (s blobs) Put(ctx context.Context, key string, r io.Reader) (ref store.BlobRef, n int64, err error) {
	err = s.c.call(ctx, 0, "Put blob", func(ctx context.Context) error {
		ref, n, err = s.c.base.Blobs.Put(ctx, key, r)
		return err
	}, nil, nil)
	return ref, n, err
}

func (s blobs) Get(ctx context.Context, ref store.BlobRef, offset, length int64) (r io.ReadCloser, err error) {
	err = s.c.call(ctx, 0, "Get blob", func(ctx context.Context) error {
		r, err = s.c.base.Blobs.Get(ctx, ref, offset, length)
		return err
	}, nil, nil)
	return r, err
}

func (s blobs) Delete(ctx context.Context, keys []string) error {
	return s.c.call(ctx, 0, "Delete blobs", func(ctx context.Context) error { return s.c.base.Blobs.Delete(ctx, keys) }, nil, nil)
}

func (s blobs) List(ctx context.Context, prefix, after string, limit int) (list []store.BlobInfo, err error) {
	err = s.c.call(ctx, 0, "List blobs", func(ctx context.Context) error {
		list, err = s.c.base.Blobs.List(ctx, prefix, after, limit)
		return err
	}, nil, nil)
	return list, err
}

type feed struct{ c *connection }

func (s feed) Changes(ctx context.Context, cursor string, limit int) (list []store.Change, next string, err error) {
	err = s.c.call(ctx, 0, "Changes", func(ctx context.Context) error {
		list, next, err = s.c.base.Feed.Changes(ctx, cursor, limit)
		return err
	}, nil, nil)
	return list, next, err
}

// Wait has no faults but the end of its caller: it says nothing that Changes does not.
func (s feed) Wait(ctx context.Context, cursor string) error {
	err := s.c.base.Feed.Wait(ctx, cursor)
	s.c.p.w.gate(s.c.p.name, "woken by the feed")
	if dead := s.c.alive(ctx); dead != nil {
		return dead
	}
	return err
}

// brief shows a chunk in the trace.
func brief(k store.Chunk) string {
	return fmt.Sprintf("%s[%s..%s]", k.Queue, short(k.Start), short(k.End))
}

// short shows an id in the trace: the base's last digits and the counter.
func short(id string) string {
	if len(id) < 18 {
		return id
	}
	return id[len(id)-14:]
}
