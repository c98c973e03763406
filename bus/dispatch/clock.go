package dispatch

import (
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// ClockFault is how far ahead a time in a row must lie, in ms, to be the trace of a clock that was wrong: three hours, as for
// cron. Runs are told apart by the time of their invocation, which must grow; so the rows keep such times until they come, and
// where they would hold a bot up, Decide goes by the others. Nothing is repeated after smaller steps of a clock: until it
// is again where it was, its times have been served.
const ClockFault = 3 * 3_600_000

// far tells whether t, in ms, was written under a clock that was ahead of ms.
func far(t, ms int64) bool { return t > ms+ClockFault }

// begun returns when the newest run of bot began, in ms: its invocation, but where a token had to follow those of a clock that
// was ahead of ms, its start.
func begun(bot *store.Bot, ms int64) int64 {
	in := &bot.Instance
	if invoked := max(bot.InvokeTime, in.InvokeTime); in.StartTime == 0 || !far(invoked, ms) {
		return invoked
	}
	return in.StartTime
}

// heal returns bot with its times as they would be had no clock been ahead, as far as that can be told at ms. invoked is the
// time to compare triggers with, 0 for never.
func heal(bot store.Bot, ms int64) (healed store.Bot, invoked int64) {
	in := &bot.Instance
	served := bot.Trigger <= max(bot.InvokeTime, in.InvokeTime)
	if invoked = begun(&bot, ms); far(invoked, ms) {
		invoked = 0
	}
	switch {
	case !far(bot.Trigger, ms):
	case served:
		bot.Trigger = 0
	default:
		bot.Trigger = ms
	}
	if far(in.CompletedTime, ms) {
		if bot.ScheduledTrigger == in.CompletedTime+BackOffDelay(bot.ErrorCount).Milliseconds() {
			bot.ScheduledTrigger = 0 // It is the back-off of a failure that is over.
		}
		// The delays after it count as over: the bot's next run completes under the right clock.
		in.CompletedTime = 1
	}
	return bot, invoked
}

// stepBack notes the present time of the clock, and tells whether it was set back by so much that times which were computed
// before mean nothing any more. d.mu is held.
func (d *Dispatcher) stepBack(now time.Time) bool {
	back := far(d.latest.UnixMilli(), now.UnixMilli())
	if back || now.After(d.latest) {
		d.latest = now
	}
	return back
}
