package rstreams_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// archived returns a bus whose queue q has an archive of n events in sections of perSection, and their ids. The lines in the places
// damaged are no JSON, as leo-sdk's archiver copies them.
func archived(t *testing.T, n, perSection int, damaged ...int) (*rstreamstest.Bus, []string) {
	t.Helper()
	clock := time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)
	bus := rstreamstest.NewWith(t, rstreamstest.Options{Now: func() time.Time { return clock }})
	var (
		ids     []string
		body    bytes.Buffer
		text    strings.Builder
		offsets []store.Offset
		size    int64
	)
	for k := range n {
		id, err := eid.New(archiveStart, k)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id.String())
		line := fmt.Sprintf(`{"id":"b","event":"q","payload":{"i":%d},"eid":"%s"}`, k, id)
		if slices.Contains(damaged, k) {
			line = "{broken"
		}
		text.WriteString(line + "\n")
		if first := k / perSection * perSection; k == n-1 || k == first+perSection-1 {
			gz := chunk.AppendGzip(nil, []byte(text.String()))
			offsets = append(offsets, store.Offset{
				Event: "q", StartID: ids[first], EndID: ids[k], Records: int64(k - first + 1), Size: int64(text.Len()),
				GzipSize: int64(len(gz)), Offset: size, GzipOffset: int64(body.Len()),
			})
			size += int64(text.Len())
			body.Write(gz)
			text.Reset()
		}
	}
	gzipSize := int64(body.Len())
	st := bus.Store()
	blob, _, err := st.Blobs.Put(t.Context(), "bus/_archive/q=q/dt=2026-11-21/1-0000001-x.gz", &body)
	if err != nil {
		t.Fatal(err)
	}
	err = st.Chunks.Put(t.Context(), []store.Chunk{{
		Queue: "q/_archive", Start: ids[0], End: ids[n-1], Records: int64(n), Size: size, GzipSize: gzipSize, Blob: &blob, Archive: true,
		Offsets: offsets,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Queues.SetArchive(t.Context(), "q", ids[n-1]); err != nil {
		t.Fatal(err)
	}
	return bus, ids
}

// TestMalformedLineOfAnArchiveCountsBehindThePositionOnly reads an archive with a malformed line in each place from each of its
// positions.
func TestMalformedLineOfAnArchiveCountsBehindThePositionOnly(t *testing.T) {
	const n = 6
	for bad := range n {
		bus, ids := archived(t, n, 3, bad)
		for from := -1; from < n; from++ {
			if from == bad {
				continue // No reader of the archive has got its id.
			}
			start, letters := "z/", len(bus.Events(deadletter.Queue))
			if from >= 0 {
				start = ids[from]
			}
			want := slices.DeleteFunc(counting(from+1, n), func(i int) bool { return i == bad })
			_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: start}))
			if behind := bad > from; behind != errors.Is(err, rstreams.ErrMalformed) || !behind && fmt.Sprint(values) != fmt.Sprint(want) {
				t.Errorf("line %d is bad, after %d came %v, %v", bad, from, values, err)
			}
			r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: start, Malformed: rstreams.MalformedDeadLetter})
			if _, values, err = read(r); err != nil || fmt.Sprint(values) != fmt.Sprint(want) || r.Position() != "" && r.Position() < start {
				t.Errorf("line %d is bad, after %d came %v up to %s, %v", bad, from, values, r.Position(), err)
			}
			if got := len(bus.Events(deadletter.Queue)) - letters; (got == 1) != (bad > from) || got > 1 {
				t.Errorf("line %d is bad, reading after %d wrote %d letters", bad, from, got)
			}
			if end := from + 1; end < n && end != bad { // The malformed line behind the end is not of the read.
				_, values, err = read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: start, End: ids[end]}))
				if err != nil || fmt.Sprint(values) != fmt.Sprint([]int{end}) {
					t.Errorf("line %d is bad, from %d to %d came %v, %v", bad, from, end, values, err)
				}
			}
		}
	}
}

func TestMalformedLineOfAnArchiveDoesNotMoveTheCheckpointBack(t *testing.T) {
	bus, ids := archived(t, 5, 5, 1)
	checkpoint := rstreams.CheckpointRequest{Bot: "bot", Queue: "q", Checkpoint: rstreams.Checkpoint{Position: ids[3]}}
	if err := bus.Checkpoint(t.Context(), checkpoint); err != nil {
		t.Fatal(err)
	}
	o := enrichOptions()
	o.From, o.Read.Malformed = []string{"q"}, rstreams.MalformedSkip
	_, err := bus.Bus.Enrich(t.Context(), o, func(context.Context, rstreams.Event) (rstreams.Result, error) {
		return rstreams.Result{}, rstreams.StopWithoutCheckpoint()
	})
	if err != nil || bus.Position("bot", "q") != ids[3] {
		t.Fatal(err, bus.Position("bot", "q"))
	}
}

func TestMalformedLineOfAnArchiveIsNoEventOfABatch(t *testing.T) {
	bus, ids := archived(t, 5, 2, 0, 3)
	o := enrichOptions()
	o.From, o.Read.Start, o.Read.Malformed = []string{"q"}, "z/", rstreams.MalformedSkip
	var got []string
	_, err := bus.EnrichBatch(t.Context(), o, func(_ context.Context, events []rstreams.Event) (rstreams.Result, error) {
		for _, e := range events {
			got = append(got, e.EID)
		}
		return rstreams.Handled(), nil
	})
	if want := []string{ids[1], ids[2], ids[4]}; err != nil || !slices.Equal(got, want) || bus.Position("bot", "q") != ids[4] {
		t.Fatalf("got %v, want %v; %v", got, want, err)
	}
}
