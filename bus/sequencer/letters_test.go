package sequencer_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
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
	const later = 1704164645678 + 60_000
	ahead := fmt.Sprintf("z/2024/01/02/03/05/%d-0000000", int64(later)) // the head of queue y, after a while
	for name, c := range map[string]struct {
		records   []sequencer.Record
		meanwhile []sequencer.Batch
		letters   int
		repeats   int64
	}{
		"among letters": {
			[]sequencer.Record{plain(1, "{broken\n", pointer(1, 5), "{broken too\n")},
			[]sequencer.Batch{{Shard: "o", Records: []sequencer.Record{plain(1, pointer(0, 2))}}}, 3, 0,
		},
		"behind what this call has published": {
			[]sequencer.Record{plain(1, line("a", 0), line("a", 1), pointer(1, 5))},
			[]sequencer.Batch{{Shard: "o", Records: []sequencer.Record{plain(1, pointer(0, 2))}}}, 1, 0,
		},
		"behind one that is published": {
			[]sequencer.Record{plain(1, pointer(0, 2)), plain(2, pointer(3, 7))},
			[]sequencer.Batch{
				{Shard: "s", Records: []sequencer.Record{plain(1, pointer(0, 2))}},
				{Shard: "o", Records: []sequencer.Record{plain(1, pointer(3, 5))}},
			}, 1, 0,
		},
		"as another pointer is good by now": {
			[]sequencer.Record{plain(1, archiveLine("y", "bus/_archive/y.gz", ahead, ahead, 1), pointer(0, 2)), plain(2, pointer(3, 7))},
			[]sequencer.Batch{
				{Shard: "s", Records: []sequencer.Record{plain(1, pointer(0, 2))}},
				{Shard: "o", Records: []sequencer.Record{{Sequence: "1", Arrival: later, Data: []byte(line("y", 0))}}},
				{Shard: "p", Records: []sequencer.Record{plain(1, pointer(3, 5))}},
			}, 1, 0,
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
			if err != nil || r.DeadLetters != int64(c.letters) || len(letters(t, st)) != c.letters || r.Repeats != c.repeats {
				t.Errorf("%+v, %v, letters %+v", r, err, letters(t, st))
			}
			if last := letters(t, st)[c.letters-1]; name != "among letters" && last.Sequence != fmt.Sprint(len(c.records)) {
				t.Errorf("the letter is of record %s", last.Sequence)
			}
		})
	}
}

// TestNoClaimOutlastsWhatItWasFor: the group is prepared again, and a queue has no part in it any more.
func TestNoClaimOutlastsWhatItWasFor(t *testing.T) {
	const lease = time.Minute
	id := func(n int) string { return fmt.Sprintf("z/2023/01/02/03/04/1672628645678-%07d", n) }
	pointer := func(from, to int) string { return archiveLine("x", "bus/_archive/x.gz", id(from), id(to), to-from+1) }
	for _, how := range []string{"a part is published", "another queue is refused"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := memory.New(memory.Options{Now: time.Now})
				st.Atomic = nil
				process := func(owner, shard string, records ...sequencer.Record) {
					cfg := sequencer.Config{Logger: quiet, Owner: owner, Lease: lease}
					if _, err := sequencer.New(st, cfg).Process(t.Context(), sequencer.Batch{Shard: shard, Records: records}); err != nil {
						t.Fatal(err)
					}
				}
				to, first := st, plain(1, line("a", 0))
				if how == "a part is published" {
					process("before", "s", first)
				} else {
					to.Queues = corrupt{st.Queues, map[string]bool{"bad": true}}
				}
				seq := sequencer.New(to, sequencer.Config{Logger: quiet, Owner: "this", Lease: lease})
				p, err := seq.Prepare(t.Context(), sequencer.Batch{Shard: "s", Records: []sequencer.Record{
					first, plain(2, line("a", 1), line("bad", 0), pointer(1, 5)),
				}}, sequencer.Cursor{})
				if err != nil {
					t.Fatal(err)
				}
				process("meanwhile", "o", plain(1, pointer(0, 2)))
				if _, err := seq.Commit(t.Context(), p); err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				process("after", "o", plain(2, pointer(6, 7)))
				if took := time.Since(began); took > lease/100 {
					t.Errorf("the archive's next pointer waited %v", took)
				}
			})
		})
	}
}

// secondBlob is a storage that cannot store the second blob.
type secondBlob struct {
	store.Blobs
	n int
}

func (s *secondBlob) Put(ctx context.Context, key string, r io.Reader) (store.BlobRef, int64, error) {
	if s.n++; s.n == 2 {
		return store.BlobRef{}, 0, store.ErrUnavailable
	}
	return s.Blobs.Put(ctx, key, r)
}

// TestABatchThatCannotBePreparedAgainLeavesNoClaims: the next invocation would wait for them.
func TestABatchThatCannotBePreparedAgainLeavesNoClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.New(memory.Options{Now: time.Now})
		st.Atomic = nil
		st.Queues, st.Blobs = corrupt{st.Queues, map[string]bool{"bad": true}}, &secondBlob{Blobs: st.Blobs}
		const lease = time.Minute
		noise := make([]byte, 600_000)
		rand.NewChaCha8([32]byte{}).Read(noise) //nolint:errcheck // It returns nil.
		batch := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1, line("a", 0), line("bad", 0),
			fmt.Sprintf(`{"id":"b","event":"large","payload":"%x"}`+"\n", noise))}}
		process := func(owner string) error {
			_, err := sequencer.New(st, sequencer.Config{Logger: quiet, Owner: owner, Lease: lease}).Process(t.Context(), batch)
			return err
		}
		if err := process("one"); !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		began := time.Now()
		if err := process("two"); err != nil || time.Since(began) > lease/10 {
			t.Errorf("the retry took %v: %v", time.Since(began), err)
		}
	})
}

// TestARefusedQueueDoesNotHoldUpTheNextBatch: its claim would last as long as the lease, and be waited for.
func TestARefusedQueueDoesNotHoldUpTheNextBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.New(memory.Options{Now: time.Now})
		st.Atomic = nil
		const lease = 20 * time.Second
		process := func(st store.Store, n int) (sequencer.Result, error) {
			cfg := sequencer.Config{Logger: quiet, Owner: fmt.Sprint("invocation ", n), Lease: lease, Parallel: 1}
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
			if took := time.Since(began); err != nil || res.DeadLetters != 1 || took > lease/100 {
				t.Errorf("batch %d took %v: %+v, %v", n, took, res, err)
			}
		}
	})
}
