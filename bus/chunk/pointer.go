package chunk

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Pointer is a record that stands for events in a blob (bus.md 2.6). The zero Pointer is not valid.
type Pointer struct {
	// Queue is the plain queue name, without the suffix of archives or snapshots.
	Queue string
	// StartID and EndID are an archive's first and last event id; other pointers have none.
	StartID, EndID string
	// Blob holds the events, in the sections that Offsets describes.
	Blob    store.BlobRef
	Offsets []store.Offset
	// Records is the number of events, Size their bytes as text, GzipSize the bytes of the blob.
	Records, Size, GzipSize int64
	// Stats tells, for each bot, what it wrote. Nil is written as an empty object.
	Stats map[string]Stat
	// Correlations is the raw list of what the events were made from. The bus does not use it; nil is written as an empty
	// list.
	Correlations json.RawMessage
	// Archive makes it an archive file of the queue, Snapshot a part of the queue's snapshot of that time, in ms.
	Archive  bool
	Snapshot int64
	// Creator is "firehose" for pointers that the Firehose loader made, else "".
	Creator string
	// Timestamp and SourceTimestamp are when the pointer was made, in ms; 0 is not written.
	Timestamp, SourceTimestamp int64
	// Extra holds the members that have no field here, raw and in their order.
	Extra []event.Member
}

// Stat is what one bot wrote into a blob.
type Stat struct {
	// Start is the greatest source time of its events, End their greatest time, in ms.
	Start, End int64
	// Units is how many things they stand for.
	Units int64
	// Checkpoint is the place of the last one: its index in its section, or its id in an archive. Nil is not written.
	Checkpoint json.RawMessage
}

// ParsePointer reads a pointer record and checks that its numbers agree with one another: sections follow each other
// without gaps, their sums are the totals, and the range of events is that of the sections (C25, W4). A `start` of null, or
// none, is what leo-sdk writes (C12). Extra and Correlations do not alias line. The error wraps ErrPointer, or what
// event.Parse returns.
func ParsePointer(line []byte) (Pointer, error) {
	var l event.Line
	if err := event.Scan(slices.Clone(line), &l); err != nil {
		return Pointer{}, fmt.Errorf("%w: %w", ErrPointer, err)
	}
	var e event.Event
	err := l.Event(&e)
	if err != nil {
		return Pointer{}, fmt.Errorf("%w: %w", ErrPointer, err)
	}
	p := Pointer{Queue: e.Queue, Timestamp: e.Timestamp, SourceTimestamp: e.SourceTimestamp}
	own := map[string]json.RawMessage{}
	for _, m := range e.Extra {
		if slices.Contains(ownMembers[:], m.Name) {
			own[m.Name] = m.Value
		} else {
			p.Extra = append(p.Extra, m)
		}
	}
	p.keep(&e, &l)
	if err := p.read(own); err != nil {
		return Pointer{}, err
	}
	if err := p.Validate(); err != nil {
		return Pointer{}, err
	}
	return p, nil
}

// ownMembers are those of pointers alone.
var ownMembers = [...]string{
	"start", "end", "s3", "offsets", "records", "size", "gzipSize", "stats", "correlations", "archive", "snapshot", "creator",
}

// keep moves the members that events have and pointers do not to Extra.
func (p *Pointer) keep(e *event.Event, l *event.Line) {
	if e.Bot != "" {
		if id, err := json.Marshal(e.Bot); err == nil {
			p.Extra = append(p.Extra, event.Member{Name: "id", Value: id})
		}
	}
	if e.Payload != nil {
		p.Extra = append(p.Extra, event.Member{Name: "payload", Value: e.Payload})
	}
	if e.Correlation != nil {
		p.Extra = append(p.Extra, event.Member{Name: "correlation_id", Value: l.CorrelationRaw()})
	}
	if e.Units != 0 {
		p.Extra = append(p.Extra, event.Member{Name: "units", Value: fmt.Append(nil, e.Units)})
	}
}

func (p *Pointer) read(own map[string]json.RawMessage) error {
	f := fields{members: own}
	var blob map[string]json.RawMessage
	f.read("s3", &blob)
	in := fields{members: blob, err: f.err}
	p.Blob = store.BlobRef{Bucket: in.text("bucket"), Key: in.text("key")}
	f.err = in.err
	p.Records, p.Size, p.GzipSize = f.number("records"), f.number("size"), f.number("gzipSize")
	p.Creator = f.text("creator")
	p.Archive = event.Truthy(own["archive"])
	if event.Truthy(own["snapshot"]) {
		if p.Snapshot = f.number("snapshot"); p.Snapshot == 0 && f.err == nil {
			f.err = fmt.Errorf("%w: snapshot is %.60s, want ms", ErrPointer, own["snapshot"])
		}
	}
	if f.err != nil {
		return f.err
	}
	var err error
	if p.Offsets, err = UnmarshalOffsets(own["offsets"]); err != nil {
		return err
	}
	if err := p.readRange(&f); err != nil {
		return err
	}
	if c := own["correlations"]; event.Truthy(c) {
		p.Correlations = c
	}
	return p.readStats(own["stats"])
}

// readRange reads start and end: ids of an archive, else nothing (or 0) and the last index.
func (p *Pointer) readRange(f *fields) error {
	var start, end int64
	if p.Archive || event.Truthy(f.members["start"]) {
		start, p.StartID = f.place("start")
	}
	end, p.EndID = f.place("end")
	if f.err == nil && !p.Archive && (start != 0 || end != p.Records-1 || p.StartID != "" || p.EndID != "") {
		f.err = fmt.Errorf("%w: it holds the events %d%s to %d%s, and has %d records", ErrPointer, start, p.StartID, end, p.EndID, p.Records)
	}
	return f.err
}

// readStats reads the statistics. They are a by-product: what is no number counts as 0.
func (p *Pointer) readStats(raw json.RawMessage) error {
	if !event.Truthy(raw) {
		return nil
	}
	var bots map[string]map[string]json.RawMessage
	if err := json.Unmarshal(raw, &bots); err != nil {
		return fmt.Errorf("%w: stats: %w", ErrPointer, err)
	}
	p.Stats = make(map[string]Stat, len(bots))
	for bot, m := range bots {
		s := Stat{Start: whole(m["start"]), End: whole(m["end"]), Units: whole(m["units"])}
		if c := m["checkpoint"]; string(c) != "null" {
			s.Checkpoint = c
		}
		p.Stats[bot] = s
	}
	return nil
}

func whole(raw json.RawMessage) int64 {
	var x float64
	if json.Unmarshal(raw, &x) != nil || math.IsNaN(x) || math.Abs(x) > maxTotal {
		return 0
	}
	return int64(x)
}

// Validate checks what ParsePointer checks. The error wraps ErrPointer.
func (p *Pointer) Validate() error {
	switch {
	case p.Queue == "":
		return fmt.Errorf("%w: it names no queue", ErrPointer)
	case p.Blob.Bucket == "" || p.Blob.Key == "":
		return fmt.Errorf("%w: it names no blob", ErrPointer)
	case !utf8.ValidString(p.Queue) || !utf8.ValidString(p.Blob.Bucket) || !utf8.ValidString(p.Blob.Key):
		return fmt.Errorf("%w: a name in it is not UTF-8", ErrPointer)
	case p.Archive && p.Snapshot != 0:
		return fmt.Errorf("%w: it is both an archive and a snapshot", ErrPointer)
	case p.Snapshot < 0:
		return fmt.Errorf("%w: snapshot is %d", ErrPointer, p.Snapshot)
	}
	records, size, gzipSize, err := ValidateOffsets(p.Offsets, p.Archive)
	if err != nil {
		return err
	}
	if records != p.Records || size != p.Size || gzipSize != p.GzipSize {
		return fmt.Errorf("%w: it has %d records, %d bytes, %d compressed; its sections have %d, %d, %d",
			ErrPointer, p.Records, p.Size, p.GzipSize, records, size, gzipSize)
	}
	first, last := p.Offsets[0].StartID, p.Offsets[len(p.Offsets)-1].EndID
	if p.StartID != first || p.EndID != last {
		return fmt.Errorf("%w: it is from %q to %q, its sections from %q to %q", ErrPointer, p.StartID, p.EndID, first, last)
	}
	return nil
}

// AppendPointer appends the pointer record of p as a line, with a newline: the members that leo-sdk writes (sdk.md 2.3, W4),
// and Extra. The error wraps ErrPointer; dst is returned as it was then.
func AppendPointer(dst []byte, p *Pointer) ([]byte, error) {
	if err := p.Validate(); err != nil {
		return dst, err
	}
	out, err := p.append(dst)
	if err != nil {
		return dst, err
	}
	return out, nil
}

func (p *Pointer) append(dst []byte) ([]byte, error) {
	w := writer{out: dst}
	w.member(`{"event":`, p.Queue)
	if p.Archive {
		w.member(`,"start":`, p.StartID)
		w.member(`,"end":`, p.EndID)
	} else {
		w.out = appendNumber(append(w.out, `,"start":null`...), "end", p.Records-1)
	}
	w.member(`,"s3":`, p.Blob)
	offsets, err := appendOffsets(append(w.out, `,"offsets":`...), p.Offsets)
	if err != nil {
		return nil, err
	}
	w.out = appendNumber(offsets, "gzipSize", p.GzipSize)
	w.out = appendNumber(w.out, "size", p.Size)
	w.out = appendNumber(w.out, "records", p.Records)
	w.member(`,"stats":`, statsJSON(p.Stats))
	if p.Correlations == nil {
		w.out = append(w.out, `,"correlations":[]`...)
	} else {
		w.member(`,"correlations":`, p.Correlations)
	}
	if p.Archive {
		w.out = append(w.out, `,"archive":true`...)
	}
	if p.Creator != "" {
		w.member(`,"creator":`, p.Creator)
	}
	if p.Timestamp != 0 {
		w.out = appendNumber(w.out, "timestamp", p.Timestamp)
	}
	if p.SourceTimestamp != 0 {
		w.out = appendNumber(w.out, "event_source_timestamp", p.SourceTimestamp)
	}
	if p.Snapshot != 0 {
		w.out = appendNumber(w.out, "snapshot", p.Snapshot)
	}
	for _, m := range p.Extra {
		if slices.Contains(ownMembers[:], m.Name) || m.Name == "event" {
			continue // It would override what p says.
		}
		w.member(",", m.Name)
		w.member(":", m.Value)
	}
	return append(w.out, '}', '\n'), w.err
}

// writer appends members and keeps the first error.
type writer struct {
	out []byte
	err error
}

func (w *writer) member(name string, v any) {
	if w.err == nil {
		w.out, w.err = appendJSON(append(w.out, name...), v)
	}
}

// statsJSON returns the JSON form of statistics.
func statsJSON(stats map[string]Stat) map[string]any {
	out := make(map[string]any, len(stats))
	for bot, s := range stats {
		m := map[string]any{"start": s.Start, "end": s.End, "units": s.Units}
		if s.Checkpoint != nil {
			m["checkpoint"] = s.Checkpoint
		}
		out[bot] = m
	}
	return out
}
