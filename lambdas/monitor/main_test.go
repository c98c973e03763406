package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/store"
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
	h, err := newHandler(&shell.Env{
		Store: store.Store{Intake: in}, Logger: slog.New(slog.DiscardHandler), PartialBatch: true,
		Metrics: shell.NewMetrics(io.Discard, "bus", "monitor", time.Now),
		Getenv:  func(v string) string { return map[string]string{EnvHashKey: hashKey}[v] },
	}, func() time.Time { return time.UnixMilli(now) })
	if err != nil {
		t.Fatal(err)
	}
	return h
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

func TestAHashKeyThatIsNoneStopsTheFunction(t *testing.T) {
	for _, key := range []string{"x", "-1", "340282366920938463463374607431768211456", "0x7"} {
		_, err := newHandler(&shell.Env{Getenv: func(string) string { return key }}, time.Now)
		if !errors.Is(err, shell.ErrConfig) || !strings.Contains(fmt.Sprint(err), EnvHashKey) {
			t.Errorf("%s: %v", key, err)
		}
	}
}
