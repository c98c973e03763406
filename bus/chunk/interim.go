package chunk

// INTERIM by the lead so that others can compile. Owner EVENT: delete this file when yours is in place.

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"

	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

var (
	ErrTooLarge    = errors.New("decoded data too large")
	ErrCorrupt     = errors.New("corrupt compressed data")
	ErrUnknownForm = errors.New("unknown record form")
	ErrLineTooLong = errors.New("line too long")
	ErrPointer     = errors.New("bad pointer")
)

func AppendGzip(dst, text []byte) []byte {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, 3)
	_, _ = w.Write(text)
	_ = w.Close()
	return append(dst, b.Bytes()...)
}

func AppendGunzip(dst, gz []byte, max int64) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(gz))
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	b, err := io.ReadAll(io.LimitReader(r, max+1))
	if err != nil {
		return dst, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if int64(len(b)) > max {
		return dst, ErrTooLarge
	}
	return append(dst, b...), nil
}

func NewGunzip(r io.Reader) (io.ReadCloser, error) {
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return z, nil
}

func OpenRecord(data []byte) (io.ReadCloser, error) {
	switch {
	case len(data) > 2 && data[0] == 0x1f && data[1] == 0x8b:
		return NewGunzip(bytes.NewReader(data))
	case len(data) > 2 && data[0] == 0x78 && (data[1] == 0x01 || data[1] == 0x5e || data[1] == 0x9c || data[1] == 0xda):
		return zlib.NewReader(bytes.NewReader(data))
	case len(bytes.TrimSpace(data)) > 0 && bytes.TrimSpace(data)[0] == '{':
		return io.NopCloser(bytes.NewReader(data)), nil
	}
	return nil, ErrUnknownForm
}

type Lines struct {
	r   *bufio.Reader
	max int
	buf []byte
	n   int
	err error
}

func NewLines(r io.Reader, maxLine int) *Lines { return &Lines{r: bufio.NewReaderSize(r, 64<<10), max: maxLine} }
func (l *Lines) Number() int                   { return l.n }
func (l *Lines) Next() ([]byte, error) {
	for {
		if l.err != nil {
			return nil, l.err
		}
		l.buf = l.buf[:0]
		long := false
		for {
			part, err := l.r.ReadSlice('\n')
			if !long {
				l.buf = append(l.buf, part...)
			}
			if len(l.buf) > l.max+2 {
				long, l.buf = true, l.buf[:0]
			}
			if err == bufio.ErrBufferFull {
				continue
			}
			if err != nil {
				l.err = err
				if err != io.EOF {
					l.err = fmt.Errorf("%w: %w", ErrCorrupt, err)
					l.buf = l.buf[:0]
				}
			}
			break
		}
		l.n++
		if long {
			return nil, ErrLineTooLong
		}
		line := bytes.TrimSuffix(bytes.TrimSuffix(l.buf, []byte("\n")), []byte("\r"))
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if len(line) > l.max {
			return nil, ErrLineTooLong
		}
		return line, nil
	}
}

type Stat struct {
	Start      int64           `json:"start"`
	End        int64           `json:"end"`
	Units      int64           `json:"units"`
	Checkpoint json.RawMessage `json:"checkpoint,omitempty"`
}

type Pointer struct {
	Queue                      string
	StartID, EndID             string
	End                        int64
	Blob                       store.BlobRef
	Offsets                    []store.Offset
	Size, GzipSize, Records    int64
	Stats                      map[string]Stat
	Correlations               json.RawMessage
	Archive                    bool
	Snapshot                   int64
	Creator                    string
	Timestamp, SourceTimestamp int64
	Extra                      []event.Member
}

type offsetJSON struct {
	Event      json.RawMessage `json:"event"`
	Start      json.RawMessage `json:"start"`
	End        json.RawMessage `json:"end"`
	Records    int64           `json:"records"`
	Size       int64           `json:"size"`
	GzipSize   int64           `json:"gzipSize"`
	Offset     int64           `json:"offset"`
	GzipOffset int64           `json:"gzipOffset"`
}

func place(raw json.RawMessage) (n int64, id string) {
	if json.Unmarshal(raw, &n) == nil {
		return n, ""
	}
	_ = json.Unmarshal(raw, &id)
	return 0, id
}

func UnmarshalOffsets(b []byte) ([]store.Offset, error) {
	var in []offsetJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrPointer, err)
	}
	var out []store.Offset
	for _, o := range in {
		x := store.Offset{Records: o.Records, Size: o.Size, GzipSize: o.GzipSize, Offset: o.Offset, GzipOffset: o.GzipOffset}
		_ = json.Unmarshal(o.Event, &x.Event)
		x.Start, x.StartID = place(o.Start)
		x.End, x.EndID = place(o.End)
		out = append(out, x)
	}
	return out, nil
}

func MarshalOffsets(offs []store.Offset) ([]byte, error) {
	out := []offsetJSON{}
	for _, o := range offs {
		j := offsetJSON{Records: o.Records, Size: o.Size, GzipSize: o.GzipSize, Offset: o.Offset, GzipOffset: o.GzipOffset}
		j.Event, _ = json.Marshal(o.Event)
		j.Start, _ = json.Marshal(o.Start)
		j.End, _ = json.Marshal(o.End)
		if o.StartID != "" {
			j.Start, _ = json.Marshal(o.StartID)
			j.End, _ = json.Marshal(o.EndID)
		}
		out = append(out, j)
	}
	return json.Marshal(out)
}

func ParsePointer(line []byte) (Pointer, error) {
	var in struct {
		Event        json.RawMessage `json:"event"`
		Start        json.RawMessage `json:"start"`
		End          json.RawMessage `json:"end"`
		S3           store.BlobRef   `json:"s3"`
		Offsets      json.RawMessage `json:"offsets"`
		Size         int64           `json:"size"`
		GzipSize     int64           `json:"gzipSize"`
		Records      int64           `json:"records"`
		Stats        map[string]Stat `json:"stats"`
		Correlations json.RawMessage `json:"correlations"`
		Archive      bool            `json:"archive"`
		Snapshot     int64           `json:"snapshot"`
		Creator      string          `json:"creator"`
		Timestamp    int64           `json:"timestamp"`
		Source       int64           `json:"event_source_timestamp"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return Pointer{}, fmt.Errorf("%w: %w", ErrPointer, err)
	}
	p := Pointer{Blob: in.S3, Size: in.Size, GzipSize: in.GzipSize, Records: in.Records, Stats: in.Stats, Correlations: in.Correlations,
		Archive: in.Archive, Snapshot: in.Snapshot, Creator: in.Creator, Timestamp: in.Timestamp, SourceTimestamp: in.Source}
	var q string
	_ = json.Unmarshal(in.Event, &q)
	p.Queue = ref.Queue(q)
	_, p.StartID = place(in.Start)
	p.End, p.EndID = place(in.End)
	var err error
	if p.Offsets, err = UnmarshalOffsets(in.Offsets); err != nil {
		return p, err
	}
	if p.Records < 1 || len(p.Offsets) == 0 || p.Blob.Key == "" {
		return p, fmt.Errorf("%w: incomplete", ErrPointer)
	}
	return p, nil
}

func AppendPointer(dst []byte, p *Pointer) ([]byte, error) {
	offs, err := MarshalOffsets(p.Offsets)
	if err != nil {
		return dst, err
	}
	m := map[string]any{"event": p.Queue, "start": nil, "end": p.Records - 1, "s3": p.Blob, "offsets": json.RawMessage(offs),
		"gzipSize": p.GzipSize, "size": p.Size, "records": p.Records, "stats": p.Stats, "correlations": p.Correlations,
		"timestamp": p.Timestamp, "event_source_timestamp": p.SourceTimestamp}
	if p.Archive {
		m["archive"], m["start"], m["end"] = true, p.StartID, p.EndID
	}
	b, err := json.Marshal(m)
	if err != nil {
		return dst, err
	}
	return append(append(dst, b...), '\n'), nil
}
