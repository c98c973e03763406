// Command scheduler is the Lambda function that starts bots by the clock, and finds what everything else has left undone: runs that
// died, triggers that were forgotten (package bus/dispatch, Once.Sweep).
//
// EventBridge invokes it every minute. It ends at once, unless something is due before its next turn: then it stays and serves
// that at its second. bot-runner invokes it too, with bots that are due within a minute (dispatcher.Due); then it waits for them
// alone. Any number of invocations may run at the same time.
//
// # Invocation
//
// Timeout 120 s or more: no run is begun in the last half minute. No retries of asynchronous invocations, and a maximum event age
// of 60 s: the next turn does all that is due.
// No reserved concurrency: a turn and what bot-runner asks for run beside each other.
//
// # Rights
//
// LeoSettings: dynamodb:GetItem, UpdateItem. LeoCron: dynamodb:GetItem, UpdateItem, Scan. LeoEvent: dynamodb:Scan. The bots'
// functions: lambda:InvokeFunction; their topics: sns:Publish. rule: events.amazonaws.com may invoke it.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/lambdas/internal/dispatcher"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

// stay is how far ahead an invocation looks. The next one comes a minute later, give or take a few seconds; what two of them
// serve happens once.
const stay = 58 * time.Second

func main() {
	shell.Main("scheduler", func(_ context.Context, env *shell.Env) (any, error) {
		return handler(env, dispatcher.New(env, env.Bus.Invoker())), nil
	})
}

func handler(env *shell.Env, once *dispatch.Once) func(ctx context.Context, event json.RawMessage) error {
	return func(ctx context.Context, event json.RawMessage) error {
		ctx, cancel := shell.Ahead(ctx, dispatcher.Reserve, dispatcher.ErrDeadline)
		defer cancel()
		var asked dispatcher.Due
		if len(event) > 0 {
			if err := json.Unmarshal(event, &asked); err != nil {
				return fmt.Errorf("want an event of EventBridge, or {\"due\":{bot: ms}}, got %.100s: %w", event, err)
			}
		}
		var report dispatch.Report
		var err error
		if len(asked.Due) > 0 {
			due := make(map[string]time.Time, len(asked.Due))
			for id, ms := range asked.Due {
				due[id] = time.UnixMilli(ms)
			}
			// One second more: it was asked before a minute was left.
			report, err = once.At(ctx, due, dispatch.SoonWithin+time.Second)
		} else {
			var next time.Time
			next, report, err = once.Sweep(ctx, stay)
			env.Logger.DebugContext(ctx, "swept", "bots", report.Bots, "started", report.Started, "next", next)
		}
		dispatcher.Emit(env, report, err, 0, 0)
		return dispatcher.Again(ctx, err)
	}
}
