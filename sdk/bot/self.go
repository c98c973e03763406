package bot

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	lambdaapi "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// selfInvoker returns what invokes the function that this process runs and waits for the answer, in the same version. The
// client is made at the first use.
func selfInvoker() func(ctx context.Context, payload []byte) ([]byte, error) {
	name, version := os.Getenv("AWS_LAMBDA_FUNCTION_NAME"), os.Getenv("AWS_LAMBDA_FUNCTION_VERSION")
	if name == "" {
		return nil
	}
	client := sync.OnceValues(func() (*lambdaapi.Client, error) {
		cfg, err := awsconfig.LoadDefaultConfig(context.Background(),
			// A repeated request would be a second instance: nothing repeats one but what Lambda refused.
			awsconfig.WithRetryer(func() awssdk.Retryer { return awssdk.NopRetryer{} }))
		if err != nil {
			return nil, fmt.Errorf("client to invoke function %s: %w", name, err)
		}
		return lambdaapi.NewFromConfig(cfg), nil
	})
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		c, err := client()
		if err != nil {
			return nil, err
		}
		in := &lambdaapi.InvokeInput{FunctionName: &name, Payload: payload, InvocationType: types.InvocationTypeRequestResponse}
		if version != "" {
			in.Qualifier = &version
		}
		for pause := 200 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
			out, err := c.Invoke(ctx, in)
			var busy *types.TooManyRequestsException
			if errors.As(err, &busy) && wait(ctx, pause) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("invoke function %s: %w", name, err)
			}
			if out.FunctionError != nil {
				return nil, fmt.Errorf("function %s failed: %.500s", name, out.Payload)
			}
			return out.Payload, nil
		}
	}
}

// wait waits, and tells whether ctx lasted.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
