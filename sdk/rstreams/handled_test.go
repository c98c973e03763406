package rstreams_test

import (
	"context"
	"testing"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// A run's position moves over what is dealt with, and over nothing else.

func TestMalformedLineDoesNotAckTheEventsThatTheHandlerHolds(t *testing.T) {
	for _, policy := range []rstreams.MalformedPolicy{rstreams.MalformedSkip, rstreams.MalformedDeadLetter} {
		for _, records := range []int{1, 2} {
			bus := rstreamstest.New(t)
			ids := bus.Put("in", numbers(5)...)
			damage(t, bus, "in", 2, 4)
			o := enrichOptions()
			o.Read.Malformed, o.Batch.Records = policy, records
			run := func(handled int) {
				t.Helper()
				_, err := bus.EnrichBatch(t.Context(), o, func(_ context.Context, events []rstreams.Event) (rstreams.Result, error) {
					for _, e := range events {
						if n, _ := rstreams.Decode[number](e); n.I == handled {
							return rstreams.Handled(), nil
						}
					}
					return rstreams.SkipAck(), nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			run(-1)
			if got := bus.Position("bot", "in"); got != "" {
				t.Errorf("policy %d, batches of %d: nothing was dealt with, and the checkpoint is %s", policy, records, got)
			}
			// The event that is dealt with takes along those before it and the malformed lines on both sides.
			run(3)
			if got := bus.Position("bot", "in"); got != ids[4] {
				t.Errorf("policy %d, batches of %d: checkpoint %q, want %q", policy, records, got, ids[4])
			}
		}
	}
}
