// Command bot-runner is the Lambda function that looks at bots whose rows have changed: runs that ended and left work, errors,
// triggers by users, bots and schedules, new registrations. It reads the stream of the table LeoCron (package bus/dispatch,
// Once.Rows). Changes after which a bot need not run now, such as locks, starts and checkpoints, cost no request.
//
// # Event source
//
// New and old images are needed. No filter is safe: a filter sees one image, and a bot that runs may change its triggers as
// well. Batch size 1000, no batching window; a limit of retries and of age, bisection and partial answers as for every stream of the bus.
// What is given up is found by the scheduler.
//
// Timeout five minutes. No run is begun in the last half minute: the scheduler begins it.
//
// # Environment
//
// Besides that of every function of the bus: RSTREAMS_SCHEDULER, the name of the function scheduler, which is told of bots
// that are due within a minute (back-off after an error, a bot's own wish). Without it they wait for its next turn.
//
// # Rights
//
// LeoSettings: dynamodb:UpdateItem. LeoCron: dynamodb:GetItem, UpdateItem. LeoEvent: dynamodb:GetItem. The bots' functions and
// scheduler: lambda:InvokeFunction; the bots' topics: sns:Publish. The stream: dynamodb:DescribeStream, GetRecords,
// GetShardIterator, ListStreams.
package main

import (
	"context"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/lambdas/internal/dispatcher"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

func main() {
	shell.Main("bot-runner", func(_ context.Context, env *shell.Env) (any, error) {
		return handler(env, dispatcher.New(env, env.Bus.Invoker()), time.Now), nil
	})
}

type handle = func(ctx context.Context, e shell.DynamoEvent) (shell.BatchResponse, error)

func handler(env *shell.Env, once *dispatch.Once, now func() time.Time) handle {
	return func(ctx context.Context, e shell.DynamoEvent) (shell.BatchResponse, error) {
		ctx, cancel := shell.Ahead(ctx, dispatcher.Reserve, dispatcher.ErrDeadline)
		defer cancel()
		changes, unreadable := changes(env, e)
		report, err := once.Rows(ctx, changes)
		dispatcher.Emit(env, report, err, unreadable, dispatcher.Lag(e.Records, now()))
		return env.Respond(dispatcher.First(e.Records), dispatcher.Again(ctx, err))
	}
}

// changes returns the changes of a batch. Those that cannot be read are passed over and counted.
func changes(env *shell.Env, e shell.DynamoEvent) (out []dispatch.RowChange, unreadable int) {
	for i := range e.Records {
		c := &e.Records[i].Change
		before, err := awsbus.DecodeBotImage(c.OldImage)
		var after = dispatch.RowChange{Old: before}
		if err == nil {
			after.New, err = awsbus.DecodeBotImage(c.NewImage)
		}
		if err != nil {
			env.Logger.Error("the row of a bot cannot be read; its change is passed over", "record", c.SequenceNumber, "error", err)
			unreadable++
			continue
		}
		out = append(out, after)
	}
	return out, unreadable
}
