package bot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// RunnerConfig configures a Runner. The zero value is usable.
type RunnerConfig struct {
	// Heartbeat is how long a run keeps its lock without a sign of life; 0 means 30 s. It is renewed three times as often.
	// When the process dies, the bot runs again about this much later.
	Heartbeat time.Duration
	// Grace is how long code may go on after its context has ended; 0 means 10 s. Then its run is ended without it.
	Grace time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// NewID makes request ids; nil means random ones.
	NewID func() string
	// Logger gets the beginning, end and failures of runs; nil means slog.Default.
	Logger *slog.Logger
}

// Runner runs bots in this process. It implements store.Invoker. Its methods are safe for concurrent use.
type Runner struct {
	bus  *rstreams.Bus
	bots map[string]Bot
	cfg  RunnerConfig

	mu      sync.Mutex
	closing bool
	stop    chan struct{} // closed: runs should come to their end
	wg      sync.WaitGroup
	ctx     context.Context // of runs begun by Invoke
	cancel  context.CancelCauseFunc
}

// NewRunner returns a Runner for bots on bus, which stays the caller's. The error is that of Bot.Validate, for all bots
// together. The caller closes the Runner.
func NewRunner(bus *rstreams.Bus, cfg RunnerConfig, bots ...Bot) (*Runner, error) {
	if cfg.Heartbeat <= 0 {
		cfg.Heartbeat = 30 * time.Second
	}
	if cfg.Grace <= 0 {
		cfg.Grace = 10 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.NewID == nil {
		cfg.NewID = uuid.NewString
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	r := &Runner{bus: bus, bots: map[string]Bot{}, cfg: cfg, stop: make(chan struct{})}
	var errs []error
	for _, b := range bots {
		errs = append(errs, b.Validate())
		if _, ok := r.bots[b.ID]; ok {
			errs = append(errs, fmt.Errorf("two bots have the id %s", b.ID))
		}
		r.bots[b.ID] = b
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	return r, nil
}

// Hosts tells whether this Runner can run the bot: one of its own that is registered to run locally.
func (r *Runner) Hosts(row store.Bot) bool {
	_, ok := r.bots[row.ID]
	return ok && row.Invocation.Type == "local"
}

var errClosed = errors.New("the runner is closed")

// Invoke begins a run and returns. An error means that it did not begin.
func (r *Runner) Invoke(_ context.Context, row store.Bot, payload []byte) error {
	inv, err := r.parse(payload)
	if err != nil {
		return err
	}
	if inv.bot.ID != row.ID {
		return fmt.Errorf("the payload for bot %s names bot %s", row.ID, inv.bot.ID)
	}
	if !r.begin() {
		return errClosed
	}
	go func() {
		defer r.wg.Done()
		_ = r.run(r.ctx, inv) // The row and the log have it.
	}()
	return nil
}

// Do does a run to its end, and returns the error with which the bot's code ended, after the run is completed on the bus. A
// run that was begun or ended elsewhere is not an error and is not repeated. The run's time is bounded by ctx too.
func (r *Runner) Do(ctx context.Context, payload []byte) error {
	inv, err := r.parse(payload)
	if err != nil {
		return err
	}
	if !r.begin() {
		return errClosed
	}
	defer r.wg.Done()
	return r.do(ctx, inv)
}

// do does a run that was counted. Its context ends with the Runner's, too.
func (r *Runner) do(ctx context.Context, inv invocation) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.ctx, func() { cancel(context.Cause(r.ctx)) })()
	return r.run(ctx, inv)
}

// RunNow locks the bot, whether anything asks for a run or not, and does a run to its end. Paused and archived bots run too.
// The error is that of Do, or store.ErrConflict when the bot is running elsewhere.
func (r *Runner) RunNow(ctx context.Context, id string) error {
	bots := r.bus.Store().Bots
	row, err := bots.Get(ctx, id)
	if err != nil {
		return fmt.Errorf("run bot %s: %w", id, err)
	}
	if d := dispatch.Decide(row, r.cfg.Now()); d.Action == dispatch.Wait && d.Reason == dispatch.Running {
		return fmt.Errorf("%w: bot %s is running since %s; its lock ends at %s at the latest", store.ErrConflict, id,
			time.UnixMilli(row.Instance.InvokeTime).UTC().Format(time.RFC3339), d.Until.UTC().Format(time.RFC3339))
	}
	// Everything that may fail comes before the lock: nobody else would know that the run it reserves does not begin.
	lock := dispatch.LockFor(row, r.cfg.Now())
	payload, err := dispatch.Payload(row, lock.At)
	if err != nil {
		return err
	}
	inv, err := r.parse(payload)
	if err != nil {
		return err
	}
	if !r.begin() {
		return errClosed
	}
	defer r.wg.Done()
	if err := bots.Lock(ctx, lock); err != nil {
		if !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
			// The lock may have been stored all the same.
			(&attempt{Runner: r, inv: inv, start: r.cfg.Now(), log: r.cfg.Logger}).giveBack(ctx)
		}
		return fmt.Errorf("run bot %s: %w", id, err)
	}
	return r.do(ctx, inv)
}

// begin counts a run, unless the Runner is closed.
func (r *Runner) begin() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return false
	}
	r.wg.Add(1)
	return true
}

// Close ends the runs: reads stop, and the bots finish and checkpoint what is in work. When ctx ends before them, their
// contexts end too (ErrStopped), and code that does not return within Grace is left behind. No run begins any more; stop
// what invokes first. A nil error means that every run was completed on the bus.
func (r *Runner) Close(ctx context.Context) error {
	r.mu.Lock()
	if !r.closing {
		r.closing = true
		close(r.stop)
	}
	r.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.wg.Wait()
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("runs were cut short: %w", context.Cause(ctx))
	}
	r.cancel(ErrStopped)
	<-done
	return err
}

// parse reads the payload of an invocation by a bus.
func (r *Runner) parse(payload []byte) (invocation, error) {
	inv, err := parse(payload, func(id string) (Bot, error) {
		b, ok := r.bots[id]
		if !ok {
			return Bot{}, fmt.Errorf("bot %s is not among the bots of this process", id)
		}
		return b, nil
	})
	switch {
	case inv.cron == nil && err == nil, inv.cron != nil && inv.token == 0:
		return inv, fmt.Errorf("the payload is no invocation by a bus: %.200s", payload)
	case inv.cron == nil && inv.bot.ID == "":
		return inv, fmt.Errorf("the payload is no invocation by a bus: %.200s", payload)
	}
	return inv, err
}
