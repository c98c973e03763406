package rstreams

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// file is the object that a chunk's events travel in: sections of gzip that can be read one by one (sdk.md 2.3, W5), and what
// its pointer says of the events.
type file struct {
	prefix string
	number int
	key    string // once it is known: every attempt replaces what an earlier one may have left
	// sections are closed; the one that grows is the chunk's text, and count its events.
	sections []*fileSection
	count    int

	bots              map[string]*total
	correlations      []map[string]lineage // of each section, the one that grows included
	timestamp, source int64
	names             int // bytes of the names in stats and correlations, and of what stands beside them
}

// fileSection is a run of lines that is compressed by itself.
type fileSection struct {
	records int
	size    int
	// text is nil once gz is set; Writer.mu guards both. done is closed then.
	text, gz []byte
	done     chan struct{}
}

// total is what one bot wrote.
type total struct {
	source, timestamp int64 // greatest ones, in ms
	units             int64
	last              int // its last event's index in its section
}

// lineage tells from which events of a queue a section's were made.
type lineage struct {
	Source          string `json:"source"`
	Start           string `json:"start"`
	End             string `json:"end"`
	Records         int64  `json:"records"`
	SourceTimestamp int64  `json:"source_timestamp"`
	Timestamp       int64  `json:"timestamp"`
}

const (
	// maxNames bounds what a pointer says of bots and queues: it has to fit a record.
	maxNames = 128 << 10
	// entrySize is about what stands beside a name.
	entrySize = 200
	// parallelUploads is how many objects are stored at a time.
	parallelUploads = 4
	// sectionEntry is about what an entry of the table of sections takes in the index beside the queue's name, tableMargin what the
	// rest of the item does: attributes, and the names of queue, bucket and key.
	sectionEntry = 140
	tableMargin  = 500 + ref.MaxQueueBytes + 1024 + 1024
)

// sections returns how many sections an object of the queue may have: the table of them has to fit an item of the index, or the bus
// refuses the pointer although its object is stored.
func (w *Writer) sections(queue string) int {
	return min(w.o.Blobs.Sections, (store.MaxInlineItem-tableMargin)/(sectionEntry+len(queue)))
}

// newFile begins an object. w.mu is held.
func (w *Writer) newFile(prefix string) *file {
	w.files++
	return &file{prefix: prefix, number: w.files, bots: map[string]*total{}}
}

// note adds an event to what the pointer says. It is the next of the section that grows.
func (f *file) note(e *Event) {
	if f.count == 0 {
		f.correlations = append(f.correlations, map[string]lineage{})
	}
	t := f.bots[e.Bot]
	if t == nil {
		t = &total{}
		f.bots[strings.Clone(e.Bot)] = t
		f.names += len(e.Bot) + entrySize
	}
	t.source, t.timestamp = max(t.source, e.SourceTimestamp), max(t.timestamp, e.Timestamp)
	t.units += max(e.Units, 1)
	t.last = f.count
	if c := e.Correlation; c != nil {
		sources := f.correlations[len(f.correlations)-1]
		l, known := sources[c.Source]
		if !known {
			l = lineage{Source: strings.Clone(c.Source), Start: strings.Clone(c.Start)}
			f.names += 2*len(c.Source) + entrySize
		}
		if l.End = c.End; l.End == "" {
			l.End = c.Start
		}
		l.End = strings.Clone(l.End)
		l.Records += max(c.Units, 1)
		l.SourceTimestamp, l.Timestamp = e.SourceTimestamp, e.Timestamp
		sources[l.Source] = l
	}
	f.timestamp = max(f.timestamp, e.Timestamp)
	if f.source == 0 || e.SourceTimestamp < f.source {
		f.source = e.SourceTimestamp
	}
	f.count++
}

// appendToFile encodes the event into the object that its queue's events gather in. w.mu is held.
func (w *Writer) appendToFile(b *batch, e *Event) (Ack, error) {
	if w.o.snapshot != 0 && b.queue != ref.Queue(w.o.Queue) {
		return Ack{}, fmt.Errorf("%w: the event is for another queue than the snapshot of %s", errOptions, w.o.Queue)
	}
	if b.file == nil {
		b.file = w.newFile(w.o.Blobs.Prefix)
	}
	f := b.file
	text, err := event.AppendLine(b.text, e, f.count)
	if err != nil {
		return Ack{}, err
	}
	size := len(text) - len(b.text)
	if err := w.permit(b.queue, size); err != nil {
		return Ack{}, err
	}
	b.text = text
	f.note(e)
	ack := w.take(b, size)
	if len(text) >= w.o.Blobs.SectionBytes {
		w.closeSection(b)
	}
	switch {
	case len(f.sections) >= w.sections(b.queue) || b.events > eid.MaxCounter || f.names >= maxNames:
		w.seal(b)
	case b.events == 1 && w.o.Chunk.Linger > 0 && !w.armed:
		w.arm()
	}
	return ack, nil
}

// closeSection ends the section that grows and has it compressed, while further events gather. w.mu is held.
func (w *Writer) closeSection(b *batch) {
	f := b.file
	if f.count == 0 {
		return
	}
	s := &fileSection{records: f.count, size: len(b.text), text: b.text, done: make(chan struct{})}
	f.sections = append(f.sections, s)
	f.count, b.text = 0, w.spare
	switch w.spare = nil; {
	case b.text != nil:
	case s.size >= w.o.Blobs.SectionBytes && len(f.sections) < w.sections(b.queue):
		b.text = make([]byte, 0, cap(s.text)) // The next one will be as large.
	default:
		b.text = texts.get()
	}
	w.compressing++
	w.sender.Go(func() {
		gz := chunk.AppendGzip(make([]byte, 0, len(s.text)/5+512), s.text)
		w.mu.Lock()
		text := s.text
		s.gz, s.text = gz, nil
		b.held += cap(gz) - len(text)
		w.bytes += cap(gz) - len(text)
		w.compressing--
		if w.spare == nil && !w.closed {
			w.spare = text[:0] // Too large for the pool that the writers share.
		}
		w.wake()
		w.mu.Unlock()
		close(s.done)
	})
}

// lines returns the text of all events of the chunk. Writer.mu is held.
func (b *batch) lines() io.Reader {
	var parts []io.Reader
	if b.file != nil {
		for _, s := range b.file.sections {
			text := s.text
			if s.gz != nil {
				// What AppendGzip made can be read.
				text, _ = chunk.AppendGunzip(nil, s.gz, int64(s.size))
			}
			parts = append(parts, bytes.NewReader(text))
		}
	}
	return io.MultiReader(append(parts, bytes.NewReader(b.text))...)
}

// uploadAll stores the objects of chunks, several at a time, as far as that succeeds.
func (w *Writer) uploadAll(call []*batch) {
	var g errgroup.Group
	g.SetLimit(parallelUploads)
	for _, b := range call {
		if b.data == nil && len(call) > 1 {
			g.Go(func() error {
				data, err := w.record(b)
				if err == nil {
					b.data = data
				}
				return nil
			})
		}
	}
	_ = g.Wait() // None of them returns an error.
}

// upload stores the chunk's object and returns the line of its pointer (sdk.md 2.3, W4, W9).
func (w *Writer) upload(b *batch) ([]byte, error) {
	f := b.file
	sections := f.sections
	if len(sections) == 0 { // One event that is too long for a record.
		sections = []*fileSection{{records: b.events, size: len(b.text), gz: chunk.AppendGzip(nil, b.text)}}
	}
	p := chunk.Pointer{
		Queue: b.queue, Records: int64(b.events), Stats: f.stats(), Snapshot: w.o.snapshot,
		Timestamp: f.timestamp, SourceTimestamp: f.source,
	}
	var parts []io.Reader
	first := int64(0)
	for _, s := range sections {
		if s.done != nil {
			select {
			case <-s.done:
			case <-w.ctx.Done():
				return nil, context.Cause(w.ctx)
			}
		}
		p.Offsets = append(p.Offsets, store.Offset{
			Event: b.queue, Start: first, End: first + int64(s.records) - 1, Records: int64(s.records),
			Size: int64(s.size), GzipSize: int64(len(s.gz)), Offset: p.Size, GzipOffset: p.GzipSize,
		})
		first, p.Size, p.GzipSize = first+int64(s.records), p.Size+int64(s.size), p.GzipSize+int64(len(s.gz))
		parts = append(parts, bytes.NewReader(s.gz))
	}
	body := parts[0]
	if len(parts) > 1 {
		body = io.MultiReader(parts...)
	}
	if f.key == "" {
		f.key = f.name(b.queue, w.bus.millis())
	}
	var err error
	if p.Blob, _, err = w.bus.core.store.Blobs.Put(w.ctx, f.key, body); err != nil {
		return nil, fmt.Errorf("object of events: %w", err)
	}
	if p.Correlations, err = json.Marshal(f.correlations); err != nil {
		return nil, err
	}
	return chunk.AppendPointer(nil, &p)
}

// stats returns what the pointer says of the bots.
func (f *file) stats() map[string]chunk.Stat {
	out := make(map[string]chunk.Stat, len(f.bots))
	for bot, t := range f.bots {
		out[bot] = chunk.Stat{Start: t.source, End: t.timestamp, Units: t.units, Checkpoint: fmt.Append(nil, t.last)}
	}
	return out
}

// name returns the object's key. The names in it are for people who look at the bucket; a key has 1024 bytes at most, a
// queue's name alone up to twice that.
func (f *file) name(queue string, now int64) string {
	return fmt.Sprintf("bus/%s/%s/%s%d-%07d-%s.gz", shorten(queue, 600), shorten(f.prefix, 200), eid.MinutePath(now), now, f.number, uuid.New())
}

// shorten cuts a name to at most n bytes.
func shorten(name string, n int) string {
	if len(name) <= n {
		return name
	}
	return strings.ToValidUTF8(name[:n], "")
}
