package memory_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/bus/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestTheMemoryStoreKeepsThePromisesOfThePorts(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return memory.New(memory.Options{}) })
}

func chunk(end string, expires int64) store.Chunk {
	return store.Chunk{Queue: "q", Start: end, End: end, Records: 1, Gzip: []byte("x"), Expires: expires}
}

func TestChunksAreHiddenFromTheSecondTheyExpire(t *testing.T) {
	now := time.Unix(1000, 0)
	s := memory.New(memory.Options{Now: func() time.Time { return now }})
	list := []store.Chunk{chunk("z/1", 1001), chunk("z/2", 0), chunk("z/3", 1002), chunk("z/4", 1001)}
	if err := s.Chunks.Put(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	for second, want := range map[int64]int{1000: 4, 1001: 2, 1002: 1, 9999: 1} {
		now = time.Unix(second, 0)
		p, err := s.Chunks.Query(t.Context(), "q", "", "z/9", 0, 0)
		if err != nil || len(p.Chunks) != want {
			t.Errorf("at second %d %d chunks are visible, want %d, error %v", second, len(p.Chunks), want, err)
		}
	}
	now = time.Unix(9999, 0) // writing drops what has expired at the front, and nothing else
	if err := s.Chunks.Put(t.Context(), []store.Chunk{chunk("z/5", 0)}); err != nil {
		t.Fatal(err)
	}
	now = time.Unix(0, 0)
	p, err := s.Chunks.Query(t.Context(), "q", "", "z/9", 0, 0)
	if err != nil || len(p.Chunks) != 4 || p.Chunks[0].End != "z/2" {
		t.Errorf("%d chunks are left, %v", len(p.Chunks), err)
	}
}

func TestTheFeedWakesInsideABubbleAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		_, cursor, err := s.Feed.Changes(t.Context(), "", 1)
		if err != nil {
			t.Fatal(err)
		}
		woken := make(chan time.Time, 1)
		go func() {
			if err := s.Feed.Wait(t.Context(), cursor); err != nil {
				t.Error(err)
			}
			woken <- time.Now()
		}()
		synctest.Wait()
		time.Sleep(time.Hour) // of the bubble's time: nothing polls
		start := time.Now()
		if err := s.Bots.Register(t.Context(), store.Registration{ID: "b"}); err != nil {
			t.Fatal(err)
		}
		if at := <-woken; !at.Equal(start) {
			t.Errorf("woken %v later", at.Sub(start))
		}
	})
}

func TestAnAtomicCallThatSleepsDoesNotStopABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := memory.New(memory.Options{})
		order := make(chan string, 2)
		go func() {
			err := s.Atomic(t.Context(), func(ctx context.Context, tx store.Store) error {
				time.Sleep(time.Minute) // a fault that a test injects
				order <- "atomic"
				return tx.Queues.SetArchive(ctx, "q", "z/1")
			})
			if err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		if err := s.Queues.SetArchive(t.Context(), "q", "z/2"); err != nil {
			t.Error(err)
		}
		order <- "write"
		if first := <-order; first != "atomic" {
			t.Errorf("a %s went between", first)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := s.Atomic(t.Context(), func(context.Context, store.Store) error {
			if _, err := s.Queues.Get(ctx, "q"); !errors.Is(err, context.DeadlineExceeded) { // it has to wait for this
				t.Errorf("got %v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestACursorNeverGetsTooOldAndTheLogStaysShort(t *testing.T) {
	s := memory.New(memory.Options{})
	_, cursor, err := s.Feed.Changes(t.Context(), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10_000 {
		if err := s.Bots.Register(t.Context(), store.Registration{ID: fmt.Sprint("b", i%7)}); err != nil {
			t.Fatal(err)
		}
	}
	changes, _, err := s.Feed.Changes(t.Context(), cursor, 1000)
	if err != nil || len(changes) != 7 || changes[6].ID != "b3" {
		t.Errorf("got %v, %v", changes, err)
	}
}

// BenchmarkPut is what a simulation does for each batch.
func BenchmarkPut(b *testing.B) {
	s := memory.New(memory.Options{})
	n := 0
	for b.Loop() {
		n++
		head := fmt.Sprintf("z/%09d", n)
		err := s.Atomic(b.Context(), func(ctx context.Context, tx store.Store) error {
			return errors.Join(
				tx.Chunks.Put(ctx, []store.Chunk{chunk(head, 0)}),
				tx.Bots.Checkpoint(ctx, store.CheckpointWrite{Bot: "b", Ref: "queue:q", Checkpoint: store.Checkpoint{Position: head}, Force: true}))
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}

func Example() {
	ctx := context.Background()
	s := memory.New(memory.Options{})
	for i, owner := range []string{"sequencer-1", "sequencer-2"} {
		g, err := s.Queues.Claim(ctx, store.Claim{Queue: "orders", Owner: owner, Arrival: 1_795_228_519_000, Now: int64(i), Lease: 60_000})
		fmt.Println(g.Fence, err)
	}
	// Output:
	// 1 <nil>
	// 0 queue orders is sequenced by sequencer-1 until 60000
}
