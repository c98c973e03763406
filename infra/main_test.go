package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"
)

func TestMain(m *testing.M) {
	_ = os.Setenv("JSII_RUNTIME_PACKAGE_CACHE", "enabled")
	_ = os.Setenv("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
	status := m.Run()
	jsii.Close()
	os.Exit(status)
}

func TestBadContextIsOneClearError(t *testing.T) {
	for name, c := range map[string]struct {
		context map[string]any
		want    []string
	}{
		"no stage":             {nil, []string{"cdk deploy -c stage=dev"}},
		"shards":               {map[string]any{"stage": "dev", "shards": "many"}, []string{"shards is many", "on-demand"}},
		"no shards":            {map[string]any{"stage": "dev", "shards": 0.0}, []string{"shards is 0"}},
		"demo":                 {map[string]any{"stage": "dev", "demo": "perhaps"}, []string{"demo is perhaps", "true or false"}},
		"mapping alone":        {map[string]any{"stage": "dev", "replicate": `["orders"]`}, []string{"replicateTo", "no role"}},
		"mapping that is none": {map[string]any{"stage": "dev", "replicate": `orders`}, []string{"replicate", "JSON"}},
		"several at once":      {map[string]any{"demo": "x", "removeData": "y", "shards": "z"}, []string{"stage", "demo", "removeData", "shards"}},
	} {
		err := stacks(nil, func(name string) any { return c.context[name] }, os.Getenv)
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", name, err, w)
			}
		}
	}
}

func TestAStageIsABusAndItsDemonstrationIsAnotherStack(t *testing.T) {
	if _, err := exec.LookPath("node"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("Node.js is missing: the CDK needs it")
		}
		t.Skip("Node.js is missing: the CDK needs it")
	}
	code := t.TempDir()
	for _, name := range []string{
		"kinesis-processor", "event-trigger", "bot-runner", "scheduler", "monitor", "firehose-loader", "archiver", "bus-api", "register", demoCode,
	} {
		if err := os.MkdirAll(code+"/"+name, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(code+"/"+name+"/bootstrap", []byte(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	app := awscdk.NewApp(&awscdk.AppProps{Outdir: jsii.String(t.TempDir())})
	context := map[string]any{"stage": "dev", "demo": "true", "code": code}
	env := map[string]string{"CDK_DEFAULT_ACCOUNT": "123456789012", "CDK_DEFAULT_REGION": "eu-west-1"}
	err := stacks(app, func(name string) any { return context[name] }, func(name string) string { return env[name] })
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range *app.Synth(nil).Stacks() {
		names = append(names, *s.StackName()+" in "+*s.Environment().Region)
	}
	if got := strings.Join(names, ", "); got != "rstreams-dev in eu-west-1, rstreams-dev-demo in eu-west-1" {
		t.Errorf("stacks %s", got)
	}
}
