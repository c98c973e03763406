//go:build aws

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func shards(w *world) {
	bus := awstest.OpenWith(w, *awstest.NewWith(w, awstest.Setup{Shards: 4}))
	four := *w
	four.bus, four.store, four.started = bus, bus.Store(), nil
	four.sdk = rstreams.New(four.store, rstreams.Options{Logger: w.log})
	seen := map[string]bool{}
	for i := range 6 {
		queue := w.name(fmt.Sprint("queue", i))
		perQueue := map[string]any{"useQueuePartition": true}
		four.nodeWrite(w.name("writer"), queue, 0, 3, 0, perQueue)
		four.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: queue, Partition: rstreams.QueuePartition()}, numbered(0, 3, 0)...)
		four.nodeWrite(w.name("writer"), queue+"-single", 0, 3, 0, nil)
		four.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: queue + "-single"}, numbered(0, 3, 0)...)
	}
	for i := range 6 {
		queue := w.name(fmt.Sprint("queue", i))
		for _, q := range []string{queue, queue + "-single"} {
			records := four.sent(q)
			if len(records) != 2 {
				w.Fatalf("%s: %d records", q, len(records))
			}
			if records[0].shard != records[1].shard || records[0].key != records[1].key {
				w.Errorf("%s: shard %s by key %q and shard %s by key %q", q, records[0].shard, records[0].key, records[1].shard, records[1].key)
			}
			if want := "0"; q != queue && records[0].key != want || q == queue && records[0].key != queue {
				w.Errorf("%s: key %q", q, records[0].key)
			}
			if q == queue {
				seen[records[0].shard] = true
			} else if !strings.HasSuffix(records[0].shard, "000000000000") {
				w.Errorf("%s: shard %s is not the one of hash key 0", q, records[0].shard)
			}
		}
	}
	if len(seen) < 2 {
		w.Errorf("the queues share the shards %v", seen)
	}
	for i := range 6 { // The hash key is not in what Kinesis returns.
		tapped, t := four.tapped(nil)
		tapped.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: w.name("key"), Partition: []rstreams.Partition{rstreams.SinglePartition(), rstreams.QueuePartition()}[i%2]},
			numbered(0, 1, 0)...)
		if r := t.calls[0][0]; i%2 == 0 && (r.PartitionKey != "0" || r.HashKey != "0") || i%2 == 1 && (r.PartitionKey != w.name("key") || r.HashKey != "") {
			w.Errorf("partition key %q, hash key %q", r.PartitionKey, r.HashKey)
		}
	}
}

func oversize(w *world) {
	queue, other := w.name("writers"), w.name("own")
	long := strings.Repeat("0123456789", 70_000)
	wr, err := w.sdk.NewWriter(rstreams.WriterOptions{Bot: w.name("writer"), Queue: queue})
	w.ok(err)
	for i, q := range []string{queue, other, other, queue} {
		p := map[string]any{"n": i}
		if i%2 == 1 {
			p["long"] = long
		}
		_, err = wr.PutTo(w.Context(), q, p)
		w.ok(err)
	}
	w.ok(wr.Close(w.Context()))
	for q, want := range map[string][]int{queue: {0, 3}, other: {1, 2}} {
		all := places(w.published(q, 2))
		if got := []int{all[0].N, all[1].N}; !slices.Equal(got, want) {
			w.Errorf("%s holds %v, want %v", q, got, want)
		}
		w.bothRead(q, "z/", all)
		w.bothRead(q, all[0].EID, all[1:])
		w.pointerOf(q)
	}
	var got []struct{ Payload struct{ Long string } }
	w.do("read", map[string]any{"bot": w.name("reader"), "queue": other, "opts": map[string]any{"start": "z/"}}, &got)
	if got[0].Payload.Long != long {
		w.Errorf("Node reads %d of %d characters", len(got[0].Payload.Long), len(long))
	}
}

func refusals(w *world) {
	tapped, t := w.tapped(func(call, record int) error {
		if (call*7+record*3)%4 == 1 {
			return fmt.Errorf("%w: for the test", store.ErrThrottled)
		}
		return nil
	})
	queues := []string{w.name("a"), w.name("b"), w.name("c")}
	acked := 0
	wr, err := tapped.sdk.NewWriter(rstreams.WriterOptions{
		Bot: w.name("writer"), Queue: queues[0], Chunk: rstreams.ChunkOptions{Records: 5},
		OnAck: func(r rstreams.Receipt, err error) {
			if err == nil {
				acked += r.Events
			}
		},
	})
	w.ok(err)
	for i := range 300 {
		_, err := wr.PutTo(w.Context(), queues[i%3], map[string]any{"n": i / 3})
		w.ok(err)
	}
	w.ok(wr.Close(w.Context()))
	if acked != 300 {
		w.Errorf("%d events are acknowledged", acked)
	}
	for _, q := range queues {
		all := places(w.published(q, 100))
		w.inOrder(all, 0, 100)
		if got := w.nodeRead(q, map[string]any{"start": "z/"}); !slices.Equal(got, all) {
			w.Errorf("Node reads %v", got)
		}
	}
	w.Logf("%d calls for %d chunks", len(t.calls), 60)
}

func firehoseWrites(w *world) {
	for _, path := range []rstreams.Path{rstreams.PathFirehose, rstreams.PathFirehoseGzip} {
		queue := w.name(fmt.Sprint("firehose", path))
		w.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: queue, Path: path}, numbered(0, 50, 20)...)
		objects := w.firehoseObjects()
		for _, body := range objects {
			if !strings.HasSuffix(body, "\n") {
				w.Errorf("an object ends with %.20q", body[max(0, len(body)-20):])
			}
			for line := range strings.Lines(body) {
				// The original's loader takes what begins with { for plain text and with H for base64 of gzip.
				if want := map[rstreams.Path]byte{rstreams.PathFirehose: '{', rstreams.PathFirehoseGzip: 'H'}[path]; line[0] != want {
					w.Errorf("path %v: a line begins %.20q", path, line)
				}
			}
		}
		w.loadFirehose()
		all := places(w.published(queue, 50))
		w.inOrder(all, 0, 50)
		w.bothRead(queue, "z/", all)
		w.bothRead(queue, all[20].EID, all[21:])
	}
}

func snapshotWrites(w *world) {
	queue, bot := w.name("snap"), w.name("writer")
	w.nodeWrite(bot, queue, 100, 3, 0, nil)
	w.published(queue, 3)
	start, err := w.sdk.WriteSnapshot(w.Context(), rstreams.SnapshotOptions{
		Bot: bot, Queue: queue, Write: rstreams.WriterOptions{Blobs: rstreams.BlobOptions{SectionBytes: 200}},
	}, func(ctx context.Context, wr *rstreams.Writer) error {
		for _, p := range numbered(0, 20, 0) {
			if _, err := wr.Put(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
	w.ok(err)
	w.eventually("the snapshot's registration", func() bool {
		q, err := w.store.Queues.Get(w.Context(), queue)
		w.ok(err)
		return q.SnapshotStart != ""
	})
	q, err := w.store.Queues.Get(w.Context(), queue)
	w.ok(err)
	if q.SnapshotStart != start || !strings.HasPrefix(q.SnapshotStart, "_snapshot/z/") || !strings.HasPrefix(q.SnapshotNext, "z/") {
		w.Errorf("registered from %s on, then %s; begun at %s", q.SnapshotStart, q.SnapshotNext, start)
	}
	if len(w.pointerOf(queue)["snapshot"]) == 0 {
		w.Error("the pointer does not say that it is of a snapshot")
	}
	registered := 0
	for _, r := range w.sent(queue) {
		for _, e := range r.events {
			if text(e["_cmd"]) == "registerSnapshot" {
				registered++
				if got := names(e); !slices.Equal(got, []string{"_cmd", "event", "id", "next", "start"}) {
					w.Errorf("registerSnapshot has the members %v", got)
				}
			}
		}
	}
	if registered != 1 {
		w.Errorf("registered %d times", registered)
	}
	// The events written before stand in the snapshot's place, those from its minute on follow it.
	w.nodeWrite(bot, queue, 200, 5, 0, nil)
	var all []place
	w.eventually("live events", func() bool {
		all = places(w.read(queue, rstreams.ReadOptions{Start: "z/"}))
		return len(all) > 0 && all[len(all)-1].N == 204
	})
	for i, p := range all[:20] {
		if p.N != i || !strings.HasPrefix(p.EID, "_snapshot/") {
			w.Errorf("event %d of the snapshot is %v", i, p)
		}
	}
	w.bothRead(queue, "z/", all)
	w.bothRead(queue, all[7].EID, all[8:])
}

func archiveWrites(w *world) {
	queue := w.name("archive")
	w.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: queue, Chunk: rstreams.ChunkOptions{Records: 6}}, numbered(0, 40, 0)...)
	before := places(w.published(queue, 40))
	w.archive(queue)
	q, err := w.store.Queues.Get(w.Context(), queue)
	w.ok(err)
	if q.ArchiveEnd != before[39].EID {
		w.Fatalf("the archive ends at %s, want %s", q.ArchiveEnd, before[39].EID)
	}
	var ends []string
	for _, c := range w.stored(queue) {
		ends = append(ends, c.End)
	}
	w.ok(w.store.Chunks.Delete(w.Context(), queue, ends)) // They expire.
	w.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: queue}, numbered(40, 5, 0)...)
	all := append(before, places(w.published(queue, 45))[40:]...)
	for i := -1; i < 45; i += 4 {
		start := "z/"
		if i >= 0 {
			start = all[i].EID
		}
		w.bothRead(queue, start, all[i+1:])
	}
	c := w.stored(queue + store.ArchiveSuffix)[0]
	if !c.Archive || c.Start != all[0].EID || c.Offsets[0].StartID != all[0].EID || len(c.Offsets) < 2 {
		w.Errorf("the archive's item: %+v", c)
	}
	// The original's archiver sends its pointers through the intake: ours takes them there too.
	other := w.name("sent")
	w.nodeWrite(w.name("writer"), other, 6, 3, 0, nil)
	live := places(w.published(other, 3))
	old := w.putArchive(w.name("scratch"), w.hourAgo(2), 0, 6)
	c = w.stored(w.name("scratch") + store.ArchiveSuffix)[0]
	var offsets []map[string]any
	for _, o := range c.Offsets {
		offsets = append(offsets, map[string]any{"event": other, "start": o.StartID, "end": o.EndID, "records": o.Records, "size": o.Size,
			"gzipSize": o.GzipSize, "offset": o.Offset, "gzipOffset": o.GzipOffset})
	}
	line, err := json.Marshal(map[string]any{"event": other, "archive": true, "start": c.Start, "end": c.End, "s3": c.Blob, "offsets": offsets,
		"records": c.Records, "size": c.Size, "gzipSize": c.GzipSize, "stats": map[string]any{}, "correlations": []any{}})
	w.ok(err)
	acks, err := w.store.Intake.Put(w.Context(), []store.Record{{PartitionKey: "0", HashKey: "0", Data: append(line, '\n')}})
	w.ok(err)
	w.ok(acks[0].Err)
	w.published(other, 9)
	w.bothRead(other, "z/", append(old, live...))
	w.bothRead(other, old[2].EID, append(old[3:], live...))
}

func lineageForm(w *world) {
	source, derived := w.name("source"), w.name("derived")
	w.nodeWrite(w.name("writer"), source, 0, 4, 0, nil)
	in := w.published(source, 4)
	_, err := w.sdk.Enrich(w.Context(), rstreams.EnrichOptions{
		Bot: w.name("ours"), From: []string{source}, To: derived, Read: rstreams.ReadOptions{From: rstreams.Earliest()},
	}, func(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
		return rstreams.Emit(map[string]any{"n": n(e.Payload), "k": 0}, map[string]any{"n": n(e.Payload), "k": 1}, map[string]any{"n": n(e.Payload), "k": 2}), nil
	})
	w.ok(err)
	w.published(derived, 12)
	for _, r := range w.sent(derived) {
		if strings.Contains(r.text, "partial_") {
			w.Errorf("on the wire: %.300s", r.text)
		}
	}
	var theirs []struct {
		Payload     struct{ N, K int }
		Correlation struct {
			Source, Start, PartialStart string
			Units                       int
		} `json:"correlation_id"`
	}
	w.do("read", map[string]any{"bot": w.name("reader"), "queue": derived, "opts": map[string]any{"start": "z/"}}, &theirs)
	for i, e := range theirs {
		if e.Payload.N != i/3 || e.Payload.K != i%3 || e.Correlation.Source != source || e.Correlation.Start != in[i/3].EID {
			w.Errorf("event %d: %+v", i, e)
		}
	}
	// The original's partial lineage reads as lineage too.
	w.do("write", map[string]any{"bot": w.name("theirs"), "queue": w.name("partial"), "events": []any{
		map[string]any{"payload": map[string]any{"n": 0}, "correlation_id": map[string]any{"source": source, "partial_start": in[0].EID, "units": 1}},
	}}, nil)
	got := w.published(w.name("partial"), 1)[0]
	if got.Correlation == nil || got.Correlation.Start != in[0].EID {
		w.Errorf("Node's partial lineage reads as %+v", got.Correlation)
	}
}
