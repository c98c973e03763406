package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"golang.org/x/sync/errgroup"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

// Limits of BatchWriteItem are 25 items and 16 MB. Requests of less are retried at a lower price, and several are under way.
const (
	batchItems    = 25
	batchBytes    = 4 << 20
	batchParallel = 4
)

// Defaults of Query.
const (
	defaultLimit = 1000
	defaultBytes = 8 << 20
)

// chunks is the table LeoStream. A batch of chunks of any queues shares BatchWriteItems (W-S10).
type chunks struct {
	bus  *Bus
	name string
}

func newChunks(b *Bus) store.Chunks { return chunks{b, b.o.Resources.LeoStream} }

// entry is one write of a batch.
type entry struct {
	index   int // in the caller's list
	request ddb.WriteRequest
	id      chunkID
	size    int
	err     error
}

type chunkID struct{ queue, end string }

// Put implements store.Chunks. Of several chunks with the same queue and End the last one counts.
func (c chunks) Put(ctx context.Context, list []store.Chunk) error {
	var failed []store.ItemError
	last := make(map[chunkID]int, len(list))
	for i := range list {
		if err := rules.Chunk(&list[i]); err != nil {
			failed = append(failed, store.ItemError{Index: i, Err: err})
			continue
		}
		last[chunkID{list[i].Queue, list[i].End}] = i
	}
	entries := make([]*entry, 0, len(last))
	for i := range list {
		k := &list[i]
		id := chunkID{k.Queue, k.End}
		if j, ok := last[id]; !ok || j != i {
			continue
		}
		put := &ddb.PutRequest{Item: chunkItem(k)}
		size := len(k.Gzip) + len(k.Queue) + 500 + 400*len(k.Offsets)
		entries = append(entries, &entry{index: i, request: ddb.WriteRequest{PutRequest: put}, id: id, size: size})
	}
	if err := c.writeAll(ctx, entries); err != nil {
		return err
	}
	for _, e := range entries {
		if e.err != nil {
			failed = append(failed, store.ItemError{Index: e.index, Err: e.err})
		}
	}
	if len(failed) == 0 {
		return nil
	}
	slices.SortFunc(failed, func(a, b store.ItemError) int { return cmp.Compare(a.Index, b.Index) })
	return &store.BatchError{Items: failed}
}

// Delete implements store.Chunks.
func (c chunks) Delete(ctx context.Context, queue string, ends []string) error {
	seen := make(map[string]bool, len(ends))
	var entries []*entry
	for _, end := range ends {
		if seen[end] || end == "" || queue == "" {
			continue
		}
		seen[end] = true
		del := &ddb.DeleteRequest{Key: item{"event": str(queue), "end": str(end)}}
		entries = append(entries, &entry{request: ddb.WriteRequest{DeleteRequest: del}, id: chunkID{queue, end}, size: 1})
	}
	if err := c.writeAll(ctx, entries); err != nil {
		return err
	}
	for _, e := range entries {
		if e.err != nil {
			return e.err
		}
	}
	return nil
}

// writeAll writes all entries and notes in each what became of it. Its own error is that of the context.
func (c chunks) writeAll(ctx context.Context, entries []*entry) error {
	if err := c.bus.alive(ctx); err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(batchParallel)
	for len(entries) > 0 {
		n, bytes := 0, 0
		for n < len(entries) && n < batchItems && (n == 0 || bytes+entries[n].size <= batchBytes) {
			bytes += entries[n].size
			n++
		}
		batch := entries[:n]
		entries = entries[n:]
		g.Go(func() error {
			c.writeBatch(ctx, c.bus.retries(), batch)
			return nil
		})
	}
	_ = g.Wait() // Each entry has its own error.
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// writeBatch writes entries that fit in one request.
func (c chunks) writeBatch(ctx context.Context, r *retries, batch []*entry) {
	fail := func(batch []*entry, err error) {
		for _, e := range batch {
			e.err = err
		}
	}
	op := "write to table " + c.name
	for {
		var out *dynamodb.BatchWriteItemOutput
		requests := mapped(batch, func(e *entry) ddb.WriteRequest { return e.request })
		err := c.bus.send(ctx, r, func(ctx context.Context) (err error) {
			out, err = c.bus.dynamo().BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{
				RequestItems: map[string][]ddb.WriteRequest{c.name: requests},
			})
			return err
		})
		if err != nil {
			err = c.bus.classify(op, err)
			if len(batch) > 1 && (errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrTooLarge)) {
				// One item spoils the request: the others must not suffer (W-P3).
				c.writeBatch(ctx, r, batch[:len(batch)/2])
				c.writeBatch(ctx, r, batch[len(batch)/2:])
				return
			}
			fail(batch, err)
			return
		}
		left := make(map[chunkID]bool)
		for _, w := range out.UnprocessedItems[c.name] {
			left[idOf(w)] = true
		}
		if len(left) == 0 {
			return
		}
		batch = slices.DeleteFunc(slices.Clone(batch), func(e *entry) bool { return !left[e.id] })
		if len(batch) == 0 {
			return
		}
		if ok, err := r.pause(ctx, r.end, maxPause); err != nil {
			fail(batch, err)
			return
		} else if !ok {
			fail(batch, fmt.Errorf("%w: %s: its capacity was not enough for %v; raise it, or write less", store.ErrThrottled, op, c.bus.o.Budget))
			return
		}
	}
}

func idOf(w ddb.WriteRequest) chunkID {
	it := item(nil)
	switch {
	case w.PutRequest != nil:
		it = w.PutRequest.Item
	case w.DeleteRequest != nil:
		it = w.DeleteRequest.Key
	}
	return chunkID{text(it["event"]), text(it["end"])}
}

// Query implements store.Chunks. DynamoDB answers at most 1 MB at a time, so that a page may take several requests.
func (c chunks) Query(ctx context.Context, queue, after, through string, limit, maxBytes int) (store.Page, error) {
	if err := c.bus.alive(ctx); err != nil {
		return store.Page{}, err
	}
	if limit <= 0 {
		limit = defaultLimit
	}
	if maxBytes <= 0 {
		maxBytes = defaultBytes
	}
	var page store.Page
	if queue == "" || after >= through {
		return page, nil
	}
	in := dynamodb.QueryInput{
		TableName: &c.name, ConsistentRead: awssdk.Bool(true),
		KeyConditionExpression: awssdk.String("#q = :q AND #e BETWEEN :a AND :z"),
		// Items without ttl pass. The table drops expired ones only hours later.
		FilterExpression:         awssdk.String("NOT #t <= :now"),
		ExpressionAttributeNames: map[string]string{"#q": "event", "#e": "end", "#t": "ttl"},
		ExpressionAttributeValues: item{
			":q": str(queue), ":a": str(after + "\x00"), ":z": str(through), ":now": num(c.bus.o.Now().Unix()),
		},
	}
	bytes := 0
	for {
		in.Limit = awssdk.Int32(int32(min(limit-len(page.Chunks), defaultLimit)))
		var out *dynamodb.QueryOutput
		err := c.bus.send(ctx, c.bus.retries(), func(ctx context.Context) (err error) {
			out, err = c.bus.dynamo().Query(ctx, &in)
			return err
		})
		if err != nil {
			return store.Page{}, c.bus.classify("query table "+c.name, err)
		}
		for _, it := range out.Items {
			k, err := decodeChunk(it)
			if err != nil {
				return c.upTo(page, err)
			}
			if len(page.Chunks) > 0 && bytes+len(k.Gzip) > maxBytes {
				page.More = true
				return page, nil
			}
			bytes += len(k.Gzip)
			page.Chunks = append(page.Chunks, k)
		}
		if len(out.LastEvaluatedKey) == 0 {
			return page, nil
		}
		if len(page.Chunks) >= limit || bytes >= maxBytes {
			page.More = true
			return page, nil
		}
		in.ExclusiveStartKey = out.LastEvaluatedKey
	}
}

// upTo returns the chunks before a corrupt one. The page that begins with it is the error.
func (c chunks) upTo(page store.Page, err error) (store.Page, error) {
	if len(page.Chunks) == 0 {
		return store.Page{}, err
	}
	page.More = true
	return page, nil
}
