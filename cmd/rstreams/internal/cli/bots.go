package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// botRow is a bot as `rstreams bots --json` prints it.
type botRow struct {
	Bot   string `json:"bot"`
	State string `json:"state"`
	// Until is when the state ends by itself, in ms, where it does.
	Until    int64          `json:"until,omitempty"`
	Schedule string         `json:"schedule,omitempty"`
	TimeZone string         `json:"time_zone,omitempty"`
	Triggers []triggerRow   `json:"triggers"`
	LastRun  int64          `json:"last_run,omitempty"`
	Duration int64          `json:"duration_ms,omitempty"`
	Status   string         `json:"status,omitempty"`
	Errors   int            `json:"errors"`
	Reads    map[string]any `json:"reads"`
	Writes   map[string]any `json:"writes"`
}

// triggerRow is a trigger of a bot and how far behind the bot is on it.
type triggerRow struct {
	Queue      string `json:"queue"`
	Checkpoint string `json:"checkpoint,omitempty"`
	Head       string `json:"head,omitempty"`
	// LagMillis is the time between the checkpoint's event and the head's; 0 when caught up, -1 when nothing was read yet.
	LagMillis int64 `json:"lag_ms"`
}

func (a *app) botsCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "bots [BOT...]",
		Short: "List the bots",
		Long: "bots lists the bus's bots, or those named: whether they run, pause or back off, what triggers them, how far they\n" +
			"are behind their queues (from the checkpoint to the head), and how their last run went.",
		Args: args(0, -1, "[BOT...]"),
		RunE: func(_ *cobra.Command, names []string) (err error) {
			bus, done, err := a.open()
			if err != nil {
				return err
			}
			defer done(&err)
			t := newTable(a.Out, asJSON, "BOT", "STATE", "TRIGGERS", "LAG", "LAST RUN", "TOOK", "ERRORS")
			heads := map[string]string{}
			err = eachBot(a.soft, bus.Store(), names, func(b store.Bot) error {
				now := time.Now()
				row, err := describe(a.soft, bus.Store(), b, now, heads)
				if err != nil {
					return err
				}
				state := row.State
				if row.Until != 0 {
					state += " for " + span(time.UnixMilli(row.Until).Sub(now))
				}
				took := "-"
				if row.Duration > 0 {
					took = span(time.Duration(row.Duration) * time.Millisecond)
				}
				return t.row(row, row.Bot, state, orDash(row.wakes()), row.lag(), ago(now, row.LastRun), took, row.Errors)
			})
			if err != nil {
				return err
			}
			return t.end("the bus knows no bots; a bot program registers its bots when it starts, see `rstreams dev --help`")
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return c
}

// wakes is what wakes the bot, for a table.
func (r *botRow) wakes() string {
	var names []string
	for _, t := range r.Triggers {
		names = append(names, t.Queue)
	}
	if r.Schedule != "" {
		names = append(names, strings.TrimSpace("cron "+r.Schedule+" "+r.TimeZone))
	}
	return strings.Join(names, ", ")
}

// lag is the greatest lag of the triggers, for a table.
func (r *botRow) lag() string {
	if len(r.Triggers) == 0 {
		return "-"
	}
	var most int64
	for _, t := range r.Triggers {
		if t.LagMillis < 0 {
			return "not begun"
		}
		most = max(most, t.LagMillis)
	}
	if most == 0 {
		return "0"
	}
	return span(time.Duration(most) * time.Millisecond)
}

// describe tells a bot's state. heads keeps the heads that were looked up already.
func describe(ctx context.Context, st store.Store, b store.Bot, now time.Time, heads map[string]string) (botRow, error) {
	r := botRow{
		Bot: b.ID, Schedule: b.Schedule, TimeZone: b.TimeZone, Errors: b.ErrorCount, Triggers: []triggerRow{},
		LastRun: b.Instance.InvokeTime, Status: b.Instance.Status, Reads: positions(b.Read), Writes: positions(b.Write),
	}
	if end := b.Instance.CompletedTime; end > 0 {
		r.Duration = end - max(b.Instance.StartTime, b.Instance.InvokeTime)
	}
	d := dispatch.Decide(b, now)
	switch {
	case b.Archived:
		r.State = "archived"
	case b.Paused:
		r.State = "paused"
	case d.Reason == dispatch.NoCode:
		r.State = "external"
	case d.Action == dispatch.Run:
		r.State = "due"
	case d.Action == dispatch.Expire:
		r.State = "died"
	case d.Reason == dispatch.CaughtUp || d.Reason == "":
		r.State = "idle"
	default:
		r.State = string(d.Reason)
	}
	if d.Action == dispatch.Wait && d.Reason != dispatch.Running {
		r.Until = d.Until.UnixMilli()
	}
	if b.ErrorCount > 0 && r.State == "idle" {
		r.State = "failed"
	}
	for _, trigger := range b.Triggers {
		t := triggerRow{Queue: ref.Queue(trigger), Checkpoint: b.Read[ref.QueueRef(trigger)].Position}
		head, ok := heads[t.Queue]
		if !ok {
			q, err := st.Queues.Get(ctx, t.Queue)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return r, fmt.Errorf("queue %s: %w", t.Queue, err)
			}
			head = q.Head
			heads[t.Queue] = head
		}
		t.Head, t.LagMillis = head, lagMillis(t.Checkpoint, head)
		r.Triggers = append(r.Triggers, t)
	}
	return r, nil
}

// lagMillis is the time from a checkpoint to a head; 0 when caught up, -1 without a checkpoint. It is at least 1 while
// something is left to read.
func lagMillis(checkpoint, head string) int64 {
	if head == "" || checkpoint >= head {
		return 0
	}
	c, err := eid.Parse(strings.TrimSuffix(checkpoint, " "))
	if err != nil {
		return -1
	}
	h, err := eid.Parse(head)
	if err != nil {
		return -1
	}
	return max(1, h.Millis-c.Millis)
}

// positions is a bot's checkpoints as JSON prints them, without placeholders.
func positions(m map[string]store.Checkpoint) map[string]any {
	out := map[string]any{}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if m[k].Position != "" {
			out[k] = m[k]
		}
	}
	return out
}

// eachBot calls fn with the bots of these ids, or with all.
func eachBot(ctx context.Context, st store.Store, names []string, fn func(store.Bot) error) error {
	for _, name := range names {
		b, err := st.Bots.Get(ctx, botID(name))
		if err != nil {
			return fmt.Errorf("%w (see `rstreams bots`)", err)
		}
		if err := fn(b); err != nil {
			return err
		}
	}
	if len(names) > 0 {
		return nil
	}
	const page = 100
	for after := ""; ; {
		rows, err := st.Bots.List(ctx, after, page)
		if err != nil {
			return fmt.Errorf("list the bots: %w", err)
		}
		for _, b := range rows {
			after = b.ID
			if err := fn(b); err != nil {
				return err
			}
		}
		if len(rows) < page {
			return nil
		}
	}
}

// botID is the plain id of a bot that may be given as a reference.
func botID(name string) string { return ref.ParseBot(name).ID }
