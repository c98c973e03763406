package rstreams_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// sendLines sends lines as they are, as a writer of any kind may.
func sendLines(t *testing.T, bus *rstreams.Bus, text string) {
	t.Helper()
	acks, err := bus.Store().Intake.Put(t.Context(), []store.Record{{PartitionKey: "0", HashKey: "0", Data: []byte(text)}})
	if err != nil || acks[0].Err != nil {
		t.Fatal(acks, err)
	}
}

func TestUnusualEventsAreDeliveredUnchanged(t *testing.T) { // R11
	onEveryBackend(t, func(t *testing.T, bus *rstreams.Bus) {
		payloads := []string{
			`{"n":9007199254740993,"f":0.1e-7,"big":123456789012345678901234567890}`, `"\ud800 alone"`, "{\"sep\":\"a\u2028b\u2029c\"}",
			`{"html":"<a href='x'>&amp;</a>","nul":"\u0000"}`, `[[[[{"é":"日本語 🎉"}]]]]`, `"` + strings.Repeat("x", 5<<20) + `"`, `{"a":1,"a":2}`,
		}
		for i, p := range payloads {
			envelope := `"event":"q"`
			if i%2 == 1 {
				envelope = `"event":{"opts":{},"type":"queue","id":"q"}`
			}
			sendLines(t, bus, fmt.Sprintf(`{"id":"b",%s,"timestamp":1,"event_source_timestamp":2,"extra":{"x":[1,2.50]},"payload":%s,"units":3}`+"\n", envelope, p))
		}
		var got []string
		for e, err := range bus.Read(t.Context(), "q", rstreams.ReadOptions{Start: "z/"}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(e.Payload))
			if e.Queue != "q" || e.Bot != "b" || e.Units != 3 || len(e.Extra) != 1 || string(e.Extra[0].Value) != `{"x":[1,2.50]}` {
				t.Errorf("event %s: queue %q, extra %v", e.EID, e.Queue, e.Extra)
			}
		}
		if !slices.Equal(got, payloads) {
			t.Errorf("got %.300q", got)
		}
	})
}

func TestEventsNameTheQueueThatIsReadInEverySegment(t *testing.T) { // R2
	bus, ids := segmented(t)
	for i, start := range []string{"z/", ids[3], ids[8], ids[15]} {
		for e, err := range bus.Read(t.Context(), "queue:q", rstreams.ReadOptions{Start: start}) {
			if err != nil || e.Queue != "q" {
				t.Fatalf("read %d: event %s of queue %q, %v", i, e.EID, e.Queue, err)
			}
		}
	}
}

func TestObjectsOfTheLoaderAreReadLikeThoseOfWriters(t *testing.T) { // R14
	onEveryBackend(t, func(t *testing.T, bus *rstreams.Bus) {
		for _, creator := range []string{"", "firehose"} {
			queue := "q" + creator
			var body bytes.Buffer
			p := chunk.Pointer{Queue: queue, Creator: creator, Timestamp: 5, SourceTimestamp: 4, Correlations: json.RawMessage("[]")}
			for s := range 3 {
				var text []byte
				for k := range 4 {
					text = fmt.Appendf(text, `{"id":"b","event":%q,"eid":%d,"payload":{"i":%d}}`+"\n", queue, k, 4*s+k)
				}
				gz := chunk.AppendGzip(nil, text)
				p.Offsets = append(p.Offsets, store.Offset{
					Event: queue, Start: p.Records, End: p.Records + 3, Records: 4, Size: int64(len(text)), GzipSize: int64(len(gz)),
					Offset: p.Size, GzipOffset: p.GzipSize,
				})
				p.Records, p.Size, p.GzipSize = p.Records+4, p.Size+int64(len(text)), p.GzipSize+int64(len(gz))
				body.Write(gz)
			}
			var err error
			if p.Blob, _, err = bus.Store().Blobs.Put(t.Context(), "bus/"+queue+"/z/2026/11/21/00/00/1-0000001-x.gz", &body); err != nil {
				t.Fatal(err)
			}
			line, err := chunk.AppendPointer(nil, &p)
			if err != nil {
				t.Fatal(err)
			}
			sendLines(t, bus, string(line))
			ids, values, err := read(newReader(t, bus, queue, rstreams.ReadOptions{Start: "z/"}))
			if err != nil {
				t.Fatal(err)
			}
			wantRange(t, values, 0, 12)
			for i, id := range ids { // R3
				_, values, err := read(newReader(t, bus, queue, rstreams.ReadOptions{Start: id}))
				if err != nil {
					t.Fatal(err)
				}
				wantRange(t, values, i+1, 12)
			}
		}
	})
}
