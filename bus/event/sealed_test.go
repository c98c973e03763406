package event

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// sealed returns the line as it stands in a chunk, and whether it may be sealed.
func sealed(t testing.TB, text string, queue string) (line []byte, ok bool) {
	t.Helper()
	var l Line
	if err := Scan([]byte(text), &l); err != nil {
		t.Fatal(err)
	}
	line = l.AppendStored(nil, queue, 3, 1704164645678)
	return line[:len(line)-1], l.Sealable()
}

// sameAsScan fails where a sealed line is read otherwise than by Scan.
func sameAsScan(t testing.TB, line []byte, fast *Line) {
	t.Helper()
	var slow Line
	if err := Scan(line, &slow); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if err := ScanSealed(line, fast); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	var want, got Event
	errWant, errGot := slow.Event(&want), fast.Event(&got)
	if (errWant == nil) != (errGot == nil) || !reflect.DeepEqual(got, want) {
		t.Fatalf("%s\n got %+v, %v\nwant %+v, %v", line, got, errGot, want, errWant)
	}
	i, okI := slow.EIDIndex()
	k, okK := fast.EIDIndex()
	if i != k || okI != okK || i != 3 {
		t.Fatalf("%s: eid %d, %v, and %d, %v", line, i, okI, k, okK)
	}
}

func TestLinesOfTheWriterCanBeSealedAndAreReadTheSame(t *testing.T) {
	var fast Line
	for _, e := range []Event{
		{Bot: "b", Queue: "q", Payload: json.RawMessage(`{"a":[1,{"payload":2}],"b":"}"}`), Timestamp: 1, SourceTimestamp: 2},
		{Bot: "b", Queue: "q", Payload: json.RawMessage(`"text"`), Timestamp: 1704164645678, SourceTimestamp: 1704164645678},
		{Bot: "b", Queue: "r", Payload: json.RawMessage(`-1.5e3`), Timestamp: 1704164645678, SourceTimestamp: 1704164645678},
		{Bot: "a \"quoted\" \\ bot", Queue: "q", Payload: json.RawMessage(`[]`), Timestamp: 5, SourceTimestamp: 6, Units: 7},
		{
			Bot: "b", Queue: "q", Payload: json.RawMessage(`true`), Timestamp: 5, SourceTimestamp: 6,
			Correlation: &Correlation{Source: `"payload":`, Start: "z/1", Units: 1},
			Extra:       []Member{{"x", json.RawMessage(`{"payload":1}`)}, {"units", json.RawMessage(`"odd"`)}},
		},
	} {
		for range 2 { // The second time, the line begins as the one before.
			text, err := AppendLine(nil, &e, 0)
			if err != nil {
				t.Fatal(err)
			}
			line, ok := sealed(t, string(text[:len(text)-1]), e.Queue)
			if !ok {
				t.Fatalf("%s cannot be sealed", line)
			}
			sameAsScan(t, line, &fast)
		}
	}
}

func TestOnlyLinesThatEndWithTheirPayloadAreSealed(t *testing.T) {
	const head = `{"id":"b","event":"q","timestamp":1,"event_source_timestamp":2,"eid":0,`
	for text, want := range map[string]bool{
		head + `"payload":{"a":1}}`:                                                         true,
		head + `"payload":{"a":1} }`:                                                        false,
		head + `"payload": {"a":1}}`:                                                        false,
		head + `"payload":{"a":1},"x":{"b":2}}`:                                             false,
		head + `"payload":{"a":1},"payload":{"b":2}}`:                                       false,
		head + `"p\u0061yload":{"a":1}}`:                                                    false,
		head + `"\u0078":1,"payload":{"a":1}}`:                                              false,
		head + `"payload":{"a":1},"p\u0061yload":2}`:                                        false,
		`{"id":"b","event":"q","timestamp":1,"event_source_timestamp":2,"payload":{"a":1}}`: false,
		`{"id":"b","event":"q","event_source_timestamp":2,"eid":0,"payload":{"a":1}}`:       false,
		`{"id":"b","event":"q","timestamp":1,"eid":0,"payload":{"a":1}}`:                    false,
		`{"id":"b","event":"queue:q","timestamp":0,"event_source_timestamp":"2024-01-02","eid":"z/1","payload":{"a":1}}`: true,
	} {
		line, ok := sealed(t, text, "q")
		if ok != want {
			t.Errorf("%s: sealable %v", text, ok)
		}
		if ok {
			sameAsScan(t, line, new(Line))
		}
	}
}

func TestADamagedSealedLineIsAnError(t *testing.T) {
	good := `{"id":"b","event":"q","event_source_timestamp":1704164645678,"timestamp":1704164645678,"eid":3,"payload":{"a":1}}`
	for _, bad := range []string{
		"", "{", "{}", "[]", good[:len(good)-1], good[:len(good)-2] + "]}", good[:60], strings.Replace(good, `,"payload"`, `"payload"`, 1),
		strings.Replace(good, `"payload":{"a":1}`, `"payload":`, 1), strings.Replace(good, `"payload":{"a":1}`, `"payload":tru`, 1),
		strings.Replace(good, `"payload"`, `"other"`, 1), strings.Replace(good, `"eid":3`, `"eid":`, 1), strings.Replace(good, `"id":"b"`, `"id:"b"`, 1),
	} {
		l := new(Line)
		for range 2 {
			if err := ScanSealed([]byte(bad), l); !errors.Is(err, ErrSyntax) {
				t.Errorf("%s: %v", bad, err)
			}
			if l.Raw() != nil || l.PayloadRaw() != nil {
				t.Errorf("%s left something behind", bad)
			}
			if err := ScanSealed([]byte(good), l); err != nil { // Also with the beginning of a line remembered.
				t.Fatal(err)
			}
		}
	}
}

func FuzzSealed(f *testing.F) {
	f.Add(`{"id":"b","event":"q","timestamp":1,"event_source_timestamp":2,"eid":0,"payload":{"a":1}}`)
	f.Add(`{"event":"q","id":"b","eid":0,"eid":07,"timestamp":1,"event_source_timestamp":2,"id":"c","payload":"x"}`)
	f.Add(`{"id":"b","event":"q","id":"c","event_source_timestamp":02,"timestamp":-1,"eid":0,"payload":[1]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var l Line
		if Scan([]byte(text), &l) != nil || !l.Sealable() {
			return
		}
		line, _ := sealed(t, text, "q")
		fast := new(Line)
		sameAsScan(t, line, fast)
		sameAsScan(t, line, fast)
	})
}
