package rstreamstest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type reading struct{ Celsius float64 }

type alarm struct{ Text string }

func warn(_ context.Context, r reading, _ rstreams.Event) (rstreams.Result, error) {
	if r.Celsius < 30 {
		return rstreams.Handled(), nil
	}
	return rstreams.Emit(alarm{fmt.Sprintf("%.1f degrees", r.Celsius)}), nil
}

func TestAHandlerIsTestedWithAFewLines(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("readings", reading{12}, reading{31.5}, reading{29.9})
	o := rstreams.EnrichOptions{Bot: "alarms", From: []string{"readings"}, To: "alarms"}
	stats := bus.Enrich(o, rstreams.HandlerOf(warn))
	if stats.Events != 3 || stats.Outputs != 1 {
		t.Fatalf("%+v", stats)
	}
	if got := rstreamstest.Payloads[alarm](bus, "alarms"); len(got) != 1 || got[0].Text != "31.5 degrees" {
		t.Fatal(got)
	}
	if got := bus.Position("alarms", "readings"); got != ids[2] {
		t.Fatal(got)
	}
	// A second run finds nothing to do.
	if stats := bus.Enrich(o, rstreams.HandlerOf(warn)); stats.Events != 0 {
		t.Fatalf("%+v", stats)
	}
}

func TestIDsGrowOnAClockThatStandsStill(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	bus := rstreamstest.NewWith(t, rstreamstest.Options{Now: func() time.Time { return at }})
	first, second := bus.Put("q", 1, 2), bus.Put("q", 3)
	if first[0] != "z/2026/11/21/12/00/1795262400000-0000000" || first[1] <= first[0] || second[0] <= first[1] {
		t.Fatal(first, second)
	}
	if e := bus.Events("q")[0]; e.Timestamp != at.UnixMilli() || e.Bot != "test-writer" {
		t.Fatalf("%+v", e)
	}
}

func TestWrappedPortsFailOnlyTheCodeUnderTest(t *testing.T) {
	down := errors.New("down")
	bus := rstreamstest.NewWith(t, rstreamstest.Options{Wrap: func(st store.Store) store.Store {
		st.Chunks = brokenChunks{st.Chunks, down}
		return st
	}})
	bus.Put("q", 1, 2) // The scene is set.
	if n := len(bus.Events("q")); n != 2 {
		t.Fatal(n)
	}
	_, err := bus.Bus.Offload(t.Context(), rstreams.OffloadOptions{Bot: "b", From: []string{"q"}},
		func(context.Context, rstreams.Event) error { return nil })
	if !errors.Is(err, down) {
		t.Fatal(err)
	}
}

type brokenChunks struct {
	store.Chunks
	err error
}

func (c brokenChunks) Query(context.Context, string, string, string, int, int) (store.Page, error) {
	return store.Page{}, c.err
}

func TestTheBusWorksInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := rstreamstest.New(t)
		bus.PutEvents("q", rstreams.Event{Bot: "someone", Payload: []byte(`{"a":1}`), Units: 2})
		if e := bus.Events("q")[0]; e.Bot != "someone" || e.Units != 2 {
			t.Fatalf("%+v", e)
		}
		n := 0
		bus.Offload(rstreams.OffloadOptions{Bot: "b", From: []string{"q"}}, func(context.Context, rstreams.Event) error {
			n++
			return nil
		})
		if n != 1 {
			t.Fatal(n)
		}
	})
}

func Example() {
	test := func(t *testing.T) { // A test of the user's.
		bus := rstreamstest.New(t)
		bus.Put("readings", reading{12}, reading{31.5})
		bus.Enrich(rstreams.EnrichOptions{Bot: "alarms", From: []string{"readings"}, To: "alarms"}, rstreams.HandlerOf(warn))
		for _, a := range rstreamstest.Payloads[alarm](bus, "alarms") {
			fmt.Println(a.Text)
		}
	}
	testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: "Alarms", F: test}})
	// Output: 31.5 degrees
}
