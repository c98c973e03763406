package bot

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/aws/aws-lambda-go/lambda"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// drainTime is how long runs may finish after the program was told to stop.
const drainTime = 30 * time.Second

// The environment of a Lambda function.
const (
	// envRuntime is set by Lambda, and nowhere else.
	envRuntime = "AWS_LAMBDA_RUNTIME_API"
	// envBot is which of the program's bots a function runs.
	envBot = "RSTREAMS_BOT"
)

// Main makes a program of bots and does not return. In Lambda it is the handler of a function, as a Lambda: RSTREAMS_BOT names the
// bot that the function runs, and the bus is found by the environment (RSTREAMS_CONFIG). Elsewhere it is a command:
//
//	list        show the bots and their state on the bus
//	run BOT     run a bot once, now, and wait for its end
//	dev         run the bots as their triggers and schedules ask, until interrupted
//
// The bus is that of --bus, or of the environment variable RSTREAMS_BUS, such as embedded:./data. The exit status is 0 on
// success, 1 when something failed and 2 for a wrong command line. An interrupt stops dev gently: reads end, and what is in
// work is finished and checkpointed; a second one stops it at once.
//
// Programs that run only in Lambda may be built with the tag rstreams_lambda, which leaves the embedded bus and the commands out.
func Main(bots ...Bot) {
	if os.Getenv(envRuntime) != "" {
		h := &function{bots: bots}
		if _, err := h.open(context.Background()); err != nil {
			_, _ = fmt.Fprintln(os.Stderr, "error:", err) // Each invocation tries again, and fails with it.
		}
		lambda.Start(h)
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // The second signal is the runtime's: it ends the process.
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr, bots))
}

// function is the handler of a Lambda function, whose bus is opened when the process begins.
type function struct {
	bots []Bot

	mu      sync.Mutex
	handler *Lambda
}

// open opens the bus, once it can be opened.
func (f *function) open(ctx context.Context) (*Lambda, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.handler != nil {
		return f.handler, nil
	}
	bus, err := rstreams.Open(ctx, "")
	if err != nil {
		return nil, err
	}
	f.handler, err = NewLambda(bus, LambdaConfig{Bot: os.Getenv(envBot), Invoke: selfInvoker()}, f.bots...)
	return f.handler, err
}

// Invoke handles an invocation.
func (f *function) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	h, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	return h.Invoke(ctx, payload)
}
