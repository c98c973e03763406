package dispatch

import (
	"time"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// DefaultTimeout is how long a run may take when neither it nor its bot says, in ms (bus.md Appendix A).
const DefaultTimeout = 900_000

// RogueErrors is the count of consecutive errors above which a bot gets at most one attempt per RogueSpacing ms (C53).
const (
	RogueErrors  = 10
	RogueSpacing = 900_000
)

// Action is what is to be done with a bot now.
type Action int

// The actions.
const (
	// Idle: nothing until the bot's row changes.
	Idle Action = iota
	// Wait: decide again at Decision.Until, or when the row changes.
	Wait
	// Run: take Decision.Lock, then invoke.
	Run
	// Expire: the newest run died. End it as failed, then decide again.
	Expire
)

// String returns the action's name.
func (a Action) String() string {
	return [...]string{"idle", "wait", "run", "expire"}[a]
}

// Reason says why.
type Reason string

// The reasons. Those of Run name what asks for the run, those of Wait and Idle what is in its way.
const (
	NoCode     Reason = "nothing can run it"
	Archived   Reason = "archived"
	Paused     Reason = "paused"
	CaughtUp   Reason = "caught up"
	Running    Reason = "running"
	Died       Reason = "the run died"
	Triggered  Reason = "triggered"
	Scheduled  Reason = "scheduled"
	Retry      Reason = "retry after an error"
	Behind     Reason = "behind on a trigger"
	BackingOff Reason = "backing off after an error"
	Rogue      Reason = "too many errors"
	Spacing    Reason = "least time between runs"
	NoProgress Reason = "the last run moved no checkpoint"
)

// Decision is what Decide says.
type Decision struct {
	// Action is what to do, Reason why; both are always set.
	Action Action
	Reason Reason
	// Until is when to decide again; set for Wait only.
	Until time.Time
	// BackOff is the ScheduledTrigger, in ms, that the row should show but does not; 0 for none. The decision does not
	// depend on whether it gets stored: it is for operators and other software that looks at the row (C53).
	BackOff int64
	// Lock is the lock to take; set for Run only.
	Lock store.Lock
}

// BackOffDelay returns how long a bot waits after n consecutive errors or stalls: 2.25^min(10,n) s, in whole ms (C53).
func BackOffDelay(n int) time.Duration {
	num, den := int64(1000), int64(1)
	for range min(10, max(0, n)) {
		num, den = num*9, den*4
	}
	return time.Duration(num/den) * time.Millisecond
}

// Deadline returns when the newest run of bot counts as dead, in ms, or 0 if no run is on (C50, C58).
func Deadline(bot *store.Bot) int64 {
	in := &bot.Instance
	if in.InvokeTime == 0 || in.CompletedTime != 0 {
		return 0
	}
	switch {
	case in.MaxDuration > 0:
		return in.InvokeTime + in.MaxDuration
	case bot.Timeout > 0:
		return in.InvokeTime + bot.Timeout
	}
	return in.InvokeTime + DefaultTimeout
}

// Decide tells what to do with bot at now. It is the run rule of bus.md 3.7 with the corrections W-P5 to W-P11 and W-O10;
// a pure function of the row and the time, so every process that looks at the same row decides the same, and the lock
// picks one of them.
//
// A bot runs when something asks for it and nothing is in its way. What asks:
//   - a trigger after the last invocation (an event, a schedule, an operator, the bot itself);
//   - a ScheduledTrigger after the last invocation, from its time on;
//   - an error of the last run, from the end of its back-off on;
//   - a trigger queue whose requested head is past the checkpoint. A missing checkpoint counts as behind. But when the
//     last run succeeded without moving any checkpoint that is behind, and nothing was requested since it was locked, this
//     asks only after a delay that grows with each such run (W-P9).
//
// What is in its way: a run that is on, archived, paused, a ScheduledTrigger to come, back-off, more than RogueErrors errors,
// and the bot's own Delay. IgnorePaused overrides paused, ScheduledTrigger and back-off. Times that a clock left which was ahead
// by more than ClockFault hold nothing up.
func Decide(bot store.Bot, now time.Time) Decision {
	ms := now.UnixMilli()
	if t := bot.Invocation.Type; t == "" || t == "none" {
		return Decision{Action: Idle, Reason: NoCode}
	}
	if deadline := Deadline(&bot); deadline != 0 {
		if far(bot.Instance.InvokeTime, ms) && bot.Instance.StartTime != 0 {
			if deadline += bot.Instance.StartTime - bot.Instance.InvokeTime; far(bot.Instance.StartTime, ms) {
				deadline = 0 // The clock was ahead when it began: nothing tells when it ends.
			}
		}
		if ms <= deadline {
			return Decision{Action: Wait, Reason: Running, Until: time.UnixMilli(deadline + 1)}
		}
		return Decision{Action: Expire, Reason: Died}
	}
	if bot.Archived {
		return Decision{Action: Idle, Reason: Archived}
	}

	stored := bot
	bot, invoked := heal(bot, ms)
	var backOff int64
	if bot.Instance.Status == store.StatusError && bot.ErrorCount > 0 {
		backOff = bot.Instance.CompletedTime + BackOffDelay(bot.ErrorCount).Milliseconds()
	}
	d := Decision{}
	if backOff > ms && bot.ScheduledTrigger < backOff {
		d.BackOff = backOff
	}
	if bot.Paused && !bot.IgnorePaused {
		d.Action, d.Reason = Idle, Paused
		return d
	}

	// The earliest of what asks for a run.
	at, stalls := int64(0), 0
	asks := func(t int64, why Reason) {
		if d.Reason == "" || t < at {
			at, d.Reason = t, why
		}
	}
	if bot.Trigger > invoked {
		asks(bot.Trigger, Triggered)
	}
	if bot.ScheduledTrigger > invoked {
		asks(bot.ScheduledTrigger, Scheduled)
	}
	if backOff != 0 {
		asks(backOff, Retry)
	}
	if behind, stalled := backlog(&bot); behind {
		switch {
		case !stalled:
			asks(0, Behind)
		default:
			stalls = bot.Stalls + 1
			t := bot.Instance.CompletedTime + BackOffDelay(stalls).Milliseconds()
			if bot.IgnorePaused {
				t = 0
			}
			why := Behind
			if t > ms {
				why = NoProgress
			}
			asks(t, why)
		}
	}
	if d.Reason == "" {
		d.Action, d.Reason = Idle, CaughtUp
		return d
	}

	// The latest of what is in its way.
	gate := func(t int64, why Reason) {
		if t > ms && t > at {
			at, d.Reason = t, why
		}
	}
	if !bot.IgnorePaused {
		gate(bot.ScheduledTrigger, Scheduled)
		gate(backOff, BackingOff)
	} else if at > ms {
		at = ms
	}
	if bot.ErrorCount > RogueErrors {
		gate(invoked+RogueSpacing, Rogue)
	}
	if bot.Delay > 0 && invoked > 0 {
		gate(invoked+bot.Delay, Spacing)
	}
	if at > ms {
		if d.Reason == Retry {
			d.Reason = BackingOff
		}
		d.Action, d.Until = Wait, time.UnixMilli(at)
		return d
	}
	d.Action, d.BackOff = Run, 0
	d.Lock = LockFor(stored, now)
	d.Lock.Stalls = stalls
	return d
}

// LockFor returns the lock that reserves a run of bot at now, whether or not Decide is for it.
func LockFor(bot store.Bot, now time.Time) store.Lock {
	at := max(now.UnixMilli(), max(bot.InvokeTime, bot.Instance.InvokeTime)+1)
	if far(bot.Trigger, now.UnixMilli()) {
		at = max(at, bot.Trigger) // or it would never be served
	}
	l := store.Lock{
		Bot: bot.ID, Seen: bot.InvokeTime, At: at,
		Progress: map[string]string{}, Requested: map[string]string{},
	}
	for _, t := range bot.Triggers {
		r := ref.QueueRef(t)
		l.Progress[r] = bot.Read[r].Position
		l.Requested[r] = bot.Requested[r]
	}
	return l
}

// backlog tells whether bot is behind on any trigger, and whether its last run got nowhere although it could.
func backlog(bot *store.Bot) (behind, stalled bool) {
	stalled = bot.Instance.CompletedTime != 0 && bot.Instance.Status == store.StatusComplete
	for _, t := range bot.Triggers {
		r := ref.QueueRef(t)
		read, requested := bot.Read[r].Position, bot.Requested[r]
		if requested != bot.ProgressRequested[r] {
			stalled = false
		}
		if requested > read {
			behind = true
			stalled = stalled && read == bot.Progress[r]
		}
	}
	return behind, behind && stalled
}
