// Package local runs a whole bus in one process: the embedded store, a sequencer that publishes as part of every write, and
// a dispatcher that starts the bots of this process.
//
// What a Put acknowledges is committed to disk and readable. Any number of processes may open one bus directory; they share
// its queues and bots, and one of them at a time serves schedules and dead runs (package dispatch).
package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/firehose"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/sqlite"
)

// Options configures Open and New. The zero value is usable.
type Options struct {
	// TTL is how long events stay in the index; 0 means 7 days, less than 0 for ever.
	TTL time.Duration
	// SweepEvery is how often the space of expired events is given back; 0 means 10 minutes, less than 0 never.
	SweepEvery time.Duration
	// Archive, if over 0, has the events of all queues archived before they expire (package archive): a queue when its oldest event
	// that is not archived is so old, and never older than an eighth of TTL. What is archived stays for ever, in the bus's directory.
	Archive time.Duration
	// Lease is how long another process waits before it serves schedules and dead runs in place of one that died; 0 means
	// 5 s.
	Lease time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger gets what an operator should know; nil means slog.Default.
	Logger *slog.Logger
}

// Bus is an open bus. Its methods are safe for concurrent use.
type Bus struct {
	o      Options
	owner  string
	store  store.Store
	intake *intake
	sweep  func(ctx context.Context, now time.Time) (int, error)
	shut   func() error

	dispatcher atomic.Pointer[dispatch.Dispatcher]

	mu     sync.Mutex
	stops  []func()
	closed bool
	cancel context.CancelFunc
	wg     sync.WaitGroup
	close  func(context.Context) error
}

// Open opens the bus in the directory dir and makes what is missing. ctx bounds only the opening. The caller closes the bus.
// store.ErrUnavailable and store.ErrCorrupt tell what stands in the way and what to do.
func Open(ctx context.Context, dir string, o Options) (*Bus, error) {
	db, err := sqlite.Open(ctx, dir, sqlite.Options{Now: o.Now})
	if err != nil {
		return nil, fmt.Errorf("open the bus in %s: %w", dir, err)
	}
	b := New(db.Store(), o)
	b.sweep, b.shut = db.Sweep, db.Close
	ctx, b.cancel = context.WithCancel(context.WithoutCancel(ctx))
	b.startSweep(ctx)
	b.startArchive(ctx)
	return b, nil
}

// New makes a bus on st, which it does not close: for a store in memory. st should have Atomic; without it, a crash can leave
// work that the next writer of the same queue has to remove. The caller closes the bus.
func New(st store.Store, o Options) *Bus {
	if o.SweepEvery == 0 {
		o.SweepEvery = 10 * time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	b := &Bus{o: o, owner: "local-" + uuid.NewString()}
	seq := sequencer.New(st, sequencer.Config{
		Owner: b.owner, TTL: o.TTL, Now: o.Now, Logger: o.Logger, Parallel: 1, CheckBlobs: true,
		OnPublish: func(queue, _ string) { b.published(queue) },
	})
	b.intake = newIntake(seq, o.Now)
	st.Intake = b.intake
	st.Firehose = firehose.New(b.intake)
	b.store = st
	b.close = onceErr(b.doClose)
	return b
}

// Store returns the bus's ports, Intake and Firehose included: events of the latter are readable at once too. They serve until Close.
func (b *Bus) Store() store.Store { return b.store }

// published passes a new head on to the dispatcher, so that bots need not wait for the change feed.
func (b *Bus) published(queue string) {
	if d := b.dispatcher.Load(); d != nil {
		d.Notify(queue)
	}
}

// StartDispatcher runs the bots for which hosts is true (nil means all) through invoker, and takes part in serving the
// schedules of all bots, until stop or Close. stop waits for invocations that are being made, not for the bots' runs; a
// second call of it does nothing. A bus has one dispatcher at a time; an error tells that it has one, or is closed.
func (b *Bus) StartDispatcher(invoker store.Invoker, hosts func(store.Bot) bool) (stop func(), err error) {
	d := dispatch.New(b.store, invoker, dispatch.Config{
		Owner: b.owner, Hosts: hosts, Lease: b.o.Lease, Now: b.o.Now, Logger: b.o.Logger,
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errClosed
	}
	if !b.dispatcher.CompareAndSwap(nil, d) {
		return nil, errors.New("the bus has a dispatcher already; stop it first")
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := d.Run(ctx); err != nil {
			b.o.Logger.Error("dispatcher", "error", err)
		}
	}()
	stop = func() {
		cancel()
		<-done
		b.dispatcher.CompareAndSwap(d, nil)
	}
	b.stops = append(b.stops, stop)
	return stop, nil
}

// startSweep removes what has expired, from time to time, until Close.
func (b *Bus) startSweep(ctx context.Context) {
	if b.o.SweepEvery < 0 {
		return
	}
	b.wg.Go(func() {
		tick := time.NewTicker(b.o.SweepEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if n, err := b.sweep(ctx, b.o.Now()); err != nil && ctx.Err() == nil {
				b.o.Logger.Warn("cannot remove expired events; trying again later", "error", err)
			} else if n > 0 {
				b.o.Logger.Info("removed expired events", "chunks", n)
			}
		}
	})
}

// Close stops the dispatcher, finishes the Puts that were accepted, and closes the store if Open opened it. Bots that still
// run lose the bus: end them first. When ctx ends, Puts that are not committed by then fail. A second call returns what the
// first did.
func (b *Bus) Close(ctx context.Context) error { return b.close(ctx) }

func (b *Bus) doClose(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	stops := b.stops
	b.mu.Unlock()
	for _, stop := range stops {
		stop()
	}
	b.intake.close(ctx)
	if b.cancel != nil {
		b.cancel()
	}
	b.wg.Wait()
	if b.shut != nil {
		if err := b.shut(); err != nil {
			return fmt.Errorf("close the bus: %w", err)
		}
	}
	return nil
}

// onceErr makes fn run once; every call returns its error.
func onceErr(fn func(context.Context) error) func(context.Context) error {
	var once sync.Once
	var err error
	return func(ctx context.Context) error {
		once.Do(func() { err = fn(ctx) })
		return err
	}
}
