package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

// TestBatchesThatWereGivenUpAreCountedUntilSomebodyDealsWithThem is W-O2: an alarm goes by the count.
func TestBatchesThatWereGivenUpAreCountedUntilSomebodyDealsWithThem(t *testing.T) {
	st := memory.New(memory.Options{})
	var metrics bytes.Buffer
	env := &shell.Env{
		Store: st, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: shell.NewMetrics(&metrics, "bus", "firehose-loader", time.Now),
		Getenv: func(string) string { return "" },
	}
	counted := func() (n float64) {
		t.Helper()
		metrics.Reset()
		if err := countLost(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		var line map[string]any
		if err := json.Unmarshal(metrics.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		return line[shell.MetricLostBatches].(float64)
	}
	if n := counted(); n != 0 {
		t.Errorf("%v batches before any was lost", n)
	}
	for _, key := range []string{"aws/lambda/1/shardId-000000000000/2026/11/21/a", "aws/lambda/1/shardId-000000000001/2026/11/21/b", "firehose/x", "bus/q/y"} {
		if _, _, err := st.Blobs.Put(t.Context(), key, strings.NewReader("{}")); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // That they were counted once does not make them go away.
		if n := counted(); n != 2 {
			t.Errorf("%v batches, want 2", n)
		}
	}
}
