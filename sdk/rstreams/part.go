package rstreams

import (
	"cmp"
	"fmt"
	"slices"
	"sort"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

// part is a stretch of one chunk: the events [first, until), by their index in the chunk.
type part struct {
	chunk *store.Chunk
	seg   *segment
	// base is what the ids of the chunk's events begin with, up to and with the '-', as they are delivered; counter is the
	// counter of event 0. Archives have neither: their lines carry their own ids.
	base    string
	counter int
	// first and until bound the events that the part's text holds; those before skip lie before the position.
	first, until, skip int64
	// sections are those of the blob that hold the part, nil for an inline chunk.
	sections []section
}

// section is a gzip member of a blob.
type section struct {
	first, records, size, gzipOffset, gzipSize int64
	startID, endID                             string
}

// newPart checks what the index says of c and returns the events of it that lie after the segment's position.
func newPart(s *segment, c *store.Chunk) (part, error) {
	corrupt := func(format string, args ...any) (part, error) {
		return part{}, fmt.Errorf("%w: chunk %s of %s: %s", store.ErrCorrupt, c.End, s.queue, fmt.Sprintf(format, args...))
	}
	p := part{chunk: c, seg: s, until: c.Records}
	if (c.Blob == nil) == (len(c.Gzip) == 0) {
		return corrupt("want either inline events or an object")
	}
	if !c.Archive {
		start, err1 := eid.Parse(c.Start)
		end, err2 := eid.Parse(c.End)
		if err1 != nil || err2 != nil {
			return corrupt("its ids are not valid: %s, %s", c.Start, c.End)
		}
		if start.Prefix() != end.Prefix() || int64(end.Counter-start.Counter+1) != c.Records {
			return corrupt("it has %d records from %s on", c.Records, c.Start)
		}
		p.base, p.counter = s.prefix+start.Prefix()+"-", start.Counter
		if c.Start <= s.from {
			p.skip = p.after(s.from, len(s.prefix))
		}
	}
	if c.Blob == nil {
		return p, nil
	}
	next, offset := int64(0), int64(0)
	before := c.Start // of the section, or the end of the one before it
	for _, o := range c.Offsets {
		numbered := c.Archive || o.Start == next && o.End == next+o.Records-1
		if o.Records < 1 || o.GzipSize < 1 || o.GzipOffset != offset || !numbered {
			return corrupt("its section at byte %d contradicts the others", o.GzipOffset)
		}
		p.sections = append(p.sections, section{
			first: next, records: o.Records, size: o.Size, gzipOffset: o.GzipOffset, gzipSize: o.GzipSize,
			startID: cmp.Or(o.StartID, before), endID: o.EndID,
		})
		before = o.EndID
		next += o.Records
		offset += o.GzipSize
	}
	if next != c.Records {
		return corrupt("its sections hold %d events, not %d", next, c.Records)
	}
	// Sections wholly before the position are not fetched (R4).
	for len(p.sections) > 0 {
		o := p.sections[0]
		if c.Archive && o.endID > s.from || !c.Archive && o.first+o.records > p.skip {
			break
		}
		p.sections = p.sections[1:]
	}
	if len(p.sections) == 0 {
		p.first, p.skip = c.Records, c.Records
		return p, nil
	}
	p.first = p.sections[0].first
	p.skip = max(p.skip, p.first)
	return p, nil
}

// after returns the index of the first event with an id after position, which has no snapshot prefix.
func (p *part) after(position string, prefix int) int64 {
	id := make([]byte, 0, len(p.base)+7)
	n := sort.Search(int(p.chunk.Records), func(i int) bool {
		id = eid.AppendCounter(append(id[:0], p.base[prefix:]...), p.counter+i)
		return string(id) > position
	})
	return int64(n)
}

// stretchSize is how much text of a blob one goroutine fetches and decodes.
const stretchSize = 4 << 20

// stretches cuts the part of a blob at sections, so that several goroutines can work on it.
func (p *part) stretches() []part {
	var out []part
	from, size := 0, int64(0)
	for i, o := range p.sections {
		size += o.size
		if size < stretchSize && i < len(p.sections)-1 {
			continue
		}
		q := *p
		q.sections = slices.Clone(p.sections[from : i+1])
		q.first = q.sections[0].first
		q.until = o.first + o.records
		q.skip = max(p.skip, q.first)
		out = append(out, q)
		from, size = i+1, 0
	}
	return out
}

// ordinal returns the place of the event index within its section.
func (p *part) ordinal(index int64) int64 {
	for i := len(p.sections) - 1; i >= 0; i-- {
		if o := &p.sections[i]; index >= o.first {
			return index - o.first
		}
	}
	return index
}

// blobKey names the object, "" for an inline chunk.
func (p *part) blobKey() string {
	if p.chunk.Blob == nil {
		return ""
	}
	return p.chunk.Blob.Key
}
