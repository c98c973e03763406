package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// newBus returns a bus with queue "inline" of four chunks of ten events, queue "blob" of one chunk with three sections of five,
// one of which is of a bot's checkpoint, and a dead letter.
func newBus(t *testing.T) store.Store {
	t.Helper()
	ctx := context.Background()
	l := local.New(memory.New(memory.Options{}), local.Options{SweepEvery: -1})
	t.Cleanup(func() { _ = l.Close(ctx) })
	st := l.Store()
	for k := range 4 {
		var text strings.Builder
		for i := range 10 {
			fmt.Fprintf(&text, `{"id":"writer","event":"inline","payload":{"n":%d}}`+"\n", 10*k+i)
		}
		intake(t, st, text.String())
	}
	intake(t, st, "not an event\n")
	pointer(t, st)
	bus := rstreams.New(st, rstreams.Options{})
	for _, queue := range []string{"inline", "blob"} {
		r, err := bus.NewReader(queue, rstreams.ReadOptions{Bot: "reader", Start: "z/", Limit: 7})
		if err != nil {
			t.Fatal(err)
		}
		for _, err := range r.All(ctx) {
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

func intake(t *testing.T, st store.Store, text string) {
	t.Helper()
	acks, err := st.Intake.Put(context.Background(), []store.Record{{PartitionKey: "0", Data: chunk.AppendGzip(nil, []byte(text))}})
	if err != nil || acks[0].Err != nil {
		t.Fatal(err, acks)
	}
}

// blobKey is where the events of queue "blob" are.
const blobKey = "bus/blob/writer/z/2026/11/21/00/00/1795219200000-0000001-test.gz"

// pointer writes a blob of three sections and the record that points to it.
func pointer(t *testing.T, st store.Store) {
	t.Helper()
	p := chunk.Pointer{Queue: "blob"}
	var blob []byte
	for k := range 3 {
		var text []byte
		for i := range 5 {
			text = fmt.Appendf(text, `{"id":"writer","event":"blob","payload":{"n":%d},"timestamp":1795219200000,"eid":%d}`+"\n", 5*k+i, i)
		}
		gz := chunk.AppendGzip(nil, text)
		p.Offsets = append(p.Offsets, store.Offset{
			Event: "blob", Start: p.Records, End: p.Records + 4, Records: 5, Size: int64(len(text)), GzipSize: int64(len(gz)),
			Offset: p.Size, GzipOffset: p.GzipSize,
		})
		p.Records, p.Size, p.GzipSize = p.Records+5, p.Size+int64(len(text)), p.GzipSize+int64(len(gz))
		blob = append(blob, gz...)
	}
	var err error
	if p.Blob, _, err = st.Blobs.Put(context.Background(), blobKey, bytes.NewReader(blob)); err != nil {
		t.Fatal(err)
	}
	line, err := chunk.AppendPointer(nil, &p)
	if err != nil {
		t.Fatal(err)
	}
	intake(t, st, string(line))
}

func check(t *testing.T, st store.Store, o Options) *Report {
	t.Helper()
	r, err := Run(context.Background(), st, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestASoundBusHasNoFaults(t *testing.T) {
	calls := 0
	r := check(t, newBus(t), Options{Progress: func(string, int64, int64) { calls++ }})
	if !r.OK() {
		t.Fatalf("faults: %v", r.Faults)
	}
	if r.Events != 56 || r.Chunks != 6 || calls != 6 || r.Bots != 1 || r.Checkpoints != 2 || r.DeadLetters["bad-line"] != 1 {
		t.Errorf("the report miscounts: %+v, %d calls", r, calls)
	}
	if q := r.Queues[0]; q.Name != "blob" || q.Blobs != 1 || q.Events != 15 || q.First == "" || q.Expired || q.Unchained != 0 {
		t.Errorf("queue: %+v", q)
	}
	if r := check(t, newBus(t), Options{Queues: []string{"inline"}}); r.Events != 40 || len(r.Queues) != 1 || r.Checkpoints != 1 {
		t.Errorf("with one queue: %+v", r)
	}
}

// editedChunks shows chunks otherwise than they are stored.
type editedChunks struct {
	store.Chunks
	edit func(*store.Chunk) (keep bool)
}

func (e editedChunks) Query(ctx context.Context, queue, after, through string, limit, maxBytes int) (store.Page, error) {
	// The end is not edited, so positions mean the same.
	page, err := e.Chunks.Query(ctx, queue, after, through, 0, 0)
	kept := page.Chunks[:0:0]
	for _, k := range page.Chunks {
		if e.edit(&k) {
			kept = append(kept, k)
		}
	}
	if limit > 0 && len(kept) > limit {
		kept, page.More = kept[:limit], true
	}
	page.Chunks = kept
	return page, err
}

// inlineText edits the text of the nth chunk of queue "inline".
func inlineText(n int, edit func(text []byte) []byte) func(*store.Chunk) bool {
	return nthInline(n, func(k *store.Chunk) bool {
		text, err := chunk.AppendGunzip(nil, k.Gzip, 1<<20)
		if err != nil {
			panic(err)
		}
		text = edit(text)
		k.Gzip = chunk.AppendGzip(nil, text)
		k.GzipSize, k.Size = int64(len(k.Gzip)), int64(len(text))
		return true
	})
}

// nthInline edits the nth chunk of queue "inline", which holds the payloads from 10 n on.
func nthInline(n int, edit func(*store.Chunk) bool) func(*store.Chunk) bool {
	return func(k *store.Chunk) bool {
		if k.Queue != "inline" {
			return true
		}
		text, err := chunk.AppendGunzip(nil, k.Gzip, 1<<20)
		if err != nil || !bytes.Contains(text, fmt.Appendf(nil, `"n":%d}`, 10*n)) {
			return true
		}
		return edit(k)
	}
}

// blobChunk edits the chunk of queue "blob".
func blobChunk(edit func(*store.Chunk)) func(*store.Chunk) bool {
	return func(k *store.Chunk) bool {
		if k.Queue == "blob" {
			k.Offsets = append([]store.Offset(nil), k.Offsets...)
			edit(k)
		}
		return true
	}
}

func moved(id string, ms int64, counter int) string {
	x, err := eid.Parse(id)
	if err != nil {
		panic(err)
	}
	y, err := eid.New(x.Millis+ms, max(0, x.Counter+counter))
	if err != nil {
		panic(err)
	}
	return y.String()
}

func replace(old, text string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(text), 1) }
}

func TestEveryKindOfDamageIsFound(t *testing.T) {
	for _, c := range []struct {
		name string
		rule Rule
		edit func(*store.Chunk) bool
	}{
		{"a missing chunk", RuleGap, nthInline(1, func(*store.Chunk) bool { return false })},
		{"the newest chunk missing", RuleHead, nthInline(3, func(*store.Chunk) bool { return false })},
		{"a chunk that overlaps the one before", RuleOverlap, nthInline(2, func(k *store.Chunk) bool {
			k.Start = k.Prev
			return true
		})},
		{"a chunk whose predecessor is not the one before", RuleGap, nthInline(2, func(k *store.Chunk) bool {
			k.Prev = moved(k.Prev, -1, 0)
			return true
		})},
		{"a start in another batch", RuleID, nthInline(1, func(k *store.Chunk) bool {
			k.Start = moved(k.Start, -1, 0)
			return true
		})},
		{"a start after the end", RuleID, nthInline(1, func(k *store.Chunk) bool {
			k.Start = moved(k.End, 0, 1)
			return true
		})},
		{"an id that is none", RuleID, nthInline(1, func(k *store.Chunk) bool {
			k.Start = "z/2026"
			return true
		})},
		{"more events than the ids span", RuleCount, nthInline(1, func(k *store.Chunk) bool {
			k.Records++
			return true
		})},
		{"a line lost", RuleCount, inlineText(1, func(b []byte) []byte { return b[:bytes.LastIndexByte(b[:len(b)-1], '\n')+1] })},
		{"a line twice", RuleLine, inlineText(1, func(b []byte) []byte {
			first := b[:bytes.IndexByte(b, '\n')+1]
			return append(append([]byte(nil), first...), b...)
		})},
		{"a line with another place", RuleLine, inlineText(1, replace(`"eid":3`, `"eid":4`))},
		{"a line without a place", RuleLine, inlineText(1, replace(`"eid":3`, `"e":3`))},
		{"a line that is no JSON", RuleLine, inlineText(1, replace(`"payload"`, `payload`))},
		{"a line of another queue", RuleLine, inlineText(1, replace(`"event":"inline"`, `"event":"other"`))},
		{"a line without a bot", RuleLine, inlineText(1, replace(`"id":"writer"`, `"id":""`))},
		{"a line without a payload", RuleLine, inlineText(1, replace(`{"n":13}`, `null`))},
		{"a line without a time", RuleLine, inlineText(1, replace(`"timestamp"`, `"time"`))},
		{"a seal on lines that do not end with their payload", RuleLine, nthInline(1, func(k *store.Chunk) bool {
			k.Sealed = true
			return true
		})},
		{"a blank line", RuleLine, inlineText(1, replace("\n", "\n\n"))},
		{"a last line that does not end", RuleLine, inlineText(1, func(b []byte) []byte { return b[:len(b)-1] })},
		{"data cut short", RuleBody, nthInline(1, func(k *store.Chunk) bool {
			k.Gzip = k.Gzip[:len(k.Gzip)-9]
			return true
		})},
		{"one bit flipped", RuleBody, nthInline(1, func(k *store.Chunk) bool {
			k.Gzip = bytes.Clone(k.Gzip)
			k.Gzip[len(k.Gzip)/2] ^= 4
			return true
		})},
		{"a wrong size", RuleBody, nthInline(1, func(k *store.Chunk) bool {
			k.Size++
			return true
		})},
		{"neither data nor blob", RuleBody, nthInline(1, func(k *store.Chunk) bool {
			k.Gzip = nil
			return true
		})},
		{"an item over the limit", RuleBody, nthInline(1, func(k *store.Chunk) bool {
			k.Gzip = append(bytes.Clone(k.Gzip), make([]byte, store.MaxInlineItem)...)
			return true
		})},
		{"a section that begins elsewhere", RuleSection, blobChunk(func(k *store.Chunk) { k.Offsets[1].GzipOffset++ })},
		{"sections that leave out an event", RuleSection, blobChunk(func(k *store.Chunk) { k.Offsets[2].Start++ })},
		{"sections that do not sum up", RuleSection, blobChunk(func(k *store.Chunk) { k.Offsets = k.Offsets[:2] })},
		{"no sections", RuleSection, blobChunk(func(k *store.Chunk) { k.Offsets = nil })},
		{"a blob that is not there", RuleBody, blobChunk(func(k *store.Chunk) { k.Blob = &store.BlobRef{Bucket: k.Blob.Bucket, Key: "x"} })},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := newBus(t)
			st.Chunks = editedChunks{st.Chunks, c.edit}
			wantRule(t, check(t, st, Options{}), c.rule)
		})
	}
}

func wantRule(t *testing.T, r *Report, rule Rule) {
	t.Helper()
	for _, f := range r.Faults {
		if f.Rule == rule {
			if f.Queue == "" || f.Detail == "" || !strings.HasPrefix(f.String(), string(rule)+" queue ") {
				t.Errorf("the fault does not say enough: %s", f)
			}
			return
		}
	}
	t.Errorf("no fault of rule %q among %v", rule, r.Faults)
}

func TestDamageToABlobIsFound(t *testing.T) {
	for _, c := range []struct {
		name string
		rule Rule
		edit func([]byte) []byte
	}{
		{"cut short", RuleSection, func(b []byte) []byte { return b[:len(b)-20] }},
		{"bytes after the end", RuleSection, func(b []byte) []byte { return append(b, "more"...) }},
		{"another member after the end", RuleCount, func(b []byte) []byte {
			return chunk.AppendGzip(b, []byte(`{"id":"writer","event":"blob","payload":1,"timestamp":1,"eid":5}`+"\n"))
		}},
		{"one bit flipped", RuleSection, func(b []byte) []byte {
			b[len(b)-5] ^= 1
			return b
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, st := context.Background(), newBus(t)
			at := find(t, st, "blob").Blob
			r, err := st.Blobs.Get(ctx, *at, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			blob, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil {
				t.Fatal(err)
			}
			if _, _, err := st.Blobs.Put(ctx, at.Key, bytes.NewReader(c.edit(blob))); err != nil {
				t.Fatal(err)
			}
			wantRule(t, check(t, st, Options{}), c.rule)
		})
	}
}

// find returns the first chunk of a queue.
func find(t *testing.T, st store.Store, queue string) store.Chunk {
	t.Helper()
	page, err := st.Chunks.Query(context.Background(), queue, "", beyond, 1, 0)
	if err != nil || len(page.Chunks) == 0 {
		t.Fatalf("queue %s: %v", queue, err)
	}
	return page.Chunks[0]
}

func TestAnUnpublishedChunkAboveTheHeadIsFoundUnlessItsSequencerIsAtWork(t *testing.T) {
	ctx, st := context.Background(), newBus(t)
	k := find(t, st, "inline")
	k.Start, k.End = moved(k.Start, 3_600_000, 0), moved(k.End, 3_600_000, 0)
	if err := st.Chunks.Put(ctx, []store.Chunk{k}); err != nil {
		t.Fatal(err)
	}
	wantRule(t, check(t, st, Options{}), RuleHead)
	now := time.Now().UnixMilli()
	if _, err := st.Queues.Claim(ctx, store.Claim{Queue: "inline", Owner: "someone", Now: now, Lease: 60_000, Arrival: now}); err != nil {
		t.Fatal(err)
	}
	if r := check(t, st, Options{}); !r.OK() {
		t.Errorf("the work of a sequencer is taken for a fault: %v", r.Faults)
	}
}

func TestCheckpointsThatLeadNowhereAreFound(t *testing.T) {
	ctx := context.Background()
	for _, c := range []struct {
		name     string
		position func(st store.Store) string
		fault    bool
	}{
		{"beyond the head", func(st store.Store) string { return moved(head(st), 0, 1) }, true},
		{"a date beyond the head", func(store.Store) string { return "z/2250/01" }, true},
		{"an id between two chunks", func(st store.Store) string { return moved(head(st), -1, 500_000) }, true},
		{"no position", func(store.Store) string { return "orders.csv:17" }, true},
		{"the beginning", func(store.Store) string { return "z/" }, false},
		{"today", func(st store.Store) string { return head(st)[:13] }, false},
		{"after an event", head, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := newBus(t)
			err := st.Bots.Checkpoint(ctx, store.CheckpointWrite{
				Bot: "other", Ref: "queue:inline", Checkpoint: store.Checkpoint{Position: c.position(st)}, Force: true,
			})
			if err != nil {
				t.Fatal(err)
			}
			if r := check(t, st, Options{}); r.OK() == c.fault {
				t.Errorf("%s: faults %v", c.position(st), r.Faults)
			} else if c.fault {
				wantRule(t, r, RuleCheckpoint)
			}
		})
	}
}

func head(st store.Store) string {
	q, err := st.Queues.Get(context.Background(), "inline")
	if err != nil {
		panic(err)
	}
	return q.Head
}

func TestPositionsInSystemsAreTheirOwn(t *testing.T) {
	st := newBus(t)
	err := st.Bots.Checkpoint(context.Background(), store.CheckpointWrite{
		Bot: "other", Ref: "system:files", Checkpoint: store.Checkpoint{Position: "orders.csv:17"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if r := check(t, st, Options{}); !r.OK() {
		t.Errorf("faults: %v", r.Faults)
	}
}

func TestADeadLetterWithoutItsInputIsFound(t *testing.T) {
	for _, payload := range []string{`{"reason":"bad-line"}`, `{"text":"no letter"}`} {
		st := newBus(t)
		intake(t, st, fmt.Sprintf(`{"id":"someone","event":%q,"payload":%s}`+"\n", deadletter.Queue, payload))
		wantRule(t, check(t, st, Options{}), RuleDeadLetter)
	}
}

func TestFaultsAreCountedBeyondThoseThatAreKept(t *testing.T) {
	st := newBus(t)
	st.Chunks = editedChunks{st.Chunks, func(k *store.Chunk) bool {
		k.Size++
		return true
	}}
	r := check(t, st, Options{MaxFaults: 2})
	if len(r.Faults) != 2 || r.FaultCount < 6 {
		t.Errorf("%d faults are kept and %d counted", len(r.Faults), r.FaultCount)
	}
}

// undecodable is an index whose nth item of queue inline is no chunk.
type undecodable struct {
	store.Chunks
	end string
}

func (u undecodable) Query(ctx context.Context, queue, after, through string, limit, maxBytes int) (store.Page, error) {
	page, err := u.Chunks.Query(ctx, queue, after, through, limit, maxBytes)
	for i, k := range page.Chunks {
		switch {
		case queue != "inline" || k.End != u.end:
		case i > 0:
			return store.Page{Chunks: page.Chunks[:i], More: true}, nil
		default:
			return store.Page{}, &store.ChunkError{Chunk: store.Chunk{Queue: queue, End: k.End}, Err: fmt.Errorf("%w: no start", store.ErrCorrupt)}
		}
	}
	return page, err
}

func TestAnItemThatIsNoChunkIsAFaultAndTheRestIsChecked(t *testing.T) {
	st := newBus(t)
	page, err := st.Chunks.Query(t.Context(), "inline", "", beyond, 0, 0)
	if err != nil || len(page.Chunks) != 4 {
		t.Fatal(page, err)
	}
	st.Chunks = undecodable{st.Chunks, page.Chunks[1].End}
	r := check(t, st, Options{})
	wantRule(t, r, RuleBody)
	for _, q := range r.Queues {
		if q.Name == "inline" && (q.Chunks != 4 || q.Events != 30) {
			t.Errorf("%+v", q)
		}
	}
}

func TestFailuresOfTheStorageAreErrorsNotFaults(t *testing.T) {
	st := newBus(t)
	broken := errors.New("the disk is gone")
	st.Chunks = brokenChunks{st.Chunks, broken}
	if _, err := Run(context.Background(), st, Options{}); !errors.Is(err, broken) {
		t.Errorf("error: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, newBus(t), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error of an ended context: %v", err)
	}
}

type brokenChunks struct {
	store.Chunks
	err error
}

func (b brokenChunks) Query(context.Context, string, string, string, int, int) (store.Page, error) {
	return store.Page{}, b.err
}

func TestAReportIsJSON(t *testing.T) {
	text, err := json.Marshal(check(t, newBus(t), Options{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"fault_count":0`, `"faults":[]`, `"dead_letters":{"bad-line":1}`, `"queue":"inline"`} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%s is not in %s", want, text)
		}
	}
}

// A bot that begins at the newest event has a date where there is none.
func TestABotThatBeganAtAnEmptyQueuesEndIsNoFault(t *testing.T) {
	st := newBus(t)
	bus := rstreams.New(st, rstreams.Options{})
	_, err := bus.Offload(t.Context(), rstreams.OffloadOptions{Bot: "fresh", From: []string{"empty"}, Read: rstreams.ReadOptions{From: rstreams.Latest()}},
		func(context.Context, rstreams.Event) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if r := check(t, st, Options{}); len(r.Faults) > 0 {
		t.Errorf("%v", r.Faults)
	}
}
