package aws_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/bus/store/storetest"
)

// The suite of the ports on an emulator of AWS. One bus serves all tests: each has its own names.
func TestConformance(t *testing.T) {
	s := awstest.Open(t).Store()
	storetest.RunWith(t, options(), func(*testing.T) store.Store { return s })
}

// options suit emulators: their tables have one shard, so that the feed keeps the order of each. -short is for slow ones, such as
// LocalStack.
func options() storetest.Options {
	o := storetest.Options{Scale: 0.5, FeedByTable: true}
	if testing.Short() {
		o.Scale, o.Patience = 0.1, 2*time.Minute
	}
	return o
}

// The same suite when the answers of some writes are lost: nothing is done twice, and nothing that was done is a conflict.
//
// One test is left out, for it counts what cannot be known then: which one of two equal writes at once is stored.
func TestConformanceWithLostAnswers(t *testing.T) {
	o := awstest.New(t)
	plain := awstest.OpenWith(t, *o).Store()
	lossy := &lossy{every: 7, next: http.DefaultTransport, counts: map[string]int{}}
	o.HTTPClient = &http.Client{Transport: lossy}
	o.Budget = time.Minute
	s := awstest.OpenWith(t, *o).Store()
	storetest.RunWith(t, options(), func(t *testing.T) store.Store {
		if strings.HasSuffix(t.Name(), "/a_run_completes_once") {
			return plain
		}
		return s
	})
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
	case "UpdateItem", "BatchWriteItem", "BatchExecuteStatement", "DeleteItem":
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

// ledgerVariable is the environment variable that names the file in which processes note the buses that they made.
const ledgerVariable = "RSTREAMS_TEST_LEDGER"

func TestMain(m *testing.M) {
	storetest.ProcessMain(openProcess)
	m.Run()
}

// openProcess opens the bus of a directory, which only serves as its name.
func openProcess(ctx context.Context, dir string) (store.Store, func() error, error) {
	endpoint := os.Getenv(awstest.EndpointVariable)
	name := fmt.Sprintf("%x", sha256.Sum256([]byte(dir)))[:10]
	ledger, err := os.OpenFile(os.Getenv(ledgerVariable), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return store.Store{}, nil, err
	}
	_, err = fmt.Fprintln(ledger, name)
	if err = errors.Join(err, ledger.Close()); err != nil {
		return store.Store{}, nil, err
	}
	o, err := awstest.Make(ctx, endpoint, name, awstest.Setup{})
	if err != nil {
		return store.Store{}, nil, err
	}
	bus, err := awsbus.Open(ctx, *o)
	if err != nil {
		return store.Store{}, nil, err
	}
	return bus.Store(), func() error { return bus.Close(context.WithoutCancel(ctx)) }, nil
}

// Processes that share a bus race and are killed in the middle of their work. That takes one minute on MiniStack and some five on
// LocalStack.
func TestProcessesShareOneBus(t *testing.T) {
	endpoint := awstest.Endpoint(t)
	ledger := filepath.Join(t.TempDir(), "ledger")
	t.Setenv(ledgerVariable, ledger)
	t.Cleanup(func() {
		names, err := os.ReadFile(ledger)
		if err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		for _, name := range slices.Compact(slices.Sorted(strings.FieldsSeq(string(names)))) {
			if err := awstest.Delete(ctx, endpoint, name); err != nil {
				t.Error(err)
			}
		}
	})
	// An emulator on a loaded machine was seen to leave one of some ten thousand requests without an answer.
	storetest.RunProcesses(t, openProcess, 2)
}
