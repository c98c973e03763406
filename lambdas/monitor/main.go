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
// retries and of age, bisection and partial answers as for every stream of the bus; a batch that comes again begins with the first
// change that is not told, and without partial answers all of it is told again.
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
	"errors"
	"fmt"
	"math/big"
	"slices"
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
		events, changes := monitored(env, e, clock)
		err := monitor.Write(ctx, env.Store.Intake, events, hashKey, clock)
		done := len(changes)
		switch {
		case err != nil && env.PartialBatch:
			done = untold(changes, err)
		case err != nil:
			done = 0 // All of the batch comes again.
		}
		if done > 0 {
			env.Metrics.Emit(shell.Count(MetricMonitored, changes[done-1].events),
				shell.Count(dispatcher.MetricUnreadable, changes[done-1].unreadable))
		}
		return env.Respond(dispatcher.First(e.Records[done:]), err)
	}, nil
}

// told counts what a batch says up to the end of a change, and the changes that cannot be read.
type told struct{ events, unreadable int }

// untold returns the place of the first change of which something was not written: what is told already must not be told again, as
// readers count it.
func untold(changes []told, err error) int {
	durable := 0
	var partial *monitor.WriteError
	if errors.As(err, &partial) {
		durable = partial.Durable
	}
	return max(slices.IndexFunc(changes, func(t told) bool { return t.events > durable }), 0)
}

// monitored returns what a batch says, and how much of it up to each change. Changes that cannot be read are passed over and counted.
func monitored(env *shell.Env, e shell.DynamoEvent, clock time.Time) (events []event.Event, changes []told) {
	unreadable := 0
	for i := range e.Records {
		c := &e.Records[i].Change
		change := monitor.Change{At: dispatcher.Made(&e.Records[i], clock)}
		var err error
		var says []event.Event
		if change.Old, err = awsbus.DecodeBotImage(c.OldImage); err == nil {
			if change.New, err = awsbus.DecodeBotImage(c.NewImage); err == nil {
				says, err = monitor.Events(change)
			}
		}
		if err != nil {
			env.Logger.Error("the row of a bot cannot be read; its change is not told", "record", c.SequenceNumber, "error", err)
			unreadable++
			says = nil
		}
		events = append(events, says...)
		changes = append(changes, told{len(events), unreadable})
	}
	return events, changes
}
