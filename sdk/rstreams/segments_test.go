package rstreams_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

const (
	snapshotDir  = "z/2026/11/19/00/00/"
	archiveStart = 1795132800000 // 2026-11-20, in ms
)

// segmented returns a bus whose queue q has a snapshot (events 0 to 5), an archive (6 to 13) and live events (14 to 19), and
// the ids under which they are delivered.
func segmented(t *testing.T) (*rstreamstest.Bus, []string) {
	t.Helper()
	clock := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	bus := rstreamstest.NewWith(t, rstreamstest.Options{Now: func() time.Time { return clock }})
	st, ctx := bus.Store(), t.Context()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	line := func(i int, id string) string {
		return fmt.Sprintf(`{"id":"b","event":"q","payload":{"i":%d},"eid":%s}`+"\n", i, id)
	}
	var ids []string

	// The snapshot: two inline chunks of three events.
	for c := range 2 {
		var text strings.Builder
		var names []string
		for k := range 3 {
			text.WriteString(line(3*c+k, fmt.Sprint(k)))
			names = append(names, fmt.Sprintf("%s%d-%07d", snapshotDir, 1795100000000+c, k))
			ids = append(ids, eid.SnapshotPrefix+names[k])
		}
		gz := chunk.AppendGzip(nil, []byte(text.String()))
		check(st.Chunks.Put(ctx, []store.Chunk{{
			Queue: "q/_snapshot", Start: names[0], End: names[2], Records: 3, Size: int64(text.Len()), GzipSize: int64(len(gz)), Gzip: gz,
		}}))
	}
	check(st.Queues.SetSnapshot(ctx, "q", eid.SnapshotPrefix+snapshotDir, snapshotDir))

	// The archive: an object of two sections of four events, whose lines carry their ids.
	var body bytes.Buffer
	var offsets []store.Offset
	size := int64(0)
	for s := range 2 {
		var text strings.Builder
		first := len(ids)
		for k := range 4 {
			id, err := eid.New(archiveStart+int64(s), k)
			check(err)
			text.WriteString(line(6+4*s+k, `"`+id.String()+`"`))
			ids = append(ids, id.String())
		}
		gz := chunk.AppendGzip(nil, []byte(text.String()))
		offsets = append(offsets, store.Offset{
			Event: "q", StartID: ids[first], EndID: ids[first+3], Records: 4, Size: int64(text.Len()), GzipSize: int64(len(gz)),
			Offset: size, GzipOffset: int64(body.Len()),
		})
		body.Write(gz)
		size += int64(text.Len())
	}
	gzipSize := int64(body.Len())
	blob, _, err := st.Blobs.Put(ctx, "bus/_archive/q=q/dt=2026-11-21/1-0000001-x.gz", &body)
	check(err)
	check(st.Chunks.Put(ctx, []store.Chunk{{
		Queue: "q/_archive", Start: ids[6], End: ids[13], Records: 8, Size: size, GzipSize: gzipSize, Blob: &blob, Offsets: offsets, Archive: true,
	}}))
	check(st.Queues.SetArchive(ctx, "q", ids[13]))

	for i := 14; i < 20; i += 3 {
		ids = append(ids, bus.Put("q", numbers(20)[i:i+3]...)...)
	}
	return bus, ids
}

func TestSnapshotArchiveAndLiveFollowOneAnother(t *testing.T) {
	bus, want := segmented(t)
	ids, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/"}))
	if err != nil {
		t.Fatal(err)
	}
	wantRange(t, values, 0, 20)
	if !slices.Equal(ids, want) {
		t.Fatalf("got %v\nwant %v", ids, want)
	}
	_, values, err = read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", NoSnapshot: true}))
	if err != nil {
		t.Fatal(err)
	}
	wantRange(t, values, 6, 20)
}

func TestReadResumesInAndBetweenSegments(t *testing.T) {
	bus, ids := segmented(t)
	for i, id := range ids {
		_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: id}))
		if err != nil {
			t.Fatalf("after %s: %v", id, err)
		}
		wantRange(t, values, i+1, 20)
		// The same through a checkpoint, with a limit and an end on the way.
		bot := fmt.Sprint("bot", i)
		r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Bot: bot, From: rstreams.Earliest(), Limit: int64(i + 1)})
		if _, values, err = read(r); err != nil || r.Position() != id {
			t.Fatal(values, r.Position(), err)
		}
		if err := r.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, values, err = read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Bot: bot})); err != nil {
			t.Fatal(err)
		}
		wantRange(t, values, i+1, 20)
		r = newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", End: id})
		if _, values, err = read(r); err != nil || r.Reason() != rstreams.EndReached && i < 19 {
			t.Fatal(values, r.Reason(), err)
		}
		wantRange(t, values, 0, i+1)
		e, err := bus.Get(t.Context(), "q", id)
		if err != nil || e.EID != id {
			t.Fatal(e, err)
		}
	}
}

func TestPositionsInAnotherSnapshotStartTheRegisteredOne(t *testing.T) {
	bus, _ := segmented(t)
	old := eid.SnapshotPrefix + "z/2026/11/18/00/00/1795000000000-0000004"
	for _, start := range []string{old, "_snapshot/z/", eid.SnapshotPrefix + snapshotDir} {
		_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: start}))
		if err != nil {
			t.Fatal(err)
		}
		wantRange(t, values, 0, 20)
	}
	bus.Put("plain", number{1})
	_, _, err := read(newReader(t, bus.Bus, "plain", rstreams.ReadOptions{Start: old}))
	if !errors.Is(err, rstreams.ErrNoSnapshot) {
		t.Fatal(err)
	}
}

func TestMissingPartsOfSnapshotAndArchiveAreGaps(t *testing.T) {
	for _, queue := range []string{"q/_snapshot", "q/_archive"} {
		bus, ids := segmented(t)
		// The head of the snapshot's queue proves how far it goes.
		grant, err := bus.Store().Queues.Claim(t.Context(), store.Claim{Queue: "q/_snapshot", Owner: "o", Arrival: 1, Now: 1, Lease: 1})
		if err != nil {
			t.Fatal(err)
		}
		err = bus.Store().Queues.Advance(t.Context(), store.Advance{
			Queue: "q/_snapshot", Fence: grant.Fence, Head: strings.TrimPrefix(ids[5], eid.SnapshotPrefix), Now: 1,
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/"})); err != nil || len(values) != 20 {
			t.Fatal(values, err)
		}
		chunks := chunksOf(t, bus, queue)
		if err := bus.Store().Chunks.Delete(t.Context(), queue, []string{chunks[len(chunks)-1].End}); err != nil {
			t.Fatal(err)
		}
		start := map[string]string{"q/_snapshot": "z/", "q/_archive": ids[8]}[queue]
		for _, end := range []string{"", ids[13], ids[19], "z/9999"} {
			for _, byChunk := range []bool{false, true} {
				_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: start, End: end, EndByChunk: byChunk}))
				if !errors.Is(err, rstreams.ErrGap) {
					t.Fatalf("%s, end %q: %v %v", queue, end, values, err)
				}
			}
		}
		if queue != "q/_snapshot" {
			continue
		}
		// An end within the snapshot, before what is missing and behind it.
		if _, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: start, End: ids[2]})); err != nil || len(values) != 3 {
			t.Fatal(values, err)
		}
		_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: start, End: ids[5]}))
		if !errors.Is(err, rstreams.ErrGap) {
			t.Fatal(values, err)
		}
	}
}

func TestDamagedArchivesAreErrors(t *testing.T) {
	for name, edit := range map[string]func(*store.Chunk){
		"sections overlap": func(c *store.Chunk) { c.Offsets[1].GzipOffset-- },
		"a section is gone": func(c *store.Chunk) {
			c.Offsets = c.Offsets[:1]
		},
		"records do not add up": func(c *store.Chunk) { c.Offsets[0].Records++ },
		"it is no archive":      func(c *store.Chunk) { c.Archive = false },
	} {
		bus, _ := segmented(t)
		c := chunksOf(t, bus, "q/_archive")[0]
		edit(&c)
		if err := bus.Store().Chunks.Put(t.Context(), []store.Chunk{c}); err != nil {
			t.Fatal(err)
		}
		_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/"}))
		if !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v, %v", name, values, err)
		}
	}
}
