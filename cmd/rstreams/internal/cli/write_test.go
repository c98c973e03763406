package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/deadletter"
)

// runOn runs a command in this process.
func runOn(bus string, in io.Reader, args ...string) (code int, out, errOut string) {
	var o, e bytes.Buffer
	ctx := context.Background()
	code = Run(ctx, ctx, append(args, "--bus", bus), Streams{In: in, Out: &o, Err: &e})
	return code, o.String(), e.String()
}

// on returns a function that runs commands on a bus of the test's own.
func on(t *testing.T) func(in string, args ...string) (code int, out, errOut string) {
	t.Helper()
	bus := "embedded:" + t.TempDir()
	return func(in string, args ...string) (int, string, string) {
		return runOn(bus, strings.NewReader(in), args...)
	}
}

func TestWhatTheBusWouldMakeADeadLetterIsRefused(t *testing.T) {
	for line, word := range map[string]string{
		`{"event":"orders/_archive","payload":1}`:                      `"orders"`,
		`{"event":"queue:orders/_snapshot","payload":1}`:               `"orders"`,
		`{"event":"orders","payload":1,"archive":true}`:                "archive",
		`{"event":"orders","payload":1,"snapshot":10000000000000}`:     "snapshot",
		`{"event":"a\u0001","payload":1}`:                              "control character",
		`{"event":"` + strings.Repeat("x", 2049) + `","payload":1}`:    "2048",
		`{"event":"orders","start":1,"s3":{"bucket":"b","key":"bus"}}`: "pointer",
	} {
		run := on(t)
		code, _, errs := run(`{"payload":1}`+"\n"+line+"\n", "write", "orders", "--bot", "b", "--events")
		if code != codeInput || !strings.Contains(errs, "line 2") || !strings.Contains(errs, word) || strings.Contains(errs, "wrote") {
			t.Errorf("%.80s: exit code %d, %s", line, code, errs)
		}
		if _, out, _ := run("", "read", "orders"); out != "1\n" {
			t.Errorf("%.80s: stored %q", line, out)
		}
		if _, out, _ := run("", "dlq", "show"); out != "" {
			t.Errorf("%.80s: dead letter %s", line, out)
		}
	}
	// The name on the command line is refused before a line is read.
	if code, _, errs := on(t)("1\n", "write", "orders/_archive", "--bot", "b"); code != codeUsage || !strings.Contains(errs, "/_archive") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

// many reads as n times 7, which is JSON, without holding them.
func many(n int64) io.Reader { return io.LimitReader(sevens{}, n) }

type sevens struct{}

func (sevens) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = '7'
	}
	return len(p), nil
}

func TestALineThatIsTooLongIsThatLinesFault(t *testing.T) {
	text := func() io.Reader {
		return io.MultiReader(strings.NewReader("a\n"), many(maxInputLine+5), strings.NewReader("\nb\n"), many(2*maxInputLine))
	}
	var got []string
	for b := range input(context.Background(), text(), nil) {
		for i := range b.ends {
			got = append(got, fmt.Sprintf("%d:%.1s:%d", b.first+int64(i), b.line(i), b.cut(i)))
			if n := len(b.line(i)); b.cut(i) > 0 && n != keptOfLine {
				t.Errorf("%d bytes are kept", n)
			}
		}
	}
	want := fmt.Sprintf("[1:a:0 2:7:%d 3:b:0 4:7:%d]", maxInputLine+5, 2*maxInputLine)
	if fmt.Sprint(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestAnEndlessLineEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, err := appendLine(ctx, nil, bufio.NewReader(sevens{})); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

func TestWriteGoesOnBehindLinesOfAnySize(t *testing.T) {
	for _, size := range []int64{17 << 20, 30 << 20, maxInputLine + 1} {
		bus := "embedded:" + t.TempDir()
		run := func(in io.Reader, args ...string) (int, string, string) { return runOn(bus, in, args...) }
		in := func() io.Reader {
			return io.MultiReader(strings.NewReader("1\n"), many(size), strings.NewReader("\n2\n"))
		}
		code, _, errs := run(in(), "write", "q", "--bot", "b")
		if code != codeInput || !strings.Contains(errs, "line 2 is no event") || !strings.Contains(errs, "--from-line 2") {
			t.Errorf("%d bytes: exit code %d, %s", size, code, errs)
		}
		if code, _, errs = run(in(), "write", "q", "--bot", "b", "--from-line", "3"); code != codeOK {
			t.Errorf("%d bytes: going on behind the line: exit code %d, %s", size, code, errs)
		}
		if code, _, errs = run(in(), "write", "q", "--bot", "b", "--skip-bad"); code != codeOK || !strings.Contains(errs, "1 lines could not be events") {
			t.Errorf("%d bytes: --skip-bad: exit code %d, %s", size, code, errs)
		}
		if _, out, _ := run(nil, "read", "q"); out != "1\n2\n1\n2\n" {
			t.Errorf("%d bytes: stored %.80q", size, out)
		}
		_, out, _ := run(nil, "dlq", "show")
		var l letterLine
		if err := json.Unmarshal([]byte(out), &l); err != nil {
			t.Fatal(err)
		}
		kept := int64(len(l.Letter.Bytes()))
		if l.Letter.Reason != deadletter.ReasonLineTooLong || kept != min(deadletter.MaxRaw, size) && kept != keptOfLine || l.Letter.Size != size {
			t.Errorf("%d bytes: the letter has %d, and says %d", size, kept, l.Letter.Size)
		}
	}
}
