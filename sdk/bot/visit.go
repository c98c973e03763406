package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
)

// visit is one invocation of a Lambda function.
type visit struct {
	l *Lambda
	*attempt
}

// bound makes the attempt end before the process is frozen: at four fifths of the time its reads do, and the code while there is
// time left to complete the run.
func (v *visit) bound(deadline time.Time) {
	left := deadline.Sub(v.start)
	reserve := min(max(left/10, 200*time.Millisecond), 3*time.Second)
	v.limit = left - reserve
	v.soft = min(left/5*4, v.limit)
	v.grace = reserve / 3
	v.hold = left
	v.end = deadline
}

// left returns how much of the time for the code is left. Taking the lock has used some of it.
func (v *visit) left() time.Duration { return v.limit - v.cfg.Now().Sub(v.start) }

// byBus runs an invocation by a bus.
func (v *visit) byBus(ctx context.Context) ([]byte, error) {
	c := v.inv.cron
	v.line("check")
	if age := v.start.Sub(time.UnixMilli(c.Time.value)); c.Time.value != 0 && age > maxAge {
		v.log.WarnContext(ctx, "the invocation is too old and not run", "age", age)
		return []byte(answerNoLock), nil
	}
	if c.IgnoreLock {
		v.free = true
	} else if begun, err := v.lock(ctx); err != nil {
		return v.answer(err, []byte(answerNoLock))
	} else if !begun {
		return []byte(answerRunning), nil
	}
	v.line("start")
	response, err := v.execute(ctx)
	return v.answer(err, response)
}

// lock takes the lock that the bus reserved or, with force, any.
func (v *visit) lock(ctx context.Context) (begun bool, err error) {
	if v.inv.cron.Force {
		if err := v.seize(ctx); err != nil {
			return false, fmt.Errorf("take the lock of bot %s: %w", v.inv.id, err)
		}
	} else if age := v.start.Sub(time.UnixMilli(v.inv.token)); age > time.Minute {
		// The token is usually when the bus invoked. Other buses send what triggered the bot, which may be much older, or 0; a
		// lock reckoned from there would outlast the run.
		v.since = v.start.UnixMilli()
		var row store.Bot
		err := retry(ctx, func() (err error) {
			row, err = v.bus.Store().Bots.Get(ctx, v.inv.id)
			return err
		})
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil: // A lock that is reckoned wrongly would end during the run.
			v.giveBack(ctx)
			return false, fmt.Errorf("take the lock of bot %s: %w", v.inv.id, err)
		case row.Instance.Token == v.inv.token && row.Instance.InvokeTime != 0:
			v.since = row.Instance.InvokeTime
		}
	}
	return v.confirm(ctx)
}

// seize locks the bot for this run, whatever it is doing, and makes its row where there is none.
func (v *visit) seize(ctx context.Context) error {
	bots := v.bus.Store().Bots
	return retry(ctx, func() error {
		for tries := 1; ; tries++ {
			row, err := bots.Get(ctx, v.inv.id)
			if errors.Is(err, store.ErrNotFound) {
				if err = bots.Register(ctx, store.Registration{ID: v.inv.id, Name: v.inv.id}); err == nil {
					row, err = bots.Get(ctx, v.inv.id)
				}
			}
			if err != nil {
				return err
			}
			lock := dispatch.LockFor(row, v.cfg.Now())
			if err = bots.Lock(ctx, lock); errors.Is(err, store.ErrConflict) && tries < 5 {
				continue
			}
			v.inv.token, v.since = lock.At, lock.At
			return err
		}
	})
}

// execute runs the bot's code and completes the run.
func (v *visit) execute(ctx context.Context) (response []byte, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(v.left(), func() { cancel(ErrTimeLimit) }).Stop()
	v.invoke = v.l.cfg.Invoke
	run, err := v.call(ctx)
	run.core.mu.Lock()
	response = run.core.response
	run.core.mu.Unlock()
	var p *PanicError
	switch {
	case errors.As(err, &p):
		v.print("[LEOCRON]:end:" + v.inv.id + ":" + v.id)
	case v.inv.cron != nil:
		v.line("complete")
	}
	return response, v.complete(ctx, run, err)
}

// alone runs an invocation that no bus made, under a lock of its own.
func (v *visit) alone(ctx context.Context) ([]byte, error) {
	v.free = true
	settings := v.bus.Store().Settings
	// AWS may deliver an invocation twice under one request id: the owner is more than that.
	owner := v.id + "/" + v.cfg.NewID()
	now := v.cfg.Now()
	expires := now.Add(max(v.hold, v.limit) + 100*time.Millisecond).UnixMilli()
	err := retry(ctx, func() error { return settings.Acquire(ctx, v.inv.id, owner, now.UnixMilli(), expires) })
	switch {
	case errors.Is(err, store.ErrConflict):
		v.log.InfoContext(ctx, "another invocation holds the lock of the bot", "reason", err)
		return []byte(answerRunning), nil
	case err != nil:
		return v.answer(fmt.Errorf("take the lock lock_%s: %w", v.inv.id, err), []byte(answerNoLock))
	}
	response, runErr := v.execute(ctx)
	ctx, cancel := v.last(ctx)
	defer cancel()
	if err := retry(ctx, func() error { return settings.Release(ctx, v.inv.id, owner) }); err != nil {
		v.log.ErrorContext(ctx, "cannot release the lock; it ends by itself", "lock", "lock_"+v.inv.id, "error", err)
	}
	return v.answer(runErr, response)
}

// worker runs one instance of a fan-out, whose lock and end are the affair of the first one.
func (v *visit) worker(ctx context.Context) ([]byte, error) {
	v.free = true
	v.limit = max(v.limit-workerMargin, v.limit/2)
	if until := v.inv.cron.Until.value; until != 0 { // This invocation may have begun late, and its answer counts only till then.
		v.limit = min(v.limit, time.UnixMilli(until).Sub(v.start))
	}
	v.soft = min(v.soft, v.limit/5*4)
	if v.limit <= 0 {
		return nil, fmt.Errorf("instance %d of bot %s: %w before it began", v.inv.cron.IID.value, v.inv.id, ErrTimeLimit)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(v.left(), func() { cancel(ErrTimeLimit) }).Stop()
	var result outcome
	run, err := v.call(ctx)
	run.core.mu.Lock()
	if run.core.outcome != nil {
		result = *run.core.outcome
	} else {
		result = outcome{IID: int(v.inv.cron.IID.value), Bots: map[string]places{}, err: err}
	}
	result.RunAgain = run.core.again
	run.core.mu.Unlock()
	if result.err != nil {
		if result.Wish = wish(result.err); !result.Wish {
			v.log.ErrorContext(ctx, "instance of a fan-out failed", "instance", result.IID, "error", result.err)
		}
		if result.Error, err = json.Marshal(describe(result.err)); err != nil {
			return nil, err
		}
		after, _ := later(result.err)
		result.RetryAfter = after.Milliseconds()
	}
	return json.Marshal(result)
}

// answer is what an invocation returns.
func (v *visit) answer(err error, response []byte) ([]byte, error) {
	switch {
	case err != nil && v.inv.bot.LambdaFails:
		return nil, err
	case err != nil && response == nil:
		return json.Marshal(describe(err))
	case response == nil:
		return []byte("null"), nil
	}
	return response, nil
}

// line prints the line by which the log of a run is found (row L6).
func (v *visit) line(step string) {
	c := v.inv.cron
	v.print("[LEOCRON]:" + step + ":" + v.inv.id + ":" + c.IID.String() + ":" + c.TS.String() + ":" + v.id)
}

func (v *visit) print(text string) {
	v.l.lines.Lock()
	defer v.l.lines.Unlock()
	if _, err := io.WriteString(v.l.cfg.Lines, text+"\n"); err != nil {
		v.log.Warn("cannot print the line of a run", "line", text, "error", err)
	}
}
