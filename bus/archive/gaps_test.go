package archive_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/archive"
	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/store"
)

// passes runs the archiver every so often, for a while, and returns how many gaps it told of.
func (w *world) passes(cfg archive.Config, every, through time.Duration) (gaps int) {
	w.t.Helper()
	cfg.Gaps = func(_ string, n int) { gaps += n }
	for end := w.now.Add(through); w.now.Before(end); w.now = w.now.Add(every) {
		// Errors are what damage makes; what matters is what is in the archive in the end.
		archive.New(w.store, cfg).Run(w.t.Context()) //nolint:errcheck // See above.
	}
	return gaps
}

// TestADamagedChunkIsPassedOverInItsOwnTimeToo: what was written when events stayed for a week leaves after a week.
func TestADamagedChunkIsPassedOverInItsOwnTimeToo(t *testing.T) {
	for _, today := range []time.Duration{30 * 24 * time.Hour, -1} {
		w := newWorld(t)
		w.write("q", 0, 3)
		w.pointer("q", payload(3), payload(4))
		if err := w.store.Blobs.Delete(t.Context(), []string{w.chunks("q")[1].Blob.Key}); err != nil {
			t.Fatal(err)
		}
		w.write("q", 5, 7)
		w.ttl = today
		gaps := w.passes(w.config("a"), 30*time.Minute, ttl+time.Hour)
		if got := numbers(w.archived("q")); !slices.Equal(got, []int{0, 1, 2, 5, 6}) || gaps != 1 || len(w.letters()) != 1 {
			t.Errorf("events stay for %v: archived %v, %d gaps, letters %+v", today, got, gaps, w.letters())
		}
	}
}

// TestAnEventIsArchivedUnderItsIDOnce: what the original left of a crash has ids that others have (W-D1).
func TestAnEventIsArchivedUnderItsIDOnce(t *testing.T) {
	for name, c := range map[string]struct {
		sections, objects int64
		first             time.Duration // when the events before the leftover are archived
	}{
		"one section":        {0, 0, 0},
		"sections of a line": {1, 0, 0},
		"objects of a line":  {1, 1, 0},
		"another pass's":     {0, 0, 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("q", 0, 6) // two chunks
			cs := w.chunks("q")
			cfg := w.config("a")
			cfg.SectionBytes, cfg.ObjectBytes = c.sections, c.objects
			if c.first > 0 {
				// Only what is before the leftover is there yet: a head further on comes later.
				whole := w.store.Queues
				w.store.Queues = headed{whole, cs[0].End}
				w.now = w.now.Add(c.first)
				if res, err := archive.New(w.store, cfg).Run(t.Context()); err != nil || res.Events != 3 {
					t.Fatalf("%+v, %v", res, err)
				}
				w.store.Queues = whole
			}
			text := payload(100) + "\n" + payload(101) + "\n" + payload(102) + "\n"
			gz := chunk.AppendGzip(nil, []byte(text))
			base := strings.TrimSuffix(cs[0].Start, "0000000")
			leftover := store.Chunk{
				Queue: "q", Start: base + "0000002", End: base + "0000004", Records: 3,
				Size: int64(len(text)), GzipSize: int64(len(gz)), Gzip: gz, Expires: cs[0].Expires,
			}
			if err := w.store.Chunks.Put(t.Context(), []store.Chunk{leftover}); err != nil {
				t.Fatal(err)
			}
			gaps := w.passes(cfg, 30*time.Minute, 6*time.Hour)
			// 3 and 4 are given twice, and whose they are nobody knows. Readers that went on behind 2 got these.
			if got := numbers(w.archived("q")); !slices.Equal(got, []int{0, 1, 2, 101, 102, 5}) || gaps != 2 || len(w.letters()) != 2 {
				t.Errorf("archived %v, %d gaps, letters %+v", got, gaps, w.letters())
			}
		})
	}
}

// headed shows the queue q with a head of before.
type headed struct {
	store.Queues
	head string
}

func (h headed) List(ctx context.Context, after string, limit int) ([]store.Queue, error) {
	list, err := h.Queues.List(ctx, after, limit)
	for i := range list {
		if list[i].Name == "q" {
			list[i].Head = h.head
		}
	}
	return list, err
}

// unended cannot move the end of an archive at first.
type unended struct {
	store.Queues
	fails *int
}

func (u unended) SetArchive(ctx context.Context, queue, end string) error {
	if *u.fails--; *u.fails >= 0 {
		return store.ErrUnavailable
	}
	return u.Queues.SetArchive(ctx, queue, end)
}

// TestAGapIsToldHoweverItsObjectEnds: the next pass may begin behind it.
func TestAGapIsToldHoweverItsObjectEnds(t *testing.T) {
	w := newWorld(t)
	w.write("q", 0, 3)
	w.now = w.now.Add(2 * time.Hour)
	if _, err := archive.New(w.store, w.config("a")).Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.write("q", 3, 5)
	if err := w.store.Chunks.Delete(t.Context(), "q", []string{w.chunks("q")[1].End}); err != nil {
		t.Fatal(err)
	}
	w.write("q", 5, 7)
	w.now = w.now.Add(2 * time.Hour)
	fails := 1
	w.store.Queues = unended{w.store.Queues, &fails}
	told := 0
	cfg := w.config("a")
	cfg.Gaps = func(queue string, n int) {
		if queue != "q" {
			t.Errorf("told of queue %s", queue)
		}
		told += n
	}
	res, err := archive.New(w.store, cfg).Run(t.Context())
	if !errors.Is(err, store.ErrUnavailable) || told != 1 || res.Gaps != 1 {
		t.Errorf("%+v, %v, told of %d", res, err, told)
	}
	if res, err := archive.New(w.store, cfg).Run(t.Context()); err != nil || told != 1 || res.Gaps != 0 {
		t.Errorf("afterwards: %+v, %v, told of %d", res, err, told)
	}
	if got := numbers(w.archived("q")); !slices.Equal(got, []int{0, 1, 2, 5, 6}) {
		t.Errorf("archived %v", got)
	}
}

// TestEventsThatWereGoneBeforeTheFirstPassAreAGap: an archiver that did not run for a week has lost them.
func TestEventsThatWereGoneBeforeTheFirstPassAreAGap(t *testing.T) {
	w := newWorld(t)
	w.write("q", 0, 3)
	w.now = w.now.Add(24 * time.Hour)
	w.write("q", 3, 6)
	w.now = w.now.Add(ttl - 12*time.Hour)
	res, err := archive.New(w.store, w.config("a")).Run(t.Context())
	if err != nil || res.Gaps != 1 || res.Events != 3 {
		t.Errorf("%+v, %v", res, err)
	}
}

// TestAQueuesLastChunkIsToldOfOnce: a damaged one, whose events leave before anything follows.
func TestAQueuesLastChunkIsToldOfOnce(t *testing.T) {
	for name, follows := range map[string]time.Duration{"in time": ttl / 8 * 7, "too late": ttl + time.Hour} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("q", 0, 3)
			w.pointer("q", payload(3), payload(4))
			if err := w.store.Blobs.Delete(t.Context(), []string{w.chunks("q")[1].Blob.Key}); err != nil {
				t.Fatal(err)
			}
			cfg := w.config("a")
			cfg.ObjectBytes = 1 << 20
			if gaps := w.passes(cfg, 2*time.Hour, follows); gaps != 0 || len(w.letters()) != 0 {
				t.Errorf("%d gaps, letters %+v", gaps, w.letters())
			}
			w.write("q", 5, 6)
			w.now = w.now.Add(2 * time.Hour)
			gaps := w.passes(cfg, 2*time.Hour, 24*time.Hour)
			if got := numbers(w.archived("q")); !slices.Equal(got, []int{0, 1, 2, 5}) || gaps != 1 || len(w.letters()) > 1 {
				t.Errorf("archived %v, %d gaps, letters %+v", got, gaps, w.letters())
			}
		})
	}
}

// TestWhatNoLongerEntersAQueueDoesNotKeepItFromBeingArchived: its events would expire.
func TestWhatNoLongerEntersAQueueDoesNotKeepItFromBeingArchived(t *testing.T) {
	w := newWorld(t)
	w.write("q", 0, 3)
	w.now = w.now.Add(2 * time.Hour)
	cfg := w.config("a")
	cfg.Sequencer.SkipQueues, cfg.Sequencer.SkipBots = []string{"q"}, []string{"b"}
	if res, err := archive.New(w.store, cfg).Run(t.Context()); err != nil || res.Events != 3 {
		t.Errorf("%+v, %v", res, err)
	}
}
