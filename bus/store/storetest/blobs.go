package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/rstreams-go/rstreams/bus/store"
)

var blobTests = []test{
	{"Put stores what the reader holds and returns its reference and size", func(e *env) {
		for _, text := range []string{"", "x", strings.Repeat("0123456789", 100_000)} {
			ref, size, err := e.Blobs.Put(e.Context(), e.name("k"), onlyReader{strings.NewReader(text)})
			e.ok(err)
			e.same(size, int64(len(text)))
			e.same(ref.Key, e.name("k"))
			e.same(e.blob(ref, 0, -1), text)
		}
	}},
	{"keys may hold anything that S3 takes", func(e *env) {
		for _, k := range []string{"a", "a/b", "A", "a/", "a//b", "a/../../../etc/x", "..", ".", "a:b", "q=é ü/dt=2026-11-21/1.gz",
			"con", "x\\y", "%2e%2e/", "b/" + strings.Repeat("long", 150), "sp ace", "<>|*?\"'", "trailing."} {
			key := e.name(k)
			ref, _, err := e.Blobs.Put(e.Context(), key, strings.NewReader(k))
			e.ok(err)
			e.same(ref.Key, key)
		}
		e.same(e.blob(e.ref("a"), 0, -1), "a")
		e.same(e.blob(e.ref("A"), 0, -1), "A")
		e.same(e.blob(e.ref("a/../../../etc/x"), 0, -1), "a/../../../etc/x")
	}},
	{"keys that S3 refuses are refused", func(e *env) {
		for _, k := range []string{"", strings.Repeat("k", 1025), "bad \xff utf"} {
			_, _, err := e.Blobs.Put(e.Context(), k, strings.NewReader("x"))
			e.is(err, store.ErrInvalid)
		}
	}},
	{"Get returns ranges, and one that ends past the object ends with it", func(e *env) { // C70
		const text = "0123456789"
		ref, _, err := e.Blobs.Put(e.Context(), e.name("k"), strings.NewReader(text))
		e.ok(err)
		for _, r := range []struct {
			offset, length int64
			want           string
		}{
			{0, -1, text}, {0, 10, text}, {0, 11, text}, {3, 4, "3456"}, {3, -1, "3456789"}, {3, -5, "3456789"},
			{9, 1, "9"}, {9, 2, "9"}, {9, 1 << 40, "9"}, {0, 0, ""}, {5, 0, ""}, {10, -1, ""}, {10, 5, ""},
		} {
			e.same(e.blob(ref, r.offset, r.length), r.want)
		}
		for _, offset := range []int64{11, 1 << 40, -1} {
			_, err := e.Blobs.Get(e.Context(), ref, offset, 1)
			e.is(err, store.ErrInvalid)
		}
	}},
	{"Get of a missing blob is ErrNotFound, of another bucket ErrInvalid", func(e *env) {
		ref, _, err := e.Blobs.Put(e.Context(), e.name("k"), strings.NewReader("x"))
		e.ok(err)
		_, err = e.Blobs.Get(e.Context(), store.BlobRef{Bucket: ref.Bucket, Key: e.name("none")}, 0, -1)
		e.is(err, store.ErrNotFound)
		_, err = e.Blobs.Get(e.Context(), store.BlobRef{Bucket: "not-" + ref.Bucket, Key: ref.Key}, 0, -1)
		e.is(err, store.ErrInvalid)
	}},
	{"nothing of a failed Put is left", func(e *env) {
		boom := errors.New("boom")
		failing := io.MultiReader(strings.NewReader("half of it"), failingReader{boom})
		_, _, err := e.Blobs.Put(e.Context(), e.name("new"), failing)
		e.is(err, boom)
		_, err = e.Blobs.Get(e.Context(), e.ref("new"), 0, -1)
		e.is(err, store.ErrNotFound)

		ref, _, err := e.Blobs.Put(e.Context(), e.name("old"), strings.NewReader("old text"))
		e.ok(err)
		_, _, err = e.Blobs.Put(e.Context(), e.name("old"), io.MultiReader(strings.NewReader("new"), failingReader{boom}))
		e.is(err, boom)
		e.same(e.blob(ref, 0, -1), "old text")
		list, err := e.Blobs.List(e.Context(), e.prefix, "", 0)
		e.ok(err)
		e.same(list, []store.BlobInfo{{Key: e.name("old"), Size: 8}})
	}},
	{"a Put whose context ends midway leaves nothing", func(e *env) {
		ctx, cancel := context.WithCancel(e.Context())
		r := io.MultiReader(strings.NewReader("half"), readerFunc(func([]byte) (int, error) { cancel(); return 0, nil }),
			readerFunc(func([]byte) (int, error) { return 0, ctx.Err() }))
		_, _, err := e.Blobs.Put(ctx, e.name("k"), r)
		e.is(err, context.Canceled)
		_, err = e.Blobs.Get(e.Context(), e.ref("k"), 0, -1)
		e.is(err, store.ErrNotFound)
	}},
	{"a reader sees the whole old blob or the whole new one", func(e *env) {
		text := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i%26)}, 50_000) }
		ref, _, err := e.Blobs.Put(e.Context(), e.name("k"), bytes.NewReader(text(0)))
		e.ok(err)
		var wg sync.WaitGroup
		done := make(chan struct{})
		wg.Go(func() {
			defer close(done)
			for i := range e.rounds(50) {
				if _, _, err := e.Blobs.Put(e.Context(), ref.Key, bytes.NewReader(text(i))); err != nil {
					e.Error(err)
					return
				}
			}
		})
		for range 2 {
			wg.Go(func() {
				for running := true; running; {
					select {
					case <-done:
						running = false
					default:
					}
					got, err := e.readBlob(ref, 0, -1)
					if err != nil || len(got) != 50_000 || strings.Count(got, got[:1]) != len(got) {
						e.Errorf("read %d bytes of mixed text, error %v", len(got), err)
						return
					}
				}
			})
		}
		wg.Wait()
	}},
	{"an open reader keeps what it opened", func(e *env) {
		ref, _, err := e.Blobs.Put(e.Context(), e.name("k"), strings.NewReader("old text"))
		e.ok(err)
		r, err := e.Blobs.Get(e.Context(), ref, 0, -1)
		e.ok(err)
		defer r.Close()
		_, _, err = e.Blobs.Put(e.Context(), e.name("k"), strings.NewReader("new text"))
		e.ok(err)
		got, err := io.ReadAll(r)
		e.ok(err)
		e.same(string(got), "old text")
		e.same(e.blob(ref, 0, -1), "new text")
	}},
	{"Delete removes blobs, and absent ones are no error", func(e *env) {
		for _, k := range []string{"a", "b", "c"} {
			_, _, err := e.Blobs.Put(e.Context(), e.name(k), strings.NewReader(k))
			e.ok(err)
		}
		e.ok(e.Blobs.Delete(e.Context(), []string{e.name("a"), e.name("none"), e.name("c")}))
		e.ok(e.Blobs.Delete(e.Context(), nil))
		_, err := e.Blobs.Get(e.Context(), e.ref("a"), 0, -1)
		e.is(err, store.ErrNotFound)
		e.same(e.blob(e.ref("b"), 0, -1), "b")
	}},
	{"List returns blobs with a prefix after a key in order", func(e *env) {
		var want []store.BlobInfo
		for i, k := range []string{"a", "a-b", "a/1", "a/2", "a/2/x", "a0", "b/1"} {
			_, _, err := e.Blobs.Put(e.Context(), e.name(k), strings.NewReader(strings.Repeat("x", i)))
			e.ok(err)
			want = append(want, store.BlobInfo{Key: e.name(k), Size: int64(i)})
		}
		list := func(prefix, after string, limit int) []store.BlobInfo {
			got, err := e.Blobs.List(e.Context(), prefix, after, limit)
			e.ok(err)
			return got
		}
		e.same(list(e.prefix, "", 100), want)
		e.same(list(e.name("a/"), "", 100), want[2:5])
		e.same(list(e.name("a/"), e.name("a/1"), 100), want[3:5])
		e.same(list(e.name("a/"), e.name("a/1x"), 1), want[3:4])
		e.same(list(e.name("a"), e.name("a"), 2), want[1:3])
		e.same(list(e.name("b"), e.name("a/1"), 100), want[6:])
		e.same(list(e.name("none"), "", 100), []store.BlobInfo{})
		var paged []store.BlobInfo
		for after := ""; ; {
			page := list(e.prefix, after, 2)
			paged = append(paged, page...)
			if len(page) < 2 {
				break
			}
			after = page[1].Key
		}
		e.same(paged, want)
	}},
	{"many blobs can be written at once", func(e *env) {
		var wg sync.WaitGroup
		n := e.rounds(20)
		for i := range n {
			wg.Go(func() {
				if _, _, err := e.Blobs.Put(e.Context(), e.name(fmt.Sprint("k", i)), strings.NewReader(fmt.Sprint(i))); err != nil {
					e.Error(err)
				}
			})
		}
		wg.Wait()
		for i := range n {
			e.same(e.blob(e.ref(fmt.Sprint("k", i)), 0, -1), fmt.Sprint(i))
		}
	}},
}

// ref returns the reference of a stored blob by its base name. It stores a blob to learn the bucket.
func (e *env) ref(base string) store.BlobRef {
	e.Helper()
	ref, _, err := e.Blobs.Put(e.Context(), "learn-"+e.prefix, strings.NewReader(""))
	e.ok(err)
	return store.BlobRef{Bucket: ref.Bucket, Key: e.name(base)}
}

func (e *env) readBlob(ref store.BlobRef, offset, length int64) (string, error) {
	r, err := e.Blobs.Get(e.Context(), ref, offset, length)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(r)
	return string(b), errors.Join(err, r.Close())
}

func (e *env) blob(ref store.BlobRef, offset, length int64) string {
	e.Helper()
	got, err := e.readBlob(ref, offset, length)
	e.ok(err)
	return got
}

// onlyReader hides that a reader could do more, such as seek.
type onlyReader struct{ io.Reader }

type failingReader struct{ err error }

func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
