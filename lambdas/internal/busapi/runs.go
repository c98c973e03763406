package busapi

import (
	"context"
	"errors"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
)

// token identifies a run between its start and its end.
type token struct {
	RequestID string `json:"requestId"`
	// TS is the token of the lock, 0 for a run without one.
	TS int64 `json:"ts"`
}

// errRunning is why a run cannot start.
var errRunning = errors.New("already running")

// start makes a bot's row where there is none and takes its lock, unless options.lock is false. options.force takes it from a run
// that is on; options.maxDuration, in ms, is how long the run may take before it counts as dead.
func (a *API) start(ctx context.Context, c *call) (map[string]any, error) {
	var o struct {
		Lock        *bool `json:"lock"`
		Force       bool  `json:"force"`
		MaxDuration int64 `json:"maxDuration"`
	}
	if err := c.options(&o); err != nil {
		return nil, err
	}
	row, err := a.store.Bots.Get(ctx, c.ID)
	if errors.Is(err, store.ErrNotFound) {
		if err = a.store.Bots.Register(ctx, store.Registration{ID: c.ID, Name: c.ID, Description: c.ID}); err == nil {
			row, err = a.store.Bots.Get(ctx, c.ID)
		}
	}
	if err != nil {
		return nil, err
	}
	t := token{RequestID: c.requestID}
	if o.Lock != nil && !*o.Lock {
		return map[string]any{"token": t}, nil
	}
	now := a.o.Now()
	if deadline := dispatch.Deadline(&row); deadline > now.UnixMilli() && !o.Force {
		return nil, fmt.Errorf("%w: run %d of bot %s holds the lock until %d", errRunning, row.Instance.Token, c.ID, deadline)
	}
	lock := dispatch.LockFor(row, now)
	if err := a.store.Bots.Lock(ctx, lock); err != nil {
		if errors.Is(err, store.ErrConflict) {
			err = fmt.Errorf("%w: %w", errRunning, err)
		}
		return nil, err
	}
	if o.MaxDuration <= 0 {
		o.MaxDuration = dispatch.DefaultTimeout
	}
	// A lock counts from its own time, which is ahead of the clock when the bot was locked at this very moment.
	start := max(now.UnixMilli(), lock.At)
	err = a.store.Bots.Confirm(ctx, store.Confirm{
		Bot: c.ID, Token: lock.At, RequestID: c.requestID, At: start, MaxDuration: o.MaxDuration,
	})
	if err != nil {
		return nil, err
	}
	t.TS = lock.At
	return map[string]any{"token": t}, nil
}

// end checkpoints, if asked to, and ends the run of the token. status "error" counts as a failure, and log says what it was.
func (a *API) end(ctx context.Context, c *call) (map[string]any, error) {
	if c.Token == nil || c.Token.RequestID == "" {
		return nil, fmt.Errorf("%w: it has no token; that is what start returned", errRequest)
	}
	switch c.Status {
	case "", store.StatusComplete, store.StatusError:
	default:
		return nil, fmt.Errorf("%w: status is %.40q, want complete or error", errRequest, c.Status)
	}
	if c.Checkpoint != nil {
		if _, err := a.move(ctx, c, c.Checkpoint.Queue, c.Checkpoint); err != nil {
			return nil, err
		}
	}
	if c.Token.TS == 0 {
		return nil, nil
	}
	var log any = ""
	if len(c.Log) > 0 {
		log = c.Log
	}
	done := store.Complete{
		Bot: c.ID, Token: c.Token.TS, RequestID: c.Token.RequestID, At: a.o.Now().UnixMilli(), Failed: c.Status == store.StatusError,
	}
	var err error
	if done.Log, err = dispatch.EncodeLog(log); err != nil {
		return nil, err
	}
	if len(c.Result) > 0 && string(c.Result) != "null" {
		if done.Result, err = dispatch.EncodeLog(c.Result); err != nil {
			return nil, err
		}
	}
	return nil, a.store.Bots.Complete(ctx, done)
}
