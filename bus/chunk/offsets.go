package chunk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

// maxTotal bounds the sizes and counts of a blob: what a double holds exactly, as other readers compute with doubles.
const maxTotal = 1 << 53

// ValidateOffsets checks that a section table describes a blob completely: sections follow one another without gaps in
// text, bytes and events, and none is empty (C25). It returns their totals. The error wraps ErrPointer.
func ValidateOffsets(offsets []store.Offset, archive bool) (records, size, gzipSize int64, err error) {
	if len(offsets) == 0 {
		return 0, 0, 0, fmt.Errorf("%w: it has no sections", ErrPointer)
	}
	last := ""
	for i := range offsets {
		o := &offsets[i]
		switch {
		case !within(o.Records) || !within(o.Size) || !within(o.GzipSize):
			err = fmt.Errorf("%w: section %d has %d records, %d bytes, %d compressed", ErrPointer, i, o.Records, o.Size, o.GzipSize)
		case o.Offset != size || o.GzipOffset != gzipSize:
			err = fmt.Errorf("%w: section %d begins at byte %d, %d compressed, and the one before ends at %d, %d",
				ErrPointer, i, o.Offset, o.GzipOffset, size, gzipSize)
		case archive:
			last, err = archiveSection(o, i, last)
		case o.StartID != "" || o.EndID != "":
			err = fmt.Errorf("%w: section %d has ids, which only archives have", ErrPointer, i)
		case o.Start != records || o.End != records+o.Records-1:
			err = fmt.Errorf("%w: section %d holds the events %d to %d, want %d to %d",
				ErrPointer, i, o.Start, o.End, records, records+o.Records-1)
		}
		if err != nil {
			return 0, 0, 0, err
		}
		records, size, gzipSize = records+o.Records, size+o.Size, gzipSize+o.GzipSize
		if records > maxTotal || size > maxTotal || gzipSize > maxTotal {
			return 0, 0, 0, fmt.Errorf("%w: the sections are too large", ErrPointer)
		}
	}
	return records, size, gzipSize, nil
}

func within(n int64) bool { return n >= 1 && n <= maxTotal }

// archiveSection checks the ids of a section that comes after the id last, and returns its last id.
func archiveSection(o *store.Offset, i int, last string) (string, error) {
	_, err1 := eid.Parse(o.StartID)
	_, err2 := eid.Parse(o.EndID)
	if err1 != nil || err2 != nil {
		return "", fmt.Errorf("%w: archive section %d is from %.60q to %.60q, want event ids", ErrPointer, i, o.StartID, o.EndID)
	}
	if o.StartID > o.EndID || o.StartID <= last || (o.Records == 1) != (o.StartID == o.EndID) {
		return "", fmt.Errorf("%w: archive section %d has %d events from %s to %s, after %s",
			ErrPointer, i, o.Records, o.StartID, o.EndID, last)
	}
	return o.EndID, nil
}

// MarshalOffsets returns the JSON form of a section table (bus.md 2.7).
func MarshalOffsets(offsets []store.Offset) ([]byte, error) {
	return appendOffsets(make([]byte, 0, 2+128*len(offsets)), offsets)
}

func appendOffsets(dst []byte, offsets []store.Offset) ([]byte, error) {
	dst = append(dst, '[')
	for i := range offsets {
		o := &offsets[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		dst = append(dst, `{"event":`...)
		if o.Event == "" {
			dst = append(dst, "null"...)
		} else if dst, err = appendJSON(dst, o.Event); err != nil {
			return nil, err
		}
		if o.StartID != "" || o.EndID != "" {
			if dst, err = appendJSON(append(dst, `,"start":`...), o.StartID); err != nil {
				return nil, err
			}
			if dst, err = appendJSON(append(dst, `,"end":`...), o.EndID); err != nil {
				return nil, err
			}
		} else {
			dst = appendNumber(dst, "start", o.Start)
			dst = appendNumber(dst, "end", o.End)
		}
		dst = appendNumber(dst, "records", o.Records)
		dst = appendNumber(dst, "gzipSize", o.GzipSize)
		dst = appendNumber(dst, "size", o.Size)
		dst = appendNumber(dst, "offset", o.Offset)
		dst = append(appendNumber(dst, "gzipOffset", o.GzipOffset), '}')
	}
	return append(dst, ']'), nil
}

func appendNumber(dst []byte, name string, n int64) []byte {
	dst = append(append(append(dst, `,"`...), name...), `":`...)
	return strconv.AppendInt(dst, n, 10)
}

// appendJSON appends the JSON text of v, without the escapes that HTML would need.
func appendJSON(dst []byte, v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPointer, err)
	}
	return append(dst, bytes.TrimSuffix(b.Bytes(), []byte("\n"))...), nil
}

// UnmarshalOffsets reads the JSON form of a section table. It checks types, not sums: see ValidateOffsets. The error wraps
// ErrPointer.
func UnmarshalOffsets(data []byte) ([]store.Offset, error) {
	var entries []map[string]json.RawMessage
	if err := json.Unmarshal(data, &entries); err != nil {
		return nil, fmt.Errorf("%w: offsets: %w", ErrPointer, err)
	}
	offsets := make([]store.Offset, len(entries))
	for i, entry := range entries {
		o := &offsets[i]
		f := fields{members: entry}
		o.Event = f.text("event")
		o.Start, o.StartID = f.place("start")
		o.End, o.EndID = f.place("end")
		o.Records, o.Size, o.GzipSize = f.number("records"), f.number("size"), f.number("gzipSize")
		o.Offset, o.GzipOffset = f.number("offset"), f.number("gzipOffset")
		if f.err == nil && (o.StartID == "") != (o.EndID == "") {
			f.err = fmt.Errorf("%w: start is %d%s and end %d%s", ErrPointer, o.Start, o.StartID, o.End, o.EndID)
		}
		if f.err != nil {
			return nil, fmt.Errorf("section %d: %w", i, f.err)
		}
	}
	return offsets, nil
}

// fields reads the members of an object and keeps the first error.
type fields struct {
	members map[string]json.RawMessage
	err     error
}

func (f *fields) read(name string, v any) {
	raw, ok := f.members[name]
	if !ok {
		raw = json.RawMessage("absent")
	}
	if err := json.Unmarshal(raw, v); err != nil && f.err == nil {
		f.err = fmt.Errorf("%w: %s is %.60s", ErrPointer, name, raw)
	}
}

// number reads a whole number that is not negative.
func (f *fields) number(name string) int64 {
	var n *int64
	f.read(name, &n)
	if n == nil || *n < 0 || *n > maxTotal {
		if f.err == nil {
			f.err = fmt.Errorf("%w: %s is %.60s", ErrPointer, name, f.members[name])
		}
		return 0
	}
	return *n
}

// text reads a string; what is absent, null or of another type counts as "".
func (f *fields) text(name string) string {
	var s string
	if raw, ok := f.members[name]; ok && len(raw) > 0 && raw[0] == '"' {
		f.read(name, &s)
	}
	return s
}

// place reads an index or an id.
func (f *fields) place(name string) (index int64, id string) {
	if raw := f.members[name]; len(raw) > 0 && raw[0] == '"' {
		if id = f.text(name); id == "" && f.err == nil {
			f.err = fmt.Errorf("%w: %s is empty", ErrPointer, name)
		}
		return 0, id
	}
	return f.number(name), ""
}
