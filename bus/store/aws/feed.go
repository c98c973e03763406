package aws

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	streams "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	stypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"

	"github.com/rstreams-go/rstreams/bus/store"
)

const (
	// feedPoll is how often Wait looks, at the quickest. A shard may be read five times a second, by all its readers together.
	feedPoll = 250 * time.Millisecond
	// feedPatience is how long Wait waits at most: a cursor of a shard of which nothing was read yet lives for 15 minutes.
	feedPatience = 5 * time.Minute
	// defaultChanges is the limit of Changes where the caller gives none, maxStreamPage the most that a stream gives at once.
	defaultChanges = 1000
	maxStreamPage  = 1000
)

// feed tells what changed in the tables of queues and bots from their streams. It keeps the order of the changes of one row:
// rows of different shards or tables have no common order.
//
// A table's stream has room for two readers, and the deployed Lambdas of a bus are two on LeoCron and one on LeoEvent. So this is
// for tools, tests, and buses without those Lambdas; what waits for one queue's head had better look at its row.
type feed struct {
	bus    *Bus
	client func() *streams.Client

	mu sync.Mutex
	// arns are the tables' streams, once known.
	arns [2]string
	// iterators lead on from known places. They are only a saving: any can be had again.
	iterators map[place]iterator
}

type place struct{ stream, shard, sequence string }

type iterator struct {
	id      string
	expires time.Time
}

// Iterators live for 15 minutes. Of many, the old ones are dropped.
const (
	iteratorLife = 10 * time.Minute
	maxIterators = 1000
)

func newFeed(b *Bus) store.Feed {
	return &feed{
		bus: b,
		client: sync.OnceValue(func() *streams.Client {
			return streams.NewFromConfig(b.cfg, func(o *streams.Options) { o.Retryer = once })
		}),
		iterators: map[place]iterator{},
	}
}

// tableNames are the watched tables, in the order of a cursor's.
func (f *feed) tableNames() [2]string {
	return [2]string{f.bus.o.Resources.LeoEvent, f.bus.o.Resources.LeoCron}
}

// Changes implements store.Feed.
func (f *feed) Changes(ctx context.Context, cursor string, limit int) ([]store.Change, string, error) {
	if ctx.Err() != nil {
		return nil, "", context.Cause(ctx)
	}
	if limit <= 0 {
		limit = defaultChanges
	}
	if cursor == "" {
		c, err := f.now(ctx)
		if err != nil {
			return nil, "", err
		}
		return nil, c.String(), nil
	}
	c, err := f.parse(ctx, cursor)
	if err != nil {
		return nil, "", err
	}
	var out []store.Change
	shards := c.shards()
	// The first shard of one call is the one after the last of the call before, so that a busy one does not hide the others.
	for n := 0; n < len(shards) && len(out) < limit; n++ {
		at := shards[c.Turn%len(shards)]
		c.Turn = (c.Turn + 1) % len(shards)
		page, err := f.read(ctx, at.table, &c.Tables[at.table], at.shard, limit-len(out))
		if err != nil {
			return nil, "", err
		}
		out = append(out, page...)
	}
	for table := range c.Tables {
		if err := f.follow(ctx, table, &c.Tables[table]); err != nil {
			return nil, "", err
		}
	}
	return merge(out), c.String(), nil
}

// merge leaves out what is told again later.
func merge(changes []store.Change) []store.Change {
	last := make(map[store.Change]int, len(changes))
	for i, c := range changes {
		last[c] = i
	}
	out := changes[:0]
	for i, c := range changes {
		if last[c] == i {
			out = append(out, c)
		}
	}
	return out
}

// Wait implements store.Feed.
func (f *feed) Wait(ctx context.Context, cursor string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if cursor == "" {
		c, err := f.now(ctx)
		if err != nil {
			return err
		}
		cursor = c.String()
	}
	patience := time.NewTimer(feedPatience)
	defer patience.Stop()
	for delay := feedPoll; ; {
		c, err := f.parse(ctx, cursor)
		if errors.Is(err, store.ErrNotFound) {
			return nil // Changes has that to say.
		}
		if err != nil {
			return err
		}
		found, closed, err := f.look(ctx, c)
		switch {
		case err == nil && found:
			return nil
		case errors.Is(err, store.ErrThrottled):
			delay = min(2*delay, 8*feedPoll) // There are other readers.
		case err != nil:
			return err
		}
		tick := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			tick.Stop()
			return context.Cause(ctx)
		case <-patience.C:
			tick.Stop()
			return nil
		case <-tick.C:
			if closed { // Its children may be known now.
				return nil
			}
		}
	}
}

// look tells whether Changes has something to do about c: records, which may say nothing, or the end of a shard.
func (f *feed) look(ctx context.Context, c *feedCursor) (found, closed bool, err error) {
	for _, at := range c.shards() {
		s := &c.Tables[at.table].Shards[at.shard]
		before := s.Sequence
		_, err := f.read(ctx, at.table, &c.Tables[at.table], at.shard, maxStreamPage)
		if errors.Is(err, store.ErrNotFound) {
			return true, false, nil
		}
		if err != nil {
			return false, false, err
		}
		if s.Sequence != before {
			return true, false, nil
		}
		closed = closed || s.Closed
	}
	return false, closed, nil
}

// now returns the cursor of the present end of both streams.
func (f *feed) now(ctx context.Context) (*feedCursor, error) {
	c := &feedCursor{}
	for table, name := range f.tableNames() {
		arn, err := f.arn(ctx, table, true)
		if err != nil {
			return nil, err
		}
		shards, err := f.shards(ctx, name, arn)
		if err != nil {
			return nil, err
		}
		t := &c.Tables[table]
		t.Stream = arn
		for _, s := range shards {
			if s.SequenceNumberRange != nil && s.SequenceNumberRange.EndingSequenceNumber != nil {
				continue // closed
			}
			in := &streams.GetShardIteratorInput{StreamArn: &arn, ShardId: s.ShardId, ShardIteratorType: stypes.ShardIteratorTypeLatest}
			out, err := ask(ctx, f.bus, func(ctx context.Context) (*streams.GetShardIteratorOutput, error) {
				return f.client().GetShardIterator(ctx, in)
			})
			if err != nil {
				return nil, f.classify(name, err)
			}
			t.Shards = append(t.Shards, shardPosition{ID: *s.ShardId, Iterator: awssdk.ToString(out.ShardIterator)})
		}
	}
	return c, nil
}

// arn returns the stream of a table, which fresh looks up anew.
func (f *feed) arn(ctx context.Context, table int, fresh bool) (string, error) {
	f.mu.Lock()
	arn := f.arns[table]
	f.mu.Unlock()
	if arn != "" && !fresh {
		return arn, nil
	}
	name := f.tableNames()[table]
	out, err := ask(ctx, f.bus, func(ctx context.Context) (*dynamodb.DescribeTableOutput, error) {
		return f.bus.dynamo().DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name})
	})
	if missing, ok := errors.AsType[*ddb.ResourceNotFoundException](err); ok && missing != nil {
		return "", fmt.Errorf("%w: table %s is not there", store.ErrUnavailable, name)
	}
	if err != nil {
		return "", f.bus.classify("describe table "+name, err)
	}
	spec := out.Table.StreamSpecification
	if spec == nil || !awssdk.ToBool(spec.StreamEnabled) || out.Table.LatestStreamArn == nil {
		return "", fmt.Errorf("%w: table %s has no stream; enable one with new and old images", store.ErrUnavailable, name)
	}
	f.mu.Lock()
	f.arns[table] = *out.Table.LatestStreamArn
	f.mu.Unlock()
	return *out.Table.LatestStreamArn, nil
}

// shards lists the shards of a stream.
func (f *feed) shards(ctx context.Context, name, arn string) ([]stypes.Shard, error) {
	var out []stypes.Shard
	in := &streams.DescribeStreamInput{StreamArn: &arn}
	for {
		page, err := ask(ctx, f.bus, func(ctx context.Context) (*streams.DescribeStreamOutput, error) {
			return f.client().DescribeStream(ctx, in)
		})
		if err != nil {
			return nil, f.classify(name, err)
		}
		out = append(out, page.StreamDescription.Shards...)
		if page.StreamDescription.LastEvaluatedShardId == nil {
			return out, nil
		}
		in.ExclusiveStartShardId = page.StreamDescription.LastEvaluatedShardId
	}
}

// follow replaces the shards of t that were read to their end by their children, once those are known.
func (f *feed) follow(ctx context.Context, table int, t *tablePosition) error {
	closed := map[string]bool{}
	for _, s := range t.Shards {
		if s.Closed {
			closed[s.ID] = true
		}
	}
	if len(closed) == 0 {
		return nil
	}
	shards, err := f.shards(ctx, f.tableNames()[table], t.Stream)
	if err != nil {
		return err
	}
	followed := map[string]bool{}
	known := map[string]bool{}
	for _, s := range t.Shards {
		known[s.ID] = true
	}
	var children []shardPosition
	for _, s := range shards {
		if parent := awssdk.ToString(s.ParentShardId); closed[parent] {
			followed[parent] = true
			if !known[*s.ShardId] {
				children = append(children, shardPosition{ID: *s.ShardId})
			}
		}
	}
	kept := t.Shards[:0]
	for _, s := range t.Shards {
		if !followed[s.ID] {
			kept = append(kept, s)
		}
	}
	t.Shards = append(kept, children...)
	return nil
}

// read returns the changes of up to limit records of a shard and moves its position on.
func (f *feed) read(ctx context.Context, table int, t *tablePosition, i, limit int) ([]store.Change, error) {
	s := &t.Shards[i]
	if s.Closed {
		return nil, nil
	}
	name := f.tableNames()[table]
	at := place{t.Stream, s.ID, s.Sequence}
	var out *streams.GetRecordsOutput
	for fresh := false; ; fresh = true {
		id, err := f.iterator(ctx, name, at, s, fresh)
		if err != nil {
			return nil, err
		}
		in := &streams.GetRecordsInput{ShardIterator: &id, Limit: awssdk.Int32(int32(min(limit, maxStreamPage)))}
		out, err = ask(ctx, f.bus, func(ctx context.Context) (*streams.GetRecordsOutput, error) { return f.client().GetRecords(ctx, in) })
		expired, ok := errors.AsType[*stypes.ExpiredIteratorException](err)
		if ok && expired != nil && !fresh && s.Iterator == "" {
			continue
		}
		if err != nil {
			return nil, f.classify(name, err)
		}
		break
	}
	var changes []store.Change
	for _, r := range out.Records {
		if r.Dynamodb == nil {
			continue
		}
		if c, ok := change(table, r); ok {
			changes = append(changes, c)
		}
		s.Sequence, s.Iterator = awssdk.ToString(r.Dynamodb.SequenceNumber), ""
	}
	switch {
	case out.NextShardIterator == nil:
		s.Closed, s.Iterator = true, ""
	case s.Iterator != "":
		s.Iterator = *out.NextShardIterator
	default:
		f.keep(place{t.Stream, s.ID, s.Sequence}, *out.NextShardIterator)
	}
	return changes, nil
}

// change returns what a record says, and whether that is a change for readers of the feed.
func change(table int, r stypes.Record) (store.Change, bool) {
	kind, key := store.QueueChanged, "event"
	if table == 1 {
		kind, key = store.BotChanged, "id"
	}
	id, ok := r.Dynamodb.Keys[key].(*stypes.AttributeValueMemberS)
	if !ok {
		return store.Change{}, false
	}
	c := store.Change{Kind: kind, ID: id.Value}
	if kind == store.BotChanged {
		return c, true
	}
	head := headOf(r.Dynamodb.NewImage)
	return c, head != "" && head != headOf(r.Dynamodb.OldImage)
}

// headOf returns the head in an image, "" for none.
func headOf(image map[string]stypes.AttributeValue) string {
	if v, ok := image["max_eid"].(*stypes.AttributeValueMemberS); ok && v.Value != noHead {
		return v.Value
	}
	return ""
}

// iterator returns what reads on from a position.
func (f *feed) iterator(ctx context.Context, name string, at place, s *shardPosition, fresh bool) (string, error) {
	if s.Iterator != "" {
		return s.Iterator, nil
	}
	if !fresh {
		f.mu.Lock()
		it, ok := f.iterators[at]
		f.mu.Unlock()
		if ok && f.bus.o.Now().Before(it.expires) {
			return it.id, nil
		}
	}
	in := &streams.GetShardIteratorInput{StreamArn: &at.stream, ShardId: &at.shard, ShardIteratorType: stypes.ShardIteratorTypeTrimHorizon}
	if at.sequence != "" {
		in.ShardIteratorType = stypes.ShardIteratorTypeAfterSequenceNumber
		in.SequenceNumber = &at.sequence
	}
	out, err := ask(ctx, f.bus, func(ctx context.Context) (*streams.GetShardIteratorOutput, error) {
		return f.client().GetShardIterator(ctx, in)
	})
	if err != nil {
		return "", f.classify(name, err)
	}
	if out.ShardIterator == nil {
		return "", fmt.Errorf("stream of table %s: %w: the shard of the cursor is gone", name, store.ErrNotFound)
	}
	return *out.ShardIterator, nil
}

// keep remembers an iterator.
func (f *feed) keep(at place, id string) {
	now := f.bus.o.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.iterators) >= maxIterators {
		for k, it := range f.iterators {
			if now.After(it.expires) || len(f.iterators) >= maxIterators {
				delete(f.iterators, k)
			}
		}
	}
	f.iterators[at] = iterator{id, now.Add(iteratorLife)}
}
