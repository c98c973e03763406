package aws

import (
	"container/heap"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// Limits of listings: a scan keeps at most listWindow rows for the pages that follow, for listAge.
const (
	listWindow = 5000
	listAge    = 10 * time.Second
)

// listing gives pages of a table in order of key. DynamoDB can only scan a table as a whole and in an order of its own, so the
// first page costs a scan of the table (one read unit for each 4 KB) and keeps the least listWindow rows after the
// wanted key. Pages that continue it within listAge come from there. A table of more rows is scanned once for each
// listWindow of them.
type listing[T any] struct {
	table  table
	decode func(row item) (T, bool)
	key    func(T) string

	mu   sync.Mutex
	kept []T // in order; all rows after those handed out, as far as whole tells
	from string
	// whole tells that no row comes after those kept.
	whole bool
	until time.Time
	// scans counts scans as they begin; number is that of the scan whose rows are kept.
	scans, number int
}

// page returns up to limit rows after the given key; limit 0 or less means all.
func (l *listing[T]) page(ctx context.Context, after string, limit int) ([]T, error) {
	if err := l.table.bus.alive(ctx); err != nil {
		return nil, err
	}
	out, ok, number := l.take(after, limit)
	if ok {
		return out, nil
	}
	size := max(listWindow, limit)
	h := largest[T]{key: l.key}
	whole := true
	err := l.table.scan(ctx, func(row item) {
		v, ok := l.decode(row)
		if !ok || l.key(v) <= after {
			return
		}
		if limit > 0 && len(h.rows) == size {
			whole = false
			if l.key(v) >= l.key(h.rows[0]) {
				return
			}
			heap.Pop(&h)
		}
		heap.Push(&h, v)
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(h.rows, func(a, b T) int { return strings.Compare(l.key(a), l.key(b)) })
	if limit <= 0 || len(h.rows) <= limit && whole {
		return h.rows, nil
	}
	out = slices.Clone(h.rows[:limit])
	l.mu.Lock()
	defer l.mu.Unlock()
	if number < l.number {
		return out, nil // Whoever lists since the later scan must not get rows that are older than his list.
	}
	l.number = number
	l.kept, l.whole, l.from, l.until = h.rows[limit:], whole, l.key(out[len(out)-1]), l.table.now().Add(listAge)
	return out, nil
}

// take returns the page that continues the last one, if that is kept; otherwise the number of the scan that is needed.
func (l *listing[T]) take(after string, limit int) (out []T, ok bool, number int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kept == nil || limit <= 0 || after != l.from || l.table.now().After(l.until) || !l.whole && len(l.kept) <= limit {
		l.scans++
		return nil, false, l.scans
	}
	n := min(limit, len(l.kept))
	out = slices.Clone(l.kept[:n])
	clear(l.kept[:n]) // Rows may be large: those handed out are not kept.
	l.kept = l.kept[n:]
	if len(out) > 0 {
		l.from = l.key(out[len(out)-1])
	}
	if len(l.kept) == 0 {
		l.kept = nil
	}
	return out, true, 0
}

// largest is a heap whose first row has the largest key.
type largest[T any] struct {
	rows []T
	key  func(T) string
}

func (h *largest[T]) Len() int           { return len(h.rows) }
func (h *largest[T]) Less(i, j int) bool { return h.key(h.rows[i]) > h.key(h.rows[j]) }
func (h *largest[T]) Swap(i, j int)      { h.rows[i], h.rows[j] = h.rows[j], h.rows[i] }
func (h *largest[T]) Push(v any)         { h.rows = append(h.rows, v.(T)) }
func (h *largest[T]) Pop() any {
	v := h.rows[len(h.rows)-1]
	h.rows = h.rows[:len(h.rows)-1]
	return v
}
