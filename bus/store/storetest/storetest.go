// Package storetest states what the ports of package store promise, as a suite that every backend must pass: each sentence
// of their comments is a subtest. A backend's test calls Run, and RunProcesses if several processes may share its storage.
package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Options are a backend's documented differences. The zero value is the strictest.
type Options struct {
	// Scale multiplies the number of rounds of racing tests; 0 means 1. A slow backend takes a fraction.
	Scale float64
	// Patience is how long a test waits for what must come, such as a change of the feed, before it fails; 0 means 30 s.
	Patience time.Duration
	// FeedByTable says that the feed keeps the order of commits for each kind of change only, and may tell a change again: each
	// table has a stream of its own.
	FeedByTable bool
}

// Run runs the suite. open returns the storage under test, closed by t.Cleanup; it may return the same one again, for the
// suite gives every subtest its own names. Its clock must be the real one. Where Atomic is nil its tests do not exist.
func Run(t *testing.T, open func(t *testing.T) store.Store) { RunWith(t, Options{}, open) }

// RunWith is Run for a backend with differences.
func RunWith(t *testing.T, o Options, open func(t *testing.T) store.Store) {
	if o.Scale == 0 {
		o.Scale = 1
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Second
	}
	groups := []struct {
		name  string
		tests []test
	}{
		{"Chunks", chunkTests}, {"Queues", queueTests}, {"Sequencing", sequencingTests}, {"Bots", botTests},
		{"Checkpoints", checkpointTests}, {"Runs", runTests}, {"Settings", settingsTests}, {"Systems", systemTests},
		{"Blobs", blobTests},
		{"Feed", feedTests}, {"Contexts", contextTests},
	}
	if open(t).Atomic != nil {
		groups = append(groups, struct {
			name  string
			tests []test
		}{"Atomic", atomicTests})
	}
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			for _, test := range g.tests {
				t.Run(test.name, func(t *testing.T) {
					t.Parallel()
					test.run(&env{T: t, Store: open(t), o: o, prefix: "t" + strings.ToLower(rand.Text()[:10])})
				})
			}
		})
	}
}

// test is one sentence.
type test struct {
	name string
	run  func(e *env)
}

// env is what a test works with.
type env struct {
	*testing.T
	store.Store
	o      Options
	prefix string
}

// name returns a name that no other test uses. Names sort as their bases do.
func (e *env) name(base string) string { return e.prefix + "-" + base }

// rounds scales a number of rounds.
func (e *env) rounds(n int) int { return max(2, int(float64(n)*e.o.Scale)) }

func (e *env) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatalf("unexpected error: %v", err)
	}
}

// is checks that err is of the kind and, as errors are shown to people, has a text of one line.
func (e *env) is(err, kind error) {
	e.Helper()
	if !errors.Is(err, kind) {
		e.Fatalf("got error %v, want %v", err, kind)
	}
	if strings.Contains(err.Error(), "\n") {
		e.Errorf("the error is not one line: %q", err)
	}
}

// same compares two values; an empty map or slice equals a nil one.
func (e *env) same(got, want any) {
	e.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
		e.Fatalf("difference (-want +got):\n%s", d)
	}
}

// soon returns a context that makes a test fail rather than hang.
func (e *env) soon() context.Context {
	ctx, cancel := context.WithTimeout(e.Context(), e.o.Patience)
	e.Cleanup(cancel)
	return ctx
}

// base is the ms of the ids that tests use.
const base = 1_795_228_519_000

// id returns the event id with the given ms after base and counter.
func id(ms int64, counter int) string {
	i, err := eid.New(base+ms, counter)
	if err != nil {
		panic(err)
	}
	return i.String()
}

// chunk returns an inline chunk of n events whose base is ms.
func chunk(queue string, ms int64, from, n int) store.Chunk {
	return store.Chunk{
		Queue: queue, Start: id(ms, from), End: id(ms, from+n-1), Records: int64(n),
		Size: int64(n) * 100, GzipSize: 20, Gzip: []byte("twenty bytes of gzip"),
	}
}

// ends returns the chunks' ends.
func ends(chunks []store.Chunk) []string {
	out := make([]string, len(chunks))
	for i, c := range chunks {
		out[i] = c.End
	}
	return out
}

// all reads a range of a queue page by page.
func all(ctx context.Context, s store.Store, queue, after, through string) ([]store.Chunk, error) {
	var out []store.Chunk
	for {
		p, err := s.Chunks.Query(ctx, queue, after, through, 0, 0)
		if err != nil {
			return nil, err
		}
		out = append(out, p.Chunks...)
		if !p.More {
			return out, nil
		}
		if n := len(p.Chunks); n > 0 {
			if p.Chunks[n-1].End <= after {
				return nil, fmt.Errorf("a page after %s ends at %s", after, p.Chunks[n-1].End)
			}
			after = p.Chunks[n-1].End
		}
	}
}

// last is a position after every id.
const last = "z/9999"

// all reads a whole queue.
func (e *env) all(queue string) []store.Chunk {
	e.Helper()
	out, err := all(e.Context(), e.Store, queue, "", last)
	e.ok(err)
	return out
}
