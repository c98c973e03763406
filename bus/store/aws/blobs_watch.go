package aws

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
)

// silence is how long a request of S3 may stand still, neither taking more of its body nor beginning to answer. Nothing else bounds
// its time: a part may take long on a slow line. A request that no one answers is made again after it, on another connection.
const silence = 30 * time.Second

// watched is an HTTP client, whoever brought it, that gives up requests that stand still.
type watched struct {
	client awssdk.HTTPClient
	limit  time.Duration
}

var errSilence = errors.New("the request stood still")

// Do makes a request. One that was given up is a noAnswerError.
func (w *watched) Do(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	watch := &watch{limit: w.limit, timer: time.AfterFunc(w.limit, func() { cancel(errSilence) })}
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &moving{r.Body, watch}
		if again := r.GetBody; again != nil {
			r.GetBody = func() (io.ReadCloser, error) {
				body, err := again()
				return &moving{body, watch}, err
			}
		}
	}
	answer, err := w.client.Do(r)
	watch.end()
	if err != nil {
		if errors.Is(context.Cause(ctx), errSilence) {
			err = &noAnswerError{errSilence} // The error of the context would pass for one of the caller's.
		}
		cancel(nil)
		return answer, err
	}
	answer.Body = &held{answer.Body, cancel}
	return answer, nil
}

// watch is the time that a request may stand still.
type watch struct {
	limit time.Duration
	timer *time.Timer
	mu    sync.Mutex
	ended bool
}

func (w *watch) moved() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.ended { // The rest of a body may be read when the answer is there.
		w.timer.Reset(w.limit)
	}
}

func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	w.timer.Stop()
}

// moving is the body of a request.
type moving struct {
	io.ReadCloser
	watch *watch
}

func (m *moving) Read(p []byte) (int, error) {
	m.watch.moved()
	return m.ReadCloser.Read(p)
}

// held is the body of an answer, which keeps its request's context.
type held struct {
	io.ReadCloser
	cancel context.CancelCauseFunc
}

func (h *held) Close() error {
	defer h.cancel(nil)
	return h.ReadCloser.Close()
}
