package chunk

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
)

// isGzip tells whether data begins as a gzip member does.
func isGzip(data []byte) bool { return len(data) >= 2 && data[0] == 0x1f && data[1] == 0x8b }

// isZlib tells whether data begins as a zlib stream does, of any level and with the usual window. The original knew the
// default level alone and dropped the others silently (bus.md 2.4).
func isZlib(data []byte) bool {
	if len(data) < 2 || data[0] != 0x78 {
		return false
	}
	switch data[1] {
	case 0x01, 0x5e, 0x9c, 0xda:
		return true
	}
	return false
}

// isPlain tells whether data begins as a JSON object does, after white space if any.
func isPlain(data []byte) bool {
	text := bytes.TrimLeft(data, " \t\r\n")
	return len(text) > 0 && text[0] == '{'
}

// OpenRecord returns a reader of the lines in a record (bus.md 2.4): gzip members, zlib streams of any level, or plain JSON,
// perhaps after white space. The error wraps ErrUnknownForm or ErrCorrupt; the errors of Read wrap ErrCorrupt and come after
// all text before the damage. Close gives the decompressor back, and may be called more than once. data must not change
// until then.
func OpenRecord(data []byte) (io.ReadCloser, error) {
	switch {
	case isGzip(data):
		return NewGunzip(bytes.NewReader(data))
	case isZlib(data):
		return newInflate(data)
	case isPlain(data):
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	return nil, fmt.Errorf("%w: it has %d bytes and begins with %q", ErrUnknownForm, len(data), data[:min(len(data), 8)])
}

var zlibs sync.Pool // of io.ReadCloser that are zlib.Resetter

// inflate reads zlib streams that stand one after the other.
type inflate struct {
	in  *bytes.Reader
	z   io.ReadCloser
	err error
}

func newInflate(data []byte) (*inflate, error) {
	f := &inflate{in: bytes.NewReader(data)}
	if z, ok := zlibs.Get().(io.ReadCloser); ok {
		f.z = z
		if err := f.next(); err != nil {
			return nil, err
		}
		return f, nil
	}
	z, err := zlib.NewReader(f.in)
	if err != nil {
		return nil, corrupt(err)
	}
	f.z = z
	return f, nil
}

// next begins the next stream.
func (f *inflate) next() error {
	if err := f.z.(zlib.Resetter).Reset(f.in, nil); err != nil {
		return corrupt(err)
	}
	return nil
}

// Read reads text.
func (f *inflate) Read(p []byte) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.z.Read(p)
	switch {
	case err == nil:
	case err == io.EOF && f.in.Len() > 0: //nolint:errorlint // Readers return io.EOF itself.
		f.err = f.next()
	case err == io.EOF: //nolint:errorlint // As above.
		f.err = err
	default:
		f.err = corrupt(err)
	}
	return n, f.err
}

// Close gives the decompressor back to the pool.
func (f *inflate) Close() error {
	if f.z != nil {
		zlibs.Put(f.z)
		f.z = nil
	}
	f.err = errClosed
	return nil
}
