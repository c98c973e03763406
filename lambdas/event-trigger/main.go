// Command event-trigger is the Lambda function that starts the bots of queues whose heads have moved. It reads the stream of the
// table LeoEvent (package bus/dispatch, Once.Moved).
//
// # Event source
//
// New and old images are needed. Safe filter patterns, each halving the invocations or better; the function needs none of them:
//
//	{"eventName":["INSERT","MODIFY"],"dynamodb":{"NewImage":{"sequencing":{"M":{"open":{"BOOL":[false]}}}}}}
//	{"eventName":["INSERT","MODIFY"],"dynamodb":{"NewImage":{"sequencing":{"M":{"open":{"BOOL":[{"exists":false}]}}}}}}
//
// A head moves in the write that ends a claim (open is false), or in one by software that makes no claims (there is no open);
// the writes that are left out are the claims before. Batch size 1000, no batching window; a limit of retries and of age, bisection
// and partial answers as for every stream of the bus. What is given up is found by the scheduler.
//
// Timeout five minutes. No run is begun in the last half minute: bots whose turn comes then are asked to run, and bot-runner starts them.
//
// # Rights
//
// LeoSettings: dynamodb:GetItem. LeoCron: dynamodb:GetItem, UpdateItem, Scan. The bots' functions: lambda:InvokeFunction; their
// topics: sns:Publish. The stream: dynamodb:DescribeStream, GetRecords, GetShardIterator, ListStreams.
package main

import (
	"context"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/lambdas/internal/dispatcher"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

func main() {
	shell.Main("event-trigger", func(_ context.Context, env *shell.Env) (any, error) {
		return handler(env, dispatcher.New(env, env.Bus.Invoker()), time.Now), nil
	})
}

type handle = func(ctx context.Context, e shell.DynamoEvent) (shell.BatchResponse, error)

func handler(env *shell.Env, once *dispatch.Once, now func() time.Time) handle {
	return func(ctx context.Context, e shell.DynamoEvent) (shell.BatchResponse, error) {
		ctx, cancel := shell.Ahead(ctx, dispatcher.Reserve, dispatcher.ErrDeadline)
		defer cancel()
		clock := now()
		heads, unreadable := moved(env, e, clock)
		report, err := once.Moved(ctx, heads)
		dispatcher.Emit(env, report, err, unreadable, dispatcher.Lag(e.Records, clock))
		return env.Respond(dispatcher.First(e.Records), dispatcher.Again(ctx, err))
	}
}

// moved returns the newest head of every queue whose head changed; claims, releases, archives and snapshots change none. Rows
// that cannot be read are passed over and counted: they hold up no other queue.
func moved(env *shell.Env, e shell.DynamoEvent, clock time.Time) (heads map[string]dispatch.Head, unreadable int) {
	heads = map[string]dispatch.Head{}
	for i := range e.Records {
		c := &e.Records[i].Change
		now, err := awsbus.DecodeQueueImage(c.NewImage)
		if err != nil {
			env.Logger.Error("the row of a queue cannot be read; its bots are not asked to run", "record", c.SequenceNumber, "error", err)
			unreadable++
			continue
		}
		// An old row that cannot be read is as none: its head was another.
		before, _ := awsbus.DecodeQueueImage(c.OldImage)
		if now.Head == "" || now.Head == before.Head {
			continue
		}
		at := now.Timestamp
		if at == 0 { // Software that keeps no time of publication.
			at = dispatcher.Made(&e.Records[i], clock)
		}
		if known, ok := heads[now.Name]; !ok || store.LaterHead(now.Name, now.Head, known.ID) {
			heads[now.Name] = dispatch.Head{ID: now.Head, At: at}
		}
	}
	return heads, unreadable
}
