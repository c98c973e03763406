//go:build aws

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/config"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// invoke invokes a function of the bus and returns its answer.
func (w *world) invoke(t *testing.T, function, payload string) []byte {
	t.Helper()
	out, err := lambda.NewFromConfig(awstest.Config(t)).Invoke(within(t), &lambda.InvokeInput{FunctionName: &function, Payload: []byte(payload)})
	if err != nil {
		t.Fatal(err)
	}
	if out.FunctionError != nil {
		t.Fatalf("%s: %s: %s", function, *out.FunctionError, out.Payload)
	}
	return out.Payload
}

// testBusAPI: C62.
func (w *world) testBusAPI(t *testing.T) {
	queue, bot := "e2e.api."+w.run, "e2e-api-"+w.run
	name := *w.bus.outputs["BusApi"].OutputValue
	ask := func(v any) (answer struct {
		Status, Error, Position, EID string
		Count                        int
		Token                        json.RawMessage
		Events                       []json.RawMessage
	},
	) {
		t.Helper()
		request, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		text := w.invoke(t, name, string(request))
		if err := json.Unmarshal(text, &answer); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		return answer
	}
	ok := func(kind string, more map[string]any) (out struct {
		Status, Error, Position, EID string
		Count                        int
		Token                        json.RawMessage
		Events                       []json.RawMessage
	},
	) {
		t.Helper()
		request := map[string]any{"type": kind, "id": bot}
		maps.Copy(request, more)
		out = ask(request)
		if out.Status != "success" {
			t.Fatalf("%s: %s %s", kind, out.Status, out.Error)
		}
		return out
	}
	started := ok("start", map[string]any{"options": map[string]any{"lock": true}})
	if again := ask(map[string]any{"type": "start", "id": bot}); again.Status != "error" || !strings.Contains(again.Error, "already running") {
		t.Errorf("a second start: %+v", again)
	}
	if out := ok("write", map[string]any{"queue": queue, "events": []any{w.orders(0)(0), w.orders(0)(1), w.orders(0)(2)}}); out.Count != 3 {
		t.Errorf("write: %+v", out)
	}
	w.expect(queue, 3)
	events := w.await(t, w.bus.Bus, queue, 3)
	numbers(t, queue, w.numbersOf(t, events), 3)
	start := map[string]any{"start": "z/", "limit": 2}
	if out := ok("read", map[string]any{"queue": queue, "options": start}); out.Count != 2 || out.Position != events[1].EID || len(out.Events) != 2 {
		t.Errorf("read: %+v, want 2 events up to %s", out, events[1].EID)
	}
	if out := ok("checkpoint", map[string]any{"queue": queue, "eid": events[1].EID}); out.EID != events[1].EID {
		t.Errorf("checkpoint: %+v", out)
	}
	if out := ok("read", map[string]any{"queue": queue}); out.Count != 1 || out.Position != events[2].EID {
		t.Errorf("read from the checkpoint: %+v, want %s", out, events[2].EID)
	}
	ok("end", map[string]any{"token": started.Token, "status": "complete"})
	if row := w.row(t, bot); row.Read["queue:"+queue].Position != events[1].EID || row.Instance.CompletedTime == 0 {
		t.Errorf("the bot's row: %+v", row)
	}
}

// testNames: C1. What is published names the bus, wherever one looks.
func (w *world) testNames(t *testing.T) {
	want := w.bus.resources
	if err := want.Validate(); err != nil {
		t.Error(err)
	}
	exports := map[string]string{}
	pages := cloudformation.NewListExportsPaginator(w.stacks(), &cloudformation.ListExportsInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Exports {
			exports[*e.Name] = *e.Value
		}
	}
	published := map[string]string{}
	for _, name := range []string{
		"Role", "Policy", "LeoStream", "LeoCron", "LeoEvent", "LeoSettings", "LeoSystem", "LeoS3", "LeoKinesisStream", "LeoFirehoseStream",
		"Region", "Register", "SourceQueueReplicator",
	} {
		output, ok := w.bus.outputs[name]
		if !ok || *output.OutputValue == "" {
			t.Errorf("the stack has no output %s", name)
			continue
		}
		published[name] = *output.OutputValue
		if got := exports[w.bus.stack+"-"+name]; got != *output.OutputValue {
			t.Errorf("export %s-%s is %q, the output %q", w.bus.stack, name, got, *output.OutputValue)
		}
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var names map[string]string
	if err := json.Unmarshal(text, &names); err != nil {
		t.Fatal(err)
	}
	for name, value := range names {
		if published[name] != value {
			t.Errorf("the client configuration has %s %q, the outputs %q", name, value, published[name])
		}
	}

	// Without the file, a program finds the bus by what the stack published: the parameter, and by its name the secret.
	cfg := awstest.Config(t)
	parameter, secret := "/rstreams/"+w.bus.stack+"/config", "rstreams-"+w.bus.stack
	inParameter, err := ssm.NewFromConfig(cfg).GetParameter(within(t), &ssm.GetParameterInput{Name: &parameter})
	if err != nil {
		t.Fatal(err)
	}
	inSecret, err := secretsmanager.NewFromConfig(cfg).GetSecretValue(within(t), &secretsmanager.GetSecretValueInput{SecretId: &secret})
	if err != nil {
		t.Fatal(err)
	}
	for where, text := range map[string]string{"parameter": *inParameter.Parameter.Value, "secret": *inSecret.SecretString} {
		got, err := awsbus.ParseResources([]byte(text))
		if err != nil || got != want {
			t.Errorf("the %s has %s, %v", where, text, err)
		}
	}
	for bus, env := range map[string][]string{"aws:" + w.bus.stage: nil, "aws:": {"LEO_CONFIG_SECRET=" + secret}} {
		if _, stderr, err := w.try(t, t.TempDir(), append(w.environment(), env...), "queues", "--bus", bus); err != nil {
			t.Errorf("--bus %s with %v and no file: %v\n%s", bus, env, err, stderr)
		}
	}
}

// testTwoStages: of two stages in one account nothing has a name in common.
func (w *world) testTwoStages(t *testing.T) {
	here, there := w.parts(t, w.bus.stack), w.parts(t, w.other.stack)
	named := map[string]string{}
	for id, r := range here {
		named[*r.PhysicalResourceId] = id + ", a " + *r.ResourceType
	}
	if len(here) < 40 || len(there) < 40 {
		t.Errorf("the stacks have %d and %d parts", len(here), len(there))
	}
	for id, r := range there {
		// What a custom resource is called counts within it only.
		if other, ok := named[*r.PhysicalResourceId]; ok && !strings.HasPrefix(*r.ResourceType, "Custom::") && *r.ResourceType != "AWS::CDK::Metadata" {
			t.Errorf("%s is both %s of %s and %s of %s", *r.PhysicalResourceId, id, w.other.stack, other, w.bus.stack)
		}
	}
	for name, output := range w.other.outputs {
		if mine, ok := w.bus.outputs[name]; ok && name != "Region" && *mine.OutputValue == *output.OutputValue {
			t.Errorf("both buses have %s %s", name, *output.OutputValue)
		}
	}
}

// rstreams runs the command on the bus and returns what it printed.
func (w *world) rstreams(t *testing.T, args ...string) string {
	t.Helper()
	stdout, stderr, err := w.try(t, w.root, w.environment(), append(args, "--bus", "aws:"+w.bus.stage)...)
	if err != nil {
		t.Fatalf("rstreams %s: %v\n%s%s", strings.Join(args, " "), err, stdout, stderr)
	}
	return stdout + stderr
}

func (w *world) try(t *testing.T, dir string, env []string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(within(t), w.program, args...)
	cmd.Dir, cmd.Env = dir, env
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

func (w *world) testDemo(t *testing.T) {
	said := w.rstreams(t, "demo")
	t.Logf("%s", said)
	if !strings.Contains(said, "verified: every one of") {
		t.Errorf("the demonstration was not verified")
	}
}

// testBadInput: one line that names what is missing.
func (w *world) testBadInput(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	stage := func(change func(c map[string]string)) string {
		text, err := os.ReadFile(filepath.Join(w.root, config.StageFile(w.bus.stage)))
		if err != nil {
			t.Fatal(err)
		}
		var c map[string]string
		if err := json.Unmarshal(text, &c); err != nil {
			t.Fatal(err)
		}
		change(c)
		if text, err = json.Marshal(c); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), config.StageFile("x"))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Dir(filepath.Dir(file))
	}
	queue := "e2e.bad." + w.run
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: queue}, 1, w.orders(0))
	w.await(t, w.bus.Bus, queue, 1)
	w.expect(queue, 1)
	events := filepath.Join(t.TempDir(), "events")
	if err := os.WriteFile(events, []byte(`{"n":1}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := func(name string) func(c map[string]string) {
		return func(c map[string]string) { c[name] = "no-such-" + strings.ToLower(name) }
	}
	for name, c := range map[string]struct {
		dir  string
		args []string
		say  []string
	}{
		"an emulator that is down":        {stage(func(c map[string]string) { c["Endpoint"] = down }), []string{"queues"}, []string{down}},
		"a queue table that is not there": {stage(missing("LeoEvent")), []string{"queues"}, []string{"no-such-leoevent", "us-east-1"}},
		"a bot table that is not there":   {stage(missing("LeoCron")), []string{"bots"}, []string{"no-such-leocron"}},
		"an index that is not there":      {stage(missing("LeoStream")), []string{"read", queue, "--start", "z/"}, []string{"no-such-leostream"}},
		"a stream that is not there":      {stage(missing("LeoKinesisStream")), []string{"write", queue, "--bot", writer, events}, []string{"no-such-leokinesisstream"}},
		"another region":                  {stage(func(c map[string]string) { c["Region"] = "eu-west-3" }), []string{"queues"}, []string{"LeoEvent", "eu-west-3"}},
		"half a configuration":            {stage(func(c map[string]string) { delete(c, "LeoCron") }), []string{"queues"}, []string{"LeoCron"}},
	} {
		w.refused(t, name, c.dir, w.environment(), "aws:x", c.args, c.say)
	}
	w.refused(t, "a stage that is not there", t.TempDir(), w.environment(), "aws:nowhere", []string{"queues"}, []string{"nowhere", "scripts/deploy nowhere"})
	if _, stderr, err := w.tryScript(t, "nowhere", "--endpoint", down); err == nil || strings.Count(strings.TrimSpace(stderr), "\n") > 0 || !strings.Contains(stderr, down) {
		t.Errorf("scripts/deploy to an emulator that is down: %v, %s", err, stderr)
	}
	if _, stderr, err := w.tryScript(t, "destroy"); err == nil || strings.Count(strings.TrimSpace(stderr), "\n") > 0 || !strings.Contains(stderr, "STAGE destroy") {
		t.Errorf("scripts/deploy without a stage: %v, %s", err, stderr)
	}
}

func (w *world) refused(t *testing.T, name, dir string, env []string, bus string, args, say []string) {
	t.Helper()
	cmd := append(args, "--bus", bus)
	began := time.Now()
	stdout, stderr, err := w.try(t, dir, env, cmd...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Errorf("%s: %v\n%s", name, err, stdout)
		return
	}
	line := strings.TrimSpace(stderr)
	if strings.Contains(line, "\n") || exit.ExitCode() < 2 {
		t.Errorf("%s: exit code %d and, in %d lines:\n%s", name, exit.ExitCode(), strings.Count(line, "\n")+1, line)
	}
	for _, want := range say {
		if !strings.Contains(line, want) {
			t.Errorf("%s: no word of %q in: %s", name, want, line)
		}
	}
	t.Logf("%s, after %.1f s: %s", name, time.Since(began).Seconds(), line)
}

func (w *world) tryScript(t *testing.T, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.CommandContext(within(t), filepath.Join(w.root, "scripts", "deploy"), args...)
	cmd.Dir, cmd.Env = w.root, w.environment()
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err = cmd.Run()
	return o.String(), e.String(), err
}

// testArchive: C40, W-D10. The archiver's function archives at once, with a short age, and then the index goes.
func (w *world) testArchive(t *testing.T) {
	const n = 3000
	queue := "e2e.archive." + w.run
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: queue, Chunk: rstreams.LeoChunks()}, n, w.orders(0))
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: queue, Path: rstreams.PathBlobs}, n, w.orders(n))
	events := w.await(t, w.bus.Bus, queue, 2*n)
	w.expect(queue, 2*n)

	ctx := within(t)
	functions := lambda.NewFromConfig(awstest.Config(t))
	name := w.function(t, "Archiver")
	is, err := functions.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &name})
	if err != nil {
		t.Fatal(err)
	}
	configure := func(ctx context.Context, env map[string]string) {
		_, err := functions.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
			FunctionName: &name, Environment: &types.Environment{Variables: env},
		})
		if err != nil {
			t.Error(err)
		}
	}
	short := maps.Clone(is.Environment.Variables)
	short["RSTREAMS_ARCHIVE_AGE"] = "1s"
	configure(ctx, short)
	t.Cleanup(func() { configure(context.Background(), is.Environment.Variables) })
	until(t, func(ctx context.Context) string {
		w.invoke(t, name, "{}")
		row, err := w.bus.Store().Queues.Get(ctx, queue)
		if err != nil {
			t.Fatal(err)
		}
		if row.ArchiveEnd != events[2*n-1].EID {
			return fmt.Sprintf("the archive ends at %q, want %s", row.ArchiveEnd, events[2*n-1].EID)
		}
		return ""
	})
	// What expires in a week.
	chunks := w.bus.Store().Chunks
	for {
		page, err := chunks.Query(ctx, queue, "", "~", 100, 0)
		if err != nil {
			t.Fatal(err)
		}
		var ends []string
		for _, c := range page.Chunks {
			ends = append(ends, c.End)
		}
		if len(ends) == 0 {
			break
		}
		if err := chunks.Delete(ctx, queue, ends); err != nil {
			t.Fatal(err)
		}
	}
	var archived []rstreams.Event
	for e, err := range w.bus.Read(ctx, queue, rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			t.Fatalf("after %d events: %v", len(archived), err)
		}
		archived = append(archived, e)
	}
	numbers(t, "the archive", w.numbersOf(t, archived), 2*n)
	ids := func(list []rstreams.Event) (out []string) {
		for _, e := range list {
			out = append(out, e.EID)
		}
		return out
	}
	if !slices.Equal(ids(events), ids(archived)) {
		t.Error("the events have other ids in the archive")
	}
	// Live events follow the archive.
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: queue}, 10, w.orders(2*n))
	w.expect(queue, 10)
	numbers(t, "archive and live events", w.numbersOf(t, w.await(t, w.bus.Bus, queue, 2*n+10)), 2*n+10)
}

// testMillion: a read of a million events, written in bulk.
func (w *world) testMillion(t *testing.T) {
	const n = 1_000_000
	queue := "e2e.million." + w.run
	began := time.Now()
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: queue, Path: rstreams.PathBlobs}, n, func(i int) any {
		return json.RawMessage(fmt.Appendf(nil, `{"n":%d}`, i))
	})
	written := time.Since(began)
	i, last := 0, ""
	began = time.Now()
	var first time.Duration
	for e, err := range w.bus.Read(within(t), queue, rstreams.ReadOptions{From: rstreams.At(w.began), Follow: true, Limit: n}) {
		if err != nil {
			t.Fatalf("after %d events: %v", i, err)
		}
		if i == 0 {
			first = time.Since(began)
		}
		if want := fmt.Sprintf(`{"n":%d}`, i); string(e.Payload) != want || e.EID <= last {
			t.Fatalf("event %s after %s is %s, want %s", e.EID, last, e.Payload, want)
		}
		i, last = i+1, e.EID
	}
	if i != n {
		t.Errorf("%d events, want %d", i, n)
	}
	w.expect(queue, n)
	t.Logf("a million events: written in %.1f s, the first was read after %.1f s more, all of them in %.1f s", written.Seconds(), first.Seconds(),
		(time.Since(began) - first).Seconds())
}

// testDiff: what is deployed is what would be deployed, also where the functions are built anew.
func (w *world) testDiff(t *testing.T) {
	options := slices.Clone(w.bus.options)
	if i := slices.IndexFunc(options, func(o string) bool { return strings.HasPrefix(o, "code=") }); i > 0 {
		options = slices.Delete(options, i-1, i+1)
	}
	options = append(options, "diff")
	said, err := w.output(t.Context(), "scripts/deploy", options...)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said, "Number of stacks with differences: 0") {
		t.Errorf("cdk diff of what is deployed:\n%s", said)
	}
}

// testFinally looks at everything that the parts have left.
func (w *world) testFinally(t *testing.T) {
	excused := w.repeats(t)
	for _, queue := range slices.Sorted(maps.Keys(w.counts)) {
		n := 0
		for _, err := range w.bus.Read(within(t), queue, rstreams.ReadOptions{From: rstreams.At(w.began)}) {
			if err != nil {
				t.Errorf("queue %s after %d events: %v", queue, n, err)
				break
			}
			n++
		}
		if n -= excused.queues[queue]; n != w.counts[queue] {
			t.Errorf("queue %s has %d events, want %d", queue, n, w.counts[queue])
		}
	}
	t.Logf("%s", w.rstreams(t, "verify"))
}
