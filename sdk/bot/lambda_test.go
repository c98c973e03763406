package bot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// deployed is a stage whose bot "b" runs in Lambda.
type deployed struct {
	stage
	fn    *Lambda
	lines bytes.Buffer
}

// deploy runs fn in a bubble of virtual time.
func deploy(t *testing.T, b Bot, cfg LambdaConfig, fn func(t *testing.T, d *deployed)) {
	t.Helper()
	deployOn(t, b, cfg, func(st store.Store) store.Store { return st }, fn)
}

func deployOn(t *testing.T, b Bot, cfg LambdaConfig, wrap func(store.Store) store.Store, fn func(t *testing.T, d *deployed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 21, 2, 35, 0, 0, time.UTC)))
		b.ID = "b"
		d := &deployed{stage: stage{t: t, st: memory.New(memory.Options{})}}
		reg, err := b.Registration()
		if err != nil {
			t.Fatal(err)
		}
		reg.Invocation = store.Invocation{Type: "lambda", Lambda: "fn"}
		if err := d.st.Bots.Register(t.Context(), reg); err != nil {
			t.Fatal(err)
		}
		cfg.Lines, cfg.Runner.Logger = &d.lines, quiet
		if d.fn, err = NewLambda(rstreams.New(wrap(d.st), rstreams.Options{Logger: quiet}), cfg, b); err != nil {
			t.Fatal(err)
		}
		fn(t, d)
		if err := d.fn.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

// invoke invokes the function with a request id and a time to run.
func (d *deployed) invoke(requestID string, left time.Duration, payload []byte) (string, error) {
	ctx, cancel := context.WithTimeout(lambdacontext.NewContext(context.Background(), &lambdacontext.LambdaContext{AwsRequestID: requestID}), left)
	defer cancel()
	answer, err := d.fn.Invoke(ctx, payload)
	return string(answer), err
}

// answer is invoke where an error is none of what is tested.
func (d *deployed) answer(requestID string, left time.Duration, payload []byte) string {
	d.t.Helper()
	answer, err := d.invoke(requestID, left, payload)
	if err != nil {
		d.t.Errorf("the invocation failed: %v", err)
	}
	return answer
}

// with sets members of a payload's __cron.
func with(t *testing.T, payload []byte, members map[string]any) []byte {
	t.Helper()
	var p map[string]any
	if err := json.Unmarshal(payload, &p); err != nil {
		t.Fatal(err)
	}
	for k, v := range members {
		p["__cron"].(map[string]any)[k] = v
	}
	payload, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

func TestALambdaRunIsConfirmedAndCompletedOnce(t *testing.T) {
	st := new(store.Store)
	b := Bot{Settings: map[string]any{"color": "red"}, Run: func(ctx context.Context, run *Run) error {
		row, err := st.Bots.Get(ctx, "b")
		if err != nil {
			return err
		}
		in := row.Instance
		if in.RequestID != "req-1" || run.RequestID != "req-1" || in.StartTime == 0 || in.CompletedTime != 0 {
			t.Errorf("while running: %+v", in)
		}
		// The lock holds for the function's time, and not longer.
		if deadline, _ := ctx.Deadline(); dispatch.Deadline(&row) != deadline.UnixMilli() {
			t.Errorf("the lock ends at %d, the function at %d", dispatch.Deadline(&row), deadline.UnixMilli())
		}
		var settings struct{ Color string }
		if err := run.DecodeSettings(&settings); err != nil || settings.Color != "red" {
			t.Errorf("settings %s, %v", run.Settings, err)
		}
		run.RunAgain()
		return run.SetResult(map[string]int{"rows": 3})
	}}
	deploy(t, b, LambdaConfig{}, func(t *testing.T, d *deployed) {
		*st = d.st
		payload := d.reserve()
		time.Sleep(700 * time.Millisecond) // on the way
		if got := d.answer("req-1", time.Minute, payload); got != "null" {
			t.Errorf("answer %s", got)
		}
		row := d.row()
		if in := row.Instance; in.Status != store.StatusComplete || in.CompletedTime == 0 || row.ErrorCount != 0 || row.Trigger != in.CompletedTime {
			t.Errorf("row %+v", row)
		}
		var text string
		if unpack(t, row.Instance.Log, &text); text != "" {
			t.Errorf("log %q", text)
		}
		var result struct{ Rows int }
		if unpack(t, row.Instance.Result, &result); result.Rows != 3 {
			t.Errorf("result %+v", result)
		}
		// AWS invokes again when it does not know how an invocation ended.
		if got := d.answer("req-1", time.Minute, payload); got != `"already running"` {
			t.Errorf("again: %s", got)
		}
		if after := d.row(); after.Instance.CompletedTime != row.Instance.CompletedTime {
			t.Errorf("completed twice: %+v", after.Instance)
		}
	})
}

// Row L6: the lines by which Botmon finds the logs of a run.
func TestL6LinesOfARun(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		boom bool
		want string
	}{
		"success": {nil, false, "check,start,complete"},
		"failure": {errBoom, false, "check,start,complete"},
		"panic":   {nil, true, "check,start,end"},
	} {
		t.Run(name, func(t *testing.T) {
			deploy(t, Bot{Run: func(context.Context, *Run) error {
				if c.boom {
					panic("boom")
				}
				return c.err
			}}, LambdaConfig{}, func(t *testing.T, d *deployed) {
				payload := d.reserve()
				d.answer("req-1", time.Minute, payload)
				var want strings.Builder
				for step := range strings.SplitSeq(c.want, ",") {
					if step == "end" {
						want.WriteString("[LEOCRON]:end:b:req-1\n")
						continue
					}
					fmt.Fprintf(&want, "[LEOCRON]:%s:b:0:%d:req-1\n", step, d.row().Token)
				}
				if d.lines.String() != want.String() {
					t.Errorf("got:\n%s\nwant:\n%s", d.lines.String(), want.String())
				}
			})
		})
	}
}

// Fault 46: the original stores {} for an error, and completes a failed run twice.
func TestFault46AFailureIsStoredOnceAndStructured(t *testing.T) {
	for name, run := range map[string]func(context.Context, *Run) error{
		"error": func(context.Context, *Run) error { return errBoom },
		"panic": func(context.Context, *Run) error { panic(errBoom) },
	} {
		t.Run(name, func(t *testing.T) {
			deploy(t, Bot{Run: run}, LambdaConfig{}, func(t *testing.T, d *deployed) {
				got := d.answer("r", time.Minute, d.reserve())
				if !strings.Contains(got, `"msg":"`) || !strings.Contains(got, "boom") {
					t.Errorf("answer %s", got)
				}
				row := d.row()
				var log dispatch.RunError
				if unpack(t, row.Instance.Log, &log); !strings.Contains(log.Message, "boom") || (log.Stack != "") != (name == "panic") {
					t.Errorf("log %+v", log)
				}
				if row.ErrorCount != 1 || row.Instance.Status != store.StatusError || dispatch.Deadline(&row) != 0 {
					t.Errorf("row %+v", row)
				}
			})
		})
	}
}

// Fault 47: the switch ParityLambdaNeverFails.
func TestFault47AFailureFailsTheInvocationOnlyWhereThatIsWanted(t *testing.T) {
	for _, fails := range []bool{false, true} {
		deploy(t, Bot{LambdaFails: fails, Run: func(context.Context, *Run) error { return errBoom }}, LambdaConfig{}, func(t *testing.T, d *deployed) {
			payload := d.reserve()
			if _, err := d.invoke("r", time.Minute, payload); errors.Is(err, errBoom) != fails {
				t.Errorf("LambdaFails %v: %v", fails, err)
			}
			if row := d.row(); row.ErrorCount != 1 || dispatch.Deadline(&row) != 0 {
				t.Errorf("the run is not completed: %+v", row)
			}
			if got := d.answer("r", time.Minute, payload); got != answerRunning || d.row().ErrorCount != 1 {
				t.Errorf("AWS's retry: %s, %d errors", got, d.row().ErrorCount)
			}
		})
	}
}

// Fault 48: the original takes lock_undefined, shared by everybody, and keeps it when a promise fails.
func TestFault48InvocationsWithoutABusTakeALockOfTheirOwn(t *testing.T) {
	for name, run := range map[string]func(){"returns": func() {}, "panics": func() { panic("boom") }} {
		t.Run(name, func(t *testing.T) {
			started := make(chan struct{}, 2)
			deploy(t, Bot{Run: func(_ context.Context, r *Run) error {
				var settings struct{ Day string }
				if err := r.DecodeSettings(&settings); err != nil || settings.Day != "monday" || r.Token != 0 {
					t.Errorf("settings %s, %v, token %d", r.Settings, err, r.Token)
				}
				started <- struct{}{}
				time.Sleep(time.Second)
				run()
				return nil
			}}, LambdaConfig{}, func(t *testing.T, d *deployed) {
				first := make(chan string)
				go func() { first <- d.answer("r1", time.Minute, []byte(`{"day":"monday"}`)) }()
				<-started
				if err := d.st.Settings.Acquire(t.Context(), "b", "other", time.Now().UnixMilli(), time.Now().UnixMilli()+1000); !errors.Is(err, store.ErrConflict) {
					t.Errorf("the lock lock_b is not taken: %v", err)
				}
				for _, id := range []string{"r1", "r2"} { // AWS may deliver one request twice.
					if got := d.answer(id, time.Minute, []byte(`{"day":"monday"}`)); got != answerRunning {
						t.Errorf("request %s meanwhile: %s", id, got)
					}
				}
				<-first
				if err := d.st.Settings.Acquire(t.Context(), "b", "other", time.Now().UnixMilli(), time.Now().UnixMilli()+1000); err != nil {
					t.Errorf("the lock is not given back: %v", err)
				}
				if row := d.row(); row.Instance.StartTime != 0 || row.ErrorCount != 0 {
					t.Errorf("the row was touched: %+v", row)
				}
				if lines := d.lines.String(); lines != "" && (name == "returns" || lines != "[LEOCRON]:end:b:r1\n") {
					t.Errorf("lines %s", lines)
				}
			})
		})
	}
}

func TestL4FlagsOfAnInvocation(t *testing.T) {
	var ran atomic.Int32
	code := Bot{Run: func(_ context.Context, run *Run) error {
		ran.Add(1)
		run.RunAgain()
		return nil
	}}
	now := func() int64 { return time.Now().UnixMilli() }
	for name, c := range map[string]struct {
		flags func() map[string]any
		busy  bool // another run holds the lock
		runs  int32
		want  string
		check func(t *testing.T, row store.Bot)
	}{
		"old": {func() map[string]any { return map[string]any{"time": now() - 2001} }, false, 0, answerNoLock, func(t *testing.T, row store.Bot) {
			if row.Instance.StartTime != 0 {
				t.Errorf("it was started: %+v", row.Instance)
			}
		}},
		"not old":  {func() map[string]any { return map[string]any{"time": now() - 1999} }, false, 1, "null", nil},
		"busy":     {func() map[string]any { return nil }, true, 0, answerRunning, nil},
		"no token": {func() map[string]any { return map[string]any{"ts": 5} }, false, 0, answerRunning, nil},
		"force": {func() map[string]any { return map[string]any{"force": true} }, true, 1, "null", func(t *testing.T, row store.Bot) {
			if row.Instance.RequestID != "r" || row.Instance.CompletedTime == 0 {
				t.Errorf("the lock was not taken: %+v", row.Instance)
			}
		}},
		"ignoreLock": {func() map[string]any { return map[string]any{"ignoreLock": true} }, true, 1, "null", func(t *testing.T, row store.Bot) {
			if row.Instance.RequestID != "other" || row.Instance.CompletedTime != 0 {
				t.Errorf("the other's run was touched: %+v", row.Instance)
			}
		}},
		"preventRunAgain": {func() map[string]any { return map[string]any{"preventRunAgain": true} }, false, 1, "null", func(t *testing.T, row store.Bot) {
			if row.Trigger != 0 {
				t.Errorf("it was triggered at %d", row.Trigger)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			deploy(t, code, LambdaConfig{}, func(t *testing.T, d *deployed) {
				ran.Store(0)
				payload := d.reserve()
				if c.busy {
					err := d.st.Bots.Confirm(t.Context(), store.Confirm{Bot: "b", Token: d.row().Token, RequestID: "other", At: now(), MaxDuration: 60000})
					if err != nil {
						t.Fatal(err)
					}
				}
				if got := d.answer("r", time.Minute, with(t, payload, c.flags())); got != c.want || ran.Load() != c.runs {
					t.Errorf("answer %s, %d runs; want %s, %d", got, ran.Load(), c.want, c.runs)
				}
				if c.check != nil {
					c.check(t, d.row())
				}
			})
		})
	}
	t.Run("force makes the row", func(t *testing.T) {
		deploy(t, code, LambdaConfig{}, func(t *testing.T, d *deployed) {
			ran.Store(0)
			d.answer("r", time.Minute, []byte(`{"__cron":{"id":"other","iid":"0","ts":1,"force":true}}`))
			row, err := d.st.Bots.Get(t.Context(), "other")
			if err != nil || ran.Load() != 1 || row.Instance.CompletedTime == 0 || row.Invocation.Type != "" {
				t.Errorf("%d runs, row %+v, %v", ran.Load(), row, err)
			}
		})
	})
	t.Run("forceComplete ends whatever run holds the lock", func(t *testing.T) {
		st := new(store.Store)
		taker := Bot{Run: func(ctx context.Context, _ *Run) error {
			row, err := st.Bots.Get(ctx, "b")
			if err != nil {
				return err
			}
			return st.Bots.Lock(ctx, dispatch.LockFor(row, time.Now()))
		}}
		deploy(t, taker, LambdaConfig{}, func(t *testing.T, d *deployed) {
			*st = d.st
			d.answer("r", time.Minute, with(t, d.reserve(), map[string]any{"forceComplete": true}))
			if row := d.row(); dispatch.Deadline(&row) != 0 || row.Instance.Status != store.StatusComplete {
				t.Errorf("row %+v", row)
			}
		})
	})
}

func TestALambdaRunEndsBeforeItsTime(t *testing.T) {
	t.Run("reads end after four fifths", func(t *testing.T) {
		deploy(t, Bot{Run: func(ctx context.Context, run *Run) error {
			begin := time.Now()
			<-run.Stopping()
			if took := time.Since(begin); took != 40*time.Second || ctx.Err() != nil || !run.StopAt.Equal(time.Now()) {
				t.Errorf("soft stop after %v", took)
			}
			return nil
		}}, LambdaConfig{}, func(t *testing.T, d *deployed) { d.answer("r", 50*time.Second, d.reserve()) })
	})
	for name, run := range map[string]func(ctx context.Context) error{
		"code that heeds its context": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"code that does not":          func(context.Context) error { time.Sleep(time.Hour); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			for _, left := range []time.Duration{time.Second, 3 * time.Second, time.Minute, 15 * time.Minute} {
				deploy(t, Bot{Run: func(ctx context.Context, _ *Run) error { return run(ctx) }}, LambdaConfig{}, func(t *testing.T, d *deployed) {
					begin := time.Now()
					got := d.answer("r", left, d.reserve())
					if took := time.Since(begin); took >= left || took < left*7/10 || !strings.Contains(got, "time limit") {
						t.Errorf("of %v it took %v: %s", left, took, got)
					}
					if row := d.row(); row.ErrorCount != 1 || dispatch.Deadline(&row) != 0 {
						t.Errorf("row %+v", row)
					}
					time.Sleep(2 * time.Hour) // What was left behind ends, outside this test.
				})
			}
		})
	}
}

func TestALambdaThatDiesHoldsItsLockNoLongerThanItsTime(t *testing.T) {
	// The process is frozen in the middle of a run: nothing completes it.
	frozen := func(st store.Store) store.Store {
		st.Bots = &shaky{Bots: st.Bots, before: map[string]int{"complete": 1000}}
		return st
	}
	deployOn(t, Bot{Run: func(context.Context, *Run) error { return nil }}, LambdaConfig{}, frozen, func(t *testing.T, d *deployed) {
		payload := d.reserve()
		time.Sleep(5 * time.Second)
		end := time.Now().Add(30 * time.Second)
		d.answer("r", 30*time.Second, payload)
		row := d.row()
		if got := dispatch.Deadline(&row); got != end.UnixMilli() {
			t.Errorf("the lock ends at %d, the function at %d", got, end.UnixMilli())
		}
		if decided := dispatch.Decide(row, end.Add(time.Millisecond)); decided.Action != dispatch.Expire {
			t.Errorf("after its time: %v %s", decided.Action, decided.Reason)
		}
	})
}

func TestALockThatCannotBeTakenIsAnswered(t *testing.T) {
	for _, fails := range []bool{false, true} {
		sh := &shaky{before: map[string]int{"confirm": 100}}
		b := Bot{LambdaFails: fails, Run: func(context.Context, *Run) error { t.Error("it ran"); return nil }}
		deployOn(t, b, LambdaConfig{}, sh.wrap, func(t *testing.T, d *deployed) {
			got, err := d.invoke("r", time.Minute, d.reserve())
			if fails != errors.Is(err, errShaky) || !fails && got != answerNoLock {
				t.Errorf("LambdaFails %v: %s, %v", fails, got, err)
			}
			if row := d.row(); row.ErrorCount != 0 || dispatch.Decide(row, time.Now()).Action != dispatch.Run {
				t.Errorf("it is not given back: %+v", row)
			}
		})
	}
}

func TestADuplicateDeliveryDoesNotRunBesideTheFirst(t *testing.T) {
	var runs atomic.Int32
	deploy(t, Bot{Run: func(context.Context, *Run) error {
		runs.Add(1)
		time.Sleep(time.Second)
		return nil
	}}, LambdaConfig{}, func(t *testing.T, d *deployed) {
		payload := d.reserve()
		answers := make(chan string)
		for range 5 {
			go func() { answers <- d.answer("same", time.Minute, payload) }()
		}
		count := map[string]int{}
		for range 5 {
			count[<-answers]++
		}
		if runs.Load() != 1 || count["null"] != 1 || count[answerRunning] != 4 {
			t.Errorf("%d runs, answers %v", runs.Load(), count)
		}
	})
}
