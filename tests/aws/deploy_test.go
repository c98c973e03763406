//go:build aws

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/config"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/tests/aws/internal/testbots"
)

// deployed is a bus that scripts/deploy made.
type deployed struct {
	*rstreams.Bus
	stage, stack string
	options      []string // of scripts/deploy
	resources    awsbus.Resources
	outputs      map[string]types.Output
}

// deploy deploys two buses, and in the background the bots, and sees to it that they are removed.
func deploy(t *testing.T, endpoint string) *world {
	t.Helper()
	w := &world{endpoint: endpoint, root: root(t), run: newRun(), counts: map[string]int{}}
	stage, kept := os.Getenv("RSTREAMS_TEST_STAGE"), true
	if stage == "" {
		stage, kept = w.run, false
	}
	code := "code=" + w.build(t)
	w.other = w.deployBus(t, stage+"b", kept, "--no-demo", "-c", code, "-c", "trust=000000000000")
	role := *w.other.outputs["Role"].OutputValue
	replicate, err := json.Marshal([]string{testbots.Mirrored})
	if err != nil {
		t.Fatal(err)
	}
	w.bus = w.deployBus(t, stage, kept, "-c", code, "--demo", "-c", "shards=2", "-c", "replicateTo="+role, "-c", "replicate="+string(replicate))
	w.began = time.Now()
	w.program = filepath.Join(t.TempDir(), "rstreams")
	w.must(t, "go", "build", "-o", w.program, "./cmd/rstreams")

	ready := make(chan error, 1)
	stack := w.bus.stack + "-bots"
	if !kept {
		t.Cleanup(func() { w.destroyBots(t, stack) })
	}
	began := time.Now()
	go func() {
		defer close(ready)
		if kept && w.stackIsThere(stack) {
			return
		}
		ready <- w.deployBots(t.Context(), stack, testbots.Pipeline)
		t.Logf("deployed %s in %.1f s", stack, time.Since(began).Seconds())
	}()
	wait := sync.OnceValue(func() error { return <-ready })
	w.bots = func(t *testing.T) {
		t.Helper()
		if err := wait(); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = wait() }) // What is being deployed cannot be removed.
	return w
}

// build builds the functions of the buses and of the demonstration once for all deployments, and returns where they are.
func (w *world) build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	w.must(t, "scripts/build-lambdas", "--arch", runtime.GOARCH, "--out", dir, "--demo")
	return dir
}

// deployBus deploys a bus, unless it is there and is kept, and opens it.
func (w *world) deployBus(t *testing.T, stage string, kept bool, options ...string) *deployed {
	t.Helper()
	d := &deployed{stage: stage, stack: "rstreams-" + stage, options: append([]string{stage, "--endpoint", w.endpoint}, options...)}
	if !kept || !w.stackIsThere(d.stack) {
		if !kept {
			t.Cleanup(func() { w.destroyBus(t, d) })
		}
		began := time.Now()
		w.must(t, "scripts/deploy", d.options...)
		t.Logf("deployed %s in %.1f s", d.stack, time.Since(began).Seconds())
	}
	found, err := config.Find(t.Context(), "aws:"+stage, config.FindOptions{Dir: w.root})
	if err != nil {
		t.Fatal(err)
	}
	if found.Endpoint != w.endpoint {
		t.Fatalf("%s says that the endpoint is %q, want %s", found.Source, found.Endpoint, w.endpoint)
	}
	d.resources = found.Resources
	credentials := awstest.Config(t)
	backend := awstest.OpenWith(t, awsbus.Options{Resources: d.resources, Config: &credentials, Endpoint: w.endpoint})
	if err := backend.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.Bus = rstreams.New(backend.Store(), rstreams.Options{})
	d.outputs = w.describe(t, d.stack)
	return d
}

func (w *world) destroyBus(t *testing.T, d *deployed) {
	began := time.Now()
	if err := w.command(context.Background(), "scripts/deploy", append(d.options, "destroy")...); err != nil {
		t.Errorf("remove %s: %v", d.stack, err)
		return
	}
	if w.stackIsThere(d.stack) {
		t.Errorf("stack %s is still there", d.stack)
	}
	left, err := filepath.Glob(filepath.Join(w.root, "cdk.out", d.stack+"-emulator*"))
	for _, path := range left {
		err = errors.Join(err, os.RemoveAll(path))
	}
	if err != nil {
		t.Error(err)
	}
	t.Logf("removed %s in %.1f s", d.stack, time.Since(began).Seconds())
}

// deployBots deploys a stack of the test's own app on the bus.
func (w *world) deployBots(ctx context.Context, stack, set string) error {
	architecture := "x86_64"
	if runtime.GOARCH == "arm64" {
		architecture = "arm64"
	}
	return w.cdk(ctx, "deploy", "--all", "--require-approval", "never", "--app", "go run ./tests/aws/app", "-o", "cdk.out/"+stack,
		"-c", "bus="+w.bus.stack, "-c", "stack="+stack, "-c", "set="+set, "-c", "endpoint="+w.endpoint, "-c", "architecture="+architecture)
}

func (w *world) destroyBots(t *testing.T, stack string) {
	began := time.Now()
	if err := w.cdk(context.Background(), "destroy", "--all", "--force", "--app", "cdk.out/"+stack); err != nil {
		t.Errorf("remove %s: %v", stack, err)
	}
	if err := os.RemoveAll(filepath.Join(w.root, "cdk.out", stack)); err != nil {
		t.Error(err)
	}
	t.Logf("removed %s in %.1f s", stack, time.Since(began).Seconds())
}

// cdk runs the CDK's command line that scripts/deploy has installed.
func (w *world) cdk(ctx context.Context, args ...string) error {
	return w.command(ctx, ".tools/cdk/node_modules/.bin/cdk", append(args, "--no-notices")...)
}

// must runs a command in the checkout, which must succeed.
func (w *world) must(t *testing.T, name string, args ...string) {
	t.Helper()
	if err := w.command(t.Context(), name, args...); err != nil {
		t.Fatal(err)
	}
}

// command runs a command in the checkout. Its error has what the command said.
func (w *world) command(ctx context.Context, name string, args ...string) error {
	_, err := w.output(ctx, name, args...)
	return err
}

// output is command that returns what the command wrote, to both outputs.
func (w *world) output(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	if strings.Contains(name, "/") {
		name = filepath.Join(w.root, name)
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = w.root, w.environment()
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return out.String(), &commandError{line: filepath.Base(name) + " " + strings.Join(args, " "), out: out.String(), err: err}
	}
	return out.String(), nil
}

// commandError is a command that failed.
type commandError struct {
	line, out string
	err       error
}

func (e *commandError) Error() string { return e.line + ": " + e.err.Error() + "\n" + e.out }
func (e *commandError) Unwrap() error { return e.err }

// environment is that of commands: the emulator's, and nothing of AWS from outside.
func (w *world) environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(v, "RSTREAMS_") && !strings.HasPrefix(strings.ToUpper(v), "LEO") {
			env = append(env, v)
		}
	}
	return append(env, "AWS_ENDPOINT_URL="+w.endpoint, "AWS_ENDPOINT_URL_S3="+w.endpoint, "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"AWS_REGION="+awstest.Region, "AWS_DEFAULT_REGION="+awstest.Region, "AWS_EC2_METADATA_DISABLED=true",
		"CDK_DEFAULT_ACCOUNT=000000000000", "CDK_DEFAULT_REGION="+awstest.Region, "CDK_DISABLE_CLI_TELEMETRY=true",
		"JSII_RUNTIME_PACKAGE_CACHE=enabled", "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION=1")
}

// stacks is a client of CloudFormation.
func (w *world) stacks() *cloudformation.Client {
	return cloudformation.NewFromConfig(awssdk.Config{
		Region: awstest.Region, BaseEndpoint: &w.endpoint,
		Credentials: awssdk.CredentialsProviderFunc(func(context.Context) (awssdk.Credentials, error) {
			return awssdk.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, nil
		}),
	})
}

func (w *world) stackIsThere(stack string) bool {
	out, err := w.stacks().DescribeStacks(context.Background(), &cloudformation.DescribeStacksInput{StackName: &stack})
	return err == nil && len(out.Stacks) == 1 && out.Stacks[0].StackStatus != types.StackStatusDeleteComplete
}

// describe returns the outputs of a stack by name.
func (w *world) describe(t *testing.T, stack string) map[string]types.Output {
	t.Helper()
	out, err := w.stacks().DescribeStacks(t.Context(), &cloudformation.DescribeStacksInput{StackName: &stack})
	if err == nil && len(out.Stacks) != 1 {
		err = errors.New("there is no such stack")
	}
	if err != nil {
		t.Fatalf("stack %s: %v", stack, err)
	}
	outputs := map[string]types.Output{}
	for _, o := range out.Stacks[0].Outputs {
		outputs[*o.OutputKey] = o
	}
	return outputs
}

// parts returns the physical ids of what a stack has, by logical id, and their types.
func (w *world) parts(t *testing.T, stack string) map[string]types.StackResourceSummary {
	t.Helper()
	pages := cloudformation.NewListStackResourcesPaginator(w.stacks(), &cloudformation.ListStackResourcesInput{StackName: &stack})
	out := map[string]types.StackResourceSummary{}
	for pages.HasMorePages() {
		page, err := pages.NextPage(t.Context())
		if err != nil {
			t.Fatalf("stack %s: %v", stack, err)
		}
		for _, r := range page.StackResourceSummaries {
			out[*r.LogicalResourceId] = r
		}
	}
	return out
}

// function returns the name of a function of the bus, such as Archiver.
func (w *world) function(t *testing.T, name string) string {
	t.Helper()
	for id, r := range w.parts(t, w.bus.stack) {
		if *r.ResourceType == "AWS::Lambda::Function" && strings.HasPrefix(id, "Bus"+name+"Function") {
			return *r.PhysicalResourceId
		}
	}
	t.Fatalf("stack %s has no function %s", w.bus.stack, name)
	return ""
}
