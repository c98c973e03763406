package chunk

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

const (
	// defaultMaxLine is the limit of a Lines that was given none.
	defaultMaxLine = 16 << 20
	firstBuffer    = 64 << 10
	largestPooled  = 1 << 20
)

var lineBuffers = sync.Pool{New: func() any {
	b := make([]byte, firstBuffer)
	return &b
}}

// Lines reads lines of text: they end in \n or \r\n, the last one may lack its end, and blank ones are left out.
type Lines struct {
	r       io.Reader
	max     int
	buf     *[]byte
	from    int // begin of what was not returned yet, in buf
	seen    int // up to where no line end was found
	to      int // end of what was read
	number  int
	skip    bool // the rest of a line that is too long is being left out
	readErr error
}

// NewLines returns the lines of r. A line of more than maxLine bytes is ErrLineTooLong; 0 or less means 16 MiB.
// Memory is bounded by twice the longest line allowed.
func NewLines(r io.Reader, maxLine int) *Lines {
	if maxLine <= 0 {
		maxLine = defaultMaxLine
	}
	return &Lines{r: r, max: maxLine, buf: lineBuffers.Get().(*[]byte)}
}

// Number returns the place of the line that Next gave last, blank ones counted, from 1.
func (l *Lines) Number() int { return l.number }

// Next returns the next line without its end. It is valid until the next call. The error is ErrLineTooLong for a line that
// is left out, after which Next goes on; io.EOF at the end; and else the reader's, which comes after all lines that were
// complete before it, and stays.
func (l *Lines) Next() ([]byte, error) {
	if l.buf == nil {
		return nil, l.readErr
	}
	for {
		if i := bytes.IndexByte((*l.buf)[l.seen:l.to], '\n'); i >= 0 {
			line := (*l.buf)[l.from : l.seen+i]
			l.from = l.seen + i + 1
			l.seen = l.from
			if line, err := l.line(line); line != nil || err != nil {
				return line, err
			}
			continue
		}
		l.seen = l.to
		if l.skip || l.to-l.from > l.max+1 {
			l.skip, l.from, l.seen, l.to = true, 0, 0, 0
		}
		if l.readErr != nil {
			return l.last()
		}
		l.fill()
	}
}

// line returns a complete line, nil when it is blank.
func (l *Lines) line(line []byte) ([]byte, error) {
	l.number++
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if l.skip || len(line) > l.max {
		l.skip = false
		return nil, fmt.Errorf("%w: line %d has more than %d bytes", ErrLineTooLong, l.number, l.max)
	}
	if len(line) == 0 || line[0] <= ' ' && len(bytes.TrimLeft(line, " \t\r")) == 0 {
		return nil, nil
	}
	return line, nil
}

// last ends the text: what follows the last line end is a line too, unless reading failed.
func (l *Lines) last() ([]byte, error) {
	line := (*l.buf)[l.from:l.to]
	l.from, l.seen = l.to, l.to
	if l.readErr == io.EOF && (len(line) > 0 || l.skip) { //nolint:errorlint // Readers return io.EOF itself.
		if line, err := l.line(line); line != nil || err != nil {
			return line, err
		}
	}
	l.recycle()
	return nil, l.readErr
}

// recycle gives the buffer back, unless it is so large that it would pin memory.
func (l *Lines) recycle() {
	if len(*l.buf) <= largestPooled {
		lineBuffers.Put(l.buf)
	}
	l.buf = nil
}

// fill reads more text after what is there, making room first.
func (l *Lines) fill() {
	if l.from > 0 {
		l.to = copy(*l.buf, (*l.buf)[l.from:l.to])
		l.seen -= l.from
		l.from = 0
	}
	if l.to == len(*l.buf) {
		larger := make([]byte, 2*len(*l.buf))
		copy(larger, *l.buf)
		l.recycle()
		l.buf = &larger
	}
	for range 100 {
		n, err := l.r.Read((*l.buf)[l.to:])
		l.to += n
		l.readErr = err
		if n > 0 || err != nil {
			return
		}
	}
	l.readErr = io.ErrNoProgress
}
