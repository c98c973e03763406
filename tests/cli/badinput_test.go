package cli

import (
	"context"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // to hold a lock on the bus's file
)

func TestAMalformedLineStopsWithItsNumberAndLosesNothing(t *testing.T) {
	dir := t.TempDir()
	lines := strings.Split(strings.TrimSuffix(numbered(0, 5000), "\n"), "\n")
	bad := append([]string{}, lines...)
	bad[3141] = `{"n":3141,`
	fails(t, dir, strings.NewReader(strings.Join(bad, "\n")), 5, []string{"line 3142", "acknowledged up to line 3141", "--from-line 3142"},
		"write", "q", "--bot", "b")
	if got := ok(t, dir, nil, "read", "q"); got != numbered(0, 3141) {
		t.Errorf("not exactly the lines before the bad one are stored: %d bytes", len(got))
	}
	// The corrected file goes on where it stopped.
	ok(t, dir, strings.NewReader(strings.Join(lines, "\n")), "write", "q", "--bot", "b", "--from-line", "3142")
	if got := ok(t, dir, nil, "read", "q"); got != numbered(0, 5000) {
		t.Errorf("after going on, %d bytes are stored", len(got))
	}
	verified(t, dir)
}

func TestLinesThatTheBusDoesNotStoreAreRefused(t *testing.T) {
	for _, line := range []string{"null", "false", "0", `""`, "{", "{} {}", "nonsense", "\"\xff\"", "[1,]"} {
		dir := t.TempDir()
		fails(t, dir, strings.NewReader("{\"n\":1}\n"+line+"\n"), 5, []string{"line 2"}, "write", "q", "--bot", "b")
		if got := ok(t, dir, nil, "read", "q"); got != "{\"n\":1}\n" {
			t.Errorf("%s: stored %q", line, got)
		}
	}
}

func TestSkippedLinesAreDeadLettersThatCanBeCorrected(t *testing.T) {
	dir := t.TempDir()
	ok(t, dir, strings.NewReader("{\"n\":1}\n{bad\n{\"n\":2}\n\"\xff\"\n"), "write", "q", "--bot", "b", "--skip-bad")
	if got := ok(t, dir, nil, "read", "q"); got != "{\"n\":1}\n{\"n\":2}\n" {
		t.Errorf("stored %q", got)
	}
	var g struct {
		Reason, Queue, Bot string
		Letters            int
	}
	decode(t, ok(t, dir, nil, "dlq", "list", "--json"), &g)
	if g.Reason != "bad-line" || g.Queue != "q" || g.Bot != "b" || g.Letters != 2 {
		t.Errorf("dlq list: %+v", g)
	}
	letters := ok(t, dir, nil, "dlq", "show")
	if !strings.Contains(letters, `"raw":"{bad"`) || !strings.Contains(letters, `"raw_base64":"Iv8i"`) ||
		!strings.Contains(letters, "line 2") || !strings.Contains(letters, "line 4") {
		t.Errorf("dlq show: %s", letters)
	}
	// As they are they cannot be written again, and stay.
	if r := run(t, dir, nil, "dlq", "redrive", "--all"); r.code != 5 || !strings.Contains(r.errOut, "2 letters hold no event") {
		t.Errorf("redrive of bad letters: %d, %s", r.code, r.errOut)
	}
	// Corrected, one of them can; once.
	edited := filepath.Join(t.TempDir(), "letters.jsonl")
	first, _, _ := strings.Cut(letters, "\n")
	write(t, edited, strings.Replace(first, `"raw":"{bad"`, `"raw":"{\"n\":3}"`, 1)+"\n")
	for range 2 {
		ok(t, dir, nil, "dlq", "redrive", "--edited", edited)
	}
	if got := ok(t, dir, nil, "read", "q", "--start", "z/"); got != "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n" {
		t.Errorf("after redrive: %q", got)
	}
	ok(t, dir, nil, "dlq", "redrive", "--edited", edited, "--again")
	if got := ok(t, dir, nil, "read", "q"); strings.Count(got, `{"n":3}`) != 2 {
		t.Errorf("after redrive --again: %q", got)
	}
	var redriven struct{ Redriven int }
	decode(t, ok(t, dir, nil, "dlq", "list", "--json"), &redriven)
	if redriven.Redriven != 1 {
		t.Errorf("dlq list says that %d letters were redriven", redriven.Redriven)
	}
	verified(t, dir)
}

func TestWrongCommandLinesAreUsageErrors(t *testing.T) {
	dir := t.TempDir()
	ok(t, dir, strings.NewReader(numbered(0, 3)), "write", "q", "--bot", "b")
	ok(t, dir, nil, "read", "q", "--bot", "r", "--checkpoint")
	for _, c := range []struct {
		args []string
		word string
	}{
		{[]string{"frobnicate"}, "unknown command"},
		{[]string{"help", "frobnicate"}, "no help"},
		{[]string{"read"}, "QUEUE"},
		{[]string{"read", "q", "--nonsense"}, "--nonsense"},
		{[]string{"read", "q", "--limit", "many"}, "--limit"},
		{[]string{"read", "q", "--start", "yesterday"}, "position"},
		{[]string{"read", "q", "--end", "z/2026/Nov"}, "position"},
		{[]string{"read", "q", "--checkpoint"}, "--bot"},
		{[]string{"write", "q"}, "--bot"},
		{[]string{"write", "q", "--bot", "b", "--resume"}, "--acks"},
		{[]string{"write", "queue:", "--bot", "b"}, "queue"},
		{[]string{"checkpoint", "set", "r", "q", "somewhere"}, "position"},
		{[]string{"checkpoint", "set", "r", "q", "z/2200/01/01"}, "beyond"},
		{[]string{"trace", "q", "z/"}, "event id"},
		{[]string{"queues", "--bus", "postgres://x"}, "embedded:"},
		{[]string{"queues", "--bus", "embedded:"}, "directory"},
		{[]string{"dlq", "redrive"}, "--all"},
		{[]string{"verify", "--queue", ""}, "--queue"},
		{[]string{"verify", "--queue", "queue:"}, "queue"},
	} {
		fails(t, dir, nil, 2, []string{c.word}, c.args...)
	}
	if got := ok(t, dir, nil, "checkpoint", "get", "r", "q"); !strings.HasPrefix(got, "z/20") {
		t.Errorf("a refused position moved the checkpoint to %q", got)
	}
}

func TestWhatIsNotThereHasItsExitCode(t *testing.T) {
	dir := t.TempDir()
	ok(t, dir, strings.NewReader(numbered(0, 3)), "write", "q", "--bot", "b")
	for _, args := range [][]string{
		{"read", "nowhere"}, {"queues", "nowhere"}, {"bots", "nobody"}, {"pause", "nobody"}, {"resume", "nobody"}, {"run", "nobody"},
		{"checkpoint", "get", "nobody"}, {"checkpoint", "set", "nobody", "q", "z/"},
		{"verify", "--queue", "nowhere"}, {"verify", "--queue", "q,nowhere"},
		{"trace", "q", "z/2026/01/01/00/00/1767225600000-0000001"}, {"dlq", "show", "z/2026/01/01/00/00/1767225600000-0000001"},
	} {
		fails(t, dir, nil, 6, []string{"not found"}, args...)
	}
}

func TestABusThatCannotBeOpenedIsOneClearError(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	write(t, file, "not a directory")
	fails(t, file, strings.NewReader(numbered(0, 3)), 3, []string{file, "directory"}, "write", "q", "--bot", "b")
	fails(t, filepath.Join(dir, "missing"), nil, 3, []string{"there is no bus in"}, "read", "q")
	if _, err := os.Stat(filepath.Join(dir, "missing")); err == nil {
		t.Error("reading a bus that is not there made one")
	}

	garbage := filepath.Join(dir, "garbage")
	ok(t, garbage, strings.NewReader(numbered(0, 3)), "write", "q", "--bot", "b")
	for _, name := range []string{"bus.db-wal", "bus.db-shm"} {
		if err := os.RemoveAll(filepath.Join(garbage, name)); err != nil {
			t.Fatal(err)
		}
	}
	write(t, filepath.Join(garbage, "bus.db"), strings.Repeat("this is no database ", 1000))
	fails(t, garbage, nil, 3, []string{"bus.db", "not a database"}, "read", "q")

	if runtime.GOOS == "linux" {
		fails(t, "/proc/self/nothing/can/be/made/here", strings.NewReader(numbered(0, 3)), 3, []string{"/proc/self"}, "write", "q", "--bot", "b")
	}
}

func TestAReadOnlyDirectoryIsOneClearError(t *testing.T) {
	dir := t.TempDir()
	ok(t, dir, strings.NewReader(numbered(0, 3)), "write", "q", "--bot", "b")
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(dir, 0o700) })
	if f, err := os.Create(filepath.Join(dir, "probe")); err == nil {
		_ = f.Close()
		t.Log("permissions do not bind this user, which is root; a file in place of a directory stands for it in another test")
		return
	}
	fails(t, dir, strings.NewReader(numbered(0, 3)), 3, []string{dir}, "write", "q2", "--bot", "b")
}

func TestALockedBusIsOneClearErrorAndLosesNothing(t *testing.T) {
	dir := t.TempDir()
	ok(t, dir, strings.NewReader(numbered(0, 100)), "write", "q", "--bot", "b")
	db, err := sql.Open("sqlite", filepath.Join(dir, "bus.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(context.Background(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	fails(t, dir, strings.NewReader(numbered(100, 100)), 3, []string{"locked", "acknowledged up to line 0"}, "write", "q", "--bot", "b")
	// A bad line behind those that are not stored does not hide that.
	fails(t, dir, strings.NewReader(numbered(100, 1)+"{bad\n"), 3,
		[]string{"locked", "line 2 is no event", "acknowledged up to line 0", "--from-line 1"}, "write", "q", "--bot", "b")
	// Readers are not kept waiting, and see what was acknowledged.
	if got := ok(t, dir, nil, "read", "q"); got != numbered(0, 100) {
		t.Errorf("a reader of a locked bus got %d bytes", len(got))
	}
	if _, err := conn.ExecContext(context.Background(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	ok(t, dir, strings.NewReader(numbered(100, 100)), "write", "q", "--bot", "b")
	if got := ok(t, dir, nil, "read", "q"); got != numbered(0, 200) {
		t.Errorf("after the lock was gone, %d bytes are stored", len(got))
	}
	verified(t, dir)
}

func TestAFullDiskIsOneClearErrorAndLosesNothing(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Log("there is no limit on the size of files on this system")
		return
	}
	dir := t.TempDir()
	ok(t, dir, strings.NewReader(numbered(0, 100)), "write", "q", "--bot", "b")
	// Every file of the bus may grow to 1 MiB (512-byte units in a POSIX shell, 1 KiB in bash). The payloads are random
	// enough not to shrink below that.
	c := exec.Command("bash", "-c", `ulimit -f 1024; exec "$0" "$@"`, binary, "write", "q", "--bot", "b")
	c.Env = append(os.Environ(), "RSTREAMS_BUS=embedded:"+dir)
	c.Stdin = strings.NewReader(random(100, 40_000))
	r := finish(t, c)
	wantFailure(t, r, 3, []string{"acknowledged up to line", "--from-line"}, "write")
	acked := number(t, r.errOut, "acknowledged up to line ")
	stored := ok(t, dir, nil, "read", "q")
	if want := numbered(0, 100) + firstLines(random(100, 40_000), acked); !strings.HasPrefix(stored, want) {
		t.Errorf("%d lines were acknowledged, but of %d bytes not all are stored", acked, len(want))
	}
	verified(t, dir)
	// With room again it goes on.
	c = command(t, dir, "write", "q", "--bot", "b", "--from-line", itoa(acked+1))
	c.Stdin = strings.NewReader(random(100, 40_000))
	if r := finish(t, c); r.code != 0 {
		t.Fatalf("going on: %d, %s", r.code, r.errOut)
	}
	missing(t, random(100, 40_000), ok(t, dir, nil, "read", "q"))
	verified(t, dir)
}

func TestABadCronScheduleIsOneClearErrorAndRegistersNothing(t *testing.T) {
	dir := t.TempDir()
	prog := filepath.Join(t.TempDir(), "badcron")
	if runtime.GOOS == "windows" {
		prog += ".exe"
	}
	if out, err := exec.Command("go", "build", "-o", prog, "./testdata/badcron").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ok(t, dir, strings.NewReader(numbered(0, 3)), "write", "q", "--bot", "b")
	c := exec.Command(prog, "dev")
	c.Env = append(os.Environ(), "RSTREAMS_BUS=embedded:"+dir)
	r := finish(t, c)
	if r.code == 0 || strings.Count(r.errOut, "\n") != 1 || !strings.Contains(r.errOut, "61 * * * *") || !strings.Contains(r.errOut, "nightly") {
		t.Errorf("exit code %d, message:\n%s", r.code, r.errOut)
	}
	if got := ok(t, dir, nil, "bots", "--json"); got != "" {
		t.Errorf("bots were registered: %s", got)
	}
}
