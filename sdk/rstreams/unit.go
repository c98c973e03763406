package rstreams

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/store"
)

// unit is a piece of work of the read-ahead: a run of inline chunks, or a stretch of a blob. It is decoded by a goroutine of
// its own while the consumer is still at earlier ones, and hands over its text in pieces of bounded size.
type unit struct {
	pieces  chan piece
	maxLine int

	part *part // that is in work
	next int64 // index in the chunk of its next line
}

// piece is some whole lines of a part.
type piece struct {
	part *part
	text []byte
	// skipped is how many lines at the beginning lie before the position; lines are the others, decoded.
	skipped int64
	lines   []line
	// last tells that the part ends with this piece.
	last bool
	// long stands for one line that is too long to be an event. The piece has no text then.
	long bool
	// passed, if set, is a position that the read has reached without an event, and start tells that it begins there. The piece
	// has no part then.
	passed string
	start  bool
	// err ends the read.
	err error
}

// send decodes a piece and hands it over. It reports false once the read has ended.
func (u *unit) send(ctx context.Context, p piece) bool {
	if p.part != u.part {
		u.part, u.next = p.part, p.part.first
	}
	switch {
	case p.long:
		p.lines = append(linePool.get(), line{err: chunk.ErrLineTooLong})
		u.next++
	case len(p.text) > 0:
		u.decode(&p)
	}
	select {
	case u.pieces <- p:
		return true
	case <-ctx.Done():
		return false
	}
}

// maxInlineText bounds the text of an inline chunk whose size the index states wrongly.
const maxInlineText = 16 << 20

// decodeInline decompresses inline chunks.
func (u *unit) decodeInline(ctx context.Context, parts []part) {
	for i := range parts {
		p := &parts[i]
		c := p.chunk
		size := min(max(c.Size, 0), maxInlineText)
		text, err := chunk.AppendGunzip(make([]byte, 0, size), c.Gzip, max(2*size, maxInlineText))
		c.Gzip = nil
		if err != nil {
			err = fmt.Errorf("%w: chunk %s of %s: %w", store.ErrCorrupt, c.End, p.seg.queue, err)
			u.send(ctx, piece{part: p, err: err})
			return
		}
		if !u.send(ctx, piece{part: p, text: text, last: true}) {
			return
		}
	}
}

// blobAttempts is how often a blob is tried to be read without getting any further.
const blobAttempts = 4

// fetchBlob reads and decompresses a stretch of a blob. When the connection fails, it goes on where it was.
func (u *unit) fetchBlob(ctx context.Context, r *Reader, p part) {
	done := int64(0) // bytes of the part's text that were handed over
	for failures := 0; ; {
		before := done
		err := u.streamBlob(ctx, r, &p, &done)
		if err == nil || ctx.Err() != nil {
			return
		}
		if failures++; done > before {
			failures = 1
		}
		if permanent(err) || failures >= blobAttempts && !errors.Is(err, store.ErrThrottled) || failures >= throttleAttempts {
			err = &BlobError{Queue: p.seg.queue, End: p.chunk.End, Key: p.blobKey(), Err: err}
			u.send(ctx, piece{part: &p, err: err})
			return
		}
		if pause(ctx, Backoff{}.delay(failures)) != nil {
			return
		}
	}
}

// streamBlob hands over the part's text from the byte *done on.
func (u *unit) streamBlob(ctx context.Context, r *Reader, p *part, done *int64) error {
	sections, skip := p.sections, *done
	for len(sections) > 1 && skip >= sections[0].size {
		skip -= sections[0].size
		sections = sections[1:]
	}
	length, size := int64(0), int64(0)
	for _, o := range sections {
		length += o.gzipSize
		size += o.size
	}
	body, err := r.bus.core.store.Blobs.Get(ctx, *p.chunk.Blob, sections[0].gzipOffset, length)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // Everything that is needed of it was read, or the read failed already.
	text, err := chunk.NewGunzip(body)
	if err != nil {
		return err
	}
	defer text.Close() //nolint:errcheck // As above.
	if _, err := io.CopyN(io.Discard, text, skip); err != nil {
		return err
	}
	b := blocks{u: u, part: p, done: done, block: r.set.block, maxLine: r.set.MaxLine}
	return b.copy(ctx, text, size-skip)
}

// blocks cuts a stream of text into pieces of whole lines.
type blocks struct {
	u       *unit
	part    *part
	done    *int64
	block   int
	maxLine int
}

// copy hands text over. remaining is its expected length and only saves memory.
func (b *blocks) copy(ctx context.Context, text io.Reader, remaining int64) error {
	buf := b.buffer(nil, remaining)
	discarded := int64(0) // bytes of a line that is too long
	for {
		n, err := fill(text, buf)
		buf, remaining = buf[:len(buf)+n], remaining-int64(n)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		ended := err != nil
		if discarded > 0 {
			end := bytes.IndexByte(buf, '\n') + 1
			if end == 0 && !ended {
				discarded += int64(len(buf))
				buf = buf[:0]
				continue
			}
			if end == 0 {
				end = len(buf)
			}
			if err := b.send(ctx, piece{long: true}, discarded+int64(end)); err != nil {
				return err
			}
			discarded, buf = 0, b.buffer(buf[end:], remaining)
			if !ended {
				continue
			}
		}
		if ended {
			return b.send(ctx, piece{text: buf, last: true}, int64(len(buf)))
		}
		end := bytes.LastIndexByte(buf, '\n') + 1
		switch {
		case end > 0:
			if err := b.send(ctx, piece{text: buf[:end:end]}, int64(end)); err != nil {
				return err
			}
			buf = b.buffer(buf[end:], remaining)
		case len(buf) > b.maxLine:
			discarded, buf = int64(len(buf)), buf[:0]
		default:
			buf = append(make([]byte, 0, min(2*cap(buf), b.maxLine+1)), buf...)
		}
	}
}

// buffer returns a new buffer that begins with rest. Buffers that were handed over are never touched again.
func (b *blocks) buffer(rest []byte, remaining int64) []byte {
	// One byte more than is expected shows the end of the text without another buffer.
	size := min(int64(b.block), max(remaining, 0)+1)
	return append(make([]byte, 0, int64(len(rest))+size), rest...)
}

// send hands a piece over and counts its bytes as done.
func (b *blocks) send(ctx context.Context, p piece, size int64) error {
	p.part = b.part
	if !b.u.send(ctx, p) {
		return context.Cause(ctx)
	}
	*b.done += size
	return nil
}

// fill reads until buf's capacity is used. Unlike io.ReadFull it returns the reader's own error, so that a text that breaks
// off is told from one that ends.
func fill(r io.Reader, buf []byte) (n int, err error) {
	free := buf[len(buf):cap(buf)]
	for n < len(free) && err == nil {
		var k int
		k, err = r.Read(free[n:])
		n += k
	}
	return n, err
}
