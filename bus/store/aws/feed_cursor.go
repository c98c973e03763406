package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	stypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/aws/smithy-go"

	"github.com/rstreams-go/rstreams/bus/store"
)

// feedCursor is a place in the streams of both tables. Its text is JSON that nobody but this feed needs to understand.
type feedCursor struct {
	// Tables are those of queues and bots.
	Tables [2]tablePosition `json:"t"`
	// Turn counts through the shards of both; the next one is read first.
	Turn int `json:"r,omitempty"`
}

// shardIndex is where a shard is in a cursor.
type shardIndex struct{ table, shard int }

// shards lists the shards of both tables.
func (c *feedCursor) shards() []shardIndex {
	var out []shardIndex
	for table := range c.Tables {
		for shard := range c.Tables[table].Shards {
			out = append(out, shardIndex{table, shard})
		}
	}
	return out
}

// tablePosition is a place in a table's stream: one in each shard that is read, closed ancestors excepted.
type tablePosition struct {
	Stream string          `json:"s"`
	Shards []shardPosition `json:"p"`
}

// shardPosition is after a record, or, while no record was read, where an iterator points, or else the shard's beginning.
type shardPosition struct {
	ID       string `json:"i"`
	Sequence string `json:"n,omitempty"`
	Iterator string `json:"l,omitempty"`
	// Closed shards are read to their end; their children are not known yet.
	Closed bool `json:"c,omitempty"`
}

// String returns the cursor for a caller.
func (c *feedCursor) String() string {
	b, err := json.Marshal(c)
	if err != nil {
		panic(err) // Strings and booleans only.
	}
	return string(b)
}

// parse reads a cursor. One that is of other tables or streams is too old by definition.
func (f *feed) parse(ctx context.Context, text string) (*feedCursor, error) {
	var c feedCursor
	if err := json.Unmarshal([]byte(text), &c); err != nil || c.Turn < 0 {
		return nil, tooOld(text)
	}
	for i := range c.Tables {
		arn, err := f.arn(ctx, i, false)
		if err != nil {
			return nil, err
		}
		if c.Tables[i].Stream != arn || len(c.Tables[i].Shards) == 0 {
			return nil, tooOld(text)
		}
	}
	return &c, nil
}

func tooOld(cursor string) error {
	return fmt.Errorf("feed cursor %.40q cannot be continued from: %w", cursor, store.ErrNotFound)
}

// classify makes ErrNotFound of what tells that a position cannot be continued from.
func (f *feed) classify(table string, err error) error {
	op := "stream of table " + table
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.(type) {
		case *stypes.ExpiredIteratorException, *stypes.TrimmedDataAccessException, *stypes.ResourceNotFoundException:
			return fmt.Errorf("%s: %w: %s", op, store.ErrNotFound, flat(api.ErrorMessage()))
		}
		if api.ErrorCode() == "ValidationException" { // A sequence number or iterator that the stream does not know.
			return fmt.Errorf("%s: %w: %s", op, store.ErrNotFound, flat(api.ErrorMessage()))
		}
	}
	return f.bus.classify(op, err)
}
