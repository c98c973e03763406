package rstreams_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// TestALargeEventOfAQueueWithALongNameIsWritten: blob keys are shorter than queue names may be.
func TestALargeEventOfAQueueWithALongNameIsWritten(t *testing.T) {
	bus := rstreamstest.New(t)
	queue := strings.Repeat("ü", 1000)
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: strings.Repeat("b", 500), Queue: queue})
	if err != nil {
		t.Fatal(err)
	}
	payload := strings.Repeat("x", 700_000)
	if _, err := w.Put(t.Context(), payload); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := 0
	for e, err := range bus.Read(t.Context(), queue, rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; len(e.Payload) != len(payload)+2 {
			t.Errorf("%d bytes", len(e.Payload))
		}
	}
	if n != 1 {
		t.Errorf("%d events", n)
	}
}

// TestEventsInManySectionsOfAQueueWithALongNameAreRead: the name stands beside each section in the index.
func TestEventsInManySectionsOfAQueueWithALongNameAreRead(t *testing.T) {
	for _, length := range []int{1, 250, 600, 2048 - len(store.SnapshotSuffix)} {
		bus := rstreamstest.New(t)
		queue := strings.Repeat("q", length)
		w, err := bus.NewWriter(rstreams.WriterOptions{
			Bot: "b", Queue: queue, Path: rstreams.PathBlobs, Blobs: rstreams.BlobOptions{Sections: 1000, SectionBytes: 1},
		})
		if err != nil {
			t.Fatal(err)
		}
		const n = 1100
		for i := range n {
			if _, err := w.Put(t.Context(), number{i}); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, letters := len(bus.Events(queue)), len(bus.Events(deadletter.Queue)); got != n || letters != 0 {
			t.Errorf("a name of %d bytes: %d events were acknowledged, %d can be read, %d dead letters", length, n, got, letters)
		}
	}
}

// TestLargeLettersAreUnsentLikeAnyEvent: a letter may be longer than the writer's events.
func TestLargeLettersAreUnsentLikeAnyEvent(t *testing.T) {
	bus, refuse := throttled(t)
	refuse.Store(true)
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "b", Queue: deadletter.Queue, MaxEventBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{10, 5000, 20} {
		if _, err := w.Put(t.Context(), strings.Repeat("x", n)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Close(ctx); err == nil {
		t.Fatal("no error")
	}
	var sizes []int
	for _, e := range w.Unsent() {
		sizes = append(sizes, len(e.Payload))
	}
	if !slices.Equal(sizes, []int{12, 5002, 22}) {
		t.Errorf("unsent are payloads of %v bytes", sizes)
	}
}

// TestAnyEventCanBecomeADeadLetter: the letter of a large event is larger than an event may be.
func TestAnyEventCanBecomeADeadLetter(t *testing.T) {
	bus := rstreamstest.New(t)
	payload, err := json.Marshal(strings.Repeat(`"`, 7<<20)) // Twice as long in JSON, and longer again in base64.
	if err != nil {
		t.Fatal(err)
	}
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "b", Queue: "q"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.PutRaw(t.Context(), payload); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	stats, err := bus.Bus.Enrich(t.Context(),
		rstreams.EnrichOptions{Bot: "judge", From: []string{"q"}, Read: rstreams.ReadOptions{From: rstreams.Earliest()}},
		func(context.Context, rstreams.Event) (rstreams.Result, error) {
			return rstreams.Result{}, rstreams.DeadLetter(errors.New("too many quotes"))
		})
	if err != nil || stats.DeadLetters != 1 {
		t.Fatalf("%+v, %v", stats, err)
	}
	for e, err := range bus.Read(t.Context(), deadletter.Queue, rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			t.Fatal(err)
		}
		l, err := deadletter.Parse(e.Payload)
		if err != nil || !strings.Contains(string(l.Bytes()), string(payload)) {
			t.Errorf("the letter does not hold its event: %v", err)
		}
	}
}
