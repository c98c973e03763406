package memory

import (
	"context"
	"slices"
	"strings"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

// Defaults of Query.
const (
	defaultLimit = 1000
	defaultBytes = 8 << 20
)

type chunks struct{ view }

func (c chunks) Put(ctx context.Context, list []store.Chunk) error {
	valid, failed := rules.Chunks(list)
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.leave()
	now := c.db.now().Unix()
	for i := range valid {
		k := rules.CloneChunk(valid[i])
		c.put(&k, now)
	}
	return failed
}

func (c chunks) put(k *store.Chunk, now int64) {
	m := c.db.chunks
	list := m[k.Queue]
	i, found := find(list, k.End)
	if found {
		old := list[i]
		list[i] = k
		c.onRollback(func() { set(m, old) })
		return
	}
	if c.tx == nil {
		// The oldest chunks are the first to expire: what no reader can see any more is dropped here.
		n := 0
		for n < i && expired(list[n], now) {
			n++
		}
		list, i = slices.Delete(list, 0, n), i-n
	}
	m[k.Queue] = slices.Insert(list, i, k)
	c.onRollback(func() { remove(m, k.Queue, k.End) })
}

// set puts k into the index, replacing a chunk with its End.
func set(m map[string][]*store.Chunk, k *store.Chunk) {
	list := m[k.Queue]
	if i, found := find(list, k.End); found {
		list[i] = k
	} else {
		m[k.Queue] = slices.Insert(list, i, k)
	}
}

func remove(m map[string][]*store.Chunk, queue, end string) {
	if i, found := find(m[queue], end); found {
		m[queue] = slices.Delete(m[queue], i, i+1)
	}
}

func find(list []*store.Chunk, end string) (int, bool) {
	// Chunks mostly come in order, so that the end of the list is the likely place.
	if n := len(list); n == 0 || list[n-1].End < end {
		return n, false
	}
	return slices.BinarySearchFunc(list, end, func(k *store.Chunk, end string) int { return strings.Compare(k.End, end) })
}

func expired(k *store.Chunk, now int64) bool { return k.Expires != 0 && k.Expires <= now }

func (c chunks) Query(ctx context.Context, queue, after, through string, limit, maxBytes int) (store.Page, error) {
	if limit <= 0 {
		limit = defaultLimit
	}
	if maxBytes <= 0 {
		maxBytes = defaultBytes
	}
	if err := c.enter(ctx); err != nil {
		return store.Page{}, err
	}
	defer c.leave()
	now := c.db.now().Unix()
	list := c.db.chunks[queue]
	i, found := find(list, after)
	if found {
		i++
	}
	var page store.Page
	bytes := 0
	for _, k := range list[i:] {
		if k.End > through {
			break
		}
		if expired(k, now) {
			continue
		}
		if n := len(page.Chunks); n == limit || n > 0 && bytes+len(k.Gzip) > maxBytes {
			page.More = true
			break
		}
		bytes += len(k.Gzip)
		page.Chunks = append(page.Chunks, rules.CloneChunk(*k))
	}
	return page, nil
}

func (c chunks) Delete(ctx context.Context, queue string, ends []string) error {
	if err := c.enter(ctx); err != nil {
		return err
	}
	defer c.leave()
	m := c.db.chunks
	for _, end := range ends {
		if i, found := find(m[queue], end); found {
			old := m[queue][i]
			remove(m, queue, end)
			c.onRollback(func() { set(m, old) })
		}
	}
	return nil
}
