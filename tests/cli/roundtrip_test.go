package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadReturnsTheSamePayloadsInTheSameOrder(t *testing.T) {
	dir := t.TempDir()
	payloads := numbered(0, 25_000)
	ok(t, dir, strings.NewReader(payloads), "write", "q", "--bot", "b")
	if got := ok(t, dir, nil, "read", "q", "--start", "z/"); got != payloads {
		t.Errorf("read %d bytes that differ from the %d written", len(got), len(payloads))
	}
	verified(t, dir)
}

func TestPayloadsComeBackByteForByte(t *testing.T) {
	dir := t.TempDir()
	payloads := strings.Join([]string{
		`{"a": 1.10, "b":1e400, "c":123456789012345678901234567890}`,
		`[ 1 , 2,3 ]`, `"text \u00e9 é \ud83d\ude00 <&>"`, `true`, `-1.50e-0`, `{"a":1,"a":2}`, `{"eid":7,"event":"x","id":"y"}`,
	}, "\n") + "\n"
	ok(t, dir, strings.NewReader(payloads), "write", "q", "--bot", "b")
	if got := ok(t, dir, nil, "read", "q"); got != payloads {
		t.Errorf("got:\n%s\nwant:\n%s", got, payloads)
	}
}

func TestWriteTakesFilesBlankLinesAndAMissingLastNewline(t *testing.T) {
	dir, in := t.TempDir(), t.TempDir()
	one, two := filepath.Join(in, "one"), filepath.Join(in, "two")
	write(t, one, "{\"n\":1}\n\n  {\"n\":2}\r\n")
	write(t, two, "{\"n\":3}")
	ok(t, dir, strings.NewReader("{\"n\":4}\n"), "write", "q", "--bot", "b", one, two, "-")
	if got, want := ok(t, dir, nil, "read", "q"), "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	fails(t, dir, nil, 5, []string{"missing.jsonl"}, "write", "q", "--bot", "b", filepath.Join(in, "missing.jsonl"))
}

func TestWholeEventsKeepTheirEnvelope(t *testing.T) {
	dir := t.TempDir()
	ok(t, dir, strings.NewReader(`{"id":"other","event":"elsewhere","timestamp":1700000000001,"event_source_timestamp":1700000000000,`+
		`"correlation_id":{"source":"src","start":"z/2026/01/01/00/00/1767225600000-0000001","units":3},"payload":{"a":1},"mine":[1]}`+"\n"+
		`{"payload":{"b":2}}`+"\n"), "write", "q", "--bot", "b", "--events")
	var e struct {
		EID, ID, Event string
		Timestamp      int64           `json:"timestamp"`
		Source         int64           `json:"event_source_timestamp"`
		Correlation    json.RawMessage `json:"correlation_id"`
		Mine           json.RawMessage `json:"mine"`
	}
	decode(t, ok(t, dir, nil, "read", "elsewhere", "--events"), &e)
	if e.ID != "other" || e.Event != "elsewhere" || e.Timestamp != 1700000000001 || e.Source != 1700000000000 ||
		!strings.Contains(string(e.Correlation), `"start":"z/2026/01/01/00/00/1767225600000-0000001"`) || string(e.Mine) != "[1]" ||
		!strings.HasPrefix(e.EID, "z/") {
		t.Errorf("the event lost something: %+v", e)
	}
	decode(t, ok(t, dir, nil, "read", "q", "--events"), &e)
	if e.ID != "b" || e.Event != "q" {
		t.Errorf("the bot and queue of the command line were not filled in: %+v", e)
	}
	// What read prints, write takes.
	ok(t, dir, strings.NewReader(strings.ReplaceAll(ok(t, dir, nil, "read", "elsewhere", "--events"), "elsewhere", "copy")),
		"write", "q", "--bot", "b", "--events")
	if got := ok(t, dir, nil, "read", "copy"); got != "{\"a\":1}\n" {
		t.Errorf("the copy is %q", got)
	}
}

func TestReadStartsEndsAndLimits(t *testing.T) {
	dir := t.TempDir()
	ok(t, dir, strings.NewReader(numbered(0, 10)), "write", "q", "--bot", "b")
	var ids []string
	for line := range strings.Lines(ok(t, dir, nil, "read", "q", "--events")) {
		var e struct{ EID string }
		decode(t, line, &e)
		ids = append(ids, e.EID)
	}
	for _, c := range []struct {
		name        string
		args        []string
		first, last int // of the events expected; last < first means none
	}{
		{"a start is exclusive", []string{"--start", ids[3]}, 4, 9},
		{"an end is inclusive", []string{"--end", ids[3]}, 0, 3},
		{"a limit counts", []string{"--start", ids[3], "--limit", "2"}, 4, 5},
		{"a date in the past begins with everything", []string{"--start", "2020-01-01"}, 0, 9},
		{"a date in the future has nothing", []string{"--start", "z/2200"}, 1, 0},
		{"head has nothing", []string{"--start", "head"}, 1, 0},
	} {
		want := ""
		if c.last >= c.first {
			want = numbered(c.first, c.last-c.first+1)
		}
		if got := ok(t, dir, nil, append([]string{"read", "q"}, c.args...)...); got != want {
			t.Errorf("%s: got\n%swant\n%s", c.name, got, want)
		}
	}
}

func TestReadGoesOnAtItsBotsCheckpoint(t *testing.T) {
	dir := t.TempDir()
	ok(t, dir, strings.NewReader(numbered(0, 10)), "write", "q", "--bot", "b")
	if got := ok(t, dir, nil, "read", "q", "--bot", "r", "--limit", "3"); got != numbered(0, 3) {
		t.Errorf("first read: %s", got)
	}
	if got := ok(t, dir, nil, "read", "q", "--bot", "r", "--checkpoint", "--limit", "3"); got != numbered(0, 3) {
		t.Errorf("a read without --checkpoint moved the checkpoint: %s", got)
	}
	if got := ok(t, dir, nil, "read", "q", "--bot", "r", "--checkpoint"); got != numbered(3, 7) {
		t.Errorf("read after a checkpoint: %s", got)
	}
	if got := ok(t, dir, nil, "read", "q", "--bot", "r", "--checkpoint"); got != "" {
		t.Errorf("read after everything: %s", got)
	}
	// Rewinding replays, for this bot alone.
	ok(t, dir, nil, "checkpoint", "set", "r", "q", "z/")
	if got := ok(t, dir, nil, "read", "q", "--bot", "r"); got != numbered(0, 10) {
		t.Errorf("read after rewinding: %s", got)
	}
	// A place in a system is the bot's own affair.
	ok(t, dir, nil, "checkpoint", "set", "r", "system:files", "orders.csv:17")
	verified(t, dir)
}

func TestListsAreTablesOrJSON(t *testing.T) {
	dir := t.TempDir()
	ok(t, dir, strings.NewReader(numbered(0, 10)), "write", "q", "--bot", "b")
	ok(t, dir, nil, "read", "q", "--bot", "r", "--checkpoint", "--limit", "4")
	var q struct {
		Queue, Head string
		Events      int
	}
	decode(t, ok(t, dir, nil, "queues", "--json", "--count"), &q)
	if q.Queue != "q" || q.Events != 10 || !strings.HasPrefix(q.Head, "z/") {
		t.Errorf("queues: %+v", q)
	}
	var b struct{ Bot, State string }
	decode(t, ok(t, dir, nil, "bots", "--json"), &b)
	if b.Bot != "r" || b.State != "external" {
		t.Errorf("bots: %+v", b)
	}
	var cp struct {
		Bot, Kind, Ref, Checkpoint string
		Records                    int
	}
	decode(t, ok(t, dir, nil, "checkpoint", "get", "r", "--json"), &cp)
	if cp.Kind != "read" || cp.Ref != "queue:q" || cp.Records != 4 || cp.Checkpoint == "" {
		t.Errorf("checkpoint: %+v", cp)
	}
	if got := ok(t, dir, nil, "checkpoint", "get", "r", "q"); got != cp.Checkpoint+"\n" {
		t.Errorf("checkpoint get BOT QUEUE prints %q", got)
	}
	var v struct {
		Events     int
		FaultCount int `json:"fault_count"`
	}
	decode(t, ok(t, dir, nil, "verify", "--json"), &v)
	if v.Events != 10 || v.FaultCount != 0 {
		t.Errorf("verify: %+v", v)
	}
	for _, table := range [][]string{{"queues"}, {"bots"}, {"checkpoint", "get", "r"}, {"verify"}} {
		if got := ok(t, dir, nil, table...); strings.Count(got, "\n") != 2 || strings.Contains(got, "{") {
			t.Errorf("%v: want a header and a row:\n%s", table, got)
		}
	}
}

func TestNothingButTheErrorIsOnStandardErrorOfAPipe(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{{"write", "q", "--bot", "b", "-q"}, {"read", "q"}, {"verify", "-q"}} {
		var in string
		if args[0] == "write" {
			in = numbered(0, 5000)
		}
		if r := run(t, dir, strings.NewReader(in), args...); r.errOut != "" || r.code != 0 {
			t.Errorf("%v: code %d, standard error: %q", args, r.code, r.errOut)
		}
	}
}

func TestVersionAndExitCodesAreTold(t *testing.T) {
	if got := ok(t, t.TempDir(), nil, "version"); !strings.HasPrefix(got, "rstreams ") {
		t.Errorf("version prints %q", got)
	}
	var v struct{ Go string }
	decode(t, ok(t, t.TempDir(), nil, "version", "--json"), &v)
	if !strings.HasPrefix(v.Go, "go") {
		t.Errorf("version --json: %+v", v)
	}
	help := ok(t, t.TempDir(), nil, "help", "exit-codes")
	manual, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	for code := range 9 {
		if !strings.Contains(help, fmt.Sprintf("\n%d  ", code)) {
			t.Errorf("help exit-codes does not tell of %d", code)
		}
		if !strings.Contains(string(manual), fmt.Sprintf("\n| %d | ", code)) {
			t.Errorf("docs/cli.md does not tell of exit code %d", code)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("not one JSON object: %v\n%s", err, text)
	}
}
