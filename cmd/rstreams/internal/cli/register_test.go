package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// cli runs the command.
func cli(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Run(t.Context(), context.WithoutCancel(t.Context()), args, Streams{In: strings.NewReader(in), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

func TestRegisterWritesNothingOfAFaultySet(t *testing.T) {
	bus := "embedded:" + t.TempDir()
	cli(t, "1\n", "write", "orders", "--bot", "w", "--bus", bus)
	code, _, errs := cli(t, `{"a": {"lambdaName": "f"}, "b": {"lambdaName": "f", "instances": {}}}`, "register", "--bus", bus)
	if code != codeInput || !strings.Contains(errs, "instances") || strings.Count(errs, "\n") != 1 {
		t.Errorf("exit %d, %s", code, errs)
	}
	if code, out, _ := cli(t, "", "bots", "a", "--bus", bus); code != codeNotFound {
		t.Errorf("exit %d, %s", code, out)
	}
}

func TestRegisterKeepsWhatIsNotDeclared(t *testing.T) {
	bus := "embedded:" + t.TempDir()
	cli(t, "1\n", "write", "orders", "--bot", "w", "--bus", bus)
	for _, declared := range []string{`{"r": {"lambdaName": "f", "time": "0 9 * * *", "timeZone": "Europe/Berlin"}}`, `{"r": {"lambdaName": "g"}}`} {
		if code, _, errs := cli(t, declared, "register", "--bus", bus); code != 0 {
			t.Fatalf("exit %d, %s", code, errs)
		}
	}
	if _, out, _ := cli(t, "", "bots", "r", "--json", "--bus", bus); !strings.Contains(out, "0 9 * * *") || !strings.Contains(out, "Europe/Berlin") {
		t.Errorf("the schedule is gone: %s", out)
	}
}
