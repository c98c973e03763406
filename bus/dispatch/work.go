package dispatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rstreams-go/rstreams/bus/schedule"
	"github.com/rstreams-go/rstreams/bus/store"
)

// learn takes over what row says about b. With catchUp, an occurrence of its schedule since the last tick is due now.
// d.mu is held.
func (d *Dispatcher) learn(b *bot, row *store.Bot, catchUp bool) {
	b.hosted = d.cfg.Hosts(*row)
	if row.Archived {
		d.table.setTriggers(b, nil)
		b.expr, b.zone, b.schedule, b.next = "", "", nil, time.Time{}
		return
	}
	d.table.setTriggers(b, row.Triggers)

	now := d.cfg.Now()
	if row.Schedule != b.expr || row.TimeZone != b.zone {
		b.expr, b.zone, b.schedule, b.next = row.Schedule, row.TimeZone, nil, time.Time{}
		if row.Schedule != "" {
			s, err := schedule.Parse(row.Schedule, row.TimeZone)
			if err != nil {
				d.cfg.Logger.Error("the bot's schedule cannot be read; it never fires", "bot", b.id, "error", err)
			} else {
				b.schedule, b.next = &s, s.Next(now)
				d.tickDue = true
			}
		}
	}
	if catchUp && b.schedule != nil {
		b.next = b.schedule.Next(now)
		if missed, ok := b.schedule.Between(time.UnixMilli(d.tick), now); ok {
			b.next = missed
		}
	}
}

// handle does what there is to do for b, and sets when to look at it again.
func (d *Dispatcher) handle(ctx context.Context, b *bot) {
	j := job{Dispatcher: d, bot: b}
	err := j.run(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.cfg.Now()
	if err != nil {
		// Whatever it was, nothing of it is dropped: the heads are compared again, the rest is in the row.
		for queue := range j.heads {
			b.moved(queue)
		}
		j.at(now.Add(d.cfg.Retry))
		if ctx.Err() == nil {
			d.cfg.Logger.ErrorContext(ctx, "cannot dispatch a bot", "bot", b.id, "error", err, "retry", d.cfg.Retry)
		}
	}
	if d.table.bots[b.id] != b {
		return
	}
	if d.leader && !b.next.IsZero() && (err == nil || b.next.After(now)) {
		j.at(b.next)
	}
	d.table.setWake(b, j.wake)
	if b.index == 0 {
		select {
		case d.alarm <- struct{}{}:
		default:
		}
	}
}

// job is one look at a bot.
type job struct {
	*Dispatcher
	bot    *bot
	leader bool
	row    store.Bot
	heads  map[string]bool // queues whose heads are to be compared
	wake   time.Time
}

// at asks for another look at t, or earlier.
func (j *job) at(t time.Time) {
	if j.wake.IsZero() || t.Before(j.wake) {
		j.wake = t
	}
}

// again asks for another look as soon as this one is over.
func (j *job) again() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.bot.again = true
}

func (j *job) run(ctx context.Context) error {
	b := j.bot
	if err := j.finishRelease(ctx); err != nil {
		return err
	}
	row, err := j.store.Bots.Get(ctx, b.id)
	if errors.Is(err, store.ErrNotFound) {
		j.mu.Lock()
		defer j.mu.Unlock()
		if !b.again {
			j.table.forget(b)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("dispatch: bot %s: %w", b.id, err)
	}
	j.row = row
	j.mu.Lock()
	j.learn(b, &j.row, false)
	j.leader = j.Dispatcher.leader
	j.heads, b.heads = b.heads, nil
	hosted, triggers, next := b.hosted, maps.Clone(b.triggers), b.next
	j.mu.Unlock()
	if !hosted && !j.leader {
		return nil
	}
	if err := j.request(ctx, triggers, next); err != nil {
		return err
	}
	return j.decide(ctx, hosted)
}

// request asks the bot to run for queues that moved and for a schedule that is due.
func (j *job) request(ctx context.Context, triggers map[string]string, next time.Time) error {
	now := j.cfg.Now()
	r := store.Request{Bot: j.bot.id}
	due := j.leader && !next.IsZero() && !next.After(now)
	switch held := j.bot.requested.Add(coalesce); {
	case len(j.heads) == 0:
	case Deadline(&j.row) != 0 && now.Before(held) && !due:
		j.mu.Lock()
		for queue := range j.heads {
			j.bot.moved(queue)
		}
		j.mu.Unlock()
		j.at(held)
		return nil
	default:
		for _, queue := range slices.Sorted(maps.Keys(j.heads)) { // in order, so that a simulation repeats exactly
			ref, ok := triggers[queue]
			if !ok {
				continue
			}
			q, err := j.store.Queues.Get(ctx, queue)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return fmt.Errorf("dispatch: head of queue %s: %w", queue, err)
			}
			askHead(&r, &j.row, ref, Head{ID: q.Head, At: q.Timestamp})
		}
	}
	var occurrence time.Time
	if due {
		j.mu.Lock()
		if s := j.bot.schedule; s != nil {
			occurrence = next
			if last, ok := s.Between(next, now); ok {
				occurrence = last // Late by more than one: they fire once.
			}
			askAt(&r, &j.row, occurrence, now)
		}
		j.mu.Unlock()
	}
	if asks(&r, &j.row) {
		if err := j.store.Bots.Request(ctx, r); err != nil {
			if errors.Is(err, store.ErrNotFound) {
				j.again()
				return nil
			}
			return fmt.Errorf("dispatch: trigger of bot %s: %w", j.bot.id, err)
		}
		if r.Heads != nil {
			j.bot.requested = now
		}
		j.row = asked(j.row, &r)
	}
	if !occurrence.IsZero() {
		j.mu.Lock()
		if s := j.bot.schedule; s != nil && j.bot.next.Equal(next) {
			j.bot.next = s.Next(now)
		}
		j.tickDue = true
		j.mu.Unlock()
	}
	return nil
}

// decide acts on what Decide says about the row.
func (j *job) decide(ctx context.Context, hosted bool) error {
	now := j.cfg.Now()
	dec := Decide(j.row, now)
	if dec.BackOff != 0 && j.leader {
		if err := j.store.Bots.Control(ctx, j.row.ID, store.Control{ScheduledTrigger: &dec.BackOff}); err != nil {
			return fmt.Errorf("dispatch: back-off of bot %s: %w", j.row.ID, err)
		}
	}
	switch dec.Action {
	case Wait:
		if dec.Reason == Running && j.overdue(now) {
			return j.expire(ctx, now)
		}
		j.at(dec.Until)
	case Expire:
		return j.expire(ctx, now)
	case Run:
		if hosted && ctx.Err() == nil {
			return j.start(ctx, dec)
		}
	}
	return nil
}

// overdue tells whether a run that has not started, under a token that lies ahead of the clock, has had its time.
func (j *job) overdue(now time.Time) bool {
	in := &j.row.Instance
	if in.StartTime != 0 || !far(in.InvokeTime, now.UnixMilli()) {
		return false
	}
	b := j.bot
	if b.unstarted != in.Token {
		b.unstarted, b.since = in.Token, now
	}
	limit := b.since.Add(time.Duration(Deadline(&j.row)-in.InvokeTime) * time.Millisecond)
	j.at(limit.Add(time.Millisecond))
	return now.After(limit)
}

// expire ends a run that gave no sign of life in time as failed (C58).
func (j *job) expire(ctx context.Context, now time.Time) error {
	ended, err := j.steps.expire(ctx, &j.row, now)
	if ended {
		j.again()
	}
	// Otherwise the run came to life or to an end, and the row's change brings the bot back here.
	return err
}

// start locks the bot and invokes it. From the lock on, it carries through even when ctx ends.
func (j *job) start(ctx context.Context, dec Decision) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
	defer cancel()
	row, release, err := j.steps.start(ctx, j.row, dec)
	switch {
	case errors.Is(err, errLost):
		j.again()
		return nil
	case err != nil:
		return err
	case release == nil:
		j.at(time.UnixMilli(Deadline(&row) + 1))
		return nil
	}
	j.mu.Lock()
	j.bot.release = release
	j.mu.Unlock()
	j.again()
	return j.finishRelease(ctx)
}

// finishRelease stores the end of a run that could not be started (W-P5).
func (j *job) finishRelease(ctx context.Context) error {
	j.mu.Lock()
	release := j.bot.release
	j.mu.Unlock()
	if release == nil {
		return nil
	}
	if err := j.release(ctx, release); err != nil {
		return err
	}
	j.mu.Lock()
	j.bot.release = nil
	j.mu.Unlock()
	return nil
}
