package aws

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/rstreams-go/rstreams/bus/store"
)

// line is a transport of a caller: the nth request, from 0, is answered by what it returns.
type line func(n int, r *http.Request) (*http.Response, error)

// openLine opens the blobs of a bus whose requests go through a client that the caller brought.
func openLine(t *testing.T, answer line) (store.Blobs, *int) {
	t.Helper()
	requests := 0
	b, err := Open(t.Context(), Options{
		Resources: testResources(), Endpoint: "http://s3.test",
		HTTPClient: &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			requests++
			return answer(requests-1, r)
		})},
		Config: &awssdk.Config{Credentials: credentials.NewStaticCredentialsProvider("id", "secret", "")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close(context.Background()) }) // It returns nil.
	return newBlobs(b), &requests
}

type roundTrip func(r *http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// nothing is a connection on which nothing ever comes.
func nothing(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func answerOf(r *http.Request, text string) *http.Response {
	return &http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: http.Header{"Etag": {`"v1"`}}, Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)),
	}
}

// TestARequestThatNobodyAnswersIsMadeAgain: one lost connection must not hold a shard up for as long as its invocation lasts.
func TestARequestThatNobodyAnswersIsMadeAgain(t *testing.T) {
	for name, call := range map[string]func(t *testing.T, s store.Blobs) error{
		"Get": func(t *testing.T, s store.Blobs) error {
			r, err := s.Get(t.Context(), store.BlobRef{Bucket: "t-leos3", Key: "k"}, 0, -1)
			if err != nil {
				return err
			}
			defer r.Close()
			time.Sleep(2 * silence) // The reader takes its time; that is no silence of the storage.
			if text, err := io.ReadAll(r); string(text) != "text" {
				t.Errorf("Get: read %q", text)
				return err
			}
			return nil
		},
		"Put": func(t *testing.T, s store.Blobs) error {
			_, _, err := s.Put(t.Context(), "k", strings.NewReader("text"))
			return err
		},
		"Delete": func(t *testing.T, s store.Blobs) error { return s.Delete(t.Context(), []string{"with\x01control"}) },
	} {
		synctest.Test(t, func(t *testing.T) {
			s, requests := openLine(t, func(n int, r *http.Request) (*http.Response, error) {
				if n == 0 {
					return nothing(r)
				}
				return answerOf(r, "text"), nil
			})
			begun := time.Now()
			if err := call(t, s); err != nil || *requests != 2 {
				t.Errorf("%s: %d requests, %v", name, *requests, err)
			}
			if took := time.Since(begun); took < silence || took > 4*silence {
				t.Errorf("%s took %v", name, took)
			}
			synctest.Wait() // Nothing of a request is left, or the test would not end.
		})
	}
}

func TestAStorageThatNeverAnswersIsUnavailable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, requests := openLine(t, func(_ int, r *http.Request) (*http.Response, error) { return nothing(r) })
		_, _, err := s.Put(t.Context(), "k", strings.NewReader("text"))
		says(t, err, store.ErrUnavailable, "blob k", "does not answer")
		if *requests != blobAttempts {
			t.Errorf("%d requests", *requests)
		}
	})
}

func TestTheCallersEndIsTheCallersError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, requests := openLine(t, func(_ int, r *http.Request) (*http.Response, error) { return nothing(r) })
		ctx, cancel := context.WithTimeout(t.Context(), silence/2)
		defer cancel()
		if _, _, err := s.Put(ctx, "k", strings.NewReader("text")); !errors.Is(err, context.DeadlineExceeded) || *requests != 1 {
			t.Errorf("%d requests, %v", *requests, err)
		}
	})
}

// TestASlowUploadIsNotGivenUpWhileItMoves, however long it takes.
func TestASlowUploadIsNotGivenUpWhileItMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := noise(partBytes / 8)
		var got []byte
		s, requests := openLine(t, func(_ int, r *http.Request) (*http.Response, error) {
			piece := make([]byte, 64<<10)
			for {
				n, err := r.Body.Read(piece)
				got = append(got, piece[:n]...)
				if err != nil {
					break
				}
				select {
				case <-r.Context().Done():
					return nil, r.Context().Err()
				case <-time.After(silence - time.Second):
				}
			}
			return answerOf(r, ""), nil
		})
		begun := time.Now()
		if _, _, err := s.Put(t.Context(), "k", bytes.NewReader(sent)); err != nil || *requests != 1 || time.Since(begun) < 5*silence {
			t.Errorf("%d requests in %v, %v", *requests, time.Since(begun), err)
		}
		if !bytes.Contains(got, sent[:64<<10]) {
			t.Errorf("%d bytes came", len(got))
		}
	})
}

// TestABodyThatIsReadAfterTheAnswerChangesNothing: a service may answer before it has read everything.
func TestABodyThatIsReadAfterTheAnswerChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var body io.Reader
		w := &watched{&http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			body = r.Body
			return answerOf(r, "text"), nil
		})}, silence}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://s3.test", strings.NewReader("more"))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := w.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		_, _ = io.ReadAll(body) // What matters is that it was read.
		time.Sleep(2 * silence)
		if err := answer.Request.Context().Err(); err != nil {
			t.Error(err)
		}
	})
}

// TestASilentServerIsLeft is the same on a real connection.
func TestASilentServerIsLeft(t *testing.T) {
	left := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(left)
	}))
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&watched{server.Client(), 100 * time.Millisecond}).Do(r)
	if _, ok := errors.AsType[*noAnswerError](err); !ok {
		t.Fatalf("%v, %v", answer, err)
	}
	<-left
}
