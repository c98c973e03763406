package archive_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/archive"
	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/internal/crash"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// world is a bus in memory with a clock of its own.
type world struct {
	t        *testing.T
	store    store.Store
	now      time.Time
	sequence int
	ttl      time.Duration // of events; 0 means the default
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: time.UnixMilli(1_704_164_645_000)}
	w.store = memory.New(memory.Options{Now: w.clock})
	w.store.Atomic = nil
	return w
}

func (w *world) clock() time.Time { return w.now }

func (w *world) sequencer() sequencer.Config {
	return sequencer.Config{
		Lease: 20 * time.Second, Parallel: 1, Now: w.clock, Logger: slog.New(slog.DiscardHandler), ChunkRecords: 3, Bucket: "memory", TTL: w.ttl,
	}
}

func (w *world) config(owner string) archive.Config {
	return archive.Config{
		Owner: owner, Now: w.clock, Logger: slog.New(slog.DiscardHandler), Sequencer: w.sequencer(), Parallel: 1,
		ObjectBytes: 300, SectionBytes: 200,
	}
}

// write publishes events with the numbers from to to.
func (w *world) write(queue string, from, to int) {
	w.t.Helper()
	var text strings.Builder
	for n := from; n < to; n++ {
		fmt.Fprintf(&text, `{"id":"b","event":%q,"payload":{"n":%d}}`+"\n", queue, n)
	}
	w.put(text.String())
}

func (w *world) put(text string) {
	w.t.Helper()
	w.sequence++
	w.now = w.now.Add(time.Second)
	_, err := sequencer.New(w.store, w.sequencer()).Process(w.t.Context(), sequencer.Batch{Shard: "s", Records: []sequencer.Record{
		{Sequence: fmt.Sprint(w.sequence), Arrival: w.now.UnixMilli(), Data: []byte(text)}}})
	if err != nil {
		w.t.Fatal(err)
	}
}

// pointer publishes events that lie in a blob.
func (w *world) pointer(queue string, lines ...string) {
	w.t.Helper()
	w.claim(queue, int64(len(lines)), lines...)
}

// claim publishes a pointer that says that the lines of its blob are n events.
func (w *world) claim(queue string, n int64, lines ...string) {
	w.t.Helper()
	text := strings.Join(lines, "\n") + "\n"
	gz := chunk.AppendGzip(nil, []byte(text))
	ref, _, err := w.store.Blobs.Put(w.t.Context(), fmt.Sprintf("bus/%s/%d.gz", queue, w.sequence), strings.NewReader(string(gz)))
	if err != nil {
		w.t.Fatal(err)
	}
	size, gzipSize := int64(len(text)), int64(len(gz))
	line, err := chunk.AppendPointer(nil, &chunk.Pointer{
		Queue: queue, Blob: ref, Records: n, Size: size, GzipSize: gzipSize,
		Offsets: []store.Offset{{Event: queue, End: n - 1, Records: n, Size: size, GzipSize: gzipSize}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.put(string(line))
}

type event struct {
	eid string
	n   int
}

// chunks returns a queue's chunks, and what is there of items that are none.
func (w *world) chunks(queue string) (out []store.Chunk) {
	w.t.Helper()
	for after := ""; ; {
		page, err := w.store.Chunks.Query(w.t.Context(), queue, after, "z0", 1, 0)
		if bad, ok := errors.AsType[*store.ChunkError](err); ok {
			page, err = store.Page{Chunks: []store.Chunk{bad.Chunk}, More: true}, nil
		}
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range page.Chunks {
			after = c.End
		}
		out = append(out, page.Chunks...)
		if !page.More {
			return out
		}
	}
}

// live returns a queue's events, as its index has them.
func (w *world) live(queue string) (out []event) {
	w.t.Helper()
	for _, c := range w.chunks(queue) {
		first, err := eid.Parse(c.Start)
		if err != nil {
			w.t.Fatal(err)
		}
		for i, l := range w.lines(&c) {
			id, err := first.Add(i)
			if err != nil {
				w.t.Fatal(err)
			}
			out = append(out, event{id.String(), number(w.t, l)})
		}
	}
	return out
}

func (w *world) lines(c *store.Chunk) []string {
	w.t.Helper()
	gz := c.Gzip
	if c.Blob != nil {
		r, err := w.store.Blobs.Get(w.t.Context(), *c.Blob, 0, -1)
		if err != nil {
			w.t.Fatal(err)
		}
		defer r.Close()
		if gz, err = io.ReadAll(r); err != nil {
			w.t.Fatal(err)
		}
	}
	text, err := chunk.AppendGunzip(nil, gz, 1<<30)
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.Collect(strings.Lines(string(text)))
}

func number(t *testing.T, line string) int {
	t.Helper()
	var e struct{ Payload struct{ N int } }
	if err := json.Unmarshal([]byte(line), &e); err != nil {
		t.Fatalf("%v: %s", err, line)
	}
	return e.Payload.N
}

// archived returns the events in a queue's archive, and checks everything that is said of them (C25, C39, C40).
func (w *world) archived(queue string) (out []event) {
	w.t.Helper()
	prev := ""
	for _, c := range w.chunks(queue + store.ArchiveSuffix) {
		if !c.Archive || c.Blob == nil || c.Expires != 0 || c.Start <= prev || !strings.HasPrefix(c.Blob.Key, "bus/_archive/q="+queue+"/dt=2024-01-0") {
			w.t.Errorf("chunk %+v after %s", c, prev)
		}
		if _, _, _, err := chunk.ValidateOffsets(c.Offsets, true); err != nil {
			w.t.Error(err)
		}
		prev = c.End
		for _, s := range c.Offsets {
			r, err := w.store.Blobs.Get(w.t.Context(), *c.Blob, s.GzipOffset, s.GzipSize)
			if err != nil {
				w.t.Fatal(err)
			}
			gz, err := io.ReadAll(r)
			if err != nil {
				w.t.Fatal(err)
			}
			text, err := chunk.AppendGunzip(nil, gz, s.Size)
			if err != nil || int64(len(text)) != s.Size {
				w.t.Fatal(err)
			}
			var ids []string
			for l := range strings.Lines(string(text)) {
				var e struct{ EID string }
				if err := json.Unmarshal([]byte(l), &e); err != nil {
					w.t.Fatal(err)
				}
				ids = append(ids, e.EID)
				out = append(out, event{e.EID, number(w.t, l)})
			}
			if ids[0] != s.StartID || ids[len(ids)-1] != s.EndID || int64(len(ids)) != s.Records {
				w.t.Errorf("section %+v has %v", s, ids)
			}
		}
	}
	row, err := w.store.Queues.Get(w.t.Context(), queue)
	if err != nil {
		w.t.Fatal(err)
	}
	if row.ArchiveEnd != prev {
		w.t.Errorf("the archive of %s ends at %s, its row says %s", queue, prev, row.ArchiveEnd)
	}
	return out
}

func TestEverythingIsArchivedOnceAndInOrder(t *testing.T) {
	w := newWorld(t)
	w.write("q", 0, 20)
	w.pointer("q", `{"id":"b","event":"q","payload":{"n":20}}`, `{"id":"b","event":"q","payload":{"n":21},"eid":1}`)
	w.write("p", 0, 1)
	w.write("q", 22, 40)
	w.write("skipped", 0, 1)
	w.now = w.now.Add(time.Hour)
	w.write("q", 40, 41) // Not settled.
	res, err := archive.New(w.store, w.config("a")).Run(t.Context())
	if err != nil || res.Events != 42 || res.Objects < 3 || res.Queues != 3 || res.Gaps != 0 || res.Bad != 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	if res.Behind > time.Minute {
		t.Errorf("behind by %v", res.Behind)
	}
	if got, want := w.archived("q"), w.live("q")[:40]; !slices.Equal(got, want) {
		t.Errorf("archived %v\nwant %v", got, want)
	}
	again, err := archive.New(w.store, w.config("b")).Run(t.Context())
	if err != nil || again.Objects != 0 {
		t.Errorf("%+v, %v", again, err)
	}
	w.now = w.now.Add(2 * time.Hour)
	last, err := archive.New(w.store, w.config("c")).Run(t.Context())
	if err != nil || last.Events != 1 || last.Behind != 0 {
		t.Errorf("%+v, %v", last, err)
	}
	if got, want := w.archived("q"), w.live("q"); !slices.Equal(got, want) {
		t.Errorf("archived %v\nwant %v", got, want)
	}
}

// skipping sets skip_archive, which operators do (bus.md 1.3).
type skipping struct {
	store.Queues
	queue string
}

func (s skipping) List(ctx context.Context, after string, limit int) ([]store.Queue, error) {
	list, err := s.Queues.List(ctx, after, limit)
	for i := range list {
		list[i].SkipArchive = list[i].Name == s.queue
	}
	return list, err
}

func TestQueuesThatAreNotToBeArchivedAreNot(t *testing.T) {
	w := newWorld(t)
	w.write("q", 0, 5)
	w.write("skipped", 0, 5)
	w.put(`{"id":"b","event":"q","payload":{"n":1},"snapshot":1704164645000}` + "\n")
	w.now = w.now.Add(2 * time.Hour)
	w.store.Queues = skipping{w.store.Queues, "skipped"}
	for range 2 { // The second pass sees the archive's own queue.
		if _, err := archive.New(w.store, w.config("a")).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.archived("q")); n != 5 {
		t.Errorf("%d events", n)
	}
	for _, queue := range []string{"skipped", "q/_archive", "q/_snapshot"} {
		if n := len(w.chunks(queue + store.ArchiveSuffix)); n != 0 {
			t.Errorf("%s is archived", queue)
		}
	}
}

// TestAnArchiverThatDiesAnywhereLosesAndRepeatsNothing is C39 and C40: the first one dies at each of its writes, before or
// after it took effect.
func TestAnArchiverThatDiesAnywhereLosesAndRepeatsNothing(t *testing.T) {
	run := func(t *testing.T, p *crash.Process) *world {
		w := newWorld(t)
		for n := range 4 {
			w.write("q", 5*n, 5*n+5)
			w.write("p", 2*n, 2*n+2)
		}
		w.now = w.now.Add(2 * time.Hour)
		res, err := archive.New(crash.View(w.store, p), w.config("first")).Run(t.Context())
		if err == nil && p.Dead() && res.Events != 28 {
			t.Errorf("write %d: it is dead, and all is well", p.At)
		}
		w.write("q", 20, 23)
		w.now = w.now.Add(3 * time.Hour)
		if res, err := archive.New(w.store, w.config("second")).Run(t.Context()); err != nil || res.Busy || res.Behind != 0 {
			t.Fatalf("write %d: %+v, %v", p.At, res, err)
		}
		return w
	}
	free := &crash.Process{}
	run(t, free)
	if free.Writes() < 20 {
		t.Fatalf("only %d writes", free.Writes())
	}
	for at := 1; at <= free.Writes(); at++ {
		for _, after := range []bool{false, true} {
			w := run(t, &crash.Process{At: at, After: after})
			for queue, n := range map[string]int{"q": 23, "p": 8} {
				if got, want := w.archived(queue), w.live(queue); !slices.Equal(got, want) || len(got) != n {
					t.Errorf("write %d, after %t: archived of %s: %v\nwant %v", at, after, queue, got, want)
				}
			}
			if n := len(w.chunks(deadletter.Queue)); n != 0 {
				t.Errorf("write %d, after %t: dead letters", at, after)
			}
		}
	}
}

func TestTwoArchiversAtOnceArchiveOnce(t *testing.T) {
	for at := 1; ; at++ {
		w := newWorld(t)
		w.write("q", 0, 20)
		w.now = w.now.Add(2 * time.Hour)
		writes := 0
		slow := &crash.Process{}
		slow.Before = func(write string) {
			// A chunk is not written that late: sequencers stop before their lease ends (docs/simulation.md).
			if writes++; writes != at || write == "Chunks.Put" {
				return
			}
			w.write("q", 20, 25)
			w.now = w.now.Add(3 * time.Hour)
			if res, err := archive.New(w.store, w.config("second")).Run(t.Context()); err != nil || res.Busy {
				t.Errorf("second: %+v, %v", res, err)
			}
		}
		_, err := archive.New(crash.View(w.store, slow), w.config("first")).Run(t.Context())
		if writes < at {
			break
		}
		if err != nil {
			t.Logf("stopped before write %d: %v", at, err)
		}
		w.now = w.now.Add(3 * time.Hour)
		if _, err := archive.New(w.store, w.config("third")).Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got, want := w.archived("q"), w.live("q"); !slices.Equal(got, want) {
			t.Errorf("stopped before write %d: archived %v\nwant %v", at, got, want)
		}
	}
}

func TestABusyArchiverIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	if err := w.store.Settings.Acquire(t.Context(), archive.Lock, "other", w.now.UnixMilli(), w.now.Add(time.Minute).UnixMilli()); err != nil {
		t.Fatal(err)
	}
	if res, err := archive.New(w.store, w.config("a")).Run(t.Context()); err != nil || !res.Busy {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestLinesThatAreNoEventsBecomeDeadLetters(t *testing.T) {
	w := newWorld(t)
	w.pointer("q", `{"id":"b","event":"q","payload":{"n":0}}`, `{"id":"b`, `{"id":"b","event":"q","payload":{"n":2}}`)
	w.pointer("bad", "x", "y")
	w.now = w.now.Add(2 * time.Hour)
	res, err := archive.New(w.store, w.config("a")).Run(t.Context())
	if err != nil || res.Events != 2 || res.Bad != 1 || res.BehindQueue != "bad" {
		t.Fatalf("%+v, %v", res, err)
	}
	if got := w.archived("q"); len(got) != 2 || !strings.HasSuffix(got[1].eid, "-0000002") || got[1].n != 2 {
		t.Errorf("archived %v", got)
	}
	if c := w.chunks(deadletter.Queue); len(c) != 1 || c[0].Records != 1 {
		t.Errorf("dead letters: %+v", c)
	}
}

func TestEventsThatWereGoneAreReportedAndDamageStopsItsQueueOnly(t *testing.T) {
	w := newWorld(t)
	w.write("q", 0, 12)
	w.write("damaged", 0, 3)
	w.pointer("damaged", `{"id":"b","event":"damaged","payload":{"n":3}}`)
	chunks := w.chunks("q")
	if err := w.store.Chunks.Delete(t.Context(), "q", []string{chunks[1].End}); err != nil {
		t.Fatal(err)
	}
	if err := w.store.Blobs.Delete(t.Context(), []string{w.chunks("damaged")[1].Blob.Key}); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(2 * time.Hour)
	res, err := archive.New(w.store, w.config("a")).Run(t.Context())
	if !errors.Is(err, store.ErrNotFound) || !strings.Contains(err.Error(), "damaged") || res.Gaps != 1 || res.Events != 12 {
		t.Fatalf("%+v, %v", res, err)
	}
	if got, want := w.archived("damaged"), w.live("q")[:3]; len(got) != 3 || got[2].n != want[2].n {
		t.Errorf("archived of what comes before the damage: %v", got)
	}
	if res.BehindQueue != "damaged" || res.Behind < 2*time.Hour {
		t.Errorf("behind: %v of %s", res.Behind, res.BehindQueue)
	}
	if got := w.archived("q"); len(got) != 9 {
		t.Errorf("archived %v", got)
	}
}

func TestAPassThatIsOutOfTimePublishesWhatItHas(t *testing.T) {
	w := newWorld(t)
	w.write("q", 0, 20)
	w.now = w.now.Add(2 * time.Hour)
	config := w.config("a")
	config.ObjectBytes = 1 << 20
	config.Until = w.now.Add(time.Minute)
	reads := 0
	w.store.Chunks = reading{w.store.Chunks, func() {
		if reads++; reads == 4 {
			w.now = w.now.Add(time.Hour)
		}
	}}
	res, err := archive.New(w.store, config).Run(t.Context())
	if err != nil || res.Objects != 1 || res.Events == 0 || res.Events == 20 || res.Behind == 0 {
		t.Errorf("%+v, %v", res, err)
	}
	if n := len(w.archived("q")); int64(n) != res.Events {
		t.Errorf("%d events", n)
	}
}

// reading returns one chunk at a time, and tells of each call.
type reading struct {
	store.Chunks
	before func()
}

func (r reading) Query(ctx context.Context, queue, after, through string, _, _ int) (store.Page, error) {
	r.before()
	return r.Chunks.Query(ctx, queue, after, through, 1, 0)
}
