package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/rstreams-go/rstreams/bus/store"
)

// roles are the jobs of child processes.
var roles = map[string]func(ctx context.Context, j job, s store.Store) error{
	// checkpoint moves one bot's checkpoint N times, from whatever it is to the next number.
	"checkpoint": func(ctx context.Context, j job, s store.Store) error {
		for done := 0; done < j.N; {
			b, err := s.Bots.Get(ctx, "bot")
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			at := b.Read["queue:q"]
			w := checkpoint("bot", "queue:q", at.Position, fmt.Sprintf("z/%d-%d", at.Records+1, j.ID))
			w.Records = at.Records + 1
			switch err := s.Bots.Checkpoint(ctx, w); {
			case err == nil:
				done++
				if err := tell(w.Records); err != nil {
					return err
				}
			case !errors.Is(err, store.ErrConflict):
				return err
			}
		}
		return nil
	},
	// lock takes the run after the newest one until there were N.
	"lock": func(ctx context.Context, _ job, s store.Store) error {
		if err := s.Bots.Register(ctx, store.Registration{ID: "bot"}); err != nil {
			return err
		}
		for {
			b, err := s.Bots.Get(ctx, "bot")
			if err != nil {
				return err
			}
			if b.InvokeTime == 100 {
				return nil
			}
			switch err := s.Bots.Lock(ctx, store.Lock{Bot: "bot", Seen: b.InvokeTime, At: b.InvokeTime + 1}); {
			case err == nil:
				if err := tell(b.InvokeTime + 1); err != nil {
					return err
				}
			case !errors.Is(err, store.ErrConflict):
				return err
			}
		}
	},
	// exclude counts to N under a lock, by a read and a write.
	"exclude": func(ctx context.Context, j job, s store.Store) error {
		owner := fmt.Sprint("owner", j.ID)
		for done := 0; done < j.N; {
			err := s.Settings.Acquire(ctx, "lock", owner, 1, 2)
			if errors.Is(err, store.ErrConflict) {
				continue
			}
			if err != nil {
				return err
			}
			n := 0
			switch v, err := s.Settings.Get(ctx, "count"); {
			case err == nil:
				if err := json.Unmarshal(v, &n); err != nil {
					return err
				}
			case !errors.Is(err, store.ErrNotFound):
				return err
			}
			if err := s.Settings.Put(ctx, "count", json.RawMessage(fmt.Sprint(n+1))); err != nil {
				return err
			}
			if err := s.Settings.Release(ctx, "lock", owner); err != nil {
				return err
			}
			done++
		}
		return nil
	},
	// sequence publishes batches 1 to N of its shard, some of which may be published already.
	"sequence": func(ctx context.Context, j job, s store.Store) error {
		q := j.newSequencer(s, j.ID)
		for n := range j.N {
			if err := q.batch(ctx, n+1); err != nil {
				return err
			}
		}
		return nil
	},
	// return is the first batch of the killed process 1 again.
	"return": func(ctx context.Context, j job, s store.Store) error { return j.newSequencer(s, 1).batch(ctx, 1) },
	// blob replaces one blob N times, and reads it.
	"blob": func(ctx context.Context, j job, s store.Store) error {
		for range j.N {
			ref, _, err := s.Blobs.Put(ctx, "key", strings.NewReader(blobText(j.ID)))
			if err != nil {
				return err
			}
			r, err := s.Blobs.Get(ctx, ref, 0, -1)
			if err != nil {
				return err
			}
			b, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil {
				return err
			}
			if text := string(b); text != blobText(int(text[0]-'a')) {
				return fmt.Errorf("read a mixed blob of %d bytes", len(text))
			}
		}
		return nil
	},
	// pingpong publishes heads 1 to N to its queue, each when the other process has come as far, which it learns from the
	// feed alone. Process 0 begins.
	"pingpong": func(ctx context.Context, j job, s store.Store) error {
		own, other := fmt.Sprint("q", j.ID), fmt.Sprint("q", 1-j.ID)
		_, cursor, err := s.Feed.Changes(ctx, "", 1)
		if err != nil {
			return err
		}
		for n := 1; n <= j.N; n++ {
			for want := n - 1 + j.ID; want > 0; {
				q, err := s.Queues.Get(ctx, other)
				if err == nil && q.Head >= id(int64(want), 0) {
					break
				}
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				if err := s.Feed.Wait(ctx, cursor); err != nil {
					return err
				}
				if _, cursor, err = s.Feed.Changes(ctx, cursor, 100); err != nil {
					return err
				}
			}
			if err := publish(ctx, s, own, "a", n, id(int64(n), 0)); err != nil {
				return err
			}
		}
		return nil
	},
}
