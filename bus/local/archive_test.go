package local_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/bus/store"
)

func TestEventsAreArchivedBeforeTheyExpire(t *testing.T) {
	var now atomic.Int64
	now.Store(time.Now().UnixMilli())
	clock := func() time.Time { return time.UnixMilli(now.Load()) }
	dir := t.TempDir()
	write := func(b *local.Bus, n int) {
		t.Helper()
		acks, err := b.Store().Intake.Put(t.Context(), []store.Record{{Data: fmt.Appendf(nil, `{"id":"b","event":"q","payload":{"n":%d}}`, n)}})
		if err != nil || acks[0].Err != nil {
			t.Fatal(err, acks)
		}
	}
	bus, err := local.Open(t.Context(), dir, local.Options{Now: clock})
	if err != nil {
		t.Fatal(err)
	}
	write(bus, 0)
	write(bus, 1)
	if err := bus.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	now.Add(2 * time.Hour.Milliseconds())
	bus, err = local.Open(t.Context(), dir, local.Options{Now: clock, Archive: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer bus.Close(t.Context())
	st := bus.Store()
	for cursor := ""; ; {
		_, next, err := st.Feed.Changes(t.Context(), cursor, 100)
		if err != nil {
			t.Fatal(err)
		}
		row, err := st.Queues.Get(t.Context(), "q")
		if err != nil {
			t.Fatal(err)
		}
		if row.ArchiveEnd != "" {
			if row.ArchiveEnd != row.Head {
				t.Errorf("archived up to %s of %s", row.ArchiveEnd, row.Head)
			}
			break
		}
		if cursor = next; st.Feed.Wait(t.Context(), cursor) != nil {
			t.Fatal("the archive does not come")
		}
	}
	page, err := st.Chunks.Query(t.Context(), "q"+store.ArchiveSuffix, "", "z0", 0, 0)
	if err != nil || len(page.Chunks) != 1 || page.Chunks[0].Records != 2 || page.Chunks[0].Expires != 0 {
		t.Errorf("%+v, %v", page, err)
	}
}
