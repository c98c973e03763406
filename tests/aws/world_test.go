//go:build aws

package e2e

import (
	"context"
	"crypto/rand"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// patience is how long the bus may take for anything. Only an emulator is polled.
const patience = 4 * time.Minute

// The parts of the test wait more than they work, so that more of them run at once than there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		if err := flag.Set("test.parallel", "12"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// world is what was deployed: the bus that is tested, another bus beside it, and the bots of the set Pipeline.
type world struct {
	endpoint, root string
	// run names this run of the test; began is when it had a bus.
	run     string
	began   time.Time
	bus     *deployed
	other   *deployed
	program string // the command rstreams
	// bots returns once the bots are deployed.
	bots func(t *testing.T)

	mu     sync.Mutex
	counts map[string]int // how many events of this run queues of the bus must have, and no more
}

// TestDeployedBus is one test so that its parts share what is deployed, and nothing else.
func TestDeployedBus(t *testing.T) {
	endpoint := awstest.Endpoint(t)
	w := deploy(t, endpoint)
	everything := os.Getenv("RSTREAMS_TEST_PARTS") == "all" || engine(t, endpoint) != "localstack"
	// The parts that run by themselves first, then those that look at everything that the others have left.
	t.Run("parts", func(t *testing.T) {
		for _, p := range []struct {
			name string
			core bool // also on an engine that is slow
			test func(t *testing.T)
		}{
			{"events go through bots in order", true, w.testPipeline},
			{"a bot runs by the clock", true, w.testCron},
			{"Firehose brings each event once", true, w.testFirehose},
			{"poison is quarantined and blocks nothing", true, w.testPoison},
			{"many queues on several shards", false, w.testShards},
			{"a snapshot is read before live events", false, w.testSnapshot},
			{"a paused bot waits", false, w.testPause},
			{"a failing bot backs off and runs again", false, w.testFailing},
			{"a crashed bot runs again", false, w.testCrash},
			{"a queue is copied to the other bus", false, w.testReplication},
			{"the five requests of the bus API", true, w.testBusAPI},
			{"bots are registered, changed and retired with their stack", false, w.testStack},
			{"the bus is found by its published names", true, w.testNames},
			{"two stages share no names", false, w.testTwoStages},
			{"the demonstration runs", true, w.testDemo},
			{"what is missing is said in one line", false, w.testBadInput},
			{"what is not permitted is refused", false, w.testRights},
		} {
			if !p.core && !everything {
				continue
			}
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				began := time.Now()
				p.test(t)
				t.Logf("took %.1f s", time.Since(began).Seconds())
			})
		}
	})
	if everything {
		t.Run("the monitor tells what bots do", w.testMonitor)
		t.Run("archived events are read from the archive", w.testArchive)
		t.Run("a million events are read in order", w.testMillion)
		t.Run("a deployment without changes changes nothing", w.testDiff)
	}
	t.Run("nothing is lost, repeated or damaged", w.testFinally)
}

// engine names the emulator.
func engine(t *testing.T, endpoint string) string {
	t.Helper()
	for _, name := range []string{"ministack", "localstack"} {
		res, err := http.Get(endpoint + "/_" + name + "/health") //nolint:noctx // A test's.
		if err != nil {
			t.Fatalf("no emulator answers at %s: %v", endpoint, err)
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return name
		}
	}
	return "unknown"
}

// newRun returns a name for this run of the test, fit for a stack's name.
func newRun() string { return "t" + strings.ToLower(rand.Text()[:7]) }

// root returns the directory of the checkout.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// within returns a context that ends when a part has had its time.
func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// until polls until ok returns "", and fails with what it says after too long.
func until(t *testing.T, ok func(ctx context.Context) string) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		said := ok(ctx)
		if said == "" {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("still after %v: %s", patience, said)
		case <-tick.C:
		}
	}
}

// await reads a queue from the run's beginning until it has n events, and returns them.
func (w *world) await(t *testing.T, bus *rstreams.Bus, queue string, n int) []rstreams.Event {
	t.Helper()
	ctx := within(t)
	var events []rstreams.Event
	var excused *repeats
	seen := map[string]bool{}
	for e, err := range bus.Read(ctx, queue, rstreams.ReadOptions{From: rstreams.At(w.began), Follow: true}) {
		if err != nil {
			t.Fatalf("queue %s after %d of %d events: %v", queue, len(events), n, err)
		}
		if len(events) > 0 && e.EID <= events[len(events)-1].EID {
			t.Fatalf("queue %s: event %s comes after %s", queue, e.EID, events[len(events)-1].EID)
		}
		id := identity(&e)
		if seen[id] && bus == w.bus.Bus {
			if excused == nil {
				found := w.repeats(t)
				excused = &found
			}
			if excused.events[id]--; excused.events[id] >= 0 {
				continue
			}
		}
		seen[id] = true
		if events = append(events, e); len(events) == n {
			break
		}
	}
	return events
}

// expect notes that a queue of the bus has n more events of this run, and that no others may come.
func (w *world) expect(queue string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts[queue] += n
}

// decode returns the payloads of events.
func decode[T any](t *testing.T, events []rstreams.Event) []T {
	t.Helper()
	out := make([]T, len(events))
	for i, e := range events {
		var err error
		if out[i], err = rstreams.Decode[T](e); err != nil {
			t.Fatalf("event %s: %v: %s", e.EID, err, e.Payload)
		}
	}
	return out
}

// put writes n payloads to a queue and waits until they are durable.
func put(t *testing.T, bus *rstreams.Bus, o rstreams.WriterOptions, n int, payload func(i int) any) {
	t.Helper()
	ctx := within(t)
	writer, err := bus.NewWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if _, err := writer.Put(ctx, payload(i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// numbers fails unless got is 0, 1, … n-1.
func numbers(t *testing.T, what string, got []int, n int) {
	t.Helper()
	if len(got) != n {
		t.Errorf("%s: %d events, want %d", what, len(got), n)
		return
	}
	if i := slices.IndexFunc(slices.Collect(indexes(n)), func(i int) bool { return got[i] != i }); i >= 0 {
		t.Errorf("%s: event %d is number %d", what, i, got[i])
	}
}

func indexes(n int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := range n {
			if !yield(i) {
				return
			}
		}
	}
}
