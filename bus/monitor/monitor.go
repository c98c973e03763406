// Package monitor tells what bots do: each change of a bot's row becomes events of the queue "monitor", from which statistics
// are made (bus.md 3.9).
package monitor

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Bot is the id under which the events are written, and Queue the queue they are written to.
const (
	Bot   = "leo_cron_monitor"
	Queue = "monitor"
)

// Change is one change of a bot's row. The zero Bot stands for no row.
type Change struct {
	// Old is the row before, New after the change.
	Old, New store.Bot
	// At is when the row changed, in ms. It stands in for times that the row does not have.
	At int64
}

// The payloads. Times are in ms.
type (
	// started tells that a run was invoked.
	started struct {
		ID    string `json:"id"`
		Type  string `json:"type"`
		Start int64  `json:"start"`
	}
	// completed tells that a run ended.
	completed struct {
		ID    string `json:"id"`
		Type  string `json:"type"`
		TS    int64  `json:"ts"`
		Start int64  `json:"start"`
		Error bool   `json:"is_error"`
	}
	// moved tells that a checkpoint moved: a read one has From, a write one To.
	moved struct {
		ID         string `json:"id"`
		Type       string `json:"type"`
		From       string `json:"from,omitempty"`
		To         string `json:"to,omitempty"`
		Checkpoint string `json:"checkpoint"`
		TS         int64  `json:"ts"`
		Units      *int64 `json:"units,omitempty"`
		Start      int64  `json:"start"`
		SourceTS   int64  `json:"source_ts"`
	}
)

// Events returns what a change says, in order: the run's beginning, its end, then the checkpoints by reference. They have Bot
// and Queue and no timestamps. Nothing is said of deleted rows, of the monitor itself, and of bots with a true `ignoreMonitor`
// (C60).
//
// A run that began and ended between two rows gives both events; the original reported its beginning only (sdk.md 12).
func Events(c Change) ([]event.Event, error) {
	id := c.New.ID
	if id == "" || id == Bot || ignored(&c.New) {
		return nil, nil
	}
	var out []event.Event
	var failed error
	add := func(payload any) {
		text, err := json.Marshal(payload)
		if err != nil {
			failed = fmt.Errorf("monitor: bot %s: %w", id, err)
			return
		}
		out = append(out, event.Event{Bot: Bot, Queue: Queue, Payload: text})
	}

	was, is := &c.Old.Instance, &c.New.Instance
	if is.InvokeTime != 0 && is.InvokeTime != was.InvokeTime {
		add(started{ID: id, Type: "started", Start: is.InvokeTime})
	}
	if is.CompletedTime != 0 && (is.CompletedTime != was.CompletedTime || is.InvokeTime != 0 && is.InvokeTime != was.InvokeTime) {
		start := is.InvokeTime
		if start == 0 { // Some software leaves nothing of the run but its end.
			start = was.InvokeTime
		}
		add(completed{ID: id, Type: "completed", TS: is.CompletedTime, Start: or(start, c.At), Error: is.Status == store.StatusError})
	}
	for _, ref := range slices.Sorted(maps.Keys(c.New.Read)) {
		if p := c.New.Read[ref]; p.Position != "" && p.Position != c.Old.Read[ref].Position {
			m := checkpoint(id, "read", p, c.At)
			m.From = ref
			add(m)
		}
	}
	for _, ref := range slices.Sorted(maps.Keys(c.New.Write)) {
		if p := c.New.Write[ref]; p.Position != "" && p.Position != c.Old.Write[ref].Position {
			m := checkpoint(id, "write", p, c.At)
			m.To = ref
			add(m)
		}
	}
	return out, failed
}

func checkpoint(id, typ string, p store.Checkpoint, at int64) moved {
	m := moved{
		ID: id, Type: typ, Checkpoint: p.Position,
		TS: or(p.EndedTimestamp, at), Start: or(p.StartedTimestamp, at), SourceTS: or(p.SourceTimestamp, at),
	}
	if p.Records != 0 || p.EndedTimestamp != 0 { // Checkpoints without figures say nothing of units.
		m.Units = &p.Records
	}
	return m
}

// ignored tells whether a bot asked not to be watched.
func ignored(b *store.Bot) bool {
	var yes bool
	return json.Unmarshal(b.Extra["ignoreMonitor"], &yes) == nil && yes
}

func or(t, otherwise int64) int64 {
	if t == 0 {
		return otherwise
	}
	return t
}
