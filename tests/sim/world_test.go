package sim

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing/synctest"
	"time"
)

// epoch is what the clock of a world shows when it begins. The bubble's own clock begins in 2000, for which there are no
// event ids.
var epoch = time.Date(2026, 11, 21, 2, 35, 0, 0, time.UTC)

// maxSteps is far more than any run needs.
const maxSteps = 1_000_000

// world is one simulated run: virtual time, processes that take turns, and everything that happened.
//
// Of all goroutines of a world, those that touch shared state run one at a time. Whoever wants to do so waits at the gate;
// the scheduler waits until every goroutine of the bubble is blocked, and lets one through. Which one is drawn from the seed.
// When none waits, virtual time moves on to the next timer. So a seed always gives the same run.
type world struct {
	seed uint64
	plan plan
	// rng belongs to whoever has the turn.
	rng *rand.Rand

	ctx    context.Context
	cancel context.CancelFunc
	start  time.Time
	wake   chan struct{}
	wg     sync.WaitGroup

	mu      sync.Mutex
	pending []*waiter
	picked  string // who had the last turn
	steps   int
	packets int

	tracing  bool
	trace    []string
	failure  *violation
	calm     bool // the faults have ended; only what was begun is to be finished
	settled  bool // and everything that was written is published
	counters counters
}

// waiter is a goroutine at the gate.
type waiter struct {
	who, what string
	turn      chan struct{}
}

// violation is a broken invariant.
type violation struct {
	invariant, detail string
}

// String is "invariant: detail".
func (v *violation) String() string { return v.invariant + ": " + v.detail }

// counters tell what a run exercised, so that a simulation that tests nothing is noticed.
type counters struct {
	calls, faults, crashes, records, events, letters, repeats, publications, takeovers, runs int
}

func (c *counters) add(o counters) {
	c.calls += o.calls
	c.faults += o.faults
	c.crashes += o.crashes
	c.records += o.records
	c.events += o.events
	c.letters += o.letters
	c.repeats += o.repeats
	c.publications += o.publications
	c.takeovers += o.takeovers
	c.runs += o.runs
}

// newWorld must be called inside a bubble.
func newWorld(seed uint64, p plan, tracing bool) *world {
	w := &world{
		seed: seed, plan: p, rng: random(seed, "world"), tracing: tracing,
		start: time.Now(), wake: make(chan struct{}, 1),
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// random returns the generator of one process of a seed.
func random(seed uint64, name string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(name))
	return rand.New(rand.NewPCG(seed, h.Sum64()))
}

// now is the world's clock.
func (w *world) now() time.Time { return epoch.Add(time.Since(w.start)) }

// schedule gives turns until the world ends.
func (w *world) schedule() {
	for {
		select {
		case <-w.wake:
		case <-w.ctx.Done():
			w.releaseAll()
			return
		}
		for {
			synctest.Wait()
			next := w.pick()
			if next == nil {
				break
			}
			close(next.turn)
		}
	}
}

// pick draws who is next. The list is sorted first, as the order of arrival is the Go scheduler's.
func (w *world) pick() *waiter {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.pending) == 0 {
		return nil
	}
	if w.steps++; w.steps > maxSteps && w.failure == nil {
		w.failure = &violation{"nothing spins", fmt.Sprintf("%d steps in %v of virtual time, the last by %s", w.steps, time.Since(w.start), w.picked)}
		w.cancel()
		return nil
	}
	i := 0
	if len(w.pending) > 1 {
		slices.SortFunc(w.pending, func(a, b *waiter) int {
			if c := strings.Compare(a.who, b.who); c != 0 {
				return c
			}
			return strings.Compare(a.what, b.what)
		})
		i = w.rng.IntN(len(w.pending))
		if w.rng.Float64() < w.plan.sticky {
			// Who was at work goes on: long runs of one process with rare switches find other faults than fair turns.
			if j := slices.IndexFunc(w.pending, func(x *waiter) bool { return x.who == w.picked }); j >= 0 {
				i = j
			}
		}
	}
	next := w.pending[i]
	w.pending = slices.Delete(w.pending, i, i+1)
	w.picked = next.who
	return next
}

func (w *world) releaseAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, x := range w.pending {
		close(x.turn)
	}
	w.pending = nil
}

// gate waits for a turn. It returns at once when the world has ended.
func (w *world) gate(who, what string) {
	x := &waiter{who: who, what: what, turn: make(chan struct{})}
	w.mu.Lock()
	if w.ctx.Err() != nil {
		w.mu.Unlock()
		return
	}
	w.pending = append(w.pending, x)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
	select {
	case <-x.turn:
	case <-w.ctx.Done():
	}
}

// publish makes what the caller did visible to whoever has the next turn.
func (w *world) publish() {
	w.mu.Lock()
	defer w.mu.Unlock()
}

// note writes a line into the trace. Only who has the turn may call it.
func (w *world) note(who, format string, args ...any) {
	if !w.tracing {
		return
	}
	w.trace = append(w.trace, fmt.Sprintf("%5d %10.3fs %-14s %s", w.steps, time.Since(w.start).Seconds(), who,
		fmt.Sprintf(format, args...)))
}

// fail records the first broken invariant and ends the world.
func (w *world) fail(invariant, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failure != nil || w.ctx.Err() != nil {
		return
	}
	w.failure = &violation{invariant, fmt.Sprintf(format, args...)}
	if w.tracing {
		w.trace = append(w.trace, "VIOLATED "+w.failure.String())
	}
	w.cancel()
}

// proc is a process: something that can die on its own.
type proc struct {
	w    *world
	name string
	// rng belongs to the process's own goroutine.
	rng    *rand.Rand
	ctx    context.Context
	cancel context.CancelCauseFunc
	dead   bool // under the turn
	// batch names what an invocation of the sequencer works on, so that a retry is known.
	batch string
}

var (
	errCrashed = errors.New("simulated crash")
	errTimeout = errors.New("simulated timeout of the invocation")
)

// process makes a process that lives until it crashes or parent ends.
func (w *world) process(parent context.Context, name string) *proc {
	p := &proc{w: w, name: name, rng: random(w.seed, name)}
	p.ctx, p.cancel = context.WithCancelCause(parent)
	return p
}

// crash ends p: none of its further store calls has any effect.
func (p *proc) crash() {
	p.dead = true
	p.w.counters.crashes++
	p.cancel(errCrashed)
}

// spawn runs fn in a goroutine that the world waits for. fn begins with the turn.
func (w *world) spawn(name string, fn func(p *proc)) *proc {
	p := w.process(w.ctx, name)
	w.wg.Go(func() {
		defer p.cancel(nil)
		defer func() {
			if r := recover(); r != nil && r != any(errOver) {
				w.fail("no panic", "%v at %s", r, callers())
			}
		}()
		p.turn("start")
		fn(p)
	})
	return p
}

// callers returns where a panic happened, innermost first. It has no addresses, which differ from run to run.
func callers() string {
	pcs := make([]uintptr, 16)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	var b strings.Builder
	for {
		f, more := frames.Next()
		fmt.Fprintf(&b, "\n\t%s:%d", f.Function, f.Line)
		if !more {
			return b.String()
		}
	}
}

// errOver unwinds a process of the simulation when the world ends.
var errOver = errors.New("the world has ended")

// turn waits for p's turn.
func (p *proc) turn(what string) {
	p.w.gate(p.name, what)
	p.check()
}

func (p *proc) check() {
	if p.w.ctx.Err() != nil {
		panic(errOver)
	}
}

// sleep lets virtual time pass. p has the turn afterwards.
func (p *proc) sleep(d time.Duration) {
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
		case <-p.w.ctx.Done():
		}
	}
	p.turn("wake")
}

// between returns a duration in [lo, hi), drawn by p.
func (p *proc) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(p.rng.Int64N(int64(hi-lo)))
}

// chance is true with probability x.
func chance(r *rand.Rand, x float64) bool { return x > 0 && r.Float64() < x }

// pick returns one of list.
func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }
