package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
)

// stream is a Kinesis stream: shards over a range of hash keys, each a log.
type stream struct {
	w      *world
	shards []*shard
	next   int
}

// hashRange is the number of hash keys. Kinesis has 2^128; nothing depends on it.
const hashRange = 1 << 32

type shard struct {
	name    string
	lo, hi  uint64 // hash keys, hi excluded
	parents []*shard
	records []*record
	closed  bool
	drained bool // everything was delivered, and will not be again
	skew    int64
	seq     uint64
	more    chan struct{} // a record came, or the shard closed
}

// record is a stored record.
type record struct {
	*content
	shard     *shard
	sequence  string
	arrival   int64
	discarded bool // the mapping gave it up; the failure destination holds it
}

// content is what a writer puts, and what it means by it.
type content struct {
	writer       *writer
	partition    string
	hash         uint64
	data         []byte
	lines        []line
	dead         [][]byte  // what has to come to the dead-letter queue, as raw bytes
	maybe        [][]byte  // what may come there
	derived      *enricher // the bot on the SDK that wrote it, of sources
	sources      []string
	sequence     int // of direct writers
	acknowledged bool
}

// line is one event.
type line struct{ queue, key string }

func newStream(w *world, shards int) *stream {
	s := &stream{w: w}
	step := uint64(hashRange / shards)
	for i := range shards {
		hi := uint64(i+1) * step
		if i == shards-1 {
			hi = hashRange
		}
		s.add(uint64(i)*step, hi)
	}
	return s
}

func (s *stream) add(lo, hi uint64, parents ...*shard) *shard {
	sh := &shard{
		name: fmt.Sprintf("shardId-%03d", s.next), lo: lo, hi: hi, parents: parents,
		// Sequence numbers soon gain a digit: they are numbers, not text.
		seq: 97 + uint64(s.next)*5000, more: make(chan struct{}, 1),
	}
	if skew := s.w.plan.clockSkew.Milliseconds(); skew > 0 {
		sh.skew = s.w.rng.Int64N(2*skew) - skew
	}
	s.next++
	s.shards = append(s.shards, sh)
	return sh
}

func hashKey(partition string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(partition))
	return h.Sum64() % hashRange
}

func (s *stream) route(hash uint64) *shard {
	for _, sh := range s.shards {
		if !sh.closed && sh.lo <= hash && hash < sh.hi {
			return sh
		}
	}
	panic("no shard holds the hash key")
}

var errPut = errors.New("simulated failure of a record")

// put is PutRecords: each record is stored, or not, and the caller is told, or not. The caller has the turn.
func (s *stream) put(p *proc, list []*content) []error {
	p.turn("PutRecords")
	return s.take(p.name, list)
}

// take is put for a caller who has the turn.
func (s *stream) take(who string, list []*content) []error {
	w := s.w
	errs := make([]error, len(list))
	rate := w.plan.putFaults
	if w.calm {
		rate = 0
	}
	if chance(w.rng, rate/4) {
		w.note(who, "PutRecords: dropped")
		return slices.Repeat([]error{errPut}, len(list))
	}
	lost := chance(w.rng, rate/4)
	for i, c := range list {
		if chance(w.rng, rate) {
			errs[i] = errPut
			if w.rng.IntN(4) != 0 {
				w.note(who, "PutRecords: %d not stored", i)
				continue
			}
		}
		r := s.store(c)
		w.note(who, "PutRecords: %s %s %v dead %d, failed %t", r.shard.name, r.sequence, c.lines, len(c.dead), errs[i] != nil)
	}
	if lost {
		w.note(who, "PutRecords: response lost")
		return slices.Repeat([]error{errPut}, len(list))
	}
	return errs
}

// store appends c to its shard.
func (s *stream) store(c *content) *record {
	sh := s.route(c.hash)
	sh.seq += 1 + uint64(s.w.rng.IntN(3))
	r := &record{content: c, shard: sh, sequence: strconv.FormatUint(sh.seq, 10), arrival: s.w.now().UnixMilli() + sh.skew}
	sh.records = append(sh.records, r)
	for _, id := range c.sources {
		c.derived.derived[id] = true
	}
	sh.drained = false
	sh.signal()
	s.w.counters.records++
	return r
}

func (sh *shard) signal() {
	select {
	case sh.more <- struct{}{}:
	default:
	}
}

// wait blocks until something may have come.
func (sh *shard) wait(p *proc) {
	select {
	case <-sh.more:
	case <-p.w.ctx.Done():
	}
	p.turn("records")
}

// reshard splits or merges, now and then.
func (s *stream) reshard(p *proc, start func(*shard)) {
	for range s.w.plan.reshards {
		p.sleep(p.between(0, 20*1e9))
		var open []*shard
		for _, sh := range s.shards {
			if !sh.closed {
				open = append(open, sh)
			}
		}
		i := p.rng.IntN(len(open))
		a := open[i]
		if j := slices.IndexFunc(open, func(b *shard) bool { return b.lo == a.hi }); j >= 0 && p.rng.IntN(2) == 0 {
			b := open[j]
			a.closed, b.closed = true, true
			child := s.add(a.lo, b.hi, a, b)
			s.w.note(p.name, "merge %s %s into %s", a.name, b.name, child.name)
			b.signal()
			start(child)
		} else if a.hi-a.lo > 2 {
			a.closed = true
			mid := a.lo + 1 + uint64(p.rng.Int64N(int64(a.hi-a.lo-1)))
			x, y := s.add(a.lo, mid, a), s.add(mid, a.hi, a)
			s.w.note(p.name, "split %s into %s %s", a.name, x.name, y.name)
			start(x)
			start(y)
		}
		a.signal()
	}
}

// drained tells whether every record was delivered, for good.
func (s *stream) drained() bool {
	return !slices.ContainsFunc(s.shards, func(sh *shard) bool { return !sh.drained })
}

// each runs fn for every record that was ever stored.
func (s *stream) each(fn func(*record)) {
	for _, sh := range s.shards {
		for _, r := range sh.records {
			fn(r)
		}
	}
}

// invocation is a context of one Lambda call.
func invocation(p *proc) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(p.ctx, p.w.plan.timeout, errTimeout)
}
