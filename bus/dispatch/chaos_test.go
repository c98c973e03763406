package dispatch

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

var errChaos = errors.New("chaos")

// chaos makes a share of the calls of a store fail, half of them after the call did its work.
type chaos struct {
	mu   sync.Mutex
	rng  *rand.Rand
	rate float64
}

func (c *chaos) do(fn func() error) error {
	c.mu.Lock()
	roll, rate := c.rng.Float64(), c.rate
	c.mu.Unlock()
	if roll < rate/2 {
		return errChaos
	}
	if err := fn(); err != nil {
		return err
	}
	if roll < rate {
		return errChaos
	}
	return nil
}

func (c *chaos) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rate = 0
}

func (c *chaos) wrap(st store.Store) store.Store {
	st.Bots = chaoticBots{st.Bots, c}
	st.Queues = chaoticQueues{st.Queues, c}
	st.Feed = chaoticFeed{st.Feed, c}
	st.Settings = chaoticSettings{st.Settings, c}
	return st
}

type chaoticBots struct {
	store.Bots
	c *chaos
}

func (b chaoticBots) Get(ctx context.Context, id string) (row store.Bot, err error) {
	err = b.c.do(func() error { row, err = b.Bots.Get(ctx, id); return err })
	return row, err
}

func (b chaoticBots) List(ctx context.Context, after string, n int) (rows []store.Bot, err error) {
	err = b.c.do(func() error { rows, err = b.Bots.List(ctx, after, n); return err })
	return rows, err
}

func (b chaoticBots) Request(ctx context.Context, r store.Request) error {
	return b.c.do(func() error { return b.Bots.Request(ctx, r) })
}

func (b chaoticBots) Lock(ctx context.Context, l store.Lock) error {
	return b.c.do(func() error { return b.Bots.Lock(ctx, l) })
}

func (b chaoticBots) Control(ctx context.Context, id string, c store.Control) error {
	return b.c.do(func() error { return b.Bots.Control(ctx, id, c) })
}

func (b chaoticBots) Complete(ctx context.Context, c store.Complete) error {
	return b.c.do(func() error { return b.Bots.Complete(ctx, c) })
}

type chaoticQueues struct {
	store.Queues
	c *chaos
}

func (q chaoticQueues) Get(ctx context.Context, name string) (row store.Queue, err error) {
	err = q.c.do(func() error { row, err = q.Queues.Get(ctx, name); return err })
	return row, err
}

type chaoticFeed struct {
	store.Feed
	c *chaos
}

func (f chaoticFeed) Changes(ctx context.Context, cursor string, n int) (ch []store.Change, next string, err error) {
	err = f.c.do(func() error { ch, next, err = f.Feed.Changes(ctx, cursor, n); return err })
	if errors.Is(err, errChaos) && len(ch) > 0 {
		return nil, "", store.ErrNotFound // The place in the feed is lost, and what was to be read there.
	}
	return ch, next, err
}

func (f chaoticFeed) Wait(ctx context.Context, cursor string) error {
	return f.c.do(func() error { return f.Feed.Wait(ctx, cursor) })
}

type chaoticSettings struct {
	store.Settings
	c *chaos
}

func (s chaoticSettings) Acquire(ctx context.Context, name, owner string, now, expires int64) error {
	return s.c.do(func() error { return s.Settings.Acquire(ctx, name, owner, now, expires) })
}

// TestNothingIsLeftBehindWhateverFails: storage that fails at random, invocations that fail, runs that die and dispatchers
// that come and go never make a bot run twice at once (the world checks), and once the trouble ends every bot catches up and
// every schedule was served.
func TestNothingIsLeftBehindWhateverFails(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) { playChaos(t, w, seed) })
		})
	}
}

func playChaos(t *testing.T, w *world, seed uint64) {
	w.callsOff = true
	rng := rand.New(rand.NewPCG(seed, 1))
	c := &chaos{rng: rand.New(rand.NewPCG(seed, 2)), rate: 0.15}
	const bots, queues = 15, 4
	healthy := make(chan struct{})
	for i := range bots {
		id := fmt.Sprintf("bot-%02d", i)
		q1, q2 := fmt.Sprintf("q%d", i%queues), fmt.Sprintf("q%d", (i+1)%queues)
		r := store.Registration{ID: id, Triggers: []string{q1, q2}}
		if i%5 == 0 {
			r.Schedule = "*/5 * * * *"
		}
		w.bot(r, func(r *run) error {
			select {
			case <-healthy:
			default:
				switch n := len(w.ran(id)); {
				case (n+i)%7 == 0:
					r.dies = true
					return nil
				case (n+i)%5 == 0:
					return errBoom
				}
			}
			time.Sleep(time.Duration(i) * 10 * time.Millisecond)
			r.read(q1)
			r.read(q2)
			return nil
		})
	}
	for q := range queues {
		w.publish(fmt.Sprintf("q%d", q), 0)
	}
	var stops []func()
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for round := range 200 {
		switch n := rng.IntN(20); {
		case n == 0 && len(stops) > 0:
			stops[0]()
			stops = stops[1:]
		case n < 3 && len(stops) < 3:
			_, stop := w.dispatchOn(c.wrap(w.st), Config{})
			stops = append(stops, stop)
		case n == 4:
			w.mu.Lock()
			w.refuse[fmt.Sprintf("bot-%02d", rng.IntN(bots))] = errBoom
			w.mu.Unlock()
		case n == 5:
			w.mu.Lock()
			clear(w.refuse)
			w.mu.Unlock()
		default:
			w.publish(fmt.Sprintf("q%d", rng.IntN(queues)), round)
		}
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
	}
	c.stop()
	w.mu.Lock()
	clear(w.refuse)
	w.mu.Unlock()
	close(healthy)
	_, stop := w.dispatchOn(w.st, Config{})
	stops = append(stops, stop)
	time.Sleep(2 * time.Hour)
	for i := range bots {
		b := w.get(fmt.Sprintf("bot-%02d", i))
		for _, ref := range b.Triggers {
			q, err := w.st.Queues.Get(t.Context(), strings.TrimPrefix(ref, "queue:"))
			if err != nil {
				t.Fatal(err)
			}
			if b.Read[ref].Position != q.Head {
				t.Errorf("seed %d: %s is at %s on %s, whose head is %s: %+v", seed, b.ID, b.Read[ref].Position, ref, q.Head, b)
			}
		}
		if ran := w.ran(b.ID); i%5 == 0 && len(ran) < 24 {
			t.Errorf("seed %d: %s with a schedule ran only %d times", seed, b.ID, len(ran))
		}
	}
}
