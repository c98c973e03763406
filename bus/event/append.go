package event

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// AppendLine appends e as a line, with a newline, and `eid` = index; a negative index leaves `eid` out. Members that are not
// set are left out, and Event.EID is never written. Raw members are checked, and copied as they are, except that white space
// goes where it holds line ends. On an error dst is returned as it was. The error wraps ErrNoBot, ErrNoQueue,
// ErrFalsyPayload or ErrPayload.
func AppendLine(dst []byte, e *Event, index int) ([]byte, error) {
	if e.Bot == "" {
		return dst, ErrNoBot
	}
	if e.Queue == "" {
		return dst, ErrNoQueue
	}
	out, ok := appendText(append(dst, `{"id":"`...), e.Bot)
	if !ok {
		return dst, fmt.Errorf("%w: %.60q is not UTF-8", ErrNoBot, e.Bot)
	}
	if out, ok = appendText(append(out, `","event":"`...), e.Queue); !ok {
		return dst, fmt.Errorf("%w: %.60q is not UTF-8", ErrNoQueue, e.Queue)
	}
	out = append(out, '"')
	var err error
	if e.SourceTimestamp != 0 {
		out = appendMillis(append(out, `,"event_source_timestamp":`...), e.SourceTimestamp)
	}
	if e.Timestamp != 0 {
		out = appendMillis(append(out, `,"timestamp":`...), e.Timestamp)
	}
	if e.Correlation != nil {
		if out, err = e.Correlation.append(append(out, `,"correlation_id":`...)); err != nil {
			return dst, err
		}
	}
	if e.Units != 0 {
		out = strconv.AppendInt(append(out, `,"units":`...), e.Units, 10)
	}
	if len(e.Extra) > 0 {
		if out, err = appendMembers(append(out, ','), e.Extra, e.holds); err != nil {
			return dst, err
		}
	}
	if index >= 0 {
		out = strconv.AppendInt(append(out, `,"eid":`...), int64(index), 10)
	}
	// The payload is the last member, so that readers of sealed chunks need not look inside it; see ScanSealed.
	if out, err = appendPayload(append(out, `,"payload":`...), e.Payload); err != nil {
		return dst, err
	}
	return append(out, '}', '\n'), nil
}

// holds tells whether the member has a field of e, and the field is written.
func (e *Event) holds(name string) bool {
	switch fieldOf([]byte(name)) {
	case fieldID, fieldEvent, fieldPayload, fieldEID:
		return true
	case fieldTimestamp:
		return e.Timestamp != 0
	case fieldSource:
		return e.SourceTimestamp != 0
	case fieldCorrelation:
		return e.Correlation != nil
	case fieldUnits:
		return e.Units != 0
	}
	return false
}

// appendPayload appends a payload that the bus stores.
func appendPayload(dst []byte, v json.RawMessage) ([]byte, error) {
	start, end := skipDocument(v, 1)
	switch {
	case len(v) == 0:
		return dst, ErrFalsyPayload
	case end < 0:
		return dst, fmt.Errorf("payload: %w", fault(ErrPayload, v, end))
	case !truthy(v[start:end]):
		return dst, fmt.Errorf("%w: it is %s", ErrFalsyPayload, v[start:end])
	}
	dst, ok := appendOneLine(dst, v[start:end])
	if !ok {
		return dst, fmt.Errorf("payload: %w: a byte sequence in it is not UTF-8", ErrPayload)
	}
	return dst, nil
}

// appendRaw appends any JSON value; the error wraps ErrPayload and names the member.
func appendRaw(dst []byte, name string, v json.RawMessage) ([]byte, error) {
	start, end := skipDocument(v, 1)
	if end < 0 {
		return dst, fmt.Errorf("member %q: %w", name, fault(ErrPayload, v, end))
	}
	dst, ok := appendOneLine(dst, v[start:end])
	if !ok {
		return dst, fmt.Errorf("member %q: %w: a byte sequence in it is not UTF-8", name, ErrPayload)
	}
	return dst, nil
}

// appendOneLine appends the valid value v; ok is false where it is not UTF-8. Line ends can stand only between its tokens, as
// strings must escape them.
func appendOneLine(dst, v []byte) (out []byte, ok bool) {
	if !isPrintable(v) {
		if !validUTF8(v) {
			return dst, false
		}
		if bytes.IndexByte(v, '\n') >= 0 || bytes.IndexByte(v, '\r') >= 0 {
			return appendCompact(dst, v), true
		}
	}
	return append(dst, v...), true
}

// validUTF8 is utf8.Valid, which is slow from the first byte on that is not ASCII, for text that is mostly ASCII.
func validUTF8(v []byte) bool {
	for len(v) > 0 {
		if x, ok := load(v, 0); ok {
			m := x & highBits
			if m == 0 {
				v = v[8:]
				continue
			}
			v = v[bits.TrailingZeros64(m)>>3:]
		}
		r, n := utf8.DecodeRune(v)
		if r == utf8.RuneError && n == 1 {
			return false
		}
		v = v[n:]
	}
	return true
}

// isPrintable tells whether v is ASCII without control characters.
func isPrintable(v []byte) bool {
	// All, gathered over the whole, shows in its high bits whether there was a byte that is not ASCII or below a space.
	all := uint64(0)
	for i := 0; i+8 <= len(v); i += 8 {
		x, _ := load(v, i)
		all |= x | (x - lowBits*' ')
	}
	if x, ok := load(v, len(v)-8); ok {
		return (all|x|(x-lowBits*' '))&highBits == 0
	}
	for _, c := range v {
		if c < ' ' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// appendMembers appends members, each followed by a comma but the last, and without those that are held elsewhere. dst ends
// with the comma before them; it is removed when there are none.
func appendMembers(dst []byte, members []Member, held func(string) bool) ([]byte, error) {
	for _, m := range members {
		if held(m.Name) {
			continue
		}
		var ok bool
		if dst, ok = appendString(dst, m.Name); !ok {
			return dst, fmt.Errorf("name of member %.60q: %w", m.Name, ErrPayload)
		}
		var err error
		if dst, err = appendRaw(append(dst, ':'), m.Name, m.Value); err != nil {
			return dst, err
		}
		dst = append(dst, ',')
	}
	return dst[:len(dst)-1], nil
}
