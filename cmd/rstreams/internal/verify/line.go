package verify

import (
	"bytes"
	"errors"
	"io"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
)

// maxLine is the longest line that is checked as an event.
const maxLine = 256 << 20

// maxLineFaults bounds the faults that one gzip member adds, so that a damaged chunk does not hide the next.
const maxLineFaults = 5

// lineChecker checks the events of a chunk, one gzip member at a time.
type lineChecker struct {
	c    *checker
	k    *store.Chunk
	at   Fault
	line event.Line

	queue string
	// records and size are of the member that is being read.
	records, size int64
	faults        int
	// before is how many events the chunk has before the member. Lines count from their member's beginning; some writers
	// of blobs count through.
	before int64
	// first is the archive id of the member's first event, last that of the newest one.
	first, last string
	tail        tailReader
}

// begin starts a chunk.
func (w *lineChecker) begin(c *checker, k *store.Chunk, at Fault) *lineChecker {
	w.c, w.k, w.at = c, k, at
	w.queue = plainQueue(k.Queue)
	w.last, w.before, w.records = "", 0, 0
	w.section()
	return w
}

// section starts a gzip member: line numbers begin at 0 again.
func (w *lineChecker) section() {
	w.before += w.records
	w.records, w.size, w.faults, w.first = 0, 0, 0, ""
}

// read checks the lines of r, which is compressed.
func (w *lineChecker) read(r io.Reader) error {
	zr, err := chunk.NewGunzip(r)
	if err != nil {
		return err
	}
	defer func() { _ = zr.Close() }()
	w.tail = tailReader{r: zr}
	lines := chunk.NewLines(&w.tail, maxLine)
	for {
		b, err := lines.Next()
		switch {
		case errors.Is(err, io.EOF):
			w.size = w.tail.n
			if w.tail.n > 0 && w.tail.last != '\n' {
				w.fault("", "its last line does not end")
			}
			if w.tail.blank {
				w.fault("", "it holds a blank line, at which published readers stop")
			}
			return nil
		case err != nil:
			return err
		}
		w.check(b)
		w.records++
	}
}

// fault adds a fault of the line that is being checked.
func (w *lineChecker) fault(id string, format string, args ...any) {
	if w.faults++; w.faults > maxLineFaults {
		w.c.report.FaultCount++
		return
	}
	f := w.at
	f.Rule, f.EID = RuleLine, id
	w.c.fault(f, format, args...)
}

// check checks one line.
func (w *lineChecker) check(b []byte) {
	if err := event.Scan(b, &w.line); err != nil {
		w.fault("", "line %d is no event: %v", w.records, err)
		return
	}
	l := &w.line
	if w.k.Sealed && w.k.Blob == nil && !l.Sealable() {
		w.fault("", "line %d is not one of a sealed chunk: its payload is not its last member", w.records)
	}
	id := ""
	if w.k.Archive {
		s, ok := l.EIDString()
		switch {
		case !ok:
			w.fault("", "line %d of an archive has no id of its own", w.records)
		case s <= w.last:
			w.fault(s, "it comes after %s", w.last)
		case s < w.k.Start || s > w.k.End:
			w.fault(s, "it is outside %s to %s", w.k.Start, w.k.End)
		}
		if w.first == "" {
			w.first = s
		}
		id, w.last = s, s
	} else if n, ok := l.EIDIndex(); !ok || int64(n) != w.records && int64(n) != w.before+w.records {
		w.fault("", "line %d carries another eid: %.40s", w.records, b)
	}
	if name, err := l.Queue(); err != nil {
		w.fault(id, "line %d: %v", w.records, err)
	} else if plainQueue(name) != w.queue {
		w.fault(id, "line %d is of queue %s", w.records, name)
	}
	switch {
	case l.Bot() == "":
		w.fault(id, "line %d names no bot", w.records)
	case !l.HasPayload():
		w.fault(id, "line %d has no payload", w.records)
	}
	if _, ok := l.Timestamp(); !ok {
		w.fault(id, "line %d has no timestamp", w.records)
	}
	if w.queue == deadletter.Queue {
		f := w.at
		f.EID = id
		w.c.deadLetter(f, l.PayloadRaw())
	}
}

// end compares what a member held with what was stated.
func (w *lineChecker) end(records, size int64) {
	at := w.at
	if w.records != records {
		at.Rule = RuleCount
		w.c.fault(at, "it holds %d events but %d are stated", w.records, records)
	}
	if w.size != size {
		at.Rule = RuleBody
		w.c.fault(at, "it holds %d bytes of text but %d are stated", w.size, size)
	}
}

// ids compares an archive section's ids with those stated; "" is not compared.
func (w *lineChecker) ids(first, last string) {
	at := w.at
	at.Rule = RuleSection
	if first != "" && first != w.first {
		w.c.fault(at, "a section begins with %s but %s is stated", w.first, first)
	}
	if last != "" && last != w.last {
		w.c.fault(at, "a section ends with %s but %s is stated", w.last, last)
	}
}

// tailReader counts what is read and remembers the last byte, to see blank lines and a line that does not end.
type tailReader struct {
	r     io.Reader
	n     int64
	last  byte
	blank bool
}

func (t *tailReader) Read(p []byte) (int, error) {
	n, err := t.r.Read(p)
	if n > 0 {
		if !t.blank {
			t.blank = (t.last == '\n' || t.n == 0) && p[0] == '\n' || bytes.Contains(p[:n], []byte("\n\n"))
		}
		t.n += int64(n)
		t.last = p[n-1]
	}
	return n, err
}
