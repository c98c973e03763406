package rstreams

import (
	"bytes"
	"sync"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/event"
)

// line is a decoded line. Lines are decoded by the goroutines of the units: the consumer's own goroutine is left to what the
// program does with the events.
type line struct {
	text  []byte
	event Event
	// index and id are what the line's `eid` says: a number, or a text; -1 and "" where it does not.
	index int
	id    string
	// err is what is wrong with the line.
	err error
}

// decode fills in the lines of p.
func (u *unit) decode(p *piece) {
	scan := scanPool.Get().(*event.Line)
	defer scanPool.Put(scan)
	scanLine := event.Scan
	if p.part.chunk.Sealed && p.part.chunk.Blob == nil {
		scanLine = event.ScanSealed
	}
	p.lines = linePool.get()
	for text := p.text; len(text) > 0; {
		var t []byte
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			t, text = text[:i:i], text[i+1:]
		} else {
			t, text = text, nil
		}
		if n := len(t); n > 0 && t[n-1] == '\r' {
			t = t[: n-1 : n-1]
		}
		if len(t) == 0 {
			continue // Not an event, and not counted as one.
		}
		index := u.next
		u.next++
		if !p.part.chunk.Archive && index < p.part.skip {
			p.skipped++
			continue
		}
		p.lines = append(p.lines, line{text: t, index: -1})
		l := &p.lines[len(p.lines)-1]
		if len(t) > u.maxLine {
			l.err = chunk.ErrLineTooLong
			continue
		}
		if l.err = scanLine(t, scan); l.err != nil {
			continue
		}
		if l.err = scan.Event(&l.event); l.err != nil {
			continue
		}
		if i, ok := scan.EIDIndex(); ok {
			l.index = i
		} else if id, ok := scan.EIDString(); ok {
			l.id = id
		}
	}
}

// scanPool holds scanners with the names they saw last: neighbouring events mostly share bot and queue.
var scanPool = sync.Pool{New: func() any { return new(event.Line) }}

// linePool holds the slices of lines. The events in them are copied before they are handed to the program.
var linePool linesPool

type linesPool struct{ pool sync.Pool }

func (l *linesPool) get() []line {
	if s, ok := l.pool.Get().(*[]line); ok {
		return (*s)[:0]
	}
	return make([]line, 0, 256)
}

func (l *linesPool) put(s []line) {
	if s == nil || cap(s) > 1<<14 {
		return
	}
	clear(s) // No event is kept from being collected.
	l.pool.Put(&s)
}
