package rstreams

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
)

// delivery turns text into events, in order, and hands them to the consumer.
type delivery struct {
	r     *Reader
	yield func(Event, error) bool

	part *part
	// next is the index in the chunk of the next line.
	next int64
	// ids holds the ids of the events from idsFrom on, each of idLen bytes: making them by the hundred saves allocations.
	ids     string
	idsFrom int64
	idLen   int
	// lastArchived is the last id that an archive's line carried.
	lastArchived string

	delivered int64 // events of this call of All
	bytes     int64
}

// piece delivers the events of p. more is false when the read is to end.
func (d *delivery) piece(ctx context.Context, p *piece) (more bool, err error) {
	if p.passed != "" {
		return true, d.r.reach(ctx, p)
	}
	if p.part != d.part {
		if err := d.begin(p.part); err != nil {
			return false, err
		}
	}
	if p.err != nil {
		return false, p.err
	}
	if d.next += p.skipped; d.next > d.part.until {
		return false, d.tooMany()
	}
	for i := range p.lines {
		if more, err = d.take(ctx, &p.lines[i]); !more || err != nil {
			return more, err
		}
	}
	linePool.put(p.lines)
	if p.last {
		return true, d.end()
	}
	return true, nil
}

// begin starts a part.
func (d *delivery) begin(p *part) error {
	if err := d.end(); err != nil {
		return err
	}
	if d.part == nil || d.part.chunk != p.chunk {
		d.r.stats.Chunks++
	}
	d.part, d.next = p, p.first
	d.ids, d.idsFrom = "", 0
	return nil
}

// end checks that the part held what its chunk promises: fewer events would be a short read that nobody notices.
func (d *delivery) end() error {
	p := d.part
	if p == nil || d.next == p.until {
		return nil
	}
	return d.corrupt("it holds %d events of %d", d.next-p.first, p.until-p.first)
}

func (d *delivery) corrupt(format string, args ...any) error {
	where := "chunk " + d.part.chunk.End
	if key := d.part.blobKey(); key != "" {
		where += " in object " + key
	}
	return fmt.Errorf("%w: %s of %s: %s", store.ErrCorrupt, where, d.part.seg.queue, fmt.Sprintf(format, args...))
}

func (d *delivery) tooMany() error {
	return d.corrupt("it holds more events than the %d it should", d.part.until-d.part.first)
}

// take delivers one line.
func (d *delivery) take(ctx context.Context, l *line) (more bool, err error) {
	p, index := d.part, d.next
	if index >= p.until {
		return false, d.tooMany()
	}
	select {
	case <-ctx.Done():
		return true, nil // The caller finds out why.
	default:
	}
	e := &l.event
	d.next++
	if p.chunk.Archive {
		if l.err == nil {
			e.EID, l.err = d.archivedID(l)
		}
		switch {
		case l.err != nil && !errors.Is(l.err, store.ErrCorrupt) && !d.behind(index), l.err == nil && e.EID == "":
			return true, nil
		case l.err != nil:
			e.EID = d.lastArchived // The line's own id cannot be told.
			if e.EID != "" && d.r.reached(p.seg, e.EID) {
				d.r.reason = EndReached
				return false, nil
			}
		}
	} else {
		e.EID = d.id(index)
		if l.err == nil {
			if err := d.checkIndex(index, l); err != nil {
				return false, err
			}
		}
	}
	if stored := strings.TrimPrefix(e.EID, eid.SnapshotPrefix); d.r.ended(p.seg, stored) {
		d.r.reason = EndReached
		return false, nil
	}
	e.Queue = d.r.queue
	if !d.r.bus.session.Share.has(e, l.err) {
		d.r.passOver(e.EID)
		return true, nil
	}
	if l.err != nil {
		return d.malformed(ctx, e.EID, index, l)
	}
	return d.deliver(e, len(l.text)+1), nil
}

// deliver hands the event over and applies the limits.
func (d *delivery) deliver(e *Event, size int) (more bool) {
	r := d.r
	r.position = e.EID
	r.stats.Events++
	r.stats.Bytes += int64(size)
	d.delivered++
	d.bytes += int64(size)
	r.pending.add(e)
	if !d.yield(*e, nil) {
		return false
	}
	switch {
	case r.set.Limit > 0 && d.delivered >= r.set.Limit:
		r.reason = EndLimit
	case r.set.Bytes > 0 && d.bytes >= r.set.Bytes:
		r.reason = EndBytes
	default:
		return true
	}
	return false
}

// idsAtOnce is how many ids are made at a time.
const idsAtOnce = 128

// id returns the id of the event index of a chunk that is no archive.
func (d *delivery) id(index int64) string {
	i := index - d.idsFrom
	if d.ids == "" || i < 0 || (i+1)*int64(d.idLen) > int64(len(d.ids)) {
		p := d.part
		d.idLen = len(p.base) + 7
		n := min(p.until-index, idsAtOnce)
		var b strings.Builder
		b.Grow(int(n) * d.idLen)
		var counter [7]byte
		for k := range n {
			b.WriteString(p.base)
			b.Write(eid.AppendCounter(counter[:0], p.counter+int(index+k)))
		}
		d.ids, d.idsFrom, i = b.String(), index, 0
	}
	return d.ids[int(i)*d.idLen : (int(i)+1)*d.idLen]
}

// checkIndex compares the index that the line carries with its place (R13). Inline chunks count from the chunk's beginning,
// sections of a blob from their own; some writers of blobs count through.
func (d *delivery) checkIndex(index int64, l *line) error {
	switch got := int64(l.index); {
	case got == index, got >= 0 && d.part.sections != nil && got == d.part.ordinal(index):
		return nil
	case got >= 0:
		return d.corrupt("the line in place %d says that it is %d", index, got)
	case l.id != "":
		return d.corrupt("the line in place %d says that it is %q", index, l.id)
	}
	return nil
}

// archivedID returns the id that the line carries, "" for one before the position.
func (d *delivery) archivedID(l *line) (string, error) {
	id := l.id
	if id == "" {
		return "", fmt.Errorf("%w: the archived event has no id", event.ErrSyntax)
	}
	if _, err := eid.Parse(id); err != nil {
		return "", err
	}
	if id <= d.lastArchived {
		return "", d.corrupt("archived event %s comes after %s", id, d.lastArchived)
	}
	d.lastArchived = id
	if id <= d.part.seg.from {
		return "", nil
	}
	return id, nil
}

// behind tells whether the archive's line in place index lies behind the position. A line without an id does if one before it in the
// archive reaches the position, or if its section begins behind it: what lies before the position was dealt with by whoever got there.
func (d *delivery) behind(index int64) bool {
	from := strings.TrimSuffix(d.part.seg.from, " ")
	if d.lastArchived >= from {
		return true
	}
	for i := len(d.part.sections) - 1; i >= 0; i-- {
		if o := &d.part.sections[i]; index >= o.first {
			return o.startID > from
		}
	}
	return d.part.chunk.Start > from
}

// malformed applies the policy for lines that are no events.
func (d *delivery) malformed(ctx context.Context, id string, index int64, l *line) (more bool, err error) {
	if errors.Is(l.err, store.ErrCorrupt) {
		return false, l.err
	}
	r := d.r
	le := &LineError{
		Queue: r.queue, EID: id, Blob: d.part.blobKey(), Line: d.part.ordinal(index) + 1, Text: bytes.Clone(l.text), Err: l.err,
	}
	switch r.set.Malformed {
	case MalformedSkip:
	case MalformedDeadLetter:
		if err := r.deadLetter(ctx, le); err != nil {
			return false, err
		}
	default:
		return false, le
	}
	r.stats.Malformed++
	if id != "" { // An archive's first line may be the one without an id.
		r.position, r.pending.position = id, id
	}
	if r.set.OnMalformed != nil {
		r.set.OnMalformed(le)
	}
	return true, nil
}

// readerBot signs dead letters of readers that belong to no bot.
const readerBot = "rstreams-reader"

// deadLetter stores the line in the dead-letter queue and waits until it is durable.
func (r *Reader) deadLetter(ctx context.Context, le *LineError) error {
	bot := r.set.Bot
	if bot == "" {
		bot = readerBot
	}
	if r.letters == nil {
		w, err := r.bus.NewWriter(WriterOptions{Bot: bot, Queue: deadletter.Queue})
		if err != nil {
			return err
		}
		r.letters = w
	}
	letter := deadletter.Letter{
		Reason: deadletter.ReasonLine, Error: le.Error(), Queue: r.queue, Bot: bot, EID: le.EID, Line: int(le.Line), At: r.bus.millis(),
	}
	letter.SetRaw(le.Text)
	ack, err := r.letters.Put(ctx, letter)
	if err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	if err := r.letters.Flush(ctx); err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	_, err = ack.Wait(ctx)
	return err
}
