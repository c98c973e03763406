package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a bus whose bots are functions of the test. It stands in for the bots' processes: each run confirms, works and
// completes as the lock protocol says.
type world struct {
	t  *testing.T
	st store.Store

	mu     sync.Mutex
	code   map[string]func(*run) error
	refuse map[string]error // bots whose invocation fails
	// callsOff allows that a run finds its lock given back: by another dispatcher that tried to lock in the same ms and
	// does not know the outcome.
	callsOff bool
	running  map[string]bool
	starts   map[string][]time.Duration // since the world began
	began    time.Time
	requests int
	wg       sync.WaitGroup
	// now is the clock of the bots' processes.
	now func() time.Time
}

// run is one run of a bot.
type run struct {
	*world
	ctx   context.Context
	row   store.Bot
	token int64
	req   string
	// done are the changes to the completion that the code asked for; dies makes the run end without one.
	done store.Complete
	dies bool
	max  time.Duration
}

func newWorld(t *testing.T) *world {
	return &world{
		t: t, st: memory.New(memory.Options{}), code: map[string]func(*run) error{}, refuse: map[string]error{},
		running: map[string]bool{}, starts: map[string][]time.Duration{}, began: time.Now(), now: time.Now,
	}
}

// bot registers a bot and its code.
func (w *world) bot(r store.Registration, code func(*run) error) {
	w.t.Helper()
	w.mu.Lock()
	w.code[r.ID] = code
	w.mu.Unlock()
	if r.Invocation.Type == "" {
		r.Invocation.Type = "local"
	}
	if err := w.st.Bots.Register(w.t.Context(), r); err != nil {
		w.t.Fatal(err)
	}
}

// dispatch starts a dispatcher. The returned function stops it and waits.
func (w *world) dispatch(cfg Config) (*Dispatcher, func()) {
	w.t.Helper()
	return w.dispatchOn(w.st, cfg)
}

// dispatchOn starts a dispatcher that sees the store with faults of its own.
func (w *world) dispatchOn(st store.Store, cfg Config) (*Dispatcher, func()) {
	w.t.Helper()
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	d := New(st, w, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := d.Run(ctx); err != nil {
			w.t.Error(err)
		}
	}()
	var once sync.Once
	return d, func() {
		once.Do(func() {
			cancel()
			<-done
		})
	}
}

// publish moves a queue's head to event n of now and returns its id.
func (w *world) publish(queue string, n int) string {
	w.t.Helper()
	now := time.Now().UnixMilli()
	id, err := eid.New(now, n)
	if err != nil {
		w.t.Fatal(err)
	}
	w.advance(queue, id.String())
	return id.String()
}

// advance moves a queue's head.
func (w *world) advance(queue, head string) {
	w.t.Helper()
	now := time.Now().UnixMilli()
	g, err := w.st.Queues.Claim(w.t.Context(), store.Claim{Queue: queue, Owner: "test", First: "1", Arrival: now, Now: now, Lease: 1000})
	if err == nil {
		err = w.st.Queues.Advance(w.t.Context(), store.Advance{Queue: queue, Fence: g.Fence, Head: head, Now: now})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// Invoke starts a run as a Lambda service would: asynchronously.
func (w *world) Invoke(_ context.Context, row store.Bot, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.refuse[row.ID]; err != nil {
		return err
	}
	var p struct {
		BotID string `json:"botId"`
		Cron  struct {
			ID  string `json:"id"`
			IID string `json:"iid"`
			TS  int64  `json:"ts"`
		} `json:"__cron"`
	}
	if err := json.Unmarshal(payload, &p); err != nil || p.BotID != row.ID || p.Cron.ID != row.ID || p.Cron.IID != "0" || p.Cron.TS != row.Token {
		w.t.Errorf("payload of %s with token %d: %s, %v", row.ID, row.Token, payload, err)
	}
	w.requests++
	r := &run{world: w, ctx: context.Background(), row: row, token: p.Cron.TS, req: fmt.Sprintf("req-%d", w.requests), max: time.Minute}
	code := w.code[row.ID]
	w.wg.Go(func() { r.do(code) })
	return nil
}

func (r *run) do(code func(*run) error) {
	w, id := r.world, r.row.ID
	now, started := w.now(), time.Now()
	err := w.st.Bots.Confirm(r.ctx, store.Confirm{
		Bot: id, Token: r.token, RequestID: r.req, At: now.UnixMilli(), MaxDuration: r.max.Milliseconds(),
	})
	if w.callsOff && errors.Is(err, store.ErrConflict) {
		return
	}
	if err != nil {
		w.t.Errorf("start of %s: %v", id, err)
		return
	}
	w.mu.Lock()
	if w.running[id] {
		w.t.Errorf("bot %s runs twice at once", id)
	}
	w.running[id] = true
	w.starts[id] = append(w.starts[id], started.Sub(w.began))
	w.mu.Unlock()
	err = code(r)
	w.mu.Lock()
	w.running[id] = false
	w.mu.Unlock()
	if r.dies {
		return
	}
	c := r.done
	c.Bot, c.Token, c.RequestID, c.At, c.Failed = id, r.token, r.req, w.now().UnixMilli(), err != nil
	if now := now.UnixMilli(); c.At <= max(r.token, now) && !far(r.token, now) {
		c.At = max(r.token, now) + 1
	}
	if err := w.st.Bots.Complete(r.ctx, c); err != nil {
		w.t.Errorf("end of %s: %v", id, err)
	}
}

// read moves the bot's checkpoint on queue to the head, as a bot does that reads everything.
func (r *run) read(queue string) {
	q, err := r.st.Queues.Get(r.ctx, queue)
	if err != nil {
		r.t.Error(err)
		return
	}
	r.checkpoint(queue, q.Head)
}

func (r *run) checkpoint(queue, pos string) {
	row, err := r.st.Bots.Get(r.ctx, r.row.ID)
	if err == nil {
		ref := "queue:" + queue
		err = r.st.Bots.Checkpoint(r.ctx, store.CheckpointWrite{
			Bot: r.row.ID, Ref: ref, Checkpoint: store.Checkpoint{Position: pos}, Expected: row.Read[ref].Position,
		})
	}
	if err != nil {
		r.t.Error(err)
	}
}

func (w *world) get(id string) store.Bot {
	w.t.Helper()
	b, err := w.st.Bots.Get(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

func (w *world) ran(id string) []time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]time.Duration(nil), w.starts[id]...)
}

func (w *world) control(id string, c store.Control) {
	w.t.Helper()
	if err := w.st.Bots.Control(w.t.Context(), id, c); err != nil {
		w.t.Fatal(err)
	}
}

// bubble runs fn in a bubble of virtual time.
func bubble(t *testing.T, fn func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		// Bubbles begin in the year 2000, when event ids had fewer digits.
		time.Sleep(time.Until(time.Date(2026, 11, 21, 2, 35, 0, 0, time.UTC)))
		w := newWorld(t)
		fn(t, w)
		w.wg.Wait()
	})
}

func ptr[T any](v T) *T { return &v }
