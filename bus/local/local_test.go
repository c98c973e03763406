package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

func open(t testing.TB, dir string) *Bus {
	t.Helper()
	b, err := Open(context.Background(), dir, Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

func line(bot, queue string, n int) []byte {
	return fmt.Appendf(nil, `{"id":%q,"event":%q,"payload":{"n":%d}}`+"\n", bot, queue, n)
}

func putAll(t testing.TB, b *Bus, data ...[]byte) []store.Ack {
	t.Helper()
	var records []store.Record
	for _, d := range data {
		records = append(records, store.Record{Data: d})
	}
	acks, err := b.Store().Intake.Put(context.Background(), records)
	if err != nil {
		t.Fatal(err)
	}
	return acks
}

// lines returns what is readable on queue: every line up to the head, with the id of its chunk's start.
func lines(t testing.TB, b *Bus, queue string) []string {
	t.Helper()
	ctx := context.Background()
	q, err := b.Store().Queues.Get(ctx, queue)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for after := ""; ; {
		page, err := b.Store().Chunks.Query(ctx, queue, after, q.Head, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Chunks {
			if c.Start <= after {
				t.Errorf("chunk from %s overlaps the one up to %s", c.Start, after)
			}
			text, err := chunk.AppendGunzip(nil, c.Gzip, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			got := strings.Split(string(bytes.TrimSuffix(text, []byte("\n"))), "\n")
			if int64(len(got)) != c.Records {
				t.Errorf("chunk %s has %d lines, says %d", c.End, len(got), c.Records)
			}
			out = append(out, got...)
			after = c.End
		}
		if !page.More {
			return out
		}
	}
}

func TestWhatIsAcknowledgedIsReadable(t *testing.T) {
	b := open(t, t.TempDir())
	acks := putAll(t, b, line("w", "q", 1), line("w", "q", 2), line("w", "r", 3))
	for i, a := range acks {
		if a.Err != nil || a.Sequence == "" || a.Shard != Shard {
			t.Errorf("ack %d: %+v", i, a)
		}
	}
	if got := lines(t, b, "q"); len(got) != 2 {
		t.Errorf("q holds %q", got)
	}
	if got := lines(t, b, "r"); len(got) != 1 {
		t.Errorf("r holds %q", got)
	}
}

func TestConcurrentWritersKeepTheirOrderAndLoseNothing(t *testing.T) {
	dir := t.TempDir()
	buses := []*Bus{open(t, dir), open(t, dir)} // as two processes
	const writers, each = 8, 60
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				for _, a := range putAll(t, buses[w%2], line(fmt.Sprintf("w%d", w), "q", n+1)) {
					if a.Err != nil {
						t.Error(a.Err)
					}
				}
			}
		})
	}
	wg.Wait()
	all := lines(t, buses[0], "q")
	if len(all) != writers*each {
		t.Fatalf("%d events, want %d", len(all), writers*each)
	}
	next := map[string]int{}
	for _, l := range all {
		var e struct {
			ID      string
			Payload struct{ N int }
		}
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		if next[e.ID]++; e.Payload.N != next[e.ID] {
			t.Fatalf("event %d of %s came where %d belongs", e.Payload.N, e.ID, next[e.ID])
		}
	}
}

func TestReopeningContinues(t *testing.T) {
	dir := t.TempDir()
	b, err := Open(context.Background(), dir, Options{Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	putAll(t, b, line("w", "q", 1))
	if err := b.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Store().Intake.Put(context.Background(), []store.Record{{Data: line("w", "q", 9)}}); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a put after Close: %v", err)
	}
	b = open(t, dir)
	putAll(t, b, line("w", "q", 2))
	if got := lines(t, b, "q"); len(got) != 2 {
		t.Errorf("q holds %q", got)
	}
}

func TestRecordsThatAreTooLargeAreRefusedAlone(t *testing.T) {
	b := New(memory.New(memory.Options{}), Options{Logger: quiet})
	defer b.Close(context.Background())
	acks := putAll(t, b, line("w", "q", 1), make([]byte, maxRecordBytes+1), line("w", "q", 2))
	if acks[0].Err != nil || acks[2].Err != nil || !errors.Is(acks[1].Err, store.ErrTooLarge) {
		t.Errorf("acks %+v", acks)
	}
	if got := lines(t, b, "q"); len(got) != 2 {
		t.Errorf("q holds %q", got)
	}
	if _, err := b.Store().Intake.Put(context.Background(), make([]store.Record, maxRecords+1)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("too many records: %v", err)
	}
}

// gate lets the test hold up transactions and make them fail.
type gate struct {
	mu   sync.Mutex
	hold chan struct{}
	fail func(queue string) error
	n    int
}

func (g *gate) wrap(st store.Store) store.Store {
	inner := st.Atomic
	st.Atomic = func(ctx context.Context, fn func(context.Context, store.Store) error) error {
		g.mu.Lock()
		hold := g.hold
		g.n++
		g.mu.Unlock()
		if hold != nil {
			select {
			case <-hold:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		return inner(ctx, func(ctx context.Context, tx store.Store) error {
			tx.Queues = gatedQueues{tx.Queues, g}
			return fn(ctx, tx)
		})
	}
	return st
}

type gatedQueues struct {
	store.Queues
	g *gate
}

func (q gatedQueues) Claim(ctx context.Context, c store.Claim) (store.Grant, error) {
	if q.g.fail != nil {
		if err := q.g.fail(c.Queue); err != nil {
			return store.Grant{}, err
		}
	}
	return q.Queues.Claim(ctx, c)
}

func TestConcurrentPutsShareATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		later(t)
		g := &gate{hold: make(chan struct{})}
		b := New(g.wrap(memory.New(memory.Options{})), Options{Logger: quiet})
		defer b.Close(context.Background())
		var wg sync.WaitGroup
		const puts = 50
		for i := range puts {
			wg.Go(func() { putAll(t, b, line("w", "q", i+1)) })
		}
		synctest.Wait() // One batch is held, one is prepared, the others gather.
		close(g.hold)
		wg.Wait()
		if g.n > 3 {
			t.Errorf("%d transactions for %d puts", g.n, puts)
		}
		if got := len(lines(t, b, "q")); got != puts {
			t.Errorf("%d events", got)
		}
	})
}

// later moves a bubble's clock from the year 2000 to a time in which event ids have their usual length.
func later(t *testing.T) {
	t.Helper()
	time.Sleep(time.Until(time.Date(2026, 11, 21, 2, 35, 0, 0, time.UTC)))
}

func TestOneBadPutDoesNotFailTheOthersOfItsTransaction(t *testing.T) {
	synctest.Test(t, testOneBadPut)
}

func testOneBadPut(t *testing.T) {
	later(t)
	g := &gate{hold: make(chan struct{}), fail: func(queue string) error {
		if queue == "bad" {
			return fmt.Errorf("%w: head", store.ErrCorrupt)
		}
		return nil
	}}
	b := New(g.wrap(memory.New(memory.Options{})), Options{Logger: quiet})
	defer b.Close(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { putAll(t, b, line("w", "first", 1)) })
	for i := range 10 {
		wg.Go(func() {
			queue := fmt.Sprintf("q%d", i)
			if i == 4 {
				queue = "bad"
			}
			a := putAll(t, b, line("w", queue, 1), line("w", queue, 2))
			if (a[0].Err != nil) != (i == 4) || (a[1].Err != nil) != (i == 4) {
				t.Errorf("%s: %+v", queue, a)
			}
		})
	}
	synctest.Wait()
	close(g.hold)
	wg.Wait()
	for i := range 10 {
		if want := 2; i != 4 && len(lines(t, b, fmt.Sprintf("q%d", i))) != want {
			t.Errorf("q%d holds %q", i, lines(t, b, fmt.Sprintf("q%d", i)))
		}
	}
}

func TestAPutEndsWithItsContext(t *testing.T) {
	g := &gate{hold: make(chan struct{})}
	b := New(g.wrap(memory.New(memory.Options{})), Options{Logger: quiet})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		_, err := b.Store().Intake.Put(ctx, []store.Record{{Data: line("w", "q", 1)}})
		done <- err
	}()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("put ended with %v", err)
	}
	// Close with a context that has ended does not wait for the held transaction either.
	if err := b.Close(ctx); err != nil {
		t.Error(err)
	}
}
