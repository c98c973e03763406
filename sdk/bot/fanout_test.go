package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// Row F1: the hashes are leo-sdk's, recorded from its wrappers/fanout.
func TestF1HashesAreThoseOfLeoSDK(t *testing.T) {
	text, err := os.ReadFile("testdata/fanout_hash.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Values []struct {
			Key   any
			Value float64
		}
	}
	if err := json.Unmarshal(text, &golden); err != nil || len(golden.Values) < 10 {
		t.Fatal(err, len(golden.Values))
	}
	for _, v := range golden.Values {
		var got int64
		switch key := v.Key.(type) {
		case string:
			got = Hash(key)
		case float64:
			if key != math.Trunc(key) {
				continue // A fraction matches no instance there, and is no key here.
			}
			got = int64(key)
		case []any:
			for _, part := range key {
				if s, ok := part.(string); ok {
					got += Hash(s)
				} else {
					got += int64(part.(float64))
				}
			}
		}
		if float64(got) != v.Value {
			t.Errorf("hash of %v is %d, want %v", v.Key, got, v.Value)
		}
	}
	if Hash("a", "b") != Hash("a")+Hash("b") || Hash() != 0 {
		t.Error("the hash of a key of parts is not the sum")
	}
}

// fan is a bot with a fan-out on a bus with events.
type fan struct {
	*deployed
	mu   sync.Mutex
	seen map[string][]int // instances by key of event
	got  [maxInstances][]int
	bus  *rstreams.Bus
}

const fanEvents = 200

// see notes an event.
func (f *fan) see(run *Run, e rstreams.Event) error {
	var p struct {
		N   int
		Key string
	}
	if err := json.Unmarshal(e.Payload, &p); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen[p.Key] = append(f.seen[p.Key], run.Instance)
	f.got[run.Instance] = append(f.got[run.Instance], p.N)
	return nil
}

func keyOf(e *rstreams.Event) int64 {
	var p struct{ Key string }
	if json.Unmarshal(e.Payload, &p) != nil {
		return 0
	}
	return Hash(p.Key)
}

// fanned runs fn on a bus with fanEvents events in queue q and a deployed bot that reads it.
func fanned(t *testing.T, b Bot, inLambda bool, fn func(t *testing.T, f *fan)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 21, 2, 35, 0, 0, time.UTC)))
		b.ID, b.Triggers = "b", []string{"q"}
		l := local.New(memory.New(memory.Options{}), local.Options{SweepEvery: -1, Logger: quiet})
		f := &fan{deployed: &deployed{stage: stage{t: t, st: l.Store()}}, seen: map[string][]int{}}
		f.bus = rstreams.New(f.st, rstreams.Options{Logger: quiet})
		f.write(0, fanEvents)
		if err := Register(t.Context(), f.st.Bots, b); err != nil {
			t.Fatal(err)
		}
		cfg := LambdaConfig{Lines: &f.lines, Runner: RunnerConfig{Logger: quiet}}
		if inLambda {
			// Another invocation gets 20 s, whatever is left of this one.
			cfg.Invoke = func(_ context.Context, payload []byte) ([]byte, error) {
				answer, err := f.invoke("worker", 20*time.Second, payload)
				return []byte(answer), err
			}
		}
		var err error
		if f.fn, err = NewLambda(f.bus, cfg, b); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		fn(t, f)
		if err := errors.Join(f.fn.Close(context.Background()), l.Close(context.Background())); err != nil {
			t.Error(err)
		}
	})
}

// write writes events from..to, of 17 keys.
func (f *fan) write(from, to int) {
	f.t.Helper()
	w, err := f.bus.NewWriter(rstreams.WriterOptions{Bot: "w", Queue: "q"})
	if err != nil {
		f.t.Fatal(err)
	}
	for n := from; n < to; n++ {
		if _, err := w.Put(f.t.Context(), map[string]any{"n": n, "key": fmt.Sprint("k", n%17)}); err != nil {
			f.t.Fatal(err)
		}
	}
	if err := w.Close(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
}

// head is the newest event of q.
func (f *fan) head() string {
	f.t.Helper()
	q, err := f.st.Queues.Get(f.t.Context(), "q")
	if err != nil {
		f.t.Fatal(err)
	}
	return q.Head
}

func (f *fan) checkpoint() rstreams.Checkpoint { return f.row().Read["queue:q"] }

// offload reads q as a bot does.
func offload(f **fan, each func(run *Run, e rstreams.Event) error) func(context.Context, *Run) error {
	return func(ctx context.Context, run *Run) error {
		_, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{From: []string{"q"}, Read: rstreams.ReadOptions{From: rstreams.Earliest()}},
			func(_ context.Context, e rstreams.Event) error {
				if each != nil {
					if err := each(run, e); err != nil {
						return err
					}
				}
				return (*f).see(run, e)
			})
		return err
	}
}

// Row F1: the parts make up the whole and have nothing in common; events of a key stay in order with one instance.
func TestF1EveryEventGoesToExactlyOneInstance(t *testing.T) {
	batched := func(f **fan) func(context.Context, *Run) error {
		return func(ctx context.Context, run *Run) error {
			_, err := run.Bus.OffloadBatch(ctx, rstreams.OffloadOptions{
				From: []string{"q"}, Read: rstreams.ReadOptions{From: rstreams.Earliest()}, Batch: rstreams.BatchOptions{Records: 7},
			}, func(_ context.Context, events []rstreams.Event) error {
				for _, e := range events {
					if err := (*f).see(run, e); err != nil {
						return err
					}
				}
				return nil
			})
			return err
		}
	}
	loop := func(f **fan) func(context.Context, *Run) error {
		return func(ctx context.Context, run *Run) error {
			r, err := run.Bus.NewReader("q", rstreams.ReadOptions{From: rstreams.Earliest()})
			if err != nil {
				return err
			}
			for e, err := range r.All(ctx) {
				if err != nil {
					return err
				}
				if err := (*f).see(run, e); err != nil {
					return err
				}
			}
			return r.Checkpoint(ctx)
		}
	}
	for name, code := range map[string]func(**fan) func(context.Context, *Run) error{
		"one by one": func(f **fan) func(context.Context, *Run) error { return offload(f, nil) }, "batches": batched, "a loop": loop,
	} {
		for _, inLambda := range []bool{true, false} {
			for _, count := range []int{1, 2, 5} {
				t.Run(fmt.Sprintf("%s, %d instances, in Lambda %v", name, count, inLambda), func(t *testing.T) {
					f := new(fan)
					fanned(t, Bot{FanOut: &FanOut{Instances: count, Key: keyOf}, Run: code(&f)}, inLambda, func(t *testing.T, got *fan) {
						f = got
						if a := f.answer("r", time.Minute, f.reserve()); a != "null" {
							t.Fatalf("answer %s", a)
						}
						total := 0
						for i, ns := range f.got {
							total += len(ns)
							if !slices.IsSorted(ns) || i >= count && len(ns) > 0 {
								t.Errorf("instance %d saw %v", i, ns)
							}
						}
						for key, instances := range f.seen {
							want := int(max(Hash(key), -Hash(key)) % int64(count))
							if slices.ContainsFunc(instances, func(i int) bool { return i != want }) {
								t.Errorf("key %s went to %v, want %d", key, instances, want)
							}
						}
						cp := f.checkpoint()
						if total != fanEvents || cp.Position != f.head() || cp.Records != fanEvents || cp.SourceTimestamp == 0 {
							t.Errorf("%d events, checkpoint %+v, head %s", total, cp, f.head())
						}
					})
				})
			}
		}
	}
}

// Row F1, fault 50: the stored checkpoint is not beyond what any instance has dealt with.
func TestF1TheCheckpointIsTheLeastOfAllInstances(t *testing.T) {
	f := new(fan)
	var slow atomic.Int32
	var stopped atomic.Value
	b := Bot{FanOut: &FanOut{Instances: 3, Key: keyOf}}
	b.Run = offload(&f, func(run *Run, e rstreams.Event) error {
		if run.Instance == 2 && slow.Add(1) == 10 {
			stopped.Store(e.EID)
			return &rstreams.StopError{}
		}
		return nil
	})
	fanned(t, b, true, func(t *testing.T, got *fan) {
		f = got
		f.answer("r", time.Minute, f.reserve())
		first := f.checkpoint().Position
		if at, _ := stopped.Load().(string); first == "" || first > at || first == f.head() {
			t.Errorf("instance 2 stopped at %s, the checkpoint is %s", at, first)
		}
		// The next run goes on from there: everything was seen, nothing before the checkpoint again.
		f.answer("r2", time.Minute, f.reserve())
		count := map[int]int{}
		for _, ns := range f.got {
			for _, n := range ns {
				count[n]++
			}
		}
		if len(count) != fanEvents || f.checkpoint().Position != f.head() {
			t.Errorf("%d of %d events seen, checkpoint %s of %s", len(count), fanEvents, f.checkpoint().Position, f.head())
		}
	})
}

// Fault 50: in the original an instance that saw no matching event does not hold back the others.
func TestFault50AnInstanceThatReportsNothingHoldsTheCheckpoint(t *testing.T) {
	f := new(fan)
	all := offload(&f, nil)
	b := Bot{FanOut: &FanOut{Instances: 3, Key: func(*rstreams.Event) int64 { return 0 }}}
	var idle bool
	b.Run = func(ctx context.Context, run *Run) error {
		if idle && run.Instance == 1 {
			return nil // It ran out of time before its first event.
		}
		return all(ctx, run)
	}
	fanned(t, b, true, func(t *testing.T, got *fan) {
		f, idle = got, true
		f.answer("r", time.Minute, f.reserve())
		if cp := f.checkpoint(); cp.Position != "" {
			t.Errorf("checkpoint %+v", cp)
		}
		// Instances without a matching event read to the end all the same, and that counts.
		idle = false
		f.answer("r2", time.Minute, f.reserve())
		if cp := f.checkpoint(); cp.Position != f.head() {
			t.Errorf("checkpoint %+v, head %s", cp, f.head())
		}
	})
}

func TestFault50AFailingInstanceFailsTheRunAndMovesNothing(t *testing.T) {
	for _, inLambda := range []bool{true, false} {
		for failing := range 3 {
			f := new(fan)
			b := Bot{FanOut: &FanOut{Instances: 3, Key: keyOf}}
			b.Run = offload(&f, func(run *Run, _ rstreams.Event) error {
				if run.Instance == failing {
					return errBoom
				}
				return nil
			})
			fanned(t, b, inLambda, func(t *testing.T, got *fan) {
				f = got
				answer := f.answer("r", time.Minute, f.reserve())
				row := f.row()
				if !strings.Contains(answer, "boom") || row.ErrorCount != 1 || f.checkpoint().Position != "" || dispatch.Deadline(&row) != 0 {
					t.Errorf("instance %d, in Lambda %v: %s, row %+v", failing, inLambda, answer, row)
				}
			})
		}
	}
}

func TestFault50AllInstancesReadToTheSameBound(t *testing.T) {
	f := new(fan)
	b := Bot{FanOut: &FanOut{Instances: 2, Key: keyOf}}
	var once sync.Once
	b.Run = func(ctx context.Context, run *Run) error {
		if run.Instance == 1 { // Events come while the other instance reads already.
			once.Do(func() { time.Sleep(2 * time.Second); f.write(fanEvents, fanEvents+50) })
		}
		return offload(&f, nil)(ctx, run)
	}
	fanned(t, b, true, func(t *testing.T, got *fan) {
		f = got
		before := f.head()
		f.answer("r", time.Minute, f.reserve())
		if n := len(f.got[0]) + len(f.got[1]); n != fanEvents || f.checkpoint().Position != before {
			t.Errorf("%d events, checkpoint %+v, bound %s", n, f.checkpoint(), before)
		}
	})
}

func TestFault50WorkersGetTheWholePayload(t *testing.T) {
	inv := invocation{id: "b", event: json.RawMessage(`{"color":"red","botId":"b","__cron":{"id":"b","iid":"0","ts":7,"time":5,"systems":{"s":1}}}`)}
	payload, err := workerPayload(inv, "z/2026", 2, 5, time.UnixMilli(99))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"__cron":{"icount":5,"id":"b","iid":2,"maxeid":"z/2026","systems":{"s":1},"ts":7,"until":99},"botId":"b","color":"red"}`
	if string(payload) != want {
		t.Errorf("got  %s\nwant %s", payload, want)
	}
}

func TestWorkersNeitherLockNorComplete(t *testing.T) {
	f := new(fan)
	b := Bot{FanOut: &FanOut{Instances: 2, Key: keyOf}, Run: offload(&f, nil)}
	fanned(t, b, true, func(t *testing.T, got *fan) {
		f = got
		before := f.row()
		answer := f.answer("r", time.Minute, []byte(`{"__cron":{"id":"b","iid":1,"icount":2,"ts":7}}`))
		var o outcome
		if err := json.Unmarshal([]byte(answer), &o); err != nil || o.IID != 1 || o.Bots["b"].Read["queue:q"].Position != f.head() {
			t.Errorf("%s, %v", answer, err)
		}
		if after := f.row(); after.Instance.StartTime != 0 || after.InvokeTime != before.InvokeTime || f.checkpoint().Position != "" || f.lines.Len() > 0 {
			t.Errorf("row %+v, lines %s", after, f.lines.String())
		}
	})
}

func TestALocalRunnerFansOutToGoroutines(t *testing.T) {
	f := new(fan)
	b := Bot{FanOut: &FanOut{Choose: func(run *Run) int { return 4 }, Key: keyOf}, Run: offload(&f, nil)}
	fanned(t, b, false, func(t *testing.T, got *fan) {
		f = got
		b.ID, b.Triggers = "b", []string{"q"}
		runner, err := NewRunner(f.bus, RunnerConfig{Logger: quiet}, b)
		if err != nil {
			t.Fatal(err)
		}
		if err := runner.RunNow(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		if err := runner.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if f.checkpoint().Position != f.head() || len(f.got[3]) == 0 {
			t.Errorf("checkpoint %+v, instance 3 saw %d", f.checkpoint(), len(f.got[3]))
		}
	})
}

func TestAFanOutCannotCheckpointASystem(t *testing.T) {
	b := Bot{FanOut: &FanOut{}, Run: func(ctx context.Context, run *Run) error {
		return run.Bus.Checkpoint(ctx, rstreams.CheckpointRequest{Queue: "system:s", Checkpoint: store.Checkpoint{Position: "10"}})
	}}
	deploy(t, b, LambdaConfig{}, func(t *testing.T, d *deployed) {
		if got := d.answer("r", time.Minute, d.reserve()); !strings.Contains(got, "system") || d.row().ErrorCount != 1 {
			t.Errorf("%s", got)
		}
	})
}

// Fault 21, C7: a queue whose checkpoint cannot be stored does not keep the others' back.
func TestFault21AFanOutStoresTheOtherQueuesCheckpoints(t *testing.T) {
	for _, failing := range []string{"p", "q"} {
		f := new(fan)
		b := Bot{FanOut: &FanOut{Instances: 2, Key: keyOf}}
		b.Run = func(ctx context.Context, run *Run) error {
			_, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{From: []string{"p", "q"}, Read: rstreams.ReadOptions{From: rstreams.Earliest()}},
				func(context.Context, rstreams.Event) error { return nil })
			if err != nil || run.Instance != 0 {
				return err
			}
			operator := rstreams.CheckpointRequest{Bot: "b", Queue: failing, Checkpoint: rstreams.Checkpoint{Position: "z/2026/01"}}
			return f.bus.Checkpoint(ctx, operator)
		}
		fanned(t, b, false, func(t *testing.T, got *fan) {
			f = got
			w, err := f.bus.NewWriter(rstreams.WriterOptions{Bot: "w", Queue: "p"})
			if err != nil {
				t.Fatal(err)
			}
			for n := range 20 {
				if _, err := w.Put(t.Context(), map[string]any{"n": n, "key": fmt.Sprint("k", n)}); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			answer := f.answer("r", time.Minute, f.reserve())
			row := f.row()
			for _, queue := range []string{"p", "q"} {
				if moved := row.Read["queue:"+queue].Position > "z/2026/01"; moved == (queue == failing) {
					t.Errorf("%s fails: %s is at %s, answer %s", failing, queue, row.Read["queue:"+queue].Position, answer)
				}
			}
			if !strings.Contains(answer, "stale checkpoint") || row.ErrorCount != 1 {
				t.Errorf("answer %s, %d errors", answer, row.ErrorCount)
			}
		})
	}
}

// A replay, by the code's own start or by the bus's, moves the checkpoint back as it does without a fan-out.
func TestAFanOutReplays(t *testing.T) {
	for _, inLambda := range []bool{true, false} {
		for _, byBus := range []bool{true, false} {
			f := new(fan)
			start := ""
			b := Bot{FanOut: &FanOut{Instances: 2, Key: keyOf}}
			b.Run = func(ctx context.Context, run *Run) error {
				read := rstreams.ReadOptions{From: rstreams.Earliest(), Start: start}
				if start != "" || byBus {
					read.Limit = 50
				}
				_, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{From: []string{"q"}, Read: read},
					func(_ context.Context, e rstreams.Event) error { return f.see(run, e) })
				return err
			}
			fanned(t, b, inLambda, func(t *testing.T, got *fan) {
				f = got
				cp := rstreams.CheckpointRequest{Bot: "b", Queue: "q", Checkpoint: rstreams.Checkpoint{Position: f.head()}}
				if err := f.bus.Checkpoint(t.Context(), cp); err != nil {
					t.Fatal(err)
				}
				payload := f.reserve()
				if byBus {
					payload = with(t, payload, map[string]any{"starteid": map[string]string{"queue:q": "z/2026"}})
				} else {
					start = "z/2026"
				}
				answer := f.answer("r", time.Minute, payload)
				at := f.checkpoint().Position
				if answer != "null" || f.row().ErrorCount != 0 || at >= f.head() {
					t.Errorf("in Lambda %v, by the bus %v: answer %s, checkpoint %s", inLambda, byBus, answer, at)
					return
				}
				start = ""
				for n := 0; f.checkpoint().Position != f.head() && n < 9; n++ {
					f.answer(fmt.Sprint("r", n), time.Minute, f.reserve())
				}
				if n := f.unseen(0, fanEvents); n > 0 || f.checkpoint().Position != f.head() {
					t.Errorf("in Lambda %v, by the bus %v: %d events not seen again, checkpoint %s", inLambda, byBus, n, f.checkpoint().Position)
				}
			})
		}
	}
}

// What the code was not permitted is not permitted by the fan-out either.
func TestAFanOutsCheckpointDoesNotGoBackUnasked(t *testing.T) {
	b := Bot{FanOut: &FanOut{Instances: 2}}
	b.Run = func(ctx context.Context, run *Run) error {
		was, err := run.Bus.GetCheckpoint(ctx, "", "q")
		if err != nil {
			return err
		}
		return run.Bus.Checkpoint(ctx, rstreams.CheckpointRequest{
			Queue: "q", Checkpoint: rstreams.Checkpoint{Position: "z/2026/01"}, Expected: was.Position,
		})
	}
	fanned(t, b, true, func(t *testing.T, f *fan) {
		cp := rstreams.CheckpointRequest{Bot: "b", Queue: "q", Checkpoint: rstreams.Checkpoint{Position: f.head()}}
		if err := f.bus.Checkpoint(t.Context(), cp); err != nil {
			t.Fatal(err)
		}
		if a := f.answer("r", time.Minute, f.reserve()); !strings.Contains(a, "backwards") || f.checkpoint().Position != f.head() {
			t.Errorf("answer %s, checkpoint %s", a, f.checkpoint().Position)
		}
	})
}
