package bot

import (
	"bytes"
	"context"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// syncBuffer is a buffer that the command and the test may use at the same time.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestCommandLine(t *testing.T) {
	dir := "embedded:" + t.TempDir()
	var ran int
	bots := []Bot{
		{ID: "good", Triggers: []string{"orders"}, Schedule: "0 3 * * *", Run: func(context.Context, *Run) error { ran++; return nil }},
		{ID: "bad", Run: func(context.Context, *Run) error { return errBoom }},
	}
	for _, c := range []struct {
		args     string
		env      string
		exit     int
		out, err string
	}{
		{"", dir, 2, "", "wrong command line"},
		{"dance", dir, 2, "", "dance"},
		{"run", dir, 2, "", "Usage"},
		{"run other", dir, 2, "", "other"},
		{"--nonsense list", dir, 2, "", "nonsense"},
		{"list", "", 2, "", "RSTREAMS_BUS"},
		{"list --bus kafka:x", "", 2, "", "kafka"},
		{"-h", "", 0, "Usage", ""},
		{"list", dir, 0, "not registered", ""},
		{"run good", dir, 0, "", "run ends"},
		{"run bad --bus " + dir, "", 1, "", "boom"},
		{"--bus " + dir + " list", "", 0, "good  orders    0 3 * * *  caught up", ""},
		{"list", dir, 0, "bad   -         -          backing off after an error until", ""},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Setenv("RSTREAMS_BUS", c.env)
			var out, errOut syncBuffer
			exit := execute(t.Context(), strings.Fields(c.args), &out, &errOut, bots)
			if exit != c.exit || !strings.Contains(out.String(), c.out) || !strings.Contains(errOut.String(), c.err) {
				t.Errorf("exit %d, out:\n%s\nerr:\n%s", exit, out.String(), errOut.String())
			}
		})
	}
	if ran != 1 {
		t.Errorf("the good bot ran %d times", ran)
	}
}

// TestDevRunsAChainOfBots: events that another process writes go through two bots, and an interrupt ends dev gently.
func TestDevRunsAChainOfBots(t *testing.T) {
	dir := t.TempDir()
	const events = 300
	got := make(chan string, events)
	bots := []Bot{
		{ID: "price", Triggers: []string{"orders"}, Writes: []string{"priced"}, Run: func(ctx context.Context, run *Run) error {
			_, err := run.Bus.Enrich(ctx, rstreams.EnrichOptions{From: []string{"orders"}, To: "priced", Read: rstreams.ReadOptions{From: rstreams.Earliest()}},
				func(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
					return rstreams.Emit(e.Payload), nil
				})
			return err
		}},
		{ID: "ship", Triggers: []string{"priced"}, Run: func(ctx context.Context, run *Run) error {
			_, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{From: []string{"priced"}, Read: rstreams.ReadOptions{From: rstreams.Earliest()}},
				func(_ context.Context, e rstreams.Event) error { got <- string(e.Payload); return nil })
			return err
		}},
		// One that reads on at the head, until it is told to stop.
		{ID: "follow", Triggers: []string{"priced"}, Run: func(ctx context.Context, run *Run) error {
			_, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{From: []string{"priced"}, Read: rstreams.ReadOptions{From: rstreams.Earliest(), Follow: true}},
				func(context.Context, rstreams.Event) error { return nil })
			return err
		}},
	}
	ctx, interrupt := context.WithCancel(t.Context())
	exit := make(chan int)
	var log syncBuffer
	go func() { exit <- execute(ctx, []string{"dev", "--bus", "embedded:" + dir}, io.Discard, &log, bots) }()

	other, err := local.Open(t.Context(), dir, local.Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := other.Close(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	bus := rstreams.New(other.Store(), rstreams.Options{Logger: quiet})
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "shop", Queue: "orders"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{}
	for i := range events {
		if _, err := w.Put(t.Context(), map[string]int{"n": i + 1}); err != nil {
			t.Fatal(err)
		}
		want[`{"n":`+strconv.Itoa(i+1)+`}`] = true
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for len(want) > 0 {
		e := <-got
		if !want[e] {
			t.Errorf("event %s came twice, or from nowhere", e)
		}
		delete(want, e)
	}
	interrupt()
	if code := <-exit; code != 0 {
		t.Errorf("exit %d\n%s", code, log.String())
	}
	for _, b := range bots {
		row, err := other.Store().Bots.Get(t.Context(), b.ID)
		if err != nil || row.ErrorCount != 0 || row.Instance.CompletedTime == 0 {
			t.Errorf("%s after the end: %+v, %v\n%s", b.ID, row, err, log.String())
		}
	}
}

func TestAWrongDeclarationIsRefusedWithEverythingThatIsWrong(t *testing.T) {
	b := Bot{ID: " x", Triggers: []string{"queue:"}, Schedule: "never", Timeout: -1, Settings: []int{1}}
	err := b.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{"ID", "no Run", "queue", "schedule", "negative", "object"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no word of %q in: %v", part, err)
		}
	}
	ok := Bot{ID: "a", Run: func(context.Context, *Run) error { return nil }}
	if _, err := NewRunner(rstreams.New(memory.New(memory.Options{}), rstreams.Options{}), RunnerConfig{}, ok, ok); err == nil {
		t.Error("two bots of one id were accepted")
	}
}
