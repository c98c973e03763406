package rstreams_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// TestRandomHistoriesDeliverEverythingOnceAndInOrder lets a writer and a bot that is stopped and restarted in every way take
// turns.
func TestRandomHistoriesDeliverEverythingOnceAndInOrder(t *testing.T) {
	seeds := uint64(30)
	if raceDetector {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 3))
			bus := rstreamstest.New(t)
			written, seen := 0, []int(nil)
			for range 25 {
				if rnd.IntN(2) == 0 {
					payloads := make([]any, 1+rnd.IntN(30))
					for i := range payloads {
						p := map[string]any{"i": written}
						if rnd.IntN(40) == 0 {
							p["fill"] = strings.Repeat("x", rstreams.MaxInlineEvent)
						}
						payloads[i] = p
						written++
					}
					bus.Put("q", payloads...)
				}
				o := rstreams.ReadOptions{
					Bot: "bot", From: rstreams.Earliest(), Parallel: 1 + rnd.IntN(5), Memory: 1 << (16 + rnd.IntN(8)),
				}
				switch rnd.IntN(4) {
				case 0:
					o.Limit = int64(1 + rnd.IntN(20))
				case 1:
					o.Bytes = int64(1 + rnd.IntN(2000))
				}
				r := newReader(t, bus.Bus, "q", o)
				leave := 1 + rnd.IntN(100)
				for range 1 + rnd.IntN(3) {
					for e, err := range r.All(t.Context()) {
						if err != nil {
							t.Fatal(err)
						}
						n, err := rstreams.Decode[number](e)
						if err != nil {
							t.Fatal(err)
						}
						seen = append(seen, n.I)
						if leave--; leave == 0 {
							break
						}
					}
				}
				if err := r.Checkpoint(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			_, rest, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Bot: "bot", From: rstreams.Earliest()}))
			if err != nil {
				t.Fatal(err)
			}
			wantRange(t, append(seen, rest...), 0, written)
		})
	}
}
