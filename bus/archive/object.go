package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
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
	// maxLine is the longest line that is archived, maxBadLines of how many others letters are written for an object.
	maxLine     = 64 << 20
	maxBadLines = 500
	// maxBadBytes is how much of a line goes into a letter.
	maxBadBytes = 1 << 20
	// maxInlineText bounds the text of an inline chunk whose size the index states wrongly.
	maxInlineText = 64 << 20
	// maxKeyQueue is how many bytes of a queue's name go into a key.
	maxKeyQueue = 800
)

// object is a run of whole chunks of a queue on its way into a blob.
type object struct {
	pointer chunk.Pointer
	// last is the id of the last event, also where that was a line that could not be archived; "" for none.
	last string
	gaps int
	// bad holds lines that are no events, badLines their number, and the letters of chunks that were passed over, chunks their number.
	bad              bytes.Buffer
	badLines, chunks int
	// damage is what was wrong with the first of these chunks.
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

// damageError is a chunk that cannot be archived whole, however often it is read.
type damageError struct {
	// before is where the chunk before it ends, "" where the object would begin with this one.
	before string
	err    error
}

// Error says what is wrong.
func (e *damageError) Error() string { return e.err.Error() }

// Unwrap returns the error of the store, or of the text.
func (e *damageError) Unwrap() error { return e.err }

// damaged tells whether an error of reading a chunk is the chunk's own, and not of a storage that may be well the next time.
func damaged(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrInvalid) ||
		errors.Is(err, chunk.ErrCorrupt)
}

// keyQueue bounds a queue's name in a key of at most 1024 bytes.
func keyQueue(queue string) string {
	if len(queue) > maxKeyQueue {
		return strings.ToValidUTF8(queue[:maxKeyQueue], "")
	}
	return queue
}

// fill reads chunks and writes them to the object.
func (a *Archiver) fill(ctx context.Context, o *object, queue, end, through string) error {
	prev := end
	for after := end; ; {
		page, err := a.store.Chunks.Query(ctx, queue, after, through, 0, 0)
		if err != nil {
			return fmt.Errorf("index: %w", err)
		}
		for i := range page.Chunks {
			c := &page.Chunks[i]
			if a.full(o) {
				return o.close()
			}
			after = c.End
			if prev != "" && c.Prev != "" && c.Prev != prev && c.Start > prev {
				o.gaps++
				a.cfg.Logger.ErrorContext(ctx, "events were gone from the index before they were archived",
					"queue", queue, "after", prev, "before", c.Start, "expected", c.Prev)
			}
			if err := a.chunk(ctx, o, c, end); err != nil {
				err = fmt.Errorf("chunk %s: %w", c.End, err)
				switch {
				case !damaged(err):
					return err
				case !a.late(c):
					return &damageError{o.last, err}
				}
				a.cfg.Logger.ErrorContext(ctx, "a chunk cannot be read to its end and is passed over before what follows it expires",
					"queue", queue, "from", c.Start, "to", c.End, "error", err)
				if err := a.passOver(o, c, err); err != nil {
					return err
				}
			}
			prev, o.last = c.End, c.End
		}
		if !page.More {
			return o.close()
		}
	}
}

// full tells whether the object ends before the next chunk. One without events goes on, as nothing can be published of it.
func (a *Archiver) full(o *object) bool {
	records := o.pointer.Records + o.section.Records
	sections := min(maxSections, maxTable/(sectionBytes+len(o.pointer.Queue)))
	return records > 0 && (o.pointer.GzipSize >= a.cfg.ObjectBytes || len(o.pointer.Offsets) >= sections || records >= maxRecords || a.over())
}

// chunk adds the events of a chunk that come after the id end.
func (a *Archiver) chunk(ctx context.Context, o *object, c *store.Chunk, end string) error {
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
		if text <= end {
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

// passOver notes a chunk that could not be read to its end. The events before the damage are in the object, as readers got them too.
func (a *Archiver) passOver(o *object, c *store.Chunk, cause error) error {
	o.gaps++
	if o.damage == nil {
		o.damage = cause
	}
	if o.chunks++; o.badLines+o.chunks > maxBadLines {
		return nil
	}
	at := a.cfg.Now().UnixMilli()
	letter := deadletter.Letter{
		Reason: deadletter.ReasonChunk, Queue: c.Queue, EID: c.Start, At: at,
		Error: fmt.Sprintf("the %d events from %s to %s are not in the archive, but for those before the damage: %v", c.Records, c.Start, c.End, cause),
	}
	if c.Blob != nil {
		letter.SetRaw([]byte("s3://" + c.Blob.Bucket + "/" + c.Blob.Key))
	} else {
		letter.SetRaw(c.Gzip)
	}
	payload, err := json.Marshal(letter)
	if err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	line, err := event.AppendLine(nil, &event.Event{
		Bot: deadletter.SequencerBot, Queue: deadletter.Queue, Payload: payload, Timestamp: at, SourceTimestamp: at,
	}, -1)
	if err != nil {
		return fmt.Errorf("dead letter: %w", err)
	}
	o.bad.Write(line)
	return nil
}

// late tells whether a chunk is so old that what follows it must not wait for it any longer.
func (a *Archiver) late(c *store.Chunk) bool {
	end, err := eid.Parse(c.End)
	return err == nil && a.giveUp > 0 && a.cfg.Now().Sub(time.UnixMilli(end.Millis)) >= a.giveUp
}

// addBad notes a line that becomes a dead letter.
func (o *object) addBad(raw []byte) {
	if o.badLines++; o.badLines+o.chunks > maxBadLines {
		return
	}
	o.bad.Write(raw[:min(len(raw), maxBadBytes)])
	o.bad.WriteByte('\n')
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
	line = append(line, o.bad.Bytes()...)
	r, err := a.seq.Process(ctx, sequencer.Batch{Records: []sequencer.Record{{
		Sequence: "1", Arrival: a.cfg.Now().UnixMilli(), Data: line, Plain: true,
	}}})
	if err != nil {
		return err
	}
	if head := r.Heads[queue+store.ArchiveSuffix]; head != o.pointer.EndID {
		return fmt.Errorf("%w: the object from %s to %s is not part of the archive", errLost, o.pointer.StartID, o.pointer.EndID)
	}
	return nil
}
