package archive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/archive"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/store"
)

const ttl = 7 * 24 * time.Hour

// tampering shows the chunks of a queue other than they are stored.
type tampering struct {
	store.Chunks
	queue string
	with  func(c *store.Chunk)
}

func (x tampering) Query(ctx context.Context, queue, after, through string, limit, maxBytes int) (store.Page, error) {
	page, err := x.Chunks.Query(ctx, queue, after, through, limit, maxBytes)
	page.Chunks = slices.Clone(page.Chunks)
	for i := range page.Chunks {
		if queue == x.queue {
			x.with(&page.Chunks[i])
		}
	}
	return page, err
}

// items shows a queue's index as a backend does where one item is no chunk.
type items struct {
	store.Chunks
	queue, bad string
}

func (x items) Query(ctx context.Context, queue, after, through string, limit, maxBytes int) (store.Page, error) {
	page, err := x.Chunks.Query(ctx, queue, after, through, limit, maxBytes)
	i := slices.IndexFunc(page.Chunks, func(c store.Chunk) bool { return queue == x.queue && c.End == x.bad })
	switch {
	case err != nil || i < 0:
		return page, err
	case i == 0:
		return store.Page{}, &store.ChunkError{Chunk: store.Chunk{Queue: queue, End: x.bad}, Err: fmt.Errorf("%w: no start", store.ErrCorrupt)}
	default:
		return store.Page{Chunks: page.Chunks[:i], More: true}, nil
	}
}

func (w *world) letters() (out []deadletter.Letter) {
	w.t.Helper()
	for _, c := range w.chunks(deadletter.Queue) {
		for _, line := range w.lines(&c) {
			var e struct{ Payload json.RawMessage }
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				w.t.Fatal(err)
			}
			letter, err := deadletter.Parse(e.Payload)
			if err != nil {
				w.t.Fatal(err)
			}
			out = append(out, letter)
		}
	}
	return out
}

func numbers(events []event) (out []int) {
	for _, e := range events {
		out = append(out, e.n)
	}
	return out
}

func payload(n int) string { return fmt.Sprintf(`{"id":"b","event":"q","payload":{"n":%d}}`, n) }

// TestADamagedChunkIsPassedOverBeforeWhatFollowsItExpires: nobody may lose the rest of a queue by one chunk (W-D10).
func TestADamagedChunkIsPassedOverBeforeWhatFollowsItExpires(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(w *world) // makes the second chunk of the queue, events 3 and 4
		kind   error
		want   []int
		raw    string
	}{
		"its object is gone": {func(w *world) {
			w.pointer("q", payload(3), payload(4))
			if err := w.store.Blobs.Delete(w.t.Context(), []string{w.chunks("q")[1].Blob.Key}); err != nil {
				w.t.Fatal(err)
			}
		}, store.ErrNotFound, []int{0, 1, 2, 5, 6}, "s3://memory/bus/q/1.gz"},
		"it has fewer events than it says": {func(w *world) { w.claim("q", 5, payload(3), payload(4)) },
			store.ErrCorrupt, []int{0, 1, 2, 3, 4, 5, 6}, "s3://memory/bus/q/1.gz"},
		"it has more events than it says": {func(w *world) { w.claim("q", 1, payload(3), payload(4)) },
			store.ErrCorrupt, []int{0, 1, 2, 3, 5, 6}, "s3://memory/bus/q/1.gz"},
		"its object is no text": {func(w *world) {
			w.pointer("q", payload(3), payload(4))
			if _, _, err := w.store.Blobs.Put(w.t.Context(), w.chunks("q")[1].Blob.Key, strings.NewReader("rubbish")); err != nil {
				w.t.Fatal(err)
			}
		}, nil, []int{0, 1, 2, 5, 6}, "s3://memory/bus/q/1.gz"},
		"it is inline and damaged": {func(w *world) {
			w.put(payload(3) + "\n" + payload(4) + "\n")
			end := w.chunks("q")[1].End
			w.store.Chunks = tampering{w.store.Chunks, "q", func(c *store.Chunk) {
				if c.End == end {
					c.Gzip = []byte("rubbish")
				}
			}}
		}, store.ErrCorrupt, []int{0, 1, 2, 5, 6}, "rubbish"},
		"its start is no id": {func(w *world) {
			w.put(payload(3) + "\n" + payload(4) + "\n")
			end := w.chunks("q")[1].End
			w.store.Chunks = tampering{w.store.Chunks, "q", func(c *store.Chunk) {
				if c.End == end {
					c.Start = "z/x"
				}
			}}
		}, store.ErrCorrupt, []int{0, 1, 2, 5, 6}, ""},
		"its item is no chunk": {func(w *world) {
			w.put(payload(3) + "\n" + payload(4) + "\n")
			w.store.Chunks = items{w.store.Chunks, "q", w.chunks("q")[1].End}
		}, store.ErrCorrupt, []int{0, 1, 2, 5, 6}, ""},
		"its bucket is another's": {func(w *world) {
			w.pointer("q", payload(3), payload(4))
			w.store.Chunks = tampering{w.store.Chunks, "q", func(c *store.Chunk) {
				if c.Blob != nil {
					c.Blob = &store.BlobRef{Bucket: "other", Key: "k"}
				}
			}}
		}, store.ErrInvalid, []int{0, 1, 2, 5, 6}, "s3://other/k"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("q", 0, 3)
			c.damage(w)
			made := w.now
			bad := w.chunks("q")[1]
			w.write("q", 5, 7)
			for _, age := range []time.Duration{2 * time.Hour, ttl/4*3 - time.Second} {
				w.now = made.Add(age)
				res, err := archive.New(w.store, w.config("a")).Run(t.Context())
				if err == nil || c.kind != nil && !errors.Is(err, c.kind) || !strings.Contains(err.Error(), bad.End) {
					t.Fatalf("after %v: %+v, %v", age, res, err)
				}
				if got := numbers(w.archived("q")); !slices.Equal(got, c.want[:3]) || res.Gaps != 0 || res.Behind < age {
					t.Errorf("after %v: archived %v, %+v", age, got, res)
				}
			}
			w.now = made.Add(ttl / 4 * 3)
			res, err := archive.New(w.store, w.config("a")).Run(t.Context())
			if err != nil || res.Gaps != 1 || res.Behind != 0 {
				t.Fatalf("%+v, %v", res, err)
			}
			w.now = w.now.Add(time.Hour)
			if res, err := archive.New(w.store, w.config("a")).Run(t.Context()); err != nil || res.Gaps != 0 || res.Behind != 0 {
				t.Errorf("afterwards: %+v, %v", res, err)
			}
			if got := numbers(w.archived("q")); !slices.Equal(got, c.want) {
				t.Errorf("archived %v, want %v", got, c.want)
			}
			letters := w.letters()
			if len(letters) != 1 {
				t.Fatalf("letters %+v", letters)
			}
			l := letters[0]
			if l.Reason != deadletter.ReasonChunk || l.Queue != "q" || l.EID != bad.Start || !strings.Contains(l.Error, bad.End) ||
				l.At != made.Add(ttl/4*3).UnixMilli() || c.raw != "" && string(l.Bytes()) != c.raw || len(l.Bytes()) == 0 {
				t.Errorf("letter %+v", l)
			}
		})
	}
}

// failing is a storage that fails for now.
type failing struct {
	store.Blobs
	open, read error
}

func (f failing) Get(context.Context, store.BlobRef, int64, int64) (io.ReadCloser, error) {
	if f.open != nil {
		return nil, f.open
	}
	return io.NopCloser(io.MultiReader(bytes.NewReader([]byte("\x1f\x8b")), errorReader{f.read})), nil
}

type errorReader struct{ err error }

func (r errorReader) Read([]byte) (int, error) { return 0, r.err }

func TestAStorageThatFailsIsNoDamageHoweverOldTheChunkIs(t *testing.T) {
	for _, cause := range []error{store.ErrUnavailable, store.ErrThrottled, store.ErrConflict, context.DeadlineExceeded, io.ErrUnexpectedEOF} {
		for _, f := range []failing{{open: cause}, {read: cause}} {
			w := newWorld(t)
			w.pointer("q", payload(0))
			w.write("q", 1, 2)
			made := w.now
			w.now = made.Add(ttl - time.Hour)
			blobs := w.store.Blobs
			f.Blobs = blobs
			w.store.Blobs = f
			if res, err := archive.New(w.store, w.config("a")).Run(t.Context()); !errors.Is(err, cause) || res.Gaps != 0 || res.Events != 0 {
				t.Errorf("%v: %+v, %v", cause, res, err)
			}
			w.store.Blobs = blobs
			if res, err := archive.New(w.store, w.config("a")).Run(t.Context()); err != nil || res.Events != 2 || len(w.letters()) != 0 {
				t.Errorf("%v, afterwards: %+v, %v", cause, res, err)
			}
		}
	}
}

// TestDamageAtTheEndOfAQueueIsAnErrorUntilSomethingFollowsIt: no end of an archive can be published without an event.
func TestDamageAtTheEndOfAQueueIsAnErrorUntilSomethingFollowsIt(t *testing.T) {
	w := newWorld(t)
	w.pointer("q", payload(0))
	if err := w.store.Blobs.Delete(t.Context(), []string{w.chunks("q")[0].Blob.Key}); err != nil {
		t.Fatal(err)
	}
	w.now = w.now.Add(ttl / 8 * 7)
	for range 2 {
		if res, err := archive.New(w.store, w.config("a")).Run(t.Context()); !errors.Is(err, store.ErrNotFound) || res.Gaps != 0 || res.BehindQueue != "q" {
			t.Fatalf("%+v, %v", res, err)
		}
	}
	w.write("q", 1, 2)
	w.now = w.now.Add(2 * time.Hour)
	res, err := archive.New(w.store, w.config("a")).Run(t.Context())
	if err != nil || res.Gaps != 1 || len(w.letters()) != 1 || !slices.Equal(numbers(w.archived("q")), []int{1}) {
		t.Errorf("%+v, %v, %+v", res, err, w.letters())
	}
}

func TestNothingIsPassedOverWhereEventsStayForEver(t *testing.T) {
	w := newWorld(t)
	w.ttl = -1
	w.claim("q", 2, payload(0))
	w.write("q", 2, 3)
	w.now = w.now.Add(ttl / 4 * 3)
	cfg := w.config("a")
	if res, err := archive.New(w.store, cfg).Run(t.Context()); !errors.Is(err, store.ErrCorrupt) || res.Events != 0 || res.Gaps != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}
