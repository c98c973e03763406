package rstreams_test

import (
	"testing"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

func TestReadResumesBehindEveryEvent(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("q", numbers(50)...)
	ids = append(ids, bus.Put("q", numbers(100)[50:]...)...)
	for i, id := range ids {
		r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: id})
		got, values, err := read(r)
		if err != nil {
			t.Fatal(err)
		}
		wantRange(t, values, i+1, 100)
		if len(got) > 0 && got[0] != ids[i+1] {
			t.Fatalf("after %s came %s", id, got[0])
		}
		if r.Reason() != rstreams.EndCaughtUp {
			t.Fatalf("reason %v", r.Reason())
		}
	}
}
