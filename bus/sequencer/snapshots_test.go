package sequencer_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// snapshotLine is an event of a snapshot of queue q.
func snapshotLine(snapshot int64, n int) string {
	return strings.Replace(line("q", n), `"payload"`, fmt.Sprintf(`"snapshot":%d,"payload"`, snapshot), 1)
}

// TestSnapshotsOfOneMinuteDoNotReplaceOneAnother: their ids have the same path.
func TestSnapshotsOfOneMinuteDoNotReplaceOneAnother(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	const ms = 1_704_161_045_678
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1,
		snapshotLine(ms, 0), snapshotLine(ms+60_000, 1), snapshotLine(ms+1, 2), snapshotLine(ms, 3), snapshotLine(ms+60_001, 4))}}
	r, err := sequencer.New(st, sequencer.Config{Now: frozen, Logger: quiet}).Process(t.Context(), b)
	if err != nil || r.Events != 5 {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := numbers(t, st, "q"+store.SnapshotSuffix); got != "0 3 2 1 4" {
		t.Errorf("stored are %s", got)
	}
}

// TestALeftoverOfALargeSnapshotIsFoundWithoutASearchInAllOfIt: one that is written in many batches.
func TestALeftoverOfALargeSnapshotIsFoundWithoutASearchInAllOfIt(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	const ms, before = 7 * 60_000, 200
	for n := range before + 2 {
		to, want := st, error(nil)
		count := &searched{Chunks: st.Chunks}
		switch n {
		case before: // Chunks are stored, and no head.
			to.Queues = &headless{st.Queues}
			want = store.ErrUnavailable
		case before + 1:
			to.Chunks = count
		}
		seq := sequencer.New(to, sequencer.Config{Now: frozen, Logger: quiet})
		_, err := seq.Process(t.Context(), sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(n+1, snapshotLine(ms, n))}})
		if !errors.Is(err, want) {
			t.Fatal(err)
		}
		if count.n > 2 {
			t.Errorf("%d chunks were searched for one leftover", count.n)
		}
	}
	if got, want := numbers(t, st, "q"+store.SnapshotSuffix), upTo(before)+fmt.Sprint(" ", before+1); got != want {
		t.Errorf("stored are %s", got)
	}
}

// searched counts the chunks that queries bring.
type searched struct {
	store.Chunks
	n int
}

func (s *searched) Query(ctx context.Context, queue, after, through string, limit int, size int) (store.Page, error) {
	page, err := s.Chunks.Query(ctx, queue, after, through, limit, size)
	s.n += len(page.Chunks)
	return page, err
}

// TestLeftoversOfASnapshotAreFoundAmongItsOwnChunks: snapshots are kept for ever, and a search in all of them would outlast its claim
// some day, and every one after it.
func TestLeftoversOfASnapshotAreFoundAmongItsOwnChunks(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	at := snapshotLine
	cfg := sequencer.Config{Now: frozen, Logger: quiet}
	const minute, old = 60_000, 100
	sequence := 0
	publish := func(st store.Store, texts ...string) error {
		sequence++
		_, err := sequencer.New(st, cfg).Process(t.Context(), sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(sequence, texts...)}})
		return err
	}
	for n := range old {
		if err := publish(st, at(int64(n+1)*minute, n)); err != nil {
			t.Fatal(err)
		}
	}
	// Of two snapshots chunks are stored, and no head: the claim stays open.
	dies := st
	dies.Queues = &headless{st.Queues}
	if err := publish(dies, at(7*minute, 1000), at(200*minute, 1001)); !errors.Is(err, store.ErrUnavailable) {
		t.Fatal(err)
	}
	count := &searched{Chunks: st.Chunks}
	after := st
	after.Chunks = count
	if err := publish(after, at(300*minute, 2000)); err != nil {
		t.Fatal(err)
	}
	if count.n > 4 {
		t.Errorf("%d chunks were searched for the leftovers of two snapshots, of which one had one before", count.n)
	}
	page, err := st.Chunks.Query(t.Context(), "q"+store.SnapshotSuffix, "", "z0", 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range page.Chunks {
		for _, l := range linesOf(t, st, c) {
			if strings.Contains(l, `"n":100`) {
				got = append(got, l)
			}
		}
	}
	if len(page.Chunks) != old+1 || len(got) != 0 {
		t.Errorf("%d chunks, of them left over %q", len(page.Chunks), got)
	}
}

// headless cannot move heads.
type headless struct{ store.Queues }

func (headless) Advance(context.Context, store.Advance) error {
	return fmt.Errorf("%w: for now", store.ErrUnavailable)
}
