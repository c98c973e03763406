package rstreams_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// onEveryBackend runs a test on a bus in memory and on an embedded one.
func onEveryBackend(t *testing.T, test func(t *testing.T, bus *rstreams.Bus)) {
	t.Run("memory", func(t *testing.T) { test(t, rstreamstest.New(t).Bus) })
	t.Run("sqlite", func(t *testing.T) {
		b, err := local.Open(t.Context(), t.TempDir(), local.Options{Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := b.Close(context.Background()); err != nil {
				t.Error(err)
			}
		}()
		test(t, rstreams.New(b.Store(), rstreams.Options{Logger: slog.New(slog.DiscardHandler)}))
	})
}

func mustWriter(t *testing.T, bus *rstreams.Bus, o rstreams.WriterOptions) *rstreams.Writer {
	t.Helper()
	w, err := bus.NewWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func mustPut(t *testing.T, w *rstreams.Writer, queue string, payload any) rstreams.Ack {
	t.Helper()
	ack, err := w.PutTo(t.Context(), queue, payload)
	if err != nil {
		t.Fatal(err)
	}
	return ack
}

func mustClose(t *testing.T, w *rstreams.Writer) {
	t.Helper()
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func small() rstreams.BlobOptions { return rstreams.BlobOptions{SectionBytes: 2000, Sections: 3} }

func TestEventsInObjectsAreReadInOrderFromEveryPosition(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, bus *rstreams.Bus) {
		w := mustWriter(t, bus, rstreams.WriterOptions{Bot: "writer", Path: rstreams.PathBlobs, Blobs: small()})
		const n = 300
		for i := range n {
			mustPut(t, w, []string{"q", "other"}[i%2], number{i / 2})
		}
		mustClose(t, w)
		ids, values, err := read(newReader(t, bus, "q", rstreams.ReadOptions{Start: "z/"}))
		if err != nil {
			t.Fatal(err)
		}
		wantRange(t, values, 0, n/2)
		for i := 0; i < len(ids); i += 7 {
			_, values, err := read(newReader(t, bus, "q", rstreams.ReadOptions{Start: ids[i]}))
			if err != nil {
				t.Fatal(err)
			}
			wantRange(t, values, i+1, n/2)
		}
		_, values, err = read(newReader(t, bus, "other", rstreams.ReadOptions{Start: "z/"}))
		if err != nil {
			t.Fatal(err)
		}
		wantRange(t, values, 0, n/2)
		page, err := bus.Store().Chunks.Query(t.Context(), "q", "", "z0", 0, 0)
		if err != nil || len(page.Chunks) < 2 {
			t.Fatalf("%d chunks, %v", len(page.Chunks), err)
		}
		for _, c := range page.Chunks {
			if c.Blob == nil {
				t.Errorf("chunk %s is inline", c.End)
			}
		}
	})
}

// pointers returns the pointers among the accepted records, and fails where a record is anything else.
func (s *scripted) pointers(t *testing.T) []chunk.Pointer {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []chunk.Pointer
	for _, r := range s.accepted {
		text, err := chunk.OpenRecord(r.Data)
		if err != nil {
			t.Fatal(err)
		}
		line, err := io.ReadAll(text)
		if err != nil {
			t.Fatal(err)
		}
		p, err := chunk.ParsePointer(line[:len(line)-1])
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		out = append(out, p)
	}
	return out
}

func TestObjectsAreSectionsThatStandAloneAndTheirPointersAddUp(t *testing.T) { // W4, W5, W6
	s := &scripted{limits: kinesisLimits()}
	st := memory.New(memory.Options{})
	st.Intake = s
	now := time.Date(2026, 11, 21, 2, 35, 20, 455e6, time.UTC)
	bus := rstreams.New(st, rstreams.Options{Now: func() time.Time { return now }})
	w := mustWriter(t, bus, rstreams.WriterOptions{Bot: "loader", Queue: "orders", Path: rstreams.PathBlobs, Blobs: small()})
	const n = 100
	for i := range n {
		e := rstreams.Event{
			Bot: []string{"a", "b"}[i%2], Payload: fmt.Appendf(nil, `{"i":%d,"html":"<&>"}`, i), Timestamp: int64(2000 + i), SourceTimestamp: int64(1000 - i),
			Correlation: &rstreams.Correlation{Source: "src", Start: fmt.Sprintf("z/%d", i), Units: 2},
		}
		if _, err := w.PutEvent(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, w)
	key := regexp.MustCompile(`^bus/orders/loader/z/2026/11/21/02/35/1795228520455-(\d{7})-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\.gz$`)
	next := 0
	list := s.pointers(t)
	for i, p := range list {
		if m := key.FindStringSubmatch(p.Blob.Key); m == nil || m[1] != fmt.Sprintf("%07d", i+1) {
			t.Errorf("object %d has the key %s", i, p.Blob.Key)
		}
		if len(p.Offsets) > 3 || len(p.Offsets) != 3 && i < len(list)-1 {
			t.Errorf("object %d has %d sections", i, len(p.Offsets))
		}
		if len(p.Extra) > 0 || p.Snapshot != 0 || p.Creator != "" {
			t.Errorf("object %d: %+v", i, p)
		}
		first, units := next, int64(0)
		for _, o := range p.Offsets {
			r, err := st.Blobs.Get(t.Context(), p.Blob, o.GzipOffset, o.GzipSize)
			if err != nil {
				t.Fatal(err)
			}
			gz, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil {
				t.Fatal(err)
			}
			text, err := chunk.AppendGunzip(nil, gz, 1<<20)
			if err != nil || int64(len(text)) != o.Size || int64(strings.Count(string(text), "\n")) != o.Records {
				t.Fatalf("section of %d bytes, %v: %+v", len(text), err, o)
			}
			for k, line := range strings.SplitAfter(strings.TrimSuffix(string(text), "\n"), "\n") {
				var e struct {
					EID     int
					Payload struct{ I int }
				}
				if err := json.Unmarshal([]byte(line), &e); err != nil || e.EID != k || e.Payload.I != next {
					t.Fatalf("line %d of a section: %s, %v", k, line, err)
				}
				next++
			}
		}
		for _, stat := range p.Stats {
			units += stat.Units
		}
		if units != p.Records || len(p.Stats) != 2 {
			t.Errorf("stats of %d units, %d records", units, p.Records)
		}
		last := p.Offsets[len(p.Offsets)-1].Records - 1
		if b := p.Stats[[]string{"a", "b"}[(next-1)%2]]; b.End != int64(2000+next-1) || string(b.Checkpoint) != fmt.Sprint(last) {
			t.Errorf("stats of the last bot: %+v, last line %d", b, last)
		}
		var sections []map[string]struct {
			Source, Start, End string
			Records            int64
		}
		if err := json.Unmarshal(p.Correlations, &sections); err != nil || len(sections) != len(p.Offsets) {
			t.Fatalf("%s, %v", p.Correlations, err)
		}
		at := first
		for k, c := range sections {
			src, records := c["src"], int(p.Offsets[k].Records)
			if src.Source != "src" || src.Start != fmt.Sprintf("z/%d", at) || src.End != fmt.Sprintf("z/%d", at+records-1) || src.Records != int64(2*records) {
				t.Errorf("correlation of section %d: %+v", k, src)
			}
			at += records
		}
	}
	if next != n {
		t.Errorf("%d events in objects, want %d", next, n)
	}
}

func TestPointersOfObjectsHaveTheMembersOfLeoSDK(t *testing.T) { // W4
	s := &scripted{}
	w := newWriter(t, s, rstreams.WriterOptions{Queue: "q", Path: rstreams.PathBlobs})
	mustPut(t, w, "", 1)
	mustClose(t, w)
	text, err := chunk.OpenRecord(s.accepted[0].Data)
	if err != nil {
		t.Fatal(err)
	}
	var p map[string]any
	if err := json.NewDecoder(text).Decode(&p); err != nil {
		t.Fatal(err)
	}
	want := []string{"correlations", "end", "event", "event_source_timestamp", "gzipSize", "offsets", "records", "s3", "size", "start", "stats", "timestamp"}
	if got := slices.Sorted(maps.Keys(p)); !slices.Equal(got, want) {
		t.Errorf("members %v, want %v", got, want)
	}
}

func TestObjectsCloseBySectionsAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		w := newWriter(t, s, rstreams.WriterOptions{Queue: "q", Path: rstreams.PathBlobs, Blobs: rstreams.BlobOptions{SectionBytes: 1000, Sections: 2}})
		line := strings.Repeat("x", 1000)
		mustPut(t, w, "", line)
		synctest.Wait()
		if s.count() != 0 {
			t.Fatal("sent after one section")
		}
		mustPut(t, w, "", line)
		synctest.Wait()
		if s.count() != 1 {
			t.Fatalf("%d records after two sections", s.count())
		}
		mustPut(t, w, "", 1)
		time.Sleep(10*time.Second - time.Millisecond)
		synctest.Wait()
		if s.count() != 1 {
			t.Fatal("sent before its time")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if s.count() != 2 {
			t.Fatalf("%d records after ten seconds", s.count())
		}
		mustClose(t, w)
	})
}

func TestEventsInObjectsAreAcknowledgedAfterTheirPointer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{block: make(chan struct{})}
		w := newWriter(t, s, rstreams.WriterOptions{Queue: "q", Path: rstreams.PathBlobs, Blobs: small()})
		ack := mustPut(t, w, "", 1)
		go func() { _ = w.Flush(context.Background()) }()
		synctest.Wait() // The object is stored; the pointer is on its way.
		select {
		case <-ack.Done():
			t.Error("acknowledged before the pointer was")
		default:
		}
		close(s.block)
		synctest.Wait()
		if r, err := ack.Wait(t.Context()); err != nil || r.Events != 1 || r.Sequence == "" {
			t.Error(r, err)
		}
		mustClose(t, w)
	})
}

// refusingBlobs fails some of the calls to store an object, after a part of it was read.
type refusingBlobs struct {
	store.Blobs
	mu   sync.Mutex
	rnd  *rand.Rand
	keys map[string]int
}

func (b *refusingBlobs) Put(ctx context.Context, key string, r io.Reader) (store.BlobRef, int64, error) {
	b.mu.Lock()
	b.keys[key]++
	fail := b.rnd.IntN(3) == 0
	b.mu.Unlock()
	if fail {
		_, _ = io.CopyN(io.Discard, r, 10)
		return store.BlobRef{}, 0, store.ErrThrottled
	}
	return b.Blobs.Put(ctx, key, r)
}

func TestRefusedObjectsAndPointersLoseAndReorderNothing(t *testing.T) { // W10
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			var mu sync.Mutex
			s := &scripted{limits: kinesisLimits(), answer: func(int, int) error {
				mu.Lock()
				defer mu.Unlock()
				if rnd.IntN(3) == 0 {
					return store.ErrThrottled
				}
				return nil
			}}
			st := memory.New(memory.Options{})
			blobs := &refusingBlobs{Blobs: st.Blobs, rnd: rand.New(rand.NewPCG(seed, 8)), keys: map[string]int{}}
			st.Intake, st.Blobs = s, blobs
			bus := rstreams.New(st, rstreams.Options{Logger: slog.New(slog.DiscardHandler)})
			w := mustWriter(t, bus, rstreams.WriterOptions{Bot: "b", Path: rstreams.PathBlobs, Blobs: small(), MaxBytes: 9000})
			queues := []string{"a", "b", "c"}
			const n = 600
			for i := range n {
				mustPut(t, w, queues[i%3], number{i / 3})
			}
			mustClose(t, w)
			next := map[string]int{}
			for _, p := range s.pointers(t) {
				r, err := st.Blobs.Get(t.Context(), p.Blob, 0, -1)
				if err != nil {
					t.Fatal(err)
				}
				gz, err := io.ReadAll(r)
				if err := errors.Join(err, r.Close()); err != nil {
					t.Fatal(err)
				}
				text, err := chunk.AppendGunzip(nil, gz, 1<<20)
				if err != nil {
					t.Fatal(err)
				}
				for line := range strings.Lines(string(text)) {
					e, err := event.Parse([]byte(strings.TrimSuffix(line, "\n")))
					if err != nil {
						t.Fatal(err)
					}
					if v, err := rstreams.Decode[number](e); err != nil || v.I != next[e.Queue] || e.Queue != p.Queue {
						t.Fatalf("seed %d: got %s, want event %d of %s; %v", seed, line, next[e.Queue], p.Queue, err)
					}
					next[e.Queue]++
				}
			}
			for _, q := range queues {
				if next[q] != n/3 {
					t.Fatalf("seed %d: %d events of %s", seed, next[q], q)
				}
			}
			// An attempt replaces what one before may have left behind: every object is that of a pointer.
			stored, err := st.Blobs.List(t.Context(), "", "", 0)
			if err != nil || len(stored) != s.count() || len(blobs.keys) != s.count() {
				t.Errorf("seed %d: %d objects under %d keys, %d pointers, %v", seed, len(stored), len(blobs.keys), s.count(), err)
			}
		})
	}
}

func TestObjectsBeginEarlierRatherThanHoldMoreMemoryThanPermitted(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, bus *rstreams.Bus) {
		const limit = 64 << 10
		w := mustWriter(t, bus, rstreams.WriterOptions{Bot: "b", Queue: "q", Path: rstreams.PathBlobs, MaxBytes: limit,
			Blobs: rstreams.BlobOptions{SectionBytes: 10_000, Sections: 1000, Linger: -1}})
		rnd := rand.New(rand.NewPCG(1, 2))
		const n = 1000
		fill := make([]byte, 600)
		for i := range n {
			for k := range fill {
				fill[k] = byte('a' + rnd.IntN(26))
			}
			mustPut(t, w, "", map[string]any{"i": i, "fill": string(fill)})
			if _, held := w.Pending(); held > limit+16<<10 {
				t.Fatalf("%d bytes are held after event %d", held, i)
			}
		}
		mustClose(t, w)
		if events, held := w.Pending(); events != 0 || held != 0 {
			t.Errorf("%d events, %d bytes after Close", events, held)
		}
		_, values, err := read(newReader(t, bus, "q", rstreams.ReadOptions{Start: "z/"}))
		if err != nil {
			t.Fatal(err)
		}
		wantRange(t, values, 0, n)
	})
}

func TestEventsOfObjectsThatFailedAreUnsent(t *testing.T) {
	s := &scripted{answer: func(call, _ int) error {
		if call > 0 {
			return store.ErrInvalid
		}
		return nil
	}}
	w := newWriter(t, s, rstreams.WriterOptions{Queue: "q", Path: rstreams.PathBlobs, Blobs: rstreams.BlobOptions{SectionBytes: 300, Sections: 2}})
	var acks []rstreams.Ack
	for i := range 30 {
		ack, err := w.Put(t.Context(), number{i})
		if err != nil {
			break // The writer has failed already.
		}
		acks = append(acks, ack)
	}
	if err := w.Close(t.Context()); !errors.Is(err, store.ErrInvalid) {
		t.Fatal(err)
	}
	durable := 0
	for _, ack := range acks {
		if _, err := ack.Wait(t.Context()); err == nil {
			durable++
		}
	}
	unsent := w.Unsent()
	if durable == 0 || durable+len(unsent) != len(acks) {
		t.Fatalf("%d durable, %d unsent of %d", durable, len(unsent), len(acks))
	}
	for i, e := range unsent {
		if v, err := rstreams.Decode[number](e); err != nil || v.I != durable+i {
			t.Fatalf("unsent event %d is %s, %v", i, e.Payload, err)
		}
	}
}

func TestOversizeEventsKeepTheirPlaceInObjects(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, bus *rstreams.Bus) {
		for _, path := range []rstreams.Path{rstreams.PathIntake, rstreams.PathBlobs, rstreams.PathFirehose, rstreams.PathFirehoseGzip} {
			queue := fmt.Sprint("q", path)
			w := mustWriter(t, bus, rstreams.WriterOptions{Bot: "b", Queue: queue, Path: path})
			for i := range 9 {
				p := map[string]any{"i": i}
				if i%3 == 1 {
					p["fill"] = strings.Repeat("x", 700_000)
				}
				mustPut(t, w, "", p)
			}
			mustClose(t, w)
			_, values, err := read(newReader(t, bus, queue, rstreams.ReadOptions{Start: "z/"}))
			if err != nil {
				t.Fatal(err)
			}
			wantRange(t, values, 0, 9)
		}
	})
}

func TestDerivedEventsInObjectsAreDurableBeforeTheCheckpoint(t *testing.T) { // C6
	onEveryBackend(t, func(t *testing.T, bus *rstreams.Bus) {
		w := mustWriter(t, bus, rstreams.WriterOptions{Bot: "b", Queue: "in"})
		for i := range 50 {
			mustPut(t, w, "", number{i})
		}
		mustClose(t, w)
		for _, path := range []rstreams.Path{rstreams.PathBlobs, rstreams.PathFirehose} {
			bot, out := fmt.Sprint("bot", path), fmt.Sprint("out", path)
			o := rstreams.EnrichOptions{
				Bot: bot, From: []string{"in"}, To: out, Read: rstreams.ReadOptions{From: rstreams.Earliest()},
				Write: rstreams.WriterOptions{Path: path, Blobs: small()},
			}
			stats, err := bus.Enrich(t.Context(), o, func(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
				return rstreams.Emit(e.Payload), nil
			})
			if err != nil || stats.Outputs != 50 {
				t.Fatal(stats, err)
			}
			_, values, err := read(newReader(t, bus, out, rstreams.ReadOptions{Start: "z/"}))
			if err != nil {
				t.Fatal(err)
			}
			wantRange(t, values, 0, 50)
			in, err := bus.Store().Queues.Get(t.Context(), "in")
			if err != nil || stats.Checkpoints["in"] != in.Head {
				t.Error(stats.Checkpoints, err)
			}
		}
	})
}
