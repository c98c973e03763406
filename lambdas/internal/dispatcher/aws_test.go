package dispatcher_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/lambdas/internal/dispatcher"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

// requests counts what is sent and answered, by operation. What an emulator leaves without an answer is sent again.
type requests struct {
	mu sync.Mutex
	n  map[string]int
}

func (r *requests) RoundTrip(req *http.Request) (*http.Response, error) {
	out, err := http.DefaultTransport.RoundTrip(req)
	if err != nil || out.StatusCode >= http.StatusInternalServerError {
		return out, err
	}
	op := req.Header.Get("X-Amz-Target")
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n[op[strings.LastIndexByte(op, '.')+1:]]++
	return out, nil
}

func (r *requests) take() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, op := range slices.Sorted(maps.Keys(r.n)) {
		out = append(out, fmt.Sprint(op, " ", r.n[op]))
	}
	clear(r.n)
	return strings.Join(out, ", ")
}

// lambdas stands in for the Lambda service: it does each run at once.
type lambdas struct {
	t  *testing.T
	st store.Store
	mu sync.Mutex
	// run does a run; runs are those that were done, by bot.
	run  func(bot store.Bot, token int64)
	runs map[string]int
}

func (l *lambdas) Invoke(_ context.Context, bot store.Bot, payload []byte) error {
	var p struct {
		Cron struct{ TS int64 } `json:"__cron"`
	}
	if err := json.Unmarshal(payload, &p); err != nil {
		l.t.Error(err)
	}
	l.mu.Lock()
	l.runs[bot.ID]++
	l.mu.Unlock()
	if l.run != nil {
		l.run(bot, p.Cron.TS)
	}
	return nil
}

// advance moves a queue's head as the sequencer does.
func advance(t *testing.T, st store.Store, queue string) dispatch.Head {
	t.Helper()
	now := time.Now().UnixMilli()
	g, err := st.Queues.Claim(t.Context(), store.Claim{Queue: queue, Owner: "test", First: fmt.Sprint(now), Arrival: now, Now: now, Lease: 5000})
	if err != nil {
		t.Fatal(err)
	}
	id, err := eid.New(g.Base, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Queues.Advance(t.Context(), store.Advance{Queue: queue, Fence: g.Fence, Head: id.String(), Now: now}); err != nil {
		t.Fatal(err)
	}
	return dispatch.Head{ID: id.String(), At: now}
}

func open(t *testing.T) (store.Store, *requests) {
	t.Helper()
	o := awstest.New(t)
	sent := &requests{n: map[string]int{}}
	counted := *o
	counted.HTTPClient = &http.Client{Transport: sent}
	return awstest.OpenWith(t, counted).Store(), sent
}

func once(st store.Store, inv store.Invoker) *dispatch.Once {
	return dispatcher.New(&shell.Env{
		Store: st, Logger: slog.New(slog.DiscardHandler), Metrics: shell.NewMetrics(io.Discard, "bus", "test", time.Now),
		Getenv: func(string) string { return "" },
	}, inv)
}

// TestRequestsOfATriggeredRun counts what a triggered run costs on AWS, besides the bot's own requests and one Lambda invocation:
// one read for the batch, and one read and one write for each run.
func TestRequestsOfATriggeredRun(t *testing.T) {
	st, sent := open(t)
	const bots = 5
	for i := range bots {
		if err := st.Bots.Register(t.Context(), store.Registration{
			ID: fmt.Sprint("b", i), Triggers: []string{"q", "p"}, Invocation: store.Invocation{Type: "lambda", Lambda: "f"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	l := &lambdas{t: t, st: st, runs: map[string]int{}}
	o := once(st, l)
	want := func(what, want string) {
		t.Helper()
		if got := sent.take(); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		} else {
			t.Logf("%s: %s", what, got)
		}
	}
	heads := map[string]dispatch.Head{"q": advance(t, st, "q"), "p": advance(t, st, "p")}
	sent.take()
	if r, err := o.Moved(t.Context(), heads); err != nil || r.Started != bots {
		t.Fatalf("%+v, %v", r, err)
	}
	want("5 first runs, the table is read", "GetItem 6, Scan 1, UpdateItem 5")
	for i := range bots {
		row, err := st.Bots.Get(t.Context(), fmt.Sprint("b", i))
		if err != nil || row.Requested["queue:q"] != heads["q"].ID || row.Requested["queue:p"] != heads["p"].ID || row.Trigger == 0 || row.Token != row.InvokeTime {
			t.Errorf("C47, C48: %+v, %v", row, err)
		}
	}
	sent.take()
	heads = map[string]dispatch.Head{"q": advance(t, st, "q"), "p": advance(t, st, "p")}
	sent.take()
	if r, err := o.Moved(t.Context(), heads); err != nil || r.Requested != bots {
		t.Errorf("%+v, %v", r, err)
	}
	want("events for 5 running bots", "BatchGetItem 1, UpdateItem 5")

	var changes []dispatch.RowChange
	for i := range bots {
		id := fmt.Sprint("b", i)
		row, err := st.Bots.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now().UnixMilli()
		if err := st.Bots.Confirm(t.Context(), store.Confirm{Bot: id, Token: row.Token, RequestID: "r", At: now, MaxDuration: 60_000}); err != nil {
			t.Fatal(err)
		}
		for ref, head := range row.Requested {
			if err := st.Bots.Checkpoint(t.Context(), store.CheckpointWrite{Bot: id, Ref: ref, Checkpoint: store.Checkpoint{Position: head}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := st.Bots.Complete(t.Context(), store.Complete{Bot: id, Token: row.Token, RequestID: "r", At: now + 1}); err != nil {
			t.Fatal(err)
		}
		after, err := st.Bots.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		changes = append(changes, dispatch.RowChange{Old: row, New: after})
	}
	sent.take()
	if r, err := o.Rows(t.Context(), changes); err != nil || r.Started != bots {
		t.Errorf("%+v, %v", r, err)
	}
	want("5 completions with later triggers", "GetItem 5, UpdateItem 5")
	for i := range changes {
		changes[i].New.Trigger = changes[i].Old.InvokeTime
	}
	if r, err := o.Rows(t.Context(), changes); err != nil || r.Bots != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	want("5 completions of bots that caught up", "")
	if _, r, err := o.Sweep(t.Context(), 0); err != nil || r.Bots != 0 {
		t.Errorf("%+v, %v", r, err)
	}
	want("a sweep with nothing to do", "GetItem 1, Scan 2, UpdateItem 1")
}

// TestManyAtOnceOnAWS: dispatchers that serve the same heads at the same time start each bot once, and what they lose is asked
// for; a new trigger is announced; a deleted bot stays deleted (W-P12).
func TestManyAtOnceOnAWS(t *testing.T) {
	o := awstest.New(t)
	st := awstest.OpenWith(t, *o).Store()
	l := &lambdas{t: t, st: st, runs: map[string]int{}}
	const bots, dispatchers = 8, 4
	for i := range bots {
		if err := st.Bots.Register(t.Context(), store.Registration{
			ID: fmt.Sprint("b", i), Triggers: []string{"q"}, Invocation: store.Invocation{Type: "lambda", Lambda: "f"},
		}); err != nil {
			t.Fatal(err)
		}
	}
	var all []*dispatch.Once
	for range dispatchers {
		all = append(all, once(awstest.OpenWith(t, *o).Store(), l))
	}
	each := func(fn func(o *dispatch.Once) error) {
		var wg sync.WaitGroup
		for _, o := range all {
			wg.Go(func() {
				if err := fn(o); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	for round := range 3 {
		head := advance(t, st, "q")
		each(func(o *dispatch.Once) error {
			_, err := o.Moved(t.Context(), map[string]dispatch.Head{"q": head})
			return err
		})
		for i := range bots {
			id := fmt.Sprint("b", i)
			if got := l.runs[id]; got != round+1 {
				t.Errorf("%s ran %d times after %d events", id, got, round+1)
			}
			row, err := st.Bots.Get(t.Context(), id)
			if err != nil || row.Requested["queue:q"] != head.ID {
				t.Errorf("%+v, %v", row, err)
			}
			if err := st.Bots.Checkpoint(t.Context(), store.CheckpointWrite{Bot: id, Ref: "queue:q", Force: true, Checkpoint: store.Checkpoint{Position: head.ID}}); err != nil {
				t.Fatal(err)
			}
			if err := st.Bots.Complete(t.Context(), store.Complete{Bot: id, Token: row.Token, At: max(time.Now().UnixMilli(), row.Token)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := st.Bots.Register(t.Context(), store.Registration{
		ID: "new", Triggers: []string{"q"}, Invocation: store.Invocation{Type: "lambda", Lambda: "f"},
	}); err != nil {
		t.Fatal(err)
	}
	row, err := st.Bots.Get(t.Context(), "new")
	if err != nil {
		t.Fatal(err)
	}
	if r, err := all[0].Rows(t.Context(), []dispatch.RowChange{{New: row}}); err != nil || r.Started != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	awstest.DeleteItem(t, o.Resources.LeoCron, awstest.Key("id", "b0"))
	head := advance(t, st, "q")
	each(func(o *dispatch.Once) error {
		_, err := o.Moved(t.Context(), map[string]dispatch.Head{"q": head})
		return err
	})
	if row, err = st.Bots.Get(t.Context(), "new"); err != nil || row.Requested["queue:q"] != head.ID {
		t.Errorf("the new trigger is not known to all: %+v, %v", row, err)
	}
	if item := awstest.GetItem(t, o.Resources.LeoCron, awstest.Key("id", "b0")); item != nil {
		t.Errorf("the deleted bot is back: %v", item)
	}
	each(func(o *dispatch.Once) error {
		_, _, err := o.Sweep(t.Context(), 0)
		return err
	})
}
