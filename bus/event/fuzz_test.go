package event

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"
	"unicode/utf8"
)

// checkAgainstStandard compares Scan and Parse with encoding/json: the same lines are accepted, and the members are the same.
func checkAgainstStandard(t *testing.T, line []byte) {
	t.Helper()
	var l Line
	err := Scan(line, &l)
	body := bytes.TrimSuffix(line, []byte("\n"))
	var members map[string]json.RawMessage
	valid := json.Unmarshal(body, &members) == nil && members != nil && !bytes.Contains(body, []byte("\n"))
	if (err == nil) != valid {
		t.Fatalf("Scan says %v, encoding/json %v: %q", err, valid, line)
	}
	if err != nil {
		if _, err := Parse(line); err == nil {
			t.Fatalf("Parse accepts what Scan refuses: %q", line)
		}
		return
	}
	for name, f := range map[string]field{
		"id": fieldID, "event": fieldEvent, "payload": fieldPayload, "timestamp": fieldTimestamp, "event_source_timestamp": fieldSource,
		"correlation_id": fieldCorrelation, "units": fieldUnits, "eid": fieldEID, "_cmd": fieldCommand, "s3": fieldS3, "archive": fieldArchive,
		"snapshot": fieldSnapshot,
	} {
		if want := members[name]; !bytes.Equal(l.value(f), want) {
			t.Fatalf("%s is %q, encoding/json says %q: %q", name, l.value(f), want, line)
		}
	}
	if v := l.value(fieldID); len(v) > 0 && v[0] == '"' && utf8.Valid(v) {
		var want string
		if err := json.Unmarshal(v, &want); err != nil || want != l.Bot() {
			t.Fatalf("bot %q, encoding/json says %q: %q", l.Bot(), want, line)
		}
	}
	checkStored(t, &l, members)
	checkRoundTrip(t, line, &l, members)
}

// checkStored checks that a stored line is one valid line in which only the members it is about have changed.
func checkStored(t *testing.T, l *Line, members map[string]json.RawMessage) {
	t.Helper()
	stored := l.AppendStored(nil, `qu"eue`, 42, 1704164645678)
	var again Line
	if err := Scan(stored, &again); err != nil || bytes.Count(stored, []byte("\n")) != 1 {
		t.Fatalf("stored line %q: %v", stored, err)
	}
	var got map[string]json.RawMessage
	if err := json.Unmarshal(stored, &got); err != nil {
		t.Fatalf("stored line %q: %v", stored, err)
	}
	if string(got["eid"]) != "42" || string(got["event"]) != `"qu\"eue"` || !truthy(got["timestamp"]) || !isNumber(got["event_source_timestamp"]) {
		t.Fatalf("stored line %q", stored)
	}
	for name, want := range members {
		switch name {
		case "eid", "event", "timestamp", "event_source_timestamp":
		default:
			if !bytes.Equal(got[name], want) {
				t.Fatalf("%q became %q in stored line %q", want, got[name], stored)
			}
		}
	}
	if twice := again.AppendStored(nil, `qu"eue`, 42, 1); string(twice) != string(stored) && !bytes.Contains(stored, []byte(`\`)) {
		t.Fatalf("storing again changes %q to %q", stored, twice)
	}
}

// checkRoundTrip checks that what Parse reads and AppendLine accepts says the same as the line.
func checkRoundTrip(t *testing.T, line []byte, l *Line, members map[string]json.RawMessage) {
	t.Helper()
	e, err := Parse(line)
	if err != nil {
		if _, qerr := l.Queue(); qerr == nil {
			t.Fatalf("Parse: %v: %q", err, line)
		}
		return
	}
	before := []byte("before")
	again, err := AppendLine(before, &e, 3)
	if err != nil {
		if string(again) != "before" {
			t.Fatalf("failed AppendLine left %q", again)
		}
		if utf8.Valid(line) && e.Bot != "" && e.Queue != "" && l.HasPayload() {
			t.Fatalf("AppendLine: %v: %q", err, line)
		}
		return
	}
	again = bytes.TrimPrefix(again, before)
	var got map[string]json.RawMessage
	if err := json.Unmarshal(again, &got); err != nil || bytes.Count(again, []byte("\n")) != 1 {
		t.Fatalf("AppendLine wrote %q: %v", again, err)
	}
	e2, err := Parse(again)
	if err != nil || e2.Bot != e.Bot || e2.Queue != e.Queue || e2.Timestamp != e.Timestamp || e2.SourceTimestamp != e.SourceTimestamp || e2.Units != e.Units {
		t.Fatalf("%q came back as %q (%v)", line, again, err)
	}
	for name, want := range members {
		switch fieldOf([]byte(name)) {
		case fieldPayload, fieldOther, fieldCommand, fieldS3, fieldArchive, fieldSnapshot:
			// encoding/json gives names with half surrogates another text for the same bytes.
			if !sameValue(got[name], want) {
				t.Fatalf("%s: %q became %q", name, want, got[name])
			}
		}
	}
}

func sameValue(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

func FuzzParse(f *testing.F) {
	var cases []writtenCase
	data, err := os.ReadFile("testdata/written.json")
	if err != nil {
		f.Fatal(err)
	}
	if err := json.Unmarshal(data, &cases); err != nil {
		f.Fatal(err)
	}
	for _, c := range cases {
		for _, line := range c.Lines[:min(1, len(c.Lines))] {
			f.Add([]byte(line))
			f.Add([]byte(line[:len(line)*2/3]))
			f.Add([]byte(line + "}"))
		}
	}
	for _, doc := range documents {
		f.Add([]byte(`{"id":"b","event":"q","payload":` + doc + `}`))
		f.Add([]byte(`{"event":` + doc + `,"id":` + doc + `,"payload":1,"timestamp":` + doc + `}`))
	}
	f.Add([]byte(`{"\u0069d":"b","\u0065vent":"q","payload":[1,2],"correlation_id":{"source":"s","start":5,"units":2.5,"x":null},"units":0}`))
	f.Fuzz(checkAgainstStandard)
}

func FuzzAppendLine(f *testing.F) {
	for _, doc := range documents {
		f.Add("bot", "queue", []byte(doc), "name")
		f.Add("b\"\x00\xff", "q\n", []byte("\n"+doc+"\r"), "payload")
	}
	f.Fuzz(func(t *testing.T, bot, queue string, value []byte, name string) {
		e := Event{Bot: bot, Queue: queue, Payload: value, Extra: []Member{{name, value}}, Correlation: &Correlation{Source: queue, Extra: []Member{{name, value}}}}
		line, err := AppendLine(nil, &e, 1)
		if !json.Valid(value) || !utf8.Valid(value) || !utf8.ValidString(bot) || !utf8.ValidString(queue) || bot == "" || queue == "" {
			if err == nil {
				t.Fatalf("accepted as %q", line)
			}
			return
		}
		if err != nil {
			if compact := bytes.TrimSpace(value); truthy(compact) && utf8.ValidString(name) {
				t.Fatal(err)
			}
			return
		}
		var got struct {
			ID, Event string
			Payload   json.RawMessage
		}
		if err := json.Unmarshal(line, &got); err != nil || bytes.ContainsAny(line[:len(line)-1], "\r\n") {
			t.Fatalf("%v: %q", err, line)
		}
		var l Line
		if err := Scan(line, &l); err != nil || l.Bot() != bot || !sameValue(l.PayloadRaw(), value) {
			t.Fatalf("%v: %q", err, line)
		}
		var text string
		if err := json.Unmarshal(l.value(fieldEvent), &text); err != nil || text != queue {
			t.Fatalf("queue %q became %q: %v", queue, text, err)
		}
	})
}
