package memory

import (
	"slices"
	"strings"
)

// table is a map whose keys can be listed in order.
type table[V any] struct {
	rows map[string]V
	keys []string // sorted
}

func newTable[V any]() *table[V] { return &table[V]{rows: map[string]V{}} }

func (t *table[V]) put(key string, v V) {
	if _, ok := t.rows[key]; !ok {
		i, _ := slices.BinarySearch(t.keys, key)
		t.keys = slices.Insert(t.keys, i, key)
	}
	t.rows[key] = v
}

func (t *table[V]) delete(key string) {
	if _, ok := t.rows[key]; !ok {
		return
	}
	delete(t.rows, key)
	i, _ := slices.BinarySearch(t.keys, key)
	t.keys = slices.Delete(t.keys, i, i+1)
}

// replace puts v under key and returns how to undo that.
func (t *table[V]) replace(key string, v V) (undo func()) {
	old, ok := t.rows[key]
	t.put(key, v)
	return func() {
		if ok {
			t.rows[key] = old
		} else {
			t.delete(key)
		}
	}
}

// after returns up to limit keys that begin with prefix and are greater than the given one; limit <= 0 means all.
func (t *table[V]) after(prefix, key string, limit int) []string {
	i, found := slices.BinarySearch(t.keys, max(prefix, key))
	if found && key >= prefix {
		i++ // it is the given key itself
	}
	keys := t.keys[i:]
	n := 0
	for n < len(keys) && (limit <= 0 || n < limit) && strings.HasPrefix(keys[n], prefix) {
		n++
	}
	return keys[:n]
}
