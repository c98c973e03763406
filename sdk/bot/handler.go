package bot

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"
)

// runKey is the key of the run in a context.
type runKey struct{}

func withRun(ctx context.Context, run *Run) context.Context {
	return context.WithValue(ctx, runKey{}, run)
}

// FromContext returns the run that ctx belongs to. It is for handlers of Wrap; ok is false outside a run.
func FromContext(ctx context.Context) (run *Run, ok bool) {
	run, ok = ctx.Value(runKey{}).(*Run)
	return run, ok
}

// Wrap makes a bot's code of a handler that was written for aws-lambda-go: any function that its lambda.Start takes, or a
// lambda.Handler. The handler gets the event with which the bot was invoked, and finds the Run with FromContext. In Lambda, what
// it returns answers the invocation; its error makes the run a failed one.
//
//	var Report = bot.Bot{ID: "report", Schedule: "0 6 * * *", Run: bot.Wrap(func(ctx context.Context, e MyEvent) error { ... })}
//
// A value that lambda.Start would not take becomes a handler that always fails, with the reason.
func Wrap(handler any) func(ctx context.Context, run *Run) error {
	h := lambda.NewHandler(handler)
	return func(ctx context.Context, run *Run) error {
		response, err := h.Invoke(ctx, run.Event)
		if err != nil {
			return err
		}
		run.core.mu.Lock()
		defer run.core.mu.Unlock()
		run.core.response = response
		return nil
	}
}
