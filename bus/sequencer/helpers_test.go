package sequencer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
)

// idsOf returns the ids of a chunk's events.
func idsOf(t *testing.T, c store.Chunk) []string {
	t.Helper()
	first, err := eid.Parse(c.Start)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range int(c.Records) {
		id, err := first.Add(i)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id.String())
	}
	if ids[len(ids)-1] != c.End {
		t.Errorf("chunk %s..%s does not hold %d events", c.Start, c.End, c.Records)
	}
	return ids
}

// linesOf returns the lines of a chunk.
func linesOf(t *testing.T, st store.Store, c store.Chunk) []string {
	t.Helper()
	gz := c.Gzip
	if c.Blob != nil {
		r, err := st.Blobs.Get(t.Context(), *c.Blob, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if gz, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	text, err := chunk.AppendGunzip(nil, gz, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(text)) != c.Size || int64(len(gz)) != c.GzipSize {
		t.Errorf("chunk %s says %d and %d bytes, has %d and %d", c.End, c.Size, c.GzipSize, len(text), len(gz))
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if int64(len(lines)) != c.Records {
		t.Errorf("chunk %s says %d events, has %d lines", c.End, c.Records, len(lines))
	}
	return lines
}

// line is an event of bot b with number n.
func line(queue string, n int) string {
	return fmt.Sprintf(`{"id":"b","event":%q,"payload":{"n":%d},"timestamp":1704164645000,"event_source_timestamp":1704164645000}`+"\n", queue, n)
}

// plain makes a record of lines.
func plain(sequence int, lines ...string) sequencer.Record {
	return sequencer.Record{
		Sequence: fmt.Sprint(sequence), Arrival: 1704164645678 + int64(sequence), Data: []byte(strings.Join(lines, "")),
	}
}

// zipped makes a record of lines in one gzip member.
func zipped(sequence int, lines ...string) sequencer.Record {
	r := plain(sequence, lines...)
	r.Data = chunk.AppendGzip(nil, r.Data)
	return r
}

// numbers returns the payload numbers of a queue's stored events.
func numbers(t *testing.T, st store.Store, queue string) string {
	t.Helper()
	_, lines := stored(t, st, queue)
	var out []string
	for _, l := range lines {
		_, rest, _ := strings.Cut(l, `"n":`)
		n, _, _ := strings.Cut(rest, "}")
		out = append(out, n)
	}
	return strings.Join(out, " ")
}

// upTo returns "0 1 ... n-1".
func upTo(n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i)
	}
	return strings.Join(out, " ")
}

// errCrash ends a process under test.
var errCrash = errors.New("crash")

// crashing returns a view of st whose writing calls work until the n-th, which fails. With after, that call is carried out
// before it fails. Everything later fails too: the process is dead.
func crashing(st store.Store, n int, after bool) store.Store {
	c := &crash{left: n, after: after}
	st.Atomic = nil
	st.Chunks = crashChunks{st.Chunks, c}
	st.Queues = crashQueues{st.Queues, c}
	st.Bots = crashBots{st.Bots, c}
	st.Blobs = crashBlobs{st.Blobs, c}
	return st
}

type crash struct {
	left  int
	after bool
}

func (c *crash) do(fn func() error) error {
	c.left--
	switch {
	case c.left < 0:
		return errCrash
	case c.left == 0 && !c.after:
		return errCrash
	}
	err := fn()
	if c.left == 0 {
		return errCrash
	}
	return err
}

type crashChunks struct {
	store.Chunks
	c *crash
}

func (p crashChunks) Put(ctx context.Context, chunks []store.Chunk) error {
	// A batch is many writes: it may break off in the middle.
	for i := range chunks {
		if err := p.c.do(func() error { return p.Chunks.Put(ctx, chunks[i:i+1]) }); err != nil {
			return err
		}
	}
	return nil
}

func (p crashChunks) Delete(ctx context.Context, queue string, ends []string) error {
	return p.c.do(func() error { return p.Chunks.Delete(ctx, queue, ends) })
}

type crashQueues struct {
	store.Queues
	c *crash
}

func (p crashQueues) Claim(ctx context.Context, c store.Claim) (g store.Grant, err error) {
	err = p.c.do(func() error { g, err = p.Queues.Claim(ctx, c); return err })
	return g, err
}

func (p crashQueues) Advance(ctx context.Context, a store.Advance) error {
	return p.c.do(func() error { return p.Queues.Advance(ctx, a) })
}

func (p crashQueues) SetArchive(ctx context.Context, queue, end string) error {
	return p.c.do(func() error { return p.Queues.SetArchive(ctx, queue, end) })
}

func (p crashQueues) SetSnapshot(ctx context.Context, queue, start, next string) error {
	return p.c.do(func() error { return p.Queues.SetSnapshot(ctx, queue, start, next) })
}

type crashBots struct {
	store.Bots
	c *crash
}

func (p crashBots) Produced(ctx context.Context, s []store.Produced) error {
	return p.c.do(func() error { return p.Bots.Produced(ctx, s) })
}

type crashBlobs struct {
	store.Blobs
	c *crash
}

func (p crashBlobs) Put(ctx context.Context, key string, r io.Reader) (ref store.BlobRef, n int64, err error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return ref, 0, err
	}
	err = p.c.do(func() error { ref, n, err = p.Blobs.Put(ctx, key, bytes.NewReader(data)); return err })
	return ref, n, err
}
