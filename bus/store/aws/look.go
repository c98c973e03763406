package aws

import (
	"context"
	"encoding/json"
	"fmt"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/rstreams-go/rstreams/bus/store"
)

// look implements store.Store's Look with BatchGetItem: consistent reads of rows of three tables in one request, and further ones
// only for what DynamoDB left out.
func (b *Bus) look(ctx context.Context, keys store.Keys) (store.Rows, error) {
	rows := store.Rows{Settings: map[string]json.RawMessage{}, Bots: map[string]store.Bot{}, Queues: map[string]store.Queue{}}
	if n := len(keys.Settings) + len(keys.Bots) + len(keys.Queues); n == 0 || n > store.MaxKeys {
		return rows, fmt.Errorf("%w: %d rows are asked for at once, want 1 to %d", store.ErrInvalid, n, store.MaxKeys)
	}
	r := b.o.Resources
	left := map[string]ddb.KeysAndAttributes{}
	for _, part := range []struct {
		table table
		ids   []string
	}{
		{table{bus: b, name: r.LeoSettings, part: "LeoSettings", key: "id"}, keys.Settings},
		{table{bus: b, name: r.LeoCron, part: "LeoCron", key: "id"}, keys.Bots},
		{table{bus: b, name: r.LeoEvent, part: "LeoEvent", key: "event"}, keys.Queues},
	} {
		if len(part.ids) == 0 {
			continue
		}
		if err := part.table.ready(); err != nil {
			return rows, err
		}
		wanted := ddb.KeysAndAttributes{ConsistentRead: awssdk.Bool(true)}
		for _, id := range part.ids {
			wanted.Keys = append(wanted.Keys, part.table.keyOf(id))
		}
		left[part.table.name] = wanted
	}
	op := "read rows of the bus"
	for budget := b.retries(); ; {
		var out *dynamodb.BatchGetItemOutput
		err := b.send(ctx, budget, func(ctx context.Context) (err error) {
			out, err = b.dynamo().BatchGetItem(ctx, &dynamodb.BatchGetItemInput{RequestItems: left})
			return err
		})
		if err != nil {
			return rows, b.classify(op, err)
		}
		for _, it := range out.Responses[r.LeoSettings] {
			v, ok := it["value"]
			if !ok {
				continue
			}
			id := text(it["id"])
			if rows.Settings[id], err = toJSON(v); err != nil {
				return rows, fmt.Errorf("setting %s: %w", id, err)
			}
		}
		for _, it := range out.Responses[r.LeoCron] {
			rows.Bots[text(it["id"])] = decodeBot(it)
		}
		for _, it := range out.Responses[r.LeoEvent] {
			q, err := decodeQueue(it)
			if err != nil {
				return rows, err
			}
			rows.Queues[q.Name] = q
		}
		if left = out.UnprocessedKeys; len(left) == 0 {
			return rows, nil
		}
		if ok, err := budget.pause(ctx, budget.end, maxPause); err != nil {
			return rows, err
		} else if !ok {
			return rows, fmt.Errorf("%w: %s: the tables' capacity was not enough for %v; raise it", store.ErrThrottled, op, b.o.Budget)
		}
	}
}
