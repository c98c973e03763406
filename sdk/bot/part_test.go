package bot

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// readers reads q from its beginning in each instance. before is called first, in the instance.
func readers(f **fan, from rstreams.StartPolicy, before func(run *Run)) func(context.Context, *Run) error {
	return func(ctx context.Context, run *Run) error {
		before(run)
		_, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{From: []string{"q"}, Read: rstreams.ReadOptions{From: from}},
			func(_ context.Context, e rstreams.Event) error { return (*f).see(run, e) })
		return err
	}
}

// writeSnapshot registers a snapshot of q with extra events of one key, and then events 1000 to 1099 of different keys.
func (f *fan) writeSnapshot(extra int) {
	f.t.Helper()
	_, err := f.bus.WriteSnapshot(f.t.Context(), rstreams.SnapshotOptions{Bot: "w", Queue: "q"}, func(ctx context.Context, w *rstreams.Writer) error {
		for range extra {
			if _, err := w.Put(ctx, map[string]any{"n": 5000, "key": "x"}); err != nil {
				return err
			}
		}
		for n := range 100 {
			if _, err := w.Put(ctx, map[string]any{"n": 1000 + n, "key": fmt.Sprint("k", n)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

// unseen counts the events from..to that no instance got.
func (f *fan) unseen(from, to int) int {
	seen := map[int]bool{}
	for _, ns := range f.got {
		for _, n := range ns {
			seen[n] = true
		}
	}
	missing := 0
	for n := from; n < to; n++ {
		if !seen[n] {
			missing++
		}
	}
	return missing
}

// A snapshot that is registered between the starts of two instances divides its events by other ids than those that the first
// instance went by: what both have read together is neither of the two.
func TestInstancesThatReadDifferentSnapshotsMoveNothing(t *testing.T) {
	for _, inLambda := range []bool{true, false} {
		f := new(fan)
		var once sync.Once
		b := Bot{FanOut: &FanOut{Instances: 2}}
		b.Run = readers(&f, rstreams.Earliest(), func(run *Run) {
			if run.Instance == 1 {
				once.Do(func() { time.Sleep(time.Second); f.writeSnapshot(1) })
			}
		})
		fanned(t, b, inLambda, func(t *testing.T, got *fan) {
			f = got
			f.writeSnapshot(0)
			time.Sleep(5 * time.Minute)
			answer := f.answer("r", time.Minute, f.reserve())
			if row := f.row(); !strings.Contains(answer, "stale checkpoint") || row.ErrorCount != 1 || f.checkpoint().Position != "" {
				t.Errorf("in Lambda %v: answer %s, checkpoint %s", inLambda, answer, f.checkpoint().Position)
			}
			// The next run has the new one alone.
			answer = f.answer("r2", time.Minute, f.reserve())
			if n := f.unseen(1000, 1100); answer != "null" || n > 0 || f.checkpoint().Position == "" {
				t.Errorf("in Lambda %v: answer %s, %d events of the snapshot handled by nobody", inLambda, answer, n)
			}
		})
	}
}

// An instance that is in a snapshot when another is registered begins again with that in its next read; one that was through
// with the old one does not.
func TestAnInstanceThatGetsIntoAnotherSnapshotMovesNothing(t *testing.T) {
	f := new(fan)
	b := Bot{FanOut: &FanOut{Instances: 2}}
	b.Run = func(ctx context.Context, run *Run) error {
		read := func(limit int64) error {
			_, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{
				From: []string{"q"}, Read: rstreams.ReadOptions{From: rstreams.Earliest(), Limit: limit},
			}, func(_ context.Context, e rstreams.Event) error { return f.see(run, e) })
			return err
		}
		if run.Instance == 0 {
			return read(0)
		}
		if err := read(10); err != nil {
			return err
		}
		f.writeSnapshot(1)
		return read(0)
	}
	fanned(t, b, false, func(t *testing.T, got *fan) {
		f = got
		f.writeSnapshot(0)
		time.Sleep(5 * time.Minute)
		answer := f.answer("r", time.Minute, f.reserve())
		if !strings.Contains(answer, "stale checkpoint") || f.checkpoint().Position != "" {
			t.Errorf("answer %s, checkpoint %s", answer, f.checkpoint().Position)
		}
	})
}

// Midnight between the starts of two instances: the second would leave its part of yesterday to nobody.
func TestInstancesThatBeginOnDifferentDaysMoveNothing(t *testing.T) {
	f := new(fan)
	b := Bot{FanOut: &FanOut{Instances: 2, Key: keyOf}}
	b.Run = readers(&f, rstreams.Today(), func(run *Run) {
		if run.Instance == 1 {
			time.Sleep(10 * time.Second)
		}
	})
	fanned(t, b, false, func(t *testing.T, got *fan) {
		f = got
		time.Sleep(time.Until(time.Date(2026, 11, 21, 23, 59, 55, 0, time.UTC)))
		payload := with(t, f.reserve(), map[string]any{"maxeid": "z/2026/11/23"})
		time.AfterFunc(7*time.Second, func() { f.write(fanEvents, fanEvents+50) })
		answer := f.answer("r", time.Minute, payload)
		if !strings.Contains(answer, "stale checkpoint") || f.checkpoint().Position != "" {
			t.Errorf("answer %s, checkpoint %s", answer, f.checkpoint().Position)
		}
	})
}

// What an instance reads of the queue beside its part does not make its part another one.
func TestInstancesMayReadMoreOfTheQueueThanTheirPart(t *testing.T) {
	at := func(f *fan, n int) string { return fmt.Sprintf("%s%07d", f.head()[:len(f.head())-7], n) }
	for name, looks := range map[string][2]bool{"each something else, on the way": {false, true}, "the same, one before and one after": {true, false}} {
		t.Run(name, func(t *testing.T) {
			f := new(fan)
			look := func(ctx context.Context, run *Run, n int) error {
				for _, err := range run.Bus.Read(ctx, "q", rstreams.ReadOptions{Start: at(f, n), Limit: 1}) {
					if err != nil {
						return err
					}
				}
				return nil
			}
			b := Bot{FanOut: &FanOut{Instances: 2, Key: keyOf}}
			b.Run = func(ctx context.Context, run *Run) error {
				if looks[0] && run.Instance == 0 {
					if err := look(ctx, run, 2); err != nil {
						return err
					}
				}
				_, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{From: []string{"q"}, Read: rstreams.ReadOptions{From: rstreams.Earliest()}},
					func(ctx context.Context, e rstreams.Event) error {
						if looks[1] {
							return look(ctx, run, 7*run.Instance)
						}
						return nil
					})
				if err != nil || !looks[0] || run.Instance == 0 {
					return err
				}
				return look(ctx, run, 2)
			}
			fanned(t, b, true, func(t *testing.T, got *fan) {
				f = got
				cp := rstreams.CheckpointRequest{Bot: "b", Queue: "q", Checkpoint: rstreams.Checkpoint{Position: at(f, 20)}}
				if err := f.bus.Checkpoint(t.Context(), cp); err != nil {
					t.Fatal(err)
				}
				if a := f.answer("r", time.Minute, f.reserve()); a != "null" || f.checkpoint().Position != f.head() {
					t.Errorf("answer %s, checkpoint %s", a, f.checkpoint().Position)
				}
			})
		})
	}
}

func TestAWorkerTellsWhereItsReadsBegan(t *testing.T) {
	f := new(fan)
	b := Bot{FanOut: &FanOut{Instances: 2, Key: keyOf}, Run: offload(&f, nil)}
	fanned(t, b, true, func(t *testing.T, got *fan) {
		f = got
		answer := f.answer("r", time.Minute, []byte(`{"__cron":{"id":"b","iid":1,"icount":2,"ts":7}}`))
		var o outcome
		if err := json.Unmarshal([]byte(answer), &o); err != nil || !strings.HasSuffix(o.Bots["b"].Read["queue:q"].From, "-0000000") {
			t.Errorf("%s, %v", answer, err)
		}
	})
}

// Key is called from goroutines that the bot's code did not start; its panic is the run's failure and not the process's end.
func TestAPanicOfAKeyFailsTheRun(t *testing.T) {
	read := rstreams.ReadOptions{From: rstreams.Earliest()}
	batches := func(ctx context.Context, run *Run, o rstreams.OffloadOptions) error {
		_, err := run.Bus.OffloadBatch(ctx, o, func(context.Context, []rstreams.Event) error { return nil })
		return err
	}
	events := func(ctx context.Context, run *Run, o rstreams.OffloadOptions) error {
		_, err := run.Bus.Offload(ctx, o, func(context.Context, rstreams.Event) error { return nil })
		return err
	}
	for name, code := range map[string]func(ctx context.Context, run *Run) error{
		"batches": func(ctx context.Context, run *Run) error {
			return batches(ctx, run, rstreams.OffloadOptions{From: []string{"q"}, Read: read})
		},
		"two queues": func(ctx context.Context, run *Run) error {
			return events(ctx, run, rstreams.OffloadOptions{From: []string{"q", "other"}, Read: read})
		},
		"a loop that hides it": func(ctx context.Context, run *Run) error {
			for _, err := range run.Bus.Read(ctx, "q", read) {
				if err != nil {
					return nil
				}
			}
			return nil
		},
		"a wish beside it": func(ctx context.Context, run *Run) error {
			_ = batches(ctx, run, rstreams.OffloadOptions{From: []string{"q"}, Read: read})
			return rstreams.RetryAfter(time.Minute, nil)
		},
	} {
		for _, inLambda := range []bool{true, false} {
			b := Bot{FanOut: &FanOut{Instances: 2, Key: func(e *rstreams.Event) int64 {
				if strings.HasSuffix(e.EID, "100") {
					panic("no key")
				}
				return keyOf(e)
			}}, Run: code}
			fanned(t, b, inLambda, func(t *testing.T, f *fan) {
				answer := f.answer("r", time.Minute, f.reserve())
				if row := f.row(); !strings.Contains(answer, "panic: no key") || row.ErrorCount != 1 || f.checkpoint().Position != "" {
					t.Errorf("%s, in Lambda %v: answer %s, %d errors, checkpoint %s", name, inLambda, answer, row.ErrorCount, f.checkpoint().Position)
				}
			})
		}
	}
}

// damageFirst makes the first n lines of q what is no event.
func (f *fan) damageFirst(n int) {
	f.t.Helper()
	page, err := f.st.Chunks.Query(f.t.Context(), "q", "", "z/9", 10, 10<<20)
	if err != nil {
		f.t.Fatal(err)
	}
	c := page.Chunks[0]
	text, err := chunk.AppendGunzip(nil, c.Gzip, 1<<20)
	if err != nil {
		f.t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	for i := range n {
		lines[i] = fmt.Sprintf("{\"damaged\":%d\n", i)
	}
	c.Gzip = chunk.AppendGzip(nil, []byte(strings.Join(lines, "")))
	if err := f.st.Chunks.Put(f.t.Context(), []store.Chunk{c}); err != nil {
		f.t.Fatal(err)
	}
}

func TestAnInstanceThatMeetsOnlyLinesThatAreNoEventsGetsOn(t *testing.T) {
	f := new(fan)
	b := Bot{FanOut: &FanOut{Instances: 2, Key: keyOf}}
	b.Run = func(ctx context.Context, run *Run) error {
		_, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{From: []string{"q"}, Read: rstreams.ReadOptions{
			From: rstreams.Earliest(), Malformed: rstreams.MalformedSkip,
			OnMalformed: func(*rstreams.LineError) { time.Sleep(time.Second) },
		}}, func(_ context.Context, e rstreams.Event) error { return f.see(run, e) })
		return err
	}
	fanned(t, b, false, func(t *testing.T, got *fan) {
		f = got
		f.damageFirst(60)
		for i := range 4 {
			f.answer(fmt.Sprint("r", i), 20*time.Second, f.reserve())
			time.Sleep(time.Minute)
		}
		if f.checkpoint().Position == "" {
			t.Error("no progress")
		}
	})
}

func TestOneInstanceAloneMayLookAtOtherEventsFirst(t *testing.T) {
	f := new(fan)
	b := Bot{FanOut: &FanOut{Instances: 2, Key: keyOf}}
	b.Run = func(ctx context.Context, run *Run) error {
		if run.Instance == 0 {
			for _, err := range run.Bus.Read(ctx, "q", rstreams.ReadOptions{Start: "z/", Limit: 1}) {
				if err != nil {
					return err
				}
			}
		}
		_, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{From: []string{"q"}, Read: rstreams.ReadOptions{From: rstreams.Earliest()}},
			func(ctx context.Context, e rstreams.Event) error { return nil })
		return err
	}
	fanned(t, b, false, func(t *testing.T, got *fan) {
		f = got
		h := f.head()
		cp := rstreams.CheckpointRequest{Bot: "b", Queue: "q", Checkpoint: rstreams.Checkpoint{Position: fmt.Sprintf("%s%07d", h[:len(h)-7], 20)}}
		if err := f.bus.Checkpoint(t.Context(), cp); err != nil {
			t.Fatal(err)
		}
		if a := f.answer("r", time.Minute, f.reserve()); a != "null" || f.checkpoint().Position != f.head() {
			t.Errorf("answer %s, checkpoint %s", a, f.checkpoint().Position)
		}
	})
}
