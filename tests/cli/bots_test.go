package cli

import (
	"bufio"
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/bus/store"
)

func TestTheDemoEndsByItselfWithASummary(t *testing.T) {
	r := run(t, "", nil, "demo", "--pace", "1s")
	if r.code != 0 {
		t.Fatalf("exit code %d\n%s", r.code, r.errOut)
	}
	for _, want := range []string{
		`quakes\.raw +1,708 +z/`, `quakes\.scored +1,680 +z/`, `quakes\.hourly +744 +z/`,
		`quakes-score +queue:quakes\.raw +z/`, `quakes-hourly +queue:quakes\.scored +z/`, `quakes-csv +queue:quakes\.scored +z/`,
		`quakes-source +system:usgs-feed +1708`, `totals: 1679 quakes`,
		`from write to CSV: p50 \d+ ms, p95 \d+ ms, max \d+ ms \(1,680 events\)`, `verified: every one of the 4,132 events`,
	} {
		if !regexp.MustCompile(want).MatchString(r.out) {
			t.Errorf("the summary does not match %q:\n%s", want, r.out)
		}
	}
}

func TestTheDemosBusCanBeKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "kept")
	if r := run(t, dir, nil, "demo", "--keep", dir, "--pace", "0"); r.code != 0 || !strings.Contains(r.out, "embedded:"+dir) {
		t.Fatalf("exit code %d\n%s%s", r.code, r.out, r.errOut)
	}
	var q struct{ Head string }
	decode(t, ok(t, dir, nil, "queues", "quakes.hourly", "--json"), &q)
	trace := ok(t, dir, nil, "trace", "quakes.hourly", q.Head)
	for i, queue := range []string{"quakes.hourly", "quakes.scored", "quakes.raw"} {
		if line := strings.Split(trace, "\n")[i+1]; !strings.Contains(line, queue+" ") {
			t.Errorf("step %d of the trace is %q, want queue %s", i, line, queue)
		}
	}
	if n := strings.Count(ok(t, dir, nil, "trace", "quakes.hourly", q.Head, "--json"), "\n"); n != 3 {
		t.Errorf("trace --json has %d lines, want 3", n)
	}
	if rows, err := os.ReadFile(filepath.Join(dir, "quakes.csv")); err != nil || strings.Count(string(rows), "\n") != 1680 {
		t.Errorf("the CSV file: %v, %d rows", err, strings.Count(string(rows), "\n"))
	}
	if n := strings.Count(ok(t, dir, nil, "read", "quakes.raw"), "\n"); n != 1708 {
		t.Errorf("quakes.raw has %d events", n)
	}
	bots := ok(t, dir, nil, "bots")
	for _, want := range []string{`quakes-score +idle +quakes\.raw +0 `, `quakes-totals +\S.* +cron \* \* \* \* \* \*`} {
		if !regexp.MustCompile(want).MatchString(bots) {
			t.Errorf("bots does not match %q:\n%s", want, bots)
		}
	}
	verified(t, dir)
	// On the same bus there is nothing left to do, and nothing is done twice.
	if again := ok(t, dir, nil, "demo", "-q", "--bus", "embedded:"+dir); !strings.Contains(again, "nothing was left to offload") ||
		!regexp.MustCompile(`quakes\.raw +1,708 `).MatchString(again) {
		t.Errorf("the second demo:\n%s", again)
	}
}

func TestBotsArePausedResumedAndRun(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	l, err := local.Open(ctx, dir, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	err = l.Store().Bots.Register(ctx, store.Registration{
		ID: "b", Invocation: store.Invocation{Type: "local"}, Triggers: []string{"q"}, Schedule: "0 3 * * *",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	state := func() string {
		t.Helper()
		var b struct{ State string }
		decode(t, ok(t, dir, nil, "bots", "b", "--json"), &b)
		return b.State
	}
	ok(t, dir, nil, "pause", "b")
	if s := state(); s != "paused" {
		t.Errorf("state after pause: %s", s)
	}
	fails(t, dir, nil, 1, []string{"paused", "rstreams resume b"}, "run", "b")
	ok(t, dir, nil, "resume", "bot:b")
	if s := state(); s != "idle" {
		t.Errorf("state after resume: %s", s)
	}
	ok(t, dir, nil, "run", "b")
	if s := state(); s != "due" {
		t.Errorf("state after run: %s", s)
	}
	fails(t, dir, nil, 1, []string{"not over after", "rstreams dev"}, "run", "b", "--wait", "100ms")
}

func TestDevRunsAProgramOfBotsAndLogsWhatHappens(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("a program cannot be asked to end on this system")
		return
	}
	dir := t.TempDir()
	c := command(t, dir, "dev", "../../examples/quakes/quakesbots")
	c.Env = append(c.Env, "QUAKES_CSV="+filepath.Join(t.TempDir(), "quakes.csv"))
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	await := func(what string) {
		t.Helper()
		for lines.Scan() {
			if strings.Contains(lines.Text(), what) {
				return
			}
		}
		t.Fatalf("dev ended without a line about %q", what)
	}
	await("bot   quakes-totals is done") // every second: the bots run
	ok(t, dir, nil, "run", "quakes-source", "--wait", "1m")
	await("queue quakes.hourly is at")
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	if err := c.Wait(); err != nil {
		t.Errorf("dev was interrupted and ended with %v", err)
	}
	verified(t, dir)
}

func TestDevStartsTheProgramAnewWhenItsSourceChanges(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("a program cannot be asked to end on this system")
		return
	}
	src, dir := t.TempDir(), t.TempDir()
	program := func(text string) string {
		return "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n\t\"os/signal\"\n\t\"syscall\"\n)\n\nfunc main() {\n\tc := make(chan os.Signal, 1)\n" +
			"\tsignal.Notify(c, syscall.SIGTERM)\n\tfmt.Println(\"" + text + "\", os.Args[1:], os.Getenv(\"RSTREAMS_BUS\"))\n\t<-c\n" +
			"\tfmt.Println(\"ended\")\n}\n"
	}
	write(t, filepath.Join(src, "go.mod"), "module example.com/bots\n\ngo 1.26\n")
	write(t, filepath.Join(src, "main.go"), program("first"))
	c := command(t, dir, "dev", ".", "extra")
	c.Dir = src
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	next := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, want %q", lines.Text(), want)
		}
	}
	next("first [dev extra] embedded:" + dir)
	write(t, filepath.Join(src, "main.go"), "package main\n\nfunc main() { does not compile }\n")
	write(t, filepath.Join(src, "main.go"), program("second"))
	next("ended")
	next("second [dev extra] embedded:" + dir)
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	next("ended")
	if err := c.Wait(); err != nil {
		t.Errorf("dev was interrupted and ended with %v", err)
	}
}

func TestVerifyFindsDamageAndSaysSo(t *testing.T) {
	dir := t.TempDir()
	ok(t, dir, strings.NewReader(numbered(0, 10_000)), "write", "q", "--bot", "b")
	ctx := context.Background()
	l, err := local.Open(ctx, dir, local.Options{})
	if err != nil {
		t.Fatal(err)
	}
	page, err := l.Store().Chunks.Query(ctx, "q", "", "z~", 2, 0)
	if err != nil || len(page.Chunks) < 2 {
		t.Fatalf("%d chunks, %v", len(page.Chunks), err)
	}
	if err := l.Store().Chunks.Delete(ctx, "q", []string{page.Chunks[1].End}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(ctx); err != nil {
		t.Fatal(err)
	}
	r := run(t, dir, nil, "verify")
	wantFailure(t, r, 4, []string{"1 fault"}, "verify")
	if !strings.Contains(r.out, "fault: gap queue q chunk z/") || !strings.Contains(r.out, page.Chunks[1].End) {
		t.Errorf("verify prints:\n%s", r.out)
	}
	// A reader notices too: it fails instead of passing over the gap.
	fails(t, dir, nil, 1, []string{"missing"}, "read", "q")
	if r := run(t, dir, nil, "read", "q", "--skip-gaps"); r.code != 0 || !strings.Contains(r.errOut, "passed over") {
		t.Errorf("read --skip-gaps: %d, %s", r.code, r.errOut)
	}
}
