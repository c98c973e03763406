package aws

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/rstreams-go/rstreams/bus/store"
)

// table is a DynamoDB table with one row for each key.
type table struct {
	bus *Bus
	// name is the table's own, part its name in the configuration, key its hash attribute.
	name, part, key string
}

func (t table) op(doing string) string { return doing + " table " + t.name }

// ready reports a table that the configuration does not name.
func (t table) ready() error {
	if t.name == "" {
		return fmt.Errorf("%w: the configuration of this bus names no %s table; add it, or use a bus that has one", store.ErrUnavailable, t.part)
	}
	return nil
}

func (t table) keyOf(id string) item { return item{t.key: str(id)} }

// get returns the row, consistent with every acknowledged write, or nil.
func (t table) get(ctx context.Context, id string) (item, error) {
	if id == "" {
		return nil, t.bus.alive(ctx)
	}
	if err := t.ready(); err != nil {
		return nil, err
	}
	var out item
	err := t.bus.send(ctx, t.bus.retries(), func(ctx context.Context) error {
		o, err := t.bus.dynamo().GetItem(ctx, &dynamodb.GetItemInput{
			TableName: &t.name, Key: t.keyOf(id), ConsistentRead: awssdk.Bool(true),
		})
		if err == nil {
			out = o.Item
		}
		return err
	})
	if err != nil {
		return nil, t.bus.classify(t.op("read"), err)
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// outcome is what became of a conditional write.
type outcome struct {
	// done tells that it was carried out; then old is the row before it, if that was asked for.
	done bool
	old  item
	// conflict tells that its condition did not hold for the row seen. Where known is false the row must be read.
	conflict, known bool
	seen            item
	// refused is why the request was refused as it is: it may name a map that the row does not have.
	refused error
}

// write sends one conditional write. Failed conditions and missing maps are outcomes, not errors.
func (t table) write(ctx context.Context, r *retries, id string, u *update, wantOld bool) (outcome, error) {
	if err := t.ready(); err != nil {
		return outcome{}, err
	}
	var old item
	err := t.bus.send(ctx, r, func(ctx context.Context) error {
		if u.create != nil {
			in := dynamodb.PutItemInput{
				TableName: &t.name, Item: u.create, ConditionExpression: awssdk.String("attribute_not_exists(#k)"),
				ExpressionAttributeNames:            map[string]string{"#k": t.key},
				ReturnValuesOnConditionCheckFailure: ddb.ReturnValuesOnConditionCheckFailureAllOld,
			}
			_, err := t.bus.dynamo().PutItem(ctx, &in)
			return err
		}
		in := dynamodb.UpdateItemInput{
			TableName: &t.name, Key: t.keyOf(id), ConditionExpression: u.condition(),
			ExpressionAttributeNames: u.attributeNames(), ExpressionAttributeValues: u.attributeValues(),
			ReturnValuesOnConditionCheckFailure: ddb.ReturnValuesOnConditionCheckFailureAllOld,
		}
		if s := u.expression(); s != "" {
			in.UpdateExpression = &s
		}
		if wantOld {
			in.ReturnValues = ddb.ReturnValueAllOld
		}
		o, err := t.bus.dynamo().UpdateItem(ctx, &in)
		if err == nil {
			old = o.Attributes
		}
		return err
	})
	if err == nil {
		return outcome{done: true, old: old}, nil
	}
	if failed, ok := errors.AsType[*ddb.ConditionalCheckFailedException](err); ok {
		return outcome{conflict: true, known: len(failed.Item) > 0, seen: failed.Item}, nil
	}
	code, message := apiError(err)
	err = t.bus.classify(t.op("write to"), err)
	if code == "ValidationException" && !tooLarge(message) && len(u.parents) > 0 {
		return outcome{refused: err}, nil
	}
	return outcome{}, err
}

// sight is a row as it was seen.
type sight struct {
	// item is nil where there is no row.
	item item
	// lost tells that an earlier write of this call had no answer and may have been carried out.
	lost bool
}

// errLook is what a plan returns that cannot do without seeing the row.
var errLook = errors.New("the row must be read first")

// plan says what to write. As long as the row was not read, seen is nil and the plan is a guess that is right nearly always, so
// that it costs one request; its conditions must fail where it is wrong. Then it is asked again with the row, and its
// conditions must hold for that. A nil update means that nothing is left to do.
type plan func(seen *sight) (*update, error)

// change carries out a plan: it writes until no other writer comes in between. A write whose answer was lost and that is found
// stored is done (its marks tell), and never made again.
func (t table) change(ctx context.Context, id string, p plan) error {
	_, err := t.changeFrom(ctx, id, false, p)
	return err
}

// changeFrom is change that returns the row before the write, if wantOld is set.
func (t table) changeFrom(ctx context.Context, id string, wantOld bool, p plan) (item, error) {
	if err := t.bus.alive(ctx); err != nil {
		return nil, err
	}
	r := t.bus.retries()
	var seen *sight
	refused, lost := 0, false
	if id == "" {
		seen = &sight{}
	}
	for first := true; ; first = false {
		if !first {
			if ok, err := r.pause(ctx, r.end, raceTime); err != nil {
				return nil, err
			} else if !ok {
				return nil, fmt.Errorf("%w: %s: row %s is written by others all the time; try again later", store.ErrThrottled, t.op("write to"), id)
			}
		}
		u, err := p(seen)
		if errors.Is(err, errLook) {
			row, err := t.get(ctx, id)
			if err != nil {
				return nil, err
			}
			seen = &sight{row, lost}
			u, err = p(seen)
			if err != nil || u == nil {
				return nil, err
			}
		} else if err != nil || u == nil {
			return nil, err
		}
		r.lost = false
		out, err := t.write(ctx, r, id, u, wantOld)
		lost = lost || r.lost
		switch {
		case err != nil:
			return nil, err
		case out.done:
			return out.old, nil
		case out.refused != nil:
			row, err := t.get(ctx, id)
			if err != nil {
				return nil, err
			}
			if row == nil {
				seen = &sight{nil, lost}
				continue
			}
			if made, err := t.makeMaps(ctx, r, id, row, u.parents); err != nil {
				return nil, err
			} else if !made && refused > 0 {
				return nil, out.refused // No map is missing, so it is something else.
			}
			refused++
			continue
		}
		refused = 0
		row := out.seen
		if !out.known && !u.orAbsent {
			if row, err = t.get(ctx, id); err != nil {
				return nil, err
			}
		}
		if r.lost && row != nil && u.stored(row) {
			return nil, nil
		}
		seen = &sight{row, lost}
	}
}

// makeMaps makes the maps at paths that the row does not have, and tells whether there were any. Another writer may make them
// meanwhile; then nothing is left to do here.
func (t table) makeMaps(ctx context.Context, r *retries, id string, row item, paths [][]string) (bool, error) {
	u := newUpdate()
	u.exists(t.key)
	top := map[string]item{} // new maps by the expression of their path
	for _, path := range paths {
		for n := 1; n <= len(path); n++ {
			if members(at(row, path[:n]...)) != nil {
				continue
			}
			p := u.p(path[:n]...)
			m, ok := top[p]
			if !ok {
				m = item{}
				if n == 1 && path[0] == "checkpoints" { // The original SDK wants both (bus.md 1.4).
					m = item{"read": object(item{}), "write": object(item{})}
				}
				top[p] = m
				u.set(object(m), path[:n]...)
				u.asIn(row, path[:n]...)
			}
			for _, name := range path[n:] {
				if members(m[name]) == nil {
					m[name] = object(item{})
				}
				m = members(m[name])
			}
			break
		}
	}
	if len(u.sets) == 0 {
		return false, nil
	}
	out, err := t.write(ctx, r, id, u, false)
	return true, cmp.Or(err, out.refused)
}

// scan calls fn with every row, page after page to the end, however many there are (W-P13).
func (t table) scan(ctx context.Context, fn func(row item)) error {
	if err := t.ready(); err != nil {
		return err
	}
	var from item
	for {
		var out *dynamodb.ScanOutput
		err := t.bus.send(ctx, t.bus.retries(), func(ctx context.Context) (err error) {
			out, err = t.bus.dynamo().Scan(ctx, &dynamodb.ScanInput{
				TableName: &t.name, ExclusiveStartKey: from, ConsistentRead: awssdk.Bool(true),
			})
			return err
		})
		if err != nil {
			return t.bus.classify(t.op("scan"), err)
		}
		for _, row := range out.Items {
			fn(row)
		}
		if len(out.LastEvaluatedKey) == 0 {
			return nil
		}
		from = out.LastEvaluatedKey
	}
}

// now returns the bus's clock.
func (t table) now() time.Time { return t.bus.o.Now() }
