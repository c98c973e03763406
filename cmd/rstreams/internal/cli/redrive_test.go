package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/deadletter"
)

// letter is a line of rstreams.dlq.
func letter(t *testing.T, l deadletter.Letter) string {
	t.Helper()
	if l.Error == "" {
		l.Error = "a fault"
	}
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	return string(text) + "\n"
}

// handled is a letter whose original is event n of orders.
func handled(t *testing.T, n int) string {
	return letter(t, deadletter.Letter{Reason: deadletter.ReasonHandler, Raw: fmt.Sprintf(`{"id":"web","event":"orders","payload":{"n":%d}}`, n)})
}

func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "letters.jsonl")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// ids are the ids of the letters that `rstreams dlq show` printed.
func ids(t *testing.T, show string) []string {
	t.Helper()
	var list []string
	for line := range strings.Lines(show) {
		var l letterLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		list = append(list, l.EID)
	}
	return list
}

func TestRedriveWritesWholeEventsAndMarkedPayloadsAndNothingElse(t *testing.T) {
	for _, c := range []struct {
		letter deadletter.Letter
		to     string
		want   string // queue, bot and payload; "" for none
	}{
		// What the sequencer refused is no payload of another event.
		{letter: deadletter.Letter{Reason: deadletter.ReasonEvent, Queue: "orders", Bot: "web", Raw: `{"id":"web","event":"orders","payload":null}`}},
		{letter: deadletter.Letter{Reason: deadletter.ReasonEvent, Queue: "orders", Bot: "web", Raw: `{"n":1}`}},
		{letter: deadletter.Letter{Reason: deadletter.ReasonEvent, Queue: "orders", Bot: "web",
			Raw: `{"_cmd":"registerSnapshot","event":"orders","id":"web","start":"x"}`}},
		{letter: deadletter.Letter{Reason: deadletter.ReasonPointer, Queue: "orders", Bot: "web",
			Raw: `{"event":"orders","start":null,"end":9,"s3":{"bucket":"b","key":"bus/x.gz"},"offsets":[],"records":10,"size":1,"gzipSize":1}`}},
		{letter: deadletter.Letter{Reason: deadletter.ReasonPointer, Queue: "orders", Bot: "web",
			Raw: `{"id":"web","event":"orders","payload":1,"s3":{"bucket":"b","key":"bus/x.gz"}}`}},
		{letter: deadletter.Letter{Reason: deadletter.ReasonChunk, Queue: "orders", Raw: "s3://bucket/key"}},
		{letter: deadletter.Letter{Reason: deadletter.ReasonRecord, Raw: "7"}, to: "orders"},
		{letter: deadletter.Letter{Reason: deadletter.ReasonLine, Queue: "orders", Bot: "reader", EID: "z/2026", Raw: `{"event":"orders","eid":3}`}},
		// Nor is what the bus would make a dead letter again.
		{letter: deadletter.Letter{Reason: deadletter.ReasonEvent, Raw: `{"id":"web","event":"orders","payload":1,"archive":true}`}},
		{letter: deadletter.Letter{Reason: deadletter.ReasonEvent, Raw: `{"id":"web","event":"orders/_archive","payload":1}`}},
		{letter: deadletter.Letter{Reason: deadletter.ReasonEvent, Raw: `{"id":"web","event":"a\u0001","payload":1}`}},
		{letter: deadletter.Letter{Reason: deadletter.ReasonEvent, Raw: `{"id":"web","payload":1}`}},

		{letter: deadletter.Letter{Reason: deadletter.ReasonEvent, Raw: `{"id":"web","payload":1}`}, to: "orders", want: "orders web 1"},
		{letter: deadletter.Letter{Reason: deadletter.ReasonEvent, Raw: `{"event":"orders","payload":1}`}, want: "orders rstreams-redrive 1"},
		{letter: deadletter.Letter{Reason: deadletter.ReasonEvent, Raw: `{"id":"web","event":"orders/_archive","payload":1}`}, to: "x", want: "x web 1"},
		{letter: deadletter.Letter{Reason: deadletter.ReasonHandler, Queue: "in", Bot: "b", Raw: `{"id":"web","event":"orders","payload":{"n":1}}`},
			want: `orders web {"n":1}`},
		{letter: deadletter.Letter{Reason: deadletter.ReasonLine, Queue: "orders", Bot: "web", Raw: `{"payload":{"n":1}}`}, want: `orders web {"n":1}`},

		// A payload is one whatever it looks like.
		{letter: deadletter.Letter{Reason: deadletter.ReasonLine, Queue: "orders", Bot: "web", Bare: true, Raw: `{"n":1}`}, want: `orders web {"n":1}`},
		{letter: deadletter.Letter{Reason: deadletter.ReasonLine, Queue: "orders", Bot: "web", Bare: true, Raw: `{"event":"x","payload":1}`},
			want: `orders web {"event":"x","payload":1}`},
		{letter: deadletter.Letter{Reason: deadletter.ReasonLine, Queue: "orders", Bot: "web", Bare: true, Raw: "1"}, to: "x", want: "x web 1"},
		{letter: deadletter.Letter{Reason: deadletter.ReasonLine, Queue: "orders", Bot: "web", Bare: true, Raw: "null"}},
		{letter: deadletter.Letter{Reason: deadletter.ReasonLine, Queue: "orders", Bot: "web", Bare: true, Raw: "{bad"}},
		{letter: deadletter.Letter{Reason: deadletter.ReasonLineTooLong, Queue: "orders", Bot: "web", Bare: true, Raw: "123", Size: 4}},
	} {
		got := ""
		e, err := revive(&c.letter, c.to)
		if err == nil {
			got = fmt.Sprintf("%s %s %s", e.Queue, e.Bot, e.Payload)
		}
		if got != c.want || err != nil && !badLine(err) {
			t.Errorf("%s %s: got %q, want %q, %v", c.letter.Reason, c.letter.Raw, got, c.want, err)
		}
	}
}

func TestLettersThatAreNoEventsAreLeft(t *testing.T) {
	run := on(t)
	bad := letter(t, deadletter.Letter{Reason: deadletter.ReasonEvent, Queue: "orders", Raw: `{"id":"web","event":"orders","payload":null}`})
	run(bad+handled(t, 1), "write", deadletter.Queue, "--bot", "b")
	for _, dry := range []bool{true, false} {
		args := []string{"dlq", "redrive", "--all"}
		if dry {
			args = append(args, "--dry-run")
		}
		if code, _, errs := run("", args...); code != codeInput || !strings.Contains(errs, "1 letters hold no event") {
			t.Errorf("exit code %d, %s", code, errs)
		}
	}
	if _, out, _ := run("", "read", "orders"); out != "{\"n\":1}\n" {
		t.Errorf("orders holds %q", out)
	}
	if _, out, _ := run("", "dlq", "list", "--json", "--reason", "bad-event"); !strings.Contains(out, `"redriven":0`) {
		t.Errorf("dlq list: %s", out)
	}
}

func TestALetterIsWrittenOnceInARun(t *testing.T) {
	for _, again := range []bool{false, true} {
		run := on(t)
		run("{bad\n", "write", "orders", "--bot", "b", "--skip-bad")
		_, show, _ := run("", "dlq", "show")
		good := strings.Replace(show, `"raw":"{bad"`, `"raw":"{\"n\":1}"`, 1)
		// A fault does not count: the letter may be corrected further down.
		code, _, errs := run("", "dlq", "redrive", "--edited", file(t, show+good+good), fmt.Sprintf("--again=%t", again))
		if code != codeInput || !strings.Contains(errs, "1 letters written again, 1 were before, 1 cannot be") {
			t.Errorf("exit code %d, %s", code, errs)
		}
		if _, out, _ := run("", "read", "orders"); out != "{\"n\":1}\n" {
			t.Errorf("orders holds %q", out)
		}
	}
}

func TestAForeignEventAmongTheMarksIsPassedOver(t *testing.T) {
	run := on(t)
	run(handled(t, 1), "write", deadletter.Queue, "--bot", "b")
	run("\"hello\"\n{}\n", "write", redrivenQueue, "--bot", "b")
	for range 2 {
		if code, _, errs := run("", "dlq", "redrive", "--all"); code != codeOK || strings.Count(errs, redrivenQueue+" is passed over") != 2 {
			t.Errorf("redrive: exit code %d, %s", code, errs)
		}
	}
	if code, out, errs := run("", "dlq", "list", "--json"); code != codeOK || !strings.Contains(out, `"redriven":1`) {
		t.Errorf("list: exit code %d, %s%s", code, out, errs)
	}
}

func TestTheLimitCountsLettersThatAreWritten(t *testing.T) {
	run := on(t)
	in := letter(t, deadletter.Letter{Reason: deadletter.ReasonLine, Queue: "orders", Raw: "{bad"})
	for n := range 4 {
		in += handled(t, n)
	}
	run(in, "write", deadletter.Queue, "--bot", "b")
	_, show, _ := run("", "dlq", "show")
	for _, args := range [][]string{{"--all"}, {"--edited", file(t, show)}} {
		_, _, errs := run("", append([]string{"dlq", "redrive", "--limit", "2"}, args...)...)
		if !strings.Contains(errs, "2 letters written again") {
			t.Errorf("%v: %s", args, errs)
		}
	}
	if _, out, _ := run("", "read", "orders"); out != "{\"n\":0}\n{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n" {
		t.Errorf("orders holds %q", out)
	}
}

func TestLettersThatAreNamedAndNotThereAreToldOf(t *testing.T) {
	const nowhere = "z/2020/01/01/00/00/1577836800000-0000000"
	run := on(t)
	run(handled(t, 1)+handled(t, 2), "write", deadletter.Queue, "--bot", "b")
	_, show, _ := run("", "dlq", "show")
	there := ids(t, show)
	for _, args := range [][]string{
		{"show", there[0], nowhere}, {"show", there[0], "--reason", "bad-line"},
		{"redrive", nowhere, there[0]}, {"redrive", "--edited", file(t, show), there[1], nowhere},
	} {
		code, _, errs := run("", append([]string{"dlq"}, args...)...)
		if code != codeNotFound || !strings.Contains(errs, "not found") {
			t.Errorf("%v: exit code %d, %s", args, code, errs)
		}
	}
	// Those that are there are written.
	if _, out, _ := run("", "read", "orders"); out != "{\"n\":1}\n{\"n\":2}\n" {
		t.Errorf("orders holds %q", out)
	}
	if code, out, _ := run("", "dlq", "show", there[1], there[0]); code != codeOK || out != show {
		t.Errorf("exit code %d, %s", code, out)
	}
}

func TestAFileOfLettersThatSaysTwoThingsIsRefused(t *testing.T) {
	run := on(t)
	run("\"\xff\"\n", "write", "orders", "--bot", "b", "--skip-bad")
	_, show, _ := run("", "dlq", "show")
	edited := strings.Replace(show, `"raw_base64"`, `"raw":"{\"n\":1}","raw_base64"`, 1)
	code, _, errs := run("", "dlq", "redrive", "--edited", file(t, edited))
	if code != codeInput || !strings.Contains(errs, "line 1") || !strings.Contains(errs, "raw_base64") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	for _, args := range [][]string{{"--edited", "x", "--start", "z/2026"}, {"--all", "--to", "orders/_archive"}, {"--all", "--to", "queue:"}} {
		if code, _, errs := run("", append([]string{"dlq", "redrive"}, args...)...); code != codeUsage {
			t.Errorf("%v: exit code %d, %s", args, code, errs)
		}
	}
}
