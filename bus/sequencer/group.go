package sequencer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
)

// group is what was decoded of a batch in one go: streams of events, cut into chunks, that have no ids yet.
type group struct {
	cfg     *Config
	shard   string
	arrival int64 // of its first record, in ms
	// latest is the newest arrival among its records, in ms. Ids are not before it: who reads on from a time, such as after a
	// snapshot that was taken then, must find every event that came later.
	latest int64
	to     string // intake mark of its end

	streams   map[streamKey]*stream
	order     []*stream
	snapshots []snapshotRegistration
	// archives holds, for queues of which a repeated archive pointer came, the newest archived id.
	archives map[string]string
	repeats  int64
	// dead are the marks of what becomes a dead letter, also of what was not wanted.
	dead []string
}

// streamKey keeps the events of different snapshots of a queue apart (W-D6).
type streamKey struct {
	queue    string
	snapshot int64
}

type snapshotRegistration struct{ queue, start, next string }

func newGroup(b Batch, from Cursor, cfg *Config) *group {
	g := &group{cfg: cfg, shard: b.Shard, streams: map[streamKey]*stream{}}
	if from.More(b) {
		g.arrival = b.Records[from.record].Arrival
		g.latest = g.arrival
	}
	return g
}

func (g *group) stream(queue string, snapshot int64, mark string) *stream {
	key := streamKey{queue, snapshot}
	st := g.streams[key]
	if st == nil {
		st = &stream{group: g, queue: queue, snapshot: snapshot, first: mark}
		g.streams[key] = st
		g.order = append(g.order, st)
	}
	return st
}

// close seals every stream.
func (g *group) close() {
	for _, st := range g.order {
		st.seal()
	}
}

// names returns the queues of the group, sorted: every retry publishes them in the same order.
func (g *group) names() []string {
	var names []string
	for _, st := range g.order {
		if !slices.Contains(names, st.queue) {
			names = append(names, st.queue)
		}
	}
	slices.Sort(names)
	return names
}

// of returns the streams of a queue, in order of their first event.
func (g *group) of(queue string) []*stream {
	var of []*stream
	for _, st := range g.order {
		if st.queue == queue {
			of = append(of, st)
		}
	}
	return of
}

// paths returns what the ids of a queue of snapshots begin with, nil for other queues: theirs grow along the queue.
func (g *group) paths(queue string) []string {
	if !hasSuffix(queue, store.SnapshotSuffix) {
		return nil
	}
	paths := []string{}
	for _, st := range g.of(queue) {
		paths = append(paths, eid.MinutePath(st.snapshot))
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// stream is the events of one queue (and snapshot) in a group.
type stream struct {
	group    *group
	queue    string
	snapshot int64
	first    string // mark of the first event

	chunks []planned
	total  int64 // events in chunks
	text   []byte
	count  int  // events in text
	loose  bool // some line of text is not as those of a sealed chunk are
	bots   []botStat
	bot    int // of the last event
}

// planned is a chunk whose content is fixed and whose ids are not.
type planned struct {
	records, size int64
	gzip          []byte
	sealed        bool
	pointer       *chunk.Pointer
	bots          []botStat
}

// botStat is what one bot wrote in one chunk.
type botStat struct {
	bot           string
	units         int64
	last          int64 // index of its last event in the chunk
	source, stamp int64 // greatest source time and time, in ms
}

// append takes a scanned event.
func (st *stream) append(l *event.Line, arrival int64) error {
	bot := l.BotBytes()
	if st.bot >= len(st.bots) || st.bots[st.bot].bot != string(bot) {
		st.bot = slices.IndexFunc(st.bots, func(b botStat) bool { return b.bot == string(bot) })
		if st.bot < 0 {
			st.bot = len(st.bots)
			st.bots = append(st.bots, botStat{bot: string(bot)})
		}
	}
	b := &st.bots[st.bot]
	stamp, ok := l.Timestamp()
	if !ok {
		stamp = arrival
	}
	source, ok := l.SourceTimestamp()
	if !ok {
		source = stamp
	}
	b.units += l.Units()
	b.last = int64(st.count)
	b.source, b.stamp = max(b.source, source), max(b.stamp, stamp)

	if st.text == nil {
		st.text = textPool.get()
	}
	st.text = l.AppendStored(st.text, strings.TrimSuffix(st.queue, store.SnapshotSuffix), st.count, arrival)
	st.loose = st.loose || !l.Sealable()
	st.count++
	if len(st.text) >= st.group.cfg.ChunkBytes || st.count >= st.group.cfg.ChunkRecords {
		st.seal()
	}
	return nil
}

// appendPointer takes events that lie in a blob, after those before it.
func (st *stream) appendPointer(p chunk.Pointer) {
	st.seal()
	pl := planned{records: p.Records, size: p.Size, pointer: &p}
	for bot, s := range p.Stats {
		pl.bots = append(pl.bots, botStat{bot: bot, units: s.Units, last: pointerLast(&p, s), source: s.Start, stamp: s.End})
	}
	slices.SortFunc(pl.bots, func(a, b botStat) int { return strings.Compare(a.bot, b.bot) })
	st.chunks = append(st.chunks, pl)
	st.total += p.Records
}

// seal closes the chunk in work. Where chunks end depends on their content alone (rule 4).
func (st *stream) seal() {
	if st.count == 0 {
		return
	}
	st.chunks = append(st.chunks, planned{
		records: int64(st.count), size: int64(len(st.text)), gzip: chunk.AppendGzip(nil, st.text), bots: st.bots,
		sealed: !st.loose,
	})
	st.total += int64(st.count)
	textPool.put(st.text)
	st.text, st.count, st.loose, st.bots, st.bot = nil, 0, false, nil, 0
}

// numbered is a stream's chunks with their ids.
type numbered struct {
	chunks []store.Chunk
	last   string
	stats  []store.Produced
}

// place is where ids go on: the base, in ms, and the counter of the next event.
type place struct {
	base    int64
	counter int
}

// number gives the stream's chunks their ids: the events count on from at in intake order (rule 3), under its base, which is the
// grant's, and under the next ms once the counter is full (W-D7). at is then behind them. Nothing but at and prev, the id before the
// first chunk, takes part.
func (st *stream) number(at *place, prev string) (numbered, error) {
	var out numbered
	for i := range st.chunks {
		pl := &st.chunks[i]
		c := store.Chunk{
			Queue: st.queue, Records: pl.records, Size: pl.size, Gzip: pl.gzip, GzipSize: int64(len(pl.gzip)),
			Snapshot: st.snapshot, Prev: prev, Sealed: pl.sealed, Creator: st.group.cfg.Creator,
		}
		if p := pl.pointer; p != nil {
			c.Gzip, c.Blob, c.Offsets, c.GzipSize, c.Sealed = nil, &p.Blob, p.Offsets, p.GzipSize, false
			c.Timestamp, c.SourceTimestamp, c.Archive = p.Timestamp, p.SourceTimestamp, p.Archive
			if p.Creator != "" {
				c.Creator = p.Creator
			}
		}
		var first eid.ID
		if c.Archive {
			c.Start, c.End, c.Prev = pl.pointer.StartID, pl.pointer.EndID, ""
		} else {
			if int64(at.counter)+pl.records > eid.MaxCounter+1 {
				*at = place{base: at.base + 1}
			}
			var err error
			if first, err = st.id(at.base, at.counter); err != nil {
				return numbered{}, err
			}
			last, err := first.Add(int(pl.records - 1))
			if err != nil {
				return numbered{}, fmt.Errorf("queue %s: %w", st.queue, err)
			}
			c.Start, c.End = first.String(), last.String()
			at.counter += int(pl.records)
		}
		if ttl := st.group.cfg.TTL; ttl > 0 && !c.Archive && st.snapshot == 0 {
			// By the id, not by the arrival, which need not grow along the queue: chunks must go in their order, or a reader that
			// comes late finds the earlier ones and a hole behind them.
			c.Expires = (at.base + ttl.Milliseconds()) / 1000
		}
		out.add(st.queue, c, pl.bots, first, at.base)
		prev = c.End
	}
	return out, nil
}

func (st *stream) id(base int64, counter int) (eid.ID, error) {
	id, err := eid.New(base, counter)
	if err != nil {
		return id, fmt.Errorf("queue %s: %w", st.queue, err)
	}
	if st.snapshot != 0 {
		id.Path = eid.MinutePath(st.snapshot)
	}
	return id, nil
}
