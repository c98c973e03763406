package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// on returns a function that runs commands in this process on a bus of the test's own.
func on(t *testing.T) func(in string, args ...string) (code int, out, errOut string) {
	t.Helper()
	bus := "embedded:" + t.TempDir()
	return func(in string, args ...string) (int, string, string) {
		t.Helper()
		var out, errOut bytes.Buffer
		code := Run(context.Background(), context.Background(), append(args, "--bus", bus),
			Streams{In: strings.NewReader(in), Out: &out, Err: &errOut})
		return code, out.String(), errOut.String()
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
