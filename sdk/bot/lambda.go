package bot

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// LambdaConfig configures NewLambda. The zero value is usable.
type LambdaConfig struct {
	// Bot is the id of the bot whose code runs for invocations that name none of this program's bots; "" means the only one.
	Bot string
	// Invoke invokes this very function with a payload and returns what it answers, for a FanOut; nil means that all instances
	// run in one invocation.
	Invoke func(ctx context.Context, payload []byte) ([]byte, error)
	// Lines gets the [LEOCRON] lines by which operators find the logs of a run; nil means os.Stdout.
	Lines io.Writer
	// Runner has the clock, the logger and the ids. Its Heartbeat and Grace do not count: the invocation's own time does.
	Runner RunnerConfig
}

// Lambda runs bots as the handler of a Lambda function. It implements lambda.Handler of aws-lambda-go, and is safe for
// concurrent use. Between invocations it keeps nothing running.
//
// An invocation by a bus runs a bot under the lock that the bus reserved for it: the lock is confirmed with the request id and held
// for the rest of the function's time, reads end at four fifths of that time, and the run is completed exactly once, with a
// structured error where it failed (sdk.md 6.1-6.3, faults 46-48). An invocation without __cron, such as a test event or
// another service's, takes the lock lock_<bot> in the bus's settings instead, and gives it back.
//
// The answers are "already running" where the lock is not to be had, as on AWS's own retries, "failed getting lock" where the
// invocation is too old or the lock cannot be taken, what a handler of Wrap returned, null after other runs, and
// {"msg":...} after a failure, unless Bot.LambdaFails makes that an error.
type Lambda struct {
	runner *Runner
	cfg    LambdaConfig
	lines  sync.Mutex
}

// Answers of an invocation that ran nothing, as leo-sdk gives them.
const (
	answerRunning = `"already running"`
	answerNoLock  = `"failed getting lock"`
)

// maxAge is how old an invocation that says when it was sent may be (sdk.md 6.1).
const maxAge = 2 * time.Second

// NewLambda returns a handler for bots on bus, which stays the caller's. The error is that of NewRunner.
func NewLambda(bus *rstreams.Bus, cfg LambdaConfig, bots ...Bot) (*Lambda, error) {
	runner, err := NewRunner(bus, cfg.Runner, bots...)
	if err != nil {
		return nil, err
	}
	if cfg.Lines == nil {
		cfg.Lines = os.Stdout
	}
	if _, ok := runner.bots[cfg.Bot]; cfg.Bot != "" && !ok {
		return nil, fmt.Errorf("%s is %q, which is no bot of this program", envBot, cfg.Bot)
	}
	return &Lambda{runner: runner, cfg: cfg}, nil
}

// choose picks the bot for the id that an event names, "" for none. The same code may be registered under further ids.
func (l *Lambda) choose(id string) (Bot, error) {
	bots := l.runner.bots
	if b, ok := bots[id]; ok {
		return b, nil
	}
	if b, ok := bots[l.cfg.Bot]; ok {
		return b, nil
	}
	if len(bots) == 1 {
		for _, b := range bots {
			return b, nil
		}
	}
	return Bot{}, fmt.Errorf("the event names the bot %q, which is none of this program's %d; set %s to the one that this function runs",
		id, len(bots), envBot)
}

// Invoke handles one invocation. An error makes the invocation fail: the payload cannot be used, or the run failed and
// Bot.LambdaFails is set.
func (l *Lambda) Invoke(ctx context.Context, payload []byte) ([]byte, error) {
	inv, err := parse(payload, l.choose)
	if err != nil {
		return nil, err
	}
	requestID := ""
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		requestID = lc.AwsRequestID
	}
	if requestID == "" {
		requestID = l.runner.cfg.NewID()
	}
	v := &visit{l: l, attempt: l.runner.attempt(inv, requestID, inv.bot.timeout())}
	v.log = v.log.With("request", requestID)
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = v.start.Add(inv.bot.timeout())
	}
	v.bound(deadline)
	if !l.runner.begin() {
		return nil, errClosed
	}
	defer l.runner.wg.Done()
	switch {
	case inv.cron == nil:
		return v.alone(ctx)
	case inv.bot.FanOut != nil && inv.cron.IID.value > 0 && inv.cron.ICount.value > 0:
		return v.worker(ctx)
	}
	return v.byBus(ctx)
}

// Close waits for the invocations that are under way; see Runner.Close.
func (l *Lambda) Close(ctx context.Context) error { return l.runner.Close(ctx) }
