package event

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"
)

// ids of the golden table's events.
func sourceEvents(units ...int64) []Event {
	events := make([]Event, len(units))
	for i, n := range units {
		events[i] = Event{EID: "z/2024/01/02/03/00/1704164400000-000000" + string(rune('1'+i)), Queue: "src", Units: n}
	}
	return events
}

// The rows of createCorrelation that Correlate covers: one event, an array, and their partial forms. An explicit start and
// end are what Correlation's fields are for.
func TestCorrelateGivesWhatCreateCorrelationGives(t *testing.T) {
	var rows []struct {
		Note, Error string
		Result      json.RawMessage
	}
	golden(t, "correlate.json", &rows)
	inputs := map[string][]Event{
		"one event": sourceEvents(0), "one event with units 4": sourceEvents(4), "one event, partial": sourceEvents(0),
		"array of three": sourceEvents(0, 2, 1), "array of one": sourceEvents(0), "array, partial": sourceEvents(0, 0),
		"empty array": {}, "nothing": nil,
	}
	seen := 0
	for _, row := range rows {
		events, ok := inputs[row.Note]
		if !ok {
			continue
		}
		seen++
		c, err := Correlate(events...)
		if row.Error != "" {
			if !errors.Is(err, ErrCorrelation) {
				t.Errorf("%s: %v", row.Note, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", row.Note, err)
			continue
		}
		// The original's in-process names are read as the partial correlation that they mean.
		want := new(Line).parseCorrelation(row.Result)
		c.Partial = want.Partial
		if !reflect.DeepEqual(c, want) {
			t.Errorf("%s: %+v, want %+v", row.Note, c, want)
		}
	}
	if seen != len(inputs) {
		t.Errorf("%d of %d rows are in the golden table", seen, len(inputs))
	}
}

func TestPartialIsNeverOnTheWire(t *testing.T) {
	e := Event{Bot: "b", Queue: "q", Payload: json.RawMessage("1"), Correlation: &Correlation{Source: "s", Start: "z/1", End: "z/2", Units: 1, Partial: true}}
	line, err := AppendLine(nil, &e, -1)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"id":"b","event":"q","correlation_id":{"source":"s","start":"z/1","end":"z/2","units":1},"payload":1}` + "\n"
	if string(line) != want {
		t.Errorf("%s", line)
	}
}

func TestCorrelateRefusesWhatNoCorrelationCanSay(t *testing.T) {
	two := sourceEvents(0, 0)
	foreign := sourceEvents(0, 0)
	foreign[1].Queue = "other"
	for name, events := range map[string][]Event{
		"backwards": {two[1], two[0]}, "twice": {two[0], two[0]}, "two queues": foreign, "no id": {{Queue: "q"}}, "no queue": {{EID: "z/1"}},
	} {
		if c, err := Correlate(events...); !errors.Is(err, ErrCorrelation) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
}

func TestCorrelationsKeepWhatTheyDoNotKnow(t *testing.T) {
	for text, want := range map[string]Correlation{
		`{}`: {},
		`{"source":"s","start":"z/1","end":null,"units":1}`:                        {Source: "s", Start: "z/1", Units: 1},
		`{"source":"s","start":5,"units":2.5,"x":{"y":1}}`:                         {Source: "s", Extra: []Member{{"start", json.RawMessage("5")}, {"units", json.RawMessage("2.5")}, {"x", json.RawMessage(`{"y":1}`)}}},
		`{"start":5,"start":"z/1"}`:                                                {Start: "z/1"},
		`{"start":"z/1","start":5}`:                                                {Extra: []Member{{"start", json.RawMessage("5")}}},
		`{ "\u0073ource" : "s\u0031" , "partial_start" : "a" , "partial_end":"b"}`: {Source: "s1", Start: "a", End: "b", Partial: true},
	} {
		line := []byte(`{"correlation_id":` + text + `}`)
		e, err := Parse(line)
		if err != nil {
			t.Fatal(err)
		}
		if e.Correlation == nil || !reflect.DeepEqual(*e.Correlation, want) {
			t.Errorf("%s: %+v, want %+v", text, e.Correlation, want)
		}
	}
}
