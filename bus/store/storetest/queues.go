package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/rstreams-go/rstreams/bus/store"
)

var queueTests = []test{
	{"Get of an unknown queue is ErrNotFound", func(e *env) {
		_, err := e.Queues.Get(e.Context(), e.name("none"))
		e.is(err, store.ErrNotFound)
	}},
	{"a queue without a name is refused", func(e *env) {
		_, err := e.Queues.Claim(e.Context(), claim("", "a", "", 0))
		e.is(err, store.ErrInvalid)
		e.is(e.Queues.SetArchive(e.Context(), "", id(1, 0)), store.ErrInvalid)
		e.is(e.Queues.SetSnapshot(e.Context(), "", "a", "b"), store.ErrInvalid)
	}},
	{"Claim creates the row and stores what Queue.Claim says", func(e *env) {
		c := claim(e.name("q"), "a", "1", 5)
		g, err := e.Queues.Claim(e.Context(), c)
		e.ok(err)
		want, grant, err := store.Queue{}.Claim(c)
		e.ok(err)
		e.same(g, grant)
		e.same(e.queue(c.Queue), want)
	}},
	{"Advance stores what Queue.Advance says", func(e *env) {
		c := claim(e.name("q"), "a", "1", 5)
		g, err := e.Queues.Claim(e.Context(), c)
		e.ok(err)
		want := e.queue(c.Queue)
		a := store.Advance{Queue: c.Queue, Fence: g.Fence, Head: id(5, 9), Shard: "s", Through: "1:5", Now: base + 9}
		e.ok(e.Queues.Advance(e.Context(), a))
		want, err = want.Advance(a)
		e.ok(err)
		e.same(e.queue(c.Queue), want)
	}},
	{"a claim that is released publishes nothing", func(e *env) {
		q := e.name("q")
		e.publish(q, "a", 1, id(base1, 3))
		g, err := e.Queues.Claim(e.Context(), claim(q, "a", "2", 10))
		e.ok(err)
		e.ok(e.Queues.Advance(e.Context(), store.Advance{Queue: q, Fence: g.Fence, Now: base + 10}))
		got := e.queue(q)
		e.same(got.Head, id(base1, 3))
		if got.Sequencing.Open || got.Sequencing.Lease != 0 {
			e.Errorf("the claim is still open: %+v", got.Sequencing)
		}
	}},
	{"Advance without the newest fence is ErrConflict and changes nothing", func(e *env) {
		q := e.name("q")
		old, err := e.Queues.Claim(e.Context(), claim(q, "a", "1", 1))
		e.ok(err)
		g, err := e.Queues.Claim(e.Context(), claim(q, "a", "1", 1)) // the same owner again, after a restart
		e.ok(err)
		before := e.queue(q)
		for _, fence := range []int64{old.Fence, 0, g.Fence + 1} {
			e.is(e.Queues.Advance(e.Context(), store.Advance{Queue: q, Fence: fence, Head: id(1, 0)}), store.ErrConflict)
		}
		e.is(e.Queues.Advance(e.Context(), store.Advance{Queue: e.name("none"), Fence: 1, Head: id(1, 0)}), store.ErrConflict)
		e.same(e.queue(q), before)
		e.ok(e.Queues.Advance(e.Context(), store.Advance{Queue: q, Fence: g.Fence, Head: id(1, 0)}))
		e.is(e.Queues.Advance(e.Context(), store.Advance{Queue: q, Fence: g.Fence, Head: id(2, 0)}), store.ErrConflict)
	}},
	{"a head that is no id is ErrInvalid, and the claim stays", func(e *env) {
		q := e.name("q")
		g, err := e.Queues.Claim(e.Context(), claim(q, "a", "1", 1))
		e.ok(err)
		for _, head := range []string{"z/", "z", id(1, 0) + " ", "_snapshot/" + id(1, 0)} {
			e.is(e.Queues.Advance(e.Context(), store.Advance{Queue: q, Fence: g.Fence, Head: head}), store.ErrInvalid)
		}
		e.ok(e.Queues.Advance(e.Context(), store.Advance{Queue: q, Fence: g.Fence, Head: id(1, 0)}))
	}},
	{"a head never moves backwards", func(e *env) { // C31, W-D4
		q := e.name("q")
		e.publish(q, "a", 1, id(5, 5))
		for i, head := range []string{id(5, 4), id(4, 9), id(5, 5), id(1, 0)} {
			e.publish(q, "a", i+2, head)
			e.same(e.queue(q).Head, id(5, 5))
		}
		e.publish(q, "a", 9, id(5, 6))
		e.same(e.queue(q).Head, id(5, 6))
	}},
	{"a claim on a queue that another owner holds is ErrConflict and says until when", func(e *env) {
		q := e.name("q")
		c := claim(q, "a", "1", 0)
		_, err := e.Queues.Claim(e.Context(), c)
		e.ok(err)
		before := e.queue(q)
		other := claim(q, "b", "1", c.Lease-1)
		_, err = e.Queues.Claim(e.Context(), other)
		e.is(err, store.ErrConflict)
		leased, ok := errors.AsType[*store.LeasedError](err)
		if !ok {
			e.Fatalf("got %v, want a *store.LeasedError", err)
		}
		e.same(*leased, store.LeasedError{Queue: q, Owner: "a", Until: c.Now + c.Lease})
		e.same(e.queue(q), before)
		other.Now = leased.Until
		g, err := e.Queues.Claim(e.Context(), other)
		e.ok(err)
		if !g.Dirty {
			e.Error("taking over an open claim does not warn of leftovers")
		}
	}},
	{"a claim tells of the paths of open claims before it", func(e *env) {
		q := e.name("q/_snapshot")
		for i, want := range [][]string{nil, {"z/2"}, {"z/1", "z/2"}} {
			c := claim(q, "a", fmt.Sprint(i), int64(i))
			c.Paths = []string{fmt.Sprint("z/", 2-i)}
			g, err := e.Queues.Claim(e.Context(), c)
			e.ok(err)
			e.same(g.Paths, want)
			e.same(g.Dirty, i > 0)
		}
		row := e.queue(q)
		e.same(row.Sequencing.Paths, []string{"z/0", "z/1", "z/2"})
		e.ok(e.Queues.Advance(e.Context(), store.Advance{Queue: q, Fence: row.Sequencing.Fence, Head: id(9, 0), Shard: "s", Through: "9", Now: base}))
		e.same(e.queue(q).Sequencing.Paths, []string(nil))
	}},
	{"a retry of an unpublished batch gets its base again", func(e *env) {
		q := e.name("q")
		e.publish(q, "a", 1, id(0, 0))
		g1, err := e.Queues.Claim(e.Context(), claim(q, "a", "7", 50))
		e.ok(err)
		retry := claim(q, "a", "7", 90)
		g2, err := e.Queues.Claim(e.Context(), retry)
		e.ok(err)
		e.same(g2.Base, g1.Base)
		if g2.Fence <= g1.Fence || !g2.Dirty {
			e.Errorf("the retry's grant %+v is not a new, dirty one after %+v", g2, g1)
		}
		g3, err := e.Queues.Claim(e.Context(), claim(q, "a", "8", 50))
		e.ok(err)
		if g3.Base <= g2.Base {
			e.Errorf("another batch got base %d after %d", g3.Base, g2.Base)
		}
	}},
	{"each of many concurrent claims sees the outcome of the one before", func(e *env) {
		q := e.name("q")
		n := e.rounds(40)
		grants := make([]store.Grant, n)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				g, err := e.Queues.Claim(e.Context(), claim(q, "a", fmt.Sprint(i+1), 0))
				if err != nil {
					e.Error(err)
				}
				grants[i] = g
			})
		}
		wg.Wait()
		fences, bases := map[int64]bool{}, map[int64]bool{}
		for _, g := range grants {
			fences[g.Fence], bases[g.Base] = true, true
		}
		e.same([]int{len(fences), len(bases)}, []int{n, n})
		// Of a claim whose answer was lost the caller takes another one, so that there may be more fences than grants.
		e.same(e.queue(q).Sequencing.Fence, slices.Max(slices.Collect(maps.Keys(fences))))
	}},
	{"of many owners that claim at once exactly one holds the queue", func(e *env) {
		for round := range e.rounds(10) {
			q := e.name(fmt.Sprint("q", round))
			var mu sync.Mutex
			var winners []string
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					owner := fmt.Sprint("owner", i)
					_, err := e.Queues.Claim(e.Context(), claim(q, owner, "1", 0))
					switch {
					case err == nil:
						mu.Lock()
						winners = append(winners, owner)
						mu.Unlock()
					case !errors.Is(err, store.ErrConflict):
						e.Error(err)
					}
				})
			}
			wg.Wait()
			e.same(winners, []string{e.queue(q).Sequencing.Owner})
		}
	}},
	{"SetArchive moves forward only and creates the row", func(e *env) { // C40
		q := e.name("q")
		for _, c := range [][2]string{{id(3, 0), id(3, 0)}, {id(2, 0), id(3, 0)}, {id(3, 1), id(3, 1)}, {"", id(3, 1)}} {
			e.ok(e.Queues.SetArchive(e.Context(), q, c[0]))
			e.same(e.queue(q).ArchiveEnd, c[1])
		}
		e.same(e.queue(q).Name, q)
	}},
	{"the last SetSnapshot wins and creates the row", func(e *env) { // C41
		q := e.name("q")
		for _, s := range []string{"b", "a"} {
			e.ok(e.Queues.SetSnapshot(e.Context(), q, "_snapshot/z/"+s, "z/"+s))
		}
		e.same(e.queue(q), store.Queue{Name: q, SnapshotStart: "_snapshot/z/a", SnapshotNext: "z/a"})
	}},
	{"writers of different fields of a row do not undo each other", func(e *env) {
		q := e.name("q")
		n := e.rounds(30)
		var wg sync.WaitGroup
		loop := func(fn func(i int) error) {
			wg.Go(func() {
				for i := range n {
					if err := fn(i); err != nil {
						e.Error(err)
					}
				}
			})
		}
		loop(func(i int) error { return e.Queues.SetArchive(e.Context(), q, id(int64(i), 0)) })
		loop(func(i int) error { return e.Queues.SetSnapshot(e.Context(), q, fmt.Sprint(i), fmt.Sprint(i)) })
		loop(func(i int) error {
			g, err := e.Queues.Claim(e.Context(), claim(q, "a", fmt.Sprint(i+1), int64(i)))
			if err != nil {
				return err
			}
			return e.Queues.Advance(e.Context(), store.Advance{
				Queue: q, Fence: g.Fence, Head: id(int64(i), 0), Shard: "s", Through: fmt.Sprint(i + 1), Now: base})
		})
		wg.Wait()
		got := e.queue(q)
		e.same([]string{got.ArchiveEnd, got.SnapshotNext, got.Head, got.Sequencing.Through["s"]},
			[]string{id(int64(n-1), 0), fmt.Sprint(n - 1), id(int64(n-1), 0), fmt.Sprint(n)})
	}},
	{"List returns rows after a name in order, and fewer than the limit at the end", func(e *env) {
		names := []string{"a", "a-b", "a/_archive", "a1", "b", "c", "é"}
		for i, n := range names {
			e.ok(e.Queues.SetArchive(e.Context(), e.name(n), id(int64(i), 0)))
		}
		for _, limit := range []int{1, 3, 100} {
			var got []string
			for after := e.prefix; ; {
				page, err := e.Queues.List(e.Context(), after, limit)
				e.ok(err)
				if len(page) > limit {
					e.Fatalf("limit %d gave %d rows", limit, len(page))
				}
				for _, q := range page {
					if base, mine := e.base(q.Name); mine {
						e.same(q, e.queue(q.Name))
						got = append(got, base)
					}
				}
				if len(page) < limit || !e.mine(page[len(page)-1].Name) {
					break
				}
				after = page[len(page)-1].Name
			}
			e.same(got, names)
		}
	}},
	{"what a call returned stays as it is", func(e *env) {
		q := e.name("q")
		e.publish(q, "a", 1, id(1, 0))
		got := e.queue(q)
		got.Sequencing.Through["s"] = "spoilt"
		e.publish(q, "a", 2, id(2, 0))
		e.same(e.queue(q).Sequencing.Through, map[string]string{"s": "2"})
		e.same(got.Head, id(1, 0))
	}},
}

// base1 is a ms after base.
const base1 = int64(1)

// lease of the claims that tests make, in ms.
const leaseMillis = 10_000

// claim returns owner's claim of a batch of shard "s", at ms after base.
func claim(queue, owner, first string, ms int64) store.Claim {
	return store.Claim{
		Queue: queue, Owner: owner, Shard: "s", First: first, Arrival: base + ms, Now: base + ms, Lease: leaseMillis,
	}
}

// queue returns a row that must exist.
func (e *env) queue(name string) store.Queue {
	e.Helper()
	q, err := e.Queues.Get(e.Context(), name)
	e.ok(err)
	return q
}

// publish claims queue for a batch and advances its head.
func (e *env) publish(queue, owner string, mark int, head string) {
	e.Helper()
	e.ok(e.tryPublish(queue, owner, mark, head))
}

// tryPublish is publish for other goroutines than the test's.
func (e *env) tryPublish(queue, owner string, mark int, head string) error {
	return publish(e.Context(), e.Store, queue, owner, mark, head)
}

func publish(ctx context.Context, s store.Store, queue, owner string, mark int, head string) error {
	g, err := s.Queues.Claim(ctx, claim(queue, owner, fmt.Sprint(mark), 0))
	if err != nil {
		return err
	}
	return s.Queues.Advance(ctx, store.Advance{
		Queue: queue, Fence: g.Fence, Head: head, Shard: "s", Through: fmt.Sprint(mark), Now: base,
	})
}

// base returns the base of a name of this test.
func (e *env) base(name string) (string, bool) {
	if !e.mine(name) {
		return "", false
	}
	return name[len(e.prefix)+1:], true
}

func (e *env) mine(name string) bool {
	return len(name) > len(e.prefix) && name[:len(e.prefix)+1] == e.prefix+"-"
}
