package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
)

// fleet is the triggered bots, the dispatchers that start them, and an operator who interferes.
type fleet struct {
	w    *world
	o    *oracle
	bots []*triggered
	// live are the dispatchers that run now.
	live []*dispatch.Dispatcher
	runs int
}

// triggered is a bot that runs when its queues move.
type triggered struct {
	id      string
	queues  []string
	readers []*reader
	paused  bool
	// owner is the run that holds the bot, as far as it knows itself.
	owner *proc
}

func newFleet(w *world, o *oracle) *fleet {
	f := &fleet{w: w, o: o}
	for i := range w.plan.triggered {
		b := &triggered{id: fmt.Sprintf("t%d", i)}
		for q := range min(1+i%2, w.plan.queues) {
			queue := fmt.Sprintf("q%d", (i+q)%w.plan.queues)
			b.queues = append(b.queues, queue)
			b.readers = append(b.readers, &reader{id: b.id, queue: queue, seen: map[string]bool{}})
		}
		f.bots = append(f.bots, b)
	}
	return f
}

// start begins everything. The caller has the turn.
func (f *fleet) start() {
	w := f.w
	for _, b := range f.bots {
		err := f.o.base.Bots.Register(w.ctx, store.Registration{
			ID: b.id, Triggers: b.queues, Invocation: store.Invocation{Type: "lambda", Lambda: b.id},
			Timeout: w.plan.runTimeout.Milliseconds(),
		})
		if err != nil {
			w.fail("bots can be registered", "%v", err)
		}
	}
	for i := range w.plan.dispatchers {
		w.spawn(fmt.Sprintf("dispatcher%d", i), f.supervise)
	}
	if len(f.bots) > 0 && w.plan.dispatchers > 0 {
		w.spawn("pauser", f.interfere)
	}
}

// supervise runs one dispatcher after another: each lives until it crashes.
func (f *fleet) supervise(p *proc) {
	w := f.w
	for n := 0; ; n++ {
		me := w.process(w.ctx, fmt.Sprintf("%s#%d", p.name, n))
		st, _ := connect(me, f.o, false)
		d := dispatch.New(st, &invoker{f, me}, dispatch.Config{
			Owner: me.name, Parallel: 64, Lease: w.plan.dispatchLease, Now: w.now, Logger: slog.New(slog.DiscardHandler),
		})
		f.live = append(f.live, d)
		err := d.Run(me.ctx)
		p.turn("dispatcher ended")
		w.note(me.name, "ended: %v", err)
		for i, l := range f.live {
			if l == d {
				f.live = append(f.live[:i], f.live[i+1:]...)
				break
			}
		}
		p.sleep(p.between(0, 20*time.Second))
	}
}

// notify tells a dispatcher of a publication in its own process.
func (f *fleet) notify(queue string) {
	if f.w.plan.notify && len(f.live) > 0 {
		f.live[0].Notify(queue)
	}
}

// interfere pauses bots for a while.
func (f *fleet) interfere(p *proc) {
	for !f.w.calm {
		p.sleep(p.between(0, 30*time.Second))
		b := pick(p.rng, f.bots...)
		b.paused = !b.paused
		f.control(p, b)
	}
	for _, b := range f.bots {
		b.paused = false
		f.control(p, b)
	}
}

func (f *fleet) control(p *proc, b *triggered) {
	f.w.note(p.name, "%s paused %t", b.id, b.paused)
	if err := f.o.base.Bots.Control(p.w.ctx, b.id, store.Control{Paused: &b.paused}); err != nil {
		f.w.fail("an operator can pause a bot", "%v", err)
	}
}

// invoker is Lambda's asynchronous invocation: at least once, at some time, and not always with an honest answer.
type invoker struct {
	f *fleet
	p *proc
}

var errInvoke = errors.New("simulated failure of an invocation")

// Invoke implements store.Invoker.
func (v *invoker) Invoke(_ context.Context, bot store.Bot, payload []byte) error {
	f, w := v.f, v.f.w
	w.gate(v.p.name, "Invoke "+bot.ID)
	if v.p.dead || w.ctx.Err() != nil {
		return errCrashed
	}
	begin := func() {
		f.runs++
		name := fmt.Sprintf("%s-run%d", bot.ID, f.runs)
		delay := time.Duration(w.rng.Int64N(int64(pick(w.rng, 1, 20*time.Millisecond, 2*time.Second))))
		if !w.calm && chance(w.rng, w.plan.faultRate) {
			delay = time.Duration(w.rng.Int64N(int64(2 * w.plan.runTimeout)))
		}
		w.note(v.p.name, "Invoke %s: %s begins in %v", bot.ID, name, delay)
		w.spawn(name, func(p *proc) {
			p.sleep(delay)
			f.run(p, bot.ID, payload)
		})
	}
	kind := -1
	if !w.calm && chance(w.rng, 3*w.plan.faultRate) {
		kind = w.rng.IntN(4)
	}
	switch kind {
	case 0:
		w.note(v.p.name, "Invoke %s: refused", bot.ID)
		return errInvoke
	case 1:
		begin()
		w.note(v.p.name, "Invoke %s: response lost", bot.ID)
		return errInvoke
	case 2:
		w.note(v.p.name, "Invoke %s: accepted, never begins", bot.ID)
		return nil
	case 3:
		begin() // Lambda delivers asynchronous events at least once.
	}
	begin()
	return nil
}

// run is one run of a bot's code.
func (f *fleet) run(p *proc, id string, payload []byte) {
	w := f.w
	var in struct {
		Cron struct {
			TS int64 `json:"ts"`
		} `json:"__cron"`
	}
	if err := json.Unmarshal(payload, &in); err != nil || in.Cron.TS == 0 {
		w.fail("a payload names its run (C48)", "%s: %v", payload, err)
		return
	}
	var b *triggered
	for _, x := range f.bots {
		if x.id == id {
			b = x
		}
	}
	st, _ := connect(p, f.o, false)
	limit := p.between(2*time.Second, w.plan.runTimeout)
	start := w.now()
	request := p.name
	// The lock is counted from the invocation, the run's time from its start.
	hold := start.Add(limit).UnixMilli() - in.Cron.TS
	if err := st.Bots.Confirm(p.ctx, store.Confirm{
		Bot: id, Token: in.Cron.TS, RequestID: request, At: start.UnixMilli(), MaxDuration: hold,
	}); err != nil {
		return
	}
	p.turn("confirmed")
	if left := limit - w.now().Sub(start); left <= 0 {
		return // The time was spent on the confirmation.
	} else if b.owner != nil {
		w.fail("no bot runs twice at once", "%s holds %s, and %s got it", b.owner.name, id, p.name)
		return
	}
	b.owner = p
	w.counters.runs++
	ctx, cancel := context.WithDeadlineCause(p.ctx, time.Now().Add(limit-w.now().Sub(start)), errTimeout)
	defer cancel()
	err := f.work(ctx, p, b, st)
	w.gate(p.name, "worked")
	if p.dead || ctx.Err() != nil {
		w.note(p.name, "dies: %v", context.Cause(ctx))
		b.owner = nil
		return
	}
	b.owner = nil
	for range 4 {
		cerr := st.Bots.Complete(ctx, store.Complete{
			Bot: id, Token: in.Cron.TS, RequestID: request, At: w.now().UnixMilli(), Failed: err != nil,
			RunAgain: err == nil && p.rng.IntN(20) == 0,
		})
		if cerr == nil || errors.Is(cerr, store.ErrConflict) || ctx.Err() != nil || p.dead {
			return
		}
		p.sleep(time.Second)
	}
}

// work is the bot's code. It fails, does nothing, or does a part, now and then.
func (f *fleet) work(ctx context.Context, p *proc, b *triggered, st store.Store) error {
	w := f.w
	if !w.calm {
		switch x := p.rng.Float64(); {
		case x < w.plan.faultRate:
			return errFunction
		case x < 2*w.plan.faultRate:
			w.note(p.name, "does nothing")
			return nil
		}
	}
	row, err := st.Bots.Get(ctx, b.id)
	if err != nil {
		return err
	}
	part := p.rng.IntN(3) == 0
	if p.rng.IntN(2) == 0 {
		p.sleep(p.between(0, 3*time.Second))
	}
	for _, r := range b.readers {
		position := row.Read["queue:"+r.queue].Position
		if _, err := r.read(ctx, p, st, f.o, position, func(string) bool { return !part }); err != nil {
			return err
		}
	}
	return nil
}

// behind tells which bots have not read what there is to read.
func (f *fleet) behind() (list []string) {
	if f.w.plan.dispatchers == 0 {
		return nil
	}
	for _, b := range f.bots {
		for _, q := range b.queues {
			if head := f.o.queue(q).head; f.o.bot(b.id).read["queue:"+q] < head {
				list = append(list, b.id+" on "+q)
			} else if f.requested(b, q) < head {
				list = append(list, b.id+" not asked for "+q)
			}
		}
		if b.owner != nil {
			list = append(list, b.id+" runs")
		}
	}
	return list
}

func (f *fleet) rested() bool { return len(f.behind()) == 0 }

func (f *fleet) state() string { return "behind: " + strings.Join(f.behind(), ", ") }

// requested is the head that the bot was asked to run for.
func (f *fleet) requested(b *triggered, queue string) string {
	row, err := f.o.base.Bots.Get(f.w.ctx, b.id)
	if err != nil {
		f.w.fail("a bot stays", "%v", err)
	}
	return row.Requested["queue:"+queue]
}

// check looks at the bots once all is at rest.
func (f *fleet) check() {
	if f.w.plan.dispatchers == 0 {
		return
	}
	for _, b := range f.bots {
		for _, r := range b.readers {
			r.p = &proc{w: f.w}
			r.check(f.o)
			if head := f.o.queue(r.queue).head; f.requested(b, r.queue) != head {
				f.w.fail("every move of a head reaches the bots it triggers (C47)", "%s on %s: %q, head %q", b.id, r.queue,
					f.requested(b, r.queue), head)
			}
		}
	}
}
