// Command firehose-loader is the Lambda function that publishes what the bus's Firehose stream left in the bucket (package
// bus/loader).
//
// The bucket invokes it when an object appears, and a schedule now and then. Both mean the same to it: load everything that is
// pending. What a notification says does not matter, as a list of the bucket shows every object that is there.
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
	owner := shell.RequestID(ctx)
	if owner == "" {
		owner = uuid.NewString()
	}
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
	if errors.Is(err, errDeadline) && res.Objects > 0 {
		env.Logger.WarnContext(ctx, "objects are left for the next invocation", "loaded", res.Objects, "oldest", res.Oldest)
		return nil
	}
	return err
}
