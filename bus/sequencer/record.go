package sequencer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/store"
)

const (
	// maxGroupStreams is how many queues' events are in work at a time. Each has buffers of its own.
	maxGroupStreams = 1000
	// maxBadLines is of how many lines of one record the bus keeps letters. A line of two bytes makes a letter of some hundred:
	// a record that is compressed well could become a thousand times its size.
	maxBadLines = 1000
)

// Cursor is a place in a batch: before a record, or after some of its lines. The zero Cursor is the beginning.
type Cursor struct {
	record, lines int
	bad           int         // how many of the lines are dead letters
	open          *openRecord // the record, read up to the place; nil where it has to be read from its beginning
}

func (c Cursor) end(b Batch) bool { return c.record >= len(b.Records) }

// More tells whether b has records at or after the cursor.
func (c Cursor) More(b Batch) bool { return !c.end(b) }

// mark returns the intake mark of everything before c.
func (c Cursor) mark(b Batch) string {
	if c.lines > 0 {
		return store.NewMark(b.Records[c.record].Sequence, c.lines)
	}
	if c.record == 0 {
		return ""
	}
	return b.Records[c.record-1].Sequence
}

// reached tells whether c is at or behind the place end.
func (c Cursor) reached(end Cursor) bool {
	return c.record > end.record || c.record == end.record && c.lines >= end.lines
}

// openRecord is a record in the middle of being read, so that a record that inflates to many groups is inflated once.
type openRecord struct {
	taken atomic.Bool
	r     io.ReadCloser
	text  *chunk.Lines
	lines int // read

	// raw and err are what comes next, if it was looked at already.
	peeked bool
	raw    []byte
	err    error
}

// next returns the next line, as chunk.Lines does.
func (o *openRecord) next() ([]byte, error) {
	if o.peeked {
		o.peeked = false
		return o.raw, o.err
	}
	return o.text.Next()
}

// more tells whether there is anything after the lines read.
func (o *openRecord) more() bool {
	if !o.peeked {
		o.raw, o.err = o.text.Next()
		o.peeked = true
	}
	return !errors.Is(o.err, io.EOF)
}

func (o *openRecord) close() { o.r.Close() } //nolint:errcheck // It only returns buffers to their pool.

// textLimitError is why the rest of a record is not looked at.
type textLimitError int64

func (e textLimitError) Error() string {
	return fmt.Sprintf("the record's compressed data stands for more than %d bytes; what follows them is not read", int64(e))
}

// limited ends text that is too long.
type limited struct {
	io.ReadCloser
	left, limit int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		var one [1]byte
		switch n, err := l.ReadCloser.Read(one[:]); {
		case n > 0:
			return 0, textLimitError(l.limit)
		default:
			return 0, err
		}
	}
	n, err := l.ReadCloser.Read(p[:min(int64(len(p)), l.left)])
	l.left -= int64(n)
	return n, err
}

// openAt returns the current record, to be read on from the cursor, as far as someone has read it already.
func (d *decoder) openAt(at Cursor) (*openRecord, error) {
	if at.open != nil && !at.open.taken.Swap(true) {
		return at.open, nil
	}
	var r io.ReadCloser
	if d.record.Plain {
		r = io.NopCloser(bytes.NewReader(d.record.Data))
	} else {
		inflated, err := chunk.OpenRecord(d.record.Data)
		if err != nil {
			return nil, err
		}
		limit := d.seq.cfg.MaxText
		r = &limited{ReadCloser: inflated, left: limit, limit: limit}
	}
	return &openRecord{r: r, text: chunk.NewLines(r, d.seq.cfg.MaxLine)}, nil
}

// group decodes from the cursor on: to the place until or, where that is nil, until the budget of text or queues is spent or the
// batch ends.
func (d *decoder) group(ctx context.Context, from Cursor, until *Cursor) (*group, Cursor, error) {
	d.ctx, d.until = ctx, until
	d.out = newGroup(d.batch, from, &d.seq.cfg)
	d.spent = 0
	at := from
	for at.More(d.batch) && !d.full(at) {
		if err := ctx.Err(); err != nil {
			return nil, at, context.Cause(ctx)
		}
		var err error
		if at, err = d.readRecord(at); err != nil {
			return nil, at, err
		}
		if at.lines > 0 {
			break
		}
	}
	d.out.to = at.mark(d.batch)
	d.out.close()
	return d.out, at, nil
}

// full tells whether the group ends at the place at. Where it ended once it must end again, whatever is left out of it then.
func (d *decoder) full(at Cursor) bool {
	if d.until != nil {
		return at.reached(*d.until)
	}
	return d.spent >= d.seq.cfg.GroupBytes || len(d.out.order) >= maxGroupStreams
}

// readRecord takes the lines of the current record from the cursor on, and returns where the group goes on or ends.
func (d *decoder) readRecord(at Cursor) (next Cursor, err error) {
	after := Cursor{record: at.record + 1}
	d.record = &d.batch.Records[at.record]
	d.out.latest = max(d.out.latest, d.record.Arrival)
	d.number, d.bad = 0, at.bad
	in, err := d.openAt(at)
	if err != nil {
		if at.lines == 0 {
			return after, d.dead(deadletter.ReasonRecord, err, d.record.Data)
		}
		return after, nil
	}
	defer func() {
		if next.open == nil {
			in.close()
		}
	}()
	for {
		raw, err := in.next()
		if errors.Is(err, io.EOF) {
			return after, nil
		}
		in.lines++
		if in.lines <= at.lines {
			if err != nil && !errors.Is(err, chunk.ErrLineTooLong) {
				return after, nil // The damage was reported with the lines before it.
			}
			continue
		}
		d.number = in.lines
		switch {
		case err == nil:
			err = d.take(raw)
		case errors.Is(err, chunk.ErrLineTooLong):
			err = d.dead(deadletter.ReasonLineTooLong, err, d.record.Data)
		default:
			return after, d.dead(deadletter.ReasonCorrupt, err, d.record.Data)
		}
		if err != nil {
			return at, err
		}
		d.spent += len(raw)
		if here := (Cursor{record: at.record, lines: in.lines, bad: d.bad}); d.full(here) {
			if !in.more() {
				return after, nil
			}
			here.open = in
			return here, nil
		}
	}
}
