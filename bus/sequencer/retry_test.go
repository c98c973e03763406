package sequencer_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

var quiet = slog.New(slog.DiscardHandler)

// smallChunks makes every batch many chunks, groups and writes.
func smallChunks() sequencer.Config {
	return sequencer.Config{ChunkRecords: 3, GroupBytes: 900, Parallel: 1, Now: frozen, Logger: quiet}
}

// batchOf returns records 0..n-1 of a shard, each with four events of queue q, two of queue r and a broken line.
func batchOf(n int) sequencer.Batch {
	b := sequencer.Batch{Shard: "shard-0"}
	for i := range n {
		b.Records = append(b.Records, zipped(i+1,
			line("q", 4*i), line("r", 2*i), line("q", 4*i+1), "{broken\n", line("q", 4*i+2), line("r", 2*i+1), line("q", 4*i+3)))
	}
	return b
}

func part(b sequencer.Batch, from, to int) sequencer.Batch {
	return sequencer.Batch{Shard: b.Shard, Records: b.Records[from:to]}
}

func checkAll(t *testing.T, st store.Store, n int) {
	t.Helper()
	if got := numbers(t, st, "q"); got != upTo(4*n) {
		t.Errorf("queue q holds %s", got)
	}
	if got := numbers(t, st, "r"); got != upTo(2*n) {
		t.Errorf("queue r holds %s", got)
	}
	if ids, _ := stored(t, st, deadletter.Queue); len(ids) != n {
		t.Errorf("%d dead letters, want %d", len(ids), n)
	}
}

// TestACrashBetweenAnyTwoWritesLosesAndRepeatsNothing is W-D1: whatever a crashed attempt left, and however the retry cuts the
// batch, every event is there once and in order.
func TestACrashBetweenAnyTwoWritesLosesAndRepeatsNothing(t *testing.T) {
	const n = 6
	batch := batchOf(n)
	retries := map[string][][2]int{
		"same batch":        {{0, n}},
		"bisected":          {{0, n / 2}, {n / 2, n}},
		"one by one":        {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}},
		"delivered twice":   {{0, n}, {0, n}},
		"overlapping again": {{0, 4}, {2, 5}, {1, n}},
	}
	for name, cuts := range retries {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s after=%v", name, after), func(t *testing.T) {
				for k := 1; ; k++ {
					st := memory.New(memory.Options{Now: frozen})
					st.Atomic = nil
					_, err := sequencer.New(crashing(st, k, after), smallChunks()).Process(t.Context(), batch)
					for _, cut := range cuts {
						res, err := sequencer.New(st, smallChunks()).Process(t.Context(), part(batch, cut[0], cut[1]))
						if err != nil {
							t.Fatalf("crash at write %d, retry %v: %v", k, cut, err)
						}
						if res.Done != cut[1]-cut[0] {
							t.Fatalf("crash at write %d: %d of %v done", k, res.Done, cut)
						}
					}
					checkAll(t, st, n)
					if t.Failed() {
						t.Fatalf("after a crash at write %d", k)
					}
					if err == nil {
						if k < 20 {
							t.Fatalf("only %d writes were tried", k)
						}
						return
					}
				}
			})
		}
	}
}

// TestTheRetryOfABatchWritesTheSameIDs is rule 2: the base of a batch is kept and found again.
func TestTheRetryOfABatchWritesTheSameIDs(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	batch := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1, line("q", 0), line("q", 1))}}
	if _, err := sequencer.New(crashing(st, 2, true), smallChunks()).Process(t.Context(), batch); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	page, err := st.Chunks.Query(t.Context(), "q", "", "z0", 0, 0)
	if err != nil || len(page.Chunks) != 1 {
		t.Fatal(page, err)
	}
	later := smallChunks()
	later.Now = func() time.Time { return frozen().Add(time.Hour) }
	if _, err := sequencer.New(st, later).Process(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	q, err := st.Queues.Get(t.Context(), "q")
	if err != nil || q.Head != page.Chunks[0].End {
		t.Errorf("head %s, the first attempt wrote %s, %v", q.Head, page.Chunks[0].End, err)
	}
}

func TestABatchThatIsDeliveredAgainIsPublishedOnce(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	seq := sequencer.New(st, smallChunks())
	first, err := seq.Process(t.Context(), batchOf(5))
	if err != nil {
		t.Fatal(err)
	}
	second, err := seq.Process(t.Context(), batchOf(5))
	if err != nil {
		t.Fatal(err)
	}
	if first.Events != 35 || second.Events != 0 || second.Repeats != 35 || second.Done != 5 {
		t.Errorf("%+v, then %+v", first, second)
	}
	checkAll(t, st, 5)
}

// TestTwoShardsWithOneQueueDoNotCollide is W-D3.
func TestTwoShardsWithOneQueueDoNotCollide(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	for i, shard := range []string{"shard-0", "shard-1", "shard-0", "shard-1"} {
		b := sequencer.Batch{Shard: shard, Records: []sequencer.Record{plain(7, line("q", i))}}
		b.Records[0].Sequence = fmt.Sprint(i)
		b.Records[0].Arrival = 1704164645678 // All in the same ms.
		if _, err := sequencer.New(st, smallChunks()).Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if got := numbers(t, st, "q"); got != upTo(4) {
		t.Errorf("queue q holds %s", got)
	}
}

// TestASlowShardPublishesAboveTheHead is W-D4: ids at or below a head that readers may have seen are never added.
func TestASlowShardPublishesAboveTheHead(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	early := sequencer.Batch{Shard: "slow", Records: []sequencer.Record{plain(1, line("q", 1))}}
	late := sequencer.Batch{Shard: "fast", Records: []sequencer.Record{plain(1, line("q", 0))}}
	late.Records[0].Arrival += 60_000
	for _, b := range []sequencer.Batch{late, early} {
		if _, err := sequencer.New(st, smallChunks()).Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if got := numbers(t, st, "q"); got != upTo(2) {
		t.Errorf("queue q holds %s", got)
	}
}

// TestASequencerWhoseClaimWasTakenOverStartsAnew is rule 7: the one who lost the fence claims again.
func TestASequencerWhoseClaimWasTakenOverStartsAnew(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	taken := false
	inner := st
	slow := st
	slow.Queues = beforeAdvance{st.Queues, func() {
		if taken {
			return
		}
		taken = true
		// While the slow one is about to publish, its lease ends and another publishes.
		cfg := smallChunks()
		cfg.Now = func() time.Time { return frozen().Add(time.Hour) }
		b := sequencer.Batch{Shard: "other", Records: []sequencer.Record{plain(1, line("q", 0))}}
		if _, err := sequencer.New(inner, cfg).Process(t.Context(), b); err != nil {
			t.Error(err)
		}
	}}
	b := sequencer.Batch{Shard: "slow", Records: []sequencer.Record{plain(1, line("q", 1), line("q", 2))}}
	res, err := sequencer.New(slow, smallChunks()).Process(t.Context(), b)
	if err != nil || res.Events != 2 {
		t.Fatal(res, err)
	}
	if got := numbers(t, st, "q"); got != upTo(3) {
		t.Errorf("queue q holds %s", got)
	}
}

type beforeAdvance struct {
	store.Queues
	fn func()
}

func (p beforeAdvance) Advance(ctx context.Context, a store.Advance) error {
	p.fn()
	return p.Queues.Advance(ctx, a)
}
