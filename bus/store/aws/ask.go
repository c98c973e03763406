package aws

import (
	"context"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
)

// once is the retryer of clients whose requests the bus itself makes again.
var once awssdk.Retryer = awssdk.NopRetryer{}

// ask makes a request with the bus's retries and returns its answer. The error is the service's own.
func ask[T any](ctx context.Context, b *Bus, try func(ctx context.Context) (T, error)) (out T, err error) {
	err = b.send(ctx, b.retries(), func(ctx context.Context) (err error) {
		out, err = try(ctx)
		return err
	})
	return out, err
}

// bound returns a context that also ends when the bus is closed, for calls that ask does not make.
func (b *Bus) bound(ctx context.Context) (context.Context, context.CancelFunc, error) {
	if err := b.alive(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(b.closing, cancel)
	return ctx, func() { stop(); cancel() }, nil
}

// flat makes a text of a service fit for a line.
func flat(s string) string { return strings.Join(strings.Fields(s), " ") }
