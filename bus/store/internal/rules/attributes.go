package rules

import (
	"encoding/json"
	"maps"
	"slices"
)

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
