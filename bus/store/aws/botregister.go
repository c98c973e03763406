package aws

import (
	"context"
	"maps"
	"slices"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

// executionType is what the original writes into every row and does not read.
const executionType = "lambda"

// Register implements store.Bots with the update of the original's createBot (sdk.md 6.4), so that both see the same row. Unlike
// that, it removes what is not declared any more, and adds placeholders to rows that have checkpoints. A first registration
// that is paused costs one write; so does any other, and a second one where placeholders are missing.
func (b bots) Register(ctx context.Context, r store.Registration) error {
	row := store.Bot{}
	if err := rules.Register(&row, false, r); err != nil {
		return err
	}
	settings, err := settingsValue(row)
	if err != nil {
		return err
	}
	extra := item{}
	for name, doc := range r.Extra {
		if extra[name], err = fromJSON(doc); err != nil {
			return err
		}
	}
	plan := func(paused bool) *update {
		u := newUpdate()
		u.setOrRemove(valueOrNil(row.Name), "name")
		u.set(strOrNull(row.Description), "description")
		u.setOrRemove(valueOrNil(row.Owner), "owner")
		setInvocation(u, row)
		u.set(settings, "lambda")
		u.set(strOrNull(row.Schedule), "time")
		u.setOrRemove(valueOrNil(row.TimeZone), "time_zone")
		u.set(list(mapped(row.Triggers, str)...), "triggers")
		if len(row.Tags) > 0 {
			u.set(list(mapped(row.Tags, str)...), "tags")
		} else {
			u.remove("tags")
		}
		u.setOrRemove(countOrNil(int(row.Timeout)), "timeout")
		u.setOrRemove(countOrNil(int(row.Delay)), "delay")
		for _, name := range slices.Sorted(maps.Keys(extra)) {
			u.set(extra[name], name)
		}
		if _, ok := extra["executionType"]; !ok {
			u.set(str(executionType), "executionType")
		}
		u.setOnce(object(item{}), "instances")
		u.setOnce(object(item{}), "requested_kinesis")
		u.setOnce(object(item{"read": placeholders(row.Read), "write": placeholders(row.Write)}), "checkpoints")
		if paused {
			u.set(boolean(true), "paused")
			u.is(nil, "id")
		} else {
			u.setOnce(boolean(false), "paused")
		}
		return u
	}
	isNew := row.Paused
	old, err := b.table.changeFrom(ctx, r.ID, true, func(seen *sight) (*update, error) {
		if seen == nil || seen.item == nil {
			return plan(isNew), nil
		}
		u := plan(false) // Paused is of new rows only.
		u.exists("id")
		return u, nil
	})
	if err != nil {
		return err
	}
	return b.addPlaceholders(ctx, row, old)
}

func valueOrNil(s string) value {
	if s == "" {
		return nil
	}
	return str(s)
}

// settingsValue returns the attribute lambda.
func settingsValue(row store.Bot) (value, error) {
	first := object(item{})
	if row.Settings != nil {
		var err error
		if first, err = fromJSON(row.Settings); err != nil {
			return nil, err
		}
	}
	return object(item{"settings": list(first)}), nil
}

// setInvocation writes lambdaName, which is all that the original needs for a function, and invocation where that says more.
func setInvocation(u *update, row store.Bot) {
	in := row.Invocation
	name := ""
	if in.Type == "lambda" {
		if name = in.Lambda; name == "" {
			name = row.ID
		}
	}
	u.set(strOrNull(name), "lambdaName")
	m := item{}
	for member, s := range map[string]string{
		"type": in.Type, "lambdaName": in.Lambda, "qualifier": in.Qualifier, "arn": in.ARN, "url": in.URL,
	} {
		if s != "" {
			m[member] = str(s)
		}
	}
	if in == (store.Invocation{}) || in == (store.Invocation{Type: "lambda", Lambda: in.Lambda}) {
		u.remove("invocation")
		return
	}
	if name != "" {
		m["lambdaName"] = str(name)
	}
	u.set(object(m), "invocation")
}

func placeholders(m map[string]store.Checkpoint) value {
	out := make(item, len(m))
	for reference := range m {
		out[reference] = object(item{})
	}
	return object(out)
}

// addPlaceholders makes those of row's references that old, the item before the registration, has no checkpoints for.
func (b bots) addPlaceholders(ctx context.Context, row store.Bot, old item) error {
	if members(old["checkpoints"]) == nil {
		return nil // They were written with the rest.
	}
	var missing [][]string
	for kind, m := range map[string]map[string]store.Checkpoint{"read": row.Read, "write": row.Write} {
		for reference := range m {
			if at(old, "checkpoints", kind, reference) == nil {
				missing = append(missing, []string{"checkpoints", kind, reference})
			}
		}
	}
	for part := range slices.Chunk(missing, maxPaths) {
		err := b.table.change(ctx, row.ID, func(seen *sight) (*update, error) {
			if seen != nil && seen.item == nil {
				return nil, noBot(row.ID)
			}
			u := newUpdate()
			u.exists("id")
			for _, path := range part {
				u.setOnce(object(item{}), path...)
			}
			return u, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
