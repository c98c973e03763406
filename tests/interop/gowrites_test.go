//go:build aws

package interop

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func goWritesRows() []row {
	return []row{
		{"W1", "records are gzip of lines of JSON, each with its newline, and nothing else", recordForm},
		{"W2", "lines have the members that the bus needs; payloads that it would drop are refused", lineMembers},
		{"W3", "Node reads what was put: nothing is escaped for HTML, numbers keep their digits", payloadsUnchanged},
		{"W4", "pointers have Node's members, and their sums and offsets are consistent", pointers},
		{"W5", "Node reads our objects whole, from every event on, and with fast_s3_read", objectsRead},
		{"W6", "a bot's write checkpoints have the same statistics, inline and by pointer", statistics},
		{"W7", "chunks close where Node's do, if asked to; records and requests keep Kinesis's limits", chunkBounds},
		{"W8", "records go to the shards to which Node's go, by default and by queue", shards},
		{"W9", "an oversize event arrives in its own queue and Node reads it (the original: in the writer's)", oversize},
		{"W10", "refused records cost neither order nor events, and none comes twice", refusals},
		{"W11", "Firehose gets plain lines, or base64 of gzip, and Node reads the events", firehoseWrites},
		{"W12", "Node reading from z/ gets our snapshot, then the live queue", snapshotWrites},
		{"W13", "Node reads our archive, with the events' own ids, then the live queue", archiveWrites},
		{"W14", "partial lineage travels as lineage: partial_start is never on the wire", lineageForm},
	}
}

func recordForm(w *world) {
	queue := w.name("form")
	w.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: queue, Chunk: rstreams.ChunkOptions{Records: 7}}, numbered(0, 40, 30)...)
	w.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: queue, Path: rstreams.PathBlobs}, numbered(40, 5, 0)...)
	w.published(queue, 45)
	records := w.sent(queue)
	if len(records) < 7 {
		w.Errorf("%d records", len(records))
	}
	for i, r := range records {
		if !bytes.HasPrefix(r.data, []byte{0x1f, 0x8b, 0x08}) {
			w.Errorf("record %d begins % x", i, r.data[:min(len(r.data), 4)])
		}
		if !strings.HasSuffix(r.text, "\n") || strings.Contains(r.text, "\r") || strings.HasPrefix(r.text, "\ufeff") || strings.Contains(r.text, "\n\n") {
			w.Errorf("record %d is %.200q", i, r.text)
		}
		for _, line := range r.lines {
			if !json.Valid([]byte(line)) || line[0] != '{' {
				w.Errorf("record %d has the line %.200q", i, line)
			}
		}
	}
	// The processor of the original looks at the base64 text: H is what gzip begins with.
	if got := w.nodeRead(queue, map[string]any{"start": "z/"}); len(got) != 45 {
		w.Errorf("Node reads %d of 45 events", len(got))
	}
}

func lineMembers(w *world) {
	queue, bot := w.name("members"), w.name("writer")
	w.write(rstreams.WriterOptions{Bot: bot, Queue: queue}, numbered(0, 12, 0)...)
	w.published(queue, 12)
	for _, r := range w.sent(queue) {
		for i, e := range r.events {
			if text(e["id"]) != bot || text(e["event"]) != queue || len(e["payload"]) == 0 || integer(w, e["eid"]) != int64(i) ||
				integer(w, e["timestamp"]) <= 0 || integer(w, e["event_source_timestamp"]) <= 0 {
				w.Errorf("line %d: %s", i, r.lines[i])
			}
		}
	}
	wr, err := w.sdk.NewWriter(rstreams.WriterOptions{Bot: bot, Queue: queue})
	w.ok(err)
	for _, p := range []any{nil, 0, false, "", 0.0} {
		if _, err := wr.Put(w.Context(), p); !errors.Is(err, event.ErrFalsyPayload) {
			w.Errorf("the payload %v: %v", p, err)
		}
	}
	for _, p := range []string{"null", "-0", "0.0", "0e5", `""`, " false "} {
		if _, err := wr.PutRaw(w.Context(), json.RawMessage(p)); !errors.Is(err, event.ErrFalsyPayload) {
			w.Errorf("the payload %s: %v", p, err)
		}
	}
	w.ok(wr.Close(w.Context()))
}

func payloadsUnchanged(w *world) {
	queue := w.name("payloads")
	payloads := []string{
		`{"n":0,"html":"<a href='x'>&amp;</a>","sep":"\u2028\u2029","text":"häß 日本 😀"}`,
		`{"n":1,"num":[1.50,1e3,-0.25,9007199254740991,0.1,1E-7],"nested":{"a":[null,true,false,{}],"":1}}`,
		`{"n":2,"ctl":"\u0000\u001f\t\"\\\/","lone":"\ud800x","del":"\u007f"}`,
		`[{"n":3},[],""]`, `"text"`, `true`, `42`, `{}`, `[]`,
	}
	wr, err := w.sdk.NewWriter(rstreams.WriterOptions{Bot: w.name("writer"), Queue: queue})
	w.ok(err)
	for _, p := range payloads {
		_, err := wr.PutRaw(w.Context(), json.RawMessage(p))
		w.ok(err)
	}
	_, err = wr.Put(w.Context(), map[string]any{"tag": "<b>&</b>"})
	w.ok(err)
	w.ok(wr.Close(w.Context()))
	w.published(queue, len(payloads)+1)
	all := ""
	for _, r := range w.sent(queue) {
		all += r.text
	}
	for _, want := range []string{`<a href='x'>&amp;</a>`, `[1.50,1e3,-0.25,9007199254740991,0.1,1E-7]`, `<b>&</b>`} {
		if !strings.Contains(all, want) {
			w.Errorf("%s is not on the wire as it was put", want)
		}
	}
	var got []struct{ Payload json.RawMessage }
	w.do("read", map[string]any{"bot": w.name("reader"), "queue": queue, "opts": map[string]any{"start": "z/"}}, &got)
	if len(got) != len(payloads)+1 {
		w.Fatalf("Node reads %d events", len(got))
	}
	var equal []bool
	texts := make([]string, len(payloads))
	for i := range payloads {
		texts[i] = string(got[i].Payload)
	}
	w.do("equal", map[string]any{"a": payloads, "b": texts}, &equal)
	for i, same := range equal {
		if !same {
			w.Errorf("%s arrives in Node as %s", payloads[i], got[i].Payload)
		}
	}
}

// pointerOf returns the first pointer that was sent for a queue.
func (w *world) pointerOf(queue string) members {
	w.Helper()
	for _, r := range w.sent(queue) {
		for _, e := range r.events {
			if len(e["s3"]) > 0 {
				return e
			}
		}
	}
	w.Fatalf("no pointer was sent for %s", queue)
	return nil
}

func pointers(w *world) {
	ours, theirs := w.name("ours"), w.name("theirs")
	w.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: ours, Path: rstreams.PathBlobs, Blobs: rstreams.BlobOptions{SectionBytes: 1000}},
		numbered(0, 60, 40)...)
	w.nodeWrite(w.name("writer"), theirs, 0, 60, 40, forms[2].opts)
	w.published(ours, 60)
	w.published(theirs, 60)
	a, b := w.pointerOf(ours), w.pointerOf(theirs)
	same := func(what string, a, b members) {
		if !slices.Equal(names(a), names(b)) {
			w.Errorf("%s: ours has %v, Node's %v", what, names(a), names(b))
		}
	}
	same("a pointer", a, b)
	same("s3", object(w, a["s3"]), object(w, b["s3"]))
	same("stats", object(w, a["stats"]), object(w, b["stats"]))
	same("a bot's stats", object(w, object(w, a["stats"])[w.name("writer")]), object(w, object(w, b["stats"])[w.name("writer")]))
	for who, p := range map[string]members{"ours": a, "Node's": b} {
		offsets := objects(w, p["offsets"])
		same("an offset of "+who, offsets[0], objects(w, b["offsets"])[0])
		var records, size, gzipSize, index int64
		for i, o := range offsets {
			if integer(w, o["gzipOffset"]) != gzipSize || integer(w, o["offset"]) != size || integer(w, o["start"]) != index {
				w.Errorf("%s: section %d begins at %s, %s, %s; before it are %d bytes, %d compressed, %d events", who, i, o["offset"], o["gzipOffset"], o["start"], size, gzipSize, index)
			}
			records += integer(w, o["records"])
			size += integer(w, o["size"])
			gzipSize += integer(w, o["gzipSize"])
			if index = integer(w, o["end"]) + 1; index != records {
				w.Errorf("%s: section %d ends at %s after %d events", who, i, o["end"], records)
			}
		}
		if string(p["start"]) != "null" || integer(w, p["end"]) != records-1 || integer(w, p["records"]) != records || integer(w, p["size"]) != size || integer(w, p["gzipSize"]) != gzipSize {
			w.Errorf("%s: the sections have %d events, %d bytes, %d compressed: %s", who, records, size, gzipSize, fmt.Sprint(p))
		}
		// What the object itself holds.
		var ref store.BlobRef
		w.ok(json.Unmarshal(p["s3"], &ref))
		var body bytes.Buffer
		r, err := w.store.Blobs.Get(w.Context(), ref, 0, -1)
		w.ok(err)
		_, err = body.ReadFrom(r)
		w.ok(errors.Join(err, r.Close()))
		if int64(body.Len()) != gzipSize {
			w.Errorf("%s: the object has %d bytes, the pointer %d", who, body.Len(), gzipSize)
		}
		for i, o := range offsets {
			from := integer(w, o["gzipOffset"])
			member := gunzip(w, body.Bytes()[from:from+integer(w, o["gzipSize"])])
			if int64(len(member)) != integer(w, o["size"]) || int64(strings.Count(member, "\n")) != integer(w, o["records"]) {
				w.Errorf("%s: section %d is not what its entry says", who, i)
			}
		}
	}
	if n := len(objects(w, a["offsets"])); n < 2 {
		w.Errorf("ours has %d sections", n)
	}
}

func objectsRead(w *world) {
	queue := w.name("objects")
	const count = 60
	w.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: queue, Path: rstreams.PathBlobs,
		Blobs: rstreams.BlobOptions{SectionBytes: 1000, Sections: 4}}, numbered(0, count, 40)...)
	all := places(w.published(queue, count))
	w.inOrder(all, 0, count)
	for i := -1; i < count; i++ {
		start := "z/"
		if i >= 0 {
			start = all[i].EID
		}
		if got := w.nodeRead(queue, map[string]any{"start": start}); !slices.Equal(got, all[i+1:]) {
			w.Fatalf("Node, from %s: %v", start, got)
		}
		if got := w.nodeRead(queue, map[string]any{"start": start, "fast_s3_read": true}); i%7 == 0 && !slices.Equal(got, all[i+1:]) {
			w.Fatalf("Node with fast_s3_read, from %s: %v", start, got)
		}
	}
}

func statistics(w *world) {
	one, two := w.name("one"), w.name("two")
	for _, id := range []string{one, two} { // Bots that nobody registered have no statistics.
		w.ok(w.store.Bots.Register(w.Context(), store.Registration{ID: id}))
	}
	const t0 = 1_795_228_519_000
	type in struct {
		bot           string
		made, source  int64
		units, writer int64
	}
	list := []in{{one, t0 + 10, t0 + 5, 1, 0}, {two, t0 + 20, t0 + 1, 3, 0}, {one, t0 + 30, t0 + 2, 5, 0}, {one, t0 + 25, t0 + 9, 0, 0}, {two, t0 + 40, t0 + 40, 2, 0}}
	for _, path := range []rstreams.Path{rstreams.PathIntake, rstreams.PathBlobs} {
		form := "inline"
		var opts map[string]any
		if path == rstreams.PathBlobs {
			form, opts = "pointer", map[string]any{"useS3": true}
		}
		ours, theirs := w.name("ours-"+form), w.name("theirs-"+form)
		wr, err := w.sdk.NewWriter(rstreams.WriterOptions{Bot: one, Queue: ours, Path: path})
		w.ok(err)
		var events []map[string]any
		for i, e := range list {
			p := map[string]any{"n": i}
			text, err := json.Marshal(p)
			w.ok(err)
			_, err = wr.PutEvent(w.Context(), rstreams.Event{Bot: e.bot, Payload: text, Timestamp: e.made, SourceTimestamp: e.source, Units: e.units})
			w.ok(err)
			line := map[string]any{"id": e.bot, "payload": p, "timestamp": e.made, "event_source_timestamp": e.source}
			if e.units > 0 {
				line["units"] = e.units
			}
			events = append(events, line)
		}
		w.ok(wr.Close(w.Context()))
		w.do("write", map[string]any{"bot": one, "queue": theirs, "opts": opts, "events": events}, nil)
		w.published(ours, len(list))
		w.published(theirs, len(list))
		for _, id := range []string{one, two} {
			var a, b store.Checkpoint
			w.eventually("write checkpoints of "+id, func() bool {
				row, err := w.store.Bots.Get(w.Context(), id)
				w.ok(err)
				a, b = row.Write["queue:"+ours], row.Write["queue:"+theirs]
				return a.Position != "" && b.Position != ""
			})
			a.Position, b.Position = "", ""
			if a.Records != b.Records || a.SourceTimestamp != b.SourceTimestamp || a.Records == 0 {
				w.Errorf("%s, %s: ours %+v, Node's %+v", form, id, a, b)
			}
		}
		if path == rstreams.PathBlobs {
			a, b := w.pointerOf(ours)["stats"], w.pointerOf(theirs)["stats"]
			if !sameJSON(a, b) {
				w.Errorf("the pointer's stats are %s, Node's %s", a, b)
			}
		}
	}
}

// leoBounds checks that chunks of lines close no later than Node's: at 100 events or 204,800 bytes, which the last event may exceed.
func leoBounds(records []sentRecord) error {
	for i, r := range records {
		size := 0
		for k, line := range r.lines {
			if k >= 100 || size >= 204_800 {
				return fmt.Errorf("chunk %d goes on after %d events and %d bytes", i, k, size)
			}
			size += len(line) + 1
		}
		if i < len(records)-1 && len(r.lines) < 100 && size < 204_800 {
			return fmt.Errorf("chunk %d ends after %d events and %d bytes", i, len(r.lines), size)
		}
	}
	return nil
}

func chunkBounds(w *world) {
	theirs, ours := w.name("node"), w.name("ours")
	chunks := rstreams.LeoChunks()
	chunks.Linger = -1 // Node's 200 ms are a bound too, but not one to test by the clock.
	for _, pad := range []int{0, 3000} {
		a, b := fmt.Sprint(theirs, pad), fmt.Sprint(ours, pad)
		w.nodeWrite(w.name("writer"), a, 0, 250, pad, nil)
		w.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: b, Chunk: chunks}, numbered(0, 250, pad)...)
		w.published(a, 250)
		w.published(b, 250)
		if err := leoBounds(w.sent(b)); err != nil {
			w.Errorf("ours, pad %d: %v", pad, err)
		}
		// A slow moment may have closed a chunk of Node's before it was full.
		if err := leoBounds(w.sent(a)); err != nil {
			w.Logf("Node, pad %d: %v", pad, err)
		}
	}
	// Without the parity bounds, the limits of Kinesis hold.
	tapped, t := w.tapped(nil)
	queue := w.name("limits")
	tapped.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: queue}, incompressible(3000, 3000)...)
	for i, call := range t.calls {
		total := 0
		for _, r := range call {
			size := len(r.Data) + len(r.PartitionKey)
			total += size
			if size > 1<<20 {
				w.Errorf("call %d has a record of %d bytes", i, size)
			}
		}
		if total > 5<<20 || len(call) > 500 {
			w.Errorf("call %d has %d records of %d bytes", i, len(call), total)
		}
	}
	w.inOrder(places(w.published(queue, 3000)), 0, 3000)
}

// incompressible returns numbered payloads with members that gzip cannot shorten much.
func incompressible(count, size int) []any {
	out := make([]any, count)
	seed := uint64(1)
	for i := range out {
		pad := make([]byte, size)
		for k := range pad {
			seed = seed*6364136223846793005 + 1442695040888963407
			pad[k] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"[seed>>58]
		}
		out[i] = map[string]any{"n": i, "pad": string(pad)}
	}
	return out
}
