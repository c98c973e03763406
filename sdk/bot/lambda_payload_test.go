package bot

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func TestPayloadsOfTheOriginalBusRun(t *testing.T) {
	text, err := os.ReadFile("testdata/invocation.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Note    string
			Payload json.RawMessage
		}
	}
	if err := json.Unmarshal(text, &golden); err != nil || len(golden.Cases) < 5 {
		t.Fatal(err, len(golden.Cases))
	}
	for _, c := range golden.Cases {
		t.Run(c.Note, func(t *testing.T) {
			inv, err := parse(c.Payload, func(id string) (Bot, error) { return Bot{ID: "code"}, nil })
			if err != nil {
				t.Fatal(err)
			}
			var p struct {
				BotID string
				Cron  struct{ TS int64 } `json:"__cron"`
			}
			var settings struct{ Source, Color string }
			if err := errors.Join(json.Unmarshal(c.Payload, &p), json.Unmarshal(inv.settings, &settings)); err != nil {
				t.Fatal(err)
			}
			if inv.id != p.BotID || inv.token != p.Cron.TS || settings.Source != "src" || settings.Color != "red" {
				t.Errorf("%+v, settings %+v", inv, settings)
			}
		})
	}
	t.Run("an old trigger does not lengthen the lock", func(t *testing.T) {
		st := new(store.Store)
		deploy(t, Bot{Run: func(ctx context.Context, _ *Run) error {
			row, err := st.Bots.Get(ctx, "b")
			if deadline, _ := ctx.Deadline(); err != nil || dispatch.Deadline(&row) != deadline.UnixMilli() {
				t.Errorf("the lock ends at %d, the function at %d, %v", dispatch.Deadline(&row), deadline.UnixMilli(), err)
			}
			return nil
		}}, LambdaConfig{}, func(t *testing.T, d *deployed) {
			*st = d.st
			// The original's token is the trigger's time; here it took two minutes until the bus locked.
			trigger := time.Now().UnixMilli()
			d.reserveAs(trigger, 2*time.Minute)
			payload := fmt.Appendf(nil, `{"source":"src","botId":"b","lock":true,"__cron":{"id":"b","iid":"0","ts":%d,"checkpoints":{}}}`, trigger)
			d.answer("r", time.Minute, payload)
			if row := d.row(); row.Instance.CompletedTime == 0 {
				t.Errorf("row %+v", row)
			}
		})
	})
}

// oldToken makes every row show a token other than its lock's time, as the original bus writes it.
type oldToken struct {
	store.Bots
	real, shown int64
}

func (o *oldToken) Get(ctx context.Context, id string) (store.Bot, error) {
	row, err := o.Bots.Get(ctx, id)
	if o.real != 0 && row.Instance.Token == o.real {
		row.Instance.Token = o.shown
	}
	return row, err
}

func (o *oldToken) Confirm(ctx context.Context, c store.Confirm) error {
	if c.Token == o.shown {
		c.Token = o.real
	}
	return o.Bots.Confirm(ctx, c)
}

func (o *oldToken) Complete(ctx context.Context, c store.Complete) error {
	if c.Token == o.shown {
		c.Token = o.real
	}
	return o.Bots.Complete(ctx, c)
}

// reserveAs locks the bot after a while, under a token of an earlier time.
func (d *deployed) reserveAs(token int64, after time.Duration) {
	d.t.Helper()
	time.Sleep(after)
	d.reserve()
	o := &oldToken{Bots: d.st.Bots, real: d.row().Token, shown: token}
	st := d.st
	st.Bots = o
	var err error
	b := d.fn.runner.bots["b"]
	d.fn, err = NewLambda(rstreams.New(st, rstreams.Options{Logger: quiet}), LambdaConfig{Lines: &d.lines, Runner: RunnerConfig{Logger: quiet}}, b)
	if err != nil {
		d.t.Fatal(err)
	}
}

func TestWhichBotAFunctionRuns(t *testing.T) {
	var ran string
	code := func(name string) func(context.Context, *Run) error {
		return func(_ context.Context, run *Run) error {
			ran = name
			return nil
		}
	}
	bots := []Bot{{ID: "one", Run: code("one")}, {ID: "two", Run: code("two")}}
	st := memory.New(memory.Options{})
	bus := rstreams.New(st, rstreams.Options{Logger: quiet})
	for _, c := range []struct {
		env, event, want string
		bots             []Bot
	}{
		{"one", `{}`, "one", bots},
		{"one", `{"botId":"two"}`, "two", bots},
		{"one", `{"botId":"one-5","__cron":{"id":"one-5","ts":1,"ignoreLock":true}}`, "one", bots},
		{"", `{"__cron":{"id":"two","ts":1,"ignoreLock":true}}`, "two", bots},
		{"", `{}`, "", bots},
		{"", `{"botId":"other"}`, "", bots},
		{"", `{}`, "one", bots[:1]},
		{"", `[1,2]`, "one", bots[:1]},
		{"", `{"a":`, "", bots[:1]},
		{"", `{"__cron":"x"}`, "", bots[:1]},
	} {
		ran = ""
		fn, err := NewLambda(bus, LambdaConfig{Bot: c.env, Lines: &bytes.Buffer{}, Runner: RunnerConfig{Logger: quiet}}, c.bots...)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fn.Invoke(t.Context(), []byte(c.event)); (err == nil) != (c.want != "") || ran != c.want {
			t.Errorf("%s with %s=%s: ran %q, %v", c.event, envBot, c.env, ran, err)
		}
	}
	if _, err := NewLambda(bus, LambdaConfig{Bot: "three"}, bots...); err == nil || !strings.Contains(err.Error(), envBot) {
		t.Errorf("an unknown bot in the environment: %v", err)
	}
}

func TestHandlersOfAWSLambdaGoAreBots(t *testing.T) {
	type event struct {
		Color string `json:"color"`
		BotID string `json:"botId"`
	}
	b := Bot{Settings: map[string]any{"color": "red"}, Run: Wrap(func(ctx context.Context, e event) (map[string]string, error) {
		run, ok := FromContext(ctx)
		if !ok || run.RequestID != "r" || e.BotID != "b" {
			t.Errorf("run %+v, %v, event %+v", run, ok, e)
		}
		if e.Color == "blue" {
			return nil, errBoom
		}
		return map[string]string{"got": e.Color}, nil
	})}
	deploy(t, b, LambdaConfig{}, func(t *testing.T, d *deployed) {
		if got := d.answer("r", time.Minute, d.reserve()); got != `{"got":"red"}` {
			t.Errorf("answer %s", got)
		}
		payload := bytes.Replace(d.reserve(), []byte("red"), []byte("blue"), 1)
		if got := d.answer("r", time.Minute, payload); !strings.Contains(got, "boom") || d.row().ErrorCount != 1 {
			t.Errorf("answer %s, row %+v", got, d.row())
		}
	})
}
