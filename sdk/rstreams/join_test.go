package rstreams_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// A writer with a backlog fills records with what waits behind a chunk, and whatever is refused, nothing is lost, repeated or
// overtaken (W10).
func TestChunksThatWaitTogetherShareARecord(t *testing.T) {
	for seed := range uint64(10) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			fails := func(err error, p float64) error {
				if rnd.Float64() < p {
					return err
				}
				return nil
			}
			s := &scripted{
				limits: store.IntakeLimits{Records: 500, Bytes: 400_000, RecordBytes: 100_000},
				answer: func(int, int) error { return fails(store.ErrThrottled, 0.3) },
				whole:  func(int) error { return fails(errors.New("no route to host"), 0.2) },
			}
			w := newWriter(t, s, rstreams.WriterOptions{})
			const count = 600
			pad := strings.Repeat("x", 1000)
			for i := range count {
				for _, q := range []string{"a", "b"} {
					if _, err := w.PutTo(t.Context(), q, map[string]any{"i": i, "pad": pad}); err != nil {
						t.Fatal(err)
					}
				}
			}
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, r := range s.accepted {
				if len(r.Data) > 100_000 {
					t.Errorf("a record of %d bytes", len(r.Data))
				}
			}
			chunks := 2 * count * 1100 / 98_000 // that each hold less than 100,000 bytes of text
			if len(s.accepted) >= chunks {
				t.Errorf("%d records for some %d chunks", len(s.accepted), chunks)
			}
			for _, events := range s.lines(t) {
				var values []int
				for _, e := range events {
					v, err := rstreams.Decode[number](e)
					if err != nil {
						t.Fatal(err)
					}
					values = append(values, v.I)
				}
				wantRange(t, values, 0, count)
			}
		})
	}
}

// The bounds of a chunk that a program sets are those of a record.
func TestChunksWithBoundsOfTheirOwnTravelAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{limits: store.IntakeLimits{Records: 500, Bytes: 5 << 20, RecordBytes: 1 << 20}}
		w := newWriter(t, s, rstreams.WriterOptions{Queue: "q", Chunk: rstreams.ChunkOptions{Records: 10}})
		for i := range 100 {
			mustPut(t, w, "", number{i})
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(s.accepted) != 10 {
			t.Errorf("%d records of 10 events", len(s.accepted))
		}
	})
}
