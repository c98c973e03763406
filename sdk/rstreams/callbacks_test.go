package rstreams_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// The functions of the options run in goroutines of this package. A panic of one ends what the program called, not the process.

// wantPanic checks that err is the panic of the function in this file.
func wantPanic(t *testing.T, err error) {
	t.Helper()
	var p *rstreams.PanicError
	if !errors.As(err, &p) || p.Value != "ouch" || !strings.Contains(string(p.Stack), "callbacks_test.go") {
		t.Error(err)
	}
}

func TestPanickingOptionFailsTheRunOnly(t *testing.T) {
	for name, arm := range map[string]func(o *rstreams.EnrichOptions, s *rstreams.Session){
		"the key of a fan-out": func(_ *rstreams.EnrichOptions, s *rstreams.Session) {
			s.Share = &rstreams.Share{Count: 2, Hash: func(e *rstreams.Event) int64 {
				if n, _ := rstreams.Decode[number](*e); n.I == 3 {
					panic("ouch")
				}
				return 0
			}}
		},
		"OnMalformed": func(o *rstreams.EnrichOptions, _ *rstreams.Session) {
			o.Read.Malformed, o.Read.OnMalformed = rstreams.MalformedSkip, func(*rstreams.LineError) { panic("ouch") }
		},
		"OnGap": func(o *rstreams.EnrichOptions, _ *rstreams.Session) {
			o.Read.Malformed = rstreams.MalformedSkip
			o.Read.Gaps, o.Read.OnGap = rstreams.GapSkip, func(*rstreams.GapError) { panic("ouch") }
		},
		"OnAck": func(o *rstreams.EnrichOptions, _ *rstreams.Session) {
			o.Read.Malformed = rstreams.MalformedSkip
			o.Write.OnAck = func(rstreams.Receipt, error) { panic("ouch") }
		},
	} {
		for _, records := range []int{1, 2} {
			for _, queues := range [][]string{{"in"}, {"in", "other"}} {
				t.Run(name, func(t *testing.T) {
					bus := rstreamstest.New(t)
					ids := bus.Put("in", numbers(6)...)
					damage(t, bus, "in", 4)
					lost := bus.Put("in", number{6})
					bus.Put("other", numbers(2)...)
					var s rstreams.Session
					o := enrichOptions()
					o.From, o.Batch.Records = queues, records
					if arm(&o, &s); o.Read.OnGap != nil {
						if err := bus.Store().Chunks.Delete(t.Context(), "in", lost); err != nil {
							t.Fatal(err)
						}
					}
					_, err := bus.Session(s).EnrichBatch(t.Context(), o, func(_ context.Context, events []rstreams.Event) (rstreams.Result, error) {
						return rstreams.Emit(number{len(events)}), nil
					})
					wantPanic(t, err)
					if got := bus.Position("bot", "in"); name != "OnAck" && got < ids[2] {
						t.Errorf("what was handled before is not checkpointed: %q", got)
					}
				})
			}
		}
	}
}

func TestPanickingOnAckFailsTheWriterOnly(t *testing.T) {
	bus := rstreamstest.New(t)
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "b", Queue: "q", OnAck: func(rstreams.Receipt, error) { panic("ouch") }})
	if err != nil {
		t.Fatal(err)
	}
	ack, err := w.Put(t.Context(), number{1})
	if err != nil {
		t.Fatal(err)
	}
	wantPanic(t, w.Close(t.Context()))
	if _, err := ack.Wait(t.Context()); err != nil || len(bus.Events("q")) != 1 {
		t.Error("the event was durable before:", err)
	}
	_, err = w.Put(t.Context(), number{2})
	wantPanic(t, err)
}

func TestPanickingOnGapFailsTheReadOnly(t *testing.T) {
	bus := rstreamstest.New(t)
	bus.Put("q", number{0})
	if err := bus.Store().Chunks.Delete(t.Context(), "q", bus.Put("q", number{1})); err != nil {
		t.Fatal(err)
	}
	r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{
		Start: "z/", Gaps: rstreams.GapSkip, OnGap: func(*rstreams.GapError) { panic("ouch") },
	})
	_, values, err := read(r)
	wantPanic(t, err)
	wantRange(t, values, 0, 1)
}
