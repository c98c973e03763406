package aws

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
)

// bucketService is a bucket of one multipart upload.
type bucketService struct {
	mu        sync.Mutex
	parts     map[int][]byte
	completed []byte
	aborted   bool
	// fail returns what goes wrong with a call.
	fail func(c call, q url.Values) *reply
}

func (s *bucketService) answer(_ int, c call) reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	q := c.request.URL.Query()
	if s.fail != nil {
		if r := s.fail(c, q); r != nil {
			return *r
		}
	}
	switch {
	case c.request.Method == http.MethodPost && q.Has("uploads"):
		return reply{body: `<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>`}
	case c.request.Method == http.MethodPut && q.Get("uploadId") == "u1":
		n, err := strconv.Atoi(q.Get("partNumber"))
		if err != nil {
			return reply{code: "InvalidArgument", header: xmlError}
		}
		if s.parts == nil {
			s.parts = map[int][]byte{}
		}
		s.parts[n] = []byte(c.body)
		return reply{header: map[string]string{"ETag": fmt.Sprintf(`"e%d"`, n)}}
	case c.request.Method == http.MethodPost && q.Get("uploadId") == "u1":
		s.completed = nil
		for n := 1; n <= len(s.parts); n++ {
			if !strings.Contains(c.body, fmt.Sprintf("<PartNumber>%d</PartNumber>", n)) {
				return reply{code: "InvalidPart", header: xmlError}
			}
			s.completed = append(s.completed, s.parts[n]...)
		}
		return reply{body: `<CompleteMultipartUploadResult><ETag>"e"</ETag></CompleteMultipartUploadResult>`}
	case c.request.Method == http.MethodDelete && q.Get("uploadId") == "u1":
		s.aborted = true
		return reply{status: http.StatusNoContent}
	case c.request.Method == http.MethodHead:
		return reply{header: map[string]string{"Content-Length": strconv.Itoa(len(s.completed))}}
	}
	return reply{code: "NotImplemented", status: http.StatusNotImplemented, header: xmlError}
}

var xmlError = map[string]string{"xml": "yes"}

// noise is text of n bytes that no two parts have in common.
func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b) // It cannot fail.
	return b
}

// trickle reads like a stream: its length is not known, and it comes in pieces.
type trickle struct{ io.Reader }

func (t trickle) Read(p []byte) (int, error) { return t.Reader.Read(p[:min(len(p), 77_777)]) }

func TestAStreamIsUploadedInParts(t *testing.T) {
	for _, size := range []int{partBytes, partBytes + 1, 3*partBytes + 12345} {
		s := &bucketService{}
		b, _ := openService(t, s.answer)
		want := noise(size)
		ref, n, err := newBlobs(b).Put(t.Context(), "k", trickle{bytes.NewReader(want)})
		if err != nil || n != int64(size) || ref != (store.BlobRef{Bucket: "t-leos3", Key: "k"}) {
			t.Fatalf("got %v, %d, %v", ref, n, err)
		}
		if !bytes.Equal(s.completed, want) {
			t.Errorf("%d bytes were stored as %d others", size, len(s.completed))
		}
	}
}

func TestAnUploadThatFailsIsAborted(t *testing.T) {
	boom := errors.New("boom")
	half := func() io.Reader { return bytes.NewReader(noise(partBytes + 100)) }
	ctx, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		ctx  context.Context
		r    io.Reader
		fail func(c call, q url.Values) *reply
		want error
	}{
		"the source fails": {t.Context(), io.MultiReader(half(), failing{boom}), nil, boom},
		"the context ends": {ctx, io.MultiReader(half(), readerFunc(func([]byte) (int, error) { cancel(); return 0, nil }), failing{boom}),
			nil, context.Canceled},
		"a part is refused": {t.Context(), half(), func(_ call, q url.Values) *reply {
			if q.Get("partNumber") == "2" {
				return &reply{code: "AccessDenied", status: http.StatusForbidden, header: xmlError}
			}
			return nil
		}, store.ErrUnavailable},
		"the completion is refused": {t.Context(), half(), func(c call, q url.Values) *reply {
			if c.request.Method == http.MethodPost && q.Has("uploadId") {
				return &reply{code: "InvalidPart", header: xmlError}
			}
			return nil
		}, store.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s := &bucketService{fail: c.fail}
			b, _ := openService(t, s.answer)
			_, _, err := newBlobs(b).Put(c.ctx, "k", c.r)
			says(t, err, c.want)
			if !s.aborted || s.completed != nil {
				t.Errorf("aborted %v, completed %d bytes", s.aborted, len(s.completed))
			}
		})
	}
}

func TestALostAnswerToTheCompletionIsNoFailure(t *testing.T) {
	s := &bucketService{}
	completions := 0
	s.fail = func(c call, q url.Values) *reply {
		if c.request.Method != http.MethodPost || !q.Has("uploadId") {
			return nil
		}
		if completions++; completions == 1 {
			s.completed = append(slices.Clone(s.parts[1]), s.parts[2]...)
			return &reply{lost: true}
		}
		return &reply{code: "NoSuchUpload", status: http.StatusNotFound, header: xmlError}
	}
	b, _ := openService(t, s.answer)
	if _, n, err := newBlobs(b).Put(t.Context(), "k", bytes.NewReader(noise(partBytes+5))); err != nil || n != partBytes+5 {
		t.Errorf("got %d, %v", n, err)
	}
	if s.aborted {
		t.Error("the upload was aborted")
	}
}

func TestAReaderGoesOnWhereAConnectionBroke(t *testing.T) {
	text := string(noise(1000))
	var ranges []string
	serve := func(n int, c call) reply {
		ranges = append(ranges, c.request.Header.Get("Range"))
		var from, to int
		if _, err := fmt.Sscanf(c.request.Header.Get("Range"), "bytes=%d-%d", &from, &to); err != nil {
			t.Error(err)
		}
		if n > 0 && c.request.Header.Get("If-Match") != `"v1"` {
			return reply{code: "PreconditionFailed", status: http.StatusPreconditionFailed, header: xmlError}
		}
		to = min(to+1, len(text))
		part := text[from:to]
		header := map[string]string{"ETag": `"v1"`, "Content-Length": strconv.Itoa(len(part))}
		if n < 2 {
			part = part[:100] // The server closes the connection as it cannot send what it promised.
		}
		return reply{status: http.StatusPartialContent, header: header, body: part}
	}
	b, _ := openService(t, serve)
	r, err := newBlobs(b).Get(t.Context(), store.BlobRef{Bucket: "t-leos3", Key: "k"}, 10, 5000)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil || string(got) != text[10:] {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if want := []string{"bytes=10-5009", "bytes=110-999", "bytes=210-999"}; !slices.Equal(ranges, want) {
		t.Errorf("asked for %q", ranges)
	}
}

func TestAReaderFailsWhenTheObjectWasReplacedOrNothingComes(t *testing.T) {
	for name, second := range map[string]reply{
		"replaced": {code: "PreconditionFailed", status: http.StatusPreconditionFailed, header: xmlError},
		"nothing":  {status: http.StatusPartialContent, header: map[string]string{"ETag": `"v1"`, "Content-Length": "5"}},
	} {
		b, _ := openService(t, func(n int, _ call) reply {
			if n > 0 {
				return second
			}
			return reply{header: map[string]string{"ETag": `"v1"`, "Content-Length": "10"}, body: "01234"}
		})
		r, err := newBlobs(b).Get(t.Context(), store.BlobRef{Bucket: "t-leos3", Key: "k"}, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err == nil {
			t.Errorf("%s: read %q and no error", name, got)
		}
		_ = r.Close()
	}
}

func TestObjectsThatCannotBeDeletedAreNamed(t *testing.T) {
	b, s := openService(t, func(_ int, c call) reply {
		if c.request.Method == http.MethodDelete {
			return reply{status: http.StatusNoContent}
		}
		return reply{body: `<DeleteResult><Error><Key>b</Key><Code>AccessDenied</Code><Message>no</Message></Error>
			<Error><Key>c</Key><Code>NoSuchKey</Code></Error></DeleteResult>`}
	})
	err := newBlobs(b).Delete(t.Context(), []string{"a", "b", "c", "with\x01control"})
	says(t, err, store.ErrUnavailable, "blob b", "AccessDenied")
	if ops := s.ops(); len(ops) != 2 || !strings.HasPrefix(ops[0], "DELETE /t-leos3/with%01control") {
		t.Errorf("requests were %q", ops)
	}
}

func TestBlobErrorsSayWhatIsMissing(t *testing.T) {
	for code, want := range map[string]error{"NoSuchKey": store.ErrNotFound, "NoSuchBucket": store.ErrUnavailable} {
		b, _ := openService(t, func(int, call) reply { return reply{code: code, status: http.StatusNotFound, header: xmlError} })
		_, err := newBlobs(b).Get(t.Context(), store.BlobRef{Bucket: "t-leos3", Key: "some/key"}, 5, -1)
		says(t, err, want, "some/key")
	}
}

func TestAClosedBusEndsItsReaders(t *testing.T) {
	b, _ := openService(t, func(int, call) reply { return reply{header: map[string]string{"ETag": `"v1"`}, body: "0123456789"} })
	s := newBlobs(b)
	ref := store.BlobRef{Bucket: "t-leos3", Key: "k"}
	r, err := s.Get(t.Context(), ref, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"read":   func() error { _, err := io.ReadAll(r); return err },
		"Get":    func() error { _, err := s.Get(t.Context(), ref, 0, -1); return err },
		"Put":    func() error { _, _, err := s.Put(t.Context(), "k", strings.NewReader("x")); return err },
		"Delete": func() error { return s.Delete(t.Context(), []string{"k"}) },
		"List":   func() error { _, err := s.List(t.Context(), "", "", 1); return err },
	} {
		if err := call(); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "closed") {
			t.Errorf("%s of a closed bus: %v", name, err)
		}
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
