package rstreams_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// byNumber is a hash of the events of numbers, of both signs.
func byNumber(t *testing.T) func(*rstreams.Event) int64 {
	return func(e *rstreams.Event) int64 {
		v, err := rstreams.Decode[number](*e)
		if err != nil {
			t.Error(err)
		}
		return int64(v.I) * []int64{1, -1}[v.I%2]
	}
}

func TestSharesDivideAQueueAndMoveOverTheOthersEvents(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("q", numbers(20)...)
	var all []int
	for i := range 3 {
		ledger := &rstreams.Ledger{}
		session := bus.Session(rstreams.Session{
			Bot: "b", Share: &rstreams.Share{Index: i, Count: 3, Hash: byNumber(t)}, Ledger: ledger, Max: ids[17],
		})
		r := newReader(t, session, "q", rstreams.ReadOptions{From: rstreams.Earliest(), End: ids[18]})
		_, values, err := read(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values {
			if v%3 != i {
				t.Errorf("instance %d got %d", i, v)
			}
		}
		all = append(all, values...)
		if err := r.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
		// All instances read to the same end, the lower of the two, whether its event is theirs or not.
		entries := ledger.Entries()
		if len(entries) != 1 || entries[0].Position != ids[17] || entries[0].Records != int64(len(values)) || entries[0].Expected != "" {
			t.Errorf("instance %d: %+v", i, entries)
		}
	}
	if slices.Sort(all); fmt.Sprint(all) != fmt.Sprint(counting(0, 18)) {
		t.Errorf("together %v", all)
	}
	if cp, err := bus.GetCheckpoint(t.Context(), "b", "q"); err != nil || cp.Position != "" {
		t.Errorf("the bus has the checkpoint %+v, %v", cp, err)
	}
}

func TestALimitCountsTheInstancesOwnEvents(t *testing.T) {
	bus := rstreamstest.New(t)
	bus.Put("q", numbers(1000)...)
	session := bus.Session(rstreams.Session{Share: &rstreams.Share{Index: 7, Count: 10, Hash: byNumber(t)}})
	r := newReader(t, session, "q", rstreams.ReadOptions{Start: "z/", Limit: 5})
	if _, values, err := read(r); err != nil || fmt.Sprint(values) != "[7 17 27 37 47]" || r.Reason() != rstreams.EndLimit {
		t.Errorf("%v, %v, %v", values, r.Reason(), err)
	}
}

func TestALedgerIsWhatLaterReadsOfTheInstanceGoOnFrom(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("q", numbers(10)...)
	first := rstreams.CheckpointRequest{Bot: "b", Queue: "q", Checkpoint: rstreams.Checkpoint{Position: ids[1], Records: 2}}
	if err := bus.Checkpoint(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	ledger := &rstreams.Ledger{}
	session := bus.Session(rstreams.Session{Bot: "b_reader", Ledger: ledger})
	for _, want := range []string{"[2 3 4]", "[5 6 7]"} {
		r := newReader(t, session, "q", rstreams.ReadOptions{Limit: 3})
		if _, values, err := read(r); err != nil || fmt.Sprint(values) != want {
			t.Fatalf("%v, %v; want %s", values, err, want)
		}
		if err := r.Checkpoint(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := ledger.Entries(); len(got) != 1 || got[0].Bot != "b" || got[0].Ref != "queue:q" || got[0].Expected != ids[1] || got[0].Position != ids[7] || got[0].Records != 6 {
		t.Errorf("%+v", got)
	}
	stale := rstreams.CheckpointRequest{Queue: "q", Checkpoint: rstreams.Checkpoint{Position: ids[9]}, Expected: ids[1]}
	if err := session.Checkpoint(t.Context(), stale); !errors.Is(err, rstreams.ErrStaleCheckpoint) {
		t.Errorf("a checkpoint on another condition: %v", err)
	}
	if cp, err := bus.GetCheckpoint(t.Context(), "b", "q"); err != nil || cp.Position != ids[1] {
		t.Errorf("the bus has %+v, %v", cp, err)
	}
}
