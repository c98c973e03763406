package rstreams_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"testing"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// TestResultsMeanWhatTheyMeanInLeoSDK runs the Go form of every handler whose output was recorded from leo-sdk. An output without
// payload is a checkpoint there. Deliberate deviations: payloads that are text or numbers are written, where leo-sdk discards
// them (fault 33), and the last of several outputs has the source event's units like the others, not always 1.
func TestResultsMeanWhatTheyMeanInLeoSDK(t *testing.T) {
	data, err := os.ReadFile("testdata/process.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Input struct {
			Source int64 `json:"event_source_timestamp"`
		} `json:"process_input"`
		Process []struct {
			Handler, Error string
			Units          int64
			Output         []struct {
				ID          string
				Event       string
				Payload     json.RawMessage
				Source      int64 `json:"event_source_timestamp"`
				Correlation struct {
					Source string
					Units  int64
				} `json:"correlation_id"`
			}
		}
	}
	if err := json.Unmarshal(data, &g); err != nil {
		t.Fatal(err)
	}
	type m = map[string]int
	handlers := map[string]func() (rstreams.Result, error){
		"done(null,true)":     func() (rstreams.Result, error) { return rstreams.Handled(), nil },
		"done(null,obj)":      func() (rstreams.Result, error) { return rstreams.Emit(m{"b": 2}), nil },
		"done(null,'text')":   func() (rstreams.Result, error) { return rstreams.Emit("text"), nil },
		"done(null,obj,'q2')": func() (rstreams.Result, error) { return rstreams.EmitTo("q2", m{"b": 2}), nil },
		"done()":              func() (rstreams.Result, error) { return rstreams.SkipAck(), nil },
		"done(err)":           func() (rstreams.Result, error) { return rstreams.Result{}, errors.New("no") },
		"async undefined":     func() (rstreams.Result, error) { return rstreams.Handled(), nil },
		"async false":         func() (rstreams.Result, error) { return rstreams.SkipAck(), nil },
		"async obj":           func() (rstreams.Result, error) { return rstreams.Emit(m{"b": 2}), nil },
		"async []":            func() (rstreams.Result, error) { return rstreams.Emit(), nil },
		"async [a]":           func() (rstreams.Result, error) { return rstreams.Emit(m{"a": 1}), nil },
		"async [a,b,c]":       func() (rstreams.Result, error) { return rstreams.Emit(m{"a": 1}, m{"b": 1}, m{"c": 1}), nil },
		"async throw":         func() (rstreams.Result, error) { return rstreams.Result{}, errors.New("no") },
		"push then done(null,true)": func() (rstreams.Result, error) {
			return rstreams.Emit(m{"x": 1}, m{"x": 2}).And(rstreams.EmitTo("q6", m{"x": 3})).And(rstreams.Handled()), nil
		},
	}
	ran := 0
	for _, c := range g.Process {
		h := handlers[c.Handler]
		if h == nil {
			continue
		}
		ran++
		bus := rstreamstest.New(t)
		ids := bus.PutEvents("in", rstreams.Event{Bot: "up", Payload: []byte(`{"a":1}`), SourceTimestamp: g.Input.Source, Units: c.Units})
		o := rstreams.EnrichOptions{Bot: "botP", From: []string{"in"}, To: "outq", Read: rstreams.ReadOptions{From: rstreams.Earliest()}}
		_, err := bus.Bus.Enrich(t.Context(), o, func(context.Context, rstreams.Event) (rstreams.Result, error) { return h() })
		if (err != nil) != (c.Error != "") {
			t.Fatalf("%s: %v", c.Handler, err)
		}
		var got []rstreams.Event
		for _, queue := range []string{"outq", "q2", "q6"} {
			got = append(got, bus.Events(queue)...)
		}
		for _, want := range c.Output {
			if want.Payload == nil {
				continue
			}
			if len(got) == 0 {
				t.Fatalf("%s: %s was not written", c.Handler, want.Payload)
			}
			e := got[0]
			got = got[1:]
			var a, b any
			if json.Unmarshal(e.Payload, &a) != nil || json.Unmarshal(want.Payload, &b) != nil || !reflect.DeepEqual(a, b) {
				t.Errorf("%s: payload %s, want %s", c.Handler, e.Payload, want.Payload)
			}
			if e.Bot != want.ID || e.Queue != want.Event || e.SourceTimestamp != want.Source ||
				e.Correlation.Source != want.Correlation.Source || e.Correlation.Start != ids[0] || e.Correlation.Units != max(c.Units, 1) {
				t.Errorf("%s: %+v %+v, want %+v", c.Handler, e, e.Correlation, want)
			}
		}
		if len(got) > 0 {
			t.Errorf("%s: %d outputs too many", c.Handler, len(got))
		}
		if acked := len(c.Output) > 0; (bus.Position("botP", "in") != "") != acked {
			t.Errorf("%s: checkpoint %q, want one: %v", c.Handler, bus.Position("botP", "in"), acked)
		}
	}
	if ran < len(handlers) {
		t.Fatalf("%d cases ran, there are %d handlers", ran, len(handlers))
	}
}
