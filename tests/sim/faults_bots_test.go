package sim

import (
	"context"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/store"
)

type bots struct{ c *connection }

func (s bots) Get(ctx context.Context, id string) (b store.Bot, err error) {
	err = s.c.call(ctx, 0, "Get bot "+id, func(ctx context.Context) error {
		b, err = s.c.base.Bots.Get(ctx, id)
		return err
	}, nil, nil)
	return b, err
}

func (s bots) List(ctx context.Context, after string, limit int) (list []store.Bot, err error) {
	err = s.c.call(ctx, 0, "List bots", func(ctx context.Context) error {
		list, err = s.c.base.Bots.List(ctx, after, limit)
		return err
	}, nil, nil)
	return list, err
}

func (s bots) Register(ctx context.Context, r store.Registration) error {
	return s.c.call(ctx, 0, "Register "+r.ID, func(ctx context.Context) error { return s.c.base.Bots.Register(ctx, r) }, nil, nil)
}

func (s bots) Control(ctx context.Context, id string, k store.Control) error {
	return s.c.call(ctx, 0, "Control "+id, func(ctx context.Context) error { return s.c.base.Bots.Control(ctx, id, k) }, nil, nil)
}

func (s bots) Checkpoint(ctx context.Context, k store.CheckpointWrite) error {
	return s.c.call(ctx, faultConflict, fmt.Sprintf("Checkpoint %s %s %s to %s", k.Bot, k.Ref, short(k.Expected), short(k.Position)),
		func(ctx context.Context) error { return s.c.base.Bots.Checkpoint(ctx, k) }, nil,
		func() { s.c.oracle.checkpointed(k) })
}

// Produced stores several rows on AWS, so it can end in the middle.
func (s bots) Produced(ctx context.Context, list []store.Produced) error {
	w := s.c.p.w
	part := func(ctx context.Context) {
		if n := w.rng.IntN(len(list) + 1); n > 0 && s.c.base.Bots.Produced(ctx, list[:n]) == nil {
			s.c.oracle.produced(list[:n])
		}
	}
	return s.c.call(ctx, 0, "Produced", func(ctx context.Context) error { return s.c.base.Bots.Produced(ctx, list) }, part,
		func() { s.c.oracle.produced(list) })
}

func (s bots) Request(ctx context.Context, r store.Request) error {
	return s.c.call(ctx, 0, "Request "+r.Bot, func(ctx context.Context) error { return s.c.base.Bots.Request(ctx, r) }, nil, nil)
}

func (s bots) Lock(ctx context.Context, l store.Lock) error {
	return s.c.call(ctx, faultConflict, fmt.Sprintf("Lock %s at %d", l.Bot, l.At),
		func(ctx context.Context) error { return s.c.base.Bots.Lock(ctx, l) }, nil, nil)
}

func (s bots) Confirm(ctx context.Context, k store.Confirm) error {
	return s.c.call(ctx, faultConflict, fmt.Sprintf("Confirm %s %d", k.Bot, k.Token),
		func(ctx context.Context) error { return s.c.base.Bots.Confirm(ctx, k) }, nil, nil)
}

func (s bots) Extend(ctx context.Context, k store.Confirm) error {
	return s.c.call(ctx, 0, fmt.Sprintf("Extend %s %d", k.Bot, k.Token),
		func(ctx context.Context) error { return s.c.base.Bots.Extend(ctx, k) }, nil, nil)
}

func (s bots) Complete(ctx context.Context, k store.Complete) error {
	return s.c.call(ctx, faultConflict, fmt.Sprintf("Complete %s %d failed %t", k.Bot, k.Token, k.Failed),
		func(ctx context.Context) error { return s.c.base.Bots.Complete(ctx, k) }, nil, nil)
}
