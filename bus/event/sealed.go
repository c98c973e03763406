package event

import (
	"bytes"
	"fmt"
	"math"
)

// A sealed chunk is one whose every line was scanned by the sequencer that wrote it and has its payload, once and plainly
// named, as the last member. As gzip's checksum proves the text unchanged, a reader may then take for granted that a line is
// JSON, and that what follows the payload's name is the payload: it need not look at most of the bytes. AppendLine writes
// such lines. store.Chunk.Sealed keeps the mark.

const payloadName = `"payload":`

// Sealable tells whether the line that AppendStored makes of l, with the same arguments, may stand in a sealed chunk.
func (l *Line) Sealable() bool {
	v := l.fields[fieldPayload]
	end := int(v.end)
	if l.irregular || end == 0 || end != len(l.raw)-1 || int(v.start) < len(payloadName) {
		return false
	}
	if string(l.raw[int(v.start)-len(payloadName):v.start]) != payloadName {
		return false
	}
	// Members that AppendStored adds come after the payload.
	return l.fields[fieldEvent].end > 0 && l.fields[fieldEID].end > 0 &&
		l.fields[fieldTimestamp].end > 0 && l.fields[fieldSource].end > 0
}

// ScanSealed is Scan for a line of a sealed chunk. It checks what stands before the payload and no more of the payload than
// its first and last bytes: for any other line it may give a wrong payload.
func ScanSealed(line []byte, l *Line) error {
	l.raw, l.fields, l.others, l.irregular = nil, [fieldCount]span{}, l.others[:0], false
	end := len(line) - 1
	if end < 1 || end > math.MaxInt32 || line[0] != '{' || line[end] != '}' {
		return fmt.Errorf("%w: no object in a sealed line of %d bytes", ErrSyntax, len(line))
	}
	start := l.scanSealed(line)
	if start >= 0 && (start >= end || !closes(line[start:end])) {
		start = ^start
	}
	if start < 0 {
		l.fields, l.others = [fieldCount]span{}, l.others[:0]
		return fault(ErrSyntax, line, start)
	}
	l.fields[fieldPayload] = span{int32(start), int32(end)}
	l.raw = line
	return nil
}

// scanSealed finds the members before the payload and returns where the payload begins, or ^offset of a fault.
func (l *Line) scanSealed(b []byte) int {
	i := 1
	// Neighbouring events mostly share bot and queue.
	if n := len(l.lead); n > 0 && bytes.HasPrefix(b, l.lead) {
		l.fields[fieldID], l.fields[fieldEvent] = l.leadFields[0], l.leadFields[1]
		i = l.number(b, n, `"event_source_timestamp":`, fieldSource)
		i = l.number(b, i, `"timestamp":`, fieldTimestamp)
		i = l.number(b, i, `"eid":`, fieldEID)
	}
	for {
		if at(b, i, payloadName) {
			return skipSpace(b, i+len(payloadName))
		}
		if uint(i) >= uint(len(b)) || b[i] != '"' {
			return ^i
		}
		nameStart := i + 1
		if i = skipString(b, nameStart); i < 0 {
			return i
		}
		nameEnd := i - 1
		if i = skipSpace(b, i); i >= len(b) || b[i] != ':' {
			return ^i
		}
		f := fieldOf(b[nameStart:nameEnd])
		i = skipSpace(b, i+1)
		if f == fieldPayload {
			return i
		}
		valueStart := i
		if i = skipValue(b, i, 1); i < 0 {
			return i
		}
		value := span{int32(valueStart), int32(i)}
		if f < fieldCommand {
			l.fields[f] = value
		} else {
			l.member(b, f, span{int32(nameStart), int32(nameEnd)}, value)
		}
		if i = skipSpace(b, i); i >= len(b) || b[i] != ',' {
			return ^i
		}
		i = skipSpace(b, i+1)
		if f == fieldEvent {
			l.keepLead(b, i)
		}
	}
}

// number takes the member with this name (quoted, and with the colon) and a value of digits only, and the comma behind it. It
// returns the index behind that, or i where something else stands at b[i].
func (l *Line) number(b []byte, i int, name string, f field) int {
	if !at(b, i, name) {
		return i
	}
	start := i + len(name)
	end := skipDigits(b, start)
	if end == start || end >= len(b) || b[end] != ',' || b[start] == '0' && end > start+1 {
		return i
	}
	l.fields[f] = span{int32(start), int32(end)}
	return end + 1
}

// at tells whether b has s at i.
func at(b []byte, i int, s string) bool {
	return i >= 0 && len(b)-i >= len(s) && string(b[i:i+len(s)]) == s
}

// keepLead remembers how the line begins if nothing but bot and queue stands before i.
func (l *Line) keepLead(b []byte, i int) {
	id, queue := l.fields[fieldID], l.fields[fieldEvent]
	if id.end > 0 && len(l.others) == 0 && i <= 1024 && int(id.start) == len(`{"id":`) && int(queue.start) == int(id.end)+len(`,"event":`) &&
		int(queue.end)+1 == i {
		l.lead = append(l.lead[:0], b[:i]...)
		l.leadFields = [2]span{id, queue}
	}
}

// closes tells whether v begins and ends as one value does.
func closes(v []byte) bool {
	if len(v) == 0 {
		return false
	}
	switch last := v[len(v)-1]; v[0] {
	case '{':
		return len(v) > 1 && last == '}'
	case '[':
		return len(v) > 1 && last == ']'
	case '"':
		return len(v) > 1 && last == '"'
	}
	return skipValue(v, 0, 1) == len(v)
}
