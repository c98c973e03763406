// Package cli tests the rstreams command as its users meet it: the built binary, its output, and its exit codes.
package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// binary is the rstreams command under test.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rstreams-cli-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binary = filepath.Join(dir, "rstreams")
	if runtime.GOOS == "windows" {
		binary += ".exe"
	}
	build := exec.Command("go", "build", "-o", binary, "github.com/rstreams-go/rstreams/cmd/rstreams")
	build.Stdout, build.Stderr = os.Stderr, os.Stderr
	code := 1
	if err := build.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "cannot build rstreams:", err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// timeout bounds every command of the tests.
const timeout = 2 * time.Minute

// result is what a command did.
type result struct {
	code        int
	out, errOut string
}

// command prepares a command on the bus in dir.
func command(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, binary, args...)
	c.Env = append(os.Environ(), "RSTREAMS_BUS=embedded:"+dir)
	return c
}

// run runs a command to its end.
func run(t *testing.T, dir string, in io.Reader, args ...string) result {
	t.Helper()
	c := command(t, dir, args...)
	c.Stdin = in
	return finish(t, c)
}

func finish(t *testing.T, c *exec.Cmd) result {
	t.Helper()
	var out, errOut bytes.Buffer
	c.Stdout, c.Stderr = &out, &errOut
	err := c.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", strings.Join(c.Args, " "), err)
	}
	return result{c.ProcessState.ExitCode(), out.String(), errOut.String()}
}

// ok runs a command that must succeed and returns its output.
func ok(t *testing.T, dir string, in io.Reader, args ...string) string {
	t.Helper()
	r := run(t, dir, in, args...)
	if r.code != 0 {
		t.Fatalf("rstreams %s: exit code %d\n%s", strings.Join(args, " "), r.code, r.errOut)
	}
	return r.out
}

// fails runs a command that must fail with code and one line that holds all of words.
func fails(t *testing.T, dir string, in io.Reader, code int, words []string, args ...string) {
	t.Helper()
	r := run(t, dir, in, args...)
	wantFailure(t, r, code, words, args...)
}

func wantFailure(t *testing.T, r result, code int, words []string, args ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("rstreams %s: exit code %d, want %d\n%s", strings.Join(args, " "), r.code, code, r.errOut)
	}
	if n := strings.Count(r.errOut, "\n"); n != 1 || !strings.HasPrefix(r.errOut, "rstreams: ") {
		t.Errorf("rstreams %s: want one line on standard error, got %d:\n%s", strings.Join(args, " "), n, r.errOut)
	}
	for _, w := range words {
		if !strings.Contains(r.errOut, w) {
			t.Errorf("rstreams %s: the message does not say %q: %s", strings.Join(args, " "), w, r.errOut)
		}
	}
}

// numbered makes n payloads whose field n counts from first.
func numbered(first, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"n":%d,"text":"some text to give the event the size of a usual one, which is about 200 bytes"}`+"\n", first+i)
	}
	return b.String()
}

// verified runs `rstreams verify`, which must find nothing.
func verified(t *testing.T, dir string) {
	t.Helper()
	if r := run(t, dir, nil, "verify"); r.code != 0 {
		t.Errorf("verify: exit code %d\n%s%s", r.code, r.out, r.errOut)
	}
}
