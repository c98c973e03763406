package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"

	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/sdk/config"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/tests/bench/internal/benchbots"
)

// stage is that of the bus which the benchmark deploys, and removes again.
const (
	stage    = "bench"
	busStack = "rstreams-" + stage
	region   = "us-east-1"
)

// awsSize says how much is measured on an emulator.
type awsSize struct {
	// Singles are events written one by one, Bulk those written at once.
	Singles, Bulk int
}

var (
	awsFull  = awsSize{Singles: 100, Bulk: 100_000}
	awsQuick = awsSize{Singles: 25, Bulk: 10_000}
)

// workload is what one workload did.
type workload struct {
	name   string
	events int
	note   string
	ours   map[string]int
	theirs map[string]int
	// details are ours by operation.
	details map[string]int
	seen    observation
	// latencies are from writes to the bot's code, in order; later is how much later the original's would be.
	latencies []time.Duration
	later     time.Duration
}

// awsOptions are what the command line says. port is that of an emulator which is started, for no endpoint.
type awsOptions struct {
	quick, details bool
	endpoint, port string
}

// measureAWS deploys the bus and its bots to an emulator, at endpoint or one of its own, runs the workloads, and prints the
// requests of this bus beside those of the original. It returns how many columns are not lower than the original's.
func measureAWS(ctx context.Context, out io.Writer, o awsOptions) (worse int, err error) {
	s, endpoint, port := awsFull, o.endpoint, o.port
	if o.quick {
		s = awsQuick
	}
	if endpoint == "" {
		started, err := command(ctx, nil, "scripts/localstack", "up", "--port", port)
		if err != nil {
			return 0, err
		}
		endpoint = strings.TrimSpace(started)
		defer func() {
			_, stopErr := command(context.WithoutCancel(ctx), nil, "scripts/localstack", "down", "--port", port)
			err = errors.Join(err, stopErr)
		}()
	}
	if err := answers(ctx, endpoint); err != nil {
		return 0, err
	}
	count, err := newCounter(endpoint)
	if err != nil {
		return 0, err
	}
	proxy, err := serve(count)
	if err != nil {
		return 0, err
	}
	defer proxy.close()
	if o.endpoint != "" {
		// Before the proxy ends: the bus's own functions take part in this.
		defer func() { err = errors.Join(err, undeploy(context.WithoutCancel(ctx), "http://"+proxy.address)) }()
	}
	b := &awsBench{counter: count, logs: logs{endpoint}}
	if err := b.deploy(ctx, endpoint, "http://"+proxy.address); err != nil {
		return 0, err
	}
	defer b.close(ctx)
	list, err := b.run(ctx, s)
	if err != nil {
		return 0, err
	}
	return printAWS(out, list, o.details), nil
}

// awsBench is a deployed bus.
type awsBench struct {
	counter *counter
	logs    logs
	tables  map[string]string // by name
	// bus is behind the counter; beside is for what the benchmark itself wants to know.
	bus, beside *rstreams.Bus
	backends    []*awsbus.Bus
}

// answers tells whether anything is there at endpoint.
func answers(ctx context.Context, endpoint string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return fmt.Errorf("-endpoint %s: use an address such as http://127.0.0.1:4566", endpoint)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("nothing answers at %s; scripts/localstack up starts an emulator, and without -endpoint one is started here", endpoint)
	}
	return resp.Body.Close()
}

func (b *awsBench) deploy(ctx context.Context, endpoint, proxy string) error {
	env := emulatorEnvironment(proxy)
	if _, err := command(ctx, env, "scripts/deploy", stage, "--endpoint", proxy, "--no-demo"); err != nil {
		return err
	}
	architecture := "x86_64"
	if runtime.GOARCH == "arm64" {
		architecture = "arm64"
	}
	if _, err := command(ctx, env, ".tools/cdk/node_modules/.bin/cdk", "deploy", "--all", "--require-approval", "never", "--no-notices",
		"--app", "go run ./tests/bench/app", "-o", "cdk.out/"+busStack+"-bots",
		"-c", "bus="+busStack, "-c", "endpoint="+proxy, "-c", "architecture="+architecture); err != nil {
		return err
	}
	found, err := config.Find(ctx, "aws:"+stage, config.FindOptions{})
	if err != nil {
		return err
	}
	r := found.Resources
	b.tables = map[string]string{
		r.LeoStream: "LeoStream", r.LeoCron: "LeoCron", r.LeoEvent: "LeoEvent", r.LeoSettings: "LeoSettings", r.LeoSystem: "LeoSystem",
	}
	for to, bus := range map[string]**rstreams.Bus{proxy: &b.bus, endpoint: &b.beside} {
		backend, err := awsbus.Open(ctx, awsbus.Options{Resources: r, Endpoint: to, Logger: quiet, Config: &awssdk.Config{
			Region: region, Credentials: awssdk.CredentialsProviderFunc(func(context.Context) (awssdk.Credentials, error) {
				return awssdk.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
			}),
		}})
		if err != nil {
			return err
		}
		b.backends = append(b.backends, backend)
		*bus = rstreams.New(backend.Store(), rstreams.Options{Logger: quiet})
	}
	return nil
}

func (b *awsBench) close(ctx context.Context) {
	for _, backend := range b.backends {
		_ = backend.Close(context.WithoutCancel(ctx)) // Nothing is under way.
	}
}

// undeploy removes what deploy made.
func undeploy(ctx context.Context, endpoint string) error {
	env := emulatorEnvironment(endpoint)
	_, bots := command(ctx, env, ".tools/cdk/node_modules/.bin/cdk", "destroy", "--all", "--force", "--no-notices", "--app", "cdk.out/"+busStack+"-bots")
	_, bus := command(ctx, env, "scripts/deploy", stage, "--endpoint", endpoint, "--no-demo", "destroy")
	return errors.Join(bots, bus)
}

// run does the workloads one after another, after each bot ran once.
func (b *awsBench) run(ctx context.Context, s awsSize) ([]*workload, error) {
	if err := b.warm(ctx); err != nil {
		return nil, fmt.Errorf("first events: %w", err)
	}
	singles := &workload{
		name: "single events", events: s.Singles,
		note: fmt.Sprintf("%d writes of one event, %d at a time each second, one bot that answers each", s.Singles, askAtOnce),
	}
	var times []time.Duration
	hop, err := b.watch(ctx, singles, observation{Puts: s.Singles}, func(ctx context.Context) (err error) {
		times, err = ask(ctx, b.bus, b.beside, s.Singles)
		return err
	})
	if err != nil {
		return nil, err
	}
	// The original's event trigger leaves it to its cron processor to take the lock: one more change of a table on the way.
	singles.latencies, singles.later = times, originalWait+hop

	list := payloads(s.Bulk)
	bulk := &workload{
		name: "bulk", events: s.Bulk,
		note: fmt.Sprintf("%d events of some 200 bytes at once, by 2 bots to 4 queues, each copied by a bot to another queue", s.Bulk),
	}
	var o observation
	lines := linesOf(list, false)
	for part := range writers {
		n, err := originalPuts(every(lines, part, writers))
		if err != nil {
			return nil, err
		}
		o.Puts += n
	}
	lines = linesOf(list, true)
	for part := range benchbots.Pipelines {
		n, err := originalPuts(every(lines, part, benchbots.Pipelines))
		if err != nil {
			return nil, err
		}
		o.Derived += n
	}
	if _, err := b.watch(ctx, bulk, o, func(ctx context.Context) error { return pour(ctx, b.bus, b.beside, list) }); err != nil {
		return nil, err
	}
	return []*workload{bulk, singles}, nil
}

// warm runs each bot once, so that what happens only once is not measured.
func (b *awsBench) warm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if _, err := ask(ctx, b.bus, b.beside, 1); err != nil {
		return err
	}
	if err := pour(ctx, b.bus, b.beside, payloads(benchbots.Pipelines*writers)); err != nil {
		return err
	}
	return b.settle(ctx)
}

// every returns each n-th of lines, from part on.
func every(lines [][]byte, part, n int) [][]byte {
	var out [][]byte
	for i := part; i < len(lines); i += n {
		out = append(out, lines[i])
	}
	return out
}

// rest is how long the bus must have sent nothing to count as being at rest. An emulator looks at its streams each second.
const rest = 5 * time.Second

// patience is how long a workload may take, so that a bus that does nothing is an error.
const patience = 5 * time.Minute

// settle waits until the bus is at rest.
func (b *awsBench) settle(ctx context.Context) error {
	for {
		left := rest - b.counter.quiet()
		if left <= 0 {
			return nil
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return fmt.Errorf("the bus does not come to rest: %w", ctx.Err())
		}
	}
}

// watch runs a workload and notes the requests until the bus is at rest again.
func (b *awsBench) watch(ctx context.Context, w *workload, o observation, run func(context.Context) error) (hop time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	b.counter.take()
	began := time.Now()
	if err := run(ctx); err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	o.Span = time.Since(began)
	if err := b.settle(ctx); err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	counts, batches, hop := b.counter.take()
	functions, err := b.logs.read(ctx, busStack, began, time.Now())
	if err != nil {
		return 0, err
	}
	w.ours, w.details = map[string]int{}, map[string]int{}
	for what, n := range counts {
		if name, ok := b.tables[what.on]; ok {
			what.on = name
		}
		switch what.service {
		case dynamoDB, kinesis, s3:
			w.ours[what.service] += n
		}
		w.details[what.String()] += n
	}
	o.publications(batches)
	o.add(w, functions)
	w.seen, w.theirs = o, original(o)
	w.note += fmt.Sprintf("; %.0f s", o.Span.Seconds())
	return hop, nil
}

// add notes what the functions' logs tell. A log's name has that of its function, or that of the bots' stack.
func (o *observation) add(w *workload, functions map[string]invocations) {
	for log, f := range functions {
		w.ours[lambdas] += f.Count
		w.details["Lambda "+log] += f.Count
		switch {
		case strings.Contains(log, busStack+"-bots"):
			o.Runs += f.Count
		case strings.Contains(log, "KinesisProcessor"):
			for _, m := range f.Metrics {
				if n := int(m["Events"]); n > 0 {
					o.Batches = append(o.Batches, n)
				}
			}
		case strings.Contains(log, "EventTrigger"):
			o.EventTrigger = f.Count
			o.Triggered = f.sum("RunsStarted") + f.sum("RunsRequested")
			o.Starts = f.having("RunsStarted")
		case strings.Contains(log, "BotRunner"):
			o.BotRunner = f.Count
		case strings.Contains(log, "Monitor"):
			o.Monitor, o.Monitored = f.Count, f.having("MonitorEvents")
		}
	}
}

// printAWS prints the table and returns in how many columns this bus is not lower than the original.
func printAWS(out io.Writer, list []*workload, details bool) (worse int) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, l := range list {
		_, _ = fmt.Fprintf(w, "%s: %s\n", l.name, l.note)
		_, _ = fmt.Fprintln(w, "REQUESTS PER 1,000 EVENTS\tOURS\tORIGINAL, COMPUTED\tOURS / ORIGINAL\tOK")
		each := 1000 / float64(l.events)
		for _, service := range []string{dynamoDB, kinesis, s3, lambdas} {
			ours, theirs := l.ours[service], l.theirs[service]
			ratio, verdict := "-", "lower"
			switch {
			case ours == 0 && theirs == 0:
				verdict = "equal, none"
			case ours >= theirs:
				verdict = "NOT LOWER"
				worse++
			}
			if theirs > 0 {
				ratio = fmt.Sprintf("%.2f", float64(ours)/float64(theirs))
			}
			_, _ = fmt.Fprintf(w, "%s\t%.2f\t%.2f\t%s\t%s\n", service, float64(ours)*each, float64(theirs)*each, ratio, verdict)
		}
		if len(l.latencies) > 0 {
			_, _ = fmt.Fprintln(w, "WRITE -> BOT HANDLER, ms\tOURS\tORIGINAL, COMPUTED\tOURS / ORIGINAL\tOK")
			for _, q := range []struct {
				name string
				at   float64
			}{{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}, {"max", 1}} {
				d := l.latencies[int(q.at*float64(len(l.latencies)-1))]
				theirs, verdict := d+l.later, "lower"
				if d >= theirs {
					verdict = "NOT LOWER"
					worse++
				}
				_, _ = fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.2f\t%s\n", q.name, ms(d), ms(theirs), ms(d)/ms(theirs), verdict)
			}
		}
		if details {
			_, _ = fmt.Fprintln(w, "OURS, IN ALL")
			for _, what := range slices.Sorted(maps.Keys(l.details)) {
				_, _ = fmt.Fprintf(w, "  %s\t%d\n", what, l.details[what])
			}
			_, _ = fmt.Fprintf(w, "  %+v\n", l.seen)
		}
		_, _ = fmt.Fprintln(w)
	}
	_ = w.Flush()
	return worse
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// command runs a program of the checkout and returns what it wrote to standard output. Its error has what it wrote elsewhere.
func command(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s%s", name, strings.Join(args, " "), err, tail(stdout.Bytes()), tail(stderr.Bytes()))
	}
	return stdout.String(), nil
}

// tail returns the end of a program's output.
func tail(out []byte) []byte { return out[max(0, len(out)-4000):] }

// emulatorEnvironment is that of commands for an emulator, with nothing of AWS from outside.
func emulatorEnvironment(endpoint string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "AWS_") || strings.HasPrefix(v, "RSTREAMS_") || strings.HasPrefix(strings.ToUpper(v), "LEO")
	})
	return append(env, "AWS_ENDPOINT_URL="+endpoint, "AWS_ENDPOINT_URL_S3="+endpoint, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"AWS_REGION="+region, "AWS_DEFAULT_REGION="+region, "AWS_EC2_METADATA_DISABLED=true",
		"CDK_DEFAULT_ACCOUNT=000000000000", "CDK_DEFAULT_REGION="+region, "CDK_DISABLE_CLI_TELEMETRY=true",
		"JSII_RUNTIME_PACKAGE_CACHE=enabled", "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=1")
}
