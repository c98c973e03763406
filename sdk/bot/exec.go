package bot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// attempt is one run under way.
type attempt struct {
	*Runner
	inv   invocation
	id    string // request id
	log   *slog.Logger
	start time.Time
	limit time.Duration
}

// run carries one run through the lock protocol: confirm, heartbeat beside the bot's code, complete exactly once.
func (r *Runner) run(ctx context.Context, inv invocation) error {
	a := &attempt{Runner: r, inv: inv, id: r.cfg.NewID(), start: r.cfg.Now(), limit: inv.bot.timeout()}
	a.log = r.cfg.Logger.With("bot", inv.bot.ID, "token", inv.token)
	if deadline, ok := ctx.Deadline(); ok {
		a.limit = min(a.limit, deadline.Sub(a.start))
	}
	if a.stopping() {
		a.giveBack(ctx)
		return nil
	}
	if begun, err := a.confirm(ctx); !begun {
		return err
	}
	a.log.InfoContext(ctx, "run begins")

	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := time.AfterFunc(a.limit, func() { cancel(ErrTimeLimit) })
	defer limit.Stop()
	// Beats go on while the code winds down after its context has ended.
	beats, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { a.heartbeat(beats, cancel) })

	run, err := a.call(ctx)
	stop()
	wg.Wait()
	if errors.Is(context.Cause(ctx), ErrLockLost) {
		a.log.ErrorContext(ctx, "the run has lost its lock; another one took over", "error", err)
		return errors.Join(ErrLockLost, err)
	}
	return a.complete(ctx, run, err)
}

func (r *Runner) stopping() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// claim is the step that takes or renews the lock: it holds from the run's invocation until Heartbeat from now.
func (a *attempt) claim() store.Confirm {
	now, since := a.cfg.Now().UnixMilli(), a.inv.token
	if a.ahead() {
		since = a.start.UnixMilli()
	}
	return store.Confirm{
		Bot: a.inv.bot.ID, Token: a.inv.token, RequestID: a.id, At: now,
		MaxDuration: max(now-since, 0) + a.cfg.Heartbeat.Milliseconds(),
	}
}

// ahead tells whether the token is one that had to follow those of a clock that was ahead. It is then no time to reckon with.
func (a *attempt) ahead() bool { return a.inv.token > a.start.UnixMilli()+dispatch.ClockFault }

// confirm takes the lock that was reserved. begun is false, without an error, where that is not to be: the run was begun
// before, or the reservation is gone.
func (a *attempt) confirm(ctx context.Context) (begun bool, err error) {
	step := func() error {
		c := a.claim()
		err := a.bus.Store().Bots.Confirm(ctx, c)
		if errors.Is(err, store.ErrConflict) {
			// An earlier attempt may have been stored although it failed.
			row, e := a.bus.Store().Bots.Get(ctx, c.Bot)
			if e == nil && row.Instance.Token == c.Token && row.Instance.RequestID == a.id {
				return nil
			}
		}
		return err
	}
	err = retry(ctx, step)
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		a.log.WarnContext(ctx, "the run was begun elsewhere, or is called off", "reason", err)
		return false, nil
	}
	if err != nil {
		a.log.ErrorContext(ctx, "cannot begin the run", "error", err)
		a.giveBack(ctx)
		return false, fmt.Errorf("begin of a run of bot %s: %w", a.inv.bot.ID, err)
	}
	return true, nil
}

// giveBack ends a run that this process cannot begin, so that it is done elsewhere or later.
func (a *attempt) giveBack(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.Heartbeat)
	defer cancel()
	log, err := dispatch.EncodeLog("")
	if err == nil {
		err = a.bus.Store().Bots.Complete(ctx, store.Complete{
			Bot: a.inv.bot.ID, Token: a.inv.token, At: a.now(), Log: log, RunAgain: true,
		})
	}
	if err != nil {
		a.log.WarnContext(ctx, "cannot give back a run", "error", err)
	}
}

// now returns the time in ms, after the token: a run that ends in the ms of its invocation ends later.
func (a *attempt) now() int64 {
	now := a.cfg.Now().UnixMilli()
	if a.ahead() {
		return max(now, a.start.UnixMilli()+1)
	}
	return max(now, a.inv.token+1)
}

// heartbeat renews the lock until ctx ends. It ends the run when the lock is lost, or was not renewed in time.
func (a *attempt) heartbeat(ctx context.Context, lose context.CancelCauseFunc) {
	tick := time.NewTicker(a.cfg.Heartbeat / 3)
	defer tick.Stop()
	held := a.cfg.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := a.cfg.Now()
		err := a.extend(ctx)
		switch {
		case err == nil:
			held = now
		case errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound):
			lose(ErrLockLost)
			return
		case ctx.Err() != nil:
			return
		default:
			a.log.WarnContext(ctx, "cannot renew the run's lock", "error", err)
			if a.cfg.Now().Sub(held) >= a.cfg.Heartbeat {
				lose(ErrLockLost)
				return
			}
		}
	}
}

// extend renews the lock once. It does not wait longer than until the next beat, so that storage that hangs is noticed while
// the lock still holds.
func (a *attempt) extend(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Heartbeat/3)
	defer cancel()
	return a.bus.Store().Bots.Extend(ctx, a.claim())
}

// call runs the bot's code and waits for it; when its context has ended, for Grace at most.
func (a *attempt) call(ctx context.Context) (*Run, error) {
	softEnd := a.start.Add(a.limit / 5 * 4)
	stop := make(chan struct{})
	stopped := make(chan struct{})
	defer func() { <-stopped }()
	code := make(chan error, 1)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		defer close(stopped)
		defer close(stop)
		timer := time.NewTimer(softEnd.Sub(a.cfg.Now()))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-a.stop:
		case <-ctx.Done():
		case <-ended:
		}
	}()
	run := &Run{
		Bus: a.bus.Session(rstreams.Session{Bot: a.inv.bot.ID, StopAt: softEnd, Stop: stop}), Bot: a.inv.bot, Settings: a.inv.settings,
		Token: a.inv.token, RequestID: a.id, StopAt: softEnd, Logger: a.log, stop: stop,
	}
	go func() {
		err := errors.New("the code ended its goroutine (runtime.Goexit) instead of returning")
		defer func() { code <- err }()
		err = protect(func() error { return a.inv.bot.Run(ctx, run) })
	}()
	select {
	case err := <-code:
		return run, err
	case <-ctx.Done():
	}
	grace := time.NewTimer(a.cfg.Grace)
	defer grace.Stop()
	select {
	case err := <-code:
		return run, err
	case <-grace.C:
		a.log.ErrorContext(ctx, "the bot's code goes on although its context has ended; it is left behind", "grace", a.cfg.Grace)
		return run, fmt.Errorf("the code did not return within %v of the end of its context: %w", a.cfg.Grace, context.Cause(ctx))
	}
}

// protect turns a panic into an error.
func protect(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: string(debug.Stack())}
		}
	}()
	return fn()
}

// maxLog bounds the text of an error in the bot's row, in bytes.
const maxLog = 16 << 10

// complete ends the run on the bus. It returns the error that makes the run a failed one.
func (a *attempt) complete(ctx context.Context, run *Run, err error) error {
	cause := context.Cause(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), a.cfg.Heartbeat)
	defer cancel()

	c := store.Complete{Bot: a.inv.bot.ID, Token: a.inv.token, RequestID: a.id, At: a.now()}
	run.mu.Lock()
	c.Result, c.RunAgain = run.result, run.again
	run.mu.Unlock()
	var later *rstreams.RetryError
	if errors.As(err, &later) {
		c.RetryAt = a.cfg.Now().Add(later.After).UnixMilli()
		if later.Err == nil {
			err = nil
		}
	}
	var halt *rstreams.StopError
	switch {
	case errors.As(err, &halt):
		err = nil
	case err != nil && errors.Is(cause, ErrStopped) && (errors.Is(err, ErrStopped) || errors.Is(err, context.Canceled)):
		// Not the bot's fault. What it had not done yet is done by the next run.
		a.log.InfoContext(ctx, "the run was cut short", "error", err)
		err, c.RunAgain = nil, true
	case err != nil && errors.Is(cause, ErrTimeLimit) && !errors.Is(err, ErrTimeLimit):
		err = fmt.Errorf("%w of %v: %w", ErrTimeLimit, a.limit, err)
	}
	c.Failed = err != nil
	var text any = ""
	if err != nil {
		text = describe(err)
	}
	log, encErr := dispatch.EncodeLog(text)
	if encErr != nil {
		return errors.Join(err, encErr)
	}
	c.Log = log

	attempts := 0
	endErr := retry(ctx, func() error {
		attempts++
		return a.bus.Store().Bots.Complete(ctx, c)
	})
	took := slog.Duration("took", a.cfg.Now().Sub(a.start))
	switch {
	case errors.Is(endErr, store.ErrConflict) && attempts > 1:
		// An earlier attempt was stored although it failed.
	case errors.Is(endErr, store.ErrConflict):
		a.log.ErrorContext(ctx, "the run has lost its lock before its end was stored", "error", err)
		return errors.Join(ErrLockLost, err)
	case endErr != nil:
		a.log.ErrorContext(ctx, "the run's end is not on the bus; it counts as dead when its lock ends", "error", endErr)
		return errors.Join(err, fmt.Errorf("end of a run of bot %s: %w", a.inv.bot.ID, endErr))
	}
	if err != nil {
		a.log.ErrorContext(ctx, "run failed", "error", err, took)
	} else {
		a.log.InfoContext(ctx, "run ends", took)
	}
	return err
}

// describe returns what a failed run leaves in the row.
func describe(err error) dispatch.RunError {
	e := dispatch.RunError{Message: cut(err.Error())}
	var p *PanicError
	if errors.As(err, &p) {
		e.Stack = cut(p.Stack)
	}
	return e
}

func cut(s string) string {
	if len(s) > maxLog {
		return s[:maxLog] + " ..."
	}
	return s
}

// retry repeats step while the storage has trouble that may pass: five more times, over some six seconds.
func retry(ctx context.Context, step func() error) error {
	pause := 200 * time.Millisecond
	for n := 0; ; n++ {
		err := step()
		switch {
		case err == nil, n == 5:
			return err
		case errors.Is(err, store.ErrConflict), errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrInvalid):
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
		pause *= 2
	}
}
