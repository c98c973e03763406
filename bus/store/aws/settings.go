package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

// settings is the table LeoSettings (bus.md 1.5). Values are stored as DynamoDB's own types, as the original does, so that a
// number has at most 38 digits; locks are those of the original (L7).
type settings struct{ table table }

func newSettings(b *Bus) store.Settings {
	return settings{table{bus: b, name: b.o.Resources.LeoSettings, part: "LeoSettings", key: "id"}}
}

// Get implements store.Settings.
func (s settings) Get(ctx context.Context, id string) (json.RawMessage, error) {
	it, err := s.table.get(ctx, id)
	if err != nil {
		return nil, err
	}
	v, ok := it["value"]
	if !ok {
		return nil, fmt.Errorf("setting %s: %w", id, store.ErrNotFound)
	}
	doc, err := toJSON(v)
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w", id, err)
	}
	return doc, nil
}

// Put implements store.Settings. Other attributes of the item stay.
func (s settings) Put(ctx context.Context, id string, doc json.RawMessage) error {
	if err := rules.Setting(id, doc); err != nil {
		return err
	}
	v, err := fromJSON(doc)
	if err != nil {
		return fmt.Errorf("setting %s: %w", id, err)
	}
	return s.table.change(ctx, id, func(*sight) (*update, error) {
		u := newUpdate()
		u.set(v, "value")
		return u, nil
	})
}

// Swap implements store.Settings.
func (s settings) Swap(ctx context.Context, id string, old, next json.RawMessage) error {
	if err := rules.Swap(id, old, next); err != nil {
		return err
	}
	v, err := fromJSON(next)
	if err != nil {
		return fmt.Errorf("setting %s: %w", id, err)
	}
	var before value
	if old != nil {
		if before, err = fromJSON(old); err != nil {
			return rules.Swapped(id) // What cannot be stored is not what is stored.
		}
	}
	return s.table.change(ctx, id, func(seen *sight) (*update, error) {
		u := newUpdate()
		u.set(v, "value")
		u.mark("value")
		if seen == nil {
			u.is(before, "value")
			return u, nil
		}
		if !equal(before, seen.item["value"]) {
			return nil, rules.Swapped(id)
		}
		u.asIn(seen.item, "value")
		return u, nil
	})
}

// Delete implements store.Settings.
func (s settings) Delete(ctx context.Context, id string) error {
	return s.remove(ctx, id, nil)
}

// Acquire implements store.Settings with the item and the condition of the original's locks.
func (s settings) Acquire(ctx context.Context, name, owner string, now, expires int64) error {
	if name == "" || owner == "" {
		return fmt.Errorf("%w lock %q of owner %q: both need a name", store.ErrInvalid, name, owner)
	}
	return s.table.change(ctx, lockID(name), func(seen *sight) (*update, error) {
		u := newUpdate()
		u.set(num(now), "ts")
		u.set(num(expires), "expires")
		holder := u.set(str(owner), "value")
		if seen == nil {
			e, v := u.p("expires"), u.p("value")
			u.when("(attribute_not_exists(" + v + ") OR " + v + "=" + holder + " OR " + e + "<=" + u.v(num(now)) +
				" OR " + e + ">" + u.v(num(now+longestLock(now, expires))) + ")")
			return u, nil
		}
		other, ends := text(seen.item["value"]), integer(seen.item["expires"])
		if seen.item["value"] != nil && other != owner && !rules.LockEnded(ends, now, expires) {
			return nil, fmt.Errorf("%w: lock %s is held by %s until %d", store.ErrConflict, name, other, ends)
		}
		u.asIn(seen.item, "value")
		u.asIn(seen.item, "expires")
		return u, nil
	})
}

// Release implements store.Settings.
func (s settings) Release(ctx context.Context, name, owner string) error {
	return s.remove(ctx, lockID(name), &owner)
}

func lockID(name string) string { return "lock_" + name }

// remove deletes an item, if its value is the given one, nil for any.
func (s settings) remove(ctx context.Context, id string, value *string) error {
	if err := s.table.bus.alive(ctx); err != nil {
		return err
	}
	if err := s.table.ready(); err != nil || id == "" {
		return err
	}
	in := dynamodb.DeleteItemInput{TableName: &s.table.name, Key: s.table.keyOf(id)}
	if value != nil {
		condition := "#v=:v"
		in.ConditionExpression = &condition
		in.ExpressionAttributeNames = map[string]string{"#v": "value"}
		in.ExpressionAttributeValues = item{":v": str(*value)}
	}
	err := s.table.bus.send(ctx, s.table.bus.retries(), func(ctx context.Context) error {
		_, err := s.table.bus.dynamo().DeleteItem(ctx, &in)
		return err
	})
	if _, other := errors.AsType[*ddb.ConditionalCheckFailedException](err); other {
		return nil
	}
	return s.table.bus.classify(s.table.op("delete from"), err)
}

// longestLock is how far ahead, in ms, a lock may end that is believed; rules.LockEnded decides where this guess fails.
func longestLock(now, expires int64) int64 {
	const day = 24 * 60 * 60 * 1000
	return max(day, 2*(expires-now))
}
