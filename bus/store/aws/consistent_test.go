package aws

import (
	"context"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
)

// What decides over a write, or over where a read goes on, is read with every acknowledged write in it (C30, fault 7).
func TestReadsSeeEveryAcknowledgedWrite(t *testing.T) {
	for what, read := range map[string]func(ctx context.Context, s store.Store) error{
		"chunks": func(ctx context.Context, s store.Store) error {
			_, err := s.Chunks.Query(ctx, "q", "", "z0", 0, 0)
			return err
		},
		"a queue":   func(ctx context.Context, s store.Store) error { _, err := s.Queues.Get(ctx, "q"); return err },
		"a bot":     func(ctx context.Context, s store.Store) error { _, err := s.Bots.Get(ctx, "b"); return err },
		"a setting": func(ctx context.Context, s store.Store) error { _, err := s.Settings.Get(ctx, "s"); return err },
		"a system":  func(ctx context.Context, s store.Store) error { _, err := s.Systems.Get(ctx, "s"); return err },
		"bots":      func(ctx context.Context, s store.Store) error { _, err := s.Bots.List(ctx, "", 10); return err },
		"queues":    func(ctx context.Context, s store.Store) error { _, err := s.Queues.List(ctx, "", 10); return err },
	} {
		b, s := openService(t, func(int, call) reply { return reply{body: "{}"} })
		_ = read(t.Context(), b.Store()) // That nothing is there is no matter.
		if len(s.calls) != 1 {
			t.Errorf("%s: requests %v", what, s.ops())
			continue
		}
		if body(t, s.calls[0])["ConsistentRead"] != true {
			t.Errorf("%s are read by %s without ConsistentRead: %s", what, s.calls[0].op, s.calls[0].body)
		}
	}
}
