//go:build aws

package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func nodeWritesRows() []row {
	return []row{
		{"R1", "what Node writes inline is read alike by both: ids, payloads, times, lineage", inlineAlike},
		{"R2", "an event names the queue that was asked for, in archive and snapshot too", queueNames},
		{"R3", "resuming from every id delivers the successors, once and in order: inline, one section, several", resumeEverywhere},
		{"R4", "a ranged read begins at the first section whose end is past the start", rangedReads},
		{"R5", "start is exclusive, a prefix start includes what is below it, the end is inclusive", bounds},
		{"R6", "without a checkpoint, or with an empty one, reading starts today; an unknown queue is empty", defaultStart},
		{"R7", "a read from z/ takes the snapshot, then the live queue; a checkpoint in the snapshot resumes there", snapshots},
		{"R8", "a start below the archive's end reads the archive, then the live queue", archives},
		{"R9", "snapshot, archive and live queue follow one another, nothing skipped", allSegments},
		{"R10", "limit, bytes and a time in the past end a read where Node ends it", limits},
		{"R11", "odd events arrive unchanged: object queue names, unknown members, big numbers, lone surrogates, long lines", oddEvents},
		{"R12", "legacy items are refused with an error, never misread", legacyItems},
		{"R13", "a stored line number that is not the line's place is reported", lineNumbers},
		{"R14", "events by Firehose read like others", firehoseItems},
		{"R15", "what cannot be read is an error: a missing object, a broken chunk, a service that fails", readErrors},
	}
}

func inlineAlike(w *world) {
	queue := w.name("inline")
	events := []map[string]any{
		{"payload": map[string]any{"n": 0, "text": "häß <&> \u2028 日本 😀"}},
		{"payload": map[string]any{"n": 1}, "event_source_timestamp": 1704164645678, "timestamp": 1704164645999},
		{"payload": map[string]any{"n": 2}, "correlation_id": map[string]any{"source": "up", "start": "z/2024/01/02/03/04/1704164645678-0000005", "units": 3}},
		{"payload": map[string]any{"n": 3}, "units": 7, "custom": map[string]any{"deep": []any{1, nil, "x"}}},
		{"payload": []any{1, 2, 3}},
		{"payload": "just text"},
	}
	w.do("write", map[string]any{"bot": w.name("writer"), "queue": queue, "events": events}, nil)
	ours := w.published(queue, len(events))

	var theirs []map[string]any
	w.do("read", map[string]any{"bot": w.name("reader"), "queue": queue, "opts": map[string]any{"start": "z/"}}, &theirs)
	if len(theirs) != len(ours) {
		w.Fatalf("Node reads %d events, we %d", len(theirs), len(ours))
	}
	for i, e := range ours {
		t := theirs[i]
		text, err := json.Marshal(t["payload"])
		w.ok(err)
		if t["eid"] != e.EID || t["id"] != e.Bot || t["event"] != e.Queue || !sameJSON(text, e.Payload) ||
			number(t["timestamp"]) != e.Timestamp || number(t["event_source_timestamp"]) != e.SourceTimestamp {
			w.Errorf("event %d: Node %v\nwe %+v", i, t, e)
		}
		want, _ := json.Marshal(events[i]["payload"])
		if !sameJSON(want, e.Payload) {
			w.Errorf("event %d was written as %s and read as %s", i, want, e.Payload)
		}
		if c, ok := t["correlation_id"].(map[string]any); ok != (e.Correlation != nil) ||
			ok && (c["source"] != e.Correlation.Source || c["start"] != e.Correlation.Start || number(c["units"]) != e.Correlation.Units) {
			w.Errorf("event %d: lineage: Node %v, we %+v", i, c, e.Correlation)
		}
	}
}

// sameJSON compares as JSON, with numbers as they are written.
func sameJSON(a, b []byte) bool {
	decode := func(text []byte) any {
		dec := json.NewDecoder(strings.NewReader(string(text)))
		dec.UseNumber()
		var v any
		if dec.Decode(&v) != nil {
			return string(text)
		}
		return v
	}
	return reflect.DeepEqual(decode(a), decode(b))
}

func number(v any) int64 {
	n, _ := v.(json.Number)
	i, _ := n.Int64()
	return i
}

// forms are the ways in which Node stores events.
var forms = []struct {
	name string
	opts map[string]any
}{
	{"inline", nil},
	{"one-section", map[string]any{"useS3": true}},
	{"sections", map[string]any{"useS3": true, "s3Opts": map[string]any{"records": 7}, "records": 7}},
}

func resumeEverywhere(w *world) {
	const count = 30
	for _, f := range forms {
		queue := w.name(f.name)
		w.nodeWrite(w.name("writer"), queue, 0, count, 40, f.opts)
		all := places(w.published(queue, count))
		w.inOrder(all, 0, count)
		for i, p := range all {
			rest := all[i+1:]
			if got := places(w.read(queue, rstreams.ReadOptions{Start: p.EID})); !slices.Equal(got, rest) {
				w.Fatalf("%s: we, after %s: %v, want %v", f.name, p.EID, got, rest)
			}
			if got := w.nodeRead(queue, map[string]any{"start": p.EID}); !slices.Equal(got, rest) {
				w.Fatalf("%s: Node, after %s: %v, want %v", f.name, p.EID, got, rest)
			}
		}
	}
}

// watched is a Blobs that notes ranges.
type watched struct {
	store.Blobs
	mu     sync.Mutex
	ranges [][2]int64
	fail   error
}

func (b *watched) Get(ctx context.Context, r store.BlobRef, offset, length int64) (io.ReadCloser, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ranges = append(b.ranges, [2]int64{offset, length})
	if b.fail != nil {
		return nil, b.fail
	}
	return b.Blobs.Get(ctx, r, offset, length)
}

// stored returns all chunks of a queue.
func (w *world) stored(queue string) []store.Chunk {
	w.Helper()
	page, err := w.store.Chunks.Query(w.Context(), queue, "", "z~", 0, 0)
	w.ok(err)
	return page.Chunks
}

func rangedReads(w *world) {
	queue := w.name("sections")
	w.nodeWrite(w.name("writer"), queue, 0, 40, 40, forms[2].opts)
	all := places(w.published(queue, 40))
	chunks := w.stored(queue)
	index := slices.IndexFunc(chunks, func(c store.Chunk) bool { return len(c.Offsets) > 1 })
	if index < 0 {
		w.Fatalf("Node made no object of several sections: %+v", chunks)
	}
	c := chunks[index]
	start, err := eid.Parse(c.Start)
	w.ok(err)
	for _, o := range c.Offsets {
		last, err := start.Add(int(o.End))
		w.ok(err)
		b := &watched{Blobs: w.store.Blobs}
		st := w.store
		st.Blobs = b
		one := *w
		one.sdk = rstreams.New(st, rstreams.Options{})
		at := slices.IndexFunc(all, func(p place) bool { return p.EID == last.String() })
		got := places(one.read(queue, rstreams.ReadOptions{Start: last.String(), End: c.End}))
		if !slices.Equal(got, all[at+1:at+1+int(c.Records-1-o.End)]) {
			w.Fatalf("after section that ends at %d: %v", o.End, got)
		}
		for _, r := range b.ranges {
			if r[0] < o.GzipOffset+o.GzipSize {
				w.Errorf("after the section at %d..%d the object is read from %d", o.GzipOffset, o.GzipOffset+o.GzipSize, r[0])
			}
		}
	}
}

func bounds(w *world) {
	queue := w.name("bounds")
	w.nodeWrite(w.name("writer"), queue, 0, 20, 0, nil)
	all := places(w.published(queue, 20))
	day := all[0].EID[:len("z/2026/11/21")]
	for _, o := range []struct {
		ours  rstreams.ReadOptions
		node  map[string]any
		first int
		last  int
	}{
		{rstreams.ReadOptions{Start: all[4].EID}, map[string]any{"start": all[4].EID}, 5, 20},
		{rstreams.ReadOptions{Start: day}, map[string]any{"start": day}, 0, 20},
		{rstreams.ReadOptions{Start: "z/", End: all[19].EID, EndByChunk: true}, map[string]any{"start": "z/", "maxOverride": all[19].EID}, 0, 20},
		{rstreams.ReadOptions{Start: "z/", End: all[9].EID, EndByChunk: true}, map[string]any{"start": "z/", "maxOverride": all[9].EID}, 0, 0},
	} {
		if got := places(w.read(queue, o.ours)); !slices.Equal(got, all[o.first:o.last]) {
			w.Errorf("we, %+v: %v", o.node, got)
		}
		if got := w.nodeRead(queue, o.node); !slices.Equal(got, all[o.first:o.last]) {
			w.Errorf("Node, %+v: %v", o.node, got)
		}
	}
	if got := places(w.read(queue, rstreams.ReadOptions{Start: "z/", End: all[9].EID})); !slices.Equal(got, all[:10]) {
		w.Errorf("an end inside a chunk: %v", got)
	}
}

func defaultStart(w *world) {
	queue := w.name("today")
	// An event of the day before, as a chunk of its own, and one of today.
	old, err := eid.New(time.Now().Add(-36*time.Hour).UnixMilli(), 0)
	w.ok(err)
	w.putChunk(queue, old, `{"id":"b","event":"`+queue+`","payload":{"n":0},"eid":0}`+"\n", 1)
	w.nodeWrite(w.name("writer"), queue, 1, 1, 0, nil)
	w.published(queue, 2)
	bot := w.name("placeholder")
	w.ok(w.store.Bots.Register(w.Context(), store.Registration{ID: bot, Triggers: []string{queue}}))
	for _, b := range []string{w.name("unknown-bot"), bot} {
		if got := places(w.read(queue, rstreams.ReadOptions{Bot: b})); len(got) != 1 || got[0].N != 1 {
			w.Errorf("we, as %s: %v", b, got)
		}
		if got := w.nodeReadAs(b, queue, nil); len(got) != 1 || got[0].N != 1 {
			w.Errorf("Node, as %s: %v", b, got)
		}
	}
	if got := w.read(w.name("never-written"), rstreams.ReadOptions{Start: "z/"}); len(got) != 0 {
		w.Errorf("an unknown queue holds %v", got)
	}
	if got := w.nodeRead(w.name("never-written"), map[string]any{"start": "z/"}); len(got) != 0 {
		w.Errorf("Node: an unknown queue holds %v", got)
	}
}

func limits(w *world) {
	queue := w.name("limits")
	w.nodeWrite(w.name("writer"), queue, 0, 25, 0, nil)
	all := places(w.published(queue, 25))
	for _, limit := range []int{1, 7, 25, 100} {
		want := all[:min(limit, 25)]
		if got := places(w.read(queue, rstreams.ReadOptions{Start: "z/", Limit: int64(limit)})); !slices.Equal(got, want) {
			w.Errorf("we, limit %d: %v", limit, got)
		}
		if got := w.nodeRead(queue, map[string]any{"start": "z/", "limit": limit}); !slices.Equal(got, want) {
			w.Errorf("Node, limit %d: %v", limit, got)
		}
	}
	if got := w.read(queue, rstreams.ReadOptions{Start: "z/", StopAt: time.Now().Add(-time.Minute)}); len(got) != 0 {
		w.Errorf("we, a time in the past: %d events", len(got))
	}
	if got := w.nodeRead(queue, map[string]any{"start": "z/", "stopTime": time.Now().Add(-time.Minute).UnixMilli()}); len(got) != 0 {
		w.Errorf("Node, a time in the past: %d events", len(got))
	}
	line := w.read(queue, rstreams.ReadOptions{Start: "z/", Bytes: 1})
	if len(line) != 1 {
		w.Errorf("one byte is reached after %d events", len(line))
	}
}

func oddEvents(w *world) {
	queue := w.name("odd")
	long := strings.Repeat("0123456789", 500_000)
	lines := []string{
		`{"id":"b","event":{"opts":{},"type":"queue","id":"` + queue + `"},"payload":{"n":0}}`,
		`{"id":"b","event":"` + queue + `","payload":{"n":1,"big":12345678901234567890,"neg":-0,"exp":1e21},"zzz":{"a":[1,2]},"timestamp":1704164645678}`,
		`{"id":"b","event":"queue:` + queue + `","payload":{"n":2,"s":"\ud800","sep":"\u2028"}}`,
		`{"event":"` + queue + `","payload":{"n":3,"no":"id"}}`,
	}
	acks, err := w.store.Intake.Put(w.Context(), []store.Record{{PartitionKey: "0", HashKey: "0", Data: []byte(strings.Join(lines, "\n") + "\n")}})
	w.ok(err)
	w.ok(acks[0].Err)
	w.published(queue, 3)
	// The line of 5 MB goes through an object, as Node sends it.
	w.do("write", map[string]any{"bot": "b", "queue": queue, "events": []any{map[string]any{"payload": map[string]any{"n": 4, "long": long}}}}, nil)
	events := w.published(queue, 4) // An event without id is a dead letter.
	w.Logf("events without an id become dead letters: %d of %d lines were published", len(events), len(lines)+1)
	for i, want := range []string{`{"n":0}`, `{"n":1,"big":12345678901234567890,"neg":-0,"exp":1e21}`, `{"n":2,"s":"\ud800","sep":"\u2028"}`, `{"n":4,"long":"` + long + `"}`} {
		if !sameJSON(events[i].Payload, []byte(want)) {
			w.Errorf("payload %d: %.200s", i, events[i].Payload)
		}
		if events[i].Queue != queue {
			w.Errorf("event %d names queue %s", i, events[i].Queue)
		}
	}
	if !strings.Contains(string(events[1].Payload), "12345678901234567890") {
		w.Errorf("a number over 2^53 lost digits: %s", events[1].Payload)
	}
	if e := events[1]; e.Timestamp != 1704164645678 || len(e.Extra) != 1 || e.Extra[0].Name != "zzz" || !sameJSON(e.Extra[0].Value, []byte(`{"a":[1,2]}`)) {
		w.Errorf("times and unknown members: %d, %v", e.Timestamp, e.Extra)
	}
	// What is stored without an id, as older software may have left it, is delivered by both.
	bare := w.name("bare")
	first, err := eid.New(time.Now().UnixMilli(), 0)
	w.ok(err)
	w.putChunk(bare, first, `{"event":"`+bare+`","payload":{"n":7},"eid":0,"odd":[null]}`+"\n", 1)
	w.bothRead(bare, "z/", []place{{first.String(), 7}})
	if e := w.read(bare, rstreams.ReadOptions{Start: "z/"})[0]; e.Bot != "" || len(e.Extra) != 1 || e.Extra[0].Name != "odd" {
		w.Errorf("an event without an id: %+v", e)
	}
	if got := w.nodeRead(queue, map[string]any{"start": "z/"}); len(got) != 4 || got[3].N != 4 || got[3].EID != events[3].EID {
		w.Errorf("Node reads %v", got)
	}
}

func (w *world) putLegacy(queue string, more awstest.Item) string {
	id, err := eid.New(time.Now().UnixMilli(), 0)
	w.ok(err)
	item := awstest.Key("event", queue, "end", id.String(), "start", id.String())
	for k, v := range more {
		item[k] = v
	}
	awstest.PutItem(w, w.bus.Resources().LeoStream, item)
	head := awstest.Key("event", queue, "max_eid", id.String())
	head["v"] = &types.AttributeValueMemberN{Value: "2"}
	awstest.PutItem(w, w.bus.Resources().LeoEvent, head)
	return id.String()
}

func legacyItems(w *world) {
	for name, more := range map[string]awstest.Item{
		"no-gzip":      {"payload": &types.AttributeValueMemberS{Value: `{"n":1}`}, "records": &types.AttributeValueMemberN{Value: "1"}},
		"gzip-true":    {"gzip": &types.AttributeValueMemberBOOL{Value: true}, "payload": &types.AttributeValueMemberS{Value: `{"n":1}`}},
		"payload-only": {"payload": &types.AttributeValueMemberB{Value: []byte("x")}},
	} {
		queue := w.name(name)
		w.putLegacy(queue, more)
		got := 0
		var failed error
		for _, err := range w.sdk.Read(w.Context(), queue, rstreams.ReadOptions{Start: "z/"}) {
			if err != nil {
				failed = err
				break
			}
			got++
		}
		if failed == nil {
			w.Errorf("%s: %d events were read and no error", name, got)
		} else if !errors.Is(failed, store.ErrCorrupt) {
			w.Errorf("%s: the error has no type: %v", name, failed)
		}
	}
}

func lineNumbers(w *world) {
	queue := w.name("numbers")
	id, err := eid.New(time.Now().UnixMilli(), 0)
	w.ok(err)
	w.putChunk(queue, id, fmt.Sprintf(`{"id":"b","event":%q,"payload":{"n":0},"eid":0}
{"id":"b","event":%[1]q,"payload":{"n":1},"eid":5}
`, queue), 2)
	for _, err := range w.sdk.Read(w.Context(), queue, rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			w.Logf("reported: %v", err)
			return
		}
	}
	w.Error("a line that says it is line 5 was read as line 1")
}

func firehoseItems(w *world) {
	queue := w.name("firehose")
	w.nodeWrite(w.name("writer"), queue, 0, 30, 0, map[string]any{"firehose": true})
	w.loadFirehose()
	all := places(w.published(queue, 30))
	w.inOrder(all, 0, 30)
	if got := w.nodeRead(queue, map[string]any{"start": "z/"}); !slices.Equal(got, all) {
		w.Errorf("Node reads %v, we %v", got, all)
	}
	if got := w.nodeRead(queue, map[string]any{"start": all[9].EID}); !slices.Equal(got, all[10:]) {
		w.Errorf("Node, from the tenth: %v", got)
	}
}

func readErrors(w *world) {
	queue := w.name("gone")
	w.nodeWrite(w.name("writer"), queue, 0, 10, 0, forms[1].opts)
	w.published(queue, 10)
	c := w.stored(queue)[0]
	w.ok(w.store.Blobs.Delete(w.Context(), []string{c.Blob.Key}))
	w.fails(queue, "an object that is gone")

	broken := w.name("broken")
	id, err := eid.New(time.Now().UnixMilli(), 0)
	w.ok(err)
	w.putChunk(broken, id, `{"id":"b","event":"q","payload":{"n":0},"eid":0}`+"\nnot json\n", 2)
	w.fails(broken, "a line that is no JSON")

	// Faults of the services: none of them may look like the end of the queue (sdk.md fault 1: the original logs and ends).
	whole := w.name("whole")
	w.nodeWrite(w.name("writer"), whole, 0, 10, 0, forms[1].opts)
	w.published(whole, 10)
	for name, fault := range map[string]error{"refused": store.ErrInvalid, "not available": store.ErrUnavailable, "unknown": errors.New("connection reset")} {
		one := *w
		one.store.Blobs = &watched{Blobs: w.store.Blobs, fail: fault}
		one.sdk = rstreams.New(one.store, rstreams.Options{Logger: w.log})
		one.failsAs(whole, "S3: "+name, fault)
		one.store = w.store
		one.store.Chunks = brokenChunks{w.store.Chunks, fault}
		one.sdk = rstreams.New(one.store, rstreams.Options{Logger: w.log})
		one.failsAs(whole, "DynamoDB: "+name, fault)
	}
}

// brokenChunks is an index that cannot be read.
type brokenChunks struct {
	store.Chunks
	err error
}

func (b brokenChunks) Query(context.Context, string, string, string, int, int) (store.Page, error) {
	return store.Page{}, b.err
}

func (w *world) failsAs(queue, what string, want error) {
	w.Helper()
	for _, err := range w.sdk.Read(w.Context(), queue, rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			if !errors.Is(err, want) {
				w.Errorf("%s: %v, want %v", what, err, want)
			}
			return
		}
	}
	w.Errorf("%s: the read ended as if all were well", what)
}

// fails checks that a read of queue ends with an error.
func (w *world) fails(queue, what string) {
	w.Helper()
	for _, err := range w.sdk.Read(w.Context(), queue, rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			w.Logf("%s: %v", what, err)
			return
		}
	}
	w.Errorf("%s: the read ended as if all were well", what)
}
