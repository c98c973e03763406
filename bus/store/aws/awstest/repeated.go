package awstest

import (
	"context"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// Repeated reads a whole Kinesis stream and returns the data of the records that are there more than once on a shard, once for each
// time more: an answer was lost there, and the writer had to send again, as it cannot know (C6).
func Repeated(ctx context.Context, t testing.TB, stream string) (data [][]byte) {
	t.Helper()
	client := kinesis.NewFromConfig(Config(t))
	shards, err := client.ListShards(ctx, &kinesis.ListShardsInput{StreamName: &stream})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range shards.Shards {
		seen := map[string]bool{}
		start, err := client.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{
			StreamName: &stream, ShardId: s.ShardId, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
		})
		if err != nil {
			t.Fatal(err)
		}
		for next := start.ShardIterator; next != nil; {
			page, err := client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: next})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Records {
				if seen[string(r.Data)] {
					data = append(data, r.Data)
				}
				seen[string(r.Data)] = true
			}
			if next = page.NextShardIterator; len(page.Records) == 0 {
				break
			}
		}
	}
	return data
}
