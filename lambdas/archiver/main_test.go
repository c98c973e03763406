package main

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/rstreams-go/rstreams/bus/archive"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

// listing tells of each list of queues.
type listing struct {
	store.Queues
	listed func()
}

func (l listing) List(ctx context.Context, after string, limit int) ([]store.Queue, error) {
	l.listed()
	return l.Queues.List(ctx, after, limit)
}

// TestAnInvocationThatIsDeliveredTwiceAtOnceArchivesOnce: both have one request id, and a lock is its owner's.
func TestAnInvocationThatIsDeliveredTwiceAtOnceArchivesOnce(t *testing.T) {
	vars := map[string]string{
		shell.EnvStack: "bus", shell.EnvConfig: `{"Region":"us-east-1","LeoStream":"s","LeoCron":"c","LeoEvent":"e","LeoSettings":"t",` +
			`"LeoSystem":"y","LeoS3":"memory","LeoKinesisStream":"k","LeoFirehoseStream":"f"}`,
	}
	env, err := shell.Open(t.Context(), "archiver", func(n string) string { return vars[n] }, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer env.Bus.Close(context.Background()) //nolint:errcheck // It returns nil.
	cfg, err := configure(env)
	if err != nil {
		t.Fatal(err)
	}
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "request"})
	passes := 0
	env.Store = memory.New(memory.Options{})
	env.Store.Queues = listing{env.Store.Queues, func() {
		if passes++; passes == 1 {
			if err := run(ctx, env, cfg); err != nil {
				t.Error(err)
			}
		}
	}}
	if err := run(ctx, env, cfg); err != nil {
		t.Fatal(err)
	}
	if passes != 1 {
		t.Errorf("%d passes at once", passes)
	}
	now := time.Now()
	if err := env.Store.Settings.Acquire(t.Context(), archive.Lock, "next", now.UnixMilli(), now.UnixMilli()+1); err != nil {
		t.Errorf("the lock is not given back: %v", err)
	}
}
