// Package bot makes bots of Go functions: a Bot declares what starts it and what it writes, a Runner runs it in this process
// under the bus's lock protocol, and Main makes a small program of it.
//
//	var Enrich = bot.Bot{ID: "orders-enrich", Triggers: []string{"orders.raw"}, Writes: []string{"orders.priced"}, Run: enrich}
//
//	func main() { bot.Main(Enrich) }
//
// A bot runs once at a time, whatever triggers arrive and however many processes host it. A run that fails, panics or
// disappears with its process is counted and tried again after a growing delay (bus.md 3.7, C50-C58).
package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/schedule"
	"github.com/rstreams-go/rstreams/bus/store"
)

// DefaultTimeout is how long a run may take when the bot does not say (bus.md Appendix A).
const DefaultTimeout = 15 * time.Minute

// Bot declares a bot. The zero value of every field but ID and Run is usable.
type Bot struct {
	// ID is the bot's id on the bus. It names its checkpoints, so renaming a bot starts it afresh.
	ID string
	// Name and Description are labels; "" means the ID, and none.
	Name, Description string
	// Triggers are the queues that wake the bot, as names or references; Writes those it writes to.
	Triggers, Writes []string
	// Schedule is a cron expression, "" for none; TimeZone the IANA zone it is meant in, "" for UTC.
	Schedule, TimeZone string
	// Settings become the bot's settings on the bus: anything that marshals to a JSON object, nil for none. The members id,
	// name, botId, lock and __cron are not free: an invocation has its own there.
	Settings any
	// Timeout bounds a run; 0 means DefaultTimeout. After four fifths of it, reads end; at its end the context does.
	Timeout time.Duration
	// Delay is the least time between the starts of two runs; 0 for none.
	Delay time.Duration
	// Memory is what the bot's process should have, in MB, where the bus provides one; 0 for the default there.
	Memory int
	// Paused makes the bot wait for an operator when it is registered for the first time.
	Paused bool
	// Tags are free labels.
	Tags []string
	// FanOut divides each run's events among several instances of the code; nil for one instance.
	FanOut *FanOut
	// LambdaFails makes an invocation in Lambda fail when the run failed, after the run was completed on the bus, so that
	// AWS's own retries, metrics and destinations notice. The retries end at once: the bus is who repeats a run. Without it,
	// invocations succeed always, as with leo-sdk (ParityLambdaNeverFails, sdk.md fault 47).
	LambdaFails bool
	// Run is the bot's code, called once for each run. With nil, or a *rstreams.StopError, the run ends well; any other error
	// makes it a failed one. A *rstreams.RetryError asks in addition not to be run again before its time has passed,
	// whatever there is to read; without a cause in it, the run ends well. The delay of failures (C53) applies if it is longer.
	// ctx ends at the time limit, when the run has lost its lock, or when the process must stop; context.Cause tells.
	Run func(ctx context.Context, run *Run) error
}

// Validate reports everything that is wrong with the declaration, or nil.
func (b Bot) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if b.ID == "" || strings.TrimSpace(b.ID) != b.ID || strings.ContainsFunc(b.ID, unicode.IsControl) {
		bad("its ID %q must be text without surrounding blanks", b.ID)
	}
	if strings.HasSuffix(b.ID, "_reader") {
		bad("its ID must not end in _reader: checkpoints drop that ending")
	}
	if b.Run == nil {
		bad("it has no Run")
	}
	for _, q := range slices.Concat(b.Triggers, b.Writes) {
		if err := ref.ValidateQueue(q); err != nil {
			bad("queue: %w", err)
		}
	}
	if b.Schedule != "" {
		if _, err := schedule.Parse(b.Schedule, b.TimeZone); err != nil {
			bad("schedule: %w", err)
		}
	}
	if b.Timeout < 0 || b.Delay < 0 || b.Memory < 0 {
		bad("Timeout, Delay and Memory must not be negative")
	}
	if b.FanOut != nil && (b.FanOut.Instances < 0 || b.FanOut.Instances > maxInstances) {
		bad("FanOut.Instances must be from 1 to %d", maxInstances)
	}
	if _, err := b.settings(); err != nil {
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("bot %s: %w", b.ID, errors.Join(errs...))
}

// settings returns the settings as JSON, nil for none.
func (b Bot) settings() (json.RawMessage, error) {
	if b.Settings == nil {
		return nil, nil
	}
	text, err := json.Marshal(b.Settings)
	if err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	if string(text) == "null" {
		return nil, nil
	}
	if text[0] != '{' {
		return nil, fmt.Errorf("settings must marshal to a JSON object, not %.40s", text)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		return nil, fmt.Errorf("settings: %w", err)
	}
	for _, name := range reserved {
		if _, ok := members[name]; ok {
			return nil, fmt.Errorf("settings must not have a member %q, which an invocation overwrites; give it another name", name)
		}
	}
	return text, nil
}

// reserved are the members of an invocation's payload that are not settings (sdk.md 6.1).
var reserved = [...]string{"id", "name", "botId", "lock", "__cron"}

// timeout returns how long a run may take.
func (b Bot) timeout() time.Duration {
	if b.Timeout == 0 {
		return DefaultTimeout
	}
	return b.Timeout
}

// Registration returns what the bus stores of the declaration, for a bot that a Runner runs. The error is Validate's.
func (b Bot) Registration() (store.Registration, error) {
	if err := b.Validate(); err != nil {
		return store.Registration{}, err
	}
	settings, err := b.settings()
	if err != nil {
		return store.Registration{}, err
	}
	name := b.Name
	if name == "" {
		name = b.ID
	}
	return store.Registration{
		ID: b.ID, Name: name, Description: b.Description, Invocation: store.Invocation{Type: "local"},
		Settings: settings, Schedule: b.Schedule, TimeZone: b.TimeZone, Triggers: b.Triggers, Writes: b.Writes,
		Timeout: b.timeout().Milliseconds(), Delay: b.Delay.Milliseconds(), Tags: b.Tags, Paused: b.Paused,
	}, nil
}

// Register writes the declarations to the bus: new bots appear, known ones get the new configuration and keep their
// checkpoints, their pause and what they are doing (C44). All are validated first.
func Register(ctx context.Context, bots store.Bots, list ...Bot) error {
	regs := make([]store.Registration, len(list))
	var errs []error
	for i, b := range list {
		var err error
		regs[i], err = b.Registration()
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, r := range regs {
		if err := bots.Register(ctx, r); err != nil {
			return fmt.Errorf("register bot %s: %w", r.ID, err)
		}
	}
	return nil
}
