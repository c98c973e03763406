package sqlite_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/sqlite"
)

// perChunk is the events of a chunk of about 200 KiB of text, some 30 kB compressed.
const perChunk = 600

func benchChunk(queue string, n int) store.Chunk {
	gzip := make([]byte, 30_000)
	r := rand.NewChaCha8([32]byte{byte(n)})
	_, _ = r.Read(gzip)
	start, _ := eid.New(1_795_228_519_000+int64(n), 0)
	end, _ := start.Add(perChunk - 1)
	return store.Chunk{Queue: queue, Start: start.String(), End: end.String(), Records: perChunk,
		Size: 200 << 10, GzipSize: int64(len(gzip)), Gzip: gzip, Expires: 4_000_000_000}
}

// BenchmarkPut is what the embedded bus does for each group of records: claim, put, advance and statistics in one durable
// transaction.
func BenchmarkPut(b *testing.B) {
	for _, chunks := range []int{1, 4} {
		b.Run(fmt.Sprintf("chunks=%d", chunks), func(b *testing.B) {
			s := open(b, b.TempDir(), sqlite.Options{}).Store()
			ctx := b.Context()
			if err := s.Bots.Register(ctx, store.Registration{ID: "bot"}); err != nil {
				b.Fatal(err)
			}
			list := make([]store.Chunk, chunks)
			n := 0
			b.SetBytes(int64(chunks) * 200 << 10)
			for b.Loop() {
				b.StopTimer()
				for i := range list {
					n++
					list[i] = benchChunk("queue", n)
				}
				head := list[len(list)-1].End
				b.StartTimer()
				err := s.Atomic(ctx, func(ctx context.Context, tx store.Store) error {
					g, err := tx.Queues.Claim(ctx, store.Claim{
						Queue: "queue", Owner: "o", Shard: "s", First: fmt.Sprint(n), Arrival: 1, Now: 1, Lease: 1000})
					if err != nil {
						return err
					}
					if err := tx.Chunks.Put(ctx, list); err != nil {
						return err
					}
					err = tx.Queues.Advance(ctx, store.Advance{
						Queue: "queue", Fence: g.Fence, Head: head, Shard: "s", Through: fmt.Sprint(n), Now: 1})
					if err != nil {
						return err
					}
					return tx.Bots.Produced(ctx, []store.Produced{{Bot: "bot", Ref: "queue:queue", Checkpoint: store.Checkpoint{Position: head}}})
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N*chunks*perChunk)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

// BenchmarkQuery scans a queue page by page.
func BenchmarkQuery(b *testing.B) {
	s := open(b, b.TempDir(), sqlite.Options{}).Store()
	ctx := b.Context()
	const chunks = 1000
	for i := 0; i < chunks; i += 100 {
		var list []store.Chunk
		for j := range 100 {
			list = append(list, benchChunk("queue", i+j))
		}
		if err := s.Chunks.Put(ctx, list); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(chunks * 200 << 10)
	for b.Loop() {
		n, after := 0, ""
		for more := true; more; {
			p, err := s.Chunks.Query(ctx, "queue", after, "z/9", 0, 0)
			if err != nil {
				b.Fatal(err)
			}
			n += len(p.Chunks)
			after, more = p.Chunks[len(p.Chunks)-1].End, p.More
		}
		if n != chunks {
			b.Fatalf("read %d chunks of %d", n, chunks)
		}
	}
	b.ReportMetric(float64(b.N*chunks*perChunk)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkCheckpoint is a bot's own write, alone and with others.
func BenchmarkCheckpoint(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("bots=%d", writers), func(b *testing.B) {
			s := open(b, b.TempDir(), sqlite.Options{}).Store()
			b.SetParallelism((writers + 1) / 2)
			var id = make(chan int, writers*2)
			for i := range writers * 2 {
				id <- i
			}
			b.RunParallel(func(pb *testing.PB) {
				bot, at := fmt.Sprint("bot", <-id), ""
				for n := 0; pb.Next(); n++ {
					next := fmt.Sprintf("z/%07d", n)
					err := s.Bots.Checkpoint(b.Context(), store.CheckpointWrite{
						Bot: bot, Ref: "queue:q", Expected: at, Checkpoint: store.Checkpoint{Position: next}})
					if err != nil {
						b.Error(err)
						return
					}
					at = next
				}
			})
		})
	}
}

// BenchmarkRun is a run's lock, start and end.
func BenchmarkRun(b *testing.B) {
	s := open(b, b.TempDir(), sqlite.Options{}).Store()
	ctx := b.Context()
	if err := s.Bots.Register(ctx, store.Registration{ID: "bot", Triggers: []string{"a", "b"}}); err != nil {
		b.Fatal(err)
	}
	at := int64(0)
	for b.Loop() {
		l := store.Lock{Bot: "bot", Seen: at, At: at + 1, Progress: map[string]string{"queue:a": "z/"}}
		at++
		if err := s.Bots.Lock(ctx, l); err != nil {
			b.Fatal(err)
		}
		if err := s.Bots.Confirm(ctx, store.Confirm{Bot: "bot", Token: at, RequestID: "r", At: at}); err != nil {
			b.Fatal(err)
		}
		if err := s.Bots.Complete(ctx, store.Complete{Bot: "bot", Token: at, RequestID: "r", At: at}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFeedPoll is one look for other processes' commits: what waiting costs, 250 times a second.
func BenchmarkFeedPoll(b *testing.B) {
	s := open(b, b.TempDir(), sqlite.Options{}).Store()
	_, cursor, err := s.Feed.Changes(b.Context(), "", 1)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, _, err := s.Feed.Changes(b.Context(), cursor, 10); err != nil {
			b.Fatal(err)
		}
	}
}
