package rstreamscdk

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/jsii-runtime-go"

	"github.com/rstreams-go/rstreams/sdk/bot"
)

func TestMain(m *testing.M) {
	// Unpacking the CDK's library takes half a minute, each time without this.
	_ = os.Setenv("JSII_RUNTIME_PACKAGE_CACHE", "enabled")
	_ = os.Setenv("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
	status := m.Run()
	jsii.Close()
	if outdir != "" {
		_ = os.RemoveAll(outdir)
	}
	os.Exit(status)
}

// needNode skips a test on machines where the CDK cannot run.
func needNode(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("node"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("Node.js is missing: the CDK needs it")
		}
		t.Skip("Node.js is missing: the CDK needs it")
	}
}

// outdir holds what the tests synthesise.
var outdir string

// synthesised are the templates of an app that has every kind of stack, made once for all tests.
var synthesised = sync.OnceValues(func() (map[string]*template, error) {
	var err error
	if outdir, err = os.MkdirTemp("", "rstreams-cdk-"); err != nil {
		return nil, err
	}
	code, err := fakeCode(filepath.Join(outdir, "code"))
	if err != nil {
		return nil, err
	}
	app := awscdk.NewApp(&awscdk.AppProps{
		Outdir: jsii.String(filepath.Join(outdir, "cdk.out")), AnalyticsReporting: jsii.Bool(false),
		Context: &map[string]any{"@aws-cdk/core:enablePartitionLiterals": true},
	})
	if err := stacks(app, code); err != nil {
		return nil, err
	}
	assembly := app.Synth(nil)
	out := map[string]*template{}
	for _, s := range *assembly.Stacks() {
		text, err := os.ReadFile(*s.TemplateFullPath())
		if err != nil {
			return nil, err
		}
		t := &template{text: text}
		if err := json.Unmarshal(text, t); err != nil {
			return nil, err
		}
		out[*s.StackName()] = t
	}
	return out, nil
})

// stacks makes the stacks that the tests look at.
func stacks(app awscdk.App, code string) error {
	stack := func(name string, env *awscdk.Environment) awscdk.Stack {
		return awscdk.NewStack(app, jsii.String(name), &awscdk.StackProps{Env: env})
	}
	dev, err := NewBus(stack("rstreams-dev", nil), "Bus", BusProps{Code: code})
	if err != nil {
		return err
	}
	if _, err := NewBus(stack("rstreams-test", nil), "Bus", BusProps{Code: code, Stage: "test"}); err != nil {
		return err
	}
	if _, err := NewBus(stack("rstreams-local", nil), "Bus", BusProps{
		Code: code, Endpoint: "http://127.0.0.1:4566", Architecture: x86, RemoveData: true, Tables: Tables{LeoStream: Capacity{Provisioned: true}},
	}); err != nil {
		return err
	}
	prod := prodProps()
	prod.Code = code
	if _, err := NewBus(stack("rstreams-prod", nil), "Bus", prod); err != nil {
		return err
	}

	node := awslambda.NewFunction(stack("handlers", nil), jsii.String("Theirs"), &awslambda.FunctionProps{
		Runtime: awslambda.Runtime_NODEJS_22_X(), Handler: jsii.String("index.handler"), Code: awslambda.Code_FromInline(jsii.String("exports.handler = () => {}")),
	})
	if _, err := NewBots(stack("rstreams-dev-orders", nil), "Bots", BotsProps{
		Bus: dev, Code: code, Memory: 192, Environment: map[string]string{"CURRENCY": "EUR"},
		Reads:    map[string][]string{"orders-price": {"rates"}},
		Policies: map[string][]string{"orders-mail": {"arn:aws:iam::123456789012:policy/mail"}},
		Handlers: []Handler{{Function: node, Bot: bot.Bot{ID: "theirs", Triggers: []string{"orders"}}}},
	}, orderBots()...); err != nil {
		return err
	}

	env := func(account, region string) *awscdk.Environment {
		return &awscdk.Environment{Account: jsii.String(account), Region: jsii.String(region)}
	}
	byName, err := ImportBus(ImportProps{Stack: "rstreams-prod"})
	if err != nil {
		return err
	}
	far, err := ImportBus(farBus())
	if err != nil {
		return err
	}
	for name, s := range map[string]struct {
		bus Target
		env *awscdk.Environment
	}{
		"import-name": {byName, nil}, "import-region": {far, env("111111111111", "us-east-1")}, "import-account": {far, env("222222222222", "eu-west-1")},
	} {
		in := stack(name, s.env)
		props := BotsProps{Bus: s.bus, Code: code, registerCode: filepath.Join(code, register)}
		if name == "import-account" {
			theirs := awslambda.Function_FromFunctionName(in, jsii.String("Theirs"), jsii.String("theirs"))
			props.Handlers = []Handler{{Function: theirs, Bot: bot.Bot{ID: "theirs", Triggers: []string{"orders"}}}}
		}
		if _, err := NewBots(in, "Bots", props, orderBots()[:1]...); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// prodProps set everything there is.
func prodProps() BusProps {
	return BusProps{
		Stage: "prod", Intake: Intake{OnDemand: true, Retention: 72 * time.Hour, Window: time.Second, Retries: 100},
		Tables: Tables{LeoStream: Capacity{Provisioned: true, MaxWrite: 4000}, LeoCron: Capacity{Provisioned: true}},
		TTL:    14 * day, MonitorHashKey: "170141183460469231731687303715884105728", Memory: Memory{KinesisProcessor: 1024},
		Invoke: Invoke{
			Functions: []string{"arn:aws:lambda:us-east-1:123456789012:function:legacy-*"}, Accounts: []string{"222222222222"},
			Topics: []string{"arn:aws:sns:us-east-1:123456789012:bots"}, Policy: "arn:aws:iam::123456789012:policy/invoke",
		},
		TrustedPrincipals: []string{"222222222222", "arn:aws:iam::333333333333:role/reports"},
		Replication: &Replication{
			Roles: []string{
				"arn:aws:iam::444444444444:role/rstreams-eu-LeoBotRole-ABC", "arn:aws:iam::555555555555:role/lake-LeoBotRole-XYZ",
			},
			Queues: []ReplicatedQueue{{Queue: "orders"}, {Queue: "rates", Account: "555555555555", Stack: "lake", Destination: "lake.rates"}},
		},
		ArchiveEvery: time.Hour, RawRetention: 30 * day, LogRetention: 365 * day, SkipQueues: []string{"noise"}, SkipBots: []string{"noisy"},
		Alarms: Alarms{Topic: "arn:aws:sns:us-east-1:123456789012:ops", Lag: time.Minute}, AccessLogs: "access-logs",
		KMSKey: "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555",
	}
}

// farBus is a bus in account 111111111111 and region eu-west-1.
func farBus() ImportProps {
	return ImportProps{
		Stack: "far", Account: "111111111111", Region: "eu-west-1",
		Resources: &Resources{
			Region: "eu-west-1", LeoStream: "s", LeoCron: "c", LeoEvent: "e", LeoSettings: "t", LeoSystem: "y", LeoS3: "b", LeoKinesisStream: "k", LeoFirehoseStream: "f",
		},
		Register: "arn:aws:lambda:eu-west-1:111111111111:function:far-register", Role: "arn:aws:iam::111111111111:role/far-LeoBotRole-1",
	}
}

func nothing(context.Context, *bot.Run) error { return nil }

// orderBots are bots of all kinds: one that reads and writes, one that only reads, one by the clock that reads.
func orderBots() []bot.Bot {
	return []bot.Bot{
		{
			ID: "orders-price", Description: "prices orders", Triggers: []string{"orders"}, Writes: []string{"orders.priced"}, Run: nothing,
			Memory: 512, Timeout: time.Minute, Delay: 5 * time.Second, Settings: map[string]any{"rate": 1.5, "strict": true}, Tags: []string{"team:shop"},
		},
		{ID: "orders-mail", Triggers: []string{"queue:orders.priced"}, Run: nothing, Paused: true, FanOut: &bot.FanOut{Instances: 4}},
		{ID: "reports/daily", Schedule: "0 6 * * *", TimeZone: "Europe/Berlin", Run: nothing},
	}
}

// fakeCode makes programs that do nothing for every function.
func fakeCode(dir string) (string, error) {
	for _, name := range append(functionNames(prodProps()), "") {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name, "bootstrap"), []byte("#!/bin/false "+name+"\n"), 0o755); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// template is a synthesised template.
type template struct {
	text      []byte
	Resources map[string]*resource
	Outputs   map[string]struct {
		Value  any
		Export struct{ Name string }
	}
}

type resource struct {
	Type           string
	Properties     map[string]any
	DeletionPolicy string
	DependsOn      []string
}

// templateOf returns the template of a stack.
func templateOf(t testing.TB, stack string) *template {
	t.Helper()
	needNode(t)
	all, err := synthesised()
	if err != nil {
		t.Fatal(err)
	}
	if all[stack] == nil {
		t.Fatalf("there is no stack %s, but %v", stack, slices.Sorted(maps.Keys(all)))
	}
	return all[stack]
}

// of returns the resources of a type by their logical ids.
func (t *template) of(typ string) map[string]*resource {
	out := map[string]*resource{}
	for id, r := range t.Resources {
		if r.Type == typ {
			out[id] = r
		}
	}
	return out
}

// one returns the only resource of a type whose id begins with a prefix.
func (t *template) one(tb testing.TB, typ, prefix string) *resource {
	tb.Helper()
	var found []string
	for id := range t.of(typ) {
		if strings.HasPrefix(id, prefix) {
			found = append(found, id)
		}
	}
	if len(found) != 1 {
		tb.Fatalf("%s %s*: %v, want one", typ, prefix, found)
	}
	return t.Resources[found[0]]
}

// at returns what is at a path of a document, whose steps are members or indexes; nil for nothing.
func at(doc any, path ...any) any {
	for _, step := range path {
		switch s := step.(type) {
		case string:
			m, _ := doc.(map[string]any)
			doc = m[s]
		case int:
			l, _ := doc.([]any)
			if s >= len(l) {
				return nil
			}
			doc = l[s]
		}
	}
	return doc
}

// text renders a value for comparison.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// list returns a value that may be one or many as many.
func list(v any) []any {
	switch v := v.(type) {
	case nil:
		return nil
	case []any:
		return v
	default:
		return []any{v}
	}
}

// statement is one of a policy.
type statement struct {
	owner     string // logical id of the role or policy
	Sid       string
	Effect    string
	Action    any
	Resource  any
	Condition map[string]map[string]any
}

// statements returns those of all roles and policies of principals.
func (t *template) statements(tb testing.TB) []statement {
	tb.Helper()
	var out []statement
	add := func(owner string, doc any) {
		var d struct{ Statement []statement }
		if err := json.Unmarshal([]byte(text(doc)), &d); err != nil {
			tb.Fatal(owner, err)
		}
		for _, s := range d.Statement {
			s.owner = owner
			out = append(out, s)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
		switch r := t.Resources[id]; r.Type {
		case "AWS::IAM::Role":
			for _, p := range list(r.Properties["Policies"]) {
				add(id, at(p, "PolicyDocument"))
			}
		case "AWS::IAM::ManagedPolicy", "AWS::IAM::Policy":
			add(id, r.Properties["PolicyDocument"])
		}
	}
	return out
}
