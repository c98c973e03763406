package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/lambdas/internal/dispatcher"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

// intake keeps the events that it is given.
type intake struct {
	lines []map[string]any
	keys  map[string]bool
	err   error
}

func (i *intake) Limits() store.IntakeLimits {
	return store.IntakeLimits{Records: 500, Bytes: 5 << 20, RecordBytes: 1 << 20}
}

func (i *intake) Put(_ context.Context, records []store.Record) ([]store.Ack, error) {
	for _, r := range records {
		if i.err != nil {
			return nil, i.err
		}
		i.keys[r.HashKey] = true
		text, err := chunk.AppendGunzip(nil, r.Data, 1<<30)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(string(text)) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				return nil, err
			}
			i.lines = append(i.lines, m)
		}
	}
	return make([]store.Ack, len(records)), nil
}

func newTest(t *testing.T, in *intake, hashKey string, now int64) handle {
	t.Helper()
	h, err := newHandler(testEnv(in, hashKey), func() time.Time { return time.UnixMilli(now) })
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func testEnv(in store.Intake, hashKey string) *shell.Env {
	return &shell.Env{
		Store: store.Store{Intake: in}, Logger: slog.New(slog.DiscardHandler), PartialBatch: true,
		Metrics: shell.NewMetrics(io.Discard, "bus", "monitor", time.Now),
		Getenv:  func(v string) string { return map[string]string{EnvHashKey: hashKey}[v] },
	}
}

// TestTheOriginalsEvents replays the recorded records in one batch, with one that cannot be read among them. The run that began
// and ended between two images has its end, too (sdk.md 12).
func TestTheOriginalsEvents(t *testing.T) {
	raw, err := os.ReadFile("testdata/monitor.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Clock int64
		Cases []struct {
			Note   string
			Record shell.DynamoRecord
			Events []map[string]any
		}
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	var e shell.DynamoEvent
	var want []map[string]any
	for _, c := range g.Cases {
		e.Records = append(e.Records, c.Record)
		want = append(want, c.Events...)
		if c.Note == "started and completed between two images" {
			want = append(want, map[string]any{
				"payload": map[string]any{"id": "m-bot", "type": "completed", "ts": 1704164645668., "start": 1704164645578., "is_error": false},
				"id":      "leo_cron_monitor", "event": "monitor", "event_source_timestamp": float64(g.Clock), "timestamp": float64(g.Clock),
			})
		}
	}
	var bad shell.DynamoRecord
	bad.Change.NewImage = json.RawMessage(`{"id":[]}`)
	e.Records = append(e.Records, bad)
	for i := range want {
		want[i]["eid"] = float64(i)
	}
	in := &intake{keys: map[string]bool{}}
	answer, err := newTest(t, in, "340282366920938463463374607431768211455", g.Clock)(t.Context(), e)
	if err != nil || answer.Failed() != "" {
		t.Fatalf("%v, %v", answer, err)
	}
	if diff := cmp.Diff(want, in.lines); diff != "" {
		t.Error(diff)
	}
	if len(in.keys) != 1 || !in.keys["340282366920938463463374607431768211455"] {
		t.Errorf("hash keys %v", in.keys)
	}
}

func TestABatchThatCannotBeWrittenComesAgain(t *testing.T) {
	var r shell.DynamoRecord
	r.Change.SequenceNumber = "77"
	r.Change.NewImage = json.RawMessage(`{"id":{"S":"b"},"instances":{"M":{"0":{"M":{"invokeTime":{"N":"5"}}}}}}`)
	answer, err := newTest(t, &intake{err: store.ErrUnavailable}, "", 1)(t.Context(), shell.DynamoEvent{Records: []shell.DynamoRecord{r}})
	if err != nil || answer.Failed() != "77" {
		t.Errorf("%v, %v", answer, err)
	}
}

// changes returns n runs that began, one event each, of bots with long names: a record of Kinesis takes some of them.
func changes(n int) (e shell.DynamoEvent) {
	for i := range n {
		var r shell.DynamoRecord
		r.Change.SequenceNumber = strconv.Itoa(1000 + i)
		r.Change.NewImage = fmt.Appendf(nil, `{"id":{"S":"%04d%s"},"instances":{"M":{"0":{"M":{"invokeTime":{"N":"5"}}}}}}`,
			i, strings.Repeat("b", 1000))
		e.Records = append(e.Records, r)
	}
	return e
}

// refusing is an intake that refuses all records of a call but the first, in the way that no repetition helps.
type refusing struct{ *intake }

func (r refusing) Put(ctx context.Context, records []store.Record) ([]store.Ack, error) {
	acks, err := r.intake.Put(ctx, records[:1])
	for range records[1:] {
		acks = append(acks, store.Ack{Err: errors.New("a code that nobody knows")})
	}
	return acks, err
}

// TestABatchGoesOnWithTheFirstChangeThatIsNotTold: an accepted event that is written again is counted twice.
func TestABatchGoesOnWithTheFirstChangeThatIsNotTold(t *testing.T) {
	const n = 1500
	in := &intake{keys: map[string]bool{}}
	env := testEnv(refusing{in}, "")
	var metrics bytes.Buffer
	env.Metrics = shell.NewMetrics(&metrics, "bus", "monitor", time.Now)
	h, err := newHandler(env, func() time.Time { return time.UnixMilli(1) })
	if err != nil {
		t.Fatal(err)
	}
	e := changes(n)
	e.Records[0].Change.NewImage = json.RawMessage(`{"id":[]}`) // Passed over, and not told again.
	calls := 0
	for len(e.Records) > 0 {
		answer, err := h(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		if calls++; answer.Failed() == "" {
			break
		}
		at := slices.IndexFunc(e.Records, func(r shell.DynamoRecord) bool { return r.Change.SequenceNumber == answer.Failed() })
		if at <= 0 {
			t.Fatalf("it goes on with %s", answer.Failed())
		}
		e.Records = e.Records[at:]
	}
	if calls < 2 || len(in.lines) != n-1 {
		t.Errorf("%d calls, %d events of %d changes", calls, len(in.lines), n-1)
	}
	for i, l := range in.lines {
		if id := l["payload"].(map[string]any)["id"].(string); !strings.HasPrefix(id, fmt.Sprintf("%04d", i+1)) {
			t.Fatalf("event %d is of bot %.4s", i, id)
		}
	}
	told, unreadable := 0., 0.
	for line := range strings.Lines(metrics.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		told += m[MetricMonitored].(float64)
		unreadable += m[dispatcher.MetricUnreadable].(float64)
	}
	if told != n-1 || unreadable != 1 {
		t.Errorf("counted %v events and %v that cannot be read", told, unreadable)
	}
	env.PartialBatch = false
	if answer, err := h(t.Context(), changes(n)); err == nil {
		t.Errorf("a mapping without partial answers is told %v", answer)
	}
}

func TestAHashKeyThatIsNoneStopsTheFunction(t *testing.T) {
	for _, key := range []string{"x", "-1", "340282366920938463463374607431768211456", "0x7"} {
		_, err := newHandler(&shell.Env{Getenv: func(string) string { return key }}, time.Now)
		if !errors.Is(err, shell.ErrConfig) || !strings.Contains(fmt.Sprint(err), EnvHashKey) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
