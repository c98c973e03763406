// Package rstreamstest gives unit tests a whole bus in memory: queues, event ids, checkpoints and conditions behave as on any
// other bus, and nothing has to be started first.
//
//	bus := rstreamstest.New(t)
//	bus.Put("orders", order1, order2)
//	bus.Enrich(rstreams.EnrichOptions{Bot: "pricing", From: []string{"orders"}, To: "orders.priced"}, price)
//	got := rstreamstest.Payloads[Priced](bus, "orders.priced")
//
// Methods fail the test where something goes wrong, so that tests need no error handling; the embedded Bus has the methods that
// return errors.
package rstreamstest

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/firehose"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// Options configures NewWith. The zero value is usable.
type Options struct {
	// Now is the clock of the bus; nil means time.Now, set forward by 30 years inside a testing/synctest bubble, because the
	// bubble's year 2000 is too early for event ids. Event ids grow even if the clock stands still.
	Now func() time.Time
	// Wrap, if set, replaces ports of the storage by others, for tests of what happens when the storage fails. What a test
	// helper does to set a scene goes around it.
	Wrap func(store.Store) store.Store
	// Logger gets what the bus logs; nil means the test's log.
	Logger *slog.Logger
}

// Bus is a bus in memory. It ends with the test.
type Bus struct {
	*rstreams.Bus

	t     testing.TB
	plain *rstreams.Bus // without Options.Wrap
}

// writerBot is the bot that Put writes as.
const writerBot = "test-writer"

// New returns an empty bus.
func New(t testing.TB) *Bus {
	t.Helper()
	return NewWith(t, Options{})
}

// NewWith returns an empty bus with options.
func NewWith(t testing.TB, o Options) *Bus {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	if o.Now == nil {
		o.Now = now
	}
	st := memory.New(memory.Options{Now: o.Now})
	st.Intake = &intake{now: o.Now, seq: sequencer.New(st, sequencer.Config{Owner: "rstreamstest", Now: o.Now, Logger: o.Logger})}
	st.Firehose = firehose.New(st.Intake)
	opts := rstreams.Options{Now: o.Now, Logger: o.Logger}
	b := &Bus{t: t, plain: rstreams.New(st, opts)}
	b.Bus = b.plain
	if o.Wrap != nil {
		b.Bus = rstreams.New(o.Wrap(st), opts)
	}
	return b
}

// now is the default clock.
func now() time.Time {
	t := time.Now()
	if t.Year() < 2020 {
		t = t.AddDate(30, 0, 0)
	}
	return t
}

// Put writes payloads to queue, waits until they are readable, and returns the ids they got.
func (b *Bus) Put(queue string, payloads ...any) []string {
	b.t.Helper()
	return b.write(queue, len(payloads), func(ctx context.Context, w *rstreams.Writer, i int) error {
		_, err := w.Put(ctx, payloads[i])
		return err
	})
}

// PutEvents writes events with their own envelopes to queue and returns the ids they got.
func (b *Bus) PutEvents(queue string, events ...rstreams.Event) []string {
	b.t.Helper()
	return b.write(queue, len(events), func(ctx context.Context, w *rstreams.Writer, i int) error {
		e := events[i]
		e.Queue = queue
		_, err := w.PutEvent(ctx, e)
		return err
	})
}

func (b *Bus) write(queue string, n int, put func(ctx context.Context, w *rstreams.Writer, i int) error) []string {
	b.t.Helper()
	ctx := context.Background()
	row, err := b.plain.Store().Queues.Get(ctx, ref.Queue(queue))
	if !errors.Is(err, store.ErrNotFound) {
		b.check(err)
	}
	w, err := b.plain.NewWriter(rstreams.WriterOptions{Bot: writerBot, Queue: queue})
	b.check(err)
	for i := range n {
		b.check(put(ctx, w, i))
	}
	b.check(w.Close(ctx))
	before := eid.Max(eid.First, eid.Max(row.Head, row.ArchiveEnd))
	ids := make([]string, 0, n)
	for e, err := range b.plain.Read(ctx, queue, rstreams.ReadOptions{Start: before, NoSnapshot: true}) {
		b.check(err)
		ids = append(ids, e.EID)
	}
	return ids
}

// Events returns everything in queue, from its oldest event on.
func (b *Bus) Events(queue string) []rstreams.Event {
	b.t.Helper()
	var events []rstreams.Event
	for e, err := range b.plain.Read(context.Background(), queue, rstreams.ReadOptions{Start: "z/", NoSnapshot: true}) {
		b.check(err)
		events = append(events, e)
	}
	return events
}

// Payloads returns the payloads of everything in queue.
func Payloads[T any](b *Bus, queue string) []T {
	b.t.Helper()
	var values []T
	for _, e := range b.Events(queue) {
		v, err := rstreams.Decode[T](e)
		b.check(err)
		values = append(values, v)
	}
	return values
}

// Position returns the bot's checkpoint on queue, "" for none.
func (b *Bus) Position(bot, queue string) string {
	b.t.Helper()
	c, err := b.plain.GetCheckpoint(context.Background(), bot, queue)
	b.check(err)
	return c.Position
}

// Enrich runs a handler until its queues are read up to their heads. Without a start in o.Read, a bot without a checkpoint
// starts at the queue's beginning.
func (b *Bus) Enrich(o rstreams.EnrichOptions, h rstreams.Handler) rstreams.RunStats {
	b.t.Helper()
	if o.Read.From == (rstreams.StartPolicy{}) {
		o.Read.From = rstreams.Earliest()
	}
	stats, err := b.Bus.Enrich(context.Background(), o, h)
	b.check(err)
	return stats
}

// Offload is Enrich for a handler that writes nothing to the bus.
func (b *Bus) Offload(o rstreams.OffloadOptions, h func(ctx context.Context, e rstreams.Event) error) rstreams.RunStats {
	b.t.Helper()
	if o.Read.From == (rstreams.StartPolicy{}) {
		o.Read.From = rstreams.Earliest()
	}
	stats, err := b.Bus.Offload(context.Background(), o, h)
	b.check(err)
	return stats
}

func (b *Bus) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}
