package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
)

const (
	// maxSections and maxRecords bound an object: its section table has to fit into an item, and a pointer record can stand for
	// ten million events. A chunk of the index can exceed the latter by as many as it has.
	maxSections = 200
	maxRecords  = 1_000_000
	// maxTable is how many bytes the table may have, sectionBytes what a section in it has beside the name of its queue. A chunk that is
	// begun when the table is nearly full may add to it: half of an item is left for that.
	maxTable     = store.MaxInlineItem / 2
	sectionBytes = 300
	// maxLine is the longest line that is archived, maxLetters for how much else letters are written for an object.
	maxLine    = 64 << 20
	maxLetters = 500
	// maxBadBytes is how much of a line goes into a letter, maxBadText how much of all lines and chunks. What is above is only counted.
	maxBadBytes = 1 << 20
	maxBadText  = 8 << 20
	// maxInlineText bounds the text of an inline chunk whose size the index states wrongly.
	maxInlineText = 64 << 20
	// maxKeyQueue is how many bytes of a queue's name go into a key.
	maxKeyQueue = 800
)

// object is a run of whole chunks of a queue on its way into a blob.
type object struct {
	pointer chunk.Pointer
	// end is the id after which it begins; "" for the first.
	end string
	// seen are the ends of what was read of the index, from the last chunk on that is one of the queue for certain.
	seen []string
	// last is the id of the last event, also where that was a line that could not be archived; "" for none. A chunk that was passed
	// over counts when an event comes behind it.
	last string
	gaps int
	// bad holds what becomes dead letters: lines that are no events, of which there are badLines, and letters of chunks.
	bad      bytes.Buffer
	badLines int
	letters  int
	// ahead is what was passed over since the last event, damage what was wrong first. The archive can end only with an event, so
	// that the next object comes here again unless one follows.
	ahead  passed
	damage error

	out     io.Writer
	section store.Offset
	text    []byte
	line    event.Line
	gz      []byte
	limit   int64 // of a section's text
}

// object writes the next chunks after end, at least one and as many as an object takes, into a blob.
func (a *Archiver) object(ctx context.Context, queue, end, through string) (*object, error) {
	o := &object{pointer: chunk.Pointer{Queue: queue, Archive: true}, limit: a.cfg.SectionBytes}
	r, w := io.Pipe()
	o.out = w
	done := make(chan error, 1)
	go func() {
		err := a.fill(ctx, o, queue, end, through)
		w.CloseWithError(err) //nolint:errcheck // It returns nil.
		done <- err
	}()
	now := a.cfg.Now().UTC()
	// Each attempt has a key of its own. One that a published pointer names must never be written again.
	key := fmt.Sprintf(Prefix+"q=%s/dt=%s/%d-%07d-%s.gz", keyQueue(queue), now.Format("2006-01-02"), now.UnixMilli(), 1, uuid.New())
	blob, _, putErr := a.store.Blobs.Put(ctx, key, r)
	r.CloseWithError(errStopped) //nolint:errcheck // It returns nil.
	err := <-done
	switch {
	case errors.Is(err, errNothing):
		return o, nil
	case err != nil && !errors.Is(err, errStopped):
		return nil, err
	case putErr != nil:
		return nil, fmt.Errorf("blob %s: %w", key, putErr)
	}
	o.pointer.Blob = blob
	o.pointer.Timestamp, o.pointer.SourceTimestamp = now.UnixMilli(), now.UnixMilli()
	return o, nil
}

var (
	// errNothing ends the upload of an object without events, errStopped the reading for one that cannot be uploaded.
	errNothing = errors.New("there is nothing to archive")
	errStopped = errors.New("the blob is not being stored")
)

// keyQueue bounds a queue's name in a key of at most 1024 bytes.
func keyQueue(queue string) string {
	if len(queue) > maxKeyQueue {
		return strings.ToValidUTF8(queue[:maxKeyQueue], "")
	}
	return queue
}

// fill reads chunks and writes them to the object.
func (a *Archiver) fill(ctx context.Context, o *object, queue, end, through string) error {
	o.end = end
	if end != "" {
		o.seen = []string{end}
	}
	for after := end; ; {
		page, damage, err := a.query(ctx, queue, after, through, 0)
		if err != nil {
			return err
		}
		for i := range page.Chunks {
			c := &page.Chunks[i]
			if a.full(o) {
				return o.close()
			}
			if err := a.next(ctx, o, c, after, damage); err != nil {
				return err
			}
			after = c.End
		}
		if !page.More {
			return o.close()
		}
	}
}

// query returns chunks of a queue. damage is what is wrong with the only one of the page, if its item is no chunk.
func (a *Archiver) query(ctx context.Context, queue, after, through string, limit int) (page store.Page, damage, err error) {
	page, err = a.store.Chunks.Query(ctx, queue, after, through, limit, 0)
	if bad, ok := errors.AsType[*store.ChunkError](err); ok {
		return store.Page{Chunks: []store.Chunk{bad.Chunk}, More: true}, bad, nil
	}
	if err != nil {
		return page, nil, fmt.Errorf("index: %w", err)
	}
	return page, nil, nil
}

// next adds a chunk of the index. prev is the end of what is before it there, whatever that is.
func (a *Archiver) next(ctx context.Context, o *object, c *store.Chunk, prev string, damage error) error {
	before := prev
	if o.last == "" {
		before = "" // Nothing of what is before is an event for the archive.
	}
	overlap := false
	done := max(o.end, o.last)
	switch {
	case damage != nil:
	case c.Start > done:
		if c.Prev != "" && !slices.Contains(o.seen, c.Prev) {
			o.ahead.gaps++
			a.cfg.Logger.ErrorContext(ctx, "events were gone from the index before they were archived",
				"queue", c.Queue, "after", prev, "before", c.Start, "expected", c.Prev)
		}
	default:
		var err error
		if overlap, err = a.overlaps(ctx, c, o); err != nil {
			return err
		}
		if overlap {
			a.passOver(ctx, o, c, fmt.Errorf("%w: it begins before the chunk ends that is before it; its events up to %s are left out",
				store.ErrCorrupt, done))
		}
	}
	err := damage
	if err == nil {
		err = a.chunk(ctx, o, c, done)
	}
	// A chunk of the queue names the one of the queue before it, and none of those that do not belong there.
	if err == nil && !overlap {
		o.seen = o.seen[:0]
	}
	o.seen = append(o.seen, c.End)
	if err == nil {
		if o.ahead.gaps == 0 {
			o.last = c.End // It is another than the last event's where its last lines are none.
		}
		return nil
	}
	if damage == nil {
		err = fmt.Errorf("chunk %s: %w", c.End, err)
	}
	switch {
	case damage == nil && !damaged(err):
		return err
	case !a.late(c):
		return &damageError{before, err}
	}
	a.passOver(ctx, o, c, err)
	return nil
}

// reach notes that the object has an event.
func (o *object) reach(id string) {
	o.last = id
	if o.ahead.gaps > 0 {
		o.gaps += o.ahead.gaps
		o.bad.Write(o.ahead.letters)
		o.ahead = passed{}
	}
}

// full tells whether the object ends before the next chunk. One without events goes on, as nothing can be published of it.
func (a *Archiver) full(o *object) bool {
	records := o.pointer.Records + o.section.Records
	sections := min(maxSections, maxTable/(sectionBytes+len(o.pointer.Queue)))
	return records > 0 && (o.pointer.GzipSize >= a.cfg.ObjectBytes || len(o.pointer.Offsets) >= sections || records >= maxRecords || a.over())
}

// chunk adds the events of a chunk that come after the id done.
func (a *Archiver) chunk(ctx context.Context, o *object, c *store.Chunk, done string) error {
	first, err := eid.Parse(c.Start)
	if err != nil {
		return fmt.Errorf("%w: start: %w", store.ErrCorrupt, err)
	}
	var r io.Reader
	if c.Blob == nil {
		text, err := chunk.AppendGunzip(o.gz[:0], c.Gzip, maxInlineText)
		if err != nil {
			return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
		o.gz = text
		r = bytes.NewReader(text)
	} else {
		body, err := a.store.Blobs.Get(ctx, *c.Blob, 0, -1)
		if err != nil {
			return fmt.Errorf("blob %s: %w", c.Blob.Key, err)
		}
		defer body.Close() //nolint:errcheck // It was only read.
		z, err := chunk.NewGunzip(body)
		if err != nil {
			return fmt.Errorf("blob %s: %w", c.Blob.Key, err)
		}
		defer z.Close() //nolint:errcheck // It only gives buffers back.
		r = z
	}
	lines := chunk.NewLines(r, maxLine)
	n := int64(0)
	for ; ; n++ {
		raw, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, chunk.ErrLineTooLong) {
			return fmt.Errorf("line %d: %w", n, err)
		}
		id, idErr := first.Add(int(n))
		text := id.String()
		if idErr != nil || n == c.Records || text > c.End { // More would have the ids of others.
			return fmt.Errorf("%w: it has more events than the %d it says", store.ErrCorrupt, c.Records)
		}
		if text <= done {
			continue
		}
		if err != nil {
			o.addBad(fmt.Appendf(nil, "event %s of queue %s: %v", text, c.Queue, err))
			continue
		}
		if err := o.add(raw, text); err != nil {
			return err
		}
	}
	if n != c.Records {
		return fmt.Errorf("%w: it has %d events and says %d", store.ErrCorrupt, n, c.Records)
	}
	return nil
}

// add appends an event.
func (o *object) add(raw []byte, id string) error {
	if err := event.Scan(raw, &o.line); err != nil {
		o.addBad(raw) // As no event, it could not be read from the queue either.
		return nil
	}
	o.reach(id)
	o.text = o.line.AppendArchived(o.text, id)
	if o.section.Records == 0 {
		o.section.StartID = id
	}
	o.section.EndID = id
	o.section.Records++
	if int64(len(o.text)) >= o.limit {
		return o.flush()
	}
	return nil
}

// addBad notes a line that becomes a dead letter.
func (o *object) addBad(raw []byte) {
	o.badLines++
	raw = raw[:min(len(raw), maxBadBytes)]
	if o.room(len(raw)) {
		o.bad.Write(raw)
		o.bad.WriteByte('\n')
	}
}

// room counts another letter, and tells whether it may be written.
func (o *object) room(n int) bool {
	o.letters++
	return o.letters <= maxLetters && o.bad.Len()+len(o.ahead.letters)+n <= maxBadText
}

// flush ends a section.
func (o *object) flush() error {
	if o.section.Records == 0 {
		return nil
	}
	p, s := &o.pointer, &o.section
	gz := chunk.AppendGzip(nil, o.text)
	s.Event, s.Size, s.GzipSize = p.Queue, int64(len(o.text)), int64(len(gz))
	s.Offset, s.GzipOffset = p.Size, p.GzipSize
	if _, err := o.out.Write(gz); err != nil {
		return err
	}
	if p.StartID == "" {
		p.StartID = s.StartID
	}
	p.EndID = s.EndID
	p.Records, p.Size, p.GzipSize = p.Records+s.Records, p.Size+s.Size, p.GzipSize+s.GzipSize
	p.Offsets = append(p.Offsets, *s)
	o.section, o.text = store.Offset{}, o.text[:0]
	return nil
}

// close ends the object.
func (o *object) close() error {
	if err := o.flush(); err != nil {
		return err
	}
	if o.pointer.Records == 0 {
		return errNothing
	}
	return nil
}

// publish makes an object a part of its queue's archive, and moves the archive's end. Only an archiver that has the lock does so.
func (a *Archiver) publish(ctx context.Context, queue string, o *object) error {
	if err := a.lock(ctx); err != nil {
		return err
	}
	line, err := chunk.AppendPointer(nil, &o.pointer)
	if err != nil {
		return fmt.Errorf("pointer: %w", err)
	}
	if o.badLines > 0 {
		a.cfg.Logger.ErrorContext(ctx, "lines of a queue are no events and are not archived; see the dead letters",
			"queue", queue, "from", o.pointer.StartID, "to", o.pointer.EndID, "lines", o.badLines)
	}
	// The letters come first: the next pass begins behind what they are of.
	if o.bad.Len() > 0 {
		if _, err := a.process(ctx, o.bad.Bytes()); err != nil {
			return err
		}
	}
	r, err := a.process(ctx, line)
	if err != nil {
		return err
	}
	if head := r.Heads[queue+store.ArchiveSuffix]; head != o.pointer.EndID {
		return fmt.Errorf("%w: the object from %s to %s is not part of the archive", errLost, o.pointer.StartID, o.pointer.EndID)
	}
	return nil
}

func (a *Archiver) process(ctx context.Context, text []byte) (sequencer.Result, error) {
	return a.seq.Process(ctx, sequencer.Batch{Records: []sequencer.Record{{
		Sequence: "1", Arrival: a.cfg.Now().UnixMilli(), Data: text, Plain: true,
	}}})
}
