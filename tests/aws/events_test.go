//go:build aws

package e2e

import (
	"context"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/rstreams-go/rstreams/bus/loader"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/tests/aws/internal/testbots"
)

// writer is the bot that writes the test's events.
const writer = "e2e-writer"

// orders returns the payloads of this run.
func (w *world) orders(from int) func(i int) any {
	return func(i int) any { return testbots.Order{Run: w.run, N: from + i} }
}

// numbersOf returns the numbers of events that are orders of this run.
func (w *world) numbersOf(t *testing.T, events []rstreams.Event) []int {
	t.Helper()
	out := make([]int, len(events))
	for i, o := range decode[testbots.Order](t, events) {
		if out[i] = o.N; o.Run != w.run {
			t.Fatalf("event %s is of run %q", events[i].EID, o.Run)
		}
	}
	return out
}

// Write by SDK, Kinesis, processor, trigger, a Go bot, its queue, another bot, read.
func (w *world) testPipeline(t *testing.T) {
	w.bots(t)
	const n = 2000
	w.expect(testbots.Orders, n+1)
	w.expect(testbots.Priced, n+1)
	w.expect(testbots.Shipped, n+1)
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: testbots.Orders, Chunk: rstreams.LeoChunks()}, n, w.orders(0))
	shipped := w.await(t, w.bus.Bus, testbots.Shipped, n)
	priced := w.await(t, w.bus.Bus, testbots.Priced, n)
	orders := w.await(t, w.bus.Bus, testbots.Orders, n)
	for queue, events := range map[string][]rstreams.Event{testbots.Orders: orders, testbots.Priced: priced, testbots.Shipped: shipped} {
		numbers(t, queue, w.numbersOf(t, events), n)
	}
	for i, o := range decode[testbots.Order](t, shipped) {
		if o.Price != 3*o.N {
			t.Fatalf("order %d costs %d: the bot's settings did not arrive", o.N, o.Price)
		}
		if c := shipped[i].Correlation; c == nil || c.Source != testbots.Priced || c.Start != priced[i].EID || shipped[i].Bot != testbots.Ship {
			t.Fatalf("event %s of bot %s is derived from %+v, want %s", shipped[i].EID, shipped[i].Bot, c, priced[i].EID)
		}
	}
	for _, i := range []int{0, n / 2, n - 1} {
		steps, err := w.bus.Trace(within(t), testbots.Shipped, shipped[i].EID)
		if err != nil || len(steps) != 3 || steps[1].EID != priced[i].EID || steps[2].EID != orders[i].EID || steps[2].Event.Bot != writer {
			t.Errorf("the line of event %d is %+v, %v", i, steps, err)
		}
	}

	began := time.Now()
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: testbots.Orders}, 1, w.orders(n))
	w.await(t, w.bus.Bus, testbots.Shipped, n+1)
	t.Logf("one event through two bots, with warm functions: %d ms", time.Since(began).Milliseconds())
	last := w.await(t, w.bus.Bus, testbots.Orders, n+1)[n].EID
	row := w.atRest(t, testbots.Price)
	if c := row.Read["queue:"+testbots.Orders]; c.Position != last || row.ErrorCount != 0 {
		t.Errorf("the bot is at %s after %d errors, want %s", c.Position, row.ErrorCount, last)
	}
	if p := row.Write["queue:"+testbots.Priced]; p.Position == "" {
		t.Errorf("what the bot wrote is not on its row: %+v", row.Write)
	}
}

// Order is kept for each shard, also where a queue is on two of them.
func (w *world) testShards(t *testing.T) {
	const queues, each, wide = 40, 50, 500
	name := func(i int) string { return fmt.Sprintf("e2e.shards.%s.%d", w.run, i) }
	var mu sync.Mutex
	shards := map[string]bool{}
	onAck := func(r rstreams.Receipt, _ error) {
		mu.Lock()
		defer mu.Unlock()
		shards[r.Shard] = true
	}
	ctx := within(t)
	many, err := w.bus.NewWriter(rstreams.WriterOptions{Bot: writer, Partition: rstreams.QueuePartition(), OnAck: onAck})
	if err != nil {
		t.Fatal(err)
	}
	for n := range each {
		for i := range queues {
			if _, err := many.PutTo(ctx, name(i), testbots.Order{Run: w.run, N: n}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := many.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if len(shards) < 2 {
		t.Fatalf("the queues are on shards %v, want several", shards)
	}

	// One queue, two writers, a shard each.
	both := name(queues)
	far := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 128), big.NewInt(1)).String()
	var writers sync.WaitGroup
	for shard, key := range []string{"0", far} {
		writers.Go(func() {
			bot := writer + strconv.Itoa(shard)
			put(t, w.bus.Bus, rstreams.WriterOptions{
				Bot: bot, Queue: both, Partition: rstreams.HashPartition(key), Chunk: rstreams.ChunkOptions{Records: 20},
			}, wide, w.orders(0))
		})
	}
	writers.Wait()
	for i := range queues {
		numbers(t, name(i), w.numbersOf(t, w.await(t, w.bus.Bus, name(i), each)), each)
		w.expect(name(i), each)
	}
	events := w.await(t, w.bus.Bus, both, 2*wide)
	w.expect(both, 2*wide)
	for shard := range 2 {
		own := slices.DeleteFunc(slices.Clone(events), func(e rstreams.Event) bool { return e.Bot != writer+strconv.Itoa(shard) })
		numbers(t, fmt.Sprintf("shard %d of %s", shard, both), w.numbersOf(t, own), wide)
	}
}

func (w *world) testFirehose(t *testing.T) {
	w.bots(t)
	const lines, zipped = 300, 100
	put(t, w.bus.Bus, rstreams.WriterOptions{
		Bot: writer, Queue: testbots.Delivered, Path: rstreams.PathFirehose, Chunk: rstreams.ChunkOptions{Records: 50},
	}, lines, w.orders(0))
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: testbots.Delivered, Path: rstreams.PathFirehoseGzip}, zipped, w.orders(lines))
	// Firehose promises no order between its objects.
	for _, queue := range []string{testbots.Delivered, testbots.Ingested} {
		got := w.numbersOf(t, w.await(t, w.bus.Bus, queue, lines+zipped))
		slices.Sort(got)
		numbers(t, queue, got, lines+zipped)
		w.expect(queue, lines+zipped)
	}
	cfg := awstest.Config(t)
	bucket, prefix := w.bus.resources.LeoS3, loader.Prefix
	objects := s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true })
	until(t, func(ctx context.Context) string {
		left, err := objects.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &bucket, Prefix: &prefix})
		if err != nil {
			t.Fatal(err)
		}
		if len(left.Contents) > 0 {
			return fmt.Sprintf("%d objects of Firehose are there although their events are", len(left.Contents))
		}
		return ""
	})
}

func (w *world) testSnapshot(t *testing.T) {
	const state, live = 500, 100
	queue := "e2e.snapshot." + w.run
	before := func(i int) any { return testbots.Order{Run: w.run, N: -1 - i} }
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: queue}, 10, before)
	w.await(t, w.bus.Bus, queue, 10)
	ctx := within(t)
	// A minute ahead: what was before is in the snapshot.
	next := time.Now().Truncate(time.Minute).Add(time.Minute)
	start, err := w.bus.WriteSnapshot(ctx, rstreams.SnapshotOptions{Bot: writer, Queue: queue, Next: next}, func(sctx context.Context, sw *rstreams.Writer) error {
		for i := range state {
			if _, err := sw.Put(sctx, testbots.Order{Run: w.run, N: i}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || !strings.HasPrefix(start, "_snapshot/") {
		t.Fatalf("the snapshot begins at %q, %v", start, err)
	}
	until(t, func(ctx context.Context) string {
		row, err := w.bus.Store().Queues.Get(ctx, queue)
		if err != nil {
			t.Fatal(err)
		}
		if row.SnapshotStart == "" {
			return "the snapshot is not registered"
		}
		return ""
	})
	until(t, func(context.Context) string {
		if time.Now().Before(next) {
			return "the live events of the snapshot have not begun"
		}
		return ""
	})
	// The ids of a batch are of the time at which its first record arrived. Once an event that arrived in that minute is readable, no
	// batch can be of the minute before.
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: queue}, 1, before)
	w.await(t, w.bus.Bus, queue, 11)
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: queue}, live, w.orders(state))
	w.await(t, w.bus.Bus, queue, 11+live)
	var got []rstreams.Event
	for e, err := range w.bus.Read(within(t), queue, rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, e)
	}
	all := w.numbersOf(t, got)
	if len(all) > state && all[state] < 0 {
		all = slices.Delete(all, state, state+1) // The one that may be of either minute.
	}
	numbers(t, "the snapshot and what follows", all, state+live)
}
