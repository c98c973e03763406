// Command archiver is the Lambda function that archives the bus's queues (package bus/archive). A schedule of the bus's stack
// invokes it every few minutes, so that a bus archives from its first day on (W-D10); it needs no row among the bots. Invocations
// exclude one another by a lock.
//
// Environment, besides that of every function of the bus (package lambdas/internal/shell):
//
//	RSTREAMS_TTL_SECONDS  how long events stay in the index; default 604800, 7 days. A chunk that cannot be read stops its queue's
//	                      archive for three quarters of that, and is passed over then
//	RSTREAMS_ARCHIVE_AGE  how old a queue's oldest event that is not archived has to be; default 1h, and never more than an eighth
//	                      of the time that events stay
//	RSTREAMS_LEASE        as for kinesis-processor
package main

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/rstreams-go/rstreams/bus/archive"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

const (
	defaultAge = time.Hour
	// reserve is what an invocation keeps of its time to tell what it did.
	reserve = 5 * time.Second
	// A third of the time is for the objects that are in work when no more chunks are begun.
	finishing = 3
)

var errDeadline = errors.New("the function's time is nearly over; the rest is archived by the next invocation")

func main() {
	shell.Main("archiver", func(_ context.Context, env *shell.Env) (any, error) {
		cfg, err := configure(env)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, _ json.RawMessage) error { return run(ctx, env, cfg) }, nil
	})
}

func configure(env *shell.Env) (archive.Config, error) {
	cfg := archive.Config{Logger: env.Logger}
	var err error
	if cfg.Sequencer, err = env.Sequencer(); err != nil {
		return cfg, err
	}
	if cfg.Age, err = env.Duration("RSTREAMS_ARCHIVE_AGE", defaultAge); err != nil {
		return cfg, err
	}
	cfg.Age = min(cfg.Age, cfg.Sequencer.TTL/8)
	cfg.Lease = 6 * cfg.Sequencer.Lease // Claims are short, objects are not.
	cfg.Settle = min(5*time.Minute, cfg.Age/2)
	return cfg, nil
}

// run makes one pass over the queues.
func run(ctx context.Context, env *shell.Env, cfg archive.Config) error {
	ctx, cancel := shell.Ahead(ctx, reserve, errDeadline)
	defer cancel()
	if deadline, ok := ctx.Deadline(); ok {
		cfg.Until = deadline.Add(-time.Until(deadline) / finishing)
	}
	cfg.Gaps = func(queue string, n int) {
		env.Logger.ErrorContext(ctx, "the archive has gaps", "queue", queue, "gaps", n)
		env.Metrics.Emit(shell.Count(shell.MetricArchiveGaps, n))
	}
	cfg.Owner = shell.RequestID(ctx) + "/" + uuid.NewString() // AWS may deliver an invocation twice under one request id.
	res, err := archive.New(env.Store, cfg).Run(ctx)
	if res.Busy {
		env.Logger.InfoContext(ctx, "another invocation is archiving")
		return err
	}
	env.Metrics.Emit(
		shell.Count(shell.MetricArchived, res.Events), shell.Seconds(shell.MetricArchiveBehind, res.Behind),
	)
	env.Logger.InfoContext(ctx, "archived", "queues", res.Queues, "objects", res.Objects, "events", res.Events,
		"behind", res.Behind.String(), "furthest", res.BehindQueue)
	return err
}
