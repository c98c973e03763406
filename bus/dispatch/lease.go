package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// LeaseName names the lock in Settings that the serving dispatcher holds.
const LeaseName = "dispatcher"

// TickSetting is the id in Settings of the time, in ms, until when schedules were served. Occurrences between it and the
// start of a dispatcher were missed, and fire once (C54, W-D12). The original kept its scheduler's last shutdown there.
const TickSetting = "Leo_cron_last_shutdown_time"

// tickSpacing is how often the tick is stored while no schedule is due. An old tick costs nothing but a needless run of bots
// whose schedule was registered after it while no dispatcher was up.
const tickSpacing = time.Minute

// keepLease renews the lease, or takes it over when its holder is gone, until ctx ends.
func (d *Dispatcher) keepLease(ctx context.Context) {
	for sleep(ctx, d.cfg.Lease*2/5) {
		d.campaign(ctx)
	}
}

// campaign asks for the lease and tells whether this process serves all bots now.
func (d *Dispatcher) campaign(ctx context.Context) bool {
	now := d.cfg.Now()
	err := d.store.Settings.Acquire(ctx, LeaseName, d.cfg.Owner, now.UnixMilli(), now.Add(d.cfg.Lease).UnixMilli())
	d.mu.Lock()
	was := d.leader
	d.mu.Unlock()
	switch {
	case err == nil && was:
		d.storeTick(ctx)
		return true
	case err == nil:
		if err = d.takeOver(ctx); err == nil {
			d.storeTick(ctx) // so that a crash from now on leaves a time to make up from
			return true
		}
	case errors.Is(err, store.ErrConflict):
		err = nil
	}
	if err != nil && ctx.Err() == nil {
		d.cfg.Logger.ErrorContext(ctx, "cannot get the dispatcher lease", "error", err, "retry", d.cfg.Lease*2/5)
	}
	// Without a renewed lease another may serve. Two that do are no harm: every step is conditional.
	d.mu.Lock()
	d.leader = false
	d.mu.Unlock()
	return false
}

// takeOver makes this process the one that serves, and looks at every bot for what the one before left undone.
func (d *Dispatcher) takeOver(ctx context.Context) error {
	tick := d.cfg.Now().UnixMilli()
	raw, err := d.store.Settings.Get(ctx, TickSetting)
	switch {
	case errors.Is(err, store.ErrNotFound):
	case err != nil:
		return fmt.Errorf("dispatch: time of the last schedule: %w", err)
	default:
		var stored float64
		if err := json.Unmarshal(raw, &stored); err != nil {
			d.cfg.Logger.WarnContext(ctx, "the setting is no time in ms; missed schedules are not made up for",
				"setting", TickSetting, "value", string(raw))
		} else {
			tick = min(tick, int64(stored))
		}
	}
	d.mu.Lock()
	d.leader, d.tick, d.tickDue = true, tick, true
	d.mu.Unlock()
	return d.scan(ctx, true)
}

// storeTick stores the tick if a schedule was served, or if that is long ago.
func (d *Dispatcher) storeTick(ctx context.Context) {
	d.mu.Lock()
	now := d.cfg.Now()
	due := d.tickDue || now.Sub(d.tickAt) >= tickSpacing
	tick, scheduled := now.UnixMilli(), false
	for _, b := range d.table.bots {
		if b.schedule == nil {
			continue
		}
		scheduled = true
		if !b.next.IsZero() { // One that is due and not served yet holds the tick back.
			tick = min(tick, b.next.UnixMilli()-1)
		}
	}
	d.mu.Unlock()
	if !due || !scheduled {
		return
	}
	if err := d.store.Settings.Put(ctx, TickSetting, json.RawMessage(fmt.Sprint(tick))); err != nil {
		if ctx.Err() == nil {
			d.cfg.Logger.WarnContext(ctx, "cannot store the time of the last schedule", "error", err)
		}
		return
	}
	d.mu.Lock()
	d.tick, d.tickAt, d.tickDue = tick, now, false
	d.mu.Unlock()
}

// resign stores the tick and gives up the lease, so that another process need not wait for it.
func (d *Dispatcher) resign(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stepTimeout)
	defer cancel()
	d.mu.Lock()
	leader := d.leader
	d.tickDue = true
	d.mu.Unlock()
	if leader {
		d.storeTick(ctx)
	}
	if err := d.store.Settings.Release(ctx, LeaseName, d.cfg.Owner); err != nil {
		d.cfg.Logger.WarnContext(ctx, "cannot give up the dispatcher lease; it ends by itself", "error", err)
	}
	d.mu.Lock()
	d.leader = false
	d.mu.Unlock()
}
