package sequencer_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// TestAnEventThatBecomesALetterLaterIsOne: an attempt that finds what the one before it did not find, wherever that died.
func TestAnEventThatBecomesALetterLaterIsOne(t *testing.T) {
	batch := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1, "{broken\n", line("zbad", 0), "{broken\n")}}
	for n := 1; ; n++ {
		st := memory.New(memory.Options{Now: frozen})
		st.Atomic = nil
		_, err := sequencer.New(crashing(st, n, true), smallChunks()).Process(t.Context(), batch)
		if err == nil {
			break
		}
		good := st.Chunks
		st.Chunks = unreadable{good, "zbad"}
		res, err := sequencer.New(st, smallChunks()).Process(t.Context(), batch)
		if err != nil || res.Done != 1 {
			t.Fatalf("crash after write %d: %+v, %v", n, res, err)
		}
		st.Chunks = good
		broken, bad := 0, 0
		for _, l := range letters(t, st) {
			switch l.Queue {
			case "zbad":
				bad++
			default:
				broken++
			}
		}
		if row, err := st.Queues.Get(t.Context(), "zbad"); err == nil && row.Head != "" {
			bad++
		}
		if broken != 2 || bad < 1 {
			t.Errorf("crash after write %d: %+v, %d of 2 broken lines are letters, and the event is %d times somewhere", n, res, broken, bad)
		}
	}
}

// heldOnce is a queue that another sequencer holds at first. When it is asked for again, what fn does has happened.
type heldOnce struct {
	store.Queues
	queue string
	fn    func()
	n     int
}

func (h *heldOnce) Claim(ctx context.Context, c store.Claim) (store.Grant, error) {
	if c.Queue == h.queue {
		switch h.n++; h.n {
		case 1:
			return store.Grant{}, &store.LeasedError{Queue: c.Queue, Owner: "other"}
		case 2:
			h.fn()
		}
	}
	return h.Queues.Claim(ctx, c)
}

// TestAPointerThatAnArchiveOutgrewIsALetter: others may have archived its events since the group was prepared, other letters of its
// batch may be stored before, and so may pointers before it.
func TestAPointerThatAnArchiveOutgrewIsALetter(t *testing.T) {
	id := func(n int) string { return fmt.Sprintf("z/2023/01/02/03/04/1672628645678-%07d", n) }
	pointer := func(from, to int) string { return archiveLine("x", "bus/_archive/x.gz", id(from), id(to), to-from+1) }
	for name, c := range map[string]struct {
		records   []sequencer.Record
		meanwhile []sequencer.Batch
		letters   int
	}{
		"among letters": {
			[]sequencer.Record{plain(1, "{broken\n", pointer(1, 5), "{broken too\n")},
			[]sequencer.Batch{{Shard: "o", Records: []sequencer.Record{plain(1, pointer(0, 2))}}}, 3,
		},
		"behind one that is published": {
			[]sequencer.Record{plain(1, pointer(0, 2)), plain(2, pointer(3, 7))},
			[]sequencer.Batch{
				{Shard: "s", Records: []sequencer.Record{plain(1, pointer(0, 2))}},
				{Shard: "o", Records: []sequencer.Record{plain(1, pointer(3, 5))}},
			}, 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			st := memory.New(memory.Options{Now: frozen})
			st.Atomic = nil
			cfg := sequencer.Config{Now: frozen, Logger: quiet}
			held := st
			held.Queues = &heldOnce{Queues: st.Queues, queue: "x" + store.ArchiveSuffix, fn: func() {
				for _, b := range c.meanwhile {
					if _, err := sequencer.New(st, cfg).Process(t.Context(), b); err != nil {
						t.Error(err)
					}
				}
			}}
			r, err := sequencer.New(held, cfg).Process(t.Context(), sequencer.Batch{Shard: "s", Records: c.records})
			if err != nil || r.DeadLetters != int64(c.letters) || len(letters(t, st)) != c.letters {
				t.Errorf("%+v, %v, letters %+v", r, err, letters(t, st))
			}
		})
	}
}

// TestARefusedQueueDoesNotHoldUpTheNextBatch: its claim would last as long as the lease, and be waited for.
func TestARefusedQueueDoesNotHoldUpTheNextBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.New(memory.Options{Now: time.Now})
		st.Atomic = nil
		const lease = 20 * time.Second
		process := func(st store.Store, n int) (sequencer.Result, error) {
			cfg := sequencer.Config{Logger: quiet, Owner: fmt.Sprint("invocation ", n), Lease: lease}
			return sequencer.New(st, cfg).Process(t.Context(), sequencer.Batch{Shard: "s", Records: []sequencer.Record{
				plain(n, line("a", n), line("bad", n)),
			}})
		}
		if _, err := process(crashing(st, 4, true), 0); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		time.Sleep(lease)
		st.Chunks = unreadable{st.Chunks, "bad"}
		for n := 1; n <= 3; n++ {
			began := time.Now()
			res, err := process(st, n)
			if took := time.Since(began); err != nil || res.DeadLetters != 1 || took > lease/10 {
				t.Errorf("batch %d took %v: %+v, %v", n, took, res, err)
			}
		}
	})
}
