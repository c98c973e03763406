package sequencer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// corrupt has a row that contradicts itself.
type corrupt struct {
	store.Queues
	queue map[string]bool
}

func (c corrupt) Claim(ctx context.Context, claim store.Claim) (store.Grant, error) {
	if c.queue[claim.Queue] {
		return store.Grant{}, fmt.Errorf("%w: head of queue %s", store.ErrCorrupt, claim.Queue)
	}
	return c.Queues.Claim(ctx, claim)
}

func (c corrupt) Get(ctx context.Context, queue string) (store.Queue, error) {
	if c.queue[queue] {
		return store.Queue{}, fmt.Errorf("%w: head of queue %s", store.ErrCorrupt, queue)
	}
	return c.Queues.Get(ctx, queue)
}

// together lets a store take claims of several queues with one call.
func together(st store.Store) store.Store {
	st.ClaimAll = func(ctx context.Context, claims []store.Claim) []store.Claimed {
		out := make([]store.Claimed, len(claims))
		for i, c := range claims {
			out[i].Grant, out[i].Err = st.Queues.Claim(ctx, c)
		}
		return out
	}
	return st
}

// TestAQueueWhoseRowCannotBeUsedStopsNoOther is rule 9 for what is stored: the events of that queue are kept as dead letters.
func TestAQueueWhoseRowCannotBeUsedStopsNoOther(t *testing.T) {
	for _, parallel := range []int{1, 8, 0} {
		st := memory.New(memory.Options{Now: frozen})
		st.Atomic = nil
		bad := map[string]bool{"bad": true, "worse": true, "old" + store.ArchiveSuffix: true}
		st.Queues = corrupt{st.Queues, bad}
		if parallel == 0 {
			st = together(st)
		}
		batch := sequencer.Batch{Shard: "s", Records: []sequencer.Record{
			plain(1, line("a", 0), line("bad", 0), "{broken\n", line("z", 0)),
			plain(2, line("bad", 1), line("a", 1), line("worse", 0), pointerLine("bad", 3, "")),
			plain(3, archiveLine("old", "bus/_archive/x.gz", "z/2023/01/02/03/04/1672628645678-0000000", "z/2023/01/02/03/04/1672628645678-0000001", 2)),
		}}
		cfg := smallChunks()
		cfg.Parallel = parallel
		seq := sequencer.New(st, cfg)
		res, err := seq.Process(t.Context(), batch)
		if err != nil || res.Done != 3 || res.DeadLetters != 6 || res.Events != 9 {
			t.Fatalf("%+v, %v", res, err)
		}
		if a, z := numbers(t, st, "a"), numbers(t, st, "z"); a != "0 1" || z != "0" {
			t.Errorf("queue a holds %s, z %s", a, z)
		}
		if ls := letters(t, st); len(ls) != 6 || ls[0].Queue != "bad" || string(ls[0].Bytes())+"\n" != line("bad", 0) {
			t.Errorf("letters %+v", ls)
		}
		if again, err := seq.Process(t.Context(), batch); err != nil || again.Events != 0 || len(letters(t, st)) != 6 {
			t.Errorf("again: %+v, %v", again, err)
		}
		bad[deadletter.Queue] = true
		if _, err := seq.Process(t.Context(), sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(4, "{broken\n")}}); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("a letter that cannot be stored: %v", err)
		}
	}
}

// unreadable has a chunk above the head of a queue that is no chunk.
type unreadable struct {
	store.Chunks
	queue string
}

func (u unreadable) Query(ctx context.Context, queue, after, through string, limit, maxBytes int) (store.Page, error) {
	if queue == u.queue {
		return store.Page{}, fmt.Errorf("%w: chunk", store.ErrCorrupt)
	}
	return u.Chunks.Query(ctx, queue, after, through, limit, maxBytes)
}

// TestALeftoverThatCannotBeReadStopsNoOtherQueue: who takes over after a crash looks at what is above the head.
func TestALeftoverThatCannotBeReadStopsNoOtherQueue(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	first := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1, line("a", 0), line("bad", 0))}}
	if _, err := sequencer.New(crashing(st, 3, true), smallChunks()).Process(t.Context(), first); !errors.Is(err, errCrash) {
		t.Fatal(err)
	}
	good := st.Chunks
	st.Chunks = unreadable{good, "bad"}
	res, err := sequencer.New(st, smallChunks()).Process(t.Context(), first)
	if err != nil || res.Events != 2 || res.DeadLetters != 1 {
		t.Fatalf("%+v, %v", res, err)
	}
	st.Chunks = good
	if a := numbers(t, st, "a"); a != "0" || len(letters(t, st)) != 1 {
		t.Errorf("queue a holds %s, %d letters", a, len(letters(t, st)))
	}
}
