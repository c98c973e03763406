package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// TriggersSetting is the id in Settings of the version of all bots' triggers: text that is new after every change. Those who
// keep a table of triggers read it before they use the table.
const TriggersSetting = "rstreams_triggers"

// triggers is a copy of who is triggered by what. It saves Moved from reading all rows; Rows says why it is never too old.
type triggers struct {
	turn chan struct{} // held by who reads or makes the table
	made time.Time
	// version is what the setting said before the rows were read, queues the plain ids of the bots by plain queue name.
	version string
	queues  map[string][]string
}

func newTriggers() triggers { return triggers{turn: make(chan struct{}, 1)} }

// get returns the table, which nobody changes. It holds every bot whose triggers were announced before the call.
func (t *triggers) get(ctx context.Context, o *Once) (map[string][]string, error) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-t.turn }()
	raw, err := o.store.Settings.Get(ctx, TriggersSetting)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("dispatch: version of the triggers: %w", err)
	}
	now := o.now()
	age := now.Sub(t.made)
	if t.queues != nil && t.version == string(raw) && age >= 0 && age < o.cfg.TableAge {
		return t.queues, nil
	}
	queues := map[string][]string{}
	// To the last row, however many there are (W-P13).
	for after := ""; ; {
		page, err := o.store.Bots.List(ctx, after, scanPage)
		if err != nil {
			return nil, fmt.Errorf("dispatch: list of bots: %w", err)
		}
		for i := range page {
			after = page[i].ID
			for queue := range triggersOf(&page[i]) {
				queues[queue] = append(queues[queue], after)
			}
		}
		if len(page) < scanPage {
			break
		}
	}
	t.made, t.version, t.queues = now, string(raw), queues
	return queues, nil
}

// known returns the table that is at hand and its version, nil where it is too old or there is none. It may be used only for what
// is read together with a version that is the same.
func (t *triggers) known(ctx context.Context, o *Once) (map[string][]string, string) {
	select {
	case t.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ""
	}
	defer func() { <-t.turn }()
	if age := o.now().Sub(t.made); age < 0 || age >= o.cfg.TableAge {
		return nil, ""
	}
	return t.queues, t.version
}

// triggersOf returns the plain names of the queues that bot is asked to run for.
func triggersOf(bot *store.Bot) map[string]bool {
	if bot.Archived {
		return nil
	}
	queues := make(map[string]bool, len(bot.Triggers))
	for _, t := range bot.Triggers {
		queues[ref.Queue(t)] = true
	}
	return queues
}

// RowChange is one change of a bot's row, as a change stream delivers it. The zero Bot stands for no row.
type RowChange struct {
	// Old is the row before the change, New after it.
	Old, New store.Bot
}

// Rows serves changes of bots' rows, in their order. Bots for whose newest row Decide wants something done now are looked at;
// others cost nothing, among them those that were locked, started, extended or checkpointed.
//
// It also keeps the tables of Moved right. A table is used only if the version that was read just before is still that of
// the table, and Rows
//
//  1. sets a new version when it sees a change of triggers (or of what is archived), and then
//  2. reads the heads of the triggers that are new, and asks their bots to run.
//
// So nothing falls between. Say a bot's new trigger q is stored, and an event comes to q. The call of Moved for that event
// begins after the head moved. Either it reads the version after step 1 set it: then it reads all rows, and that after the
// trigger was stored, as the change was seen after that. Or it reads the version before: then the head had moved before
// step 1 already, and step 2 finds it. Where Rows fails between the steps, its caller repeats it, and a Sweep compares
// all heads; a version that was never set is made up for by TableAge. A bot that lost its trigger, was archived or deleted,
// but is still in the table, is recognised by its row.
//
// An error that is no *Failures means that the version could not be set: the call must be repeated.
func (o *Once) Rows(ctx context.Context, changes []RowChange) (Report, error) {
	newest := map[string]*store.Bot{}
	added := map[string]map[string]bool{}
	changed := false
	for i := range changes {
		before, after := &changes[i].Old, &changes[i].New
		if after.ID == "" {
			delete(newest, before.ID)
			changed = changed || len(triggersOf(before)) > 0
			continue
		}
		newest[after.ID] = after
		had, has := triggersOf(before), triggersOf(after)
		for queue := range had {
			changed = changed || !has[queue]
		}
		for queue := range has {
			if had[queue] {
				continue
			}
			changed = true
			if added[after.ID] == nil {
				added[after.ID] = map[string]bool{}
			}
			added[after.ID][queue] = true
		}
	}
	if changed {
		version, err := json.Marshal(uuid.NewString())
		if err == nil {
			err = o.store.Settings.Put(ctx, TriggersSetting, version)
		}
		if err != nil {
			return Report{}, fmt.Errorf("dispatch: version of the triggers: %w", err)
		}
	}

	var errands []*errand
	var failed []BotError
	due := map[string]time.Time{}
	now := o.now().Add(nearly)
	for id, row := range newest {
		e := &errand{bot: id}
		if err := o.heads(ctx, e, row, added[id]); err != nil {
			failed = append(failed, BotError{Bot: id, Err: err})
			continue
		}
		dec := Decide(*row, now)
		switch {
		case len(e.heads) > 0, dec.Action == Expire, dec.BackOff != 0, dec.Action == Run && o.cfg.Hosts(*row):
			errands = append(errands, e)
		case dec.Action == Wait && dec.Reason != Running && o.cfg.Hosts(*row):
			due[id] = dec.Until
		}
	}
	report, more, bad := o.serve(ctx, errands)
	maps.Copy(due, more)
	o.soon(ctx, due)
	return report, failures(append(failed, bad...), len(errands)+len(failed))
}

// heads reads the heads of queues, all triggers of row, that row has not been asked for.
func (o *Once) heads(ctx context.Context, e *errand, row *store.Bot, queues map[string]bool) error {
	has := triggersOf(row)
	for _, queue := range slices.Sorted(maps.Keys(queues)) {
		if !has[queue] {
			continue
		}
		q, err := o.store.Queues.Get(ctx, queue)
		if errors.Is(err, store.ErrNotFound) || err == nil && q.Head == "" {
			continue
		}
		if err != nil {
			return fmt.Errorf("dispatch: head of queue %s: %w", queue, err)
		}
		if e.heads == nil {
			e.heads = map[string]Head{}
		}
		e.heads[queue] = Head{ID: q.Head, At: q.Timestamp}
	}
	return nil
}
