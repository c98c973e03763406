package dispatch

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// goldenStep is one step of the recorded life of a bot.
type goldenStep struct {
	What     string
	Clock    int64
	Result   json.RawMessage
	Row      json.RawMessage
	Requests []struct {
		Request struct{ ExpressionAttributeValues json.RawMessage }
	}
}

// steps reads the recording of bot.trigger, lock, checkLock and reportComplete.
func runSteps(t *testing.T) []goldenStep {
	t.Helper()
	var g struct {
		Sequences []struct{ Steps []goldenStep }
	}
	readGolden(t, "leocron.json", &g)
	return g.Sequences[0].Steps
}

// outcome is what the end of a run leaves, with log and result as JSON.
type outcome struct {
	Completed      int64
	Status         string
	Log, Result    string
	Errors         int
	Trigger        int64
	RequestID      string
	Start, MaxTime int64
}

// inflated returns the JSON in a log or result.
func inflated(t *testing.T, b []byte) string {
	t.Helper()
	if len(b) == 0 {
		return ""
	}
	r, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// outcomeOf reads the parts of a recorded row that a run's end is about.
func outcomeOf(t *testing.T, raw json.RawMessage) outcome {
	t.Helper()
	b := rowOf(t, raw)
	var item struct {
		Instances struct {
			M map[string]struct {
				M struct{ Log, Result struct{ B []byte } }
			}
		}
	}
	if err := json.Unmarshal(raw, &item); err != nil {
		t.Fatal(err)
	}
	in := item.Instances.M["0"].M
	b.Instance.Log, b.Instance.Result = in.Log.B, in.Result.B
	return outcomeIn(t, b)
}

func outcomeIn(t *testing.T, b store.Bot) outcome {
	t.Helper()
	in := b.Instance
	return outcome{
		Completed: in.CompletedTime, Status: in.Status, Log: inflated(t, in.Log), Result: inflated(t, in.Result),
		Errors: b.ErrorCount, Trigger: b.Trigger, RequestID: in.RequestID, Start: in.StartTime, MaxTime: in.MaxDuration,
	}
}

// TestRunsAgreeWithTheOriginalStepByStep takes the recorded steps on a bot of ours: what was refused is refused, and after each
// step the row says the same. Deviations are the token, which is the time of the lock (W-P16), and that a run ends once.
func TestRunsAgreeWithTheOriginalStepByStep(t *testing.T) {
	steps := runSteps(t)
	var st store.Store
	var token int64
	at := func(ms int64) time.Time { return time.UnixMilli(ms) }
	get := func() store.Bot {
		b, err := st.Bots.Get(t.Context(), "g-lock")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	// begin makes the bot, with so many failed runs behind it, and begins a run as the first three steps recorded it.
	begin := func(failed int) {
		st = memory.New(memory.Options{})
		err := st.Bots.Register(t.Context(), store.Registration{
			ID: "g-lock", Name: "g-lock", Triggers: []string{"src"}, Invocation: store.Invocation{Type: "lambda", Lambda: "g-lock"},
		})
		for i := range failed {
			l := LockFor(get(), at(int64(100+i)))
			err = errors.Join(err, st.Bots.Lock(t.Context(), l),
				st.Bots.Complete(t.Context(), store.Complete{Bot: "g-lock", Token: l.At, At: l.At + 1, Failed: true}))
		}
		err = errors.Join(err, st.Bots.Control(t.Context(), "g-lock", store.Control{Trigger: ptr(steps[0].Clock)}))
		dec := Decide(get(), at(steps[1].Clock))
		if token = dec.Lock.At; failed == 0 && dec.Action != Run {
			t.Fatalf("decided %+v", dec)
		}
		if failed > 0 { // It would back off; the recording did not ask.
			l := LockFor(get(), at(steps[1].Clock))
			dec.Lock, token = l, l.At
		}
		err = errors.Join(err, st.Bots.Lock(t.Context(), dec.Lock))
		if got, want := get().Instance.InvokeTime, rowOf(t, steps[1].Row).Instance.InvokeTime; got != want || got != steps[1].Clock {
			t.Errorf("invoked at %d, the original at %d", got, want)
		}
		err = errors.Join(err, st.Bots.Confirm(t.Context(), store.Confirm{
			Bot: "g-lock", Token: token, RequestID: "req-1", At: steps[2].Clock, MaxDuration: 300_000,
		}))
		if err != nil {
			t.Fatal(err)
		}
	}
	begin(0)
	seen := 0
	for i, s := range steps {
		refused := bytes.Contains(s.Result, []byte("ConditionalCheckFailed"))
		var err error
		complete := func(c store.Complete) {
			c.Bot, c.Token, c.At = "g-lock", token, s.Clock
			values := struct {
				Log    struct{ B []byte } `json:":log"`
				Result struct{ B []byte } `json:":result"`
			}{}
			if err := json.Unmarshal(s.Requests[0].Request.ExpressionAttributeValues, &values); err != nil {
				t.Fatal(err)
			}
			c.Log, c.Result = values.Log.B, values.Result.B
			before := outcomeOf(t, steps[i-1].Row)
			if !refused {
				begin(before.Errors)
			}
			err = st.Bots.Complete(t.Context(), c)
		}
		switch s.What {
		case "bot.trigger", "original leo-cron processor on that change: lock, invoke", "checkLock, __cron.time older than 2 s: refused without a request":
			continue // done by begin; __cron.time is not sent (C49)
		case "checkLock":
		case "checkLock, second run with the same token: refused":
			err = st.Bots.Confirm(t.Context(), store.Confirm{Bot: "g-lock", Token: token, RequestID: "req-2", At: s.Clock, MaxDuration: 300_000})
		case "checkLock, another token: refused":
			err = st.Bots.Confirm(t.Context(), store.Confirm{Bot: "g-lock", Token: 5, RequestID: "req-2", At: s.Clock, MaxDuration: 300_000})
		case "reportComplete by the wrong run: refused, error callback":
			complete(store.Complete{RequestID: "req-2"})
		case "reportComplete complete":
			complete(store.Complete{RequestID: "req-1"})
		case "reportComplete error", "reportComplete error again, log = an Error object":
			complete(store.Complete{RequestID: "req-1", Failed: true})
		case "reportComplete with run-again":
			complete(store.Complete{RequestID: "req-1", RunAgain: true})
		case "reportComplete without request id":
			complete(store.Complete{})
		default:
			continue // forced starts and ends are below
		}
		seen++
		if errors.Is(err, store.ErrConflict) != refused || err != nil && !refused {
			t.Errorf("%s: %v, the original refused it: %v", s.What, err, refused)
		}
		if diff := cmp.Diff(outcomeOf(t, s.Row), outcomeIn(t, get())); diff != "" {
			t.Errorf("%s: %s", s.What, diff)
		}
		if d := Decide(get(), at(s.Clock+1)); (d.Reason == Running) != (get().Instance.CompletedTime == 0) {
			t.Errorf("%s: decided %+v", s.What, d)
		}
		if strings.HasPrefix(s.What, "reportComplete") && !refused {
			// An error is counted once, however often its end is told.
			if err := st.Bots.Complete(t.Context(), store.Complete{Bot: "g-lock", Token: token, RequestID: "req-1", At: s.Clock, Failed: true}); !errors.Is(err, store.ErrConflict) {
				t.Errorf("%s, told again: %v", s.What, err)
			}
		}
	}
	if seen != 9 {
		t.Errorf("%d of 9 steps met", seen)
	}
}

// TestLogsAgreeWithTheOriginal: what runs of ours write reads as the original's.
func TestLogsAgreeWithTheOriginal(t *testing.T) {
	for _, s := range runSteps(t) {
		var log any
		switch s.What {
		case "reportComplete complete":
			log = ""
		case "reportComplete error":
			log = RunError{Message: "m", Stack: "s"}
		default:
			continue
		}
		b, err := EncodeLog(log)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := inflated(t, b), outcomeOf(t, s.Row).Log; got != want {
			t.Errorf("%s: log %s, the original's %s", s.What, got, want)
		}
	}
}

// TestWP8RowsThatForcedRunsLeaveCanBeServed: leo-sdk's forced end replaces the instance, its forced start too.
func TestWP8RowsThatForcedRunsLeaveCanBeServed(t *testing.T) {
	seen := 0
	for _, s := range runSteps(t) {
		if s.Row == nil {
			continue
		}
		row := rowOf(t, s.Row)
		row.Invocation = store.Invocation{Type: "lambda", Lambda: "g-lock"}
		switch s.What {
		case "reportComplete forceComplete: instance replaced":
			seen++
			row.Trigger = s.Clock
			if d := Decide(row, time.UnixMilli(s.Clock+1)); d.Action != Run || d.Lock.Seen != row.InvokeTime || d.Lock.At <= row.InvokeTime {
				t.Errorf("%s: %+v", s.What, d)
			}
		case "checkLock force: instance replaced, no condition":
			seen++
			row.Trigger = s.Clock + 5
			if d := Decide(row, time.UnixMilli(s.Clock+60_000)); d.Reason != Running {
				t.Errorf("%s: %+v", s.What, d)
			}
			if d := Decide(row, time.UnixMilli(s.Clock+60_001)); d.Action != Expire {
				t.Errorf("%s: %+v", s.What, d)
			}
		}
	}
	if seen != 2 {
		t.Errorf("%d of 2 steps met", seen)
	}
}

// TestOnceTriggersAgreeWithTheOriginal replays the recorded batches of the original's event trigger.
func TestOnceTriggersAgreeWithTheOriginal(t *testing.T) {
	var g struct {
		Cases []struct {
			Note    string
			Clock   int64
			Records []struct {
				Dynamodb struct {
					NewImage, OldImage struct {
						Event struct{ S string }
						Max   struct{ S string } `json:"max_eid"`
					}
				}
			}
			Updates []struct {
				Key                       struct{ ID struct{ S string } }
				ExpressionAttributeNames  map[string]string
				ExpressionAttributeValues map[string]map[string]string
			}
		}
	}
	readGolden(t, "triggers.json", &g)
	for _, c := range g.Cases {
		bubble(t, func(t *testing.T, w *world) {
			for _, r := range []store.Registration{
				{ID: "t-one", Triggers: []string{"q.t1"}, Paused: true},
				{ID: "t-two", Triggers: []string{"queue:q.t2", "q.t1"}, Paused: true},
				{ID: "t-arch", Triggers: []string{"q.t1"}, Paused: true},
			} {
				w.bot(r, nothing)
			}
			w.control("t-arch", store.Control{Archived: ptr(true)})
			heads := map[string]Head{}
			for _, r := range c.Records {
				if n, o := r.Dynamodb.NewImage, r.Dynamodb.OldImage; n.Max.S != "" && n.Max.S != o.Max.S {
					heads[n.Event.S] = Head{ID: n.Max.S, At: c.Clock}
				}
			}
			if _, err := w.once(OnceConfig{}).Moved(t.Context(), heads); err != nil {
				t.Fatal(err)
			}
			want, got := map[string]string{}, map[string]string{}
			for _, u := range c.Updates {
				for name, attr := range u.ExpressionAttributeNames {
					if n, ok := strings.CutPrefix(name, "#n_"); ok {
						want[u.Key.ID.S+" "+attr] = u.ExpressionAttributeValues[":v_"+n]["S"]
					}
				}
			}
			for _, id := range []string{"t-one", "t-two", "t-arch"} {
				b := w.get(id)
				for ref, head := range b.Requested {
					got[id+" "+ref] = head
				}
				if (b.Trigger == c.Clock) != (len(b.Requested) > 0) {
					t.Errorf("%s: trigger of %s is %d", c.Note, id, b.Trigger)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: requested %v, the original %v", c.Note, got, want)
			}
		})
	}
}
