// Command bus-api is the Lambda function by which programs without an SDK use the bus: they invoke it directly with one of five
// requests (package busapi, bus.md 3.10).
//
// Environment: that of every function of the bus (package lambdas/internal/shell).
//
// Its role needs what a bot that reads and writes has: Query on LeoStream, GetItem on LeoEvent, GetItem, PutItem and UpdateItem on
// LeoCron, s3:GetObject, s3:PutObject and s3:AbortMultipartUpload on bus/* and s3:GetObject on files/*, kinesis:PutRecords. Whoever
// may invoke it may act as any bot.
package main

import (
	"context"
	"encoding/json"

	"github.com/rstreams-go/rstreams/lambdas/internal/busapi"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

func main() {
	shell.Main("bus-api", func(_ context.Context, env *shell.Env) (any, error) {
		api := busapi.New(env.Store, busapi.Options{Logger: env.Logger})
		return func(ctx context.Context, request json.RawMessage) (json.RawMessage, error) {
			return api.Handle(ctx, shell.RequestID(ctx), request)
		}, nil
	})
}
