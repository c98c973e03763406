package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/config"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// lines reads everything that input yields: numbered lines, and how it ended.
func lines(t *testing.T, in io.Reader, files ...string) (got []string, err error) {
	t.Helper()
	for b := range input(context.Background(), in, files) {
		for i := range b.ends {
			got = append(got, fmt.Sprintf("%d:%s", b.first+int64(i), b.line(i)))
		}
		if b.err != nil {
			err = b.err
		}
	}
	return got, err
}

func TestInputNumbersLinesWhateverTheReaderGives(t *testing.T) {
	long := strings.Repeat("x", 3*blockBytes)
	text := "a\n\n  b \r\n" + long + "\nc"
	want := []string{"1:a", "2:", "3:b", "4:" + long, "5:c"}
	for name, r := range map[string]io.Reader{
		"at once": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text)),
		"halves": iotest.HalfReader(strings.NewReader(text)), "data with the end": iotest.DataErrReader(strings.NewReader(text)),
	} {
		got, err := lines(t, r)
		if !errors.Is(err, io.EOF) || strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s: %d lines, %v", name, len(got), err)
		}
	}
}

func TestInputCountsOnOverFilesAndNamesPlacesInThem(t *testing.T) {
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	for name, text := range map[string]string{one: "a\nb\n", two: "c\nd"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var places []string
	for b := range input(context.Background(), nil, []string{one, two}) {
		for i := range b.ends {
			places = append(places, fmt.Sprintf("%d is %s", b.first+int64(i), b.place(i)))
		}
	}
	want := fmt.Sprintf("[1 is line 1 of %s 2 is line 2 of %s 3 is line 1 of %s 4 is line 2 of %s]", one, one, two, two)
	if got := fmt.Sprint(places); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestInputEndsWithTheReadersError(t *testing.T) {
	broken := errors.New("the pipe broke")
	got, err := lines(t, io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || exitCode(err) != codeInput {
		t.Errorf("error %v, code %d", err, exitCode(err))
	}
	// Half a line is not taken for a line.
	if len(got) != 1 || got[0] != "1:a" {
		t.Errorf("lines: %v", got)
	}
}

func TestInputStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range input(ctx, strings.NewReader(strings.Repeat("line\n", 1_000_000)), nil) {
	}
}

func TestAcksFollowTheLastLineBeforeWhichAllIsDurable(t *testing.T) {
	var out bytes.Buffer
	file := filepath.Join(t.TempDir(), "acks")
	a := newAcks(0, &out, 2, file)
	through := func(want, wantEvents int64) {
		t.Helper()
		if got, events := a.state(); got != want || events != wantEvents {
			t.Errorf("through line %d, %d events; want %d, %d", got, events, want, wantEvents)
		}
	}
	a.put("x", 1)
	a.put("y", 2)
	a.skip(3)
	a.put("x", 4)
	through(0, 0)
	a.ack("y", 1, nil) // line 2, but line 1 is open
	through(0, 1)
	a.ack("x", 1, nil)
	through(3, 2)
	a.put("x", 5)
	a.takeBack("x") // refused
	a.ack("x", 1, nil)
	through(4, 3)
	a.skip(5)
	through(5, 3)
	if err := a.finish(); err != nil {
		t.Fatal(err)
	}
	if got, want := out.String(), "{\"acknowledged\":3}\n{\"acknowledged\":5}\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	if n, err := loadAcks(file); n != 5 || err != nil {
		t.Errorf("the file says %d, %v", n, err)
	}
}

func TestAcksStopAtAFailure(t *testing.T) {
	a := newAcks(10, io.Discard, 0, "")
	broken := errors.New("the disk is full")
	a.put("x", 11)
	a.put("x", 12)
	a.ack("x", 1, nil)
	a.ack("x", 1, broken)
	a.skip(13)
	if through, _ := a.state(); through != 11 {
		t.Errorf("through line %d, want 11", through)
	}
	if err := a.finish(); !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}

func TestAnAckForMoreThanWasWrittenIsAFailure(t *testing.T) {
	a := newAcks(0, io.Discard, 0, "")
	a.put("x", 1)
	a.ack("x", 2, nil)
	if through, _ := a.state(); through != 0 || a.finish() == nil {
		t.Errorf("through line %d", through)
	}
}

func TestAFileOfAcknowledgementsIsWholeOrRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "acks")
	if n, err := loadAcks(file); n != 0 || err != nil {
		t.Errorf("no file: %d, %v", n, err)
	}
	for _, line := range []int64{0, 7, 1 << 40} {
		if err := saveAcks(file, line); err != nil {
			t.Fatal(err)
		}
		if n, err := loadAcks(file); n != line || err != nil {
			t.Errorf("saved %d, loaded %d, %v", line, n, err)
		}
	}
	for _, text := range []string{"", "twelve", "-3"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := loadAcks(file); err == nil || !strings.Contains(err.Error(), "--from-line") {
			t.Errorf("%q: error %v", text, err)
		}
	}
	if err := saveAcks(filepath.Join(t.TempDir(), "no", "directory"), 1); err == nil {
		t.Error("a file in no directory is no error")
	}
}

func TestPositionsAsPeopleGiveThem(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "head": "head", "z/": "z/", "z/2026/11": "z/2026/11", "2026-11-21": "z/2026/11/21/00/00/1795219200000",
		"2026-11-21T10:30:00Z": "z/2026/11/21/10/30/1795257000000", "2026-11-21T12:30:00+02:00": "z/2026/11/21/10/30/1795257000000",
		"z/2026-11-21T10:30:00Z": "z/2026/11/21/10/30/1795257000000", "2026-11-21T10:30": "z/2026/11/21/10/30/1795257000000",
		"z/2026/11/21/10/30/1795257000000-0000001": "z/2026/11/21/10/30/1795257000000-0000001",
	} {
		if got, err := parsePosition(in); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"yesterday", "2026", "2026-13-01", "Z/", "1970-01-01"} {
		if got, err := parsePosition(in); err == nil || exitCode(err) != codeUsage {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestErrorsHaveTheirExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		code int
	}{
		{errors.New("anything"), codeFailure}, {usageError(errors.New("x")), codeUsage}, {config.ErrURL, codeUsage}, {eid.ErrInvalid, codeUsage},
		{store.ErrUnavailable, codeUnavailable}, {store.ErrThrottled, codeUnavailable}, {store.ErrCorrupt, codeUnavailable},
		{inputError(errors.New("x")), codeInput}, {store.ErrNotFound, codeNotFound}, {rstreams.ErrQueueNotFound, codeNotFound},
		{rstreams.ErrEventNotFound, codeNotFound}, {errInterrupted, codeInterrupted}, {context.Canceled, codeInterrupted},
		{rstreams.ErrStaleCheckpoint, codeStale}, {rstreams.ErrBackwards, codeStale},
		{&coded{codeVerify, store.ErrNotFound}, codeVerify},
	} {
		if got := exitCode(fmt.Errorf("in some place: %w", c.err)); got != c.code {
			t.Errorf("%v: code %d, want %d", c.err, got, c.code)
		}
	}
}

func TestAnErrorIsOneLine(t *testing.T) {
	if got := oneLine(fmt.Errorf("rstreams: %w", errors.Join(errors.New("one"), errors.New("two\n three")))); got != "one; two; three" {
		t.Errorf("got %q", got)
	}
}

func TestLagIsTheTimeBetweenCheckpointAndHead(t *testing.T) {
	const head = "z/2026/11/21/00/00/1795219200500-0000003"
	for checkpoint, want := range map[string]int64{
		head: 0, "z/2026/11/21/00/00/1795219200500-0000001": 1, "z/2026/11/21/00/00/1795219200000-0000009": 500,
		"": -1, "z/": -1, "z/2026/11/21/00/00/1795219200000-0000009 ": 500,
	} {
		if got := lagMillis(checkpoint, head); got != want {
			t.Errorf("checkpoint %q: lag %d, want %d", checkpoint, got, want)
		}
	}
	if got := lagMillis("", ""); got != 0 {
		t.Errorf("an empty queue: lag %d", got)
	}
}

func TestTextForPeople(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0ms", 999 * time.Millisecond: "999ms", 59 * time.Second: "59s", 90 * time.Second: "1m", 47 * time.Hour: "47h",
		72 * time.Hour: "3d", -5 * time.Second: "in 5s",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%s) = %q, want %q", d, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234"} {
		if got := thousands(n); got != want {
			t.Errorf("thousands(%d) = %q, want %q", n, got, want)
		}
	}
	if got := shorten("one\n two  three four", 9); got != "one two …" {
		t.Errorf("shorten: %q", got)
	}
}

// Commands run in this process as well, for programs that want them so.
func ExampleRun() {
	dir, err := os.MkdirTemp("", "rstreams-example-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx := context.Background()
	run := func(in string, args ...string) int {
		return Run(ctx, ctx, append(args, "--bus", "embedded:"+dir, "-q"), Streams{In: strings.NewReader(in), Out: os.Stdout, Err: os.Stdout})
	}
	run("{\"order\":1}\n{\"order\":2}\n", "write", "orders", "--bot", "shop")
	run("", "read", "orders")
	fmt.Println("exit code", run("", "read", "invoices"))
	// Output:
	// {"order":1}
	// {"order":2}
	// rstreams: read queue invoices: queue not found: nothing was ever written to it
	// exit code 6
}
