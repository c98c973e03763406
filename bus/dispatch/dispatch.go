// Package dispatch decides which bot runs when, and starts it.
//
// The decision is Decide, a pure function of a bot's row and the time (bus.md 3.7). Around it, a Dispatcher watches the
// store's change feed and a clock:
//
//	a queue's head moves  ->  the bots that it triggers are asked to run (Bots.Request)
//	a schedule is due     ->  its bot is asked to run
//	a bot's row changes, or a time that Decide named has come  ->  Decide  ->  Bots.Lock  ->  Invoker.Invoke
//
// Nothing is polled. Everything that a Dispatcher knows is a copy of what is stored, and each step is a conditional write, so
// it may crash anywhere: the next one scans the rows and goes on. Any number of processes may run one on the same bus. One of
// them holds a lease and serves schedules, triggers and dead runs for all bots; each locks and invokes only the bots that it
// hosts, and the lock protocol keeps a bot from running twice.
//
// Where no process can stay, as on AWS, a Once does the same in single calls: a change stream of heads, one of bots' rows and a
// clock call it.
package dispatch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Config tunes a Dispatcher. The zero value is usable.
type Config struct {
	// Owner names this process for the lease; "" means a random name. Two that run at the same time must differ.
	Owner string
	// Hosts tells which bots this process can invoke; nil means all. It must be quick and safe for concurrent use.
	Hosts func(store.Bot) bool
	// Parallel is how many bots are worked on at once; 0 means 16. A bot is worked on by one goroutine at a time.
	Parallel int
	// Lease is how long another process waits before it takes over from one that died; 0 means 5 s.
	Lease time.Duration
	// Retry is how long work waits that the storage refused; 0 means 1 s.
	Retry time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger gets what an operator should know; nil means slog.Default.
	Logger *slog.Logger
}

const (
	// scanPage is how many rows one List of a scan asks for.
	scanPage = 500
	// feedPage is how many changes are taken from the feed at once.
	feedPage = 1000
	// coalesce is how long new heads are held back from the row of a bot that is running: it cannot run anyway before it
	// ends, and then they are looked up first.
	coalesce = 250 * time.Millisecond
	// clockCheck bounds a wait for a due time. Timers stand still while a machine sleeps, and its clock may be set.
	clockCheck = time.Minute
	// stepTimeout bounds the steps that are carried through when the context ends between them.
	stepTimeout = 30 * time.Second
	// lockTime and invokeTime bound the lock and the invocation of a run. Targets that do not answer must neither keep the
	// workers from others nor take the time in which the lock is given back.
	lockTime   = 6 * time.Second
	invokeTime = 6 * time.Second
	// runTime bounds the steps that begin a run, or give it back: half of it at least is for the latter.
	runTime = 2 * (lockTime + invokeTime)
)

// Dispatcher runs the bots of a bus. Its methods are safe for concurrent use.
type Dispatcher struct {
	steps
	cfg Config

	mu      sync.Mutex
	ctx     context.Context // of Run; nil while it is not running
	table   table
	ready   []*bot // in work order
	workers int
	leader  bool
	// tick is until when all schedules of all bots have been served, ms; the leader keeps it. tickDue asks for it to be
	// stored, and tickAt is when it was.
	tick    int64
	tickDue bool
	tickAt  time.Time
	latest  time.Time     // that the clock showed
	alarm   chan struct{} // the earliest due time may have changed
	wg      sync.WaitGroup
}

// New returns a Dispatcher that starts bots of st through invoker. It does nothing before Run.
func New(st store.Store, invoker store.Invoker, cfg Config) *Dispatcher {
	if cfg.Owner == "" {
		cfg.Owner = "dispatcher-" + uuid.NewString()
	}
	if cfg.Hosts == nil {
		cfg.Hosts = func(store.Bot) bool { return true }
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 16
	}
	if cfg.Lease <= 0 {
		cfg.Lease = 5 * time.Second
	}
	if cfg.Retry <= 0 {
		cfg.Retry = time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Dispatcher{
		steps: steps{store: st, invoker: invoker, now: cfg.Now, log: cfg.Logger},
		cfg:   cfg, table: newTable(), alarm: make(chan struct{}, 1),
	}
}

// Run dispatches until ctx ends. Then it finishes the steps that are under way, gives up the lease and returns nil; it does
// not wait for the bots that it invoked. Trouble with the storage is logged and retried. A Dispatcher runs once: a second
// call returns an error.
func (d *Dispatcher) Run(ctx context.Context) error {
	d.mu.Lock()
	if d.ctx != nil {
		d.mu.Unlock()
		return errors.New("dispatch: the dispatcher was run before; make another")
	}
	d.ctx = ctx
	d.mu.Unlock()

	// Changes are followed from before the first scan, so that none falls between.
	cursor, ok := d.start(ctx)
	if ok {
		var wg sync.WaitGroup
		wg.Go(func() { d.keepLease(ctx) })
		wg.Go(func() { d.watchClock(ctx) })
		d.follow(ctx, cursor)
		wg.Wait()
	}
	d.wg.Wait()
	d.resign(ctx)
	return nil
}

// start gets the place in the feed, the lease if it is free, and every bot. It tries until it succeeds or ctx ends.
func (d *Dispatcher) start(ctx context.Context) (cursor string, ok bool) {
	for {
		_, cursor, err := d.store.Feed.Changes(ctx, "", feedPage)
		if err == nil {
			if d.campaign(ctx) {
				return cursor, true // Taking over scanned the bots.
			}
			if err = d.scan(ctx, false); err == nil {
				return cursor, true
			}
		}
		if !d.pause(ctx, "cannot start dispatching", err) {
			return "", false
		}
	}
}

// pause logs err and waits Config.Retry. It returns false once ctx is done.
func (d *Dispatcher) pause(ctx context.Context, what string, err error) bool {
	if ctx.Err() == nil {
		d.cfg.Logger.ErrorContext(ctx, what, "error", err, "retry", d.cfg.Retry)
	}
	return sleep(ctx, d.cfg.Retry)
}

func sleep(ctx context.Context, t time.Duration) bool {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// follow reads the change feed until ctx ends.
func (d *Dispatcher) follow(ctx context.Context, cursor string) {
	for ctx.Err() == nil {
		changes, next, err := d.store.Feed.Changes(ctx, cursor, feedPage)
		switch {
		case errors.Is(err, store.ErrNotFound):
			// Changes were dropped before they were read. What they said is in the rows.
			if _, next, err = d.store.Feed.Changes(ctx, "", feedPage); err == nil {
				err = d.scan(ctx, false)
			}
			if err != nil {
				d.pause(ctx, "cannot scan after a gap in the change feed", err)
				continue
			}
		case err != nil:
			d.pause(ctx, "cannot read the change feed", err)
			continue
		case len(changes) == 0 && next == cursor:
			if err := d.store.Feed.Wait(ctx, cursor); err != nil && ctx.Err() == nil {
				d.pause(ctx, "cannot wait for changes", err)
			}
			continue
		}
		cursor = next
		d.changed(changes)
	}
}

func (d *Dispatcher) changed(changes []store.Change) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range changes {
		switch c.Kind {
		case store.BotChanged:
			d.enqueue(d.table.bot(c.ID))
		case store.QueueChanged:
			d.moved(c.ID, d.leader)
		}
	}
}

// moved notes that the head of queue moved, for every bot that it triggers and that this process is to ask.
func (d *Dispatcher) moved(queue string, all bool) {
	for b := range d.table.triggered[queue] {
		if all || b.hosted {
			b.moved(queue)
			d.enqueue(b)
		}
	}
}

// Notify tells that the heads of queues moved, as the change feed will, but at once: whoever published calls it after the
// commit, so that the bots of this process start without delay. It does not block and does nothing unless Run is running.
func (d *Dispatcher) Notify(queues ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range queues {
		d.moved(q, d.leader)
	}
}

// scan puts every bot to work, with all its triggers. It goes on to the last row, however many there are (W-P13). catchUp
// asks for occurrences of schedules since the last tick.
func (d *Dispatcher) scan(ctx context.Context, catchUp bool) error {
	d.mu.Lock()
	d.table.scans++
	scan := d.table.scans
	d.mu.Unlock()
	for after := ""; ; {
		page, err := d.store.Bots.List(ctx, after, scanPage)
		if err != nil {
			return fmt.Errorf("dispatch: list of bots: %w", err)
		}
		d.mu.Lock()
		for i := range page {
			b := d.table.bot(page[i].ID)
			b.scan = scan
			d.learn(b, &page[i], catchUp)
			for queue := range b.triggers {
				b.moved(queue)
			}
			d.enqueue(b)
			after = b.id
		}
		d.mu.Unlock()
		if len(page) < scanPage {
			break
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, b := range d.table.bots {
		if b.scan < scan {
			d.enqueue(b) // Not seen: a new bot, or one that was deleted. Its worker finds out.
		}
	}
	return nil
}

// watchClock puts bots to work whose time has come, until ctx ends.
func (d *Dispatcher) watchClock(ctx context.Context) {
	timer := time.NewTimer(clockCheck)
	defer timer.Stop()
	for {
		d.mu.Lock()
		now := d.cfg.Now()
		if d.stepBack(now) {
			for _, b := range d.table.bots {
				if b.schedule != nil {
					b.next = b.schedule.Next(now)
				}
				d.enqueue(b)
			}
		}
		for len(d.table.due) > 0 && !d.table.due[0].wake.After(now) {
			b := d.table.due[0]
			d.table.setWake(b, time.Time{})
			d.enqueue(b)
		}
		wait := clockCheck
		if len(d.table.due) > 0 {
			wait = min(wait, d.table.due[0].wake.Sub(now))
		}
		d.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-d.alarm:
		}
	}
}

// enqueue puts b to work, or lets its worker start over. d.mu is held.
func (d *Dispatcher) enqueue(b *bot) {
	if d.ctx == nil || d.ctx.Err() != nil {
		return
	}
	if b.busy {
		b.again = true
		return
	}
	if b.queued {
		return
	}
	b.queued = true
	d.ready = append(d.ready, b)
	if d.workers < d.cfg.Parallel {
		d.workers++
		ctx := d.ctx
		d.wg.Go(func() { d.work(ctx) })
	}
}

// work takes bots one after another until none is ready.
func (d *Dispatcher) work(ctx context.Context) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.ready) > 0 && ctx.Err() == nil {
		b := d.ready[0]
		d.ready[0] = nil
		d.ready = d.ready[1:]
		b.queued, b.busy, b.again = false, true, false
		d.mu.Unlock()
		d.handle(ctx, b)
		d.mu.Lock()
		b.busy = false
		if b.again {
			d.enqueue(b)
		}
	}
	d.workers--
}
