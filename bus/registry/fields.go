package registry

import (
	"encoding/json"
	"maps"
	"slices"

	"github.com/rstreams-go/rstreams/bus/schedule"
	"github.com/rstreams-go/rstreams/bus/store"
)

// fields are parts of a bot's configuration, by the names of their members.
type fields []string

// allFields are the parts that a declaration may leave out, for whatever the row has.
var allFields = [...]string{
	"name", "description", "owner", "lambdaName", "settings", "time", "timeZone", "triggers", "tags", "timeout", "delay",
}

func (f fields) has(name string) bool { return slices.Contains(f, name) }

// fields returns what a declaration says, also where it says that there is none. What CloudFormation makes of a value that is not
// there says nothing.
func (m members) fields() fields {
	var f fields
	for _, name := range allFields {
		if _, ok := m[name]; !ok {
			continue
		}
		switch name {
		case "time", "timeZone", "lambdaName", "timeout", "delay":
			if text, err := m.text(name); err == nil && text != "" && absent(text) {
				continue
			}
		}
		f = append(f, name)
	}
	if _, ok := m["invocation"]; ok {
		f = append(f, "lambdaName")
	}
	if _, ok := m["lambda"]; ok {
		f = append(f, "settings")
	}
	if m.settings(&reader{}).trigger() != "" {
		f = append(f, "triggers")
	}
	if f.has("time") { // A time means what its zone says, and without one UTC.
		f = append(f, "timeZone")
	}
	return f
}

// declaration is a bot as it was declared.
type declaration struct {
	store.Registration
	// says are the fields that were declared. The others have what a new bot gets.
	says fields
}

// onto returns the registration of a bot that has a row. Neither operators nor other software lose what the declaration does not
// speak of, as with the original (bus.md 3.11). What was declared before, and is not any more, goes.
func (d declaration) onto(row store.Bot, before fields) store.Registration {
	b := d.Registration
	keep := func(name string) bool { return !d.says.has(name) && !before.has(name) }
	if keep("name") && row.Name != "" {
		b.Name = row.Name
	}
	switch {
	case d.says.has("description"):
	case keep("description") && row.Description != "" && row.Description != row.Name:
		b.Description = row.Description
	default:
		b.Description = b.Name // As a new bot gets it.
	}
	if keep("owner") {
		b.Owner = row.Owner
	}
	if keep("lambdaName") && row.Invocation.Type != "" {
		b.Invocation = row.Invocation
	}
	if keep("settings") {
		b.Settings = row.Settings
	}
	if keep("time") {
		b.Schedule = row.Schedule
	}
	if keep("timeZone") {
		b.TimeZone = row.TimeZone
	}
	if keep("triggers") {
		b.Triggers = row.Triggers
	}
	if keep("tags") {
		b.Tags = row.Tags
	}
	if keep("timeout") {
		b.Timeout = row.Timeout
	}
	if keep("delay") {
		b.Delay = row.Delay
	}
	return b
}

// checkTime returns why a schedule in a time zone, either of which may be missing, cannot be served.
func checkTime(time, zone string) error {
	if time == "" {
		if zone == "" {
			return nil
		}
		time = "0 0 * * *" // The one of the row may be anything.
	}
	_, err := schedule.Parse(time, zone)
	return err
}

// configuration returns what a row was registered with, as far as a registration with the attributes of next would change it.
func configuration(row store.Bot, next store.Registration) store.Registration {
	r := store.Registration{
		ID: row.ID, Name: row.Name, Description: row.Description, Owner: row.Owner,
		Invocation: row.Invocation, Settings: row.Settings, Schedule: row.Schedule, TimeZone: row.TimeZone,
		Triggers: row.Triggers, Timeout: row.Timeout, Delay: row.Delay, Tags: row.Tags,
	}
	for name := range next.Extra {
		if v, ok := row.Extra[name]; ok {
			r.Extra = with(r.Extra, name, v)
		}
	}
	return r
}

// with returns attributes with one more.
func with(extra map[string]json.RawMessage, name string, value json.RawMessage) map[string]json.RawMessage {
	if extra = maps.Clone(extra); extra == nil {
		extra = map[string]json.RawMessage{}
	}
	extra[name] = value
	return extra
}
