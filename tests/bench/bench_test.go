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
	t.Chdir(filepath.Join("..", ".."))
	var names []string
	_, missing := os.Stat(filepath.Join(nodeModules, "node_modules", "leo-sdk"))
	for _, b := range benchmarks() {
		if strings.HasPrefix(b.name, "node-") && missing != nil {
			t.Logf("%s is left out: the Node SDK is not installed", b.name)
			continue
		}
		names = append(names, b.name)
	}
	if _, err := measure(context.Background(), out, tiny, strings.Join(names, ",")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n != 3+len(names) {
		t.Errorf("%d lines:\n%s", n, text)
	}
	if _, err := measure(context.Background(), out, tiny, "nothing"); err == nil {
		t.Error("an unknown benchmark is no error")
	}
}

func TestTheComparisonsWithTheOriginalRun(t *testing.T) {
	t.Chdir(filepath.Join("..", ".."))
	if _, err := os.Stat(filepath.Join(nodeModules, "node_modules", "leo-sdk")); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the Node SDK is not installed: %v", err)
		}
		t.Skipf("the Node SDK is not installed; npm ci --prefix %s does that", nodeModules)
	}
	for _, b := range benchmarks() {
		if !strings.HasPrefix(b.name, "node-") && !strings.HasPrefix(b.name, "processor-") {
			continue
		}
		if f, err := b.run(t.Context(), tiny); err != nil || f.measured <= 0 {
			t.Errorf("%s: %+v, %v", b.name, f, err)
		}
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
