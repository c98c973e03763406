package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func TestAKilledWriterGoesOnBehindItsLastAcknowledgedLineAndLosesNothing(t *testing.T) {
	dir, acks := t.TempDir(), filepath.Join(t.TempDir(), "acks")
	const lines, kills = 60_000, 6
	input := random(1, lines)
	killed := 0
	for attempt := 0; ; attempt++ {
		if attempt > 50 {
			t.Fatal("the writer never came to its end")
		}
		c := command(t, dir, "write", "q", "--bot", "b", "--acks", acks, "--resume", "--ack-every", "1")
		c.Stdin = strings.NewReader(input)
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		// Killed after an acknowledgement, at another place every time; then left alone.
		kill := killed < kills
		r := bufio.NewScanner(out)
		for seen := 0; r.Scan(); seen++ {
			var a struct{ Acknowledged int }
			decode(t, r.Text(), &a)
			if kill && seen == attempt%3 && a.Acknowledged < lines {
				if err := c.Process.Kill(); err != nil {
					t.Fatal(err)
				}
				killed++
				break
			}
		}
		_, _ = io.Copy(io.Discard, out)
		if err := c.Wait(); err == nil {
			break
		}
	}
	if killed < 2 {
		t.Fatalf("the writer was killed %d times only: the test shows nothing", killed)
	}
	missing(t, input, ok(t, dir, nil, "read", "q"))
	verified(t, dir)
}

func TestPrintedAcknowledgementsAreEnoughToGoOn(t *testing.T) {
	dir := t.TempDir()
	input := random(2, 30_000)
	c := command(t, dir, "write", "q", "--bot", "b", "--ack-every", "100")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var feed sync.WaitGroup
	feed.Go(func() { _, _ = io.WriteString(in, input) }) // and never ends, but with the process
	r := bufio.NewReader(out)
	line, err := r.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	var a struct{ Acknowledged int }
	decode(t, line, &a)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	feed.Wait()
	_ = c.Wait()
	ok(t, dir, strings.NewReader(input), "write", "q", "--bot", "b", "--from-line", itoa(a.Acknowledged+1))
	missing(t, input, ok(t, dir, nil, "read", "q"))
	verified(t, dir)
}

func TestASignalStopsAWriterInOrder(t *testing.T) {
	dir := t.TempDir()
	c := command(t, dir, "write", "q", "--bot", "b", "--ack-every", "1")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var errOut bytes.Buffer
	c.Stderr = &errOut
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, numbered(0, 500)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewScanner(out)
	for r.Scan() && !strings.Contains(r.Text(), ":500}") {
	}
	// All is acknowledged, and the writer waits for more.
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, out)
	_ = c.Wait()
	wantFailure(t, result{c.ProcessState.ExitCode(), "", errOut.String()}, 7, []string{"acknowledged up to line 500", "--from-line 501"}, "write")
	if got := ok(t, dir, nil, "read", "q"); got != numbered(0, 500) {
		t.Errorf("%d bytes are stored", len(got))
	}
}

func TestASignalEndsAFollowingReaderWell(t *testing.T) {
	dir := t.TempDir()
	ok(t, dir, strings.NewReader(numbered(0, 50)), "write", "q", "--bot", "b")
	c, out := follow(t, dir, "--bot", "r", "--checkpoint")
	for range 50 {
		if !out.Scan() {
			t.Fatal("the reader ended")
		}
	}
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("a reader that was interrupted ended with %v", err)
	}
	if got := ok(t, dir, nil, "read", "q", "--bot", "r"); got != "" {
		t.Errorf("the checkpoint was not moved: the next read got %d bytes", len(got))
	}
}

// follow starts a reader that waits for more.
func follow(t *testing.T, dir string, args ...string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	c := command(t, dir, append([]string{"read", "q", "--follow", "--events"}, args...)...)
	pipe, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill() })
	return c, bufio.NewScanner(pipe)
}

func TestTwoWritersAndTwoReadersAgreeOnOneOrder(t *testing.T) {
	dir := t.TempDir()
	const each = 20_000
	// The queue exists before the readers, so that none of them is told that it does not.
	ok(t, dir, strings.NewReader(`{"writer":-1,"n":0}`+"\n"), "write", "q", "--bot", "first")
	type event struct {
		EID     string
		Payload struct{ Writer, N int }
	}
	var wg sync.WaitGroup
	seen := make([][]event, 2)
	for i := range seen {
		c, out := follow(t, dir)
		wg.Go(func() {
			for len(seen[i]) < 2*each+1 && out.Scan() {
				var e event
				if err := json.Unmarshal(out.Bytes(), &e); err != nil {
					t.Errorf("reader %d: %v: %s", i, err, out.Bytes())
					break
				}
				seen[i] = append(seen[i], e)
			}
			_ = c.Process.Signal(os.Interrupt)
			_ = c.Wait()
		})
	}
	for i := range 2 {
		wg.Go(func() {
			var b strings.Builder
			for n := range each {
				fmt.Fprintf(&b, `{"writer":%d,"n":%d}`+"\n", i, n)
			}
			c := command(t, dir, "write", "q", "--bot", fmt.Sprintf("w%d", i))
			c.Stdin = strings.NewReader(b.String())
			if text, err := c.CombinedOutput(); err != nil {
				t.Errorf("writer %d: %v\n%s", i, err, text)
			}
		})
	}
	wg.Wait()
	if len(seen[0]) != 2*each+1 || len(seen[1]) != 2*each+1 {
		t.Fatalf("the readers saw %d and %d events, want %d", len(seen[0]), len(seen[1]), 2*each+1)
	}
	next := map[int]int{}
	last := ""
	for i, e := range seen[0] {
		if seen[1][i] != e {
			t.Fatalf("at %d one reader saw %+v, the other %+v", i, e, seen[1][i])
		}
		if e.EID <= last {
			t.Fatalf("id %s comes after %s", e.EID, last)
		}
		last = e.EID
		if next[e.Payload.Writer] != e.Payload.N {
			t.Fatalf("writer %d: event %d where %d was due", e.Payload.Writer, e.Payload.N, next[e.Payload.Writer])
		}
		next[e.Payload.Writer]++
	}
	if next[0] != each || next[1] != each {
		t.Errorf("the writers' events: %v", next)
	}
	verified(t, dir)
}

// random makes n different payloads that do not compress well. The same seed makes the same.
func random(seed uint64, n int) string {
	rng := rand.New(rand.NewPCG(seed, 0))
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"n":%d,"a":"%016x%016x","b":"%016x%016x","c":"%016x%016x"}`+"\n", i,
			rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64(), rng.Uint64())
	}
	return b.String()
}

// missing checks that every line of want is in got, in order, and that got has no line that is not in want. Lines may be there
// twice: a writer that was killed writes again what it did not see acknowledged.
func missing(t *testing.T, want, got string) {
	t.Helper()
	have, wrong := map[string]int{}, 0
	for line := range strings.Lines(want) {
		have[line] = 0
	}
	for line := range strings.Lines(got) {
		if _, ok := have[line]; ok {
			have[line]++
		} else if wrong++; wrong == 1 && !strings.Contains(line, "some text") {
			t.Errorf("nobody wrote %s", line)
		}
	}
	lost := 0
	for _, n := range have {
		if n == 0 {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d lines are lost", lost, len(have))
	}
}

// number reads the number behind the words in text.
func number(t *testing.T, text, words string) int {
	t.Helper()
	_, rest, found := strings.Cut(text, words)
	digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if !found || digits < 1 {
		t.Fatalf("no number behind %q in %q", words, text)
	}
	n, err := strconv.Atoi(rest[:digits])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// firstLines returns the first n lines of text.
func firstLines(text string, n int) string {
	end := 0
	for range n {
		i := strings.IndexByte(text[end:], '\n')
		end += i + 1
	}
	return text[:end]
}

func itoa(n int) string { return strconv.Itoa(n) }
