package sequencer_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// The tests of this file are of faults that the simulation (tests/sim) found.

func archivedID(n int) string { return fmt.Sprintf("z/2024/01/01/00/00/1704067200000-%07d", n) }

// noArchiveEnd is a store on which an attempt dies before it moves a queue's archive end.
type noArchiveEnd struct{ store.Queues }

func (noArchiveEnd) SetArchive(context.Context, string, string) error { return errCrash }

func TestARepeatFinishesAnArchiveThatACrashLeftWithoutItsEnd(t *testing.T) {
	first := plain(1, archiveLine("q", "bus/_archive/1", archivedID(0), archivedID(4), 5))
	for name, again := range map[string]sequencer.Record{
		"the same record":                 first,
		"a new record of the same events": plain(2, archiveLine("q", "bus/_archive/2", archivedID(0), archivedID(4), 5)),
		"a record of more events":         plain(3, archiveLine("q", "bus/_archive/3", archivedID(0), archivedID(6), 7)),
	} {
		whole := memory.New(memory.Options{Now: frozen})
		whole.Atomic = nil
		dying := whole
		dying.Queues = noArchiveEnd{whole.Queues}
		b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{first}}
		if _, err := sequencer.New(dying, sequencer.Config{Now: frozen}).Process(t.Context(), b); !errors.Is(err, errCrash) {
			t.Fatalf("the attempt should die, got %v", err)
		}
		b.Records[0] = again
		if _, err := sequencer.New(whole, sequencer.Config{Now: frozen}).Process(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if q, err := whole.Queues.Get(t.Context(), "q"); err != nil || q.ArchiveEnd != archivedID(4) {
			t.Errorf("after %s the archive ends at %q, %v", name, q.ArchiveEnd, err)
		}
	}
}

func TestAPointerPreparedAheadIsCheckedAgainstTheArchiveOfItsTurn(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	s := sequencer.New(st, sequencer.Config{Now: frozen})
	first := sequencer.Batch{Records: []sequencer.Record{plain(1, archiveLine("q", "bus/_archive/1", archivedID(0), archivedID(4), 5))}}
	second := sequencer.Batch{Records: []sequencer.Record{
		plain(2, archiveLine("q", "bus/_archive/2", archivedID(3), archivedID(7), 5), line("p", 1)),
	}}
	var prepared []*sequencer.Prepared
	for _, b := range []sequencer.Batch{first, second} {
		p, err := s.Prepare(t.Context(), b, sequencer.Cursor{})
		if err != nil {
			t.Fatal(err)
		}
		prepared = append(prepared, p)
	}
	for _, p := range prepared {
		if _, err := s.Commit(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	if got := chunksOf(t, st, "q/_archive"); len(got) != 1 || got[0].End != archivedID(4) {
		t.Errorf("the archive holds %+v", got)
	}
	if _, dead := stored(t, st, deadletter.Queue); len(dead) != 1 {
		t.Errorf("%d dead letters", len(dead))
	}
	if got := numbers(t, st, "p"); got != "1" {
		t.Errorf("queue p holds %q", got)
	}
}

// TestTheRestOfABatchMayNeedABlobInsideATransaction: what is decoded anew inside a transaction must use the transaction's
// store, as the other waits for the transaction's end.
func TestTheRestOfABatchMayNeedABlobInsideATransaction(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	r := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	for range 600_000 {
		text.WriteByte(byte('!' + 2 + r.IntN(57))) // No quote, no backslash.
	}
	big := fmt.Sprintf(`{"id":"b","event":"q","payload":{"n":1,"p":"%s"}}`+"\n", text.String())
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s := sequencer.New(st, sequencer.Config{Now: frozen})
	for _, b := range []sequencer.Batch{
		{Shard: "s", Records: []sequencer.Record{plain(1, line("q", 0))}},
		{Shard: "s", Records: []sequencer.Record{plain(1, line("q", 0)), zipped(2, big)}},
	} {
		if _, err := s.Process(ctx, b); err != nil {
			t.Fatal(err)
		}
	}
	got := chunksOf(t, st, "q")
	if len(got) != 2 || got[1].Blob == nil {
		t.Errorf("%d chunks", len(got))
	}
}
