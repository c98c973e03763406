package rstreams

import (
	"bytes"
	"slices"
	"strings"

	"github.com/rstreams-go/rstreams/bus/event"
)

// Clone returns a copy of e that shares no memory with it: for events that a program keeps after many others were read.
func Clone(e Event) Event {
	e.EID, e.Bot, e.Queue = strings.Clone(e.EID), strings.Clone(e.Bot), strings.Clone(e.Queue)
	e.Payload = bytes.Clone(e.Payload)
	e.Extra = cloneMembers(e.Extra)
	if e.Correlation != nil {
		c := *e.Correlation
		c.Source, c.Start, c.End = strings.Clone(c.Source), strings.Clone(c.Start), strings.Clone(c.End)
		c.Extra = cloneMembers(c.Extra)
		e.Correlation = &c
	}
	return e
}

func cloneMembers(members []event.Member) []event.Member {
	members = slices.Clone(members)
	for i := range members {
		members[i] = event.Member{Name: strings.Clone(members[i].Name), Value: bytes.Clone(members[i].Value)}
	}
	return members
}
