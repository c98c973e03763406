package archive_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/store"
)

// letterless cannot claim the dead-letter queue at first.
type letterless struct {
	store.Queues
	fails *int
}

func (n letterless) Claim(ctx context.Context, c store.Claim) (store.Grant, error) {
	if c.Queue == deadletter.Queue {
		if *n.fails--; *n.fails >= 0 {
			return store.Grant{}, store.ErrUnavailable
		}
	}
	return n.Queues.Claim(ctx, c)
}

// TestLettersSurviveAPassThatFails: the next one begins behind what they are of.
func TestLettersSurviveAPassThatFails(t *testing.T) {
	w := newWorld(t)
	w.write("q", 0, 3)
	w.pointer("q", payload(3), payload(4))
	if err := w.store.Blobs.Delete(t.Context(), []string{w.chunks("q")[1].Blob.Key}); err != nil {
		t.Fatal(err)
	}
	w.write("q", 5, 7)
	w.now = w.now.Add(ttl / 8 * 7)
	fails := 1
	w.store.Queues = letterless{w.store.Queues, &fails}
	w.passes(w.config("a"), time.Minute, 3*time.Minute)
	if got := numbers(w.archived("q")); !slices.Equal(got, []int{0, 1, 2, 5, 6}) || len(w.letters()) != 1 {
		t.Errorf("archived %v, letters %+v", got, w.letters())
	}
}

// odd shows one more item, that is no chunk, in the index.
type odd struct {
	store.Chunks
	item store.Chunk
	now  func() time.Time
}

func (x odd) Query(ctx context.Context, queue, after, through string, limit, maxBytes int) (store.Page, error) {
	if queue != "q" || x.item.End <= after || x.item.End > through || x.item.Expires != 0 && x.item.Expires <= x.now().Unix() {
		return x.Chunks.Query(ctx, queue, after, through, limit, maxBytes)
	}
	page, err := x.Chunks.Query(ctx, queue, after, x.item.End, limit, maxBytes)
	if err != nil {
		return page, err
	}
	if len(page.Chunks) == 0 {
		return store.Page{}, &store.ChunkError{Chunk: x.item, Err: fmt.Errorf("%w: no start", store.ErrCorrupt)}
	}
	page.More = true
	return page, nil
}

func TestAnItemWhoseEndIsNoIDStopsNothing(t *testing.T) {
	for name, expires := range map[string]bool{"with ttl": true, "without ttl": false} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("q", 0, 3)
			cs := w.chunks("q")
			item := store.Chunk{Queue: "q", End: cs[0].End + "x"}
			if expires {
				item.Expires = cs[0].Expires
			}
			w.write("q", 3, 6)
			w.store.Chunks = odd{w.store.Chunks, item, w.clock}
			gaps := w.passes(w.config("a"), time.Hour, ttl-time.Hour)
			if got := numbers(w.archived("q")); !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) || gaps != 1 {
				t.Errorf("archived %v, %d gaps, letters %+v", got, gaps, w.letters())
			}
		})
	}
}

func TestAnItemWithinAChunkTakesNoneOfItsEvents(t *testing.T) {
	w := newWorld(t)
	w.write("q", 0, 3)
	w.write("q", 3, 6)
	c := w.chunks("q")[1]
	item := store.Chunk{Queue: "q", End: strings.TrimSuffix(c.End, "2") + "1", Expires: c.Expires}
	w.store.Chunks = odd{w.store.Chunks, item, w.clock}
	gaps := w.passes(w.config("a"), time.Hour, ttl-time.Hour)
	if got := numbers(w.archived("q")); !slices.Equal(got, []int{0, 1, 2, 3, 4, 5}) || gaps != 1 {
		t.Errorf("archived %v, %d gaps, letters %+v", got, gaps, w.letters())
	}
}

func TestOfTwoChunksWithTheSameIDsTheOneThatCanBeReadIsArchived(t *testing.T) {
	w := newWorld(t)
	w.pointer("q", payload(0), payload(1), payload(2))
	cs := w.chunks("q")
	if err := w.store.Blobs.Delete(t.Context(), []string{cs[0].Blob.Key}); err != nil {
		t.Fatal(err)
	}
	text := payload(100) + "\n" + payload(101) + "\n" + payload(102) + "\n" + payload(103) + "\n"
	gz := chunk.AppendGzip(nil, []byte(text))
	base := strings.TrimSuffix(cs[0].Start, "0000000")
	over := store.Chunk{Queue: "q", Start: base + "0000000", End: base + "0000003", Records: 4,
		Size: int64(len(text)), GzipSize: int64(len(gz)), Gzip: gz, Expires: cs[0].Expires}
	if err := w.store.Chunks.Put(t.Context(), []store.Chunk{over}); err != nil {
		t.Fatal(err)
	}
	w.write("q", 5, 7)
	w.passes(w.config("a"), time.Hour, ttl-time.Hour)
	if got := numbers(w.archived("q")); !slices.Equal(got, []int{100, 101, 102, 103, 5, 6}) {
		t.Errorf("archived %v", got)
	}
}

// TestWhatCanBeReadDoesNotWaitForTheNextDamage: it would expire meanwhile.
func TestWhatCanBeReadDoesNotWaitForTheNextDamage(t *testing.T) {
	w := newWorld(t)
	w.write("q", 0, 3)
	w.claim("q", 5, payload(3), payload(4)) // has two events, says five
	w.now = w.now.Add(2 * 24 * time.Hour)
	w.pointer("q", payload(8), payload(9))
	if err := w.store.Blobs.Delete(t.Context(), []string{w.chunks("q")[2].Blob.Key}); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(time.Minute)
	w.write("q", 10, 12)
	gaps := w.passes(w.config("a"), time.Hour, ttl-24*time.Hour)
	if got := numbers(w.archived("q")); !slices.Equal(got, []int{0, 1, 2, 3, 4, 10, 11}) {
		t.Errorf("archived %v, %d gaps, letters %+v", got, gaps, w.letters())
	}
}

func TestAChunkThatBeginsAfterItsEndStopsNothingForEver(t *testing.T) {
	w := newWorld(t)
	w.write("q", 0, 3)
	w.write("q", 3, 6)
	end := w.chunks("q")[0].End
	w.store.Chunks = tampering{w.store.Chunks, "q", func(c *store.Chunk) {
		if c.End == end {
			c.Start = "z/2099/01/01/00/00/4070908800000-0000000"
		}
	}}
	w.passes(w.config("a"), time.Hour, ttl-time.Hour)
	if got := numbers(w.archived("q")); !slices.Equal(got, []int{3, 4, 5}) {
		t.Errorf("archived %v", got)
	}
}

// TestALeftoverMakesNoGapBehindIt: what follows names the chunk of its queue that was before it, and not the leftover.
func TestALeftoverMakesNoGapBehindIt(t *testing.T) {
	w := newWorld(t)
	w.write("q", 0, 3)
	cs := w.chunks("q")
	base := strings.TrimSuffix(cs[0].Start, "0000000")
	over := store.Chunk{Queue: "q", Start: base + "0000002", End: base + "0000004", Records: 3,
		Size: 10, GzipSize: 7, Gzip: []byte("rubbish"), Expires: cs[0].Expires}
	if err := w.store.Chunks.Put(t.Context(), []store.Chunk{over}); err != nil {
		t.Fatal(err)
	}
	w.write("q", 5, 7)
	gaps := w.passes(w.config("a"), time.Hour, ttl-time.Hour)
	// It overlaps, and it cannot be read.
	if gaps != 2 || len(w.letters()) != 2 {
		t.Errorf("archived %v, %d gaps, letters %+v", numbers(w.archived("q")), gaps, w.letters())
	}
}
