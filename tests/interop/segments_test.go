//go:build aws

package interop

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// putChunk stores an inline chunk of lines whose first id is the given one, and moves the queue's head to its last.
func (w *world) putChunk(queue string, first eid.ID, lines string, records int) (last string) {
	w.Helper()
	end, err := first.Add(records - 1)
	w.ok(err)
	gz := chunk.AppendGzip(nil, []byte(lines))
	w.ok(w.store.Chunks.Put(w.Context(), []store.Chunk{{
		Queue: queue, Start: first.String(), End: end.String(), Records: int64(records), Size: int64(len(lines)), GzipSize: int64(len(gz)), Gzip: gz,
	}}))
	if strings.HasSuffix(queue, store.SnapshotSuffix) {
		return end.String()
	}
	g, err := w.store.Queues.Claim(w.Context(), store.Claim{Queue: queue, Owner: "interop", Now: time.Now().UnixMilli(), Lease: 60_000})
	w.ok(err)
	w.ok(w.store.Queues.Advance(w.Context(), store.Advance{Queue: queue, Fence: g.Fence, Head: end.String(), Now: time.Now().UnixMilli()}))
	return end.String()
}

// lines returns numbered event lines; id gives the eid member of each.
func lines(queue string, from, count int, id func(i int) string) string {
	var b strings.Builder
	for i := range count {
		fmt.Fprintf(&b, `{"id":"b","event":%q,"payload":{"n":%d},"eid":%s}`+"\n", queue, from+i, id(i))
	}
	return b.String()
}

// putSnapshot gives queue a snapshot of count events n = from…, in chunks of three, and returns where they are.
func (w *world) putSnapshot(queue string, at time.Time, from, count int) []place {
	w.Helper()
	dir := eid.MinutePath(at.UnixMilli())
	var out []place
	for i := 0; i < count; i += 3 {
		first, err := eid.New(time.Now().UnixMilli()+int64(i), 0)
		w.ok(err)
		first.Path = dir
		size := min(3, count-i)
		w.putChunk(queue+store.SnapshotSuffix, first, lines(queue, from+i, size, func(k int) string { return fmt.Sprint(k) }), size)
		for k := range size {
			id, err := first.Add(k)
			w.ok(err)
			out = append(out, place{eid.SnapshotPrefix + id.String(), from + i + k})
		}
	}
	next := eid.MinutePath(at.Add(time.Minute).UnixMilli())
	w.ok(w.store.Queues.SetSnapshot(w.Context(), queue, eid.SnapshotPrefix+dir, next))
	return out
}

// putArchive gives queue an archive of count events n = from…, an object of sections of four, and returns where they are.
func (w *world) putArchive(queue string, at time.Time, from, count int) []place {
	w.Helper()
	var body bytes.Buffer
	var offsets []store.Offset
	var out []place
	size := int64(0)
	for i := 0; i < count; i += 4 {
		n := min(4, count-i)
		first, err := eid.New(at.UnixMilli()+int64(i), 0)
		w.ok(err)
		ids := make([]string, n)
		for k := range ids {
			id, err := first.Add(k)
			w.ok(err)
			ids[k] = id.String()
			out = append(out, place{ids[k], from + i + k})
		}
		text := lines(queue, from+i, n, func(k int) string { return `"` + ids[k] + `"` })
		gz := chunk.AppendGzip(nil, []byte(text))
		offsets = append(offsets, store.Offset{
			Event: queue, StartID: ids[0], EndID: ids[n-1], Records: int64(n), Size: int64(len(text)), GzipSize: int64(len(gz)),
			Offset: size, GzipOffset: int64(body.Len()),
		})
		size += int64(len(text))
		body.Write(gz)
	}
	total := int64(body.Len())
	blob, _, err := w.store.Blobs.Put(w.Context(), "bus/_archive/q="+queue+"/dt=2026-11-21/1-0000001-x.gz", &body)
	w.ok(err)
	w.ok(w.store.Chunks.Put(w.Context(), []store.Chunk{{
		Queue: queue + store.ArchiveSuffix, Start: out[0].EID, End: out[count-1].EID, Records: int64(count), Size: size, GzipSize: total,
		Blob: &blob, Offsets: offsets, Archive: true,
	}}))
	w.ok(w.store.Queues.SetArchive(w.Context(), queue, out[count-1].EID))
	return out
}

// bothRead checks that both sides read want after start.
func (w *world) bothRead(queue, start string, want []place) {
	w.Helper()
	if got := places(w.read(queue, rstreams.ReadOptions{Start: start})); !slices.Equal(got, want) {
		w.Fatalf("we, from %s: %v\nwant %v", start, got, want)
	}
	if got := w.nodeRead(queue, map[string]any{"start": start}); !slices.Equal(got, want) {
		w.Fatalf("Node, from %s: %v\nwant %v", start, got, want)
	}
}

func queueNames(w *world) {
	queue := w.name("names")
	w.putArchive(queue, time.Now().Add(-2*time.Hour), 0, 4)
	w.nodeWrite(w.name("writer"), queue, 4, 2, 0, nil)
	w.eventually("six events", func() bool { return len(w.read(queue, rstreams.ReadOptions{Start: "z/"})) == 6 })
	w.putSnapshot(queue, time.Now().Add(-time.Hour), 100, 3)
	for _, o := range []rstreams.ReadOptions{{Start: "z/"}, {Start: "z/", NoSnapshot: true}} {
		for _, e := range w.read(queue, o) {
			if e.Queue != queue {
				w.Errorf("event %s names queue %s", e.EID, e.Queue)
			}
		}
	}
	var theirs []map[string]any
	w.do("read", map[string]any{"bot": w.name("reader"), "queue": queue, "opts": map[string]any{"start": "z/2"}}, &theirs)
	for _, e := range theirs {
		if e["event"] != queue {
			w.Errorf("Node: event %v names queue %v", e["eid"], e["event"])
		}
	}
}

func snapshots(w *world) {
	queue := w.name("snap")
	snap := w.putSnapshot(queue, time.Now().Add(-time.Hour), 0, 7)
	w.nodeWrite(w.name("writer"), queue, 7, 5, 0, nil)
	w.published(queue, 12)
	all := places(w.read(queue, rstreams.ReadOptions{Start: "z/"}))
	w.bothRead(queue, "z/", all)
	if !slices.Equal(all[:7], snap) {
		w.Fatalf("the snapshot reads as %v, want %v", all[:7], snap)
	}
	// A checkpoint of either side inside the snapshot is where the other goes on.
	bot := w.name("bot")
	w.ok(w.sdk.Checkpoint(w.Context(), rstreams.CheckpointRequest{Bot: bot, Queue: queue, Checkpoint: rstreams.Checkpoint{Position: snap[3].EID}}))
	if got := w.nodeReadAs(bot, queue, nil); !slices.Equal(got, all[4:]) {
		w.Errorf("Node resumes in the snapshot with %v", got)
	}
	if got := places(w.read(queue, rstreams.ReadOptions{Bot: bot})); !slices.Equal(got, all[4:]) {
		w.Errorf("we resume in the snapshot with %v", got)
	}
}

func archives(w *world) {
	queue := w.name("arch")
	arch := w.putArchive(queue, time.Now().Add(-2*time.Hour), 0, 10)
	w.nodeWrite(w.name("writer"), queue, 10, 5, 0, nil)
	live := places(w.published(queue, 15))[10:]
	all := append(arch, live...)
	for i := range all {
		w.bothRead(queue, all[i].EID, all[i+1:])
	}
	w.bothRead(queue, "z/", all)
}

func allSegments(w *world) {
	queue := w.name("all")
	arch := w.putArchive(queue, time.Now().Add(-2*time.Hour), 10, 6)
	snap := w.putSnapshot(queue, time.Now().Add(-3*time.Hour), 0, 6)
	w.nodeWrite(w.name("writer"), queue, 16, 4, 0, nil)
	w.eventually("live events", func() bool { return len(w.read(queue, rstreams.ReadOptions{Start: "z/"})) == 16 })
	got := places(w.read(queue, rstreams.ReadOptions{Start: "z/"}))
	if !slices.Equal(got[:6], snap) || !slices.Equal(got[6:12], arch) || got[15].N != 19 {
		w.Fatalf("snapshot %v\narchive %v\nread %v", snap, arch, got)
	}
	// The original skips snapshot and archive where a queue has both (sdk.md 3.3): ours does not.
	for i := range got {
		if rest := places(w.read(queue, rstreams.ReadOptions{Start: got[i].EID})); !slices.Equal(rest, got[i+1:]) {
			w.Fatalf("after %s: %v", got[i].EID, rest)
		}
	}
}
