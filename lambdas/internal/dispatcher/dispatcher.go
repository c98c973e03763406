// Package dispatcher is what the functions that start bots have in common: event-trigger, bot-runner and scheduler.
package dispatcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

// EnvScheduler names the function scheduler, which bot-runner asks to look at bots that are due within the minute. Where it is not
// set they wait for the scheduler's next turn.
const EnvScheduler = "RSTREAMS_SCHEDULER"

// Reserve is what an invocation keeps of its time to tell what it did, and to answer.
const Reserve = 3 * time.Second

// ErrDeadline ends the work of an invocation that has no time left.
var ErrDeadline = errors.New("the function's time is nearly over; the rest comes again")

// The metrics of dispatching, all counts.
const (
	// MetricStarted counts runs that were invoked, MetricRequested bots that were asked to run later, MetricExpired dead runs that
	// were ended, MetricRefused invocations that failed, MetricFailed bots that could not be served, MetricUnreadable changes
	// that could not be read.
	MetricStarted    = "RunsStarted"
	MetricRequested  = "RunsRequested"
	MetricExpired    = "RunsExpired"
	MetricRefused    = "InvocationsRefused"
	MetricFailed     = "BotsFailed"
	MetricUnreadable = "ChangesUnreadable"
	// MetricLag is how long ago, in ms, the oldest change of a batch was made.
	MetricLag = "DispatchLag"
)

// maxDue is how many bots the scheduler is told of at once: an invocation takes 256 KB.
const maxDue = 500

// Due is what the scheduler is invoked with to look at bots at their times, in ms.
type Due struct {
	Due map[string]int64 `json:"due"`
}

// New returns what starts bots. Bots that run in a process of their own ("local") are asked to run and not started.
func New(env *shell.Env, invoker store.Invoker) *dispatch.Once {
	cfg := dispatch.OnceConfig{
		Hosts: func(b store.Bot) bool { return b.Invocation.Type != "local" }, Logger: env.Logger,
	}
	if scheduler := env.Getenv(EnvScheduler); scheduler != "" {
		cfg.Soon = func(ctx context.Context, due map[string]time.Time) error {
			target := store.Bot{ID: "scheduler", Invocation: store.Invocation{Type: "lambda", Lambda: scheduler}}
			for ids := range slices.Chunk(slices.Sorted(maps.Keys(due)), maxDue) {
				d := Due{Due: make(map[string]int64, len(ids))}
				for _, id := range ids {
					d.Due[id] = due[id].UnixMilli()
				}
				payload, err := json.Marshal(d)
				if err != nil {
					return err
				}
				if err := invoker.Invoke(ctx, target, payload); err != nil {
					return fmt.Errorf("ask the scheduler for %d bots: %w", len(ids), err)
				}
			}
			return nil
		}
	}
	return dispatch.NewOnce(env.Store, invoker, cfg)
}

// Emit writes the metrics of a call. unreadable counts changes that were passed over, lag is the age of the oldest change, 0
// where there is none.
func Emit(env *shell.Env, r dispatch.Report, err error, unreadable int, lag time.Duration) {
	failed := 0
	var f *dispatch.Failures
	if errors.As(err, &f) {
		failed = len(f.Bots)
	}
	values := []shell.Metric{}
	for _, m := range []shell.Metric{
		shell.Count(MetricStarted, r.Started), shell.Count(MetricRequested, r.Requested), shell.Count(MetricExpired, r.Expired),
		shell.Count(MetricRefused, r.Refused), shell.Count(MetricFailed, failed), shell.Count(MetricUnreadable, unreadable),
		shell.Millis(MetricLag, max(lag, 0)),
	} {
		if m.Value != 0 {
			values = append(values, m)
		}
	}
	env.Metrics.Emit(values...)
}

// Again returns err if the batch has to come again because of it, else nil. Bots that could not be served while others could
// hold nothing up (W-P4): the scheduler finds them within about a minute. ctx is that of the call.
func Again(ctx context.Context, err error) error {
	var f *dispatch.Failures
	if !errors.As(err, &f) {
		return err
	}
	if ctx.Err() != nil {
		return err // Those that were served are passed over quickly.
	}
	if f.All() && slices.ContainsFunc(f.Bots, func(b dispatch.BotError) bool { return !final(b.Err) }) {
		return err
	}
	return nil
}

// final tells that repetition cannot help.
func final(err error) bool {
	return errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrTooLarge) || errors.Is(err, store.ErrCorrupt)
}

// Lag returns how long ago the first of records was made.
func Lag(records []shell.DynamoRecord, now time.Time) time.Duration {
	if len(records) == 0 || records[0].Change.Created.IsZero() {
		return 0
	}
	return now.Sub(records[0].Change.Created.Time)
}

// Made returns when a change was made, in ms; now where the record does not say.
func Made(r *shell.DynamoRecord, now time.Time) int64 {
	if r.Change.Created.IsZero() {
		return now.UnixMilli()
	}
	return r.Change.Created.UnixMilli()
}

// First returns the sequence number of the first record.
func First(records []shell.DynamoRecord) string {
	if len(records) == 0 {
		return ""
	}
	return records[0].Change.SequenceNumber
}
