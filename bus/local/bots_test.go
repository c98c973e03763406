package local

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// fleet runs bots as their own processes would, and knows which are running, whoever invoked them.
type fleet struct {
	t       *testing.T
	mu      sync.Mutex
	running map[string]bool
	runs    map[string]int
	wg      sync.WaitGroup
}

// process is a fleet's view of one process.
type process struct {
	*fleet
	st store.Store
}

func (p process) Invoke(_ context.Context, bot store.Bot, _ []byte) error {
	p.wg.Go(func() {
		ctx := context.Background()
		p.mu.Lock()
		if p.running[bot.ID] {
			p.t.Errorf("%s runs twice at once", bot.ID)
		}
		p.running[bot.ID] = true
		p.runs[bot.ID]++
		n := p.runs[bot.ID]
		p.mu.Unlock()
		req := fmt.Sprintf("%s-%d", bot.ID, n)
		err := p.st.Bots.Confirm(ctx, store.Confirm{Bot: bot.ID, Token: bot.Token, RequestID: req, At: bot.Token, MaxDuration: 60_000})
		row, getErr := p.st.Bots.Get(ctx, bot.ID)
		if err = errors.Join(err, getErr); err == nil {
			for ref, head := range row.Requested {
				err = errors.Join(err, p.st.Bots.Checkpoint(ctx, store.CheckpointWrite{
					Bot: bot.ID, Ref: ref, Checkpoint: store.Checkpoint{Position: head}, Expected: row.Read[ref].Position,
				}))
			}
		}
		if err != nil {
			p.t.Errorf("%s: %v", bot.ID, err)
		}
		p.mu.Lock()
		p.running[bot.ID] = false
		p.mu.Unlock()
		err = p.st.Bots.Complete(ctx, store.Complete{Bot: bot.ID, Token: bot.Token, RequestID: req, At: max(time.Now().UnixMilli(), bot.Token+1)})
		if err != nil {
			p.t.Errorf("end of %s: %v", bot.ID, err)
		}
	})
	return nil
}

// until waits for cond, looking after each change.
func until(t *testing.T, st store.Store, cond func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, cursor, err := st.Feed.Changes(ctx, "", 1)
	for err == nil && !cond() {
		if err = st.Feed.Wait(ctx, cursor); err == nil {
			_, cursor, err = st.Feed.Changes(ctx, cursor, 1000)
		}
	}
	if err != nil {
		t.Fatalf("still waiting: %v", err)
	}
}

func caughtUp(t *testing.T, st store.Store, id string) bool {
	t.Helper()
	row, err := st.Bots.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if row.Instance.InvokeTime != 0 && row.Instance.CompletedTime == 0 {
		return false
	}
	for _, ref := range row.Triggers {
		q, err := st.Queues.Get(t.Context(), ref[len("queue:"):])
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if row.Read[ref].Position != q.Head {
			return false
		}
	}
	return true
}

// TestTwoProcessesShareBots: whichever process publishes and whichever serves, no bot runs twice at once and every event is
// run for, also after one of them went away.
func TestTwoProcessesShareBots(t *testing.T) {
	dir := t.TempDir()
	f := &fleet{t: t, running: map[string]bool{}, runs: map[string]int{}}
	defer f.wg.Wait()
	const bots, queues = 12, 4
	a, b := open(t, dir), open(t, dir)
	for i := range bots {
		register(t, a, fmt.Sprintf("bot-%d", i), fmt.Sprintf("q%d", i%queues), fmt.Sprintf("q%d", (i+1)%queues))
	}
	stopA, err := a.StartDispatcher(process{f, a.Store()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	stopB, err := b.StartDispatcher(process{f, b.Store()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.StartDispatcher(process{f, b.Store()}, nil); err == nil {
		t.Error("a second dispatcher of one bus was started")
	}
	publish := func(n int) {
		var wg sync.WaitGroup
		for _, bus := range []*Bus{a, b} {
			wg.Go(func() {
				for i := range n {
					putAll(t, bus, line("w", fmt.Sprintf("q%d", i%queues), i+1))
				}
			})
		}
		wg.Wait()
		until(t, b.Store(), func() bool {
			for i := range bots {
				if !caughtUp(t, b.Store(), fmt.Sprintf("bot-%d", i)) {
					return false
				}
			}
			return true
		})
	}
	publish(40)
	stopA()
	stopA()
	publish(10)
	stopB()
	if _, err := b.StartDispatcher(process{f, b.Store()}, nil); err != nil {
		t.Errorf("the dispatcher does not start again: %v", err)
	}
}
