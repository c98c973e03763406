//go:build aws

package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func runRows() []row {
	return []row{
		{"L1", "a run on Node and a run on Go of the same bot exclude each other, in both orders", runsExclude},
		{"L2", "log and result are compressed JSON that both read", logsShared},
		{"L3", "errors are counted and success resets the count, whoever runs", errorCounts},
		{"L4", "a run that was sent over two seconds ago, forced, or without lock is treated as by Node", runFlags},
		{"L5", "registering a bot leaves the row that Node's createBot leaves", registrations},
		{"L6", "the log lines that Botmon looks for are the same", leocronLines},
		{"L7", "locks in the settings exclude each other", settingsLocks},
	}
}

func (w *world) hourAgo(hours int) time.Time { return time.Now().Add(-time.Duration(hours) * time.Hour) }

// locked registers a bot, reserves a run as the dispatcher does, and returns the payload of its invocation.
func (w *world) locked(id string) map[string]any {
	w.Helper()
	ctx := w.Context()
	row, err := w.store.Bots.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		w.ok(w.store.Bots.Register(ctx, store.Registration{
			ID: id, Name: id, Invocation: store.Invocation{Type: "lambda", Lambda: id}, Settings: json.RawMessage(`{"greeting":"hello"}`),
			Triggers: []string{w.name("q")},
		}))
		row, err = w.store.Bots.Get(ctx, id)
	}
	w.ok(err)
	lock := dispatch.LockFor(row, time.Now())
	w.ok(w.store.Bots.Lock(ctx, lock))
	payload, err := dispatch.Payload(row, lock.At)
	w.ok(err)
	var p map[string]any
	w.ok(json.Unmarshal(payload, &p))
	return p
}

// runOurs does a run with this SDK; ran tells whether the bot's code was called.
func (w *world) runOurs(id string, payload map[string]any, code func(ctx context.Context, run *bot.Run) error) (ran bool, err error) {
	w.Helper()
	r, err := bot.NewRunner(w.sdk, bot.RunnerConfig{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}, bot.Bot{
		ID: id, Run: func(ctx context.Context, run *bot.Run) error {
			ran = true
			if code == nil {
				return nil
			}
			return code(ctx, run)
		},
	})
	w.ok(err)
	text, err := json.Marshal(payload)
	w.ok(err)
	err = r.Do(w.Context(), text)
	return ran, errors.Join(err, r.Close(w.Context()))
}

type handled struct {
	Answer any
	Lines  []string
}

// runTheirs does a run under the Node SDK's wrapper.
func (w *world) runTheirs(payload map[string]any, more map[string]any) handled {
	w.Helper()
	args := map[string]any{"event": payload, "requestId": "node-" + fmt.Sprint(time.Now().UnixNano())}
	for k, v := range more {
		args[k] = v
	}
	one := *w
	one.started = nil // The wrapper keeps the handler of its first call.
	var h handled
	one.do("handler", args, &h)
	return h
}

func runsExclude(w *world) {
	id := w.name("bot")
	payload := w.locked(id)
	// Ours first: while it runs, Node answers that it is running.
	ran, err := w.runOurs(id, payload, func(context.Context, *bot.Run) error {
		if h := w.runTheirs(payload, nil); !strings.Contains(fmt.Sprint(h.Answer), "already running") {
			w.Errorf("Node, while our run is on, answers %v", h.Answer)
		}
		return nil
	})
	if !ran || err != nil {
		w.Fatalf("our run: %v, %v", ran, err)
	}
	if ran, _ := w.runOurs(id, payload, nil); ran {
		w.Error("our run was repeated with the same token")
	}
	// Node first: afterwards ours with the same token does not run.
	payload = w.locked(id)
	h := w.runTheirs(payload, map[string]any{"result": "done"})
	if h.Answer != "done" {
		w.Errorf("Node's run answers %v", h.Answer)
	}
	if ran, err := w.runOurs(id, payload, nil); ran || err != nil {
		w.Errorf("ours ran after Node's with the same token: %v %v", ran, err)
	}
	row, err := w.store.Bots.Get(w.Context(), id)
	if err != nil || row.Instance.Status != store.StatusComplete || row.Instance.CompletedTime == 0 {
		w.Errorf("%+v %v", row.Instance, err)
	}
}

func logsShared(w *world) {
	id := w.name("bot")
	_, err := w.runOurs(id, w.locked(id), func(_ context.Context, run *bot.Run) error {
		return errors.Join(run.SetResult(map[string]any{"count": 3}), errors.New("it failed"))
	})
	if err == nil {
		w.Error("the run's error is lost")
	}
	row, err := w.store.Bots.Get(w.Context(), id)
	w.ok(err)
	var log struct{ Msg string }
	w.do("gunzip", map[string]any{"base64": row.Instance.Log}, &log)
	var result map[string]any
	w.do("gunzip", map[string]any{"base64": row.Instance.Result}, &result)
	if !strings.Contains(log.Msg, "it failed") || fmt.Sprint(result["count"]) != "3" {
		w.Errorf("Node reads log %+v and result %v", log, result)
	}
	w.ok(w.store.Bots.Control(w.Context(), id, store.Control{}))
	_, err = w.runOurs(id, w.locked(id), nil)
	w.ok(err)
	row, err = w.store.Bots.Get(w.Context(), id)
	w.ok(err)
	var empty string
	w.do("gunzip", map[string]any{"base64": row.Instance.Log}, &empty)
	if empty != "" {
		w.Errorf("the log of a good run is %q", empty)
	}
}

func errorCounts(w *world) {
	id := w.name("bot")
	count := func() int {
		row, err := w.store.Bots.Get(w.Context(), id)
		w.ok(err)
		return row.ErrorCount
	}
	bad := func(context.Context, *bot.Run) error { return errors.New("no") }
	_, _ = w.runOurs(id, w.locked(id), bad)
	w.runTheirs(w.locked(id), map[string]any{"fail": "no"})
	if c := count(); c != 2 {
		w.Errorf("after a failure of each the count is %d", c)
	}
	w.runTheirs(w.locked(id), nil)
	if c := count(); c != 0 {
		w.Errorf("after Node's success the count is %d", c)
	}
	_, _ = w.runOurs(id, w.locked(id), bad)
	_, err := w.runOurs(id, w.locked(id), func(_ context.Context, run *bot.Run) error {
		run.RunAgain()
		return nil
	})
	w.ok(err)
	row, err := w.store.Bots.Get(w.Context(), id)
	w.ok(err)
	if row.ErrorCount != 0 || row.Trigger < row.Instance.CompletedTime {
		w.Errorf("after our success: %d errors, trigger %d, completed %d", row.ErrorCount, row.Trigger, row.Instance.CompletedTime)
	}
}

func registrations(w *world) {
	queue := w.name("q")
	theirs, ours := w.name("theirs"), w.name("ours")
	w.do("createBot", map[string]any{"id": theirs, "bot": map[string]any{
		"name": "A bot", "description": "It does things", "triggers": []string{"queue:" + queue}, "settings": map[string]any{"a": 1, "source": queue},
		"time": "0 * * * *", "lambdaName": "fn",
	}}, nil)
	reg := store.Registration{
		ID: ours, Name: "A bot", Description: "It does things", Invocation: store.Invocation{Type: "lambda", Lambda: "fn"},
		Settings: json.RawMessage(`{"a":1,"source":"` + queue + `"}`), Schedule: "0 * * * *", Triggers: []string{queue},
	}
	w.ok(w.store.Bots.Register(w.Context(), reg))
	w.ok(w.store.Bots.Register(w.Context(), reg))
	a, b := flat(w.botItem(theirs)), flat(w.botItem(ours))
	delete(a, ".id")
	delete(b, ".id")
	for path, want := range a {
		if b[path] != want {
			w.Errorf("%s: Node leaves %s, we %q", path, want, b[path])
		}
	}
	for path, got := range b {
		if _, ok := a[path]; !ok {
			w.Logf("an attribute of our own: %s = %s", path, got)
		}
	}
	// What Node registered, we read; registering again changes nothing else.
	row, err := w.store.Bots.Get(w.Context(), theirs)
	if err != nil || row.Name != "A bot" || row.Invocation.Lambda != "fn" || row.Schedule != "0 * * * *" || len(row.Triggers) != 1 {
		w.Errorf("%+v %v", row, err)
	}
	w.ok(w.store.Bots.Checkpoint(w.Context(), store.CheckpointWrite{Bot: ours, Ref: "queue:" + queue, Checkpoint: store.Checkpoint{Position: position(1, 0)}}))
	w.do("createBot", map[string]any{"id": ours, "bot": map[string]any{"name": "Renamed", "triggers": []string{"queue:" + queue}}}, nil)
	row, err = w.store.Bots.Get(w.Context(), ours)
	if err != nil || row.Name != "Renamed" || row.Read["queue:"+queue].Position != position(1, 0) {
		w.Errorf("after Node registered our bot again: %+v %v", row, err)
	}
}

func settingsLocks(w *world) {
	ctx, name := w.Context(), w.name("job")
	now := time.Now().UnixMilli()
	w.do("bot", map[string]any{"method": "createLock", "args": []any{name, "node-run", 60_000}}, nil)
	if err := w.store.Settings.Acquire(ctx, name, "ours", now, now+60_000); !errors.Is(err, store.ErrConflict) {
		w.Errorf("we take the lock that Node holds: %v", err)
	}
	w.do("bot", map[string]any{"method": "removeLock", "args": []any{name, "node-run"}}, nil)
	w.ok(w.store.Settings.Acquire(ctx, name, "ours", now, now+60_000))
	if err := w.command("bot", map[string]any{"method": "createLock", "args": []any{name, "node-run", 60_000}}, nil); err == nil {
		w.Error("Node takes the lock that we hold")
	}
	w.ok(w.store.Settings.Release(ctx, name, "ours"))
	w.do("bot", map[string]any{"method": "createLock", "args": []any{name, "node-run", 60_000}}, nil)
	// And plain settings are shared.
	w.do("setting", map[string]any{"id": w.name("s"), "value": map[string]any{"a": 1}}, nil)
	v, err := w.store.Settings.Get(ctx, w.name("s"))
	if err != nil || !sameJSON(v, []byte(`{"a":1}`)) {
		w.Errorf("%s %v", v, err)
	}
	w.ok(w.store.Settings.Put(ctx, w.name("t"), json.RawMessage(`"text"`)))
	var back struct{ Value string }
	w.do("setting", map[string]any{"id": w.name("t")}, &back)
	if back.Value != "text" {
		w.Errorf("Node reads our setting as %+v", back)
	}
}

var _ types.AttributeValue // The type of what botItem returns.
var _ = rstreams.ErrClosed
