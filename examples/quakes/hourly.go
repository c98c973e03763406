package quakes

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// hourly emits one event for each region and hour, when the hour is over: when a quake of a later hour comes, or the end of
// the feed. The correlation spans the quakes it was made of, so that `rstreams trace` finds them.
//
// The sums of an hour that is not over are kept in memory only. The checkpoint stays before that hour's first quake, and the
// next run reads it again: nothing is counted twice or lost, wherever a run ends.
func hourly(ctx context.Context, run *bot.Run) error {
	cp, err := run.Bus.GetCheckpoint(ctx, "", ScoredQueue)
	if err != nil {
		return err
	}
	w, err := run.Bus.NewWriter(rstreams.WriterOptions{Queue: HourlyQueue})
	if err != nil {
		return err
	}
	r := reducer{run: run, w: w, position: cp.Position, windows: map[windowKey]*window{}}
	return errors.Join(r.read(ctx), w.Close(ctx))
}

// windowKey is a region and an hour, as the start of it in ms. A quake that comes after its hour was closed makes a second
// event of that hour, with a correlation of its own; the feed is sorted, so it has none.
type windowKey struct {
	region string
	hour   int64
}

// window is one region's sums in the hour that is going on, and the quakes that they are made of.
type window struct {
	sum         RegionHour
	first, last string // event ids
	source      int64  // the earliest source timestamp
}

// reducer is one run of hourly.
type reducer struct {
	run *bot.Run
	w   *rstreams.Writer
	// position is the checkpoint, last the newest event of the hour, events how many there are since the checkpoint.
	position, last string
	events         int64
	hour           int64
	windows        map[windowKey]*window
}

func (r *reducer) read(ctx context.Context) error {
	for e, err := range r.run.Bus.Read(ctx, ScoredQueue, fromTheStart()) {
		if err != nil {
			return err
		}
		var q Scored
		if err := json.Unmarshal(e.Payload, &q); err != nil {
			return fmt.Errorf("event %s: %w", e.EID, err)
		}
		hour := Hour(q.Time)
		if r.hour != 0 && hour > r.hour || q.End {
			if err := r.emit(ctx); err != nil {
				return err
			}
		}
		r.last = e.EID
		r.events++
		if q.End {
			if err := r.checkpoint(ctx); err != nil {
				return err
			}
			continue
		}
		r.hour = max(r.hour, hour)
		r.add(&e, q)
	}
	return nil
}

// add counts a quake.
func (r *reducer) add(e *rstreams.Event, q Scored) {
	key := windowKey{q.Region, Hour(q.Time)}
	win := r.windows[key]
	if win == nil {
		win = &window{first: e.EID, source: e.SourceTimestamp}
		r.windows[key] = win
	}
	win.sum.Add(q)
	win.last = e.EID
	win.source = min(win.source, e.SourceTimestamp)
}

// emit writes the sums of the hour, in order of region, and moves the checkpoint behind the hour's last quake.
func (r *reducer) emit(ctx context.Context) error {
	if len(r.windows) == 0 {
		return nil
	}
	windows := make([]*window, 0, len(r.windows))
	for _, win := range r.windows {
		windows = append(windows, win)
	}
	slices.SortFunc(windows, func(a, b *window) int {
		return cmp.Or(cmp.Compare(a.sum.Hour, b.sum.Hour), cmp.Compare(a.sum.Region, b.sum.Region))
	})
	for _, win := range windows {
		payload, err := json.Marshal(win.sum)
		if err != nil {
			return err
		}
		from := &rstreams.Correlation{Source: ScoredQueue, Start: win.first, Units: int64(win.sum.Count)}
		if win.last != win.first {
			from.End = win.last
		}
		if _, err := r.w.PutEvent(ctx, rstreams.Event{Payload: payload, Correlation: from, SourceTimestamp: win.source}); err != nil {
			return err
		}
	}
	clear(r.windows)
	return r.checkpoint(ctx)
}

// checkpoint moves the checkpoint to the newest event, once everything made of the events up to it is durable.
func (r *reducer) checkpoint(ctx context.Context) error {
	if err := r.w.Flush(ctx); err != nil {
		return err
	}
	err := r.run.Bus.Checkpoint(ctx, rstreams.CheckpointRequest{
		Queue: ScoredQueue, Expected: r.position, Checkpoint: rstreams.Checkpoint{Position: r.last, Records: r.events},
	})
	r.position, r.events = r.last, 0
	return err
}
