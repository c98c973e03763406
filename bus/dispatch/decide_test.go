package dispatch

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/store"
)

// t0 is "now" in the tables, in ms.
const t0 int64 = 1_795_228_519_234

const (
	eid1 = "z/2026/11/21/02/35/1795228519234-0000001"
	eid5 = "z/2026/11/21/02/35/1795228519234-0000005"
	eid9 = "z/2026/11/21/02/35/1795228519234-0000009"
)

// base returns a bot that ran well ten seconds ago and is caught up, changed by edits.
func base(edits ...func(*store.Bot)) store.Bot {
	b := store.Bot{
		ID: "b", Invocation: store.Invocation{Type: "local"}, Triggers: []string{"queue:in"},
		Read: map[string]store.Checkpoint{"queue:in": {Position: eid5}}, Requested: map[string]string{"queue:in": eid5},
		Trigger: t0 - 10_000, InvokeTime: t0 - 10_000, Token: t0 - 10_000,
		Progress: map[string]string{"queue:in": eid1}, ProgressRequested: map[string]string{"queue:in": eid5},
		Instance: store.Instance{
			Token: t0 - 10_000, InvokeTime: t0 - 10_000, RequestID: "r", StartTime: t0 - 9_990, MaxDuration: 60_000,
			CompletedTime: t0 - 9_000, Status: store.StatusComplete,
		},
	}
	for _, e := range edits {
		e(&b)
	}
	return b
}

func neverRan(b *store.Bot) {
	b.InvokeTime, b.Token, b.Trigger, b.Instance = 0, 0, 0, store.Instance{}
	b.Progress, b.ProgressRequested = nil, nil
}
func running(b *store.Bot)   { b.Instance.CompletedTime, b.Instance.Status = 0, "" }
func triggered(b *store.Bot) { b.Trigger = t0 - 1 }
func behind(b *store.Bot)    { b.Requested["queue:in"] = eid9 }
func paused(b *store.Bot)    { b.Paused = true }
func runNow(b *store.Bot)    { b.IgnorePaused, b.Trigger = true, t0 }
func failed(n int) func(*store.Bot) {
	return func(b *store.Bot) { b.ErrorCount, b.Instance.Status = n, store.StatusError }
}

// stalled: the last run was locked with the same heads and the same checkpoint as now.
func stalled(n int) func(*store.Bot) {
	return func(b *store.Bot) {
		behind(b)
		b.Progress["queue:in"], b.ProgressRequested["queue:in"], b.Stalls = eid5, eid9, n
	}
}

func TestDecideForEveryState(t *testing.T) {
	at := time.UnixMilli
	wait := func(ms int64, why Reason) Decision { return Decision{Action: Wait, Reason: why, Until: at(ms)} }
	backOff := func(ms int64, why Reason) Decision {
		return Decision{Action: Wait, Reason: why, Until: at(ms), BackOff: ms}
	}
	run := func(why Reason) Decision { return Decision{Action: Run, Reason: why} }
	idle := func(why Reason) Decision { return Decision{Action: Idle, Reason: why} }
	const completed = t0 - 9_000

	for name, c := range map[string]struct {
		bot  store.Bot
		want Decision
	}{
		"caught up": {base(), idle(CaughtUp)},
		"no code":   {base(triggered, func(b *store.Bot) { b.Invocation.Type = "" }), idle(NoCode)},
		"invocation none": {
			base(triggered, func(b *store.Bot) { b.Invocation.Type = "none" }),
			idle(NoCode),
		},
		"new, nothing asked":                     {base(neverRan), idle(CaughtUp)},
		"new, triggered":                         {base(neverRan, triggered), run(Triggered)},
		"new, behind":                            {base(neverRan, behind), run(Behind)},
		"new, no checkpoint counts as behind":    {base(neverRan, func(b *store.Bot) { b.Read = nil }), run(Behind)},
		"triggered after the last run":           {base(triggered), run(Triggered)},
		"trigger at the invocation is satisfied": {base(func(b *store.Bot) { b.Trigger = b.InvokeTime }), idle(CaughtUp)},
		"trigger to come":                        {base(func(b *store.Bot) { b.Trigger = t0 + 5 }), wait(t0+5, Triggered)},
		"behind (C51)":                           {base(behind), run(Behind)},
		"behind on the second trigger only (W-P11)": {base(func(b *store.Bot) {
			b.Triggers = append(b.Triggers, "other")
			b.Requested["queue:other"] = eid1
		}), run(Behind)},
		"a queue that is no trigger does not count": {
			base(func(b *store.Bot) { b.Requested["queue:old"] = eid9 }),
			idle(CaughtUp),
		},

		"running (C50)": {base(running, triggered, behind), wait(t0-10_000+60_000+1, Running)},
		"running, duration unknown, bot's timeout": {base(running, triggered, func(b *store.Bot) {
			b.Instance.MaxDuration, b.Timeout = 0, 30_000
		}), wait(t0-10_000+30_000+1, Running)},
		"running, nothing known": {base(running, triggered, func(b *store.Bot) {
			b.Instance.MaxDuration = 0
		}), wait(t0-10_000+900_000+1, Running)},
		"invoked, never started": {base(running, func(b *store.Bot) {
			b.Instance = store.Instance{Token: b.Token, InvokeTime: b.InvokeTime}
		}), wait(t0-10_000+900_000+1, Running)},
		"running up to the last ms": {
			base(running, func(b *store.Bot) { b.Instance.MaxDuration = 10_000 }),
			wait(t0+1, Running),
		},
		"dead (C58)": {
			base(running, func(b *store.Bot) { b.Instance.MaxDuration = 9_999 }),
			Decision{Action: Expire, Reason: Died},
		},
		"dead and paused": {
			base(running, paused, func(b *store.Bot) { b.Instance.MaxDuration = 9_999 }),
			Decision{Action: Expire, Reason: Died},
		},
		"instance replaced by force (W-P8)": {
			base(triggered, func(b *store.Bot) { b.Instance = store.Instance{CompletedTime: completed, Status: "complete"} }),
			run(Triggered),
		},
		"archived, triggered, behind (W-P6)": {base(triggered, behind, func(b *store.Bot) { b.Archived = true }), idle(Archived)},
		"archived, run now":                  {base(runNow, func(b *store.Bot) { b.Archived = true }), idle(Archived)},

		"paused":                         {base(paused, triggered, behind), idle(Paused)},
		"paused, run now (C52)":          {base(paused, runNow), run(Triggered)},
		"paused, ignored, nothing to do": {base(paused, func(b *store.Bot) { b.IgnorePaused = true }), idle(CaughtUp)},
		"paused, failed: back-off is kept": {
			base(paused, failed(4)),
			Decision{Action: Idle, Reason: Paused, BackOff: completed + 25_628},
		},

		"scheduled ahead (C55)": {base(func(b *store.Bot) { b.ScheduledTrigger = t0 + 7 }), wait(t0+7, Scheduled)},
		"scheduled now":         {base(func(b *store.Bot) { b.ScheduledTrigger = t0 }), run(Scheduled)},
		"scheduled ahead holds a trigger": {
			base(triggered, func(b *store.Bot) { b.ScheduledTrigger = t0 + 7 }),
			wait(t0+7, Scheduled),
		},
		"scheduled before the last run": {base(func(b *store.Bot) { b.ScheduledTrigger = t0 - 10_000 }), idle(CaughtUp)},
		"scheduled ahead, run now":      {base(runNow, func(b *store.Bot) { b.ScheduledTrigger = t0 + 7 }), run(Triggered)},

		"failed once (C53), over":   {base(failed(1)), run(Retry)},
		"failed 3 times":            {base(failed(3)), backOff(completed+11_390, BackingOff)},
		"failed 4 times, triggered": {base(failed(4), triggered, behind), backOff(completed+25_628, BackingOff)},
		"failed 4 times, back-off stored": {
			base(failed(4), func(b *store.Bot) { b.ScheduledTrigger = completed + 25_628 }),
			wait(completed+25_628, Scheduled),
		},
		"failed, the bot asked for later": {
			base(failed(3), func(b *store.Bot) { b.ScheduledTrigger = t0 + 60_000 }),
			wait(t0+60_000, Scheduled),
		},
		"failed, the bot asked for sooner": {base(failed(4), func(b *store.Bot) { b.ScheduledTrigger = t0 - 8_000 }),
			backOff(completed+25_628, BackingOff)},
		"failed, run now": {base(failed(4), runNow), run(Triggered)},
		"failed 11 times, last run 15 min ago": {base(failed(11), func(b *store.Bot) {
			b.InvokeTime, b.Instance.InvokeTime, b.Instance.CompletedTime = t0-900_000, t0-900_000, t0-4_000_000
		}), run(Retry)},
		"10 errors are not too many": {base(triggered, func(b *store.Bot) { b.ErrorCount = 10 }), run(Triggered)},
		"11 errors are":              {base(triggered, func(b *store.Bot) { b.ErrorCount = 11 }), wait(t0-10_000+900_000, Rogue)},
		"failed 11 times, run now is rogue": {base(failed(11), runNow), Decision{
			Action: Wait, Reason: Rogue, Until: at(t0 - 10_000 + 900_000), BackOff: completed + 3_325_256}},
		"errors reset by an operator": {base(failed(0)), idle(CaughtUp)},

		"least spacing (W-O10)": {
			base(triggered, func(b *store.Bot) { b.Delay = 60_000 }),
			wait(t0-10_000+60_000, Spacing),
		},
		"least spacing is over":             {base(triggered, func(b *store.Bot) { b.Delay = 10_000 }), run(Triggered)},
		"least spacing, first run":          {base(neverRan, triggered, func(b *store.Bot) { b.Delay = 60_000 }), run(Triggered)},
		"least spacing alone asks for none": {base(func(b *store.Bot) { b.Delay = 60_000 }), idle(CaughtUp)},

		"first run without progress (W-P9), over": {base(stalled(0)), run(Behind)},
		"third run without progress":              {base(stalled(2)), wait(completed+11_390, NoProgress)},
		"no progress, but something new": {base(stalled(5), func(b *store.Bot) {
			b.ProgressRequested["queue:in"] = eid5
		}), run(Behind)},
		"no progress, but triggered": {base(stalled(5), triggered), run(Triggered)},
		"no progress, run now":       {base(stalled(5), runNow), run(Behind)},
		"no progress here, but on another trigger": {base(stalled(5), func(b *store.Bot) {
			b.Triggers = append(b.Triggers, "queue:other")
			b.Requested["queue:other"], b.ProgressRequested["queue:other"] = eid9, eid9
			b.Progress["queue:other"], b.Read["queue:other"] = eid1, store.Checkpoint{Position: eid5}
		}), run(Behind)},
		"progress on a trigger that is done does not count": {base(stalled(5), func(b *store.Bot) {
			b.Triggers = append(b.Triggers, "queue:other")
			b.Requested["queue:other"], b.ProgressRequested["queue:other"] = eid5, eid5
			b.Progress["queue:other"], b.Read["queue:other"] = eid1, store.Checkpoint{Position: eid5}
		}), wait(completed+BackOffDelay(6).Milliseconds(), NoProgress)},
		"locked by other software, which notes no progress": {base(behind, func(b *store.Bot) {
			b.Progress, b.ProgressRequested = nil, nil
		}), run(Behind)},
	} {
		t.Run(name, func(t *testing.T) {
			got := Decide(c.bot, at(t0))
			lock := got.Lock
			got.Lock = store.Lock{}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Fatal(diff)
			}
			if got.Action == Wait && !got.Until.After(at(t0)) {
				t.Errorf("waits until %v, which is over", got.Until)
			}
			if got.Action != Run {
				return
			}
			if lock.Bot != "b" || lock.Seen != c.bot.InvokeTime || lock.At != t0 {
				t.Errorf("lock %+v", lock)
			}
		})
	}
}

func TestLockNotesWhatTheNextDecisionNeeds(t *testing.T) {
	b := base(stalled(2), triggered)
	got := Decide(b, time.UnixMilli(t0)).Lock
	want := store.Lock{
		Bot: "b", Seen: t0 - 10_000, At: t0, Stalls: 3,
		Progress: map[string]string{"queue:in": eid5}, Requested: map[string]string{"queue:in": eid9},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got := Decide(base(behind), time.UnixMilli(t0)).Lock.Stalls; got != 0 {
		t.Errorf("a run that moved its checkpoint counts %d stalls", got)
	}
}

// TestTokensGrow: the lock's time is its token, so it must pass the one before even where clocks disagree.
func TestTokensGrow(t *testing.T) {
	b := base(func(b *store.Bot) {
		b.InvokeTime, b.Instance.InvokeTime, b.Trigger = t0+5, t0+5, 0
		b.Requested["queue:in"] = eid9
	})
	if got := Decide(b, time.UnixMilli(t0)).Lock; got.At != t0+6 || got.Seen != t0+5 {
		t.Errorf("lock %+v", got)
	}
}

func TestBackOffDelays(t *testing.T) {
	for n, want := range []float64{1, 2.25, 5.0625, 11.390625, 25.62890625, 57.665, 129.746, 291.929, 656.84, 1477.891, 3325.256, 3325.256} {
		got := BackOffDelay(n).Seconds()
		if math.Abs(got-want) > 0.001 {
			t.Errorf("%d errors: %v s, want %v", n, got, want)
		}
	}
}
