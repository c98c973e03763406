package aws

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

// The three steps of a run (bus.md 1.4.3), so that runs of the original software and of this one exclude each other: both write
// the same attributes under conditions on the same attributes. The token is the lock's time (W-P16).

func inInstance(name string) []string { return []string{"instances", theInstance, name} }

// perRun are the attributes of an instance that belong to one run. The status stays until the next run ends.
var perRun = [...]string{"requestId", "startTime", "maxDuration", "completedTime", "log", "result", "message", "trigger"}

// Lock implements store.Bots.
func (b bots) Lock(ctx context.Context, l store.Lock) error {
	if l.At <= l.Seen {
		return rules.Lock(&store.Bot{}, l)
	}
	heads := slices.DeleteFunc(slices.Sorted(maps.Keys(l.Heads)), func(ref string) bool { return l.Heads[ref] == "" })
	if len(heads) > maxPaths {
		if err := b.Request(ctx, store.Request{Bot: l.Bot, Heads: only(l.Heads, heads[maxPaths:])}); err != nil {
			return err
		}
		heads = heads[:maxPaths]
	}
	asked := store.Request{Bot: l.Bot, Heads: only(l.Heads, heads), At: l.Trigger}
	return b.table.change(ctx, l.Bot, func(seen *sight) (*update, error) {
		u := newUpdate()
		fresh := l.Seen == 0
		switch {
		case seen == nil && fresh:
			u.exists("id")
			u.is(nil, "invokeTime")
			u.is(nil, "instances", theInstance)
		case seen == nil:
			u.is(num(l.Seen), "invokeTime")
		case seen.item == nil:
			return nil, noBot(l.Bot)
		default:
			row := decodeBot(seen.item)
			if err := rules.Lock(&row, l); err != nil {
				return nil, err
			}
			u.asIn(seen.item, "invokeTime")
			u.exists("id")
			fresh = members(at(seen.item, "instances", theInstance)) == nil
			if fresh {
				u.asIn(seen.item, "instances", theInstance)
			}
		}
		if fresh {
			u.set(object(item{"token": num(l.At), "invokeTime": num(l.At), "status": null()}), "instances", theInstance)
		} else {
			u.set(num(l.At), inInstance("token")...)
			u.set(num(l.At), inInstance("invokeTime")...)
			for _, name := range perRun {
				u.remove(inInstance(name)...)
			}
		}
		u.set(num(l.At), "invokeTime")
		u.set(num(l.At), "token")
		u.set(progress(l.Progress), "progress")
		u.setOrRemove(textsOrNil(l.Progress), "progress_read")
		u.setOrRemove(textsOrNil(l.Requested), "progress_requested")
		u.setOrRemove(countOrNil(l.Stalls), "stalls")
		u.remove("ignorePaused")
		u.remove("startTime")
		u.remove("endTime")
		u.mark("invokeTime")
		u.mark("token")
		u.mark(inInstance("token")...)
		request(u, seen, asked)
		return u, nil
	})
}

// progress returns the original's record of where the bot was: the read checkpoint of its trigger. Bots with several have it in
// progress_read only.
func progress(read map[string]string) value {
	m := item{}
	if len(read) == 1 {
		for _, at := range read {
			if at != "" {
				m["queue_position"] = str(at)
			}
		}
	}
	return object(m)
}

func textsOrNil(m map[string]string) value {
	if len(m) == 0 {
		return nil
	}
	return textMap(m)
}

func countOrNil(n int) value {
	if n == 0 {
		return nil
	}
	return num(int64(n))
}

// Confirm implements store.Bots.
func (b bots) Confirm(ctx context.Context, c store.Confirm) error {
	if c.RequestID == "" || c.At == 0 {
		return rules.Confirm(&store.Bot{}, c)
	}
	return b.table.change(ctx, c.Bot, func(seen *sight) (*update, error) {
		u := newUpdate()
		if seen == nil {
			u.is(num(c.Token), inInstance("token")...)
			for _, name := range []string{"startTime", "requestId", "completedTime"} {
				u.is(nil, inInstance(name)...)
			}
		} else if err := b.step(u, seen, c.Bot, func(row *store.Bot) error { return rules.Confirm(row, c) }); err != nil {
			return nil, err
		}
		u.set(num(c.At), inInstance("startTime")...)
		u.set(str(c.RequestID), inInstance("requestId")...)
		u.set(num(c.MaxDuration), inInstance("maxDuration")...)
		u.mark(inInstance("startTime")...)
		u.mark(inInstance("requestId")...)
		return u, nil
	})
}

// Extend implements store.Bots.
func (b bots) Extend(ctx context.Context, c store.Confirm) error {
	return b.table.change(ctx, c.Bot, func(seen *sight) (*update, error) {
		u := newUpdate()
		if seen == nil {
			u.is(num(c.Token), inInstance("token")...)
			u.is(str(c.RequestID), inInstance("requestId")...)
			u.exists(inInstance("startTime")...)
			u.is(nil, inInstance("completedTime")...)
		} else if err := b.step(u, seen, c.Bot, func(row *store.Bot) error { return rules.Extend(row, c) }); err != nil {
			return nil, err
		}
		u.set(num(c.MaxDuration), inInstance("maxDuration")...)
		return u, nil
	})
}

// Complete implements store.Bots.
func (b bots) Complete(ctx context.Context, c store.Complete) error {
	return b.table.change(ctx, c.Bot, func(seen *sight) (*update, error) {
		u := newUpdate()
		if seen == nil {
			u.is(num(c.Token), inInstance("token")...)
			if c.RequestID == "" {
				u.is(nil, inInstance("requestId")...)
			} else {
				u.is(str(c.RequestID), inInstance("requestId")...)
			}
			u.is(nil, inInstance("completedTime")...)
			if c.Token == 0 {
				return nil, errLook // No run has that token; the row may have no run at all.
			}
		} else if err := b.step(u, seen, c.Bot, func(row *store.Bot) error { return rules.Complete(row, c) }); err != nil {
			return nil, err
		}
		u.set(num(c.At), inInstance("completedTime")...)
		u.set(str(rules.StatusOf(c)), inInstance("status")...)
		if c.RequestID == "" {
			u.set(str(rules.Released), inInstance("requestId")...)
			u.mark(inInstance("requestId")...)
		}
		if c.Log != nil {
			u.set(binary(c.Log), inInstance("log")...)
		} else {
			u.remove(inInstance("log")...)
		}
		if c.Result != nil {
			u.set(binary(c.Result), inInstance("result")...)
		} else {
			u.set(null(), inInstance("result")...)
		}
		u.set(null(), "message") // The last run's is over.
		if c.Failed {
			u.add(1, "errorCount")
		} else {
			u.set(num(0), "errorCount")
		}
		if c.RunAgain {
			u.set(num(rules.AgainAt(c)), "trigger")
		}
		if c.RetryAt != 0 {
			u.set(num(c.RetryAt), "scheduledTrigger")
		}
		u.mark(inInstance("completedTime")...)
		u.mark(inInstance("status")...)
		return u, nil
	})
}

// step adds to u that the run is as it was seen, after rule has agreed to that.
func (b bots) step(u *update, seen *sight, id string, rule func(row *store.Bot) error) error {
	if seen.item == nil {
		return noBot(id)
	}
	row := decodeBot(seen.item)
	if err := rule(&row); err != nil {
		return err
	}
	if members(at(seen.item, "instances", theInstance)) == nil {
		return fmt.Errorf("%w: bot %s has no run", store.ErrConflict, id)
	}
	u.exists("id")
	for _, name := range []string{"token", "requestId", "startTime", "completedTime"} {
		u.asIn(seen.item, inInstance(name)...)
	}
	return nil
}
