// Command replicator is the Lambda function that copies queues to other buses (package sdk/replicate). Any number of bots run it,
// one for each queue, bus and destination; the register function makes them of the stack's parameters. What a bot copies where is
// in its settings.
//
// It assumes the bot role of the other bus, whose credentials are renewed while it copies, finds that bus by the outputs of its
// stack, and copies until four fifths of its time are used; where more is left, the bus runs it again.
//
// Environment: that of every function of the bus (package lambdas/internal/shell).
//
// Its role needs, besides what the bots of this bus have (read the index and blobs, update LeoCron, read LeoEvent, write to the Kinesis
// stream for dead letters): sts:AssumeRole on the bot roles of the other buses. Those must trust it, and need, besides what they have
// for writing to their bus, cloudformation:DescribeStacks on their own stack.
package main

import (
	"context"

	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func main() {
	shell.Main("replicator", func(_ context.Context, env *shell.Env) (any, error) {
		bus := rstreams.New(env.Store, rstreams.Options{Logger: env.Logger})
		c := &copier{resources: env.Bus.Resources(), logger: env.Logger, open: openDestination}
		return bot.NewLambda(bus, bot.LambdaConfig{Runner: bot.RunnerConfig{Logger: env.Logger}}, bot.Bot{ID: "replicator", Run: c.run})
	})
}
