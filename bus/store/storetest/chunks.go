package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

var chunkTests = []test{
	{"every field of an inline chunk is stored", func(e *env) {
		c := chunk(e.name("q"), 1, 0, 10)
		c.Prev, c.Expires = id(0, 9), time.Now().Add(time.Hour).Unix()
		e.ok(e.Chunks.Put(e.Context(), []store.Chunk{c}))
		e.same(e.all(c.Queue), []store.Chunk{c})
	}},
	{"every field of a blob chunk is stored", func(e *env) {
		c := blobChunk(e.name("q"), 1)
		c.Snapshot, c.Creator, c.Timestamp, c.SourceTimestamp, c.Sealed = base, "firehose", base+1, base+2, true
		e.ok(e.Chunks.Put(e.Context(), []store.Chunk{c}))
		e.same(e.all(c.Queue), []store.Chunk{c})
	}},
	{"every field of an archive chunk is stored", func(e *env) {
		c := blobChunk(e.name("q")+"/_archive", 1)
		c.Archive = true
		for i := range c.Offsets {
			c.Offsets[i].Start, c.Offsets[i].End = 0, 0
			c.Offsets[i].StartID, c.Offsets[i].EndID = c.Start, c.End
		}
		e.ok(e.Chunks.Put(e.Context(), []store.Chunk{c}))
		e.same(e.all(c.Queue), []store.Chunk{c})
	}},
	{"Put replaces a chunk with the same queue and end", func(e *env) {
		q := e.name("q")
		e.ok(e.Chunks.Put(e.Context(), []store.Chunk{chunk(q, 1, 0, 10), chunk(q, 1, 10, 10)}))
		other := chunk(q, 1, 5, 5)
		other.Gzip = []byte("other")
		e.ok(e.Chunks.Put(e.Context(), []store.Chunk{other}))
		e.same(e.all(q), []store.Chunk{other, chunk(q, 1, 10, 10)})
		e.ok(e.Chunks.Put(e.Context(), []store.Chunk{func() store.Chunk { b := blobChunk(q, 1); b.End = other.End; return b }()}))
		if got := e.all(q); got[0].Blob == nil || got[0].Gzip != nil {
			e.Errorf("an inline chunk that a blob chunk replaced came back as %+v", got[0])
		}
	}},
	{"Put takes many chunks of many queues", func(e *env) {
		var list []store.Chunk
		for i := range 130 {
			list = append(list, chunk(e.name(fmt.Sprint("q", i%7)), int64(i), 0, 10))
		}
		e.ok(e.Chunks.Put(e.Context(), list))
		n := 0
		for i := range 7 {
			n += len(e.all(e.name(fmt.Sprint("q", i))))
		}
		e.same(n, len(list))
	}},
	{"Put of nothing does nothing", func(e *env) { e.ok(e.Chunks.Put(e.Context(), nil)) }},
	{"Put refuses invalid chunks and stores the others", func(e *env) {
		for what, spoil := range map[string]func(*store.Chunk){
			"no queue":         func(c *store.Chunk) { c.Queue = "" },
			"no start":         func(c *store.Chunk) { c.Start = "" },
			"no end":           func(c *store.Chunk) { c.End = "" },
			"start after end":  func(c *store.Chunk) { c.Start = c.End + "0" },
			"no records":       func(c *store.Chunk) { c.Records = 0 },
			"negative records": func(c *store.Chunk) { c.Records = -1 },
			"neither":          func(c *store.Chunk) { c.Gzip = nil },
			"both":             func(c *store.Chunk) { b := blobChunk(c.Queue, 1); c.Blob, c.Offsets = b.Blob, b.Offsets },
			"no sections":      func(c *store.Chunk) { c.Gzip, c.Blob = nil, &store.BlobRef{Bucket: "b", Key: "k"} },
		} {
			q := e.name(what)
			list := []store.Chunk{chunk(q, 1, 0, 1), chunk(q, 2, 0, 1), chunk(q, 3, 0, 1)}
			spoil(&list[1])
			err := e.Chunks.Put(e.Context(), list)
			e.is(err, store.ErrInvalid)
			e.failed(err, 1)
			e.same(ends(e.all(q)), []string{id(1, 0), id(3, 0)})
		}
	}},
	{"Put takes inline chunks of MaxInlineItem bytes and refuses larger ones", func(e *env) {
		q := e.name("q")
		list := []store.Chunk{chunk(q, 1, 0, 1), chunk(q, 2, 0, 1)}
		list[0].Gzip = bytes.Repeat([]byte{1, 0, 255}, store.MaxInlineItem/3)
		list[1].Gzip = make([]byte, store.MaxInlineItem+1)
		err := e.Chunks.Put(e.Context(), list)
		e.is(err, store.ErrTooLarge)
		e.failed(err, 1)
		got := e.all(q)
		if len(got) != 1 || !bytes.Equal(got[0].Gzip, list[0].Gzip) {
			e.Error("the largest chunk was not stored as it is")
		}
	}},
	{"Put keeps no hold of what it was given", func(e *env) {
		want := chunk(e.name("q"), 1, 0, 10)
		list := []store.Chunk{chunk(want.Queue, 1, 0, 10), blobChunk(e.name("b"), 1)}
		e.ok(e.Chunks.Put(e.Context(), list))
		copy(list[0].Gzip, "else")
		list[1].Offsets[0].Size = -1
		list[1].Blob.Key = "other"
		got := e.all(want.Queue)
		e.same(got, []store.Chunk{want})
		copy(got[0].Gzip, "YYYY")
		e.same(e.all(want.Queue), []store.Chunk{want})
		e.same(e.all(e.name("b")), []store.Chunk{blobChunk(e.name("b"), 1)})
	}},
	{"Query returns chunks with after < End <= through in order", func(e *env) {
		q := e.name("q")
		var list []store.Chunk
		for _, ms := range []int64{4, 2, 5, 1, 3} {
			list = append(list, chunk(q, ms, 0, 10))
		}
		e.ok(e.Chunks.Put(e.Context(), list))
		end := func(ms int64) string { return id(ms, 9) }
		for _, c := range []struct {
			after, through string
			want           []string
		}{
			{"", last, []string{end(1), end(2), end(3), end(4), end(5)}},
			{"z/", last, []string{end(1), end(2), end(3), end(4), end(5)}},
			{end(2), end(4), []string{end(3), end(4)}},
			{end(2) + " ", end(4), []string{end(3), end(4)}}, // a position strictly after an id
			{id(2, 8), id(4, 8), []string{end(2), end(3)}},   // ids inside chunks
			{end(2), end(2), nil},
			{end(4), end(2), nil},
			{end(5), last, nil},
			{"", "", nil},
			{"", "z/", nil},
		} {
			got, err := all(e.Context(), e.Store, q, c.after, c.through)
			e.ok(err)
			e.same(ends(got), append([]string{}, c.want...))
		}
	}},
	{"Query returns at most limit chunks and says whether more may follow", func(e *env) {
		q := e.name("q")
		for ms := range int64(7) {
			e.ok(e.Chunks.Put(e.Context(), []store.Chunk{chunk(q, ms, 0, 1)}))
		}
		var got []string
		for after, more := "", true; more; {
			p, err := e.Chunks.Query(e.Context(), q, after, last, 3, 0)
			e.ok(err)
			if len(p.Chunks) > 3 {
				e.Fatalf("limit 3 gave %d chunks", len(p.Chunks))
			}
			if n := len(p.Chunks); n > 0 {
				after = p.Chunks[n-1].End
			}
			got, more = append(got, ends(p.Chunks)...), p.More
		}
		e.same(got, ends(e.all(q)))
		p, err := e.Chunks.Query(e.Context(), q, "", last, 100, 0)
		e.ok(err)
		if p.More && len(p.Chunks) == 7 {
			p, err = e.Chunks.Query(e.Context(), q, id(6, 0), last, 100, 0)
			e.ok(err)
		}
		if p.More {
			e.Error("the end of the queue says that more may follow")
		}
	}},
	{"Query returns about maxBytes, and at least one chunk", func(e *env) {
		q := e.name("q")
		for ms := range int64(6) {
			c := chunk(q, ms, 0, 1)
			c.Gzip = make([]byte, 100_000)
			e.ok(e.Chunks.Put(e.Context(), []store.Chunk{c}))
		}
		for maxBytes, most := range map[int]int{1: 1, 100_000: 2, 250_000: 3, 10_000_000: 6} {
			var got []string
			for after, more := "", true; more; {
				p, err := e.Chunks.Query(e.Context(), q, after, last, 0, maxBytes)
				e.ok(err)
				if n := len(p.Chunks); n > most || n == 0 && p.More {
					e.Fatalf("maxBytes %d gave %d chunks of 100 kB", maxBytes, n)
				} else if n > 0 {
					after = p.Chunks[n-1].End
				}
				got, more = append(got, ends(p.Chunks)...), p.More
			}
			e.same(len(got), 6)
		}
	}},
	{"Query sees every acknowledged write at once", func(e *env) {
		q := e.name("q")
		for ms := range int64(e.rounds(100)) {
			e.ok(e.Chunks.Put(e.Context(), []store.Chunk{chunk(q, ms, 0, 1)}))
			p, err := e.Chunks.Query(e.Context(), q, id(ms-1, 0), last, 0, 0)
			e.ok(err)
			e.same(ends(p.Chunks), []string{id(ms, 0)})
		}
	}},
	{"Query hides chunks whose time has passed", func(e *env) {
		q := e.name("q")
		now := time.Now().Unix()
		list := []store.Chunk{chunk(q, 1, 0, 1), chunk(q, 2, 0, 1), chunk(q, 3, 0, 1), chunk(q, 4, 0, 1)}
		list[0].Expires, list[1].Expires, list[3].Expires = now-1, now+1000, now-100_000
		e.ok(e.Chunks.Put(e.Context(), list))
		e.same(ends(e.all(q)), []string{id(2, 0), id(3, 0)})
		p, err := e.Chunks.Query(e.Context(), q, "", id(1, 0), 1, 0)
		e.ok(err)
		e.same(len(p.Chunks), 0)
	}},
	{"Query of an unknown queue is an empty page", func(e *env) {
		p, err := e.Chunks.Query(e.Context(), e.name("none"), "", last, 0, 0)
		e.ok(err)
		e.same(p, store.Page{})
	}},
	{"queues do not mix", func(e *env) {
		q := e.name("q")
		names := []string{q, q + "/_archive", q + "/_snapshot", q + "2", strings.ToUpper(q), q + " ", q + "é%_?"}
		for i, name := range names {
			e.ok(e.Chunks.Put(e.Context(), []store.Chunk{chunk(name, int64(i), 0, 1)}))
		}
		e.ok(e.Chunks.Delete(e.Context(), names[1], []string{id(0, 0), id(2, 0)}))
		for i, name := range names {
			e.same(ends(e.all(name)), []string{id(int64(i), 0)})
		}
	}},
	{"Delete removes chunks, and absent ones are no error", func(e *env) {
		q := e.name("q")
		for ms := range int64(5) {
			e.ok(e.Chunks.Put(e.Context(), []store.Chunk{chunk(q, ms, 0, 1)}))
		}
		e.ok(e.Chunks.Delete(e.Context(), q, []string{id(1, 0), id(3, 0), id(77, 0)}))
		e.ok(e.Chunks.Delete(e.Context(), q, nil))
		e.ok(e.Chunks.Delete(e.Context(), e.name("none"), []string{id(1, 0)}))
		e.same(ends(e.all(q)), []string{id(0, 0), id(2, 0), id(4, 0)})
	}},
	{"Delete takes many ends", func(e *env) {
		q := e.name("q")
		var list []store.Chunk
		for ms := range int64(60) {
			list = append(list, chunk(q, ms, 0, 1))
		}
		e.ok(e.Chunks.Put(e.Context(), list))
		e.ok(e.Chunks.Delete(e.Context(), q, ends(list[:59])))
		e.same(ends(e.all(q)), ends(list[59:]))
	}},
	{"Delete leaves blobs alone", func(e *env) {
		ref, _, err := e.Blobs.Put(e.Context(), e.name("blob"), strings.NewReader("text"))
		e.ok(err)
		c := blobChunk(e.name("q"), 1)
		c.Blob = &ref
		e.ok(e.Chunks.Put(e.Context(), []store.Chunk{c}))
		e.ok(e.Chunks.Delete(e.Context(), c.Queue, []string{c.End}))
		e.same(e.blob(ref, 0, -1), "text")
	}},
}

// failed checks that err is about exactly these items of a batch.
func (e *env) failed(err error, want ...int) {
	e.Helper()
	batch, ok := errors.AsType[*store.BatchError](err)
	if !ok {
		e.Fatalf("got error %v, want a *store.BatchError", err)
	}
	var got []int
	for _, i := range batch.Items {
		got = append(got, i.Index)
	}
	e.same(got, want)
}

// blobChunk returns a chunk of two sections in a blob.
func blobChunk(queue string, ms int64) store.Chunk {
	return store.Chunk{
		Queue: queue, Start: id(ms, 0), End: id(ms, 9), Records: 10, Size: 1000, GzipSize: 150,
		Blob: &store.BlobRef{Bucket: "bucket", Key: "bus/q/<bot>/z/1.gz"},
		Offsets: []store.Offset{
			{Event: queue, Start: 0, End: 3, Records: 4, Size: 400, GzipSize: 70},
			{Event: queue, Start: 4, End: 9, Records: 6, Size: 600, GzipSize: 80, Offset: 400, GzipOffset: 70},
		},
	}
}
