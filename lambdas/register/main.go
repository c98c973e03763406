// Command register is the Lambda function behind a bus's output Register: stacks name it as the service of custom resources whose
// properties declare bots, systems and queue schemas (package bus/registry, bus.md 3.11). It also declares the bus's own bots and, of
// the parameters for replication, the bots that copy queues to other buses (package sdk/replicate).
//
// It answers every request of CloudFormation, failures with the reason, also when it cannot work at all: a stack never waits for an
// hour. Invoked directly with the same payload without ResponseURL, it returns what it did.
//
// Environment: that of every function of the bus (package lambdas/internal/shell).
//
// Its role needs GetItem, UpdateItem and PutItem on LeoCron, GetItem, PutItem, UpdateItem and DeleteItem on LeoSettings, GetItem,
// PutItem and UpdateItem on LeoSystem, s3:PutObject (and s3:AbortMultipartUpload) on files/bus_internal/queue_schemas/*. Its timeout
// should be a minute or more, and others' stacks may need lambda:InvokeFunction on it.
package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/rstreams-go/rstreams/bus/registry"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

func main() {
	// shell.Main would answer a function that cannot start with an error, and nobody would tell CloudFormation.
	h := &handler{client: &http.Client{Timeout: 20 * time.Second}, logger: slog.New(slog.NewJSONHandler(os.Stderr, nil))}
	env, err := shell.Open(context.Background(), "register", os.Getenv, os.Stdout, os.Stderr)
	if err != nil {
		h.logger.Error("the function cannot work", "error", err)
		h.broken = err
	} else {
		h.registry, h.logger = registry.New(env.Store, nil), env.Logger
	}
	lambda.Start(h.handle)
}
