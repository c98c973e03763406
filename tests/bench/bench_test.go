package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// tiny is enough to see that the benchmarks work.
var tiny = size{Events: 3000, EndToEnd: 5000, Rounds: 1, Invocations: 3, HeapBytes: 1 << 20}

func TestTheBenchmarksRunAndPrintATable(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = out.Close() }()
	if _, err := measure(context.Background(), out, tiny, ""); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n != 3+len(benchmarks()) {
		t.Errorf("%d lines:\n%s", n, text)
	}
	if _, err := measure(context.Background(), out, tiny, "nothing"); err == nil {
		t.Error("an unknown benchmark is no error")
	}
}

func TestATargetIsMetFromTheRightSide(t *testing.T) {
	for _, c := range []struct {
		f    figure
		want bool
	}{
		{figure{measured: 0.7, target: 0.7}, true}, {figure{measured: 0.69, target: 0.7}, false},
		{figure{measured: 10, target: 10, atMost: true}, true}, {figure{measured: 11, target: 10, atMost: true}, false},
	} {
		if got := c.f.ok(); got != c.want {
			t.Errorf("%+v: %v", c.f, got)
		}
	}
}

func TestPayloadsAreOfSome200Bytes(t *testing.T) {
	total := 0
	for _, p := range payloads(1000) {
		total += len(p)
	}
	if mean := total / 1000; mean < 180 || mean > 220 {
		t.Errorf("they have %d bytes on average", mean)
	}
}
