package rstreams_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// latest returns the options of a bot that begins at Latest.
func latest(records int) rstreams.EnrichOptions {
	o := enrichOptions()
	o.Read.From, o.Batch.Records = rstreams.Latest(), records
	return o
}

func TestBotFromLatestGoesOnWhereItsFirstRunBegan(t *testing.T) {
	boom := errors.New("boom")
	for _, records := range []int{1, 2} {
		for _, empty := range []bool{false, true} {
			bus := rstreamstest.New(t)
			first := ""
			if !empty {
				first = bus.Put("in", number{-1})[0]
			}
			var got []int
			run := func(fail error) {
				t.Helper()
				_, err := bus.EnrichBatch(t.Context(), latest(records), func(_ context.Context, events []rstreams.Event) (rstreams.Result, error) {
					for _, e := range events {
						n, _ := rstreams.Decode[number](e)
						got = append(got, n.I)
					}
					return rstreams.Handled(), fail
				})
				if !errors.Is(err, fail) {
					t.Fatal(err)
				}
			}
			run(nil)
			if p := bus.Position("bot", "in"); p == "" || !empty && p != first || len(got) != 0 {
				t.Fatalf("after the first run: checkpoint %q, handled %v", p, got)
			}
			for i := range 3 { // As a trigger runs it: something is written, the bot runs.
				before := bus.Position("bot", "in")
				id := bus.Put("in", number{i})[0]
				run(boom) // Fails, and comes again.
				if p := bus.Position("bot", "in"); p != before {
					t.Fatalf("checkpoint %q, want %q", p, before)
				}
				run(nil)
				if p := bus.Position("bot", "in"); p != id {
					t.Fatalf("checkpoint %q, want %q", p, id)
				}
			}
			if want := []int{0, 0, 1, 1, 2, 2}; !slices.Equal(got, want) {
				t.Errorf("batches of %d, empty queue %t: handled %v, want %v", records, empty, got, want)
			}
		}
	}
}

// TestBotFromLatestLosesNothingToACrash ends the first run without any checkpoint of its own.
func TestBotFromLatestLosesNothingToACrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := rstreamstest.New(t)
		bus.Put("in", number{0})
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		o := latest(1)
		o.Read.Follow = true
		done := make(chan error)
		go func() {
			_, err := bus.Bus.Enrich(ctx, o, func(ctx context.Context, _ rstreams.Event) (rstreams.Result, error) {
				cancel()
				return rstreams.Result{}, ctx.Err()
			})
			done <- err
		}()
		synctest.Wait()
		bus.Put("in", number{1})
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		var got []int
		if _, err := bus.Bus.Enrich(t.Context(), latest(1), func(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
			n, _ := rstreams.Decode[number](e)
			got = append(got, n.I)
			return rstreams.Handled(), nil
		}); err != nil || !slices.Equal(got, []int{1}) {
			t.Fatal(got, err)
		}
	})
}

func TestLatestMovesNoCheckpointThatIsThere(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("in", numbers(3)...)
	err := bus.Checkpoint(t.Context(), rstreams.CheckpointRequest{Bot: "bot", Queue: "in", Checkpoint: rstreams.Checkpoint{Position: ids[0]}})
	if err != nil {
		t.Fatal(err)
	}
	stop := func(context.Context, rstreams.Event) (rstreams.Result, error) {
		return rstreams.Result{}, rstreams.StopWithoutCheckpoint()
	}
	if _, err := bus.Bus.Enrich(t.Context(), latest(1), stop); err != nil || bus.Position("bot", "in") != ids[0] {
		t.Fatal(err, bus.Position("bot", "in"))
	}
}

func TestReaderFromLatestCheckpointsWhereItBegan(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("q", numbers(3)...)
	r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Bot: "b", From: rstreams.Latest()})
	if got, _, err := read(r); err != nil || len(got) != 0 || r.Position() != ids[2] {
		t.Fatal(got, r.Position(), err)
	}
	if got := bus.Position("b", "q"); got != "" {
		t.Fatalf("a read stored %s by itself", got)
	}
	if err := r.Checkpoint(t.Context()); err != nil || bus.Position("b", "q") != ids[2] {
		t.Fatal(err, bus.Position("b", "q"))
	}
	bus.Put("q", number{3})
	if _, values, err := read(r); err != nil || fmt.Sprint(values) != "[3]" { // A further loop goes on.
		t.Fatal(values, err)
	}
}

func TestLatestLeavesTheSnapshotOut(t *testing.T) {
	bus := rstreamstest.New(t)
	_, err := bus.WriteSnapshot(t.Context(), rstreams.SnapshotOptions{Bot: "b", Queue: "q"}, func(ctx context.Context, w *rstreams.Writer) error {
		_, err := w.Put(ctx, number{1})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{From: rstreams.Latest()})
	if ids, _, err := read(r); err != nil || len(ids) > 0 {
		t.Fatal(ids, err)
	}
	bus.Put("q", number{2})
	if _, values, err := read(r); err != nil || fmt.Sprint(values) != "[2]" {
		t.Fatal(values, err)
	}
	// A queue whose events are all in its archive.
	archive, ids := archived(t, 3, 3)
	if got, _, err := read(newReader(t, archive.Bus, "q", rstreams.ReadOptions{From: rstreams.Latest()})); err != nil || len(got) > 0 {
		t.Fatal(got, ids, err)
	}
}
