package bot

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// Run is one run of a bot. It is valid until the bot's code returns, and its methods are safe for concurrent use.
type Run struct {
	// Bus is the bus as this run sees it: reads, writes and checkpoints are the bot's, and reads end at StopAt or when the
	// process is to stop.
	Bus *rstreams.Bus
	// Bot is the declaration.
	Bot Bot
	// Settings are the bot's settings as they are on the bus, a JSON object; {} for none. They may differ from the declared.
	Settings json.RawMessage
	// Event is the whole payload with which the run was invoked.
	Event json.RawMessage
	// Instance is which instance of a fan-out this is, from 0, and Instances how many there are: 1 without a fan-out.
	Instance, Instances int
	// Token identifies the run; it is when it was invoked, in ms. RequestID is its own name.
	Token     int64
	RequestID string
	// StopAt is when reads end, so that the rest of the time is left to finish what is in work.
	StopAt time.Time
	// Logger names the bot and the run.
	Logger *slog.Logger

	stop <-chan struct{}
	core *runCore
}

// runCore is what a run leaves. The instances of a fan-out in one process share it.
type runCore struct {
	mu     sync.Mutex
	again  bool
	result []byte
	// response is what the invocation answers, as JSON; nil for null.
	response []byte
	// outcome is what an instance of a fan-out reports; nil until its code has returned.
	outcome *outcome
}

// end returns what is stored when the run ends.
func (c *runCore) end() (result []byte, again bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.result, c.again
}

// Stopping is closed when the run should come to its end: at StopAt, or earlier when the process is to stop. Reads through
// Bus notice by themselves; loops that do not read should look.
func (r *Run) Stopping() <-chan struct{} { return r.stop }

// RunAgain makes the bot run again right after this run, whether there is something to read or not.
func (r *Run) RunAgain() {
	r.core.mu.Lock()
	defer r.core.mu.Unlock()
	r.core.again = true
}

// maxResult bounds a run's result, which is stored in the bot's row, in bytes after compression.
const maxResult = 64 << 10

// SetResult stores v, as JSON, as the run's result; the last one counts. It fails for values that have no JSON or are too
// large.
func (r *Run) SetResult(v any) error {
	result, err := dispatch.EncodeLog(v)
	if err != nil {
		return fmt.Errorf("result of bot %s: %w", r.Bot.ID, err)
	}
	if len(result) > maxResult {
		return fmt.Errorf("result of bot %s: %d bytes compressed, at most %d; write it to a queue", r.Bot.ID, len(result), maxResult)
	}
	r.core.mu.Lock()
	defer r.core.mu.Unlock()
	r.core.result = result
	return nil
}

// DecodeSettings decodes the settings into v.
func (r *Run) DecodeSettings(v any) error {
	if err := json.Unmarshal(r.Settings, v); err != nil {
		return fmt.Errorf("settings of bot %s: %w", r.Bot.ID, err)
	}
	return nil
}

// Causes of the end of a run's context.
var (
	// ErrTimeLimit ends a run that exceeds its bot's Timeout. It counts as failed.
	ErrTimeLimit = errors.New("the run exceeded its time limit")
	// ErrLockLost ends a run whose lock another run took. Nothing that it does counts any more.
	ErrLockLost = errors.New("the run has lost its lock")
	// ErrStopped ends a run whose process must stop now. The bot runs again elsewhere, or at the next start.
	ErrStopped = errors.New("the process stops")
)

// PanicError is what becomes of a panic in a bot's code.
type PanicError struct {
	// Value is what was passed to panic, Stack where, as text.
	Value any
	Stack string
}

// Error tells the value.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
