// Command kinesis-processor is the Lambda function that publishes what arrives on the bus's Kinesis stream: it numbers the
// events of a batch, queue by queue, and moves the queues' heads (package bus/sequencer).
//
// Its event source mapping must have a ParallelizationFactor of 1, the default: order is kept, and what is published is
// remembered, by shard. Batches may be cut, split and delivered again as Kinesis likes. The mapping should bisect batches on errors: a
// batch of which no record could be published fails as a whole, so that it is cut until the record that is at fault is alone.
//
// Environment, besides that of every function of the bus (package lambdas/internal/shell):
//
//	RSTREAMS_TTL_SECONDS  how long events stay in the index; default 604800, 7 days
//	RSTREAMS_SKIP_EVENTS  queues, separated by commas, whose events are dropped for good
//	RSTREAMS_SKIP_BOTS    bots, separated by commas, whose events are dropped for good
//	RSTREAMS_LEASE        how long an invocation that died keeps its queues from others; default 20s. It must be well below
//	                      the function's timeout, as the invocation after it waits for its end.
package main

import (
	"context"

	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

func main() {
	shell.Main("kinesis-processor", func(_ context.Context, env *shell.Env) (any, error) {
		p, err := newProcessor(env)
		if err != nil {
			return nil, err
		}
		return p.handle, nil
	})
}
