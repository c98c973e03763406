package rstreams_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

func TestBadEventsAreRefusedAtOnce(t *testing.T) {
	s := &scripted{}
	w := newWriter(t, s, rstreams.WriterOptions{Queue: "q", MaxEventBytes: 1000})
	for _, c := range []struct {
		payload any
		want    error
	}{
		{nil, event.ErrFalsyPayload}, {0, event.ErrFalsyPayload}, {"", event.ErrFalsyPayload}, {false, event.ErrFalsyPayload},
		{strings.Repeat("x", 1000), rstreams.ErrTooLarge},
	} {
		if _, err := w.Put(t.Context(), c.payload); !errors.Is(err, c.want) {
			t.Fatalf("%.20v: %v", c.payload, err)
		}
	}
	if _, err := w.PutRaw(t.Context(), json.RawMessage(`{"a":`)); !errors.Is(err, event.ErrPayload) {
		t.Fatalf("broken JSON: %v", err)
	}
	if _, err := w.Put(t.Context(), func() {}); err == nil {
		t.Fatal("a function was taken")
	}
	if _, err := w.PutTo(t.Context(), "bad\nname", 1); err == nil {
		t.Fatal("a bad queue name was taken")
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(s.accepted) != 0 {
		t.Fatalf("%d records were sent", len(s.accepted))
	}
	if _, err := w.Put(t.Context(), 1); !errors.Is(err, rstreams.ErrClosed) {
		t.Fatalf("put after close: %v", err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatalf("second close: %v", err)
	}
}

func TestOversizeEventsArriveWholeInTheirOwnQueue(t *testing.T) {
	bus := rstreamstest.New(t)
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "writer", Queue: "q"})
	if err != nil {
		t.Fatal(err)
	}
	// Lines around the limit: leo-sdk loses those of 614392 to 614400 bytes (sdk.md 12).
	var want []int
	line, err := event.AppendLine(nil, &event.Event{
		Bot: "writer", Queue: "q", Payload: json.RawMessage(`"x"`), Timestamp: 1e12, SourceTimestamp: 1e12,
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	overhead := len(line) - 2
	for i, size := range []int{200, 614_300, 614_391, 614_392, 614_399, 614_400, 614_401, 614_402, 700_000, 5_000_000, 200} {
		if _, err := w.PutTo(t.Context(), []string{"q", "other"}[i%2], strings.Repeat("x", size-overhead)); err != nil {
			t.Fatal(err)
		}
		want = append(want, size-overhead)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := map[string][]int{}
	for _, queue := range []string{"q", "other"} {
		for _, s := range rstreamstest.Payloads[string](bus, queue) {
			got[queue] = append(got[queue], len(s))
		}
	}
	for i, size := range want {
		queue := []string{"q", "other"}[i%2]
		if len(got[queue]) <= i/2 || got[queue][i/2] != size {
			t.Fatalf("event %d of %s: got %v, want %d", i/2, queue, got[queue], size)
		}
	}
	blobs, err := bus.Store().Blobs.List(t.Context(), "bus/", "", 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		if !strings.HasPrefix(b.Key, "bus/q/writer/z/") && !strings.HasPrefix(b.Key, "bus/other/writer/z/") &&
			!strings.HasPrefix(b.Key, "bus/q/z/") && !strings.HasPrefix(b.Key, "bus/other/z/") {
			t.Errorf("object %s", b.Key)
		}
	}
}

func TestManyGoroutinesMayWrite(t *testing.T) {
	bus := rstreamstest.New(t)
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "writer", Chunk: rstreams.ChunkOptions{Records: 7}})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				if _, err := w.PutTo(t.Context(), fmt.Sprintf("q%d", g%4), map[string]int{"g": g, "i": i}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for q := range 4 {
		next := map[int]int{}
		for _, p := range rstreamstest.Payloads[map[string]int](bus, fmt.Sprintf("q%d", q)) {
			if next[p["g"]] != p["i"] {
				t.Fatalf("writer %d: got %d, want %d", p["g"], p["i"], next[p["g"]])
			}
			next[p["g"]]++
		}
		if next[q] != 200 || next[q+4] != 200 {
			t.Fatalf("%v", next)
		}
	}
}

func TestWriterOptionsAreChecked(t *testing.T) {
	bus := rstreamstest.New(t)
	for name, o := range map[string]rstreams.WriterOptions{
		"no bot":   {Queue: "q"},
		"bad name": {Bot: "b", Queue: "a\nb"},
		"negative": {Bot: "b", MaxBytes: -1},
	} {
		if _, err := bus.NewWriter(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := rstreams.New(store.Store{}, rstreams.Options{}).NewWriter(rstreams.WriterOptions{Bot: "b"}); err == nil {
		t.Error("no intake: no error")
	}
	if _, err := bus.Session(rstreams.Session{Bot: "b"}).NewWriter(rstreams.WriterOptions{Queue: "q"}); err != nil {
		t.Error(err)
	}
}

func TestOversizePointersHaveTheMembersOfLeoSDK(t *testing.T) {
	s := &scripted{}
	w := newWriter(t, s, rstreams.WriterOptions{Queue: "q"})
	correlation := &rstreams.Correlation{Source: "src", Start: "z/2026/11/21/00/00/1795219200000-0000001", Units: 3}
	_, err := w.PutEvent(t.Context(), rstreams.Event{
		Bot: "b", Payload: json.RawMessage(`"` + strings.Repeat("x", 700_000) + `"`), Timestamp: 1795219200002,
		SourceTimestamp: 1795219200001, Units: 5, Correlation: correlation,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, err := chunk.AppendGunzip(nil, s.accepted[0].Data, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	var p map[string]any
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	want := []string{"correlations", "end", "event", "event_source_timestamp", "gzipSize", "offsets", "records", "s3", "size", "start", "stats", "timestamp"}
	if got := slices.Sorted(maps.Keys(p)); !slices.Equal(got, want) {
		t.Fatalf("members %v, want %v", got, want)
	}
	section := p["offsets"].([]any)[0].(map[string]any)
	stat := p["stats"].(map[string]any)["b"].(map[string]any)
	source := p["correlations"].([]any)[0].(map[string]any)["src"].(map[string]any)
	for name, ok := range map[string]bool{
		"event": p["event"] == "q" && section["event"] == "q", "start": p["start"] == nil, "end": p["end"] == 0.0,
		"records": p["records"] == 1.0 && section["records"] == 1.0,
		"sizes":   p["size"] == section["size"] && p["gzipSize"] == section["gzipSize"] && section["gzipOffset"] == 0.0,
		"times":   p["timestamp"] == 1795219200002.0 && p["event_source_timestamp"] == 1795219200001.0,
		"stats":   stat["start"] == 1795219200001.0 && stat["end"] == 1795219200002.0 && stat["units"] == 5.0 && stat["checkpoint"] == 0.0,
		"correlations": source["source"] == "src" && source["start"] == correlation.Start && source["end"] == correlation.Start &&
			source["records"] == 3.0,
	} {
		if !ok {
			t.Errorf("%s is wrong in %s", name, text)
		}
	}
}

func TestClonesShareNothing(t *testing.T) {
	bus := rstreamstest.New(t)
	bus.PutEvents("q", rstreams.Event{
		Payload: []byte(`{"i":1}`), Extra: []event.Member{{Name: "x", Value: []byte(`[1]`)}},
		Correlation: &rstreams.Correlation{Source: "s", Start: "z/2026", Units: 1},
	})
	e := bus.Events("q")[0]
	c := rstreams.Clone(e)
	if !reflect.DeepEqual(e, c) {
		t.Fatalf("%+v, want %+v", c, e)
	}
	c.Payload[0], c.Extra[0].Value[0], c.Correlation.Start = 'x', 'x', "other"
	if e.Payload[0] == 'x' || e.Extra[0].Value[0] == 'x' || e.Correlation.Start == "other" {
		t.Fatalf("%+v", e)
	}
}

func TestEveryWayToPutWritesTheSameEvent(t *testing.T) {
	bus := rstreamstest.New(t)
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "writer", Queue: "q"})
	if err != nil {
		t.Fatal(err)
	}
	raw := json.RawMessage(`{"i":1}`)
	var acks []rstreams.Ack
	for _, put := range []func() (rstreams.Ack, error){
		func() (rstreams.Ack, error) { return w.Put(t.Context(), number{1}) },
		func() (rstreams.Ack, error) { return w.TryPut(number{1}) },
		func() (rstreams.Ack, error) { return w.PutTo(t.Context(), "queue:q", number{1}) },
		func() (rstreams.Ack, error) { return w.PutRaw(t.Context(), raw) },
		func() (rstreams.Ack, error) {
			return w.PutEvent(t.Context(), rstreams.Event{Payload: raw, EID: "z/ignored"})
		},
		func() (rstreams.Ack, error) { return w.TryPutEvent(rstreams.Event{Payload: raw}) },
	} {
		ack, err := put()
		if err != nil {
			t.Fatal(err)
		}
		acks = append(acks, ack)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, ack := range acks {
		<-ack.Done()
		if r, err := ack.Wait(t.Context()); err != nil || r.Index != i || r.Queue != "q" {
			t.Fatalf("%+v %v", r, err)
		}
	}
	for _, e := range bus.Events("q") {
		if string(e.Payload) != `{"i":1}` || e.Bot != "writer" || e.Timestamp == 0 || e.SourceTimestamp != e.Timestamp {
			t.Fatalf("%+v", e)
		}
	}
	if (rstreams.Ack{}).Done() != nil {
		t.Fatal("the zero Ack is done")
	}
	if _, err := (rstreams.Ack{}).Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
}
