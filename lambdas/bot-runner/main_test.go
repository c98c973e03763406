package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/lambdas/internal/dispatcher"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

// rows is a table of bots that holds what it was given and notes what is written.
type rows struct {
	store.Bots
	bots  map[string]store.Bot
	calls []string
}

func (r *rows) Get(_ context.Context, id string) (store.Bot, error) {
	b, ok := r.bots[id]
	if !ok {
		return b, store.ErrNotFound
	}
	return b, nil
}

func (r *rows) Lock(_ context.Context, l store.Lock) error {
	r.calls = append(r.calls, "lock")
	b := r.bots[l.Bot]
	b.InvokeTime, b.Instance = l.At, store.Instance{Token: l.At, InvokeTime: l.At}
	r.bots[l.Bot] = b
	return nil
}

func (r *rows) Request(context.Context, store.Request) error {
	r.calls = append(r.calls, "request")
	return nil
}

func (r *rows) Control(_ context.Context, id string, c store.Control) error {
	b := r.bots[id]
	r.calls = append(r.calls, fmt.Sprint("back-off of ", *c.ScheduledTrigger-b.Instance.CompletedTime))
	b.ScheduledTrigger = *c.ScheduledTrigger
	r.bots[id] = b
	return nil
}

func (r *rows) Complete(_ context.Context, c store.Complete) error {
	r.calls = append(r.calls, "end of a dead run")
	b := r.bots[c.Bot]
	b.Instance.CompletedTime, b.Instance.Status, b.ErrorCount = c.At, store.StatusError, b.ErrorCount+1
	r.bots[c.Bot] = b
	return nil
}

// invoked counts invocations by function.
type invoked map[string]int

func (i invoked) Invoke(_ context.Context, b store.Bot, payload []byte) error {
	i[b.ID+" "+b.Invocation.Lambda+b.Invocation.Qualifier]++
	if b.ID == "scheduler" {
		var d dispatcher.Due
		if err := json.Unmarshal(payload, &d); err != nil {
			return err
		}
		i["due: "+strings.Join(slices.Sorted(maps.Keys(d.Due)), ",")]++
	}
	return nil
}

func newEnv(st store.Store, scheduler string) *shell.Env {
	return &shell.Env{
		Store: st, Logger: slog.New(slog.DiscardHandler), Metrics: shell.NewMetrics(io.Discard, "bus", "bot-runner", time.Now),
		PartialBatch: true, Getenv: func(v string) string { return map[string]string{dispatcher.EnvScheduler: scheduler}[v] },
	}
}

// TestTheOriginalsChanges replays the recorded changes of rows: the bots that the original invoked are invoked, but for the
// deviations; changes that need nothing done cost nothing.
func TestTheOriginalsChanges(t *testing.T) {
	raw, err := os.ReadFile("testdata/invocation.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Clock int64
		Cases []struct {
			Note    string
			Row     json.RawMessage
			Invoked json.RawMessage
		}
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	deviations := map[string]string{
		"ended, behind only on the second trigger": "lock",                                // W-P11
		"running longer than maxDuration":          "end of a dead run, back-off of 2250", // W-P7, C58
		"archived":                                 "",                                    // W-P6
		"errorCount rose 0 to 1: backs off":        "lock",                                // back-off counts from the run's end, 9 s ago
		"errorCount rose 3 to 4: backs off":        "back-off of 25628",                   // as the original, but from the run's end
	}
	for _, c := range g.Cases {
		row, err := awsbus.DecodeBotImage(c.Row)
		if err != nil {
			t.Fatal(err)
		}
		table := &rows{bots: map[string]store.Bot{row.ID: row}}
		st := memory.New(memory.Options{})
		st.Bots = table
		now := func() time.Time { return time.UnixMilli(g.Clock) }
		inv := invoked{}
		once := dispatch.NewOnce(st, inv, dispatch.OnceConfig{Now: now, Logger: slog.New(slog.DiscardHandler)})
		var e shell.DynamoEvent
		text := fmt.Sprintf(`{"Records":[{"eventName":"MODIFY","dynamodb":{"SequenceNumber":"1","OldImage":%s,"NewImage":%s}}]}`, c.Row, c.Row)
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatal(err)
		}
		if answer, err := handler(newEnv(st, ""), once, now)(t.Context(), e); err != nil || answer.Failed() != "" {
			t.Errorf("%s: %v, %v", c.Note, answer, err)
		}
		got := strings.Join(table.calls, ", ")
		want := ""
		if string(c.Invoked) != "null" {
			want = "lock"
		}
		if dev, ok := deviations[c.Note]; ok {
			want = dev
			delete(deviations, c.Note)
		}
		if got != want || len(inv) != strings.Count(want, "lock") {
			t.Errorf("%s: %q, invoked %v; want %q", c.Note, got, inv, want)
		}
	}
	if len(deviations) > 0 {
		t.Errorf("not met: %v", deviations)
	}
}

func image(id, more string) string { return fmt.Sprintf(`{"id":{"S":%q}%s}`, id, more) }

func event(t *testing.T, pairs ...string) shell.DynamoEvent {
	t.Helper()
	var e shell.DynamoEvent
	for i := 0; i < len(pairs); i += 2 {
		var r shell.DynamoRecord
		r.Change.SequenceNumber = fmt.Sprint(1001 + i/2)
		r.Change.OldImage, r.Change.NewImage = json.RawMessage(pairs[i]), json.RawMessage(pairs[i+1])
		e.Records = append(e.Records, r)
	}
	return e
}

// TestBotsThatAreDueSoonAreTheSchedulers: one invocation for a batch, and none for what it was told before.
func TestBotsThatAreDueSoonAreTheSchedulers(t *testing.T) {
	now := time.Now().UnixMilli()
	failed := func(id string, errors int) string {
		return image(id, fmt.Sprintf(`,"lambdaName":{"S":"f"},"errorCount":{"N":"%d"},"scheduledTrigger":{"N":"%d"},"instances":{"M":{"0":{"M":{`+
			`"token":{"N":"5"},"invokeTime":{"N":"5"},"status":{"S":"error"},"completedTime":{"N":"%d"}}}}}`, errors, now+600_000, now))
	}
	in := func(ms int64) string {
		return fmt.Sprintf(`,"lambdaName":{"S":"f"},"scheduledTrigger":{"N":"%d"}`, now+ms)
	}
	st := memory.New(memory.Options{})
	inv := invoked{}
	env := newEnv(st, "sched")
	h := handler(env, dispatcher.New(env, inv), time.Now)
	for range 2 {
		if _, err := h(t.Context(), event(t,
			"", image("soon", in(20_000)), "", image("later", in(600_000)), "", failed("failed", 1), "", image("too", in(30_000)),
		)); err != nil {
			t.Fatal(err)
		}
	}
	if inv["scheduler sched"] != 1 || inv["due: soon,too"] != 1 {
		t.Errorf("%v", inv)
	}
}

// TestAnUnreadableChangeHoldsUpNoOther, and a failure to announce triggers makes the batch come again.
func TestAnUnreadableChangeHoldsUpNoOther(t *testing.T) {
	st := memory.New(memory.Options{})
	inv := invoked{}
	if err := st.Bots.Register(t.Context(), store.Registration{ID: "b", Invocation: store.Invocation{Type: "lambda", Lambda: "f"}}); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UnixMilli()
	if err := st.Bots.Control(t.Context(), "b", store.Control{Trigger: &now}); err != nil {
		t.Fatal(err)
	}
	env := newEnv(st, "")
	triggered := image("b", fmt.Sprintf(`,"lambdaName":{"S":"f"},"trigger":{"N":"%d"}`, now))
	answer, err := handler(env, dispatcher.New(env, inv), time.Now)(t.Context(), event(t, "", `{"id":7}`, "", triggered, image("gone", ""), ""))
	if err != nil || answer.Failed() != "" || inv["b f"] != 1 {
		t.Errorf("%v, %v, %v", answer, err, inv)
	}
	st.Settings = full{st.Settings}
	env = newEnv(st, "")
	answer, err = handler(env, dispatcher.New(env, inv), time.Now)(t.Context(), event(t, "", image("new", `,"triggers":{"L":[{"S":"q"}]}`)))
	if err != nil || answer.Failed() != "1001" {
		t.Errorf("%v, %v", answer, err)
	}
}

// full is settings that take nothing.
type full struct{ store.Settings }

func (full) Put(context.Context, string, json.RawMessage) error { return store.ErrUnavailable }
