package sequencer_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// Whatever a producer writes, the next batch of the same queues must pass.

func pass(t *testing.T, st store.Store, records ...sequencer.Record) {
	t.Helper()
	process(t, st, sequencer.Config{}, sequencer.Batch{Shard: "s", Records: records})
}

func TestASnapshotOfAnImpossibleTimeIsADeadLetter(t *testing.T) {
	for _, ms := range []string{"253402300800000", "9007199254740991", "-62198755200001", "-5", "1e18"} {
		st := memory.New(memory.Options{Now: frozen})
		odd := fmt.Sprintf(`{"id":"b","event":"q","snapshot":%s,"payload":{"n":1}}`+"\n", ms)
		pass(t, st, plain(1, odd))
		pass(t, st, plain(2, odd, `{"id":"b","event":"q","snapshot":1704164645000,"payload":{"n":2}}`+"\n", line("q", 3)))
		if got := letters(t, st); len(got) != 2 || got[0].Reason != deadletter.ReasonEvent || string(got[0].Bytes()) != strings.TrimSpace(odd) {
			t.Errorf("snapshot %s: the letters are %+v", ms, got)
		}
		if got := numbers(t, st, "q"+store.SnapshotSuffix); got != "2" {
			t.Errorf("snapshot %s: the snapshot has %q", ms, got)
		}
	}
}

func TestARegisteredSnapshotOfAnImpossibleTimeIsADeadLetter(t *testing.T) {
	for _, next := range []string{"1e300", "253402300800000", "-1e17", `"9999-01-01T00:00:00Z"`} {
		st := memory.New(memory.Options{Now: frozen})
		pass(t, st, plain(1, line("q", 0),
			fmt.Sprintf(`{"_cmd":"registerSnapshot","id":"b","event":"q","start":1704164645000,"next":%s}`+"\n", next)))
		row, err := st.Queues.Get(t.Context(), "q")
		if err != nil || row.SnapshotStart != "" || row.SnapshotNext != "" {
			t.Errorf("next %s: registered %q to %q, %v", next, row.SnapshotStart, row.SnapshotNext, err)
		}
		if n := len(letters(t, st)); n != 1 {
			t.Errorf("next %s: %d letters", next, n)
		}
	}
}

func TestALargeEventOfAQueueWithALongNameIsStored(t *testing.T) {
	queue := strings.Repeat("ü/..", 400)
	noise := make([]byte, 550<<10)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[r.IntN(64)]
	}
	st := memory.New(memory.Options{Now: frozen})
	pass(t, st, plain(1, fmt.Sprintf(`{"id":"b","event":%q,"payload":{"n":7},"x":%q}`+"\n", queue, noise)))
	chunks := chunksOf(t, st, queue)
	if len(chunks) != 1 || chunks[0].Blob == nil {
		t.Fatalf("want one chunk in a blob, got %d chunks", len(chunks))
	}
	if got := numbers(t, st, queue); got != "7" {
		t.Errorf("read %q", got)
	}
}

func TestADeadLetterIsNotMuchLongerThanWhatItHolds(t *testing.T) {
	for name, c := range map[string]string{
		"control characters": "\x01", "markup": "<", "quotes": `"`, "text": "x", "bytes": "\xff", "separators": "\u2028",
	} {
		raw := strings.Repeat(c, (15<<20)/len(c))
		st := memory.New(memory.Options{Now: frozen})
		pass(t, st, zipped(1, raw+"\n", line("q", 1)))
		_, lines := stored(t, st, deadletter.Queue)
		if len(lines) != 1 {
			t.Fatalf("%s: %d letters", name, len(lines))
		}
		if limit := 22 << 20; len(lines[0]) > limit {
			t.Errorf("%s: the letter has %d bytes: readers do not take more than %d", name, len(lines[0]), limit)
		}
		if got := letters(t, st)[0].Bytes(); !bytes.Equal(got, []byte(raw)) {
			t.Errorf("%s: the letter holds %d bytes, not the %d of the input", name, len(got), len(raw))
		}
	}
}

// A shard that lags, or a clock that is set back, brings records that arrived before those that are published already.
func TestChunksExpireInTheOrderOfTheQueue(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	late := plain(9, line("q", 0))
	early := plain(1, line("q", 1))
	early.Arrival -= 3 * 24 * 3600 * 1000
	process(t, st, sequencer.Config{}, sequencer.Batch{Shard: "fast", Records: []sequencer.Record{late}})
	process(t, st, sequencer.Config{}, sequencer.Batch{Shard: "slow", Records: []sequencer.Record{early}})
	got := chunksOf(t, st, "q")
	if len(got) != 2 || got[0].Expires > got[1].Expires {
		t.Errorf("%+v", got)
	}
}
