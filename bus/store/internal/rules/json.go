package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Setting says why a backend must refuse to store value under id, or nil.
func Setting(id string, value json.RawMessage) error {
	if id == "" || !json.Valid(value) {
		return fmt.Errorf("%w setting %q: it needs an id and a JSON value", store.ErrInvalid, id)
	}
	return nil
}

// Swap says why a backend must refuse Settings.Swap whatever is stored, or nil.
func Swap(id string, old, next json.RawMessage) error {
	if err := Setting(id, next); err != nil {
		return err
	}
	if old != nil && !json.Valid(old) {
		return fmt.Errorf("%w setting %q: the value to replace is not JSON", store.ErrInvalid, id)
	}
	return nil
}

// Swapped is the error of a swap whose condition failed.
func Swapped(id string) error {
	return fmt.Errorf("%w: setting %s is not what it was when it was read", store.ErrConflict, id)
}

// SameJSON tells whether a and b are the same value: the order of members and the way a number is written do not count.
// nil equals only nil.
func SameJSON(a, b json.RawMessage) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	if bytes.Equal(a, b) {
		return true
	}
	x, err := parseJSON(a)
	if err != nil {
		return false
	}
	y, err := parseJSON(b)
	return err == nil && same(x, y)
}

func parseJSON(text json.RawMessage) (any, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	err := dec.Decode(&v)
	return v, err
}

func same(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for name, v := range x {
			if w, ok := y[name]; !ok || !same(v, w) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return false
		}
		for i := range x {
			if !same(x[i], y[i]) {
				return false
			}
		}
		return true
	case json.Number:
		y, ok := b.(json.Number)
		return ok && decimal(x.String()) == decimal(y.String())
	}
	return a == b
}

// decimal returns a number of JSON in one way of writing it: its digits as a whole number without zeros at either end, and the
// exponent of ten that belongs to it. Exponents beyond 32 bits stay as they are written.
func decimal(s string) string {
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	exp := int64(0)
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		n, err := strconv.ParseInt(s[i+1:], 10, 32)
		if err != nil {
			return sign + s
		}
		exp, s = n, s[:i]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	exp -= int64(len(fraction))
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return "0"
	}
	n := len(digits)
	digits = strings.TrimRight(digits, "0")
	return sign + digits + "e" + strconv.FormatInt(exp+int64(n-len(digits)), 10)
}

// SystemID is the member of a system's document that holds its id, and is not part of System.Doc.
const SystemID = "id"

// System says why a backend must refuse to merge s, or nil.
func System(s store.System) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(s.Doc, &members); s.ID == "" || err != nil || members == nil {
		return fmt.Errorf("%w system %q: it needs an id and a document that is a JSON object", store.ErrInvalid, s.ID)
	}
	doc, err := parseJSON(s.Doc)
	if err == nil && nameless(doc) {
		return fmt.Errorf("%w system %q: a member of its document has no name, which DynamoDB does not take", store.ErrInvalid, s.ID)
	}
	return err
}

// nameless tells whether an object in v has a member whose name is empty.
func nameless(v any) bool {
	switch x := v.(type) {
	case map[string]any:
		for name, w := range x {
			if name == "" || nameless(w) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(x, nameless)
	}
	return false
}

// MergeSystem returns the document that merging doc into old, nil for none, makes. Both are JSON objects.
func MergeSystem(old, doc json.RawMessage) (json.RawMessage, error) {
	if old == nil {
		old = json.RawMessage("{}")
	}
	doc, err := without(doc, SystemID)
	if err != nil {
		return nil, err
	}
	return merge(old, doc)
}

func without(doc json.RawMessage, name string) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(doc, &members); err != nil {
		return nil, err
	}
	if _, ok := members[name]; !ok {
		return doc, nil
	}
	delete(members, name)
	return json.Marshal(members)
}

// merge merges b into a: objects member by member, everything else as a whole.
func merge(a, b json.RawMessage) (json.RawMessage, error) {
	if !isObject(a) || !isObject(b) {
		return b, nil
	}
	var into, from map[string]json.RawMessage
	if err := json.Unmarshal(a, &into); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &from); err != nil {
		return nil, err
	}
	for name, v := range from {
		old, ok := into[name]
		if !ok {
			into[name] = v
			continue
		}
		merged, err := merge(old, v)
		if err != nil {
			return nil, err
		}
		into[name] = merged
	}
	return json.Marshal(into)
}

func isObject(text json.RawMessage) bool {
	return bytes.HasPrefix(bytes.TrimLeft(text, " \t\r\n"), []byte("{"))
}
