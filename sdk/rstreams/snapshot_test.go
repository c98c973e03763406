package rstreams_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// fillNumbers puts the numbers from first to until, without until.
func fillNumbers(first, until int) func(context.Context, *rstreams.Writer) error {
	return func(ctx context.Context, w *rstreams.Writer) error {
		for i := first; i < until; i++ {
			if _, err := w.Put(ctx, number{i}); err != nil {
				return err
			}
		}
		return nil
	}
}

func snapshotOptions() rstreams.SnapshotOptions {
	return rstreams.SnapshotOptions{Bot: "snapper", Queue: "q", Write: rstreams.WriterOptions{Blobs: small()}}
}

// live writes numbers as live events.
func live(t *testing.T, bus *rstreams.Bus, first, until int) {
	t.Helper()
	w := mustWriter(t, bus, rstreams.WriterOptions{Bot: "b", Queue: "q"})
	if err := fillNumbers(first, until)(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	mustClose(t, w)
}

func TestASnapshotIsReadBeforeTheLiveEvents(t *testing.T) { // W12, R7
	onEveryBackend(t, func(t *testing.T, bus *rstreams.Bus) {
		o := snapshotOptions()
		o.Next = time.Now().Add(-time.Hour)
		start, err := bus.WriteSnapshot(t.Context(), o, fillNumbers(0, 200))
		if err != nil {
			t.Fatal(err)
		}
		live(t, bus, 200, 220)
		ids, values, err := read(newReader(t, bus, "q", rstreams.ReadOptions{Start: "z/"}))
		if err != nil {
			t.Fatal(err)
		}
		wantRange(t, values, 0, 220)
		row, err := bus.Store().Queues.Get(t.Context(), "q")
		if err != nil || row.SnapshotStart != start || row.SnapshotNext != eid.MinutePath(o.Next.UnixMilli()) {
			t.Errorf("%+v, %v, want %s", row, err, start)
		}
		for i := 0; i < 220; i += 13 {
			if in := strings.HasPrefix(ids[i], start); in != (i < 200) {
				t.Errorf("event %d has the id %s", i, ids[i])
			}
			_, values, err := read(newReader(t, bus, "q", rstreams.ReadOptions{Start: ids[i]}))
			if err != nil {
				t.Fatal(err)
			}
			wantRange(t, values, i+1, 220)
		}
	})
}

func TestANewSnapshotReplacesTheOneBeforeEvenWithinAMinute(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, bus *rstreams.Bus) {
		last := ""
		for round := range 3 {
			start, err := bus.WriteSnapshot(t.Context(), snapshotOptions(), fillNumbers(round*100, round*100+70))
			if err != nil || start <= last {
				t.Fatal(start, last, err)
			}
			last = start
			_, values, err := read(newReader(t, bus, "q", rstreams.ReadOptions{Start: "z/"}))
			if err != nil {
				t.Fatal(err)
			}
			wantRange(t, values, round*100, round*100+70)
		}
	})
}

func TestAFailedSnapshotLeavesTheOneBefore(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, bus *rstreams.Bus) {
		if _, err := bus.WriteSnapshot(t.Context(), snapshotOptions(), fillNumbers(0, 70)); err != nil {
			t.Fatal(err)
		}
		boom := errors.New("boom")
		for _, after := range []int{0, 10, 500} {
			_, err := bus.WriteSnapshot(t.Context(), snapshotOptions(), func(ctx context.Context, w *rstreams.Writer) error {
				return errors.Join(fillNumbers(1000, 1000+after)(ctx, w), boom)
			})
			if !errors.Is(err, boom) {
				t.Fatal(err)
			}
		}
		_, err := bus.WriteSnapshot(t.Context(), snapshotOptions(), func(ctx context.Context, w *rstreams.Writer) error {
			_, err := w.PutTo(ctx, "other", 1)
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "another queue") {
			t.Error(err)
		}
		_, values, err := read(newReader(t, bus, "q", rstreams.ReadOptions{Start: "z/"}))
		if err != nil {
			t.Fatal(err)
		}
		wantRange(t, values, 0, 70)
		if _, err := bus.WriteSnapshot(t.Context(), snapshotOptions(), fillNumbers(5, 6)); err != nil {
			t.Fatal(err)
		}
		_, values, err = read(newReader(t, bus, "q", rstreams.ReadOptions{Start: "z/"}))
		if err != nil {
			t.Fatal(err)
		}
		wantRange(t, values, 5, 6)
	})
}

func TestAnEmptySnapshotIsOne(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, bus *rstreams.Bus) {
		live(t, bus, 0, 5)
		if _, err := bus.WriteSnapshot(t.Context(), snapshotOptions(), fillNumbers(0, 0)); err != nil {
			t.Fatal(err)
		}
		_, values, err := read(newReader(t, bus, "q", rstreams.ReadOptions{Start: "z/"}))
		if err != nil {
			t.Fatal(err)
		}
		wantRange(t, values, 0, 5) // They are of this minute, from which on live events follow.
	})
}

// racingStore lets another snapshot begin between the look at the newest one and the reservation.
type racingStore struct {
	store.Settings
	plain *rstreams.Bus
	other func()
}

func (s *racingStore) wrap(st store.Store) store.Store {
	s.plain, s.Settings = rstreams.New(st, rstreams.Options{}), st.Settings
	st.Settings = s
	return st
}

func (s *racingStore) Get(ctx context.Context, id string) (json.RawMessage, error) {
	v, err := s.Settings.Get(ctx, id)
	if other := s.other; other != nil {
		s.other = nil
		other()
	}
	return v, err
}

func TestTwoSnapshotsNeverShareAMinute(t *testing.T) {
	race := &racingStore{}
	bus := rstreamstest.NewWith(t, rstreamstest.Options{Wrap: race.wrap})
	race.other = func() {
		if _, err := race.plain.WriteSnapshot(t.Context(), snapshotOptions(), fillNumbers(0, 9)); err != nil {
			t.Error(err)
		}
	}
	if _, err := bus.WriteSnapshot(t.Context(), snapshotOptions(), fillNumbers(100, 109)); !errors.Is(err, rstreams.ErrSnapshotRunning) {
		t.Error(err)
	}
	_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/"}))
	if err != nil {
		t.Fatal(err)
	}
	wantRange(t, values, 0, 9)
}

func TestASnapshotNeedsAQueueAndABot(t *testing.T) {
	bus := rstreamstest.New(t)
	for _, o := range []rstreams.SnapshotOptions{
		{Bot: "b"}, {Queue: "q"}, {Bot: "b", Queue: "q/_snapshot"}, {Bot: "b", Queue: "q", Next: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		if _, err := bus.WriteSnapshot(t.Context(), o, fillNumbers(0, 1)); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestArchivePointersAreReadableWithTheirOwnIDs(t *testing.T) { // W13, R8
	onEveryBackend(t, func(t *testing.T, bus *rstreams.Bus) {
		live(t, bus, 0, 40)
		ids, _, err := read(newReader(t, bus, "q", rstreams.ReadOptions{Start: "z/"}))
		if err != nil {
			t.Fatal(err)
		}
		const archived = 25
		var body bytes.Buffer
		p := chunk.Pointer{Queue: "q", StartID: ids[0], EndID: ids[archived-1], Records: archived, Archive: true}
		for from := 0; from < archived; from += 10 {
			until := min(from+10, archived)
			var text []byte
			for i := from; i < until; i++ {
				text = fmt.Appendf(text, `{"id":"b","event":"q","payload":{"i":%d},"eid":%q}`+"\n", i, ids[i])
			}
			gz := chunk.AppendGzip(nil, text)
			p.Offsets = append(p.Offsets, store.Offset{
				Event: "q", StartID: ids[from], EndID: ids[until-1], Records: int64(until - from), Size: int64(len(text)), GzipSize: int64(len(gz)),
				Offset: p.Size, GzipOffset: p.GzipSize,
			})
			p.Size, p.GzipSize = p.Size+int64(len(text)), p.GzipSize+int64(len(gz))
			body.Write(gz)
		}
		if p.Blob, _, err = bus.Store().Blobs.Put(t.Context(), "bus/_archive/q=q/dt=2026-11-21/1-0000001-x.gz", &body); err != nil {
			t.Fatal(err)
		}
		line, err := chunk.AppendPointer(nil, &p)
		if err != nil {
			t.Fatal(err)
		}
		acks, err := bus.Store().Intake.Put(t.Context(), []store.Record{{PartitionKey: "0", HashKey: "0", Data: line}})
		if err != nil || acks[0].Err != nil {
			t.Fatal(acks, err)
		}
		row, err := bus.Store().Queues.Get(t.Context(), "q")
		if err != nil || row.ArchiveEnd != ids[archived-1] {
			t.Fatalf("%+v, %v", row, err)
		}
		for i := -1; i < 40; i += 3 {
			start := "z/"
			if i >= 0 {
				start = ids[i]
			}
			got, values, err := read(newReader(t, bus, "q", rstreams.ReadOptions{Start: start}))
			if err != nil {
				t.Fatal(err)
			}
			wantRange(t, values, i+1, 40)
			if len(got) > 0 && got[0] != ids[i+1] {
				t.Errorf("event %d has the id %s, want %s", i+1, got[0], ids[i+1])
			}
		}
	})
}
