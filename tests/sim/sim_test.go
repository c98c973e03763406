package sim

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// defaultSeeds is how many seeds a plain "go test" runs.
const defaultSeeds = 300

// tailLines is how much of a failing trace is shown.
const tailLines = 80

// regressions are seeds that once failed, or that alone notice a fault. They are always run.
var regressions = []uint64{
	606, // an Advance of a dead publisher arrives late; only the fence refuses it
}

func TestEverySeedKeepsEveryPromise(t *testing.T) {
	if text := os.Getenv("RSTREAMS_SIM_SEED"); text != "" {
		replay(t, text)
		return
	}
	n := defaultSeeds
	if text := os.Getenv("RSTREAMS_SIM_SEEDS"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("RSTREAMS_SIM_SEEDS: %v", err)
		}
	}
	first := uint64(1)
	if text := os.Getenv("RSTREAMS_SIM_FIRST"); text != "" {
		var err error
		if first, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("RSTREAMS_SIM_FIRST: %v", err)
		}
	}
	var seeds []uint64
	if os.Getenv("RSTREAMS_SIM_BRIEF") == "" {
		seeds = append(seeds, regressions...)
	}
	for i := range n {
		seeds = append(seeds, first+uint64(i))
	}
	began, cpu := time.Now(), cpuTime()
	total, steps, failed := runSeeds(t, seeds)
	took := time.Since(began)
	t.Logf("%d seeds in %v, %.0f seeds/s, %.1f ms of CPU each, %d steps, %+v", len(seeds), took.Round(time.Millisecond),
		float64(len(seeds))/took.Seconds(), (cpuTime()-cpu).Seconds()*1000/float64(len(seeds)), steps, total)
	if failed != 0 {
		explain(t, failed)
	}
}

// planOf derives the plan of a seed and applies the changes that RSTREAMS_SIM_WITH names.
func planOf(t *testing.T, seed uint64) plan {
	p := derive(seed)
	if names := os.Getenv("RSTREAMS_SIM_WITH"); names != "" {
		if err := p.change(strings.Split(names, ",")); err != nil {
			t.Fatalf("RSTREAMS_SIM_WITH: %v", err)
		}
	}
	return p
}

// runSeeds runs seeds on all processors and returns the first that fails, 0 for none.
func runSeeds(t *testing.T, seeds []uint64) (total counters, steps int, failed uint64) {
	var mu sync.Mutex
	var next atomic.Int64
	var stop atomic.Bool
	lowest := len(seeds)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for !stop.Load() {
				i := int(next.Add(1)) - 1
				if i >= len(seeds) {
					return
				}
				out := simulate(t, seeds[i], planOf(t, seeds[i]), false)
				mu.Lock()
				total.add(out.counters)
				steps += out.steps
				if out.failure != nil && i < lowest {
					lowest = i
					stop.Store(true)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if lowest < len(seeds) {
		return total, steps, seeds[lowest]
	}
	return total, steps, 0
}

// explain fails the test with what is needed to understand the seed.
func explain(t *testing.T, seed uint64) {
	if os.Getenv("RSTREAMS_SIM_BRIEF") != "" {
		t.Fatalf("seed %d: %v", seed, simulate(t, seed, planOf(t, seed), false).failure)
	}
	names, out := minimise(t, seed)
	if out.failure == nil {
		t.Fatalf("seed %d failed, but not when it was run again: the simulation is not deterministic", seed)
	}
	command := fmt.Sprintf("RSTREAMS_SIM_SEED=%d", seed)
	if with := os.Getenv("RSTREAMS_SIM_WITH"); with != "" {
		names = append([]string{with}, names...)
	}
	if len(names) > 0 {
		command += " RSTREAMS_SIM_WITH=" + strings.Join(names, ",")
	}
	lines := out.trace[max(0, len(out.trace)-tailLines):]
	t.Errorf("seed %d: %v\n\nreplay with\n  %s go test -v -run TestEverySeedKeepsEveryPromise ./tests/sim\n\nthe last %d of %d lines of its trace:\n%s",
		seed, out.failure, command, len(lines), len(out.trace), strings.Join(lines, "\n"))
}

// minimise finds reductions with which the seed still breaks the same invariant.
func minimise(t *testing.T, seed uint64) (names []string, out report) {
	p := planOf(t, seed)
	out = simulate(t, seed, p, true)
	if out.failure == nil {
		return nil, out
	}
	for changed := true; changed; {
		changed = false
		for _, r := range reductions {
			smaller := p
			if r.apply(&smaller); smaller == p {
				continue
			}
			if again := simulate(t, seed, smaller, true); again.failure != nil && again.failure.invariant == out.failure.invariant {
				p, out, changed = smaller, again, true
				names = append(names, r.name)
			}
		}
	}
	return names, out
}

// replay runs one seed and prints its whole trace.
func replay(t *testing.T, text string) {
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("RSTREAMS_SIM_SEED: %v", err)
	}
	out := simulate(t, seed, planOf(t, seed), true)
	t.Logf("seed %d, %d steps, %v of virtual time, %+v\n%s", seed, out.steps, out.elapsed, out.counters, strings.Join(out.trace, "\n"))
	if out.failure != nil {
		t.Errorf("seed %d: %v", seed, out.failure)
	}
}

func TestASeedAlwaysGivesTheSameTrace(t *testing.T) {
	for seed := uint64(1); seed <= 30; seed++ {
		a := simulate(t, seed, derive(seed), true)
		b := simulate(t, seed, derive(seed), true)
		if len(a.trace) == 0 {
			t.Fatalf("seed %d left no trace", seed)
		}
		sameTrace(t, seed, a.trace, b.trace)
	}
}

func sameTrace(t *testing.T, seed uint64, a, b []string) {
	t.Helper()
	for i := range max(len(a), len(b)) {
		if x, y := lineOf(a, i), lineOf(b, i); x != y {
			t.Fatalf("seed %d, line %d:\n%s\n%s", seed, i, x, y)
		}
	}
}

func lineOf(list []string, i int) string {
	if i >= len(list) {
		return "(end)"
	}
	return list[i]
}
