package chunk

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// Compression levels. Measured on chunks of 200 KiB, lines of some 310 bytes with varied payloads (BenchmarkLevels and the
// path benchmarks; speeds and sizes relative to level 1, whose ratio is 6.4):
//
//	level             1     2     3     4     5     6     standard library, 6
//	speed             1     0.78  0.76  0.68  0.60  0.50  0.14
//	size              1     0.99  0.98  0.97  0.87  0.81  0.78
//	speed of reading  1     1.01  1.01  0.98  1.21  1.32
//
// With level 3, events to gzip go at 0.72 of the speed of gzip alone, and gzip to events at 0.60 of that of gunzip alone; with
// level 1 at 0.65 and 0.61, with level 6 at 0.81 and 0.54.
const level = 3

// deflater is a pooled compressor that appends to out.
type deflater struct {
	w   *gzip.Writer
	out []byte
}

func (d *deflater) Write(p []byte) (int, error) {
	d.out = append(d.out, p...)
	return len(p), nil
}

var deflaters sync.Pool // of *deflater

// AppendGzip appends text to dst as one gzip member. Members may stand one after the other. Equal text gives equal bytes as
// long as the program is the same. It allocates nothing where dst has room.
func AppendGzip(dst, text []byte) []byte {
	d, ok := deflaters.Get().(*deflater)
	if !ok {
		d = new(deflater)
		w, err := gzip.NewWriterLevel(d, level)
		if err != nil {
			panic(err) // The level is a constant that exists.
		}
		d.w = w
	}
	d.out = dst
	d.w.Reset(d)
	_, err := d.w.Write(text)
	if err == nil {
		err = d.w.Close()
	}
	if err != nil {
		panic(fmt.Sprintf("chunk: compressing in memory: %v", err)) // Write of deflater does not fail.
	}
	copy(d.out[len(dst):], header)
	dst, d.out = d.out, nil
	deflaters.Put(d)
	return dst
}

// header is the beginning of members as Node writes it: deflate, no flags, no time, no hint on the level, Unix. No checksum
// covers it.
const header = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"

// maxRatio is more than the most that deflate can expand.
const maxRatio = 1040

// inflater is a pooled decompressor of bytes.
type inflater struct {
	z   gzip.Reader
	in  bytes.Reader
	one [1]byte
}

var inflaters = sync.Pool{New: func() any { return new(inflater) }}

// AppendGunzip appends the text of all gzip members in gz to dst. It allocates nothing where dst has room. Text of more than
// limit bytes is ErrTooLarge, found without inflating more than that; damage of any kind, bytes after the last member too, is
// ErrCorrupt. On an error dst is returned as it was.
func AppendGunzip(dst, gz []byte, limit int64) ([]byte, error) {
	limit = max(limit, 0)
	f := inflaters.Get().(*inflater)
	out, err := f.append(dst, gz, limit)
	f.in.Reset(nil)
	inflaters.Put(f)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (f *inflater) append(dst, gz []byte, limit int64) ([]byte, error) {
	f.in.Reset(gz)
	if err := f.z.Reset(&f.in); err != nil {
		return nil, corrupt(err)
	}
	out := dst
	if n := len(gz); n >= 4 {
		// The last member says the size of its text, modulo 4 GiB. It is a hint: at most what the input can expand to.
		hint := min(int64(binary.LittleEndian.Uint32(gz[n-4:])), limit, int64(n)*maxRatio)
		out = slices.Grow(out, int(hint))
	}
	for {
		room := out[len(out):cap(out)]
		if len(room) == 0 {
			room = f.one[:] // Mostly there is no more, so that room for more would be wasted.
		}
		if left := limit - int64(len(out)-len(dst)); int64(len(room)) > left {
			room = room[:left+1]
		}
		n, err := f.z.Read(room)
		if len(out) < cap(out) {
			out = out[:len(out)+n]
		} else {
			out = append(out, f.one[:n]...)
		}
		if int64(len(out)-len(dst)) > limit {
			return nil, fmt.Errorf("%w: it has more than %d bytes", ErrTooLarge, limit)
		}
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, corrupt(err)
		}
	}
}

// corrupt wraps an error of a decompressor.
func corrupt(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the compressed data ends too early", ErrCorrupt)
	}
	return fmt.Errorf("%w: %w", ErrCorrupt, err)
}

// source remembers how reading the compressed bytes failed, to tell a failure to read from damage.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && err != io.EOF { //nolint:errorlint // Readers return io.EOF itself.
		s.err = err
	}
	return n, err
}

// fail returns the error to report for an error of the decompressor.
func (s *source) fail(err error) error {
	if s.err != nil {
		return s.err
	}
	return corrupt(err)
}

// gunzip is a pooled streaming decompressor.
type gunzip struct {
	src source
	buf *bufio.Reader
	z   gzip.Reader
}

var gunzips = sync.Pool{New: func() any { return &gunzip{buf: bufio.NewReaderSize(nil, 32<<10)} }}

func (g *gunzip) reset() {
	g.src = source{}
	g.buf.Reset(nil)
	gunzips.Put(g)
}

// gunzipReader is one use of a gunzip.
type gunzipReader struct {
	g   *gunzip
	err error
}

// NewGunzip returns a reader of the text of all gzip members in r. Its errors, and those of Read, are r's own where r
// failed, and wrap ErrCorrupt where the data is damaged or cut short. Close gives the decompressor back; it does not close
// r, and may be called more than once.
func NewGunzip(r io.Reader) (io.ReadCloser, error) {
	g := gunzips.Get().(*gunzip)
	g.src.r = r
	g.buf.Reset(&g.src)
	if err := g.z.Reset(g.buf); err != nil {
		err = g.src.fail(err)
		g.reset()
		return nil, err
	}
	return &gunzipReader{g: g}, nil
}

// Read reads text.
func (r *gunzipReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.g.z.Read(p)
	if err != nil {
		if err != io.EOF { //nolint:errorlint // Readers return io.EOF itself.
			err = r.g.src.fail(err)
		}
		r.err = err
	}
	return n, err
}

// Close gives the decompressor back to the pool.
func (r *gunzipReader) Close() error {
	if r.g != nil {
		r.g.reset()
		r.g = nil
	}
	r.err = errClosed
	return nil
}

var errClosed = errors.New("chunk: read after Close")
