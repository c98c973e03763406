package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

// reserve is what an invocation keeps of its time to cut its claims short, tell what it did, and answer.
const reserve = 4 * time.Second

// errDeadline ends the work of an invocation that has no time left.
var errDeadline = errors.New("the function's time is nearly over; what is published stays, the rest comes again")

// processor publishes batches. Each invocation is a sequencer of its own: only its store is shared.
type processor struct {
	env *shell.Env
	cfg sequencer.Config
	now func() time.Time
}

func newProcessor(env *shell.Env) (*processor, error) {
	cfg, err := env.Sequencer()
	if err != nil {
		return nil, err
	}
	return &processor{env: env, cfg: cfg, now: time.Now}, nil
}

// handle publishes one batch of the event source mapping.
func (p *processor) handle(ctx context.Context, e shell.KinesisEvent) (shell.BatchResponse, error) {
	if len(e.Records) == 0 {
		return p.env.Respond("", nil)
	}
	batch, err := toBatch(e)
	if err != nil {
		return p.env.Respond("", err)
	}
	ctx, cancel := shell.Ahead(ctx, reserve, errDeadline)
	defer cancel()
	cfg := p.cfg
	cfg.Owner = owner(ctx, batch.Shard)
	cfg.Lease = p.lease(ctx)
	r, err := sequencer.New(p.env.Store, cfg).Process(ctx, batch)
	p.env.Metrics.Emit(
		shell.Count(shell.MetricRecords, r.Done), shell.Count(shell.MetricEvents, r.Events), shell.Count(shell.MetricDeadLetters, r.DeadLetters),
		shell.Count(shell.MetricRepeats, r.Repeats), shell.Millis(shell.MetricIntakeLag, p.now().Sub(time.UnixMilli(batch.Records[0].Arrival))),
	)
	if err == nil {
		p.env.Logger.DebugContext(ctx, "published", "shard", batch.Shard, "records", r.Done, "events", r.Events, "queues", len(r.Heads))
		return p.env.Respond("", nil)
	}
	err = fmt.Errorf("shard %s: %d of %d records are published: %w", batch.Shard, r.Done, len(batch.Records), err)
	if r.Done == 0 || r.Done >= len(batch.Records) {
		// An answer that names the first record has the same batch come again, uncut, and after the last retry all of it is given up because of
		// one record, or for want of time. A batch whose invocation fails is cut in two (BisectBatchOnFunctionError).
		p.env.Logger.ErrorContext(ctx, "nothing of the batch is done; it will come again in parts", "error", err)
		return shell.BatchResponse{}, err
	}
	return p.env.Respond(batch.Records[r.Done].Sequence, err)
}

// toBatch reads an event of one shard.
func toBatch(e shell.KinesisEvent) (sequencer.Batch, error) {
	b := sequencer.Batch{Shard: e.Records[0].Shard(), Records: make([]sequencer.Record, len(e.Records))}
	if b.Shard == "" {
		// Without a shard it could not be remembered what was published, and a retry would publish it again.
		return b, fmt.Errorf("a record's event id names no shard: %.100q", e.Records[0].EventID)
	}
	for i := range e.Records {
		r := &e.Records[i]
		if shard := r.Shard(); shard != b.Shard {
			return b, fmt.Errorf("one batch has records of the shards %.60q and %.60q", b.Shard, shard)
		}
		b.Records[i] = sequencer.Record{
			Sequence: r.Kinesis.SequenceNumber, Arrival: r.Kinesis.Arrival.UnixMilli(), Data: r.Kinesis.Data,
		}
	}
	return b, nil
}

// owner names the invocation. An invocation that Lambda gave up may go on for a while beside its retry: as each has a name of
// its own, the retry waits until the lease of the other is over.
func owner(ctx context.Context, shard string) string {
	id := shell.RequestID(ctx)
	if id == "" {
		id = uuid.NewString()
	}
	return shard + "/" + id
}

// lease returns how long the invocation's claims last: not so long that the next one, with as much time, could not wait for
// their end and still work.
func (p *processor) lease(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return p.cfg.Lease
	}
	return max(min(p.cfg.Lease, deadline.Sub(p.now())/2), time.Millisecond)
}
