package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/gzip"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
)

// oracle watches every write that takes effect, and knows what must be true of it. It sees the store as it is, without
// faults, and always has the turn.
type oracle struct {
	w      *world
	base   store.Store
	queues map[string]*queueLog
	bots   map[string]*botLog
	texts  map[string][][]byte // lines by compressed content: most is seen many times
	// written is the End of each chunk that was ever put, by batch, queue and Start.
	written map[string]string
}

// queueLog is what has been published of a queue.
type queueLog struct {
	name   string
	head   string
	chunks []published
	events []publishedEvent
	known  map[string]int // chunk by End
	// claim and base are of the newest claim; open tells that it was neither published nor released.
	claim store.Claim
	base  int64
	open  bool
}

type published struct {
	store.Chunk
	first int // its first event
}

type publishedEvent struct {
	id, key string
	raw     []byte
}

type botLog struct {
	read  map[string]string     // checkpoint by reference
	moved func(position string) // told of checkpoints
}

const beyond = "z0" // above every id

func newOracle(w *world, base store.Store) *oracle {
	return &oracle{
		w: w, base: base, queues: map[string]*queueLog{}, bots: map[string]*botLog{}, texts: map[string][][]byte{},
		written: map[string]string{},
	}
}

func (o *oracle) queue(name string) *queueLog {
	q := o.queues[name]
	if q == nil {
		q = &queueLog{name: name, known: map[string]int{}}
		o.queues[name] = q
	}
	return q
}

func (o *oracle) bot(id string) *botLog {
	b := o.bots[id]
	if b == nil {
		b = &botLog{read: map[string]string{}}
		o.bots[id] = b
	}
	return b
}

// claimed checks a grant: it knows the head, the base is new, and the retry of an unpublished batch gets its own base again.
func (o *oracle) claimed(p *proc, c store.Claim, g store.Grant) {
	if g.Dirty {
		o.w.counters.takeovers++
	}
	q := o.queue(c.Queue)
	if g.Head != q.head {
		o.w.fail("a claim sees the head", "queue %s: %q, not %q", c.Queue, g.Head, q.head)
	}
	switch again := q.open && q.claim.Shard == c.Shard && q.claim.First == c.First; {
	case again && g.Base != q.base:
		o.w.fail("a retry keeps its base", "queue %s, from %s of %s: %d, before %d", c.Queue, c.First, c.Shard, g.Base, q.base)
	case !again && g.Base <= q.base:
		o.w.fail("a base is used by one batch", "queue %s, from %s of %s: %d, before %d", c.Queue, c.First, c.Shard, g.Base, q.base)
	}
	q.claim, q.base, q.open = c, g.Base, true
}

// put checks that no chunk was put among the visible ones (C22, C32), where writing a published chunk again, as it is, is no
// change; and that a retry of a batch, under the same base, makes the same chunks as the attempt before.
func (o *oracle) put(p *proc, list []store.Chunk) {
	for i := range list {
		c := &list[i]
		q := o.queue(c.Queue)
		if p.batch != "" && !c.Archive {
			key := p.batch + " " + c.Queue + " " + c.Start
			if end, ok := o.written[key]; ok && end != c.End {
				o.w.fail("a retry makes the same chunks", "queue %s: %s..%s, before %s", q.name, c.Start, c.End, end)
			}
			o.written[key] = c.End
		}
		if q.head == "" || store.LaterHead(q.name, c.End, q.head) {
			continue
		}
		j, ok := q.known[c.End]
		if !ok {
			o.w.fail("nothing is added at or below a visible head (C32)", "queue %s, head %s: chunk %s..%s", q.name, q.head, c.Start, c.End)
		} else if k := &q.chunks[j]; k.Start != c.Start || k.Records != c.Records || k.Prev != c.Prev || !bytes.Equal(k.Gzip, c.Gzip) {
			o.w.fail("a published event keeps its id", "queue %s, head %s: chunk %s..%s replaced by %s..%s",
				q.name, q.head, k.Start, k.End, c.Start, c.End)
		}
	}
}

func (o *oracle) deleting(queue string, ends []string) {
	q := o.queue(queue)
	for _, end := range ends {
		if _, ok := q.known[end]; ok {
			o.w.fail("a published event stays", "queue %s, head %s: chunk %s deleted", queue, q.head, end)
		}
	}
}

// advanced checks what became visible, and that nothing else did.
func (o *oracle) advanced(a store.Advance) {
	q := o.queue(a.Queue)
	q.open = false
	row, err := o.base.Queues.Get(context.Background(), a.Queue)
	if err != nil {
		o.w.fail("a queue stays", "%v", err)
		return
	}
	switch {
	case row.Head == q.head:
	case q.head != "" && !store.LaterHead(q.name, row.Head, q.head):
		o.w.fail("heads never move back (C31)", "queue %s: from %s to %s", q.name, q.head, row.Head)
		return
	default:
		o.w.counters.publications++
		o.reveal(q, row.Head)
	}
	if !strings.HasSuffix(q.name, store.SnapshotSuffix) && o.w.failure == nil {
		if left := o.query(q.name, q.head, beyond); len(left) > 0 {
			o.w.fail("nothing is left above a released head", "queue %s, head %s: chunk %s..%s", q.name, q.head, left[0].Start, left[0].End)
		}
	}
}

// reveal takes in the chunks up to head.
func (o *oracle) reveal(q *queueLog, head string) {
	snapshot, archive := strings.HasSuffix(q.name, store.SnapshotSuffix), strings.HasSuffix(q.name, store.ArchiveSuffix)
	list := o.query(q.name, q.head, head)
	if snapshot { // Ids of an older snapshot lie before those of a newer one.
		list = slices.DeleteFunc(o.query(q.name, "", beyond), func(c store.Chunk) bool {
			_, ok := q.known[c.End]
			return ok || store.LaterHead(q.name, c.End, head)
		})
	}
	prev := q.head
	for i := range list {
		c := &list[i]
		if err := o.sound(c); err != nil {
			o.w.fail("a chunk is well formed (C20..C24)", "queue %s: %v", q.name, err)
			return
		}
		if !snapshot && c.Start <= prev {
			o.w.fail("chunks do not overlap (C22)", "queue %s: %s..%s after %s", q.name, c.Start, c.End, prev)
			return
		}
		if c.Prev != prev && !snapshot && !archive {
			o.w.fail("the chain of chunks is unbroken", "queue %s: %s..%s says it follows %q, it follows %q", q.name, c.Start, c.End, c.Prev, prev)
			return
		}
		prev = c.End
		q.known[c.End] = len(q.chunks)
		q.chunks = append(q.chunks, published{*c, len(q.events)})
		first, _ := eid.Parse(c.Start) // sound has parsed it.
		lines, err := o.lines(c)
		if err != nil {
			o.w.fail("a chunk can be read", "queue %s: %s..%s: %v", q.name, c.Start, c.End, err)
			return
		}
		for n, l := range lines {
			id := first
			id.Counter += n
			e := publishedEvent{id: id.String(), key: keyOf(l), raw: l}
			if archive {
				e.id = eidOf(l)
			}
			q.events = append(q.events, e)
			if q.name == deadletter.Queue && o.w.tracing {
				letter, err := parseLetter(l)
				o.w.note("oracle", "dead letter: %s %s: %s %v", letter.Sequence, letter.Reason, letter.Error, err)
			}
		}
		o.w.counters.events += len(lines)
	}
	if prev != head && !snapshot {
		o.w.fail("the head is the newest event (C30)", "queue %s: head %s, newest chunk ends at %s", q.name, head, prev)
		return
	}
	q.head = head
}

func (o *oracle) query(queue, after, through string) (all []store.Chunk) {
	for {
		page, err := o.base.Chunks.Query(context.Background(), queue, after, through, 0, 0)
		if err != nil {
			o.w.fail("chunks can be queried", "%v", err)
			return nil
		}
		all = append(all, page.Chunks...)
		if !page.More {
			return all
		}
		after = all[len(all)-1].End
	}
}

// sound checks a chunk by itself.
func (o *oracle) sound(c *store.Chunk) error {
	start, err1 := eid.Parse(c.Start)
	end, err2 := eid.Parse(c.End)
	switch {
	case err1 != nil || err2 != nil:
		return errors.Join(err1, err2)
	case c.Archive:
		return nil // It covers what it covers; final compares it with the queue.
	case start.Prefix() != end.Prefix():
		return fmt.Errorf("%s and %s differ in their prefix", c.Start, c.End)
	case c.Snapshot == 0 && start.Path != eid.MinutePath(start.Millis):
		return fmt.Errorf("%s is not of its minute", c.Start)
	case int64(end.Counter-start.Counter+1) != c.Records:
		return fmt.Errorf("%s..%s has %d records", c.Start, c.End, c.Records)
	case (c.Blob == nil) == (c.Gzip == nil):
		return fmt.Errorf("%s has both or none of inline events and blob", c.End)
	case c.Blob == nil && c.GzipSize != int64(len(c.Gzip)):
		return fmt.Errorf("%s has %d compressed bytes, says %d", c.End, len(c.Gzip), c.GzipSize)
	}
	return nil
}

// lines returns a chunk's lines, and checks that they are what the chunk says.
func (o *oracle) lines(c *store.Chunk) ([][]byte, error) {
	data := c.Gzip
	if c.Blob != nil {
		r, err := o.base.Blobs.Get(context.Background(), *c.Blob, 0, -1)
		if err != nil {
			return nil, err
		}
		if data, err = io.ReadAll(r); err != nil {
			return nil, err
		}
		var next, offset int64
		for _, s := range c.Offsets {
			if c.Archive {
				s.Start, s.End = next, next+s.Records-1
			}
			if s.Start != next || s.GzipOffset != offset || s.End-s.Start+1 != s.Records {
				return nil, fmt.Errorf("section %d..%d at %d does not follow %d at %d (C25)", s.Start, s.End, s.GzipOffset, next, offset)
			}
			next, offset = s.End+1, offset+s.GzipSize
		}
		if next != c.Records || offset != int64(len(data)) {
			return nil, fmt.Errorf("sections end at %d, byte %d, of %d, %d (C25)", next, offset, c.Records, len(data))
		}
	}
	lines, ok := o.texts[string(data)]
	if !ok {
		var err error
		if lines, err = decode(data); err != nil {
			return nil, err
		}
		for i, l := range lines {
			if err := soundLine(l, i); err != nil && !c.Archive {
				return nil, err
			}
		}
		o.texts[string(data)] = lines
	}
	size := 0
	for i, l := range lines {
		size += len(l) + 1
		if c.Sealed {
			if err := soundSeal(l); err != nil {
				return nil, fmt.Errorf("line %d of a sealed chunk: %w", i, err)
			}
		}
	}
	if int64(len(lines)) != c.Records || int64(size) != c.Size {
		return nil, fmt.Errorf("%d lines of %d bytes, says %d of %d", len(lines), size, c.Records, c.Size)
	}
	return lines, nil
}

// soundLine checks a stored line (C24). Every line is looked at; some are parsed by the standard library as well, which is
// slow.
func soundLine(l []byte, index int) error {
	if !bytes.Contains(l, fmt.Appendf(nil, `"eid":%d`, index)) {
		return fmt.Errorf("line %d has another eid: %s", index, l)
	}
	if index%16 != 0 || len(l) > 10_000 {
		return nil
	}
	var e struct {
		EID       *int64          `json:"eid"`
		Bot       string          `json:"id"`
		Queue     string          `json:"event"`
		Payload   json.RawMessage `json:"payload"`
		Timestamp *float64        `json:"timestamp"`
	}
	if err := json.Unmarshal(l, &e); err != nil {
		return fmt.Errorf("line %d: %w: %s", index, err, l)
	}
	if e.EID == nil || *e.EID != int64(index) || e.Bot == "" || e.Queue == "" || e.Payload == nil || e.Timestamp == nil {
		return fmt.Errorf("line %d is no stored event: %s", index, l)
	}
	return nil
}

// soundSeal checks that a reader that trusts the seal finds the payload that one finds who looks at everything.
func soundSeal(l []byte) error {
	var whole, trusting event.Line
	if err := event.Scan(l, &whole); err != nil {
		return err
	}
	if err := event.ScanSealed(l, &trusting); err != nil {
		return err
	}
	if !bytes.Equal(whole.PayloadRaw(), trusting.PayloadRaw()) {
		return fmt.Errorf("the payload is %s, a reader gets %s", whole.PayloadRaw(), trusting.PayloadRaw())
	}
	return nil
}

func decode(data []byte) ([][]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	if len(text) == 0 || text[len(text)-1] != '\n' {
		return nil, errors.New("the text does not end with a newline")
	}
	return bytes.Split(text[:len(text)-1], []byte("\n")), nil
}

// find returns the event with this id.
func (q *queueLog) find(id string) (publishedEvent, bool) {
	if strings.HasSuffix(q.name, store.SnapshotSuffix) {
		if i := slices.IndexFunc(q.events, func(e publishedEvent) bool { return e.id == id }); i >= 0 {
			return q.events[i], true
		}
		return publishedEvent{}, false
	}
	i, ok := slices.BinarySearchFunc(q.events, id, func(e publishedEvent, id string) int { return strings.Compare(e.id, id) })
	if !ok {
		return publishedEvent{}, false
	}
	return q.events[i], true
}

// produced checks that statistics name a published event of the bot (W-O7).
func (o *oracle) produced(list []store.Produced) {
	for _, p := range list {
		q := o.queue(strings.TrimPrefix(p.Ref, "queue:"))
		e, ok := q.find(p.Position)
		if !ok {
			o.w.fail("producer statistics name an event", "bot %s, %s: %s, head %s", p.Bot, p.Ref, p.Position, q.head)
			continue
		}
		bot := botOf(e.key)
		if q.name == deadletter.Queue {
			bot = deadletter.SequencerBot
		}
		if bot != p.Bot {
			o.w.fail("producer statistics name an event of the bot", "bot %s, %s: %s is %s", p.Bot, p.Ref, p.Position, e.raw)
		}
	}
}

// checkpointed checks that a read checkpoint moves forward and not beyond the head.
func (o *oracle) checkpointed(k store.CheckpointWrite) {
	b := o.bot(k.Bot)
	q := o.queue(strings.TrimPrefix(k.Ref, "queue:"))
	if k.Position < b.read[k.Ref] {
		o.w.fail("checkpoints never move back", "bot %s, %s: from %s to %s", k.Bot, k.Ref, b.read[k.Ref], k.Position)
	}
	if k.Position > q.head {
		o.w.fail("checkpoints stay within the queue", "bot %s, %s: %s, head %s", k.Bot, k.Ref, k.Position, q.head)
	}
	b.read[k.Ref] = k.Position
	if b.moved != nil {
		b.moved(k.Position)
	}
}
