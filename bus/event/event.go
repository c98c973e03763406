// Package event is the envelope of an event, and the codec of the JSON lines in which the bus carries events.
//
// A line is one JSON object: `id` names the bot that wrote the event, `event` the queue, `payload` is the data, and a few
// more members say when and from what the event was made (bus.md 2.3). The bus looks at the envelope alone: payloads and
// members that it does not know pass through byte for byte, so numbers keep every digit and half surrogates survive.
//
// Two ways lead through a line. Scan finds the members without copying or allocating, and AppendStored writes the line as
// the bus stores it: the path of the sequencer. Parse and AppendLine convert lines to and from Event: the path of readers
// and writers. Both check that a line is JSON.
//
// A line may hold bytes that are not UTF-8 inside its strings: they pass unchanged, and Node reads them as U+FFFD. AppendLine
// never writes such lines.
package event

import (
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

var (
	// ErrSyntax reports a line that is not one JSON object. Callers should quarantine the line; no other is affected.
	ErrSyntax = errors.New("not a JSON object")
	// ErrNoBot reports an event without the id of the bot that writes it. Callers should set Event.Bot.
	ErrNoBot = errors.New("event names no bot")
	// ErrNoQueue reports an event without a usable queue. Callers should set Event.Queue.
	ErrNoQueue = errors.New("event names no queue")
	// ErrFalsyPayload reports a payload of null, false, 0, "" or nothing, which the bus does not store (W2). Callers should
	// wrap such values, for example in an object.
	ErrFalsyPayload = errors.New("payload is missing, null, false, 0 or \"\", which the bus does not store")
	// ErrPayload reports a payload, or another raw member, that is not JSON in UTF-8. Callers should encode it as JSON.
	ErrPayload = errors.New("not valid JSON in UTF-8")
)

// Event is one event. The zero Event is not writable: Bot, Queue and Payload are required.
// Raw members may alias the line that was parsed; whoever keeps an Event longer than the line clones them.
type Event struct {
	// EID is the event's id, "" until it was read from the bus.
	EID string
	// Bot is the writing bot's id, the wire's `id`.
	Bot string
	// Queue is the queue the event belongs to, the wire's `event`.
	Queue string
	// Payload is the data as JSON text. The bus never decodes it.
	Payload json.RawMessage
	// Timestamp is when the event was made, SourceTimestamp when the fact that it goes back to entered the bus, in ms; 0
	// means not set, and the bus fills it in.
	Timestamp, SourceTimestamp int64
	// Correlation tells which events of another queue this one was made from; nil means none.
	Correlation *Correlation
	// Units is how many things the event stands for; 0 means not set, which counts as 1.
	Units int64
	// Extra holds the members that have no field here, and those whose value fits no field, in their order.
	Extra []Member
}

// Member is a named JSON value.
type Member struct {
	// Name is the name without quotes and escapes.
	Name string
	// Value is JSON text, never empty in what Parse returns.
	Value json.RawMessage
}

// linePool keeps scanned lines with the names they saw last: the events of a chunk mostly share bot and queue.
var linePool = sync.Pool{New: func() any { return new(Line) }}

// Parse reads a line. Payload and the other raw members alias it. The line's own `eid` is a place in some chunk, not an
// id, and does not become EID: see Line.EIDIndex and Line.EIDString. A line without `event` gives an empty Queue, which is
// the reader's to fill in. The error wraps ErrSyntax, or ErrNoQueue where `event` is there and is no reference.
func Parse(line []byte) (e Event, err error) {
	l := linePool.Get().(*Line)
	if err = Scan(line, l); err == nil {
		err = l.Event(&e)
	}
	l.release()
	linePool.Put(l)
	return e, err
}

// Event fills in the zero Event e with what the scanned line says. Raw members alias the line, as with Parse.
func (l *Line) Event(e *Event) error {
	switch v := l.value(fieldEvent); {
	case isText(v, l.queue) && l.queue != "":
		e.Queue = l.queue
	case truthy(v):
		queue, err := l.Queue()
		if err != nil {
			return err
		}
		e.Queue = queue
	}
	e.Bot = l.Bot()
	e.Payload = l.PayloadRaw()
	odd := len(l.others) > 0 || e.Bot == "" && truthy(l.value(fieldID))
	if v := l.value(fieldTimestamp); len(v) > 0 {
		var fits bool
		e.Timestamp, fits = exactMillis(v)
		odd = odd || !fits
	}
	if v := l.value(fieldSource); len(v) > 0 {
		var fits bool
		e.SourceTimestamp, fits = exactMillis(v)
		odd = odd || !fits
	}
	if v := l.value(fieldUnits); len(v) > 0 {
		e.Units = exactUnits(v)
		odd = odd || e.Units == 0
	}
	if v := l.value(fieldCorrelation); len(v) > 0 {
		if v[0] == '{' {
			e.Correlation = l.parseCorrelation(v)
		} else {
			odd = true
		}
	}
	if odd {
		e.Extra = l.extra(e)
	}
	return nil
}

// exactMillis returns the time that v stands for, 0 for null. fits is false, and the time 0, where that is not all that v
// says: it has fractions, or is no time.
func exactMillis(v []byte) (ms int64, fits bool) {
	if n, ok := plainInteger(v); ok {
		return max(n, 0), n > 0
	}
	if string(v) == "null" {
		return 0, true
	}
	ms, ok := millis(v)
	if n, whole := integer(v); !ok || isNumber(v) && (!whole || n != ms) {
		return 0, false
	}
	return ms, true
}

// exactUnits returns v if it is a number of units, else 0.
func exactUnits(v []byte) int64 {
	if n, ok := integer(v); ok && isNumber(v) && n > 0 {
		return n
	}
	return 0
}

// extra returns the members that e has no field for, in their order, the last of several with one name at the place of the
// first, as JavaScript orders them.
func (l *Line) extra(e *Event) []Member {
	keep := make([]Member, 0, len(l.others)+1)
	index := make(map[string]int)
	add := func(name string, value []byte) {
		if i, ok := index[name]; ok {
			keep[i].Value = value
			return
		}
		index[name] = len(keep)
		keep = append(keep, Member{Name: name, Value: value})
	}
	// The members with a field come first: their place among the others is not known here, and has no meaning.
	if v := l.value(fieldID); e.Bot == "" && truthy(v) {
		add("id", v)
	}
	if v := l.value(fieldTimestamp); len(v) > 0 && e.Timestamp == 0 && string(v) != "null" {
		add("timestamp", v)
	}
	if v := l.value(fieldSource); len(v) > 0 && e.SourceTimestamp == 0 && string(v) != "null" {
		add("event_source_timestamp", v)
	}
	if v := l.value(fieldUnits); len(v) > 0 && e.Units == 0 && string(v) != "null" {
		add("units", v)
	}
	if v := l.value(fieldCorrelation); len(v) > 0 && e.Correlation == nil && string(v) != "null" {
		add("correlation_id", v)
	}
	for _, m := range l.others {
		name, _ := unescape(nil, l.raw[m.name.start:m.name.end])
		add(string(name), l.raw[m.value.start:m.value.end:m.value.end])
	}
	if len(keep) == 0 {
		return nil
	}
	return keep
}

// fault is the error of a value that is not JSON; at is the ^offset that the scanner gave.
func fault(sentinel error, b []byte, at int) error {
	at = ^at
	if at >= len(b) {
		return fmt.Errorf("%w: it ends too early, at byte %d", sentinel, len(b))
	}
	from, to := max(0, at-20), min(len(b), at+20)
	return fmt.Errorf("%w: unexpected %q at byte %d, in %q", sentinel, b[at:at+1], at, b[from:to])
}
