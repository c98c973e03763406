package rstreams_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// rewrite replaces the text of the queue's first chunk.
func rewrite(t *testing.T, bus *rstreamstest.Bus, queue string, edit func(lines []string) []string) {
	t.Helper()
	c := chunksOf(t, bus, queue)[0]
	text, err := chunk.AppendGunzip(nil, c.Gzip, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	lines = edit(lines[:len(lines)-1])
	c.Gzip = chunk.AppendGzip(nil, []byte(strings.Join(lines, "")))
	if err := bus.Store().Chunks.Put(t.Context(), []store.Chunk{c}); err != nil {
		t.Fatal(err)
	}
}

// damage makes lines of the queue's first chunk unreadable.
func damage(t *testing.T, bus *rstreamstest.Bus, queue string, indexes ...int) {
	t.Helper()
	rewrite(t, bus, queue, func(lines []string) []string {
		for _, i := range indexes {
			lines[i] = fmt.Sprintf("{\"damaged\":%d\n", i)
		}
		return lines
	})
}

func TestMalformedLines(t *testing.T) {
	for _, indexes := range [][]int{{0}, {2}, {4}, {0, 1, 2, 3, 4}} {
		var good []int
		for i := range 5 {
			if !bytes.Contains([]byte(fmt.Sprint(indexes)), fmt.Append(nil, i)) {
				good = append(good, i)
			}
		}
		bus := rstreamstest.New(t)
		ids := bus.Put("q", numbers(5)...)
		damage(t, bus, "q", indexes...)

		_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/"}))
		var le *rstreams.LineError
		if !errors.As(err, &le) || !errors.Is(err, rstreams.ErrMalformed) || le.EID != ids[indexes[0]] ||
			le.Line != int64(indexes[0]+1) || le.Queue != "q" || string(le.Text) != fmt.Sprintf("{\"damaged\":%d", indexes[0]) {
			t.Fatalf("%v: %v", indexes, err)
		}
		wantRange(t, values, 0, indexes[0])

		var told []string
		r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{
			Start: "z/", Malformed: rstreams.MalformedSkip, OnMalformed: func(le *rstreams.LineError) { told = append(told, le.EID) },
		})
		_, values, err = read(r)
		if err != nil || fmt.Sprint(values) != fmt.Sprint(good) || len(told) != len(indexes) || r.Stats().Malformed != int64(len(indexes)) ||
			r.Position() != ids[4] {
			t.Fatalf("%v: %v %v %v %v", indexes, values, told, r.Position(), err)
		}

		r = newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", Bot: "reader", Malformed: rstreams.MalformedDeadLetter})
		if _, values, err = read(r); err != nil || fmt.Sprint(values) != fmt.Sprint(good) {
			t.Fatalf("%v: %v %v", indexes, values, err)
		}
		letters := bus.Events(deadletter.Queue)
		if len(letters) != len(indexes) {
			t.Fatalf("%d letters", len(letters))
		}
		for i, e := range letters {
			l, err := deadletter.Parse(e.Payload)
			if err != nil || l.EID != ids[indexes[i]] || l.Bot != "reader" || l.Raw != fmt.Sprintf("{\"damaged\":%d", indexes[i]) {
				t.Fatalf("%+v %v", l, err)
			}
		}
		// Positions behind the damage count it.
		for i, id := range ids {
			r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: id, Malformed: rstreams.MalformedSkip})
			got, _, err := read(r)
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range got {
				if g <= id {
					t.Fatalf("after %s came %s", ids[i], g)
				}
			}
		}
	}
}

// throttledIntake refuses every record while refuse is set.
type throttledIntake struct {
	store.Intake
	refuse *atomic.Bool
}

func (i throttledIntake) Put(ctx context.Context, records []store.Record) ([]store.Ack, error) {
	if i.refuse.Load() {
		return nil, fmt.Errorf("%w: always", store.ErrThrottled)
	}
	return i.Intake.Put(ctx, records)
}

// throttled returns a bus whose intake refuses what the program writes while refuse is set.
func throttled(t *testing.T) (bus *rstreamstest.Bus, refuse *atomic.Bool) {
	t.Helper()
	refuse = &atomic.Bool{}
	return rstreamstest.NewWith(t, rstreamstest.Options{Wrap: func(st store.Store) store.Store {
		st.Intake = throttledIntake{st.Intake, refuse}
		return st
	}}), refuse
}

func TestReadEndsInTimeAlthoughItsDeadLettersAreRefused(t *testing.T) {
	for _, stops := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			bus, refuse := throttled(t)
			ids := bus.Put("q", numbers(3)...)
			damage(t, bus, "q", 1)
			refuse.Store(true)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			o := rstreams.ReadOptions{Start: "z/", Malformed: rstreams.MalformedDeadLetter}
			if stops {
				ctx, o.RunTime = t.Context(), time.Second
			}
			r := newReader(t, bus.Bus, "q", o)
			begin := time.Now()
			var last error
			for _, err := range r.All(ctx) {
				last = err
			}
			if took := time.Since(begin); took != time.Second || stops != (last == nil) || r.Position() != ids[0] {
				t.Fatalf("the read took %s and ended at %s with %v", took, r.Position(), last)
			}
			if want := map[bool]rstreams.EndReason{true: rstreams.EndTime, false: rstreams.EndCanceled}[stops]; r.Reason() != want {
				t.Fatal(r.Reason())
			}
			// The line was not passed over: the next loop gives up on it in order.
			refuse.Store(false)
			if _, values, err := read(r); err != nil || fmt.Sprint(values) != "[2]" || len(bus.Events(deadletter.Queue)) != 1 {
				t.Fatal(values, err)
			}
		})
	}
}

func TestChunksThatContradictThemselvesAreCorrupt(t *testing.T) {
	for name, edit := range map[string]func([]string) []string{
		"a line is missing":     func(l []string) []string { return l[:4] },
		"a line is too many":    func(l []string) []string { return append(l, l[4]) },
		"lines are swapped":     func(l []string) []string { l[1], l[2] = l[2], l[1]; return l },
		"all lines are missing": func([]string) []string { return nil },
		"a line has a text id":  func(l []string) []string { l[2] = strings.Replace(l[2], `"eid":2`, `"eid":"2"`, 1); return l },
	} {
		bus := rstreamstest.New(t)
		bus.Put("q", numbers(5)...)
		rewrite(t, bus, "q", edit)
		_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", Malformed: rstreams.MalformedSkip}))
		if !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v, %v", name, values, err)
		}
	}
	for name, edit := range map[string]func(*store.Chunk){
		"too many records": func(c *store.Chunk) { c.Records++ },
		"an id is bad":     func(c *store.Chunk) { c.Start = "z/2024/x" },
		"damaged gzip":     func(c *store.Chunk) { c.Gzip[len(c.Gzip)/2] ^= 0xff },
		"truncated gzip":   func(c *store.Chunk) { c.Gzip = c.Gzip[:len(c.Gzip)-9] },
	} {
		bus := rstreamstest.New(t)
		bus.Put("q", numbers(5)...)
		c := chunksOf(t, bus, "q")[0]
		edit(&c)
		if err := bus.Store().Chunks.Put(t.Context(), []store.Chunk{c}); err != nil {
			t.Fatal(err)
		}
		_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", Malformed: rstreams.MalformedSkip}))
		if !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: %v, %v", name, values, err)
		}
	}
}

func TestBlankLinesAndCarriageReturnsAreNoEvents(t *testing.T) {
	bus := rstreamstest.New(t)
	bus.Put("q", numbers(5)...)
	rewrite(t, bus, "q", func(l []string) []string {
		for i := range l {
			l[i] = strings.TrimSuffix(l[i], "\n") + "\r\n"
		}
		l[4] = strings.TrimSuffix(l[4], "\r\n")
		return append([]string{"\n"}, append(l[:2], append([]string{"\r\n"}, l[2:]...)...)...)
	})
	_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/"}))
	if err != nil {
		t.Fatal(err)
	}
	wantRange(t, values, 0, 5)
}

func TestOverlappingChunksAreCorrupt(t *testing.T) {
	bus := rstreamstest.New(t)
	bus.Put("q", numbers(5)...)
	first := chunksOf(t, bus, "q")[0]
	bus.Put("q", numbers(5)...)
	second := chunksOf(t, bus, "q")[1]
	// A retry that cut its chunks otherwise: three events again, under a later end.
	again := first
	again.End = strings.TrimSuffix(first.End, "4") + "7"
	again.Start = strings.TrimSuffix(first.End, "4") + "3"
	again.Prev = ""
	if err := bus.Store().Chunks.Put(t.Context(), []store.Chunk{again}); err != nil {
		t.Fatal(err)
	}
	_, values, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/"}))
	if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "overlap") {
		t.Fatalf("%v %v, next chunk %s", values, err, second.Start)
	}
	wantRange(t, values, 0, 5)
	// So it is for whoever goes on at the end of the first of them, which is within the second.
	_, values, err = read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: first.End}))
	if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "overlap") || len(values) != 0 {
		t.Fatal(values, err)
	}
}

func TestRunThatMetOverlappingChunksMeetsThemAgain(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("in", numbers(5)...)
	bus.Put("in", number{5})
	again := chunksOf(t, bus, "in")[0]
	again.Start, again.End = ids[3], strings.TrimSuffix(ids[4], "4")+"7"
	if err := bus.Store().Chunks.Put(t.Context(), []store.Chunk{again}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := bus.Bus.Enrich(t.Context(), enrichOptions(), double)
		if !errors.Is(err, store.ErrCorrupt) || bus.Position("bot", "in") != ids[4] {
			t.Fatal(err, bus.Position("bot", "in"))
		}
	}
	// Who passes over gaps is told, and gets what lies behind.
	o := enrichOptions()
	var gaps []*rstreams.GapError
	o.Read.Gaps, o.Read.OnGap = rstreams.GapSkip, func(g *rstreams.GapError) { gaps = append(gaps, g) }
	var got []string
	_, err := bus.Bus.Enrich(t.Context(), o, func(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
		got = append(got, e.EID)
		return rstreams.Handled(), nil
	})
	if err != nil || len(got) != 4 || got[2] != again.End || len(gaps) != 1 || gaps[0].After != ids[3] || gaps[0].Missing != ids[4] {
		t.Fatal(got, gaps, err)
	}
}
