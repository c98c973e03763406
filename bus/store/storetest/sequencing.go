package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

var sequencingTests = []test{
	// C22, C23, C31, C32 of bus.md and its rules 1, 2, 6, 7 and 8.
	{"racing sequencers that crash leave no gap, overlap or repeat below the head", func(e *env) {
		w := &world{store: e.Store, queue: e.name("q"), random: rand.New(rand.NewPCG(1, 2))}
		w.now.Store(base)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				s := &sequencer{world: w, owner: fmt.Sprint("owner", i), shard: fmt.Sprint("shard", i)}
				for n := range e.rounds(25) {
					if err := s.batch(e.Context(), n+1); err != nil {
						e.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		w.verify(e.Context(), e.Fatalf)
	}},
}

// world is what racing sequencers share besides the storage: a clock, and the record of what was published.
type world struct {
	store store.Store
	queue string
	// now is the clock, which moves only while nobody is between looking at its lease and writing, as a margin ensures
	// in earnest. It is not used with real.
	clock sync.RWMutex
	now   atomic.Int64
	// real stands for the real clock and a lease that does not run out: the sequencers are in several processes.
	real bool
	// report is told of every publication; it may be nil.
	report func(batchRange) error
	// unreported lets batches be published that are not in published, for their sequencer was killed.
	unreported bool

	mu        sync.Mutex
	random    *rand.Rand
	published []batchRange
}

// batchRange is where a batch was published.
type batchRange struct {
	Name       string
	Start, End string
	Records    int64
}

// millis is the clock, lease how long a claim lasts.
func (w *world) millis() (now, lease int64) {
	if w.real {
		return time.Now().UnixMilli(), time.Hour.Milliseconds()
	}
	return w.now.Load(), leaseMillis
}

func (w *world) roll(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.IntN(n)
}

func (w *world) pass(ms int64) {
	w.clock.Lock()
	defer w.clock.Unlock()
	w.now.Add(ms)
}

// sequencer publishes the batches of one shard to the world's queue.
type sequencer struct {
	*world
	owner, shard string
}

// errCrash stands for the death of a sequencer; errLate for a lease that ran out.
var errCrash, errLate = errors.New("crash"), errors.New("lease ran out")

// batch publishes batch number n of the shard, as often as that takes. Attempts differ in how many records they see and
// how they cut them, as deliveries of an intake do.
func (s *sequencer) batch(ctx context.Context, n int) error {
	for {
		err := s.attempt(ctx, n)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, errCrash), errors.Is(err, errLate), errors.Is(err, store.ErrConflict):
			s.pass(int64(1 + s.roll(leaseMillis/20))) // little: others still hope to finish in their lease
		default:
			return err
		}
	}
}

func (s *sequencer) attempt(ctx context.Context, n int) error {
	mark := store.NewMark(fmt.Sprint(n), 0)
	now, duration := s.millis()
	lease := now + duration
	g, err := s.store.Queues.Claim(ctx, store.Claim{
		Queue: s.queue, Owner: s.owner, Shard: s.shard, First: mark, Arrival: now, Now: now, Lease: duration,
	})
	if err != nil {
		return err
	}
	if store.CompareMarks(mark, g.Through) <= 0 {
		// A delivery of what is published already: its acknowledgement was lost.
		if err := s.sweep(ctx, g, lease, nil); err != nil {
			return err
		}
		return s.holding(lease, func() error {
			return s.store.Queues.Advance(ctx, store.Advance{Queue: s.queue, Fence: g.Fence})
		})
	}
	chunks, err := s.cut(g)
	if err != nil {
		return err
	}
	for i := range chunks { // in any order with the sweep
		if s.roll(8) == 0 {
			return errCrash
		}
		if err := s.holding(lease, func() error { return s.store.Chunks.Put(ctx, chunks[i:i+1]) }); err != nil {
			return err
		}
		if s.roll(8) == 0 {
			s.pass(int64(s.roll(leaseMillis)))
		}
	}
	if err := s.sweep(ctx, g, lease, chunks); err != nil {
		return err
	}
	if s.roll(8) == 0 {
		return errCrash
	}
	r := batchRange{Name: s.shard + "/" + mark, Start: chunks[0].Start, End: chunks[len(chunks)-1].End}
	for _, c := range chunks {
		r.Records += c.Records
	}
	err = s.holding(lease, func() error {
		return s.store.Queues.Advance(ctx, store.Advance{
			Queue: s.queue, Fence: g.Fence, Head: r.End, Shard: s.shard, Through: mark, Now: now})
	})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.published = append(s.published, r)
	s.mu.Unlock()
	if s.report != nil {
		if err := s.report(r); err != nil {
			return err
		}
	}
	if s.roll(8) == 0 {
		return errCrash // after the publication: the batch comes again
	}
	return nil
}

// sweep deletes what crashed attempts left above the head, but for the attempt's own chunks.
func (s *sequencer) sweep(ctx context.Context, g store.Grant, lease int64, own []store.Chunk) error {
	if !g.Dirty {
		return nil
	}
	found, err := all(ctx, s.store, s.queue, g.Head, last)
	if err != nil {
		return err
	}
	var leftovers []string
	for _, c := range found {
		if !slices.ContainsFunc(own, func(o store.Chunk) bool { return o.End == c.End }) {
			leftovers = append(leftovers, c.End)
		}
	}
	return s.holding(lease, func() error { return s.store.Chunks.Delete(ctx, s.queue, leftovers) })
}

// holding runs fn if the lease still runs, and holds the clock meanwhile.
func (s *sequencer) holding(lease int64, fn func() error) error {
	s.clock.RLock()
	defer s.clock.RUnlock()
	if now, _ := s.millis(); now >= lease {
		return errLate
	}
	return fn()
}

// cut makes the chunks of an attempt: each says what came before it.
func (s *sequencer) cut(g store.Grant) ([]store.Chunk, error) {
	var out []store.Chunk
	prev := g.Head
	from := 0
	for range 1 + s.roll(4) {
		n := 1 + s.roll(20)
		start, err1 := eid.New(g.Base, from)
		end, err2 := eid.New(g.Base, from+n-1)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		out = append(out, store.Chunk{Queue: s.queue, Start: start.String(), End: end.String(), Records: int64(n),
			Size: int64(n), GzipSize: 1, Gzip: []byte{byte(n)}, Prev: prev})
		prev = end.String()
		from += n
	}
	return out, nil
}

// verify reads what is published and compares it with what the sequencers know.
func (w *world) verify(ctx context.Context, fail func(format string, args ...any)) {
	q, err := w.store.Queues.Get(ctx, w.queue)
	if err != nil {
		fail("head: %v", err)
		return
	}
	chunks, err := all(ctx, w.store, w.queue, "", q.Head)
	if err != nil {
		fail("read: %v", err)
		return
	}
	prev := ""
	byBatch := map[string]int64{}
	for _, c := range chunks {
		start, err1 := eid.Parse(c.Start)
		end, err2 := eid.Parse(c.End)
		switch {
		case err1 != nil || err2 != nil:
			fail("chunk with ids %q and %q", c.Start, c.End)
			return
		case c.Start <= prev:
			fail("chunk %s..%s overlaps the one before it, which ends at %s", c.Start, c.End, prev)
		case c.Prev != prev:
			fail("chunk %s should follow %q, but %q is before it: a chunk is missing, or a leftover was published", c.End, c.Prev, prev)
		case int64(end.Counter-start.Counter)+1 != c.Records:
			fail("chunk %s..%s has %d records", c.Start, c.End, c.Records)
		}
		prev = c.End
		byBatch[start.Prefix()] += c.Records
	}
	if prev != q.Head {
		fail("the head is %s, the last chunk ends at %s", q.Head, prev)
	}
	seen := map[string]bool{}
	for _, r := range w.published {
		start, _ := eid.Parse(r.Start)
		switch {
		case seen[r.Name]:
			fail("batch %s was published twice", r.Name)
		case byBatch[start.Prefix()] != r.Records:
			fail("batch %s was published with %d records from %s, %d are there", r.Name, r.Records, r.Start, byBatch[start.Prefix()])
		}
		seen[r.Name] = true
		delete(byBatch, start.Prefix())
	}
	if len(byBatch) > 0 && !w.unreported {
		fail("%d batches can be read that nobody published", len(byBatch))
	}
}
