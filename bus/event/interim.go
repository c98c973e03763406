package event

// INTERIM by the lead so that others can compile. Owner EVENT: delete this file when yours is in place.

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/rstreams-go/rstreams/bus/ref"
)

type Event struct {
	EID                        string
	Bot, Queue                 string
	Payload                    json.RawMessage
	Timestamp, SourceTimestamp int64
	Correlation                *Correlation
	Units                      int64
	Extra                      []Member
}
type Member struct {
	Name  string
	Value json.RawMessage
}
type Correlation struct {
	Source, Start, End string
	Units              int64
	Partial            bool
	Extra              []Member
}

var (
	ErrSyntax       = errors.New("malformed event line")
	ErrNoBot        = errors.New("event without bot id")
	ErrNoQueue      = errors.New("event without queue")
	ErrFalsyPayload = errors.New("event payload is falsy")
	ErrPayload      = errors.New("event payload is not JSON")
)

func Correlate(events ...Event) (*Correlation, error) {
	if len(events) == 0 {
		return nil, errors.New("no events to correlate")
	}
	c := &Correlation{Source: events[0].Queue, Start: events[0].EID}
	for _, e := range events {
		c.Units += max(e.Units, 1)
	}
	if len(events) > 1 {
		c.End = events[len(events)-1].EID
	}
	return c, nil
}

func falsy(p []byte) bool {
	switch string(bytes.TrimSpace(p)) {
	case "", "null", "false", "0", `""`, "-0", "0.0":
		return true
	}
	return false
}

func AppendLine(dst []byte, e *Event, index int) ([]byte, error) {
	switch {
	case e.Bot == "":
		return dst, ErrNoBot
	case e.Queue == "":
		return dst, ErrNoQueue
	case !json.Valid(e.Payload) || !utf8.Valid(e.Payload):
		return dst, ErrPayload
	case falsy(e.Payload):
		return dst, ErrFalsyPayload
	}
	var buf bytes.Buffer
	str := func(s string) string {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		_ = enc.Encode(s)
		return string(bytes.TrimSpace(b.Bytes()))
	}
	fmt.Fprintf(&buf, `{"id":%s,"event":%s,"payload":`, str(e.Bot), str(e.Queue))
	_ = json.Compact(&buf, e.Payload)
	if e.Timestamp != 0 {
		fmt.Fprintf(&buf, `,"timestamp":%d`, e.Timestamp)
	}
	if e.SourceTimestamp != 0 {
		fmt.Fprintf(&buf, `,"event_source_timestamp":%d`, e.SourceTimestamp)
	}
	if c := e.Correlation; c != nil {
		fmt.Fprintf(&buf, `,"correlation_id":{"source":%s,"start":%s`, str(c.Source), str(c.Start))
		if c.End != "" {
			fmt.Fprintf(&buf, `,"end":%s`, str(c.End))
		}
		if c.Units != 0 {
			fmt.Fprintf(&buf, `,"units":%d`, c.Units)
		}
		for _, m := range c.Extra {
			fmt.Fprintf(&buf, `,%s:%s`, str(m.Name), m.Value)
		}
		buf.WriteByte('}')
	}
	if e.Units != 0 {
		fmt.Fprintf(&buf, `,"units":%d`, e.Units)
	}
	for _, m := range e.Extra {
		fmt.Fprintf(&buf, `,%s:%s`, str(m.Name), m.Value)
	}
	if index >= 0 {
		fmt.Fprintf(&buf, `,"eid":%d`, index)
	}
	buf.WriteString("}\n")
	return append(dst, buf.Bytes()...), nil
}

func members(line []byte) ([]Member, error) {
	dec := json.NewDecoder(bytes.NewReader(line))
	t, err := dec.Token()
	if err != nil || t != json.Delim('{') {
		return nil, fmt.Errorf("%w: not an object", ErrSyntax)
	}
	var ms []Member
	for dec.More() {
		k, err := dec.Token()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrSyntax, err)
		}
		ms = append(ms, Member{k.(string), v})
	}
	if !json.Valid(line) {
		return nil, fmt.Errorf("%w: not JSON", ErrSyntax)
	}
	return ms, nil
}

func queueOf(raw json.RawMessage) (string, error) {
	var s string
	if json.Unmarshal(raw, &s) == nil && s != "" {
		return ref.Queue(s), nil
	}
	var o struct{ Type, ID string }
	if json.Unmarshal(raw, &o) == nil && o.ID != "" {
		return ref.FromObject(o.Type, o.ID).Queue(), nil
	}
	return "", ErrNoQueue
}

func str(raw json.RawMessage) string {
	var s string
	_ = json.Unmarshal(raw, &s)
	return s
}

func num(raw json.RawMessage) (int64, bool) {
	var f float64
	if raw == nil || json.Unmarshal(raw, &f) != nil || string(raw) == "null" {
		return 0, false
	}
	return int64(f), true
}

func Parse(line []byte) (Event, error) {
	ms, err := members(line)
	if err != nil {
		return Event{}, err
	}
	var e Event
	for _, m := range ms {
		switch m.Name {
		case "id":
			e.Bot = str(m.Value)
		case "event":
			e.Queue, _ = queueOf(m.Value)
		case "payload":
			e.Payload = m.Value
		case "timestamp":
			e.Timestamp, _ = num(m.Value)
		case "event_source_timestamp":
			e.SourceTimestamp, _ = num(m.Value)
		case "units":
			e.Units, _ = num(m.Value)
		case "eid":
		case "correlation_id":
			cm, err := members(m.Value)
			if err != nil {
				e.Extra = append(e.Extra, m)
				continue
			}
			e.Correlation = &Correlation{}
			for _, x := range cm {
				switch x.Name {
				case "source":
					e.Correlation.Source = str(x.Value)
				case "start":
					e.Correlation.Start = str(x.Value)
				case "end":
					e.Correlation.End = str(x.Value)
				case "units":
					e.Correlation.Units, _ = num(x.Value)
				default:
					e.Correlation.Extra = append(e.Correlation.Extra, x)
				}
			}
		default:
			e.Extra = append(e.Extra, m)
		}
	}
	return e, nil
}

type Line struct {
	raw []byte
	ms  []Member
	m   map[string]json.RawMessage
	bot []byte
	q   []byte
}

func Scan(line []byte, l *Line) error {
	ms, err := members(line)
	if err != nil {
		return err
	}
	*l = Line{raw: line, ms: ms, m: map[string]json.RawMessage{}}
	for _, m := range ms {
		l.m[m.Name] = m.Value
	}
	l.bot = []byte(str(l.m["id"]))
	l.q = []byte(str(l.m["event"]))
	return nil
}

func truthy(raw json.RawMessage) bool     { return raw != nil && !falsy(raw) }
func (l *Line) Raw() []byte               { return l.raw }
func (l *Line) Bot() string               { return string(l.bot) }
func (l *Line) BotBytes() []byte          { return l.bot }
func (l *Line) QueueBytes() ([]byte, bool) { return l.q, len(l.q) > 0 && ref.Queue(string(l.q)) == string(l.q) }
func (l *Line) Queue() (string, error)    { return queueOf(l.m["event"]) }
func (l *Line) HasPayload() bool          { return truthy(l.m["payload"]) }
func (l *Line) PayloadRaw() []byte        { return l.m["payload"] }
func (l *Line) CorrelationRaw() []byte    { return l.m["correlation_id"] }
func (l *Line) Command() string           { return str(l.m["_cmd"]) }
func (l *Line) IsPointer() bool           { return truthy(l.m["s3"]) }
func (l *Line) Archive() bool             { return truthy(l.m["archive"]) }
func (l *Line) Snapshot() int64           { n, _ := num(l.m["snapshot"]); return n }
func (l *Line) Timestamp() (int64, bool)  { return num(l.m["timestamp"]) }
func (l *Line) SourceTimestamp() (int64, bool) {
	raw := l.m["event_source_timestamp"]
	if n, ok := num(raw); ok {
		return n, true
	}
	if t, err := time.Parse(time.RFC3339Nano, str(raw)); err == nil {
		return t.UnixMilli(), true
	}
	return 0, false
}
func (l *Line) Units() int64 {
	if n, ok := num(l.m["units"]); ok && n > 0 {
		return n
	}
	return 1
}
func (l *Line) EIDIndex() (int, bool)     { n, ok := num(l.m["eid"]); return int(n), ok }
func (l *Line) EIDString() (string, bool) { s := str(l.m["eid"]); return s, s != "" }

func (l *Line) AppendStored(dst []byte, queue string, index int, now int64) []byte {
	ts, ok := l.Timestamp()
	if !ok {
		ts = now
	}
	dst = append(dst, '{')
	for _, m := range l.ms {
		switch m.Name {
		case "eid", "event":
			continue
		case "event_source_timestamp":
			if _, isNum := num(m.Value); !isNum {
				continue
			}
		}
		k, _ := json.Marshal(m.Name)
		dst = append(append(append(append(dst, k...), ':'), m.Value...), ',')
	}
	if _, has := l.m["timestamp"]; !has {
		dst = fmt.Appendf(dst, `"timestamp":%d,`, ts)
	}
	if _, isNum := num(l.m["event_source_timestamp"]); !isNum {
		src, ok := l.SourceTimestamp()
		if !ok {
			src = ts
		}
		dst = fmt.Appendf(dst, `"event_source_timestamp":%d,`, src)
	}
	q, _ := json.Marshal(queue)
	return fmt.Appendf(dst, `"event":%s,"eid":%d}`+"\n", q, index)
}
