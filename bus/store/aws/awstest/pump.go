package awstest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	kin "github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/rstreams-go/rstreams/bus/sequencer"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
)

// Pump reads every shard of the bus's intake stream from its beginning and sequences what comes, one batch of a shard at a time
// as the deployed Lambda does, until the test ends or stop is called; stop waits until it has ended. Shards that come later are
// not read. A failure of the sequencer is a failure of the test.
func Pump(t testing.TB, bus *awsbus.Bus, seq *sequencer.Sequencer) (stop func()) {
	t.Helper()
	client := kinesis.NewFromConfig(Config(t))
	stream := bus.Resources().LeoKinesisStream
	list, err := client.ListShards(t.Context(), &kinesis.ListShardsInput{StreamName: &stream})
	if err != nil {
		t.Fatalf("list the shards of %s: %v", stream, err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var shards sync.WaitGroup
	for _, s := range list.Shards {
		shards.Go(func() {
			if err := pumpShard(ctx, client, stream, *s.ShardId, seq); err != nil && ctx.Err() == nil {
				t.Errorf("shard %s of %s: %v", *s.ShardId, stream, err)
			}
		})
	}
	stop = func() {
		cancel()
		shards.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// pumpShard sequences a shard until ctx ends.
func pumpShard(ctx context.Context, client *kinesis.Client, stream, shard string, seq *sequencer.Sequencer) error {
	in := &kinesis.GetShardIteratorInput{StreamName: &stream, ShardId: &shard, ShardIteratorType: kin.ShardIteratorTypeTrimHorizon}
	for {
		it, err := client.GetShardIterator(ctx, in)
		if err != nil {
			return err
		}
		next := it.ShardIterator
		for next != nil {
			out, err := client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: next})
			if expired, ok := errors.AsType[*kin.ExpiredIteratorException](err); ok && expired != nil {
				break
			}
			if err != nil {
				return err
			}
			if n := len(out.Records); n > 0 {
				b := sequencer.Batch{Shard: shard}
				for _, r := range out.Records {
					b.Records = append(b.Records, sequencer.Record{
						Sequence: *r.SequenceNumber, Arrival: r.ApproximateArrivalTimestamp.UnixMilli(), Data: r.Data,
					})
				}
				if _, err := seq.Process(ctx, b); err != nil {
					return err
				}
				in.ShardIteratorType = kin.ShardIteratorTypeAfterSequenceNumber
				in.StartingSequenceNumber = out.Records[n-1].SequenceNumber
			} else {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(poll):
				}
			}
			next = out.NextShardIterator
		}
		if next == nil {
			return nil // The shard is closed.
		}
	}
}
