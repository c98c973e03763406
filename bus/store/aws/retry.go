package aws

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Limits of one call's retries. The whole is bounded by Options.Budget.
const (
	firstPause = 25 * time.Millisecond
	maxPause   = 2 * time.Second
	// raceTime is the longest pause after another writer was first: the service is well then.
	raceTime = 200 * time.Millisecond
	// attemptTime is how long one request may take. A lost answer is noticed after it. Where the call has less time, its first request
	// has two thirds of that, so that a lost answer does not take all of it.
	attemptTime = 10 * time.Second
	// dialBudget bounds retries while no connection can be made: a wrong address should be told soon.
	dialBudget = 5 * time.Second
)

// retries is the state of one call's retries. The zero value is not ready; see Bus.retries.
type retries struct {
	start, end time.Time
	n          int
	// lost tells that a request was sent whose outcome is not known.
	lost bool
}

func (b *Bus) retries() *retries {
	now := time.Now()
	return &retries{start: now, end: now.Add(b.o.Budget)}
}

// pause waits before the next attempt: with jitter, so that writers who collided do not collide again. It returns false when the
// budget is spent, and the context's error when that is done.
func (r *retries) pause(ctx context.Context, until time.Time, longest time.Duration) (bool, error) {
	most := min(firstPause<<min(r.n, 10), longest)
	r.n++
	d := most/4 + rand.N(most*3/4)
	if time.Now().Add(d).After(until) {
		return false, nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
}

// send makes one request, and makes it again while that may help and the budget lasts. The error is the service's own; a done
// context returns its own. r.lost tells afterwards whether an attempt before the last may have been carried out.
func (b *Bus) send(ctx context.Context, r *retries, try func(ctx context.Context) error) error {
	for {
		if err := b.alive(ctx); err != nil {
			return err
		}
		err := b.attempt(ctx, !r.lost, try)
		if err == nil {
			return nil
		}
		if done := b.alive(ctx); done != nil {
			return done
		}
		again, lost := temporary(err)
		if !again {
			return err
		}
		r.lost = r.lost || lost
		if lost {
			b.o.Logger.DebugContext(ctx, "a request got no answer and is made again", "attempt", r.n+1, "error", flat(err.Error()))
		}
		until := r.end
		if dialing(err) {
			until = r.start.Add(min(dialBudget, b.o.Budget))
		}
		if ok, done := r.pause(ctx, until, maxPause); done != nil {
			return done
		} else if !ok {
			return err
		}
	}
}

// attempt makes one request, the first of its call or another, in its own time.
func (b *Bus) attempt(ctx context.Context, first bool, try func(ctx context.Context) error) error {
	most := attemptTime
	if end, ok := ctx.Deadline(); ok && first {
		most = min(most, max(time.Until(end)*2/3, time.Second))
	}
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	defer context.AfterFunc(b.closing, cancel)()
	err := try(ctx)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) && errors.Is(err, context.DeadlineExceeded) {
		return &noAnswerError{err}
	}
	return err
}

// alive returns why nothing should be sent any more, or nil.
func (b *Bus) alive(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if b.closing.Err() != nil {
		return fmt.Errorf("%w: the bus is closed", store.ErrUnavailable)
	}
	return nil
}
