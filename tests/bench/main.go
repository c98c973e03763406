// Command bench measures the bus and prints each figure beside its target:
//
//	scripts/bench              all of it, some minutes on a quiet machine
//	scripts/bench -quick       the same on less data
//	scripts/bench -only heap   some of encode, writer, reader, sequencer, end-to-end, latency, heap, node-write-200, node-write-1k,
//	                           node-read-200, node-read-1k, processor-200, processor-1k
//	scripts/bench -aws         the deployed bus on an emulator: requests and latency, ours and the original's
//
// The first four are ratios of CPU time on one core: what the bus does with events, against bare gzip or gunzip of the same
// bytes with the same library and level. Steps alternate and the least time of each counts, so that other load on the machine
// changes little. Those of node compare with the published Node SDK on the same events in the same run (npm ci --prefix
// tests/interop/node installs it), and those of processor run the kinesis-processor's program under a Lambda Runtime API. The rest
// depends on the machine and its disk. Nothing here fails because of a slow machine: -strict makes the exit code 1 where a
// target is missed.
//
// With -aws, a bus and a few bots are deployed with the CDK to the emulator at -endpoint, and removed afterwards, or to one that is
// started for that on -port and stopped again. A proxy in front of the emulator counts what the bus's clients and functions
// request, and the functions' logs tell how often they ran. Requests of the original are computed from the same run (see
// original); -details prints what both are made of. -strict makes the exit code 1 where this bus is not lower in a column.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"text/tabwriter"
)

// size says how much is measured.
type size struct {
	// Events is the number of events of the ratios and of end to end, Rounds how often the ratios' steps alternate.
	Events, EndToEnd, Rounds int
	// Invocations is the number of samples of the latency, HeapBytes the text of the events that the heap is watched over.
	Invocations int
	HeapBytes   int64
}

var (
	full  = size{Events: 300_000, EndToEnd: 2_000_000, Rounds: 7, Invocations: 300, HeapBytes: 1 << 30}
	quick = size{Events: 50_000, EndToEnd: 300_000, Rounds: 3, Invocations: 60, HeapBytes: 100 << 20}
)

// figure is one line of the table.
type figure struct {
	name     string
	measured float64
	// target is 0 where there is none: the figure is for comparison.
	target float64
	// atMost tells that less is better.
	atMost bool
	format string
	note   string
}

// ok tells whether the target is met.
func (f figure) ok() bool {
	if f.atMost {
		return f.measured <= f.target
	}
	return f.measured >= f.target
}

// verdict is the target and whether it is met, as two columns.
func (f figure) verdict() string {
	sign, answer := "≥", "ok"
	if f.atMost {
		sign = "≤"
	}
	switch {
	case f.target == 0:
		return "-\t-"
	case !f.ok():
		answer = "MISSED"
	}
	return sign + " " + fmt.Sprintf(f.format, f.target) + "\t" + answer
}

// benchmark is one thing that is measured. cores is how many cores it may use.
type benchmark struct {
	name  string
	cores int
	run   func(ctx context.Context, s size) (figure, error)
}

// benchmarks are all of them, in the order of the table.
func benchmarks() []benchmark {
	return []benchmark{
		{"encode", 1, encodeRatio},
		{"writer", 1, writerRatio},
		{"reader", 1, readerRatio},
		{"sequencer", 1, sequencerRatio},
		{"end-to-end", 2, endToEnd},
		{"latency", 2, latency},
		{"heap", 2, heap},
		{"node-write-200", 1, versus("write", 0, 15)},
		{"node-write-1k", 1, versus("write", 1<<10, 8)},
		{"node-read-200", 1, versus("read", 0, 8)},
		{"node-read-1k", 1, versus("read", 1<<10, 3)},
		{"processor-200", 1, processor(200)},
		{"processor-1k", 1, processor(1 << 10)},
	}
}

func main() {
	small := flag.Bool("quick", false, "measure less")
	strict := flag.Bool("strict", false, "exit with 1 where a target is missed")
	only := flag.String("only", "", "measure only these, by name, separated by commas")
	onAWS := flag.Bool("aws", false, "measure the deployed bus on an emulator instead")
	endpoint := flag.String("endpoint", "", "with -aws: the emulator's address; without, one is started and stopped again")
	port := flag.String("port", "4710", "with -aws: the port of the emulator that is started")
	details := flag.Bool("details", false, "with -aws: also print requests by operation, and invocations by function")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	s := full
	if *small {
		s = quick
	}
	var missed int
	var err error
	if *onAWS {
		missed, err = measureAWS(ctx, os.Stdout, awsOptions{quick: *small, endpoint: *endpoint, port: *port, details: *details})
	} else {
		missed, err = measure(ctx, os.Stdout, s, *only)
	}
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	case missed > 0 && *strict:
		os.Exit(1)
	}
}

// measure runs the benchmarks that only names, or all, and prints the table. It returns how many targets were missed.
func measure(ctx context.Context, out *os.File, s size, only string) (missed int, err error) {
	all, wanted := only == "", map[string]bool{}
	for _, name := range strings.Split(only, ",") {
		if name != "" {
			wanted[name] = true
		}
	}
	_, _ = fmt.Fprintf(out, "%s %s/%s, %d cores, payloads of some 200 bytes\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "WHAT\tMEASURED\tTARGET\tOK\tNOTE")
	for _, b := range benchmarks() {
		if !all && !wanted[b.name] {
			continue
		}
		delete(wanted, b.name)
		before := runtime.GOMAXPROCS(b.cores)
		f, err := b.run(ctx, s)
		runtime.GOMAXPROCS(before)
		if err != nil {
			return missed, errors.Join(fmt.Errorf("%s: %w", b.name, err), w.Flush())
		}
		if !f.ok() {
			missed++
		}
		_, _ = fmt.Fprintf(w, "%s\t"+f.format+"\t%s\t%s\n", f.name, f.measured, f.verdict(), f.note)
	}
	for name := range wanted {
		var names []string
		for _, b := range benchmarks() {
			names = append(names, b.name)
		}
		return missed, fmt.Errorf("there is no benchmark %q; there are %s", name, strings.Join(names, ", "))
	}
	return missed, w.Flush()
}
