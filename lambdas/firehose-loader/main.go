// Command firehose-loader is the Lambda function that publishes what the bus's Firehose stream left in the bucket (package
// bus/loader).
//
// The bucket invokes it when an object appears, and a schedule now and then. Both mean the same to it: load everything that is
// pending. What a notification says does not matter, as a list of the bucket shows every object that is there.
//
// It also counts the batches of the Kinesis stream that were given up and wait in the bucket, for an alarm that lasts until somebody
// has dealt with them and deleted them.
//
// Environment, besides that of every function of the bus (package lambdas/internal/shell):
//
//	RSTREAMS_FIREHOSE_PREFIX  where the objects are; default firehose/
//	RSTREAMS_FIREHOSE_KEEP    a prefix under which loaded objects are kept; default none: they are deleted
//	RSTREAMS_TTL_SECONDS, RSTREAMS_SKIP_EVENTS, RSTREAMS_SKIP_BOTS, RSTREAMS_LEASE  as for kinesis-processor
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/rstreams-go/rstreams/bus/loader"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

// reserve is what an invocation keeps of its time to give its lock back and to tell what it did.
const reserve = 10 * time.Second

var errDeadline = errors.New("the function's time is nearly over; the rest is loaded by the next invocation")

func main() {
	shell.Main("firehose-loader", func(_ context.Context, env *shell.Env) (any, error) {
		cfg, err := env.Sequencer()
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, _ json.RawMessage) error { return load(ctx, env, cfg) }, nil
	})
}

// load loads what is pending. That there was no time for all of it is no error while it gets on: an error would have the invocation
// repeated at once, beside the ones to come.
func load(ctx context.Context, env *shell.Env, cfg sequencer.Config) error {
	ctx, cancel := shell.Ahead(ctx, reserve, errDeadline)
	defer cancel()
	lostErr := countLost(ctx, env)
	owner := shell.RequestID(ctx) + "/" + uuid.NewString() // AWS may deliver an invocation twice under one request id.
	res, err := loader.New(env.Store, loader.Config{
		Bucket: env.Bus.Resources().LeoS3, Owner: owner, Prefix: env.Getenv("RSTREAMS_FIREHOSE_PREFIX"),
		Keep: env.Getenv("RSTREAMS_FIREHOSE_KEEP"), Lease: 3 * cfg.Lease, Sequencer: cfg, Logger: env.Logger,
	}).Load(ctx)
	behind := time.Duration(0)
	if !res.Oldest.IsZero() {
		behind = max(time.Since(res.Oldest), 0)
	}
	env.Metrics.Emit(
		shell.Count(shell.MetricLoaded, res.Objects), shell.Count(shell.MetricEvents, res.Events), shell.Count(shell.MetricDeadLetters, res.DeadLetters),
		shell.Count(shell.MetricRepeats, res.Repeats), shell.Seconds(shell.MetricLoadBehind, behind),
	)
	if outOfTime(ctx, err) && res.Objects > 0 {
		env.Logger.WarnContext(ctx, "objects are left for the next invocation", "loaded", res.Objects, "oldest", res.Oldest, "error", err)
		err = nil
	}
	return errors.Join(err, lostErr)
}

// outOfTime tells whether err is the end of the invocation's time. Some clients tell it by its cause, others as any deadline.
func outOfTime(ctx context.Context, err error) bool {
	return errors.Is(err, errDeadline) || errors.Is(err, context.DeadlineExceeded) && errors.Is(context.Cause(ctx), errDeadline)
}

// lostPrefix is where Lambda keeps batches that the processor could not sequence. It chooses the name.
const lostPrefix = "aws/lambda/"

// countLost tells how many batches were given up and wait for an operator. More than a page of them is as bad as a page.
func countLost(ctx context.Context, env *shell.Env) error {
	lost, err := env.Store.Blobs.List(ctx, lostPrefix, "", 1000)
	if err != nil {
		return fmt.Errorf("batches that were given up: %w", err)
	}
	if len(lost) > 0 {
		env.Logger.ErrorContext(ctx, "batches of the stream were given up; their events are not published",
			"objects", len(lost), "first", lost[0].Key, "last", lost[len(lost)-1].Key)
	}
	env.Metrics.Emit(shell.Count(shell.MetricLostBatches, int64(len(lost))))
	return nil
}
