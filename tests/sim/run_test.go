package sim

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// report is what a run gave.
type report struct {
	failure  *violation
	trace    []string
	counters counters
	steps    int
	elapsed  time.Duration // virtual
}

// restLimit is how long, in virtual time, everything may take to come to rest once the faults have ended: the longest
// back-off of a bot and the longest life of a dead run, and some.
const restLimit = 6 * time.Hour

// backend makes the store of a world, and how to close it.
type backend func(w *world) (base store.Store, shut func(), err error)

func inMemory(w *world) (store.Store, func(), error) {
	return memory.New(memory.Options{Now: w.now}), func() {}, nil
}

// simulate runs one seed on the memory store.
func simulate(t *testing.T, seed uint64, p plan, tracing bool) report {
	return simulateOn(t, inMemory, seed, p, tracing)
}

// simulateOn runs one seed.
func simulateOn(t *testing.T, open backend, seed uint64, p plan, tracing bool) (out report) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(seed, p, tracing)
		w.note("world", "seed %d %v", seed, p)
		base, shut, err := open(w)
		if err != nil {
			t.Fatalf("cannot make a store: %v", err)
		}
		defer shut()
		done := make(chan struct{})
		go func() { w.schedule(); close(done) }()
		w.spawn("main", func(main *proc) {
			w.history(main, base)
			w.cancel()
		})
		select {
		case <-w.ctx.Done():
		case <-time.After(30 * 24 * time.Hour):
			w.fail("nobody waits for ever", "all is still")
		}
		w.wg.Wait()
		<-done
		out = report{failure: w.failure, trace: w.trace, counters: w.counters, steps: w.steps, elapsed: time.Since(w.start)}
	})
	return out
}

// history is what happens in a world: traffic under faults, then rest, then the reckoning.
func (w *world) history(main *proc, base store.Store) {
	o := newOracle(w, base)
	p := w.plan
	f := newFleet(w, o)
	onHead := func(queue, _ string) { f.notify(queue) }

	var writers []*writer
	writing := 0
	for i := range p.writers {
		wr := &writer{w: w, name: fmt.Sprintf("w%d", i), records: p.records, base: base}
		r := random(w.seed, wr.name+" kind")
		wr.mixed, wr.careful = r.IntN(2) == 0, r.IntN(2) == 0
		if p.lanes {
			wr.mixed = false // What lanes require: each queue has one partition key.
		}
		if r.IntN(4) != 0 { // Statistics of unregistered bots are dropped.
			if err := base.Bots.Register(main.ctx, store.Registration{ID: wr.name}); err != nil {
				w.fail("bots can be registered", "%v", err)
			}
		}
		writers = append(writers, wr)
	}
	var s *stream
	var m *mapping
	poll := func(sh *shard) { w.spawn(sh.name, func(p *proc) { m.poll(p, sh) }) }
	if !p.direct {
		s = newStream(w, p.shards)
		m = &mapping{w: w, stream: s, oracle: o, onHead: onHead, failures: map[string]int{}}
		for _, sh := range s.shards {
			poll(sh)
		}
	}
	for _, wr := range writers {
		writing++
		w.spawn(wr.name, func(p *proc) {
			wr.p = p
			if s != nil {
				wr.run(s)
			} else {
				wr.direct(o, onHead)
			}
			writing--
		})
	}
	resharding := false
	if s != nil && p.reshards > 0 {
		resharding = true
		w.spawn("operator", func(p *proc) {
			s.reshard(p, poll)
			resharding = false
		})
	}
	archiving, reading := 0, 0
	if p.archive {
		archiving++
		a := &archiver{w: w, o: o, s: s, queue: "q0"}
		w.spawn("archiver", func(p *proc) { a.run(p); archiving-- })
	}
	var enrichers []*enricher
	if p.sdk {
		e := &enricher{w: w, o: o, s: s, id: "e0", from: "q0", to: "derived", derived: map[string]bool{}}
		o.bot(e.id).moved = e.moved
		enrichers = append(enrichers, e)
		reading++
		w.spawn("enricher", func(p *proc) { e.run(p); reading-- })
	}
	var tails []*tail
	for i := range p.readers {
		t := &tail{queue: fmt.Sprintf("q%d", i%p.queues)}
		tails = append(tails, t)
		w.spawn(fmt.Sprintf("tail%d", i), func(p *proc) { t.p = p; t.run(o) })
	}
	var readers []*reader
	for i := range p.bots {
		b := &reader{id: fmt.Sprintf("r%d", i), queue: fmt.Sprintf("q%d", i%p.queues), seen: map[string]bool{}}
		readers = append(readers, b)
		reading++
		w.spawn(b.id, func(p *proc) { b.p = p; b.run(o); reading-- })
	}
	f.start()

	for writing > 0 || resharding {
		if time.Since(w.start) > 4*restLimit {
			w.fail("writers come to their end", "%d still write", writing)
		}
		main.sleep(time.Second)
	}
	if main.rng.IntN(2) == 0 {
		main.sleep(main.between(0, time.Minute)) // Some batches and bots still meet faults.
	}
	w.calm = true
	w.note("world", "the faults end")
	calm := time.Now()
	drained := func() bool { return s == nil || s.drained() }
	for !drained() || reading > 0 || archiving > 0 || !f.rested() {
		if time.Since(calm) > restLimit {
			w.fail("everything comes to rest", "%v after the faults ended: stream drained %t, %d readers behind, %d archives behind, %s",
				restLimit, drained(), reading, archiving, f.state())
			return
		}
		w.settled = drained()
		main.sleep(time.Second)
	}
	w.note("world", "everything is at rest")
	o.final(s, writers)
	for _, t := range tails {
		t.check(o)
	}
	for _, b := range readers {
		b.check(o)
	}
	for _, e := range enrichers {
		e.check()
	}
	f.check()
}
