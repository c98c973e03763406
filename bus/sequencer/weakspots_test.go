package sequencer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// unclaimable refuses the claim of one queue.
type unclaimable struct {
	store.Queues
	queue string
}

func (u unclaimable) Claim(ctx context.Context, c store.Claim) (store.Grant, error) {
	if c.Queue == u.queue {
		return store.Grant{}, fmt.Errorf("claim: %w", store.ErrThrottled)
	}
	return u.Queues.Claim(ctx, c)
}

// TestABatchWhoseClaimCannotBeStoredFailsAndNumbersNothing is W-D2: without a base that is stored, no id is given. The original
// goes on with one that nobody guards.
func TestABatchWhoseClaimCannotBeStoredFailsAndNumbersNothing(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	good := st.Queues
	batch := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1, line("q", 0)), plain(2, line("r", 0), line("q", 1))}}
	for _, queue := range []string{"q", "r"} {
		st.Queues = unclaimable{good, queue}
		res, err := sequencer.New(st, smallChunks()).Process(t.Context(), batch)
		if !errors.Is(err, store.ErrThrottled) || res.Done == len(batch.Records) {
			t.Fatalf("queue %s: %+v, %v", queue, res, err)
		}
		if chunks := chunksOf(t, st, queue); len(chunks) != 0 {
			t.Errorf("queue %s has ids that nobody guards: %+v", queue, chunks)
		}
	}
	st.Queues = good
	if _, err := sequencer.New(st, smallChunks()).Process(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if q, r := numbers(t, st, "q"), numbers(t, st, "r"); q != "0 1" || r != "0" {
		t.Errorf("queue q holds %s, r %s", q, r)
	}
}

// TestNeitherLagNorManyRecordsMakeObjects is W-S5: the original stores every queue of such a batch as an object, be it one event.
func TestNeitherLagNorManyRecordsMakeObjects(t *testing.T) {
	st := memory.New(memory.Options{Now: func() time.Time { return frozen().Add(3 * time.Hour) }})
	st.Atomic = nil
	b := sequencer.Batch{Shard: "s"}
	for n := range 300 {
		b.Records = append(b.Records, plain(n+1, line(fmt.Sprintf("q%d", n%20), n/20)))
	}
	process(t, st, sequencer.Config{}, b)
	for n := range 20 {
		queue := fmt.Sprintf("q%d", n)
		chunks := chunksOf(t, st, queue)
		if len(chunks) != 1 || chunks[0].Blob != nil {
			t.Errorf("queue %s has %d chunks, the first in %+v", queue, len(chunks), chunks[0].Blob)
		}
		if got := numbers(t, st, queue); got != upTo(15) {
			t.Errorf("queue %s holds %s", queue, got)
		}
	}
	if blobs, err := st.Blobs.List(t.Context(), "", "", 10); err != nil || len(blobs) != 0 {
		t.Errorf("objects %v, %v", blobs, err)
	}
}

// TestCommandsThatNobodyKnowsStopNothing is C16: a bus command without a meaning here is passed over. An object that only
// leo-sdk's own streams use (`__cmd`), and that is no event, is kept as a dead letter.
func TestCommandsThatNobodyKnowsStopNothing(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1,
		line("q", 0), `{"_cmd":"other","id":"b","event":"q","payload":{"n":9}}`+"\n", `{"_cmd":{"x":1}}`+"\n", line("q", 1),
		`{"__cmd":"checkpoint","id":"b","correlations":[{"in":{"source":"in"}}]}`+"\n", line("q", 2),
	)}}
	res := process(t, st, sequencer.Config{}, b)
	if got := numbers(t, st, "q"); got != upTo(3) {
		t.Errorf("queue q holds %s", got)
	}
	if ls := letters(t, st); len(ls) != 1 || res.DeadLetters != 1 || ls[0].Line != 5 {
		t.Errorf("letters %+v", ls)
	}
}

// TestAQueueThatCannotBeWrittenKeepsNoOtherFromItsReaders is W-P3: what one queue's storage refuses fails that queue, and the
// next attempt repeats nothing of the others.
func TestAQueueThatCannotBeWrittenKeepsNoOtherFromItsReaders(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	good := st.Chunks
	st.Chunks = refusing{good, "bad"}
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1, line("q", 0), line("bad", 0), line("r", 0), line("q", 1))}}
	res, err := sequencer.New(st, sequencer.Config{Now: frozen, Logger: quiet}).Process(t.Context(), b)
	if !errors.Is(err, store.ErrInvalid) || res.Done != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if q, r := numbers(t, st, "q"), numbers(t, st, "r"); q != "0 1" || r != "0" {
		t.Errorf("queue q holds %s, r %s", q, r)
	}
	st.Chunks = good
	res = process(t, st, sequencer.Config{}, b)
	if res.Events != 1 || res.Repeats != 3 || numbers(t, st, "bad") != "0" || numbers(t, st, "q") != "0 1" {
		t.Errorf("again: %+v", res)
	}
}

// refusing stores no chunk of one queue.
type refusing struct {
	store.Chunks
	queue string
}

func (r refusing) Put(ctx context.Context, chunks []store.Chunk) error {
	var failed []store.ItemError
	for i := range chunks {
		if chunks[i].Queue == r.queue {
			failed = append(failed, store.ItemError{Index: i, Err: store.ErrInvalid})
		} else if err := r.Chunks.Put(ctx, chunks[i:i+1]); err != nil {
			return err
		}
	}
	if len(failed) > 0 {
		return &store.BatchError{Items: failed}
	}
	return nil
}

// TestLinesAreNumberedAnewInTheChunkTheyEndUpIn is C24 and C64: leo-sdk adds a stored line's number to that of its chunk, so the
// number that a line had in its record must not stay where records are cut or joined.
func TestLinesAreNumberedAnewInTheChunkTheyEndUpIn(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	own := func(eid any, n int) string {
		return fmt.Sprintf(`{"id":"b","event":"q","payload":{"n":%d},"timestamp":1,"event_source_timestamp":1,"eid":%v}`+"\n", n, eid)
	}
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{
		zipped(1, own(0, 0), own(1, 1), own(2, 2), own(3, 3), own(4, 4)), zipped(2, own(0, 5), own(1, 6)),
		plain(3, own(`"z/2024/01/01/00/00/1704067200000-0000007"`, 7), own(-1, 8), own(2.5, 9), line("q", 10)),
	}}
	process(t, st, sequencer.Config{ChunkRecords: 4}, b)
	next := 0
	for _, c := range chunksOf(t, st, "q") {
		for i, l := range linesOf(t, st, c) {
			var e struct {
				EID     *int
				Payload struct{ N int }
			}
			if err := json.Unmarshal([]byte(l), &e); err != nil || e.EID == nil || *e.EID != i || e.Payload.N != next {
				t.Errorf("line %d of the chunk that ends at %s is %s: %v", i, c.End, l, err)
			}
			next++
		}
	}
	if next != 11 {
		t.Errorf("%d events", next)
	}
}

// forbidden may read blobs under bus/ only, as the roles of a bus on AWS may.
type forbidden struct{ store.Blobs }

func (f forbidden) Get(ctx context.Context, ref store.BlobRef, offset, length int64) (io.ReadCloser, error) {
	if !strings.HasPrefix(ref.Key, "bus/") {
		return nil, fmt.Errorf("%w: access denied", store.ErrUnavailable)
	}
	return f.Blobs.Get(ctx, ref, offset, length)
}

// TestAPointerToWhatMayNotBeReadStopsNothing is W-O1 and C17: such a pointer is at fault, and not the storage.
func TestAPointerToWhatMayNotBeReadStopsNothing(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	if _, _, err := st.Blobs.Put(t.Context(), "bus/q/x.gz", strings.NewReader(strings.Repeat("x", 100))); err != nil {
		t.Fatal(err)
	}
	st.Blobs = forbidden{st.Blobs}
	good := strings.Replace(pointerLine("q", 2, ""), `"bucket":"B"`, `"bucket":"memory"`, 1)
	foreign := strings.Replace(good, "bus/q/x.gz", "firehose/2024/x", 1)
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1, good, foreign, good)}}
	cfg := sequencer.Config{Bucket: "memory", Prefixes: []string{"bus/", "files/"}, CheckBlobs: true}
	process(t, st, cfg, b)
	if chunks := chunksOf(t, st, "q"); len(chunks) != 2 {
		t.Errorf("%d chunks", len(chunks))
	}
	if ls := letters(t, st); len(ls) != 1 || ls[0].Reason != deadletter.ReasonPointer || ls[0].Line != 2 {
		t.Errorf("letters %+v", ls)
	}
}

// TestAPointerWhoseSectionsDoNotFitAnItemStopsNothing is W-P2 for pointers: the table of sections is a part of the item.
func TestAPointerWhoseSectionsDoNotFitAnItemStopsNothing(t *testing.T) {
	pointer := func(sections int, name string) string {
		var table []string
		for i := range sections {
			table = append(table, fmt.Sprintf(`{"event":%q,"start":%d,"end":%d,"records":1,"size":10,"gzipSize":30,"offset":%d,"gzipOffset":%d}`,
				name, i, i, 10*i, 30*i))
		}
		return fmt.Sprintf(`{"event":"q","start":null,"end":%d,"s3":{"bucket":"B","key":"bus/q/x.gz"},"offsets":[%s],"gzipSize":%d,"size":%d,"records":%d}`+"\n",
			sections-1, strings.Join(table, ","), 30*sections, 10*sections, sections)
	}
	st := memory.New(memory.Options{Now: frozen})
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1,
		line("q", 0), pointer(200, "q"), pointer(5000, "q"), pointer(2, strings.Repeat("q", 200_000)), line("q", 1),
	)}}
	process(t, st, sequencer.Config{}, b)
	if chunks := chunksOf(t, st, "q"); len(chunks) != 3 || len(chunks[1].Offsets) != 200 {
		t.Errorf("%d chunks", len(chunks))
	}
	if ls := letters(t, st); len(ls) != 2 || ls[0].Line != 3 || ls[1].Line != 4 || ls[0].Reason != deadletter.ReasonPointer {
		t.Errorf("%d letters", len(ls))
	}
}

// TestManyPointersAreWorkedOffInGroups: each costs a request, so that a group of megabytes of them would outlast its function, on
// every attempt anew. That holds however much text a group may have.
func TestManyPointersAreWorkedOffInGroups(t *testing.T) {
	for _, groupBytes := range []int{0, 64 << 20} {
		st := memory.New(memory.Options{Now: frozen})
		st.Atomic = nil
		if _, _, err := st.Blobs.Put(t.Context(), "bus/q/x.gz", strings.NewReader(strings.Repeat("x", 100))); err != nil {
			t.Fatal(err)
		}
		const pointers = 5000
		one := strings.Replace(pointerLine("q", 1, ""), `"bucket":"B"`, `"bucket":"memory"`, 1)
		b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{zipped(1, strings.Repeat(one, pointers))}}
		seq := sequencer.New(st, sequencer.Config{Now: frozen, Logger: quiet, Bucket: "memory", CheckBlobs: true, GroupBytes: groupBytes})
		groups, events := 0, int64(0)
		for at := (sequencer.Cursor{}); at.More(b); groups++ {
			p, err := seq.Prepare(t.Context(), b, at)
			if err != nil {
				t.Fatal(err)
			}
			r, err := seq.Commit(t.Context(), p)
			if err != nil {
				t.Fatal(err)
			}
			at, events = p.Next, events+r.Events
		}
		if groups < 4 || events != pointers {
			t.Errorf("groups of %d bytes: %d pointers in %d groups", groupBytes, events, groups)
		}
	}
}

// looked counts what is asked of blobs, and what is put there.
type looked struct {
	store.Blobs
	gets, puts int
}

func (l *looked) Get(ctx context.Context, ref store.BlobRef, offset, length int64) (io.ReadCloser, error) {
	l.gets++
	return l.Blobs.Get(ctx, ref, offset, length)
}

func (l *looked) Put(ctx context.Context, key string, r io.Reader) (store.BlobRef, int64, error) {
	l.puts++
	return l.Blobs.Put(ctx, key, r)
}

// flaky is chunks whose nth write from now fails.
type flaky struct {
	store.Chunks
	in int
}

func (f *flaky) Put(ctx context.Context, chunks []store.Chunk) error {
	if f.in--; f.in == 0 {
		return fmt.Errorf("%w: for once", store.ErrUnavailable)
	}
	return f.Chunks.Put(ctx, chunks)
}

// TestTheRestOfManyQueuesIsPreparedOnce: the claims of all of them run out meanwhile, and a retry that takes as long again for each
// of its queues would never end.
func TestTheRestOfManyQueuesIsPreparedOnce(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	if _, _, err := st.Blobs.Put(t.Context(), "bus/p/x.gz", strings.NewReader(strings.Repeat("x", 100))); err != nil {
		t.Fatal(err)
	}
	const queues = 50
	var text strings.Builder
	for n := range 2 * queues {
		text.WriteString(line(fmt.Sprint("q", n%queues), n))
		if n == queues/2 || n == queues {
			text.WriteString(strings.Replace(pointerLine("p", 1, ""), `"bucket":"B"`, `"bucket":"memory"`, 1))
		}
	}
	noise := make([]byte, 600_000) // More than an item can have, however it is compressed.
	rand.NewChaCha8([32]byte{}).Read(noise)
	fmt.Fprintf(&text, `{"id":"b","event":"large","payload":"%x"}`+"\n", noise)
	b := sequencer.Batch{Shard: "s", Records: []sequencer.Record{zipped(1, text.String())}}

	cfg := sequencer.Config{Now: frozen, Logger: quiet, Bucket: "memory", CheckBlobs: true}
	small := cfg
	small.GroupBytes = text.Len() - len(noise)*2 - 2000 // The record's last events are a group of their own.
	once := st
	once.Chunks = &flaky{st.Chunks, 2}
	if _, err := sequencer.New(once, small).Process(t.Context(), b); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("%v, want that the second group fails", err)
	}
	counted := &looked{Blobs: st.Blobs}
	st.Blobs = counted
	r, err := sequencer.New(st, cfg).Process(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if r.Events == 0 || r.Repeats == 0 || r.Events+r.Repeats != 2*queues+3 {
		t.Errorf("%d events and %d repeats of %d", r.Events, r.Repeats, 2*queues+3)
	}
	if counted.gets != 1 || counted.puts > 2 {
		t.Errorf("%d looks at one blob, %d uploads of one chunk", counted.gets, counted.puts)
	}
	for n := range queues {
		page, err := st.Chunks.Query(t.Context(), fmt.Sprint("q", n), "", "z0", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		var events int64
		for _, c := range page.Chunks {
			events += c.Records
		}
		if events != 2 {
			t.Errorf("q%d has %d events", n, events)
		}
	}
}
