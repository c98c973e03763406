package event

import (
	"bytes"
	"fmt"
	"math"

	"github.com/rstreams-go/rstreams/bus/ref"
)

// field numbers the members that the bus looks at.
type field int

const (
	fieldID field = iota
	fieldEvent
	fieldPayload
	fieldTimestamp
	fieldSource
	fieldCorrelation
	fieldUnits
	fieldEID
	// The members from here on have no field in Event.
	fieldCommand
	fieldS3
	fieldArchive
	fieldSnapshot
	fieldCount
	fieldOther = fieldCount
)

// fieldOf returns the field of a member's name.
func fieldOf(name []byte) field {
	switch string(name) {
	case "id":
		return fieldID
	case "eid":
		return fieldEID
	case "event":
		return fieldEvent
	case "payload":
		return fieldPayload
	case "timestamp":
		return fieldTimestamp
	case "event_source_timestamp":
		return fieldSource
	case "correlation_id":
		return fieldCorrelation
	case "units":
		return fieldUnits
	case "_cmd":
		return fieldCommand
	case "s3":
		return fieldS3
	case "archive":
		return fieldArchive
	case "snapshot":
		return fieldSnapshot
	}
	return fieldOther
}

// span is a part of a line. A value's span is never empty, so the zero span means that the member is not there.
type span struct{ start, end int32 }

// other is a member without a field in Event. Its name is as written, without quotes.
type other struct{ name, value span }

// Line is a scanned line: it knows where the members are and reads them on demand. The zero Line is ready for Scan and
// should be used again and again. It is not safe for concurrent use, and valid as long as the scanned bytes are.
type Line struct {
	raw     []byte
	fields  [fieldCount]span
	others  []other
	scratch []byte
	// irregular tells that a name has escapes, or that there are two payloads.
	irregular bool
	// lead is how the last sealed line began, up to and with the comma after leadFields.
	lead       []byte
	leadFields [2]span
	// bot, queue and source are the names read last: lines in a row mostly share them, which saves making them again.
	bot, queue, source string
}

// Scan reads a line into l. The line is one JSON object, without a newline inside; one at its end is ignored. Of several
// members with one name the last counts, as in JavaScript. The error wraps ErrSyntax; l is empty then.
func Scan(line []byte, l *Line) error {
	l.raw, l.fields, l.others, l.irregular = nil, [fieldCount]span{}, l.others[:0], false
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		return fmt.Errorf("%w: a newline stands inside the line, at byte %d", ErrSyntax, i)
	}
	if len(line) > math.MaxInt32 {
		return fmt.Errorf("%w: the line has %d bytes", ErrSyntax, len(line))
	}
	start, end := l.scan(line)
	if end < 0 {
		l.fields, l.others = [fieldCount]span{}, l.others[:0]
		return fault(ErrSyntax, line, end)
	}
	l.raw = line[start:end:end]
	if start > 0 {
		l.shift(int32(start))
	}
	return nil
}

// scan finds the members of the object in b. It returns where the object lies; end is ^offset of a fault.
func (l *Line) scan(b []byte) (start, end int) {
	start = skipSpace(b, 0)
	if start >= len(b) || b[start] != '{' {
		return start, ^start
	}
	i := skipSpace(b, start+1)
	if i < len(b) && b[i] == '}' {
		i++
		goto tail
	}
	for {
		if i >= len(b) || b[i] != '"' {
			return start, ^i
		}
		nameStart := i + 1
		if i = plainEnd(b, nameStart); uint(i) < uint(len(b)) && b[i] == '"' {
			i++
		} else if i = skipString(b, i); i < 0 {
			return start, i
		}
		nameEnd := i - 1
		if uint(i) >= uint(len(b)) || b[i] != ':' {
			if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
				return start, ^i
			}
		}
		i++
		if uint(i) < uint(len(b)) && b[i] <= ' ' {
			i = skipSpace(b, i)
		}
		valueStart := i
		if i = skipValue(b, i, 1); i < 0 {
			return start, i
		}
		value := span{int32(valueStart), int32(i)}
		if f := fieldOf(b[nameStart:nameEnd]); f < fieldCommand {
			if f == fieldPayload && l.fields[f].end > 0 {
				l.irregular = true
			}
			l.fields[f] = value
		} else {
			l.member(b, f, span{int32(nameStart), int32(nameEnd)}, value)
		}
		if uint(i) < uint(len(b)) && b[i] <= ' ' {
			i = skipSpace(b, i)
		}
		if uint(i) >= uint(len(b)) {
			return start, ^i
		}
		if b[i] == '}' {
			i++
			break
		}
		if b[i] != ',' {
			return start, ^i
		}
		if i++; uint(i) < uint(len(b)) && b[i] <= ' ' {
			i = skipSpace(b, i)
		}
	}
tail:
	if rest := skipSpace(b, i); rest < len(b) {
		return start, ^rest
	}
	return start, i
}

// member notes a member that has no field in Event, or whose name is written in a way of its own.
func (l *Line) member(b []byte, f field, name, value span) {
	if text := b[name.start:name.end]; f == fieldOther && bytes.IndexByte(text, '\\') >= 0 {
		l.scratch, _ = unescape(l.scratch[:0], text)
		f = fieldOf(l.scratch)
		l.irregular = true
	}
	if f < fieldCount {
		l.fields[f] = value
	}
	if f >= fieldCommand {
		l.others = append(l.others, other{name, value})
	}
}

// shift moves the spans after white space before the object was cut off.
func (l *Line) shift(by int32) {
	for i := range l.fields {
		if l.fields[i].end > 0 {
			l.fields[i] = l.fields[i].back(by)
		}
	}
	for i := range l.others {
		l.others[i] = other{l.others[i].name.back(by), l.others[i].value.back(by)}
	}
}

func (s span) back(by int32) span { return span{s.start - by, s.end - by} }

// release drops the scanned bytes. The line must not be used again before Scan.
func (l *Line) release() {
	l.raw = nil
	if cap(l.others) > 256 {
		l.others = nil
	}
	if cap(l.scratch) > 4096 {
		l.scratch = nil
	}
}

// value returns the raw value of a field, nil where the member is not there.
func (l *Line) value(f field) []byte {
	s := l.fields[f]
	if s.end == 0 {
		return nil
	}
	return l.raw[s.start:s.end:s.end]
}

// Raw returns the object as it was scanned, without white space around it. It aliases the line.
func (l *Line) Raw() []byte { return l.raw }

// PayloadRaw returns the payload's JSON text, nil for none. It aliases the line.
func (l *Line) PayloadRaw() []byte { return l.value(fieldPayload) }

// CorrelationRaw returns the JSON text of `correlation_id`, nil for none. It aliases the line.
func (l *Line) CorrelationRaw() []byte { return l.value(fieldCorrelation) }

// HasPayload tells whether there is a payload that counts as true in JavaScript: the bus stores no others (bus.md 2.3).
func (l *Line) HasPayload() bool { return truthy(l.value(fieldPayload)) }

// IsPointer tells whether the line stands for events in a blob: it has a truthy `s3` (bus.md 2.6).
func (l *Line) IsPointer() bool { return truthy(l.value(fieldS3)) }

// Archive tells whether the line has a truthy `archive`.
func (l *Line) Archive() bool { return truthy(l.value(fieldArchive)) }

// Snapshot returns the time of the snapshot that the event belongs to, in ms, or 0.
func (l *Line) Snapshot() int64 {
	ms, _ := millis(l.value(fieldSnapshot))
	return ms
}

// Command returns the bus command, "" for none. A command that is no string is returned as its JSON text: no known one.
func (l *Line) Command() string {
	v := l.value(fieldCommand)
	if !truthy(v) {
		return ""
	}
	if v[0] == '"' {
		text, _ := l.text(v)
		return string(text)
	}
	return string(v)
}

// Timestamp returns when the event was made, in ms: a number, or a date in a string. ok is false when there is neither.
func (l *Line) Timestamp() (ms int64, ok bool) { return millis(l.value(fieldTimestamp)) }

// SourceTimestamp is Timestamp for `event_source_timestamp`.
func (l *Line) SourceTimestamp() (ms int64, ok bool) { return millis(l.value(fieldSource)) }

// Units returns how many things the event stands for. It is 1 where the line does not say so with a number of at least 1;
// fractions are cut off.
func (l *Line) Units() int64 {
	v := l.value(fieldUnits)
	if !isNumber(v) {
		return 1
	}
	n, ok := plainInteger(v)
	if !ok {
		n, _ = millis(v)
	}
	return max(n, 1)
}

// EIDIndex returns the line's index in its chunk, which lines outside archives carry.
func (l *Line) EIDIndex() (int, bool) {
	v := l.value(fieldEID)
	n, ok := plainInteger(v)
	if !ok || n < 0 || n > math.MaxInt32 {
		return 0, false
	}
	return int(n), true
}

// EIDString returns the event id that a line of an archive carries.
func (l *Line) EIDString() (string, bool) {
	v := l.value(fieldEID)
	if len(v) == 0 || v[0] != '"' {
		return "", false
	}
	text, whole := l.text(v)
	return string(text), whole
}

// text returns the text of a scanned string, without copying where nothing is escaped. whole is false where it holds half
// of a surrogate pair.
func (l *Line) text(v []byte) (text []byte, whole bool) {
	v = v[1 : len(v)-1]
	if bytes.IndexByte(v, '\\') < 0 {
		return v, true
	}
	l.scratch, whole = unescape(l.scratch[:0], v)
	return l.scratch, whole
}

// BotBytes returns the bot's id, nil for none. The bytes are valid until the next call of a method. A number counts as the
// text it is written as; other types are no ids.
func (l *Line) BotBytes() []byte {
	v := l.value(fieldID)
	switch {
	case len(v) > 2 && v[0] == '"':
		text, _ := l.text(v)
		return text
	case isNumber(v) && truthy(v):
		return v
	}
	return nil
}

// Bot is BotBytes as a string that does not alias the line.
func (l *Line) Bot() string {
	if l.bot != "" && isText(l.value(fieldID), l.bot) {
		return l.bot
	}
	b := l.BotBytes()
	if string(b) != l.bot {
		l.bot = string(b)
	}
	return l.bot
}

// QueueBytes returns the text of `event` and whether it is the plain queue name already. When plain is false, Queue tells
// the name. The bytes are valid until the next call of a method.
func (l *Line) QueueBytes() (name []byte, plain bool) {
	v := l.value(fieldEvent)
	if len(v) <= 2 || v[0] != '"' {
		return nil, false
	}
	name, whole := l.text(v)
	return name, whole && plainName(name)
}

// plainName is ref.Plain for bytes.
func plainName(b []byte) bool {
	return bytes.IndexByte(b, ':') < 0 && (len(b) < 2 || b[1] != '_' || b[0] != 's' && b[0] != 'e' && b[0] != 'b')
}

// Queue returns the plain queue name that `event` refers to, be it a string, a number or an object (bus.md 2.1). The error
// wraps ErrNoQueue: there is no `event`, it refers to nothing, or it cannot be written as UTF-8. The name may still be one
// that ref.ValidateQueue refuses.
func (l *Line) Queue() (string, error) {
	name, plain := l.QueueBytes()
	switch {
	case plain:
		if string(name) != l.queue {
			l.queue = string(name)
		}
		return l.queue, nil
	case name != nil:
		if _, whole := l.text(l.value(fieldEvent)); !whole {
			return "", fmt.Errorf("%w: `event` holds half of a surrogate pair", ErrNoQueue)
		}
		return named(ref.Queue(string(name)))
	}
	return objectQueue(l.value(fieldEvent))
}

func named(queue string) (string, error) {
	if queue == "" {
		return "", fmt.Errorf("%w: `event` is a reference without a name", ErrNoQueue)
	}
	return queue, nil
}

// objectQueue returns the queue of an `event` that is no string: a reference object, such as the error notices of leo-sdk
// carry, or a number.
func objectQueue(v []byte) (string, error) {
	if !truthy(v) || v[0] == '"' {
		return "", ErrNoQueue
	}
	if v[0] == '{' {
		var id, typ []byte
		for m := (members{v: v}); m.next(); {
			switch string(m.name) {
			case "id":
				id = m.value
			case "type":
				typ = m.value
			}
		}
		if name, ok := refText(id); ok {
			kind, _ := refText(typ) // What is no type means a queue.
			return named(ref.FromObject(kind, name).Queue())
		}
	} else if name, ok := refText(v); ok {
		return named(ref.Queue(name))
	}
	return "", fmt.Errorf("%w: `event` is %.60s", ErrNoQueue, v)
}

// refText reads a string or a whole number.
func refText(v []byte) (string, bool) {
	if len(v) > 2 && v[0] == '"' {
		text, whole := unescape(nil, v[1:len(v)-1])
		return string(text), whole
	}
	if _, ok := plainInteger(v); ok && string(v) != "-0" && (v[0] != '0' || len(v) == 1) {
		return string(v), true
	}
	return "", false
}
