package rstreams_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// faults fails calls of the ports. Which call of which port is chosen by their common count.
type faults struct {
	mu    sync.Mutex
	calls int
	// fail returns the error of the call with this number, from 0; kind names the operation.
	fail func(call int, kind string) error
	// cut, if over 0, breaks bodies of blobs off after so many bytes, for the next cuts bodies.
	cut  int64
	cuts int
}

func (f *faults) err(kind string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := f.calls
	f.calls++
	if f.fail == nil {
		return nil
	}
	return f.fail(n, kind)
}

func (f *faults) wrap(st store.Store) store.Store {
	st.Chunks = faultyChunks{st.Chunks, f}
	st.Queues = faultyQueues{st.Queues, f}
	st.Bots = faultyBots{st.Bots, f}
	st.Blobs = faultyBlobs{st.Blobs, f}
	return st
}

type faultyChunks struct {
	store.Chunks
	f *faults
}

func (c faultyChunks) Query(ctx context.Context, queue, after, through string, limit, size int) (store.Page, error) {
	if err := c.f.err("query"); err != nil {
		return store.Page{}, err
	}
	return c.Chunks.Query(ctx, queue, after, through, 3, size) // Small pages: more calls to fail.
}

type faultyQueues struct {
	store.Queues
	f *faults
}

func (q faultyQueues) Get(ctx context.Context, queue string) (store.Queue, error) {
	if err := q.f.err("queue"); err != nil {
		return store.Queue{}, err
	}
	return q.Queues.Get(ctx, queue)
}

type faultyBots struct {
	store.Bots
	f *faults
}

func (b faultyBots) Get(ctx context.Context, id string) (store.Bot, error) {
	if err := b.f.err("bot"); err != nil {
		return store.Bot{}, err
	}
	return b.Bots.Get(ctx, id)
}

type faultyBlobs struct {
	store.Blobs
	f *faults
}

func (b faultyBlobs) Get(ctx context.Context, ref store.BlobRef, offset, length int64) (io.ReadCloser, error) {
	if err := b.f.err("blob"); err != nil {
		return nil, err
	}
	body, err := b.Blobs.Get(ctx, ref, offset, length)
	b.f.mu.Lock()
	defer b.f.mu.Unlock()
	if err == nil && b.f.cuts > 0 {
		b.f.cuts--
		return &cutBody{ReadCloser: body, left: b.f.cut}, nil
	}
	return body, err
}

// cutBody is a body whose connection breaks.
type cutBody struct {
	io.ReadCloser
	left int64
}

var errReset = errors.New("connection reset")

func (c *cutBody) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errReset
	}
	n, err := c.ReadCloser.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// mixedBus has inline chunks and objects: 60 events in some 12 chunks.
func mixedBus(t *testing.T, f *faults) *rstreamstest.Bus {
	t.Helper()
	bus := rstreamstest.NewWith(t, rstreamstest.Options{Wrap: f.wrap})
	for i := 0; i < 60; i += 10 {
		payloads := make([]any, 10)
		for k := range payloads {
			p := map[string]any{"i": i + k}
			if k == 4 {
				p["fill"] = strings.Repeat("x", rstreams.MaxInlineEvent)
			}
			payloads[k] = p
		}
		bus.Put("q", payloads...)
	}
	return bus
}

func TestNoFaultGivesAShortRead(t *testing.T) {
	boom := errors.New("boom")
	total := 0
	for n := 0; ; n++ {
		f := &faults{}
		bus := mixedBus(t, f)
		failed := ""
		f.fail = func(call int, kind string) error {
			if call == n {
				failed = kind
				return boom
			}
			return nil
		}
		r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Bot: "reader", From: rstreams.Earliest()})
		_, values, err := read(r)
		if failed == "" {
			if err != nil {
				t.Fatal(err)
			}
			wantRange(t, values, 0, 60)
			if total = n; total < 10 {
				t.Fatalf("only %d calls could fail", total)
			}
			return
		}
		switch {
		case failed == "blob": // Fetching an object is tried again.
			if err != nil {
				t.Fatalf("call %d (%s): %v", n, failed, err)
			}
			wantRange(t, values, 0, 60)
		case !errors.Is(err, boom):
			t.Fatalf("call %d (%s) failed, the read gave %d events and %v", n, failed, len(values), err)
		default:
			wantRange(t, values, 0, len(values))
			if r.Reason() != rstreams.EndError {
				t.Fatalf("reason %v", r.Reason())
			}
			var e *rstreams.Error
			if !errors.As(err, &e) || e.Op != "read" || e.Queue != "q" || e.EID != r.Position() {
				t.Fatalf("error %#v does not tell where", err)
			}
			// The next read goes on exactly there.
			f.fail = nil
			_, rest, err := read(r)
			if err != nil {
				t.Fatal(err)
			}
			wantRange(t, append(values, rest...), 0, 60)
		}
	}
}

func TestThrottlingIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faults{}
		bus := mixedBus(t, f)
		f.fail = func(call int, kind string) error {
			if call%3 != 2 {
				return fmt.Errorf("%s: %w", kind, store.ErrThrottled)
			}
			return nil
		}
		_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Bot: "reader", Start: "z/"}))
		if err != nil {
			t.Fatal(err)
		}
		wantRange(t, values, 0, 60)
	})
}

func TestEndlessThrottlingIsAnError(t *testing.T) {
	for _, kind := range []string{"query", "queue", "bot", "blob"} {
		synctest.Test(t, func(t *testing.T) {
			f := &faults{}
			bus := mixedBus(t, f)
			f.fail = func(_ int, k string) error {
				if k == kind {
					return store.ErrThrottled
				}
				return nil
			}
			_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Bot: "reader", Start: "z/"}))
			if !errors.Is(err, store.ErrThrottled) {
				t.Fatalf("%s: %d events, error %v", kind, len(values), err)
			}
		})
	}
}

func TestBrokenConnectionsAreTakenUpWhereTheyBroke(t *testing.T) {
	for _, cut := range []int64{0, 1, 9, 10, 11, 100, 500, 700} {
		synctest.Test(t, func(t *testing.T) {
			f := &faults{cut: cut, cuts: 3}
			bus := mixedBus(t, f)
			_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", Parallel: 1}))
			if err != nil {
				t.Fatalf("cut after %d bytes: %v", cut, err)
			}
			wantRange(t, values, 0, 60)
		})
	}
}

func TestObjectThatStaysBrokenIsAnErrorThatNamesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &faults{cut: 50, cuts: 1 << 30}
		bus := mixedBus(t, f)
		_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/"}))
		var be *rstreams.BlobError
		if !errors.As(err, &be) || !errors.Is(err, errReset) || be.Queue != "q" || !strings.HasPrefix(be.Key, "bus/q/test-writer/z/") {
			t.Fatalf("error %v", err)
		}
		wantRange(t, values, 0, 4)
	})
}

func TestMissingObjectIsAnErrorAtOnce(t *testing.T) {
	f := &faults{}
	bus := mixedBus(t, f)
	blobs, err := bus.Store().Blobs.List(t.Context(), "bus/q/", "", 100)
	if err != nil || len(blobs) != 6 {
		t.Fatal(len(blobs), err)
	}
	if err := bus.Store().Blobs.Delete(t.Context(), []string{blobs[2].Key}); err != nil {
		t.Fatal(err)
	}
	_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/"}))
	var be *rstreams.BlobError
	if !errors.As(err, &be) || !errors.Is(err, store.ErrNotFound) || be.Key != blobs[2].Key {
		t.Fatalf("error %v", err)
	}
	if len(values)%10 != 4 {
		t.Fatalf("%d events before the missing object", len(values))
	}
}

// chunksOf returns the queue's chunks.
func chunksOf(t *testing.T, bus *rstreamstest.Bus, queue string) []store.Chunk {
	t.Helper()
	page, err := bus.Store().Chunks.Query(t.Context(), queue, "z/", "z9", 1000, 0)
	if err != nil {
		t.Fatal(err)
	}
	return page.Chunks
}

func TestEveryMissingChunkIsAGap(t *testing.T) {
	build := func() *rstreamstest.Bus {
		bus := rstreamstest.New(t)
		for i := 0; i < 50; i += 10 {
			bus.Put("q", numbers(50)[i:i+10]...)
		}
		return bus
	}
	n := len(chunksOf(t, build(), "q"))
	if n != 5 {
		t.Fatalf("%d chunks", n)
	}
	for i := range n {
		bus := build()
		chunks := chunksOf(t, bus, "q")
		if err := bus.Store().Chunks.Delete(t.Context(), "q", []string{chunks[i].End}); err != nil {
			t.Fatal(err)
		}
		// From the beginning, the oldest chunks may have expired; from an event on, nothing may be missing.
		first, err := eid.Parse(chunks[i].Start)
		if err != nil {
			t.Fatal(err)
		}
		for _, start := range []string{"z/", first.String()} {
			r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: start})
			_, values, err := read(r)
			if i == 0 && start == "z/" {
				if err != nil {
					t.Fatal(err)
				}
				wantRange(t, values, 10, 50)
				continue
			}
			var gap *rstreams.GapError
			if !errors.As(err, &gap) || !errors.Is(err, rstreams.ErrGap) || gap.Missing != chunks[i].End {
				t.Fatalf("chunk %d is missing, start %s: %d events, error %v", i, start, len(values), err)
			}
			if start == "z/" {
				wantRange(t, values, 0, 10*i)
			}
			// An operator may have the reader go on.
			var told []*rstreams.GapError
			r = newReader(t, bus.Bus, "q", rstreams.ReadOptions{
				Start: start, Gaps: rstreams.GapSkip, OnGap: func(g *rstreams.GapError) { told = append(told, g) },
			})
			if _, values, err = read(r); err != nil || len(told) != 1 || r.Stats().Gaps != 1 {
				t.Fatalf("with GapSkip: %v, told %d", err, len(told))
			}
			if start != "z/" {
				wantRange(t, values, 10*(i+1), 50)
			}
		}
	}
}

func TestYoungHeadWithoutAnyChunkIsAGap(t *testing.T) {
	bus := rstreamstest.New(t)
	bus.Put("q", number{1})
	if err := bus.Store().Chunks.Delete(t.Context(), "q", []string{chunksOf(t, bus, "q")[0].End}); err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/"})); !errors.Is(err, rstreams.ErrGap) {
		t.Fatalf("error %v", err)
	}
	// A bus whose events may be gone by now cannot tell loss from age.
	old := rstreams.New(bus.Store(), rstreams.Options{Retention: -1})
	if _, values, err := read(newReader(t, old, "q", rstreams.ReadOptions{Start: "z/"})); err != nil || len(values) != 0 {
		t.Fatal(values, err)
	}
}
