package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Head is the newest event of a queue, as a request for its bots.
type Head struct {
	// ID is the event's id.
	ID string
	// At is when it was published, in ms. It is not the time of anybody's look: a run that was invoked after it has seen the
	// event, and every process that asks for this head asks for the same time.
	At int64
}

// askHead makes r ask for a head that row has not been asked for.
func askHead(r *store.Request, row *store.Bot, ref string, head Head) {
	if head.ID <= row.Requested[ref] {
		return
	}
	if r.Heads == nil {
		r.Heads = map[string]string{}
	}
	r.Heads[ref] = head.ID
	r.At = max(r.At, head.At)
}

// askAt makes r ask for an occurrence of the bot's schedule.
func askAt(r *store.Request, row *store.Bot, occurrence, now time.Time) {
	r.At = max(r.At, occurrence.UnixMilli())
	if far(row.Trigger, now.UnixMilli()) {
		r.At = max(r.At, row.Trigger, row.InvokeTime) + 1 // Triggers only grow.
	}
}

// asks tells whether r says anything that row does not show.
func asks(r *store.Request, row *store.Bot) bool { return r.Heads != nil || r.At > row.Trigger }

// asked returns row as it is once r is stored.
func asked(row store.Bot, r *store.Request) store.Bot {
	if r.Heads != nil {
		requested := maps.Clone(row.Requested)
		if requested == nil {
			requested = map[string]string{}
		}
		maps.Copy(requested, r.Heads)
		row.Requested = requested
	}
	row.Trigger = max(row.Trigger, r.At)
	return row
}

// steps are the conditional writes that begin and end runs: what Dispatcher and Once have in common.
type steps struct {
	store   store.Store
	invoker store.Invoker
	now     func() time.Time
	log     *slog.Logger
}

// errNoAnswer is why a step was given up.
var errNoAnswer = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)

// errLost tells that the row is gone or was locked since it was read.
var errLost = errors.New("dispatch: another took the lock")

// start takes the lock of dec and invokes the bot, whose row is row. It returns the row as the lock left it; or errLost; or,
// where no run can come of it, the end of that run, which the caller must store with release: until then nobody would run the
// bot. ctx should not end before that; no more than lockTime and invokeTime are spent here.
func (s *steps) start(ctx context.Context, row store.Bot, dec Decision) (store.Bot, *store.Complete, error) {
	lock := dec.Lock
	err := within(ctx, lockTime, func(ctx context.Context) error { return s.store.Bots.Lock(ctx, lock) })
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return row, nil, errLost
	}
	if err != nil {
		// The lock may have been stored all the same. Then nobody knows of it, and nobody would run the bot until it ends.
		return s.giveBack(ctx, row, lock, "lock failed", err)
	}
	row.InvokeTime, row.Token, row.IgnorePaused = lock.At, lock.At, false
	row.Progress, row.ProgressRequested, row.Stalls = lock.Progress, lock.Requested, lock.Stalls
	row.Instance = store.Instance{Token: lock.At, InvokeTime: lock.At, Status: row.Instance.Status}

	payload, err := Payload(row, lock.At)
	if err == nil {
		s.log.DebugContext(ctx, "invoking a bot", "bot", row.ID, "token", lock.At, "reason", string(dec.Reason))
		err = within(ctx, invokeTime, func(ctx context.Context) error { return s.invoker.Invoke(ctx, row, payload) })
	}
	if err != nil {
		return s.giveBack(ctx, row, lock, "invocation failed", err)
	}
	return row, nil, nil
}

// within does a step in at most the time d.
func within(ctx context.Context, d time.Duration, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d, errNoAnswer)
	defer cancel()
	return step(ctx)
}

// giveBack returns the end, as failed, of a lock that led to no run.
func (s *steps) giveBack(
	ctx context.Context, row store.Bot, lock store.Lock, what string, cause error,
) (store.Bot, *store.Complete, error) {
	s.log.ErrorContext(ctx, "cannot start a bot: "+what, "bot", lock.Bot, "error", cause)
	log, err := EncodeLog(RunError{Message: what + ": " + cause.Error()})
	if err != nil {
		return row, nil, err
	}
	return row, &store.Complete{
		Bot: lock.Bot, Token: lock.At, At: max(s.now().UnixMilli(), lock.At), Failed: true, Log: log,
	}, nil
}

// release stores the end of a run that could not be started (W-P5). A conflict tells that there is no such lock, or that a
// run began after all.
func (s *steps) release(ctx context.Context, c *store.Complete) error {
	err := s.store.Bots.Complete(ctx, *c)
	if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("dispatch: release of bot %s: %w", c.Bot, err)
	}
	return nil
}

// expire ends the newest run of row, which gave no sign of life in time, as failed (C58). Several processes may do so; it
// counts once. ended is false where the run came to life or to an end meanwhile, or the bot is gone.
func (s *steps) expire(ctx context.Context, row *store.Bot, now time.Time) (ended bool, err error) {
	in := &row.Instance
	what := "the run was invoked and never started"
	if in.RequestID != "" {
		what = "the run ended without a result: its process died, or it took longer than it may"
	}
	log, err := EncodeLog(RunError{Message: what})
	if err != nil {
		return false, err
	}
	s.log.WarnContext(ctx, what, "bot", row.ID, "token", in.Token, "request", in.RequestID)
	err = s.store.Bots.Complete(ctx, store.Complete{
		Bot: row.ID, Token: in.Token, RequestID: in.RequestID, At: now.UnixMilli(), Failed: true, Log: log,
	})
	if errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("dispatch: end of a dead run of bot %s: %w", row.ID, err)
	}
	return true, nil
}
