package busapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/lambdas/internal/busapi"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// clock is a clock that the test moves.
type clock struct{ at time.Time }

func newClock() *clock { return &clock{time.Now().Truncate(time.Millisecond)} }

func (c *clock) now() time.Time { return c.at }

// ask sends a request and returns the answer without its duration, which it must have.
func ask(t *testing.T, api *busapi.API, request string) map[string]any {
	t.Helper()
	text, err := api.Handle(t.Context(), "r1", json.RawMessage(request))
	if err != nil {
		t.Fatal(err)
	}
	var answer map[string]any
	if err := json.Unmarshal(text, &answer); err != nil {
		t.Fatal(err)
	}
	if _, ok := answer["duration"].(float64); !ok {
		t.Errorf("answer %s", text)
	}
	delete(answer, "duration")
	return answer
}

// ok is ask for a request that must succeed.
func ok(t *testing.T, api *busapi.API, request string) map[string]any {
	t.Helper()
	answer := ask(t, api, request)
	if answer["status"] != "success" || answer["error"] != nil {
		t.Fatalf("%s: %v", request, answer)
	}
	return answer
}

// refused is ask for a request that must fail with a text.
func refused(t *testing.T, api *busapi.API, request, want string) {
	t.Helper()
	answer := ask(t, api, request)
	if text, _ := answer["error"].(string); answer["status"] != "error" || !strings.Contains(text, want) {
		t.Errorf("%s: %v, want %s", request, answer, want)
	}
}

func open(t *testing.T) (*rstreamstest.Bus, *busapi.API) {
	bus := rstreamstest.New(t)
	return bus, busapi.New(bus.Store(), busapi.Options{})
}

func TestTheFiveRequestTypes(t *testing.T) { // C62
	bus, api := open(t)
	started := ok(t, api, `{"type": "start", "id": "bot", "options": {"lock": true}}`)
	token, err := json.Marshal(started["token"])
	if err != nil {
		t.Fatal(err)
	}
	row, err := bus.Store().Bots.Get(t.Context(), "bot")
	if err != nil || row.Instance.RequestID != "r1" || row.Instance.Token == 0 || row.Instance.StartTime < row.Instance.InvokeTime {
		t.Fatalf("%v, %+v", err, row.Instance)
	}
	if got := ok(t, api, `{"type": "write", "id": "bot", "queue": "q", "events": [{"n": 1}, {"payload": {"n": 2}, "event_source_timestamp": 5}, "text"]}`); got["count"] != 3.0 || got["queue"] != "q" {
		t.Errorf("got %v", got)
	}
	got := ok(t, api, `{"body": "{\"type\": \"read\", \"id\": \"bot\", \"queue\": \"q\", \"options\": {\"start\": \"z/\"}}"}`)
	events := got["events"].([]any)
	if len(events) != 3 || got["count"] != 3.0 {
		t.Fatalf("got %v", got)
	}
	second := events[1].(map[string]any)
	if d := cmp.Diff(map[string]any{"n": 2.0}, second["payload"]); d != "" || second["id"] != "bot" || second["event"] != "q" || second["event_source_timestamp"] != 5.0 {
		t.Errorf("got %v", second)
	}
	eid := second["eid"].(string)
	if got := ok(t, api, `{"type": "checkpoint", "id": "bot", "queue": "q", "eid": "`+eid+`", "units": 2, "source_timestamp": 7}`); got["eid"] != eid {
		t.Errorf("got %v", got)
	}
	if c, err := bus.GetCheckpoint(t.Context(), "bot", "q"); err != nil || c.Position != eid || c.Records != 2 || c.SourceTimestamp != 7 {
		t.Errorf("%v, %+v", err, c)
	}
	// The next read goes on there.
	last := ok(t, api, `{"body": {"type": "read", "id": "bot", "queue": "q"}}`)
	if last["count"] != 1.0 {
		t.Errorf("got %v", last)
	}
	end := `{"type": "end", "id": "bot", "token": ` + string(token) + `, "status": "error", "log": {"msg": "x"}, "result": [1],
		"checkpoint": {"queue": "q", "eid": "` + last["position"].(string) + `"}}`
	ok(t, api, end)
	if row, err = bus.Store().Bots.Get(t.Context(), "bot"); err != nil || row.Instance.Status != store.StatusError || row.ErrorCount != 1 ||
		row.Read["queue:q"].Position != last["position"] || len(row.Instance.Log) == 0 || len(row.Instance.Result) == 0 {
		t.Errorf("%v, %+v", err, row)
	}
	refused(t, api, strings.ReplaceAll(end, `"checkpoint"`, `"_"`), "lost its lock")
}

func TestAnUnknownTypeFailsTheInvocation(t *testing.T) {
	_, api := open(t)
	for _, request := range []string{`{"type": "drop", "id": "b"}`, `{}`, `{"body": "{}"}`} {
		if _, err := api.Handle(t.Context(), "r", json.RawMessage(request)); !errors.Is(err, busapi.ErrUnsupported) {
			t.Errorf("%s: %v", request, err)
		}
	}
	for _, request := range []string{``, `[]`, `{"type": 5}`, `{"body": "x"}`} {
		if _, err := api.Handle(t.Context(), "r", json.RawMessage(request)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", request, err)
		}
	}
}

func TestABadRequestIsAnAnswerThatSaysWhatIsWrong(t *testing.T) {
	_, api := open(t)
	for request, want := range map[string]string{
		`{"type": "read"}`:            "names no bot",
		`{"type": "read", "id": "b"}`: "queue",
		`{"type": "read", "id": "b", "queue": "q", "options": {"start": "x"}}`:                                                      "start",
		`{"type": "read", "id": "b", "queue": "q", "options": 5}`:                                                                   "options",
		`{"type": "write", "id": "b", "queue": "q"}`:                                                                                "no events",
		`{"type": "write", "id": "b", "events": {"a": 1}}`:                                                                          "names a queue",
		`{"type": "write", "id": "b", "queue": "q", "events": [{"a": 1}, 0]}`:                                                       "event 2",
		`{"type": "end", "id": "b"}`:                                                                                                "token",
		`{"type": "end", "id": "b", "token": {"requestId": "r"}, "status": "fine"}`:                                                 "status",
		`{"type": "checkpoint", "id": "b", "queue": "q"}`:                                                                           "no position",
		`{"type": "checkpoint", "id": "b", "queue": "q", "eid": "z/2026/11/21/02/35/1795228519000-0000001", "checkpointType": "x"}`: "checkpointType",
	} {
		refused(t, api, request, want)
	}
}

func TestABadEventKeepsTheOthersFromBeingWritten(t *testing.T) {
	bus, api := open(t)
	refused(t, api, `{"type": "write", "id": "b", "queue": "q", "events": [{"a": 1}, null]}`, "event 2")
	for range bus.Read(t.Context(), "q", rstreams.ReadOptions{Start: "z/"}) {
		t.Error("an event was written")
	}
}

const (
	first  = "z/2026/11/21/02/35/1795228519000-0000001"
	second = "z/2026/11/21/02/35/1795228519000-0000002"
)

func TestForceMeansForce(t *testing.T) { // W-O5
	bus, api := open(t)
	move := func(eid, rest string) string {
		return `{"type": "checkpoint", "id": "b", "queue": "q", "eid": "` + eid + `"` + rest + `}`
	}
	ok(t, api, move(second, ""))
	refused(t, api, move(first, ""), "backwards")
	refused(t, api, move(first, `, "force": false`), "backwards")
	refused(t, api, move(first, `, "expected": "`+first+`"`), "Stale Checkpoint")
	refused(t, api, move(first, `, "expected": ""`), "Stale Checkpoint")
	ok(t, api, move(first, `, "force": true`))
	ok(t, api, move(second, `, "expected": "`+first+`"`))
	ok(t, api, move(first, `, "expected": "`+second+`"`)) // Whoever says what is there may go back.
	if c, err := bus.GetCheckpoint(t.Context(), "b", "q"); err != nil || c.Position != first {
		t.Errorf("%v, %+v", err, c)
	}
	ok(t, api, `{"type": "checkpoint", "id": "b", "queue": "q", "event": {"eid": "`+second+`", "event_source_timestamp": 9}}`)
	if c, err := bus.GetCheckpoint(t.Context(), "b", "q"); err != nil || c.Position != second || c.SourceTimestamp != 9 {
		t.Errorf("%v, %+v", err, c)
	}
}

func TestABotRunsOnceUnlessItIsDeadOrForced(t *testing.T) {
	bus, at := rstreamstest.New(t), newClock()
	api := busapi.New(bus.Store(), busapi.Options{Now: at.now})
	const start = `{"type": "start", "id": "b", "options": {"maxDuration": 60000}}`
	ok(t, api, start)
	refused(t, api, start, "already running")
	ok(t, api, `{"type": "start", "id": "b", "options": {"force": true, "maxDuration": 60000}}`)
	at.at = at.at.Add(59 * time.Second)
	refused(t, api, start, "already running")
	at.at = at.at.Add(2 * time.Second)
	ok(t, api, start)
	// A run without a lock is in nobody's way, and its end ends nobody's run.
	free := ok(t, api, `{"type": "start", "id": "b", "options": {"lock": false}}`)
	token, err := json.Marshal(free["token"])
	if err != nil {
		t.Fatal(err)
	}
	ok(t, api, `{"type": "end", "id": "b", "token": `+string(token)+`}`)
	refused(t, api, start, "already running")
}

func TestWhatWasWrittenIsCheckpointedOnItsSource(t *testing.T) {
	bus, api := open(t)
	write := func(start, end, options string) string {
		return `{"type": "write", "id": "b", "queue": "out", "events": {"payload": {"a": 1}, "correlation_id": {"source": "in", "start": "` + start +
			`", "end": "` + end + `", "units": 4}}, "options": ` + options + `}`
	}
	ok(t, api, write(first, second, `{"autoCheckpoint": false}`))
	if c, err := bus.GetCheckpoint(t.Context(), "b", "in"); err != nil || c.Position != "" {
		t.Errorf("%v, %+v", err, c)
	}
	ok(t, api, write(first, second, `{}`))
	if c, err := bus.GetCheckpoint(t.Context(), "b", "in"); err != nil || c.Position != second || c.Records != 4 {
		t.Errorf("%v, %+v", err, c)
	}
	refused(t, api, write(first, first, `{}`), "the events are written, but")
}

func TestAnAnswerIsBounded(t *testing.T) {
	bus, _ := open(t)
	pad := strings.Repeat("x", 1000)
	payloads := make([]any, 50)
	for i := range payloads {
		payloads[i] = map[string]any{"n": i, "pad": pad}
	}
	bus.Put("q", payloads...)
	api := busapi.New(bus.Store(), busapi.Options{MaxAnswer: 10_000})
	seen, start := 0, "z/"
	for range 20 {
		text, err := api.Handle(t.Context(), "r", json.RawMessage(`{"type": "read", "id": "b", "queue": "q", "options": {"start": "`+start+`"}}`))
		if err != nil || len(text) > 10_400 {
			t.Fatalf("%v, %d bytes", err, len(text))
		}
		var answer struct {
			Events   []json.RawMessage
			Position string
		}
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatal(err)
		}
		if len(answer.Events) == 0 {
			break
		}
		seen, start = seen+len(answer.Events), answer.Position
	}
	if seen != len(payloads) {
		t.Errorf("%d of %d events", seen, len(payloads))
	}
	if got := ok(t, api, `{"type": "read", "id": "b", "queue": "q", "options": {"start": "z/", "size": 1500}}`); got["count"] != 2.0 {
		t.Errorf("got %v", got["count"])
	}
	if got := ok(t, api, `{"type": "read", "id": "b", "queue": "q", "options": {"start": "z/", "limit": 3}}`); got["count"] != 3.0 {
		t.Errorf("got %v", got["count"])
	}
	small := busapi.New(bus.Store(), busapi.Options{MaxAnswer: 500})
	refused(t, small, `{"type": "read", "id": "b", "queue": "q", "options": {"start": "z/"}}`, "an answer holds 500")
}

func TestFailuresOfTheBusSurface(t *testing.T) {
	bus := rstreamstest.NewWith(t, rstreamstest.Options{Wrap: func(st store.Store) store.Store {
		st.Intake, st.Chunks = noIntake{st.Intake}, noChunks{st.Chunks}
		return st
	}})
	bus.Put("q", 1)
	api := busapi.New(bus.Store(), busapi.Options{})
	refused(t, api, `{"type": "write", "id": "b", "queue": "q", "events": [{"a": 1}]}`, "no intake")
	refused(t, api, `{"type": "read", "id": "b", "queue": "q", "options": {"start": "z/"}}`, "no chunks")
}

type noIntake struct{ store.Intake }

func (noIntake) Put(context.Context, []store.Record) ([]store.Ack, error) {
	return nil, fmt.Errorf("%w: no intake", store.ErrUnavailable)
}

type noChunks struct{ store.Chunks }

func (noChunks) Query(context.Context, string, string, string, int, int) (store.Page, error) {
	return store.Page{}, fmt.Errorf("%w: no chunks", store.ErrUnavailable)
}
