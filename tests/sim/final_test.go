package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/store"
)

// lane is events that were stored in one order: a shard (with lanes, one partition key of it), or a direct writer.
type lane struct {
	name string
	keys map[string][]string // by queue
}

// expected is what the intake stored.
type expected struct {
	lanes map[string]*lane
	// copies is how often each event of a queue was stored, given how often in records that the mapping gave up.
	copies, given map[string]map[string]int
	homes         map[string]map[string]map[string]bool // queue, key -> lanes
	letters       map[string]int                        // by shard, sequence and raw bytes
	optional      map[string]bool                       // letters that need not be
}

func newExpected() *expected {
	return &expected{
		lanes: map[string]*lane{}, copies: map[string]map[string]int{}, given: map[string]map[string]int{},
		homes: map[string]map[string]map[string]bool{}, letters: map[string]int{}, optional: map[string]bool{},
	}
}

func sub[V any](m map[string]map[string]V, key string) map[string]V {
	if m[key] == nil {
		m[key] = map[string]V{}
	}
	return m[key]
}

func (e *expected) add(c *content, home, sequence string, given bool) {
	l := e.lanes[home]
	if l == nil {
		l = &lane{name: home, keys: map[string][]string{}}
		e.lanes[home] = l
	}
	for _, x := range c.lines {
		sub(e.copies, x.queue)[x.key]++
		if given {
			sub(e.given, x.queue)[x.key]++
		}
		homes := sub(e.homes, x.queue)
		if homes[x.key] == nil {
			homes[x.key] = map[string]bool{}
		}
		homes[x.key][home] = true
		l.keys[x.queue] = append(l.keys[x.queue], x.key)
	}
	for _, raw := range c.dead {
		k := letterKey(home, sequence, raw)
		e.letters[k]++
		if given {
			e.optional[k] = true
		}
	}
	for _, raw := range c.maybe {
		k := letterKey(home, sequence, raw)
		e.letters[k]++
		e.optional[k] = true
	}
}

func letterKey(home, sequence string, raw []byte) string {
	return fmt.Sprintf("%s %s %q", home, sequence, raw)
}

// final checks, once everything has come to rest, what is published against what the intake stored.
func (o *oracle) final(s *stream, writers []*writer) {
	want := newExpected()
	discards := false
	if s != nil {
		s.each(func(r *record) {
			home := r.shard.name
			if o.w.plan.lanes {
				home += "/" + r.partition
			}
			discards = discards || r.discarded
			want.add(r.content, home, r.sequence, r.discarded)
		})
	}
	for _, wr := range writers {
		for _, c := range wr.committed {
			want.add(c, wr.name, strconv.Itoa(c.sequence), false)
		}
	}
	for name := range want.copies {
		o.queue(name)
	}
	for _, name := range slices.Sorted(maps.Keys(o.queues)) {
		switch q := o.queues[name]; {
		case name == deadletter.Queue:
		case strings.HasSuffix(name, store.ArchiveSuffix):
			o.archived(q)
		case strings.HasSuffix(name, store.SnapshotSuffix):
			o.counts(q, want) // Its order is not that of its ids.
		default:
			o.counts(q, want)
			o.order(q, want, writers, discards)
		}
		o.whole(o.queues[name])
	}
	o.letters(want)
}

// counts checks that each stored copy of an event is published once.
func (o *oracle) counts(q *queueLog, want *expected) {
	got := map[string]int{}
	for _, e := range q.events {
		got[e.key]++
	}
	for _, key := range slices.Sorted(maps.Keys(want.copies[q.name])) {
		n, most := got[key], want.copies[q.name][key]
		least := most - want.given[q.name][key]
		if n < least {
			o.w.fail("every stored event is published", "queue %s: %s stored %d times, published %d times", q.name, key, most, n)
		}
		if n > most {
			o.w.fail("every stored event is published once", "queue %s: %s stored %d times, published %d times", q.name, key, most, n)
		}
	}
	for key := range got {
		if want.copies[q.name][key] == 0 {
			o.w.fail("only stored events are published", "queue %s: %q", q.name, key)
		}
	}
}

// order checks that the events of each lane are published in the lane's order, and those of a careful writer in the writer's.
func (o *oracle) order(q *queueLog, want *expected, writers []*writer, discards bool) {
	if !discards {
		for _, name := range slices.Sorted(maps.Keys(want.lanes)) {
			l := want.lanes[name]
			only := func(key string) bool { h := want.homes[q.name][key]; return len(h) == 1 && h[name] }
			var stored, got []string
			for _, key := range l.keys[q.name] {
				if only(key) {
					stored = append(stored, key)
				}
			}
			for _, e := range q.events {
				if only(e.key) {
					got = append(got, e.key)
				}
			}
			for i := range stored {
				if i >= len(got) || got[i] != stored[i] {
					o.w.fail("events keep the order of their shard (C7)", "queue %s, %s: %v, stored %v", q.name, name, got, stored)
					return
				}
			}
		}
		for _, wr := range writers {
			if !wr.careful {
				continue
			}
			last := 0
			seen := map[string]bool{}
			for _, e := range q.events {
				name, number, _ := strings.Cut(e.key, ".")
				if name != wr.name || seen[e.key] {
					continue
				}
				seen[e.key] = true
				n, err := strconv.Atoi(number)
				if err != nil || n < last {
					o.w.fail("events keep the order of their writer", "queue %s: %s after %d", q.name, e.key, last)
					return
				}
				last = n
			}
		}
	}
}

// archived checks that an archive holds the events up to its end, each once, under their own ids (C39, C40).
func (o *oracle) archived(a *queueLog) {
	live := o.queue(strings.TrimSuffix(a.name, store.ArchiveSuffix))
	row, err := o.base.Queues.Get(context.Background(), live.name)
	if err != nil || row.ArchiveEnd != a.head {
		o.w.fail("the archive ends where it says", "queue %s: end %s, newest %s: %v", live.name, row.ArchiveEnd, a.head, err)
		return
	}
	for i, e := range a.events {
		if i >= len(live.events) || live.events[i].id != e.id || live.events[i].key != e.key {
			o.w.fail("an archive holds the events of its queue", "queue %s, event %d: %s %s, not %s", live.name, i, e.id, e.key, at(live.events, i))
			return
		}
	}
	if n := len(a.events); n > 0 && a.events[n-1].id != a.head {
		o.w.fail("an archive holds the events of its queue", "queue %s: ends with %s, not %s", live.name, a.events[n-1].id, a.head)
	}
}

// whole checks that the store holds what was published and, above the head, nothing that nobody would remove.
func (o *oracle) whole(q *queueLog) {
	row, err := o.base.Queues.Get(context.Background(), q.name)
	if err != nil && !errors.Is(err, store.ErrNotFound) || row.Head != q.head {
		o.w.fail("the head is what was published", "queue %s: %s, not %s: %v", q.name, row.Head, q.head, err)
		return
	}
	list := o.query(q.name, "", beyond)
	if strings.HasSuffix(q.name, store.SnapshotSuffix) {
		for i := range list {
			if _, ok := q.known[list[i].End]; !ok && !row.Sequencing.Open {
				o.w.fail("the index holds what was published", "queue %s: chunk %s..%s", q.name, list[i].Start, list[i].End)
			}
		}
		return
	}
	for i := range list {
		switch {
		case i < len(q.chunks) && list[i].End == q.chunks[i].End && list[i].Start == q.chunks[i].Start:
		case i >= len(q.chunks) && row.Sequencing.Open:
		default:
			o.w.fail("the index holds what was published", "queue %s, head %s: chunk %s..%s", q.name, q.head, list[i].Start, list[i].End)
			return
		}
	}
	if len(list) < len(q.chunks) {
		o.w.fail("a published event stays", "queue %s: %d chunks of %d", q.name, len(list), len(q.chunks))
	}
}

// letters checks the dead-letter queue: each letter once, with the bytes that came.
func (o *oracle) letters(want *expected) {
	q := o.queue(deadletter.Queue)
	got := map[string]int{}
	for _, e := range q.events {
		l, err := parseLetter(e.raw)
		if err != nil {
			o.w.fail("dead letters can be read", "%s: %v", e.id, err)
			return
		}
		home := l.Shard
		if o.w.plan.plainLanes {
			home = ""
		}
		if o.w.plan.direct {
			// A direct intake has no shard; the raw bytes and the sequence tell which writer it was, nearly always.
			home = ""
		}
		got[letterKey(home, l.Sequence, l.Bytes())]++
	}
	all := want.letters
	if o.w.plan.direct || o.w.plan.plainLanes {
		all = map[string]int{}
		for k, n := range want.letters {
			_, rest, _ := strings.Cut(k, " ")
			all[" "+rest] += n
		}
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		if got[k] > all[k] || got[k] < all[k] && !want.optional[k] {
			o.w.fail("bad input is kept, once, as it came", "%s: %d times in the dead-letter queue, not %d", k, got[k], all[k])
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if all[k] == 0 {
			o.w.fail("bad input is kept, once, as it came", "nobody wrote %s", k)
		}
	}
	o.w.counters.letters += len(q.events)
}
