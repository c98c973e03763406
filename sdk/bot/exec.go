package bot

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime/debug"
	"slices"
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
	// limit is how long the code may take, soft when its reads end; 0 means four fifths of the limit.
	limit, soft time.Duration
	// hold is how long a claim to the lock is good for, since when it is counted: the lock's time, in ms.
	hold  time.Duration
	since int64
	// grace is how long code may go on after its context has ended. end, if set, is when the process is stopped from outside.
	grace time.Duration
	end   time.Time
	// free means that no lock is held, so that there is nothing to complete.
	free bool
	// invoke reaches the other instances of a fan-out; nil means that they run in this process.
	invoke func(ctx context.Context, payload []byte) ([]byte, error)
}

// attempt returns an attempt at a run that may take limit.
func (r *Runner) attempt(inv invocation, requestID string, limit time.Duration) *attempt {
	return &attempt{
		Runner: r, inv: inv, id: requestID, start: r.cfg.Now(), limit: limit, hold: r.cfg.Heartbeat, since: inv.token,
		grace: r.cfg.Grace, log: r.cfg.Logger.With("bot", inv.id, "token", inv.token),
	}
}

// run carries one run through the lock protocol: confirm, heartbeat beside the bot's code, complete exactly once.
func (r *Runner) run(ctx context.Context, inv invocation) error {
	a := r.attempt(inv, r.cfg.NewID(), inv.bot.timeout())
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

// claim is the step that takes or renews the lock: it holds from the run's invocation until hold from now.
func (a *attempt) claim() store.Confirm {
	now, since := a.cfg.Now().UnixMilli(), a.since
	if a.ahead() {
		since = a.start.UnixMilli()
	}
	return store.Confirm{
		Bot: a.inv.id, Token: a.inv.token, RequestID: a.id, At: now,
		MaxDuration: max(now-since, 0) + a.hold.Milliseconds(),
	}
}

// ahead tells whether the token is one that had to follow those of a clock that was ahead. It is then no time to reckon with.
func (a *attempt) ahead() bool { return a.inv.token > a.start.UnixMilli()+dispatch.ClockFault }

// confirm takes the lock that was reserved. begun is false, without an error, where that is not to be: the run was begun
// before, or the reservation is gone.
func (a *attempt) confirm(ctx context.Context) (begun bool, err error) {
	var sent []int64
	step := func() error {
		c := a.claim()
		err := a.bus.Store().Bots.Confirm(ctx, c)
		if errors.Is(err, store.ErrConflict) && len(sent) > 0 {
			// An earlier attempt may have been stored although it failed. The request id alone does not tell: AWS delivers an
			// invocation twice now and then, with the same id.
			row, e := a.bus.Store().Bots.Get(ctx, c.Bot)
			if in := row.Instance; e == nil && in.Token == c.Token && in.RequestID == a.id && slices.Contains(sent, in.StartTime) {
				return nil
			}
		}
		sent = append(sent, c.At)
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
		return false, fmt.Errorf("begin of a run of bot %s: %w", a.inv.id, err)
	}
	return true, nil
}

// giveBack ends a run that this process cannot begin, so that it is done elsewhere or later.
func (a *attempt) giveBack(ctx context.Context) {
	ctx, cancel := a.last(ctx)
	defer cancel()
	log, err := dispatch.EncodeLog("")
	if err == nil {
		err = a.bus.Store().Bots.Complete(ctx, store.Complete{
			Bot: a.inv.id, Token: a.inv.token, At: a.now(), Log: log, RunAgain: true,
		})
	}
	if err != nil {
		a.log.WarnContext(ctx, "cannot give back a run", "error", err)
	}
}

// last returns the context of the steps that end a run, which go on although ctx has ended.
func (a *attempt) last(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := a.cfg.Heartbeat
	if !a.end.IsZero() {
		limit = min(limit, a.end.Sub(a.cfg.Now()))
	}
	return context.WithTimeout(context.WithoutCancel(ctx), limit)
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
	softEnd := a.start.Add(cmp.Or(a.soft, a.limit/5*4))
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
	session := rstreams.Session{Bot: a.inv.id, StopAt: softEnd, Stop: stop}
	if c := a.inv.cron; c != nil {
		session.Starts, session.Max, session.Force = c.StartEID, c.MaxEID, bool(c.Force)
		if c.CPLoc != "" && a.inv.bot.FanOut == nil { // A fan-out by the bus, which collects the instances' positions.
			session.Location = rstreams.Location{Attribute: c.CPLoc, Instance: cmp.Or(c.IID.text, "0")}
		}
	}
	run := &Run{
		Bus: a.bus.Session(session), Bot: a.inv.bot, Settings: a.inv.settings, Event: a.inv.event, Instances: 1,
		Token: a.inv.token, RequestID: a.id, StopAt: softEnd, Logger: a.log, stop: stop, core: &runCore{},
	}
	do := a.inv.bot.Run
	if a.inv.bot.FanOut != nil {
		do = func(ctx context.Context, run *Run) error { return a.fanOut(ctx, run, session) }
	}
	if c := a.inv.cron; a.inv.bot.FanOut != nil && c != nil && c.IID.value > 0 && c.ICount.value > 0 {
		do = func(ctx context.Context, run *Run) error {
			o := a.instance(ctx, run, session, int(c.IID.value), int(c.ICount.value))
			run.core.mu.Lock()
			defer run.core.mu.Unlock()
			run.core.outcome = &o
			return o.err
		}
	}
	go func() {
		err := errors.New("the code ended its goroutine (runtime.Goexit) instead of returning")
		defer func() { code <- err }()
		err = protect(func() error { return do(withRun(ctx, run), run) })
	}()
	select {
	case err := <-code:
		return run, err
	case <-ctx.Done():
	}
	grace := time.NewTimer(a.grace)
	defer grace.Stop()
	select {
	case err := <-code:
		return run, err
	case <-grace.C:
		a.log.ErrorContext(ctx, "the bot's code goes on although its context has ended; it is left behind", "grace", a.grace)
		return run, fmt.Errorf("the code did not return within %v of the end of its context: %w", a.grace, context.Cause(ctx))
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
	ctx, cancel := a.last(ctx)
	defer cancel()

	c := store.Complete{Bot: a.inv.id, Token: a.inv.token, RequestID: a.id, At: a.now()}
	c.Result, c.RunAgain = run.core.end()
	if after, asked := later(err); asked {
		c.RetryAt = a.cfg.Now().Add(after).UnixMilli()
	}
	switch {
	case wish(err):
		err = nil
	case err != nil && errors.Is(cause, ErrStopped) && cutShort(err):
		// Not the bot's fault. What it had not done yet is done by the next run.
		a.log.InfoContext(ctx, "the run was cut short", "error", err)
		err, c.RunAgain = nil, true
	case err != nil && errors.Is(cause, ErrTimeLimit) && !errors.Is(err, ErrTimeLimit):
		err = fmt.Errorf("%w of %v: %w", ErrTimeLimit, a.limit, err)
	}
	if a.inv.cron != nil && bool(a.inv.cron.PreventRunAgain) {
		c.RunAgain = false
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
		if a.free {
			return nil
		}
		return a.bus.Store().Bots.Complete(ctx, c)
	})
	if errors.Is(endErr, store.ErrConflict) && a.inv.cron != nil && bool(a.inv.cron.ForceComplete) {
		endErr = a.completeAnyway(ctx, c)
	}
	took := slog.Duration("took", a.cfg.Now().Sub(a.start))
	switch {
	case errors.Is(endErr, store.ErrConflict) && attempts > 1:
		// An earlier attempt was stored although it failed.
	case errors.Is(endErr, store.ErrConflict):
		a.log.ErrorContext(ctx, "the run has lost its lock before its end was stored", "error", err)
		return errors.Join(ErrLockLost, err)
	case endErr != nil:
		a.log.ErrorContext(ctx, "the run's end is not on the bus; it counts as dead when its lock ends", "error", endErr)
		return errors.Join(err, fmt.Errorf("end of a run of bot %s: %w", a.inv.id, endErr))
	}
	if err != nil {
		a.log.ErrorContext(ctx, "run failed", "error", err, took)
	} else {
		a.log.InfoContext(ctx, "run ends", took)
	}
	return err
}

// wish tells whether err only says how the bot is to go on: all of it are wishes without a cause. A failure beside a wish, as of
// another queue or instance, remains one.
func wish(err error) bool {
	return all(err, func(part error) bool {
		switch e := part.(type) { //nolint:errorlint // It has the parts one by one.
		case *rstreams.StopError:
			return true
		case *rstreams.RetryError:
			return e.Err == nil
		}
		return false
	})
}

// cutShort tells whether err only says that the run's context ended, beside wishes at most. What failed before, joined with that, is a
// failure.
func cutShort(err error) bool {
	return all(err, func(part error) bool {
		return errors.Is(part, ErrStopped) || errors.Is(part, context.Canceled) || wish(part)
	})
}

// all tells whether fn holds for every part of err: each of the errors that are joined in it, without what they are wrapped in. It
// holds for no panic, whatever its value.
func all(err error, fn func(part error) bool) bool {
	switch e := err.(type) { //nolint:errorlint // It walks the whole tree itself.
	case *PanicError:
		return false
	case interface{ Unwrap() error }:
		if cause := e.Unwrap(); cause != nil {
			return all(cause, fn)
		}
	case interface{ Unwrap() []error }:
		if parts := e.Unwrap(); len(parts) > 0 && reflect.TypeOf(err) == reflect.TypeOf(errors.Join(err)) {
			return !slices.ContainsFunc(parts, func(part error) bool { return !all(part, fn) })
		}
		// Other errors with several causes are mostly one failure, with its kind and its cause.
		if _, panicked := errors.AsType[*PanicError](err); panicked {
			return false
		}
	}
	return fn(err)
}

// later returns after what time the bot may run again: the longest that is asked for anywhere in err.
func later(err error) (after time.Duration, asked bool) {
	var parts []error
	switch e := err.(type) { //nolint:errorlint // It walks the whole tree itself.
	case *rstreams.RetryError:
		after, asked, parts = e.After, true, []error{e.Err}
	case interface{ Unwrap() error }:
		parts = []error{e.Unwrap()}
	case interface{ Unwrap() []error }:
		parts = e.Unwrap()
	}
	for _, part := range parts {
		if t, ok := later(part); ok {
			after, asked = max(after, t), true
		}
	}
	return after, asked
}

// completeAnyway ends the bot's newest run in the name of this one, whoever holds the lock.
func (a *attempt) completeAnyway(ctx context.Context, c store.Complete) error {
	return retry(ctx, func() error {
		row, err := a.bus.Store().Bots.Get(ctx, c.Bot)
		if err != nil {
			return err
		}
		lock := dispatch.LockFor(row, a.cfg.Now())
		if err := a.bus.Store().Bots.Lock(ctx, lock); err != nil {
			return err
		}
		c.Token, c.RequestID, c.At = lock.At, "", max(c.At, lock.At+1)
		return a.bus.Store().Bots.Complete(ctx, c)
	})
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
