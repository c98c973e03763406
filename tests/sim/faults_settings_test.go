package sim

import (
	"context"
	"encoding/json"

	"github.com/rstreams-go/rstreams/bus/store"
)

type systems struct{ c *connection }

func (s systems) Get(ctx context.Context, id string) (sys store.System, err error) {
	err = s.c.call(ctx, 0, "Get system "+id, func(ctx context.Context) error {
		sys, err = s.c.base.Systems.Get(ctx, id)
		return err
	}, nil, nil)
	return sys, err
}

func (s systems) List(ctx context.Context, after string, limit int) (list []store.System, err error) {
	err = s.c.call(ctx, 0, "List systems", func(ctx context.Context) error {
		list, err = s.c.base.Systems.List(ctx, after, limit)
		return err
	}, nil, nil)
	return list, err
}

func (s systems) Merge(ctx context.Context, sys store.System) error {
	return s.c.call(ctx, 0, "Merge system "+sys.ID, func(ctx context.Context) error { return s.c.base.Systems.Merge(ctx, sys) }, nil, nil)
}

type settings struct{ c *connection }

func (s settings) Get(ctx context.Context, id string) (v json.RawMessage, err error) {
	err = s.c.call(ctx, 0, "Get setting "+id, func(ctx context.Context) error {
		v, err = s.c.base.Settings.Get(ctx, id)
		return err
	}, nil, nil)
	return v, err
}

func (s settings) Put(ctx context.Context, id string, v json.RawMessage) error {
	return s.c.call(ctx, 0, "Put setting "+id, func(ctx context.Context) error { return s.c.base.Settings.Put(ctx, id, v) }, nil, nil)
}

func (s settings) Swap(ctx context.Context, id string, old, next json.RawMessage) error {
	return s.c.call(ctx, faultConflict, "Swap setting "+id, func(ctx context.Context) error {
		return s.c.base.Settings.Swap(ctx, id, old, next)
	}, nil, nil)
}

func (s settings) Delete(ctx context.Context, id string) error {
	return s.c.call(ctx, 0, "Delete setting "+id, func(ctx context.Context) error { return s.c.base.Settings.Delete(ctx, id) }, nil, nil)
}

func (s settings) Acquire(ctx context.Context, name, owner string, now, expires int64) error {
	return s.c.call(ctx, 0, "Acquire "+name, func(ctx context.Context) error {
		return s.c.base.Settings.Acquire(ctx, name, owner, now, expires)
	}, nil, nil)
}

func (s settings) Release(ctx context.Context, name, owner string) error {
	return s.c.call(ctx, 0, "Release "+name, func(ctx context.Context) error {
		return s.c.base.Settings.Release(ctx, name, owner)
	}, nil, nil)
}
