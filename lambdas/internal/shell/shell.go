// Package shell is what the bus's Lambda functions have in common: they read their configuration, open the bus, log JSON, write
// metrics, and answer batches of streams in a form that cannot pass a failure off as success.
//
// A function is a thin main over it:
//
//	func main() {
//		shell.Main("monitor", func(ctx context.Context, env *shell.Env) (any, error) {
//			return func(ctx context.Context, e shell.DynamoEvent) (shell.BatchResponse, error) { … }, nil
//		})
//	}
package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
)

// The environment that every function of the bus has. On emulators the AWS SDK reads AWS_ENDPOINT_URL besides.
const (
	// EnvConfig holds the bus's Resources as JSON.
	EnvConfig = "RSTREAMS_CONFIG"
	// EnvStack is the name of the bus's stack, which its metrics carry.
	EnvStack = "RSTREAMS_STACK"
	// EnvPartialBatch is "true" where the event source mapping reports batch item failures; without it a failure of one record is
	// one of the invocation.
	EnvPartialBatch = "RSTREAMS_PARTIAL_BATCH"
	// EnvLogLevel is "debug", "info" (the default), "warn" or "error".
	EnvLogLevel = "RSTREAMS_LOG_LEVEL"
)

// Env is what a function works with. It is safe for concurrent use.
type Env struct {
	// Name is the function's, such as "kinesis-processor"; Stack that of the bus's stack.
	Name, Stack string
	// Bus is the bus, Store its ports.
	Bus   *awsbus.Bus
	Store store.Store
	// Logger writes JSON lines, Metrics the bus's metrics.
	Logger  *slog.Logger
	Metrics *Metrics
	// PartialBatch tells whether the event source mapping understands partial answers (see Respond).
	PartialBatch bool
	// Getenv reads the environment.
	Getenv func(string) string
}

// ErrConfig reports an environment in which a function cannot work. The text names the variable and what it should hold.
var ErrConfig = errors.New("function configuration")

// Open reads the environment and opens the bus; it sends no request. Metrics go to out, logs to log. The caller closes Env.Bus.
func Open(ctx context.Context, name string, getenv func(string) string, out, log io.Writer) (*Env, error) {
	var level slog.Level
	if text := getenv(EnvLogLevel); text != "" {
		if err := level.UnmarshalText([]byte(text)); err != nil {
			return nil, fmt.Errorf("%w: %s is %q, want debug, info, warn or error", ErrConfig, EnvLogLevel, text)
		}
	}
	stack := getenv(EnvStack)
	if stack == "" {
		return nil, fmt.Errorf("%w: %s is not set: want the name of the bus's stack", ErrConfig, EnvStack)
	}
	logger := slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: level})).With("function", name, "bus", stack)
	env := &Env{
		Name: name, Stack: stack, Logger: logger, Getenv: getenv, Metrics: NewMetrics(out, stack, name, time.Now),
	}
	if text := getenv(EnvPartialBatch); text != "" {
		var err error
		if env.PartialBatch, err = strconv.ParseBool(text); err != nil {
			return nil, fmt.Errorf("%w: %s is %q, want true or false", ErrConfig, EnvPartialBatch, text)
		}
	}
	text := getenv(EnvConfig)
	if text == "" {
		return nil, fmt.Errorf("%w: %s is not set: want the bus's resources as JSON, as its stack's outputs name them", ErrConfig, EnvConfig)
	}
	resources, err := awsbus.ParseResources([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, EnvConfig, err)
	}
	if env.Bus, err = awsbus.Open(ctx, awsbus.Options{Resources: resources, Logger: logger}); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrConfig, EnvConfig, err)
	}
	env.Store = env.Bus.Store()
	return env, nil
}

// Main runs a Lambda function: it opens its Env, has the handler made (anything that lambda.Start of aws-lambda-go takes), and
// serves invocations. Where that fails, every invocation answers with the error, so that whoever invoked it reads what is wrong
// instead of waiting for a process that ends again and again. It does not return.
func Main(name string, build func(ctx context.Context, env *Env) (handler any, err error)) {
	ctx := context.Background()
	handler, err := open(ctx, name, build)
	if err != nil {
		slog.New(slog.NewJSONHandler(os.Stderr, nil)).Error("the function cannot start", "function", name, "error", err)
		handler = func(context.Context) error { return err }
	}
	lambda.StartWithOptions(handler, lambda.WithContext(ctx))
}

func open(ctx context.Context, name string, build func(context.Context, *Env) (any, error)) (any, error) {
	env, err := Open(ctx, name, os.Getenv, os.Stdout, os.Stderr)
	if err != nil {
		return nil, err
	}
	return build(ctx, env)
}

// Duration reads a Go duration such as "20s" from the environment; def where it is not set. The error wraps ErrConfig.
func (e *Env) Duration(variable string, def time.Duration) (time.Duration, error) {
	text := e.Getenv(variable)
	if text == "" {
		return def, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%w: %s is %q, want a duration such as 20s", ErrConfig, variable, text)
	}
	return d, nil
}

// RequestID returns the id of the invocation that ctx belongs to, "" outside of one.
func RequestID(ctx context.Context) string {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		return lc.AwsRequestID
	}
	return ""
}

// Ahead returns a context that ends before ctx does, by the given time or, where less than twice that is left, by half of what is left,
// so that an invocation can still answer. cause is its cause then.
func Ahead(ctx context.Context, before time.Duration, cause error) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	before = max(min(before, time.Until(deadline)/2), 0)
	return context.WithDeadlineCause(ctx, deadline.Add(-before), cause)
}
