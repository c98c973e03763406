package event

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"
)

// The files in testdata hold lines recorded from leo-sdk 6.0.18 and the original kinesis_processor.

func golden(t testing.TB, file string, into any) {
	t.Helper()
	data, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

// decoded is a JSON value in which numbers keep their text.
func decoded(t testing.TB, text []byte) any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

func equalJSON(t testing.TB, got, want []byte) bool {
	t.Helper()
	return reflect.DeepEqual(decoded(t, got), decoded(t, want))
}

type writtenCase struct {
	Name  string
	Lines []string
}

func TestLinesOfNodeParseAndComeBackTheSame(t *testing.T) {
	var cases []writtenCase
	golden(t, "written.json", &cases)
	n := 0
	for _, c := range cases {
		for _, text := range c.Lines {
			n++
			e, err := Parse([]byte(text))
			if err != nil {
				t.Fatalf("%s: %v\n%s", c.Name, err, text)
			}
			var l Line
			if err := Scan([]byte(text), &l); err != nil {
				t.Fatal(err)
			}
			if l.IsPointer() || l.Command() != "" {
				continue
			}
			index, ok := l.EIDIndex()
			if !ok {
				index = -1
			}
			line, err := AppendLine(nil, &e, index)
			if err != nil {
				t.Fatalf("%s: %v\n%s", c.Name, err, text)
			}
			want := []byte(text)
			if _, plain := l.QueueBytes(); !plain {
				want = bytes.Replace(want, l.value(fieldEvent), append(append([]byte{'"'}, e.Queue...), '"'), 1)
			}
			if !equalJSON(t, line, want) {
				t.Errorf("%s:\n got %s\nwant %s", c.Name, line, want)
			}
			if line[len(line)-1] != '\n' || bytes.Count(line, []byte("\n")) != 1 {
				t.Errorf("%s: not one line: %q", c.Name, line)
			}
		}
	}
	if n < 200 {
		t.Errorf("%d lines, want all of them", n)
	}
}

type storedCase struct {
	Name   string
	Now    int64
	Input  []string
	Stored []struct {
		Queue string
		Lines []string
	}
}

func TestStoredLinesEqualThoseOfTheOriginal(t *testing.T) {
	var cases []storedCase
	golden(t, "stored.json", &cases)
	for _, c := range cases {
		want := map[string][]string{}
		for _, s := range c.Stored {
			want[s.Queue] = append(want[s.Queue], s.Lines...)
		}
		var l Line
		for _, text := range c.Input {
			if err := Scan([]byte(text), &l); err != nil {
				if !strings.Contains(text, "not json") && json.Valid([]byte(text)) {
					t.Errorf("%s: %v: %s", c.Name, err, text)
				}
				continue
			}
			queue, err := l.Queue()
			if l.Command() != "" || l.IsPointer() || !l.HasPayload() || len(l.BotBytes()) == 0 || err != nil {
				continue // What the original drops; see bus.md 3.2 step 4.
			}
			if strings.Contains(text, `"__cmd"`) {
				continue // An event to us, nothing to the original.
			}
			left := want[queue]
			if len(left) == 0 {
				t.Errorf("%s: the original did not store %s", c.Name, text)
				continue
			}
			want[queue] = left[1:]
			var stored Line
			if err := Scan([]byte(left[0]), &stored); err != nil {
				t.Fatal(err)
			}
			index, ok := stored.EIDIndex()
			if !ok {
				t.Fatalf("%s: no index in %s", c.Name, left[0])
			}
			got := l.AppendStored([]byte("before"), queue, index, c.Now)
			got, ok = bytes.CutPrefix(got, []byte("before"))
			if !ok || !bytes.HasSuffix(got, []byte("}\n")) || !equalJSON(t, got, []byte(left[0])) {
				t.Errorf("%s:\n got %s\nwant %s", c.Name, got, left[0])
			}
		}
		for queue, left := range want {
			for _, line := range left {
				t.Errorf("%s: the original also stored in %s: %s", c.Name, queue, line)
			}
		}
	}
}

func TestHalfSurrogatesSurviveByteForByte(t *testing.T) {
	const text = `{"id":"b","event":"q","x":"\ud800","payload":{"s":"lone \ud83d and \ude80 surrogates","n":123456789012345678901234567890.10}}`
	e, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	line, err := AppendLine(nil, &e, -1)
	if err != nil {
		t.Fatal(err)
	}
	if string(line) != text+"\n" {
		t.Errorf("got  %swant %s", line, text)
	}
}
