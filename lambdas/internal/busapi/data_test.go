package busapi_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func TestAPartialResultMovesNoCheckpoint(t *testing.T) { // C8
	bus, api := open(t)
	write := func(correlation string) {
		t.Helper()
		ok(t, api, `{"type": "write", "id": "b", "queue": "out", "events": [{"payload": {"a": 1}, "correlation_id": `+correlation+`}]}`)
	}
	at := func(want string) {
		t.Helper()
		if c, err := bus.GetCheckpoint(t.Context(), "b", "in"); err != nil || c.Position != want {
			t.Errorf("%v, %+v, want %q", err, c, want)
		}
	}
	write(`{"source": "in", "partial_start": "` + first + `", "units": 1}`)
	at("")
	write(`{"source": "in", "partial_start": "` + first + `", "partial_end": "` + second + `"}`)
	at("")
	write(`{"source": "in", "start": "` + first + `"}`)
	at(first)
}

// Anything else would stay there for ever: write checkpoints only grow.
func TestAWriteCheckpointIsOfWhatItsQueueHas(t *testing.T) {
	bus, api := open(t)
	write := func(eid string) string {
		return `{"type": "checkpoint", "id": "b", "queue": "q", "checkpointType": "write", "eid": "` + eid + `"}`
	}
	ok(t, api, `{"type": "start", "id": "b"}`)
	refused(t, api, write(first), "after the last event")
	head := bus.Put("q", 1, 2)[1]
	refused(t, api, write("zzz nonsense"), "position")
	refused(t, api, write(head+"0"), "after the last event")
	ok(t, api, write(head))
	row, err := bus.Store().Bots.Get(t.Context(), "b")
	if err != nil || row.Write["queue:q"].Position != head {
		t.Errorf("%v, %+v", err, row.Write)
	}
}

func TestWhatComesBeforeAFaultIsRead(t *testing.T) {
	bus, api := open(t)
	for _, v := range []string{"a", "b", "c", "d"} { // A chunk each.
		bus.Put("q", v)
	}
	page, err := bus.Store().Chunks.Query(t.Context(), "q", "", "z~", 0, 0)
	if err != nil || len(page.Chunks) != 4 {
		t.Fatal(err, len(page.Chunks))
	}
	if err := bus.Store().Chunks.Delete(t.Context(), "q", []string{page.Chunks[2].End}); err != nil {
		t.Fatal(err)
	}
	read := func(start string) string {
		return `{"type": "read", "id": "b", "queue": "q", "options": {"start": "` + start + `"}}`
	}
	got := ok(t, api, read("z/"))
	if got["count"] != 2.0 || got["position"] != page.Chunks[1].End {
		t.Fatalf("got %v", got)
	}
	refused(t, api, read(got["position"].(string)), "missing")
}

func TestOnlyAPayloadOfThatNameIsOne(t *testing.T) {
	bus, api := open(t)
	ok(t, api, `{"type": "write", "id": "b", "queue": "q", "events": [{"Payload": {"n": 1}, "n": 2}, {"CORRELATION_ID": {"source": "x"}}, {"payload": {"n": 3}, "Payload": 0}]}`)
	var got []string
	for e, err := range bus.Read(t.Context(), "q", rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, string(e.Payload))
	}
	if d := cmp.Diff([]string{`{"Payload": {"n": 1}, "n": 2}`, `{"CORRELATION_ID": {"source": "x"}}`, `{"n": 3}`}, got); d != "" {
		t.Error(d)
	}
}
