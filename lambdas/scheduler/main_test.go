package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/lambdas/internal/dispatcher"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

// runs notes when bots were invoked.
type runs struct {
	began time.Time
	at    []string
}

func (r *runs) Invoke(_ context.Context, b store.Bot, _ []byte) error {
	r.at = append(r.at, fmt.Sprint(b.ID, " ", time.Since(r.began)))
	return nil
}

// bubble runs fn in virtual time with a bus of two bots: one every ten minutes, one that was asked for in 30 s.
func bubble(t *testing.T, fn func(t *testing.T, st store.Store, r *runs, h func(context.Context, json.RawMessage) error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2026, 11, 21, 2, 35, 0, 0, time.UTC)))
		st := memory.New(memory.Options{})
		at := time.Now().Add(30 * time.Second).UnixMilli()
		for _, reg := range []store.Registration{{ID: "cron", Schedule: "*/10 * * * *"}, {ID: "asked"}} {
			reg.Invocation = store.Invocation{Type: "lambda", Lambda: "f"}
			if err := st.Bots.Register(t.Context(), reg); err != nil {
				t.Fatal(err)
			}
		}
		if err := st.Bots.Control(t.Context(), "asked", store.Control{ScheduledTrigger: &at}); err != nil {
			t.Fatal(err)
		}
		env := &shell.Env{
			Store: st, Logger: slog.New(slog.DiscardHandler), Metrics: shell.NewMetrics(io.Discard, "bus", "scheduler", time.Now),
			Getenv: func(string) string { return "" },
		}
		r := &runs{began: time.Now()}
		fn(t, st, r, handler(env, dispatcher.New(env, r)))
	})
}

// TestEventBridgesMinute: it stays for what is due before the next, and else ends at once (W-S7).
func TestEventBridgesMinute(t *testing.T) {
	bubble(t, func(t *testing.T, _ store.Store, r *runs, h func(context.Context, json.RawMessage) error) {
		var took []string
		for range 6 {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			began := time.Now()
			if err := h(ctx, json.RawMessage(`{"version":"0","source":"aws.events","detail-type":"Scheduled Event","detail":{}}`)); err != nil {
				t.Error(err)
			}
			cancel()
			took = append(took, time.Since(began).String())
			time.Sleep(time.Minute - time.Since(began))
		}
		if got := strings.Join(took, " "); got != "30s 0s 0s 0s 0s 0s" {
			t.Errorf("the turns took %s", got)
		}
		if got := strings.Join(r.at, ", "); got != "asked 30s, cron 5m0s" {
			t.Errorf("ran: %s", got)
		}
	})
}

// TestWhatBotRunnerAsksFor is served at its time, without a look at other bots.
func TestWhatBotRunnerAsksFor(t *testing.T) {
	bubble(t, func(t *testing.T, st store.Store, r *runs, h func(context.Context, json.RawMessage) error) {
		event, err := json.Marshal(dispatcher.Due{Due: map[string]int64{"asked": time.Now().Add(30 * time.Second).UnixMilli()}})
		if err != nil {
			t.Fatal(err)
		}
		if err := h(t.Context(), event); err != nil {
			t.Error(err)
		}
		if got := strings.Join(r.at, ", "); got != "asked 30s" || time.Since(r.began) != 30*time.Second {
			t.Errorf("after %v ran: %s", time.Since(r.began), got)
		}
	})
}

// TestATurnEndsBeforeTheFunctionsTime, with what it could do.
func TestATurnEndsBeforeTheFunctionsTime(t *testing.T) {
	bubble(t, func(t *testing.T, _ store.Store, r *runs, h func(context.Context, json.RawMessage) error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if err := h(ctx, nil); err != nil || time.Since(r.began) != 20*time.Second-dispatcher.Reserve {
			t.Errorf("after %v: %v", time.Since(r.began), err)
		}
		if err := h(t.Context(), json.RawMessage(`[1]`)); err == nil || !strings.Contains(err.Error(), "due") {
			t.Errorf("%v", err)
		}
	})
}
