package loader

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
)

func (l *Loader) open(ctx context.Context, key string) (io.ReadCloser, error) {
	return l.store.Blobs.Get(ctx, store.BlobRef{Bucket: l.cfg.Bucket, Key: key}, 0, -1)
}

// publisher turns the objects of a note into records, and publishes them whenever it has enough text together.
type publisher struct {
	l    *Loader
	res  *Result
	note *note

	batch []sequencer.Record
	bytes int

	number int64 // number
	parts  int64 // of the object, that are complete
	text   []byte
}

// object reads an object. It returns false where there is none: then it was loaded, by this loader or another, as objects are
// deleted after they are published.
func (p *publisher) object(ctx context.Context, number int64, key string) (found bool, err error) {
	p.number, p.parts, p.text = number, 0, nil
	body, err := p.l.open(ctx, key)
	if err == nil {
		err = p.lines(ctx, key, body)
		body.Close() //nolint:errcheck // It was only read.
	}
	if errors.Is(err, store.ErrNotFound) {
		// Perhaps while it was read. What there is of it is among what was published.
		p.text = nil
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return true, p.part(ctx)
}

// lines reads the lines of an object, which may be compressed as a whole.
func (p *publisher) lines(ctx context.Context, key string, body io.Reader) error {
	buffered := bufio.NewReaderSize(body, 64<<10)
	var r io.Reader = buffered
	if magic, err := buffered.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := chunk.NewGunzip(buffered)
		if err != nil {
			return p.quarantine(ctx, key, err)
		}
		defer z.Close() //nolint:errcheck // It only gives buffers back.
		r = z
	}
	text := chunk.NewLines(r, p.l.cfg.Sequencer.MaxLine)
	kept := false
	for {
		line, err := text.Next()
		switch {
		case err == nil:
			err = p.line(ctx, line)
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, chunk.ErrLineTooLong) && kept:
			err = nil
		case errors.Is(err, chunk.ErrLineTooLong):
			kept = true
			err = p.quarantine(ctx, key, err)
		case errors.Is(err, chunk.ErrCorrupt):
			return p.quarantine(ctx, key, err)
		}
		if err != nil {
			return err
		}
	}
}

// quarantine keeps a whole object of which some lines cannot become letters, and writes a letter that says where it is: a line
// that is no JSON becomes one. The object goes on being loaded.
func (p *publisher) quarantine(ctx context.Context, key string, cause error) error {
	if err := p.l.copy(ctx, key, Quarantine); err != nil {
		return err
	}
	p.l.cfg.Logger.WarnContext(ctx, "a part of a Firehose object cannot be read; the object is kept", "key", key, "kept", Quarantine+key, "error", cause)
	return p.add(ctx, fmt.Appendf(nil, "%s of a Firehose object: %v", Quarantine+key, cause))
}

// line takes a line of an object: lines of events, in one of the forms of bus.md 2.9. What cannot be decoded goes on as it is, and becomes
// a dead letter, as it is no JSON. What stands for more text than a part has is a part by itself, still compressed: some KB may
// stand for a GB, and if a letter has to hold all of it, it holds the KB.
func (p *publisher) line(ctx context.Context, line []byte) error {
	text, data, err := chunk.FirehoseText(line, int64(p.note.Part))
	if data != nil {
		if err := p.part(ctx); err != nil {
			return err
		}
		return p.record(ctx, data, false)
	}
	if err != nil {
		text = line
	}
	return p.add(ctx, text)
}

// add appends lines to the part in work. A part ends when it would grow too long, and where it does depends on the object alone.
func (p *publisher) add(ctx context.Context, text []byte) error {
	if len(p.text) > 0 && len(p.text)+len(text) > p.note.Part {
		if err := p.part(ctx); err != nil {
			return err
		}
	}
	p.text = append(p.text, text...)
	if n := len(p.text); n > 0 && p.text[n-1] != '\n' {
		p.text = append(p.text, '\n')
	}
	return nil
}

// part makes a record of the text in work.
func (p *publisher) part(ctx context.Context) error {
	if len(p.text) == 0 {
		return nil
	}
	text := p.text
	p.text = nil
	return p.record(ctx, text, true)
}

// record makes a record of data, which are plain lines or in a form of their own.
func (p *publisher) record(ctx context.Context, data []byte, plain bool) error {
	if p.parts++; p.parts >= partsPerObject {
		return fmt.Errorf("%w: it has more than %d parts of %d bytes", store.ErrTooLarge, int64(partsPerObject), p.note.Part)
	}
	p.batch = append(p.batch, sequencer.Record{
		Sequence: strconv.FormatInt(p.number*partsPerObject+p.parts, 10), Arrival: p.note.At, Data: data, Plain: plain,
	})
	p.bytes += len(data)
	if p.bytes >= p.l.cfg.PartBytes || !plain {
		return p.flush(ctx)
	}
	return nil
}

// flush publishes the records so far, under a lock that is renewed: others would do the same work, though without harm.
func (p *publisher) flush(ctx context.Context) error {
	if len(p.batch) == 0 {
		return nil
	}
	now := p.l.cfg.Now()
	err := p.l.store.Settings.Acquire(ctx, Setting, p.l.cfg.Owner, now.UnixMilli(), now.Add(p.l.cfg.Lease).UnixMilli())
	if errors.Is(err, store.ErrConflict) {
		return errLost
	}
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	r, err := p.l.seq.Process(ctx, sequencer.Batch{Shard: Shard, Records: p.batch})
	p.res.Events += r.Events
	p.res.DeadLetters += r.DeadLetters
	p.res.Repeats += r.Repeats
	if err != nil {
		return fmt.Errorf("%d of %d parts are published: %w", r.Done, len(p.batch), err)
	}
	p.batch, p.bytes = nil, 0
	return nil
}
