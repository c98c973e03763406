package rules

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/rstreams-go/rstreams/bus/store"
)

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

// Extra says why a backend must refuse to store extra as further attributes of a bot, or nil.
func Extra(bot string, extra map[string]json.RawMessage) error {
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if OwnAttribute(name) {
			return fmt.Errorf("%w registration of bot %s: attribute %q belongs to the bus, it cannot be set as an extra one",
				store.ErrInvalid, bot, name)
		}
		if !json.Valid(extra[name]) {
			return fmt.Errorf("%w registration of bot %s: its attribute %q is not JSON", store.ErrInvalid, bot, name)
		}
	}
	return nil
}

// withExtra returns old with the attributes of extra in place of its own of the same names.
func withExtra(old, extra map[string]json.RawMessage) map[string]json.RawMessage {
	if len(extra) == 0 {
		return old
	}
	out := cloned(old)
	for name, v := range extra {
		out[name] = slices.Clone(v)
	}
	return out
}

// cloneExtra returns a copy of m that shares nothing with it.
func cloneExtra(m map[string]json.RawMessage) map[string]json.RawMessage {
	m = maps.Clone(m)
	for name, v := range m {
		m[name] = slices.Clone(v)
	}
	return m
}
