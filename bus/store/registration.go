package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// Registration is a bot's declared configuration. Registering again replaces exactly these fields and leaves checkpoints,
// run state, Paused and Archived alone (C44).
type Registration struct {
	// ID is the plain bot id; it is required. Name, Description and Owner are labels.
	ID, Name, Description, Owner string
	// Invocation, Settings, Schedule and TimeZone are as in Bot. Settings that are not JSON are refused (ErrInvalid); whether
	// a schedule can be read is the caller's to check.
	Invocation         Invocation
	Settings           json.RawMessage
	Schedule, TimeZone string
	// Triggers become references; each gets a placeholder among the read checkpoints.
	Triggers []string
	// Writes are queues the bot writes; each gets a placeholder among the write checkpoints.
	Writes []string
	// Timeout and Delay, in ms, and Tags are as in Bot.
	Timeout, Delay int64
	Tags           []string
	// Paused applies only when the row is new.
	Paused bool
	// Extra are further attributes that are stored as they are; others of the row stay. Names of the row's own attributes are
	// refused (ErrInvalid).
	Extra map[string]json.RawMessage
}

// Validate returns nil, or why every backend refuses r: an error that wraps ErrInvalid. Who registers several bots asks before the
// first. That Triggers and Writes name something is package ref's to tell.
func (r Registration) Validate() error {
	if r.ID == "" {
		return fmt.Errorf("%w registration: it has no bot id", ErrInvalid)
	}
	if len(r.Settings) > 0 && !json.Valid(r.Settings) {
		return fmt.Errorf("%w registration of bot %s: its settings are not JSON", ErrInvalid, r.ID)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Extra)) {
		if OwnAttribute(name) {
			return fmt.Errorf("%w registration of bot %s: attribute %q belongs to the bus, it cannot be set as an extra one",
				ErrInvalid, r.ID, name)
		}
		if !json.Valid(r.Extra[name]) {
			return fmt.Errorf("%w registration of bot %s: its attribute %q is not JSON", ErrInvalid, r.ID, name)
		}
	}
	return nil
}

// OwnAttribute tells whether the item of a bot (bus.md 1.4) keeps something of its own under name, so that no other software's
// configuration may be stored there.
func OwnAttribute(name string) bool {
	switch name {
	case "", "id", "name", "description", "owner", "invocation", "lambda", "lambdaName", "time", "time_zone", "triggers", "tags",
		"timeout", "delay", "paused", "archived", "ignorePaused",
		"checkpoints", "requested_kinesis", "trigger", "scheduledTrigger", "errorCount", "invokeTime", "token",
		"progress", "progress_read", "progress_requested", "stalls", "instances", "startTime", "endTime", "status":
		return true
	}
	return false
}
