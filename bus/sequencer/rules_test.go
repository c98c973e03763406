package sequencer_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

func process(t *testing.T, st store.Store, cfg sequencer.Config, b sequencer.Batch) sequencer.Result {
	t.Helper()
	if cfg.Now == nil {
		cfg.Now = frozen
	}
	cfg.Logger = quiet
	res, err := sequencer.New(st, cfg).Process(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if res.Done != len(b.Records) {
		t.Fatalf("%d of %d records done", res.Done, len(b.Records))
	}
	return res
}

// pointerLine stands for records events of queue in one section of a blob.
func pointerLine(queue string, records int64, more string) string {
	return fmt.Sprintf(`{"event":%q,"start":null,"end":%d,"s3":{"bucket":"B","key":"bus/%s/x.gz"},"offsets":[{"event":%q,"start":0,"end":%d,`+
		`"records":%d,"size":1000,"gzipSize":100,"offset":0,"gzipOffset":0}],"gzipSize":100,"size":1000,"records":%d,`+
		`"stats":{"b":{"start":1704164645000,"end":1704164645000,"units":%d,"checkpoint":%d}},"correlations":[],"timestamp":1704164645000,`+
		`"event_source_timestamp":1704164645000%s}`+"\n", queue, records-1, queue, queue, records-1, records, records, records, records-1, more)
}

// archiveLine stands for the archived events from..to.
func archiveLine(queue, key, from, to string, records int) string {
	return fmt.Sprintf(`{"event":%q,"archive":true,"start":%q,"end":%q,"s3":{"bucket":"B","key":%q},"offsets":[{"event":%q,"start":%q,"end":%q,`+
		`"records":%d,"size":1000,"gzipSize":100,"offset":0,"gzipOffset":0}],"gzipSize":100,"size":1000,"records":%d,"stats":{},"correlations":[],`+
		`"timestamp":1704164645000,"event_source_timestamp":1704164645000}`+"\n", queue, from, to, key, queue, from, to, records, records)
}

func chunksOf(t *testing.T, st store.Store, queue string) []store.Chunk {
	t.Helper()
	page, err := st.Chunks.Query(t.Context(), queue, "", "z0", 1000, 1<<30)
	if err != nil || page.More {
		t.Fatal(page.More, err)
	}
	return page.Chunks
}

func letters(t *testing.T, st store.Store) []deadletter.Letter {
	t.Helper()
	_, lines := stored(t, st, deadletter.Queue)
	var out []deadletter.Letter
	for _, l := range lines {
		var e struct{ Payload json.RawMessage }
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatal(err)
		}
		letter, err := deadletter.Parse(e.Payload)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, letter)
	}
	return out
}

// TestEveryArchivePointerKeepsItsOwnRange is W-D5.
func TestEveryArchivePointerKeepsItsOwnRange(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	id := func(n int) string { return fmt.Sprintf("z/2024/01/01/00/00/1704067200000-%07d", n) }
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{
		plain(1, archiveLine("q", "bus/_archive/1", id(0), id(4), 5), archiveLine("q", "bus/_archive/2", id(5), id(9), 5)),
		plain(2, archiveLine("q", "bus/_archive/2", id(5), id(9), 5)),  // Again.
		plain(3, archiveLine("q", "bus/_archive/3", id(8), id(12), 5)), // Across the end.
	}}
	res := process(t, st, sequencer.Config{}, b)
	got := chunksOf(t, st, "q/_archive")
	if len(got) != 2 || got[0].End != id(4) || got[1].Start != id(5) || got[1].End != id(9) || got[1].Expires != 0 {
		t.Errorf("archive holds %+v", got)
	}
	q, err := st.Queues.Get(t.Context(), "q")
	if err != nil || q.ArchiveEnd != id(9) {
		t.Errorf("archive end %q, %v", q.ArchiveEnd, err)
	}
	if ls := letters(t, st); len(ls) != 1 || ls[0].Reason != deadletter.ReasonPointer || res.Repeats != 5 {
		t.Errorf("letters %+v, %d repeats", ls, res.Repeats)
	}
}

func TestAnArchiveOfEventsThatTheQueueNeverHadIsRefused(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	const from, to = "z/2286/01/01/00/00/9972144000000-0000000", "z/2286/01/01/00/00/9972144000000-0000004"
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{
		plain(1, line("q", 0)), plain(2, archiveLine("q", "bus/_archive/1", from, to, 5)), plain(3, line("q", 1)),
	}}
	process(t, st, sequencer.Config{}, b)
	q, err := st.Queues.Get(t.Context(), "q")
	if err != nil || q.ArchiveEnd != "" {
		t.Errorf("archive end %q, %v", q.ArchiveEnd, err)
	}
	if ls := letters(t, st); len(ls) != 1 || ls[0].Reason != deadletter.ReasonPointer {
		t.Errorf("%+v", ls)
	}
	if got := numbers(t, st, "q"); got != "0 1" {
		t.Errorf("queue q holds %s", got)
	}
}

// TestSnapshotsOfOneBatchKeepTheirOwnTimeAndDoNotExpire is W-D6.
func TestSnapshotsOfOneBatchKeepTheirOwnTimeAndDoNotExpire(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{
		plain(1, pointerLine("q", 5, `,"snapshot":1704161045678`), pointerLine("q", 6, `,"snapshot":1704074645678`),
			pointerLine("q", 7, `,"snapshot":1704161045678`)),
		plain(2, `{"_cmd":"registerSnapshot","event":"q","start":1704161045678,"next":"2024-01-02","id":"b"}`+"\n"),
	}}
	process(t, st, sequencer.Config{}, b)
	got := chunksOf(t, st, "q/_snapshot")
	if len(got) != 3 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []struct {
		path    string
		records int64
	}{{"z/2024/01/01/02/04/", 6}, {"z/2024/01/02/02/04/", 5}, {"z/2024/01/02/02/04/", 7}} {
		if c := got[i]; !strings.HasPrefix(c.Start, want.path) || !strings.HasPrefix(c.End, want.path) || c.Records != want.records || c.Expires != 0 {
			t.Errorf("chunk %d: %+v", i, c)
		}
	}
	q, err := st.Queues.Get(t.Context(), "q")
	if err != nil || q.SnapshotStart != "_snapshot/z/2024/01/02/02/04/" || q.SnapshotNext != "z/2024/01/02/00/00/" || q.Head != "" {
		t.Errorf("%+v, %v", q, err)
	}
}

// TestTheCounterNeverWraps is W-D7 and C23.
func TestTheCounterNeverWraps(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{
		plain(1, line("q", 0), pointerLine("q", 6_000_000, ""), pointerLine("q", 4_000_000, ""), line("q", 1), pointerLine("q", 10_000_000, "")),
		plain(2, pointerLine("q", 10_000_001, "")), // No counter could number these.
		plain(3, line("q", 2)),
	}}
	process(t, st, sequencer.Config{}, b)
	prev, total := "", int64(0)
	for _, c := range chunksOf(t, st, "q") {
		first, err1 := eid.Parse(c.Start)
		last, err2 := eid.Parse(c.End)
		if err1 != nil || err2 != nil || first.Prefix() != last.Prefix() || int64(last.Counter-first.Counter+1) != c.Records || c.Start <= prev {
			t.Errorf("%s..%s with %d events after %s", c.Start, c.End, c.Records, prev)
		}
		prev, total = c.End, total+c.Records
	}
	if total != 20_000_003 {
		t.Errorf("%d events", total)
	}
	if ls := letters(t, st); len(ls) != 1 || ls[0].Reason != deadletter.ReasonPointer {
		t.Errorf("letters %+v", ls)
	}
	next := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(4, line("q", 3))}}
	if res := process(t, st, sequencer.Config{}, next); res.Heads["q"] <= prev {
		t.Errorf("the next batch got %s, after %s", res.Heads["q"], prev)
	}
}

// TestPoisonIsQuarantinedAndEverythingElseIsPublished is W-D8, W-P1, W-P3, C17.
func TestPoisonIsQuarantinedAndEverythingElseIsPublished(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	cut := zipped(2, line("q", 1), line("q", 2))
	cut.Data = cut.Data[:len(cut.Data)-9]
	garbage := sequencer.Record{Sequence: "3", Arrival: 1704164645681, Data: []byte{0xff, 0xfe, 0, 1}}
	long := `{"id":"b","event":"q","payload":"` + strings.Repeat("x", 5000) + `"}` + "\n"
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{
		zipped(1, line("q", 0)), cut, garbage,
		zipped(4, "nonsense\n", line("q", 3), `{"event":"q","payload":1}`+"\n", `{"id":"b","payload":1}`+"\n", `{"id":"b","event":"q","payload":0}`+"\n"),
		zipped(5, line("", 0), line("s_", 0), line(strings.Repeat("n", 2049), 0), line("q/_archive", 0), long, line("q", 4)),
		plain(6, `{"event":"q","s3":{"bucket":"B","key":"k"},"offsets":[],"records":5,"size":1,"gzipSize":1,"end":4}`+"\n",
			pointerLine("q/_snapshot", 3, ""), line("q", 5)),
	}}
	res := process(t, st, sequencer.Config{MaxLine: 4096}, b)
	if got := numbers(t, st, "q"); got != upTo(6) {
		t.Errorf("queue q holds %s", got)
	}
	count := map[deadletter.Reason]int{}
	for _, l := range letters(t, st) {
		count[l.Reason]++
		if len(l.Bytes()) == 0 || l.Error == "" || l.Sequence == "" || l.Shard != "s" {
			t.Errorf("letter %+v", l)
		}
		if l.Reason == deadletter.ReasonCorrupt && !bytes.Equal(l.Bytes(), cut.Data) {
			t.Error("the corrupt record was changed")
		}
	}
	want := map[deadletter.Reason]int{
		deadletter.ReasonCorrupt: 1, deadletter.ReasonRecord: 1, deadletter.ReasonLine: 1, deadletter.ReasonEvent: 7,
		deadletter.ReasonLineTooLong: 1, deadletter.ReasonPointer: 2,
	}
	if fmt.Sprint(count) != fmt.Sprint(want) || res.DeadLetters != 13 {
		t.Errorf("letters %v, want %v; %d counted", count, want, res.DeadLetters)
	}
}

// TestChunksThatDoNotFitAnItemGoToBlobs is W-P2, C19 and C26.
func TestChunksThatDoNotFitAnItemGoToBlobs(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 600<<10)
	for i := range noise {
		noise[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/"[rnd.IntN(64)]
	}
	big := fmt.Sprintf(`{"id":"b","event":"q","payload":{"n":1,"x":"%s"},"timestamp":1,"event_source_timestamp":1}`+"\n", noise)
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1, line("q", 0), big, line("q", 2))}}
	process(t, st, sequencer.Config{}, b)
	chunks := chunksOf(t, st, "q")
	if len(chunks) != 2 || chunks[0].Blob == nil || len(chunks[0].Offsets) != 1 || chunks[1].Blob != nil {
		t.Fatalf("%d chunks, first %+v", len(chunks), chunks[0].Blob)
	}
	if _, lines := stored(t, st, "q"); len(lines) != 3 {
		t.Errorf("%d lines", len(lines))
	}
}

// TestATransactionThatFailsLeavesNoBlob: nobody would ever remove it.
func TestATransactionThatFailsLeavesNoBlob(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	noise := make([]byte, 600<<10)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+/"[rnd.IntN(64)]
	}
	b := sequencer.Batch{Records: []sequencer.Record{plain(1, fmt.Sprintf(`{"id":"b","event":"q","payload":{"n":0,"x":"%s"}}`+"\n", noise))}}
	broken := st
	broken.Atomic = func(ctx context.Context, fn func(context.Context, store.Store) error) error {
		return st.Atomic(ctx, func(ctx context.Context, tx store.Store) error {
			if err := fn(ctx, tx); err != nil {
				return err
			}
			return errCrash
		})
	}
	seq := sequencer.New(broken, sequencer.Config{Now: frozen, Logger: quiet})
	p, err := seq.Prepare(t.Context(), b, sequencer.Cursor{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := seq.Commit(t.Context(), p); !errors.Is(err, errCrash) {
			t.Fatal(err)
		}
		if blobs, err := st.Blobs.List(t.Context(), "", "", 10); err != nil || len(blobs) != 0 {
			t.Errorf("blobs %v, %v", blobs, err)
		}
	}
	process(t, st, sequencer.Config{}, b)
	chunks := chunksOf(t, st, "q")
	if len(chunks) != 1 || chunks[0].Blob == nil {
		t.Fatalf("%d chunks", len(chunks))
	}
	if _, lines := stored(t, st, "q"); len(lines) != 1 {
		t.Errorf("%d lines", len(lines))
	}
}

// TestOnlyChunksOfCheckedLinesThatEndWithTheirPayloadAreSealed: a reader of a sealed chunk does not look inside payloads, so a
// wrong seal would be a wrong payload.
func TestOnlyChunksOfCheckedLinesThatEndWithTheirPayloadAreSealed(t *testing.T) {
	good := func(n int) string {
		return fmt.Sprintf(`{"id":"b","event":"q","event_source_timestamp":1,"timestamp":1,"eid":0,"payload":{"n":%d}}`+"\n", n)
	}
	after := func(n int) string {
		return fmt.Sprintf(`{"id":"b","event":"q","event_source_timestamp":1,"timestamp":1,"eid":0,"payload":{"n":%d},"more":{"a":1}}`+"\n", n)
	}
	st := memory.New(memory.Options{Now: frozen})
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{
		plain(1, good(0), good(1), good(2), after(3), good(4), good(5), line("q", 6), good(7), pointerLine("q", 2, ""), good(8)),
	}}
	process(t, st, sequencer.Config{ChunkRecords: 2}, b)
	var got []bool
	for _, c := range chunksOf(t, st, "q") {
		got = append(got, c.Sealed)
	}
	// 0 1 | 2 3 | 4 5 | 6 7 | pointer | 8
	if want := []bool{true, false, true, false, false, true}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("sealed: %v, want %v", got, want)
	}
}

func TestPointersKeepTheirPlaceAmongEvents(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1, line("q", 0), pointerLine("q", 5, ""), line("q", 1))}}
	process(t, st, sequencer.Config{}, b)
	got := chunksOf(t, st, "q")
	if len(got) != 3 || got[0].Records != 1 || got[1].Records != 5 || got[1].Blob == nil || got[2].Records != 1 {
		t.Fatalf("%+v", got)
	}
	if got[1].Prev != got[0].End || got[2].Prev != got[1].End || got[0].Prev != "" {
		t.Error("the chunks do not name the ones before them")
	}
}

// TestAPointerToAnotherBucketIsRefused is W-O1.
func TestAPointerToAnotherBucketIsRefused(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1, pointerLine("q", 5, ""))}}
	process(t, st, sequencer.Config{Bucket: "mine"}, b)
	if ls := letters(t, st); len(ls) != 1 || ls[0].Queue != "q" {
		t.Errorf("%+v", ls)
	}
}

// TestProducerStatisticsNameTheLastEvent is W-O7 and C45.
func TestProducerStatisticsNameTheLastEvent(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	if err := st.Bots.Register(t.Context(), store.Registration{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	b := sequencer.Batch{Shard: "s"}
	for i := range 10 {
		b.Records = append(b.Records, plain(i+1, line("q", i), `{"id":"other","event":"q","payload":1,"units":3}`+"\n"))
	}
	process(t, st, sequencer.Config{ChunkRecords: 4}, b)
	ids, _ := stored(t, st, "q")
	bot, err := st.Bots.Get(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	if cp := bot.Write["queue:q"]; cp.Position != ids[len(ids)-2] || cp.Records != 10 || cp.SourceTimestamp != 1704164645000 {
		t.Errorf("%+v, want position %s", cp, ids[len(ids)-2])
	}
}

// TestChunksDependOnNothingButTheirContent is rule 4: budgets, marks and delivery do not show in what is stored.
func TestChunksDependOnNothingButTheirContent(t *testing.T) {
	var want []string
	for _, parallel := range []int{1, 8} {
		st := memory.New(memory.Options{Now: frozen})
		process(t, st, sequencer.Config{ChunkRecords: 7, Parallel: parallel}, batchOf(30))
		var got []string
		for _, q := range []string{"q", "r"} {
			for _, c := range chunksOf(t, st, q) {
				got = append(got, fmt.Sprintf("%s %s %s %x", q, c.Start, c.End, c.Gzip))
			}
		}
		if want == nil {
			want = got
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("with %d at once the chunks differ", parallel)
		}
	}
}

// TestARecordLargerThanTheBudgetIsPublishedInParts is W-S9: memory follows the budget, not the batch.
func TestARecordLargerThanTheBudgetIsPublishedInParts(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	lines := make([]string, 1000)
	for i := range lines {
		lines[i] = line("q", i)
	}
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{zipped(1, lines...)}}
	seq := sequencer.New(st, sequencer.Config{GroupBytes: 5000, Now: frozen})
	groups := 0
	for at := (sequencer.Cursor{}); at.More(b); groups++ {
		p, err := seq.Prepare(t.Context(), b, at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := seq.Commit(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		at = p.Next
	}
	if groups < 20 {
		t.Errorf("%d groups", groups)
	}
	if got := numbers(t, st, "q"); got != upTo(1000) {
		t.Errorf("queue q holds %s", got)
	}
}

func TestSkippedQueuesAndBotsAreDropped(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1, line("q", 0), line("r", 0), `{"id":"bad","event":"q","payload":1}`+"\n")}}
	res := process(t, st, sequencer.Config{SkipQueues: []string{"r"}, SkipBots: []string{"bad"}}, b)
	if got := numbers(t, st, "q"); got != "0" || res.Events != 1 {
		t.Errorf("queue q holds %s, %+v", got, res)
	}
}

func TestACancelledBatchSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := sequencer.New(memory.New(memory.Options{}), sequencer.Config{}).Process(ctx, batchOf(1)); err == nil {
		t.Error("no error")
	}
}

func ExampleSequencer() {
	st := memory.New(memory.Options{})
	seq := sequencer.New(st, sequencer.Config{})
	data := chunk.AppendGzip(nil, []byte(`{"id":"shop","event":"orders","payload":{"total":12.50}}`+"\n"))
	res, err := seq.Process(context.Background(), sequencer.Batch{
		Shard:   "shardId-000000000000",
		Records: []sequencer.Record{{Sequence: "1", Arrival: 1704164645678, Data: data}},
	})
	fmt.Println(res.Events, res.Heads["orders"], err)
	// Output: 1 z/2024/01/02/03/04/1704164645678-0000000 <nil>
}
