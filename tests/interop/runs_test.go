//go:build aws

package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/registry"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/bot"
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

func (w *world) hourAgo(hours int) time.Time {
	return time.Now().Add(-time.Duration(hours) * time.Hour)
}

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
	var h handled
	w.do("handler", args, &h)
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
	// Node's run is on: ours does not begin, and Node completes it.
	payload = w.locked(id)
	w.do("bot", map[string]any{"method": "checkLock", "args": []any{payload["__cron"], "node-run", 60_000}}, nil)
	if ran, err := w.runOurs(id, payload, nil); ran || err != nil {
		w.Errorf("ours ran while Node's run was on: %v %v", ran, err)
	}
	if answer, _ := w.runLambda(id, "ours", payload, "done", nil); answer != "already running" {
		w.Errorf("our Lambda, while Node's run is on, answers %s", answer)
	}
	w.do("bot", map[string]any{"method": "reportComplete", "args": []any{payload["__cron"], "node-run", "complete", "", map[string]any{}}}, nil)
	// The fields that each leaves behind.
	theirs := flat(awstest.Item{"0": at(w.botItem(id), "instances", "0")})
	payload = w.locked(id)
	_, err = w.runOurs(id, payload, nil)
	w.ok(err)
	ours := flat(awstest.Item{"0": at(w.botItem(id), "instances", "0")})
	if a, b := slices.Sorted(maps.Keys(ours)), slices.Sorted(maps.Keys(theirs)); !slices.Equal(a, b) {
		w.Errorf("our run leaves the fields %v, Node's %v", a, b)
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
	// A run that was given up before it started is delivered after all: neither begins it.
	payload = w.locked(id)
	row, err = w.store.Bots.Get(w.Context(), id)
	w.ok(err)
	w.ok(w.store.Bots.Complete(w.Context(), store.Complete{Bot: id, Token: row.Token, At: row.Token + 1, Failed: true}))
	if h := w.runTheirs(payload, map[string]any{"result": "done"}); !strings.Contains(fmt.Sprint(h.Answer), "already running") {
		w.Errorf("Node, whose run was given up, answers %v", h.Answer)
	}
	if ran, err := w.runOurs(id, payload, nil); ran || err != nil {
		w.Errorf("ours ran although it was given up: %v %v", ran, err)
	}
	if h := w.runTheirs(w.locked(id), map[string]any{"result": "done"}); h.Answer != "done" {
		w.Errorf("Node's next run answers %v", h.Answer)
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
	w.declared(queue)
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
		if path == ".triggers[1]" && want == a[".triggers[0]"] {
			w.Logf("Node lists a trigger that is the source too a second time; ours is there once")
			continue
		}
		if b[path] != want {
			w.Errorf("%s: Node leaves %s, we %q", path, want, b[path])
		}
	}
	w.additions("plain", a, b)
	// What Node registered, we read; registering again changes nothing else.
	row, err := w.store.Bots.Get(w.Context(), theirs)
	if err != nil || row.Name != "A bot" || row.Invocation.Lambda != "fn" || row.Schedule != "0 * * * *" ||
		len(slices.Compact(row.Triggers)) != 1 {
		w.Errorf("%+v %v", row, err)
	}
	w.ok(w.store.Bots.Checkpoint(w.Context(), store.CheckpointWrite{Bot: ours, Ref: "queue:" + queue, Checkpoint: store.Checkpoint{Position: position(1, 0)}}))
	w.do("createBot", map[string]any{"id": ours, "bot": map[string]any{"name": "Renamed", "triggers": []string{"queue:" + queue}}}, nil)
	row, err = w.store.Bots.Get(w.Context(), ours)
	if err != nil || row.Name != "Renamed" || row.Read["queue:"+queue].Position != position(1, 0) {
		w.Errorf("after Node registered our bot again: %+v %v", row, err)
	}
}

// declared compares what a declaration of a stack leaves with what createBot leaves of the same.
func (w *world) declared(queue string) {
	w.Helper()
	for name, bot := range map[string]map[string]any{
		"source":   {"paused": true, "name": "n", "time": nil, "lambdaName": "fn", "settings": map[string]any{"source": queue, "destination": w.name("out"), "botNumber": 0, "prefix": "p"}},
		"schedule": {"paused": true, "name": "n", "description": "d", "time": "*/5 * * * *", "lambdaName": "fn", "settings": map[string]any{"x": []any{1, "a", nil, true}}},
		"timed":    {"paused": true, "name": "n", "time": nil, "lambdaName": "fn", "settings": map[string]any{"source": queue, "time": "later"}, "owner": "me", "triggers": []any{"queue:" + queue}},
	} {
		theirs, ours := w.name("theirs-"+name), w.name("ours-"+name)
		w.do("createBot", map[string]any{"id": theirs, "bot": bot, "opts": map[string]any{"fields": map[string]any{"paused": map[string]any{"once": true}}}}, nil)
		text, err := json.Marshal(bot)
		w.ok(err)
		_, err = registry.New(w.store, nil).Apply(w.Context(), "", &registry.Set{Properties: map[string]json.RawMessage{ours: text}}, nil)
		w.ok(err)
		a, b := flat(w.botItem(theirs)), flat(w.botItem(ours))
		for path, want := range a {
			if path != ".id" && b[path] != want {
				w.Errorf("%s: %s: Node leaves %s, we %q", name, path, want, b[path])
			}
		}
		w.additions(name, a, b)
	}
}

// additions checks that the row b has nothing that a lacks, but for what the skeleton of Node's own has (C5): a schedule that is not
// there, and that the bot is not paused.
func (w *world) additions(name string, a, b map[string]string) {
	w.Helper()
	for path, got := range b {
		if _, ok := a[path]; !ok && path+"="+got != ".time=null" && path+"="+got != ".paused=false" {
			w.Errorf("%s: an attribute that Node does not leave: %s = %s", name, path, got)
		}
	}
}

// flagged is a run that was invoked with flags, as the row shows it.
type flagged struct {
	Answer    string
	Mine      bool // The row has the run's request id.
	Started   bool
	Completed bool
	Errors    int
}

// runFlags invokes both sides with the same flags in the same situation: what they answer and leave must be the same.
func runFlags(w *world) {
	now := func() int64 { return time.Now().UnixMilli() }
	w.do("ids", nil, nil) // So that Node is up when a run is sent.
	for _, c := range []struct {
		name  string
		busy  bool // Another run holds the lock.
		flags func() map[string]any
	}{
		{"plain", false, func() map[string]any { return nil }},
		{"busy", true, func() map[string]any { return nil }},
		{"old", false, func() map[string]any { return map[string]any{"time": now() - 2500} }},
		{"new", false, func() map[string]any { return map[string]any{"time": now()} }},
		{"force", true, func() map[string]any { return map[string]any{"force": true} }},
		{"ignore-lock", true, func() map[string]any { return map[string]any{"ignoreLock": true} }},
		{"old-and-forced", true, func() map[string]any { return map[string]any{"force": true, "time": now() - 2500} }},
	} {
		var got [2]flagged
		for side, who := range []string{"theirs", "ours"} {
			id := w.name(who + "-" + c.name)
			payload := w.locked(id)
			cron := payload["__cron"].(map[string]any)
			if c.busy {
				w.ok(w.store.Bots.Confirm(w.Context(), store.Confirm{Bot: id, Token: int64(cron["ts"].(float64)), RequestID: "other", At: now(), MaxDuration: 60_000}))
			}
			requestID := "request-" + id
			for k, v := range c.flags() {
				cron[k] = v
			}
			if side == 0 {
				got[side].Answer = fmt.Sprint(w.runTheirs(payload, map[string]any{"requestId": requestID, "result": "done"}).Answer)
			} else {
				got[side].Answer, _ = w.runLambda(id, requestID, payload, "done", nil)
			}
			row, err := w.store.Bots.Get(w.Context(), id)
			w.ok(err)
			in := row.Instance
			got[side].Mine, got[side].Started, got[side].Completed, got[side].Errors = in.RequestID == requestID, in.StartTime != 0, in.CompletedTime != 0, row.ErrorCount
		}
		if got[0] != got[1] {
			w.Errorf("%s: Node %+v, we %+v", c.name, got[0], got[1])
		}
		w.Logf("%s: %+v", c.name, got[0])
	}
}

// runLambda does a run with this SDK's Lambda handler and returns its answer, text without quotes, and the lines that it logged.
func (w *world) runLambda(id, requestID string, payload map[string]any, result string, fail error) (answer string, lines []string) {
	w.Helper()
	var log bytes.Buffer
	fn, err := bot.NewLambda(w.sdk, bot.LambdaConfig{Lines: &log, Runner: bot.RunnerConfig{Logger: w.log}}, bot.Bot{
		ID: id, Run: bot.Wrap(func(context.Context, map[string]any) (string, error) { return result, fail }),
	})
	w.ok(err)
	text, err := json.Marshal(payload)
	w.ok(err)
	ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
	defer cancel()
	out, err := fn.Invoke(lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: requestID}), text)
	w.ok(errors.Join(err, fn.Close(w.Context())))
	if json.Unmarshal(out, &answer) != nil {
		answer = string(out)
	}
	for line := range strings.Lines(log.String()) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	return answer, lines
}

func leocronLines(w *world) {
	id := w.name("bot")
	token := func(p map[string]any) string { return fmt.Sprintf("%.0f", p["__cron"].(map[string]any)["ts"]) }
	for _, fails := range []bool{false, true} {
		payload := w.locked(id)
		more := map[string]any{"requestId": "8f5c-1", "result": "done"}
		var failure error
		if fails {
			more["fail"], failure = "no", errors.New("no")
		}
		theirs := w.runTheirs(payload, more).Lines
		theirToken := token(payload)
		payload = w.locked(id)
		_, ours := w.runLambda(id, "8f5c-1", payload, "done", failure)
		for i := range ours {
			ours[i] = strings.Replace(ours[i], token(payload), theirToken, 1)
		}
		if !slices.Equal(ours, theirs) || len(ours) != 3 || !strings.HasPrefix(ours[1], "[LEOCRON]:start:"+id+":") {
			w.Errorf("fails %v: ours\n%s\nNode's\n%s", fails, strings.Join(ours, "\n"), strings.Join(theirs, "\n"))
		}
	}
	// A run that is not let in only checks.
	payload := w.locked(id)
	w.runTheirs(payload, nil)
	again := w.runTheirs(payload, map[string]any{"requestId": "again"}).Lines
	_, ours := w.runLambda(id, "again", payload, "", nil)
	if !slices.Equal(ours, again) {
		w.Errorf("a run that is not let in: ours %v, Node's %v", ours, again)
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
