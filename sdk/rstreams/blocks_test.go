package rstreams

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/rstreams-go/rstreams/bus/store"
)

// TestBlocksKeepEveryLine cuts random texts with all kinds of block sizes and reads, and puts the lines together again.
func TestBlocksKeepEveryLine(t *testing.T) {
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		maxLine := 5 + rnd.IntN(40)
		var text strings.Builder
		var want []string
		for range rnd.IntN(12) {
			line := strings.Repeat(string(rune('a'+rnd.IntN(26))), rnd.IntN(2*maxLine))
			text.WriteString(line + "\n")
			want = append(want, line)
		}
		if rnd.IntN(2) == 0 && len(want) > 0 { // The last newline may be missing.
			s := strings.TrimSuffix(text.String(), "\n")
			text.Reset()
			text.WriteString(s)
			if want[len(want)-1] == "" {
				want = want[:len(want)-1]
			}
		}
		var source io.Reader = strings.NewReader(text.String())
		switch rnd.IntN(4) {
		case 0:
			source = iotest.OneByteReader(source)
		case 1:
			source = iotest.HalfReader(source)
		case 2:
			source = iotest.DataErrReader(source)
		}
		remaining := int64(text.Len() + rnd.IntN(20) - 10) // What the index says may be wrong.
		u := &unit{pieces: make(chan piece, 1000), maxLine: maxLine}
		done := int64(0)
		b := blocks{u: u, part: &part{chunk: &store.Chunk{}}, done: &done, block: 1 + rnd.IntN(30), maxLine: maxLine}
		if err := b.copy(context.Background(), source, remaining); err != nil {
			t.Fatal(err)
		}
		close(u.pieces)
		var got []string
		ended := false
		for p := range u.pieces {
			if ended {
				t.Fatalf("seed %d: a piece after the last", seed)
			}
			ended = p.last
			if p.long {
				got = append(got, "(long)")
			}
			for line := range bytes.Lines(p.text) {
				got = append(got, strings.TrimSuffix(string(line), "\n"))
			}
		}
		if !ended || done != int64(text.Len()) {
			t.Fatalf("seed %d: ended %v, %d of %d bytes", seed, ended, done, text.Len())
		}
		// A line over the limit may arrive whole (the reader refuses it later) or as long; a line within it arrives.
		if len(got) != len(want) {
			t.Fatalf("seed %d: %d lines, want %d\n%q\n%q", seed, len(got), len(want), got, want)
		}
		for i := range want {
			if got[i] != want[i] && (got[i] != "(long)" || len(want[i]) <= maxLine) {
				t.Fatalf("seed %d, line %d: %q, want %q (limit %d)", seed, i, got[i], want[i], maxLine)
			}
		}
	}
}

func TestBlocksPassTheErrorOfABrokenText(t *testing.T) {
	for _, broken := range []error{io.ErrUnexpectedEOF, io.ErrClosedPipe} {
		for n := range 20 {
			source := io.MultiReader(strings.NewReader(strings.Repeat("x", n)), iotest.ErrReader(broken))
			u := &unit{pieces: make(chan piece, 100)}
			done := int64(0)
			b := blocks{u: u, part: &part{chunk: &store.Chunk{}}, done: &done, block: 10, maxLine: 100}
			if err := b.copy(context.Background(), source, 40); err != broken {
				t.Fatalf("after %d bytes: %v", n, err)
			}
		}
	}
}

func TestBackoffGrowsToItsBound(t *testing.T) {
	b := Backoff{First: 100, Max: 1000}
	for failures, want := range map[int]int64{1: 100, 2: 200, 3: 400, 4: 800, 5: 1000, 40: 1000, 1000: 1000} {
		for range 100 {
			if d := int64(b.delay(failures)); d < want/2 || d > want {
				t.Fatalf("after %d failures: %d, want %d to %d", failures, d, want/2, want)
			}
		}
	}
}

func TestErrorsAreWrappedOnce(t *testing.T) {
	inner := wrap("read", "q", "z/1", io.EOF)
	if got := wrap("enrich", "r", "", inner); got != inner {
		t.Fatal(got)
	}
	if got := inner.Error(); got != "rstreams: read queue q at z/1: EOF" {
		t.Fatal(got)
	}
	if wrap("read", "", "", nil) != nil {
		t.Fatal("nil became an error")
	}
}

func TestTrackerMovesOverDurableEventsOnly(t *testing.T) {
	var tr tracker
	a, b := newBatch("q"), newBatch("q")
	at := func(i int) progress { return progress{position: fmt.Sprint(i), units: 1} }
	tr.handled(at(1), nil)
	tr.handled(at(2), []*batch{a})
	tr.handled(at(3), []*batch{a, b})
	tr.handled(at(4), nil)
	tr.hold(at(5))
	tr.handled(at(6), []*batch{b})
	check := func(position string, units int64) {
		t.Helper()
		p, err := tr.take()
		if err != nil || p.position != position || p.units != units {
			t.Fatalf("%+v %v, want %s %d", p, err, position, units)
		}
		tr.giveBack(p)
	}
	check("1", 1)
	close(b.done) // The later chunk is durable first.
	check("1", 1)
	if p, _ := tr.take(); p.position != "1" {
		t.Fatal(p)
	}
	check("", 0)
	close(a.done)
	check("6", 5)
	if len(tr.marks) != 0 {
		t.Fatal(tr.marks)
	}
	c := newBatch("q")
	c.err = io.EOF
	close(c.done)
	tr.handled(at(7), []*batch{c})
	if p, err := tr.take(); err == nil || p.position != "6" {
		t.Fatal(p, err)
	}
}

func TestTrackerJoinsEventsOfOneChunk(t *testing.T) {
	var tr tracker
	b := newBatch("q")
	for i := range 1000 {
		tr.handled(progress{position: fmt.Sprint(i)}, []*batch{b})
	}
	if len(tr.marks) != 1 || !slices.Equal(tr.marks[0].chunks, []*batch{b}) || tr.marks[0].position != "999" {
		t.Fatal(tr.marks)
	}
}
