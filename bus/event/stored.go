package event

import (
	"strconv"
	"strings"
)

// edit gives a member a new value.
type edit struct {
	// name is the member's name as it stands in a line, at where its value is now; the zero span means nowhere.
	name string
	at   span
	// text is the new value where isText is set, else number is.
	text   string
	isText bool
	number int64
}

func (e *edit) append(dst []byte) []byte {
	if e.isText {
		dst, _ = appendString(dst, e.text) // The caller's duty: see AppendStored.
		return dst
	}
	return strconv.AppendInt(dst, e.number, 10)
}

// AppendStored appends the line as the bus stores it, with a newline: `eid` is index, `event` the plain queue name, and
// `timestamp` and `event_source_timestamp` are filled in where they are missing or falsy, the first with now (ms) and the
// second with the first; a source time that is a date becomes ms (C9), one that is no time counts as missing. Everything
// else, `timestamp` in a string too, stays byte for byte. queue must be UTF-8, as ref.ValidateQueue checks. Sealable tells of
// the line as stored.
func (l *Line) AppendStored(dst []byte, queue string, index int, now int64) []byte {
	var edits [4]edit
	n := 0
	if v := l.value(fieldEvent); !isText(v, queue) {
		edits[n] = edit{name: `"event":`, at: l.fields[fieldEvent], text: queue, isText: true}
		n++
	}
	stamp := l.value(fieldTimestamp)
	if !truthy(stamp) {
		edits[n] = edit{name: `"timestamp":`, at: l.fields[fieldTimestamp], number: now}
		n++
	}
	if v := l.value(fieldSource); !isNumber(v) || !truthy(v) {
		ms, ok := millis(v)
		if !ok {
			ms, ok = millis(stamp)
		}
		if !ok {
			ms = now
		}
		edits[n] = edit{name: `"event_source_timestamp":`, at: l.fields[fieldSource], number: ms}
		n++
	}
	if i, ok := l.EIDIndex(); !ok || i != index || l.value(fieldEID)[0] == '-' {
		edits[n] = edit{name: `"eid":`, at: l.fields[fieldEID], number: int64(index)}
		n++
	}
	return l.appendEdited(dst, edits[:n])
}

// appendEdited appends the line with the edits made.
func (l *Line) appendEdited(dst []byte, edits []edit) []byte {
	// In order of place; members to add have place 0, and stay in the order given.
	missing := 0
	for i := range edits {
		if edits[i].at.end == 0 {
			missing++
		}
		for k := i; k > 0 && edits[k].at.start < edits[k-1].at.start; k-- {
			edits[k], edits[k-1] = edits[k-1], edits[k]
		}
	}
	from := int32(0)
	for i := range edits {
		if e := &edits[i]; e.at.end != 0 {
			dst = append(dst, l.raw[from:e.at.start]...)
			dst = e.append(dst)
			from = e.at.end
		}
	}
	if missing == 0 {
		dst = append(dst, l.raw[from:]...)
		return append(dst, '\n')
	}
	dst = append(dst, l.raw[from:len(l.raw)-1]...)
	first := l.raw[skipSpace(l.raw, 1)] == '}' // The object has no members.
	for i := range edits {
		if e := &edits[i]; e.at.end == 0 {
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(dst, e.name...)
			dst = e.append(dst)
		}
	}
	return append(dst, '}', '\n')
}

// isText tells whether v is the JSON string of s, written without escapes.
func isText(v []byte, s string) bool {
	return len(v) == len(s)+2 && v[0] == '"' && string(v[1:len(v)-1]) == s && strings.IndexByte(s, '\\') < 0
}

// AppendArchived appends the line as archives hold it, with a newline: `eid` is the event's whole id, and everything else stays
// byte for byte (bus.md 2.3).
func (l *Line) AppendArchived(dst []byte, id string) []byte {
	if v := l.value(fieldEID); isText(v, id) {
		return append(append(dst, l.raw...), '\n')
	}
	edits := [1]edit{{name: `"eid":`, at: l.fields[fieldEID], text: id, isText: true}}
	return l.appendEdited(dst, edits[:])
}
