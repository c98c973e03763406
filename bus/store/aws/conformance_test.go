package aws_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/bus/store/storetest"
)

// The suite of the ports on an emulator of AWS. One bus serves all tests: each has its own names.
func TestConformance(t *testing.T) {
	s := awstest.Open(t).Store()
	storetest.RunWith(t, storetest.Options{Scale: 0.5, FeedByTable: true}, func(*testing.T) store.Store { return s })
}

// The same suite when the answers of every few writes are lost: nothing is done twice, and nothing that was done is a conflict.
func TestConformanceWithLostAnswers(t *testing.T) {
	o := awstest.New(t)
	lossy := &lossy{every: 7, next: http.DefaultTransport, counts: map[string]int{}}
	o.HTTPClient = &http.Client{Transport: lossy}
	o.Budget = time.Minute
	s := awstest.OpenWith(t, *o).Store()
	storetest.RunWith(t, storetest.Options{Scale: 0.5, FeedByTable: true}, func(*testing.T) store.Store { return s })
	t.Cleanup(func() { t.Logf("requests: %v; answers lost: %d", lossy.counts, lossy.lost) })
}

// lossy carries requests and loses the answers of some writes to tables.
type lossy struct {
	every int
	next  http.RoundTripper

	mu     sync.Mutex
	writes int
	lost   int
	counts map[string]int
}

var errLost = errors.New("connection reset by peer")

func (l *lossy) RoundTrip(r *http.Request) (*http.Response, error) {
	_, op, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	l.mu.Lock()
	l.counts[op]++
	lose := false
	switch op {
	case "UpdateItem", "BatchWriteItem", "DeleteItem":
		l.writes++
		lose = l.writes%l.every == 0
	}
	if lose {
		l.lost++
	}
	l.mu.Unlock()
	out, err := l.next.RoundTrip(r)
	if err != nil || !lose {
		return out, err
	}
	if _, err := io.Copy(io.Discard, out.Body); err != nil {
		return nil, err
	}
	return nil, errors.Join(errLost, out.Body.Close())
}
