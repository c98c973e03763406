package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// ErrCorrelation reports events that no correlation can stand for: none at all, of several queues, out of order, or without
// ids. Callers should correlate the events of one queue, as they were read.
var ErrCorrelation = errors.New("events cannot be correlated")

// Correlation tells from which events of another queue an event was made (sdk.md 2.6).
type Correlation struct {
	// Source is the queue of those events.
	Source string
	// Start is the id of the first one, End of the last; End is "" when there is only one.
	Start, End string
	// Units is how many they are; 0 means not said, which counts as 1.
	Units int64
	// Partial means that more will be made of the same events, so that having written this one does not finish them. It
	// matters within a process only: on the wire, a partial correlation looks like any other (W14).
	Partial bool
	// Extra holds the members that have no field here, and those whose value fits no field, in their order.
	Extra []Member
}

// Correlate returns the correlation of what is made from events: the events of one queue in order of their ids. Their units
// are summed; End is set when there are several. The error wraps ErrCorrelation.
func Correlate(events ...Event) (*Correlation, error) {
	if len(events) == 0 {
		return nil, fmt.Errorf("%w: there are none", ErrCorrelation)
	}
	c := &Correlation{Source: events[0].Queue, Start: events[0].EID}
	for i := range events {
		e := &events[i]
		switch {
		case e.EID == "":
			return nil, fmt.Errorf("%w: event %d has no id; it was not read from the bus", ErrCorrelation, i)
		case e.Queue == "":
			return nil, fmt.Errorf("%w: event %s names no queue", ErrCorrelation, e.EID)
		case e.Queue != c.Source:
			return nil, fmt.Errorf("%w: %s is of queue %s and %s of queue %s", ErrCorrelation, c.Start, c.Source, e.EID, e.Queue)
		case i > 0 && e.EID <= events[i-1].EID:
			return nil, fmt.Errorf("%w: %s comes after %s", ErrCorrelation, e.EID, events[i-1].EID)
		}
		c.Units += max(e.Units, 1)
	}
	if len(events) > 1 {
		c.End = events[len(events)-1].EID
	}
	return c, nil
}

// parseCorrelation reads the scanned object v. The names that leo-sdk uses for partial correlations within a process are
// understood as well.
func (l *Line) parseCorrelation(v []byte) *Correlation {
	c := new(Correlation)
	for m := (members{v: v}); m.next(); {
		var fits bool
		switch string(m.name) {
		case "source":
			if fits = isText(m.value, l.source); fits {
				c.Source = l.source
			} else if c.Source, fits = optional(m.value); fits {
				l.source = c.Source
			}
		case "start":
			c.Start, fits = optional(m.value)
		case "end":
			c.End, fits = optional(m.value)
		case "units":
			c.Units = exactUnits(m.value)
			fits = c.Units > 0
		case "partial_start":
			if c.Start, fits = optional(m.value); fits {
				c.Partial = true
			}
		case "partial_end":
			if c.End, fits = optional(m.value); fits {
				c.Partial = true
			}
		}
		if !fits || len(c.Extra) > 0 {
			c.Extra = setMember(c.Extra, string(m.name), m.value, fits)
		}
	}
	return c
}

// optional reads a string, or null as "". Strings that have no UTF-8 form do not fit.
func optional(v []byte) (string, bool) {
	if string(v) == "null" {
		return "", true
	}
	if v[0] != '"' {
		return "", false
	}
	v = v[1 : len(v)-1]
	if bytes.IndexByte(v, '\\') < 0 {
		return string(v), true
	}
	text, whole := unescape(nil, v)
	if !whole {
		return "", false
	}
	return string(text), true
}

// setMember notes the last value of a member: it is removed when a field has it, else set.
func setMember(members []Member, name string, value json.RawMessage, inField bool) []Member {
	for i := range members {
		if members[i].Name != name {
			continue
		}
		if inField && len(members) == 1 {
			return nil
		}
		if inField {
			return append(members[:i], members[i+1:]...)
		}
		members[i].Value = value
		return members
	}
	if inField {
		return members
	}
	return append(members, Member{Name: name, Value: value})
}

// append appends the wire form of c.
func (c *Correlation) append(dst []byte) ([]byte, error) {
	dst = append(dst, '{')
	for _, m := range [...]struct{ name, text string }{{`"source":`, c.Source}, {`"start":`, c.Start}, {`"end":`, c.End}} {
		if m.text == "" {
			continue
		}
		var ok bool
		if dst, ok = appendString(append(dst, m.name...), m.text); !ok {
			return dst, fmt.Errorf("member \"correlation_id\": %w: %.60q", ErrPayload, m.text)
		}
		dst = append(dst, ',')
	}
	if c.Units != 0 {
		dst = append(strconv.AppendInt(append(dst, `"units":`...), c.Units, 10), ',')
	}
	if len(c.Extra) > 0 {
		var err error
		if dst, err = appendMembers(dst, c.Extra, c.holds); err != nil {
			return dst, err
		}
	}
	if dst[len(dst)-1] == ',' {
		dst = dst[:len(dst)-1]
	}
	return append(dst, '}'), nil
}

// holds tells whether the member has a field of c, and the field is written.
func (c *Correlation) holds(name string) bool {
	switch name {
	case "source":
		return c.Source != ""
	case "start":
		return c.Start != ""
	case "end":
		return c.End != ""
	case "units":
		return c.Units != 0
	}
	return false
}
