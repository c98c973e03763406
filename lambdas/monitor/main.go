// Command monitor is the Lambda function that tells what bots do: each change of a bot's row becomes events of the queue
// "monitor" (package bus/monitor, bus.md 3.9). It reads the stream of the table LeoCron.
//
// # Event source
//
// New and old images are needed. A safe filter pattern, which the function does not need:
//
//	{"eventName":["INSERT","MODIFY"],"dynamodb":{"Keys":{"id":{"S":[{"anything-but":["leo_cron_monitor"]}]}}}}
//
// Batch size 1000; a batching window of some seconds makes it cheaper, as nothing waits for these events. A limit of
// retries and of age, bisection and partial answers as for every stream of the bus; a batch that comes again is told again.
//
// # Environment
//
// Besides that of every function of the bus: RSTREAMS_MONITOR_HASH_KEY, the explicit hash key of the events on the bus's Kinesis
// stream, a decimal number; default none, which leaves the shard to the queue's name.
//
// # Rights
//
// The bus's Kinesis stream: kinesis:PutRecords. The table's stream: dynamodb:DescribeStream, GetRecords, GetShardIterator,
// ListStreams. None on tables.
package main

import (
	"context"
	"fmt"
	"math/big"
	"time"

	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/monitor"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/lambdas/internal/dispatcher"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

// EnvHashKey is the explicit hash key of the monitor's events.
const EnvHashKey = "RSTREAMS_MONITOR_HASH_KEY"

// MetricMonitored counts the events that were written.
const MetricMonitored = "MonitorEvents"

func main() {
	shell.Main("monitor", func(_ context.Context, env *shell.Env) (any, error) { return newHandler(env, time.Now) })
}

type handle = func(ctx context.Context, e shell.DynamoEvent) (shell.BatchResponse, error)

func newHandler(env *shell.Env, now func() time.Time) (handle, error) {
	hashKey := env.Getenv(EnvHashKey)
	if hashKey != "" {
		if n, ok := new(big.Int).SetString(hashKey, 10); !ok || n.Sign() < 0 || n.BitLen() > 128 {
			return nil, fmt.Errorf("%w: %s is %q, want a decimal number below 2^128", shell.ErrConfig, EnvHashKey, hashKey)
		}
	}
	return func(ctx context.Context, e shell.DynamoEvent) (shell.BatchResponse, error) {
		ctx, cancel := shell.Ahead(ctx, dispatcher.Reserve, dispatcher.ErrDeadline)
		defer cancel()
		clock := now()
		events, unreadable := monitored(env, e, clock)
		err := monitor.Write(ctx, env.Store.Intake, events, hashKey, clock)
		if err == nil {
			env.Metrics.Emit(shell.Count(MetricMonitored, len(events)), shell.Count(dispatcher.MetricUnreadable, unreadable))
		}
		return env.Respond(dispatcher.First(e.Records), err)
	}, nil
}

// monitored returns what a batch says. Changes that cannot be read are passed over and counted.
func monitored(env *shell.Env, e shell.DynamoEvent, clock time.Time) (events []event.Event, unreadable int) {
	for i := range e.Records {
		c := &e.Records[i].Change
		change := monitor.Change{At: dispatcher.Made(&e.Records[i], clock)}
		var err error
		var told []event.Event
		if change.Old, err = awsbus.DecodeBotImage(c.OldImage); err == nil {
			if change.New, err = awsbus.DecodeBotImage(c.NewImage); err == nil {
				told, err = monitor.Events(change)
			}
		}
		if err != nil {
			env.Logger.Error("the row of a bot cannot be read; its change is not told", "record", c.SequenceNumber, "error", err)
			unreadable++
			continue
		}
		events = append(events, told...)
	}
	return events, unreadable
}
