package sequencer_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// beforePut runs fn before the first chunks are stored.
type beforePut struct {
	store.Chunks
	fn func()
}

func (p *beforePut) Put(ctx context.Context, chunks []store.Chunk) error {
	if fn := p.fn; fn != nil {
		p.fn = nil
		fn()
	}
	return p.Chunks.Put(ctx, chunks)
}

// TestChunksThatCameAfterATakeoverAreNeverRead is rule 8 where clocks disagree: whoever took the queue over, because by its clock the
// lease was over, has swept and published before the slow one stores its chunks. Nobody but the slow one knows of those.
func TestChunksThatCameAfterATakeoverAreNeverRead(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	config := func(owner string, ahead time.Duration) sequencer.Config {
		return sequencer.Config{Owner: owner, Logger: quiet, Now: func() time.Time { return frozen().Add(ahead) }}
	}
	batch := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1, line("q", 0)), plain(2, line("q", 1)), plain(3, line("q", 2))}}
	slow := st
	slow.Chunks = &beforePut{st.Chunks, func() {
		// The retry of the batch, cut shorter, under a clock that is ahead.
		if _, err := sequencer.New(st, config("quick", time.Hour)).Process(t.Context(), part(batch, 0, 1)); err != nil {
			t.Error(err)
		}
	}}
	if _, err := sequencer.New(slow, config("slow", 0)).Process(t.Context(), part(batch, 0, 2)); err != nil {
		t.Fatal(err)
	}
	if _, err := sequencer.New(st, config("next", time.Hour)).Process(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if got := numbers(t, st, "q"); got != upTo(3) {
		t.Errorf("readers get %s", got)
	}
}

// TestANameThatIsTooLongWithItsSuffixStopsNothing: the longest name that a queue can have leaves no room for that of its snapshots, and
// a key that the storage refuses would fail its batch for ever (W-P3).
func TestANameThatIsTooLongWithItsSuffixStopsNothing(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	long := strings.Repeat("q", ref.MaxQueueBytes-5)
	snapshot := strings.Replace(line(long, 0), `"payload"`, `"snapshot":1704164640000,"payload"`, 1)
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1,
		line("q", 0), snapshot, pointerLine(long, 2, `,"snapshot":1704164640000`), line(long, 0), line("q", 1),
	)}}
	process(t, st, sequencer.Config{}, b)
	if q, l := numbers(t, st, "q"), numbers(t, st, long); q != "0 1" || l != "0" {
		t.Errorf("queue q holds %s, the other %s", q, l)
	}
	if ls := letters(t, st); len(ls) != 2 || ls[0].Line != 2 || ls[1].Line != 3 {
		t.Errorf("%d letters", len(ls))
	}
}
