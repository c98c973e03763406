package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// functions are one-shot dispatchers as Lambda runs them: one after another for the heads that moved, one after another for the
// rows that changed, and as many at once as it likes for the clock. Each is frozen between calls, and replaced at any time.
type functions struct {
	t *testing.T
	w *world
	c *chaos
	// rows is the stream of bots' changes.
	rows *recorder

	mu    sync.Mutex
	rng   *rand.Rand
	warm  map[string]*Once
	heads []map[string]Head // the stream of heads
	wg    sync.WaitGroup
}

func (f *functions) roll(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rng.IntN(n)
}

// instance returns the warm process of a function, or a new one.
func (f *functions) instance(name string) *Once {
	fresh := f.roll(8) == 0
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := f.warm[name]; o != nil && !fresh {
		return o
	}
	f.warm[name] = f.w.onceOn(f.c.wrap(f.w.st), OnceConfig{Soon: func(ctx context.Context, due map[string]time.Time) error {
		f.wg.Go(func() {
			f.instance("soon").At(context.WithoutCancel(ctx), due, time.Minute) //nolint:errcheck // As in Lambda, nobody hears.
		})
		return nil
	}})
	return f.warm[name]
}

// publish moves a head and puts that on the stream.
func (f *functions) publish(queue string, n int) {
	head := f.w.publish(queue, n)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heads = append(f.heads, map[string]Head{queue: {ID: head, At: time.Now().UnixMilli()}})
}

// redeliver tells whether a batch comes again after err: as its function says, or for no reason.
func (f *functions) redeliver(err error) bool {
	var some *Failures
	if err != nil && (!errors.As(err, &some) || some.All()) {
		return true
	}
	return f.roll(20) == 0
}

// consume serves the streams until ctx ends.
func (f *functions) consume(ctx context.Context) {
	poll := func(fn func()) {
		f.wg.Go(func() {
			for sleep(ctx, 250*time.Millisecond) {
				fn()
			}
		})
	}
	poll(func() {
		f.mu.Lock()
		batch := map[string]Head{}
		for _, h := range f.heads {
			for queue, head := range h {
				batch[queue] = head
			}
		}
		f.heads = nil
		f.mu.Unlock()
		for ctx.Err() == nil {
			if _, err := f.instance("event-trigger").Moved(ctx, batch); !f.redeliver(err) {
				return
			}
		}
	})
	poll(func() {
		batch := f.rows.take()
		for ctx.Err() == nil {
			if _, err := f.instance("bot-runner").Rows(ctx, batch); !f.redeliver(err) {
				return
			}
		}
	})
	f.wg.Go(func() {
		for sleep(ctx, time.Minute) {
			for range 1 + f.roll(3) { // EventBridge delivers at least once.
				f.wg.Go(func() {
					f.instance("scheduler").Sweep(ctx, 55*time.Second) //nolint:errcheck // As in Lambda, nobody hears.
				})
			}
		}
	})
}

// TestOneShotDispatchersLeaveNothingBehindWhateverFails: any number at the same time never make a bot run twice at once
// (the world checks), and once the trouble ends every bot catches up and every schedule was served.
func TestOneShotDispatchersLeaveNothingBehindWhateverFails(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) { playOnceChaos(t, w, seed) })
		})
	}
}

func playOnceChaos(t *testing.T, w *world, seed uint64) {
	w.callsOff = true
	rng := rand.New(rand.NewPCG(seed, 1))
	c := &chaos{rng: rand.New(rand.NewPCG(seed, 2)), rate: 0.15}
	rows := &recorder{Bots: w.st.Bots, t: t}
	w.st.Bots = rows
	f := &functions{t: t, w: w, c: c, rows: rows, rng: rand.New(rand.NewPCG(seed, 3)), warm: map[string]*Once{}}
	ctx, cancel := context.WithCancel(t.Context())
	f.consume(ctx)
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			cancel()
			f.wg.Wait()
		}
	}
	defer stop()

	const bots, queues = 15, 4
	healthy := make(chan struct{})
	register := func(i int) {
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
		f.publish(fmt.Sprintf("q%d", q), 0)
	}
	for i := range bots {
		register(i)
	}
	for round := range 200 {
		switch n := rng.IntN(20); n {
		case 4:
			w.mu.Lock()
			w.refuse[fmt.Sprintf("bot-%02d", rng.IntN(bots))] = errBoom
			w.mu.Unlock()
		case 5:
			w.mu.Lock()
			clear(w.refuse)
			w.mu.Unlock()
		case 6:
			id := fmt.Sprintf("bot-%02d", rng.IntN(bots))
			w.control(id, store.Control{Archived: ptr(true)})
		case 7, 8:
			id := fmt.Sprintf("bot-%02d", rng.IntN(bots))
			w.control(id, store.Control{Archived: ptr(false)})
		default:
			f.publish(fmt.Sprintf("q%d", rng.IntN(queues)), round)
		}
		time.Sleep(time.Duration(rng.IntN(3000)) * time.Millisecond)
	}
	c.stop()
	w.mu.Lock()
	clear(w.refuse)
	w.mu.Unlock()
	close(healthy)
	for i := range bots {
		w.control(fmt.Sprintf("bot-%02d", i), store.Control{Archived: ptr(false)})
	}
	time.Sleep(2 * time.Hour)
	stop()
	for i := range bots {
		b := w.get(fmt.Sprintf("bot-%02d", i))
		for _, ref := range b.Triggers {
			q, err := w.st.Queues.Get(t.Context(), strings.TrimPrefix(ref, "queue:"))
			if err != nil {
				t.Fatal(err)
			}
			if b.Read[ref].Position != q.Head || b.Requested[ref] != q.Head {
				t.Errorf("seed %d: %s is at %s on %s and was asked for %s, whose head is %s: %+v",
					seed, b.ID, b.Read[ref].Position, ref, b.Requested[ref], q.Head, b)
			}
		}
		if ran := w.ran(b.ID); i%5 == 0 && len(ran) < 24 {
			t.Errorf("seed %d: %s with a schedule ran only %d times", seed, b.ID, len(ran))
		}
	}
}

// TestWithoutASweepNoTriggerIsLost: streams that deliver each change at least once are enough, as long as the storage works.
func TestWithoutASweepNoTriggerIsLost(t *testing.T) {
	for seed := range uint64(6) {
		bubble(t, func(t *testing.T, w *world) {
			rng := rand.New(rand.NewPCG(seed, 1))
			c := &chaos{rng: rand.New(rand.NewPCG(seed, 2))}
			rows := &recorder{Bots: w.st.Bots, t: t}
			w.st.Bots = rows
			f := &functions{t: t, w: w, c: c, rows: rows, rng: rand.New(rand.NewPCG(seed, 3)), warm: map[string]*Once{}}
			w.st.Settings = noTick{w.st.Settings}
			ctx, cancel := context.WithCancel(t.Context())
			f.consume(ctx)
			const bots = 8
			for round := range 300 {
				switch rng.IntN(4) {
				case 0:
					id := fmt.Sprintf("b%d", rng.IntN(bots))
					queues := []string{"q", "p", "r"}[:1+rng.IntN(3)]
					w.bot(store.Registration{ID: id, Triggers: queues}, func(r *run) error {
						heads := map[string]string{}
						for _, t := range r.row.Triggers {
							queue := strings.TrimPrefix(t, "queue:")
							if q, err := w.st.Queues.Get(context.Background(), queue); err == nil {
								heads[queue] = q.Head
							}
						}
						time.Sleep(time.Duration(f.roll(300)) * time.Millisecond) // More events come meanwhile.
						for queue, head := range heads {
							r.checkpoint(queue, head)
						}
						return nil
					})
				default:
					f.publish([]string{"q", "p", "r"}[rng.IntN(3)], round)
				}
				time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
			}
			time.Sleep(time.Minute)
			cancel()
			f.wg.Wait()
			for i := range bots {
				b := w.get(fmt.Sprintf("b%d", i))
				for _, ref := range b.Triggers {
					if head := w.head(strings.TrimPrefix(ref, "queue:")).ID; b.Read[ref].Position != head || b.Requested[ref] != head {
						t.Errorf("seed %d: %s is at %s on %s and was asked for %s, whose head is %s",
							seed, b.ID, b.Read[ref].Position, ref, b.Requested[ref], head)
					}
				}
			}
		})
	}
}

// noTick makes every Sweep fail.
type noTick struct{ store.Settings }

func (s noTick) Get(ctx context.Context, id string) (json.RawMessage, error) {
	if id == TickSetting {
		return nil, store.ErrUnavailable
	}
	return s.Settings.Get(ctx, id)
}
