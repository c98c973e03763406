// Command infra is the CDK app of RStreams: a bus per stage, and beside it, if asked for, the bots of the demonstration.
//
//	cdk deploy -c stage=dev
//
// Context, given by -c NAME=VALUE:
//
//	stage         the stage; required. The bus's stack is NAME-STAGE
//	name          first part of the stacks' names; default rstreams
//	demo          true also makes the stack NAME-STAGE-demo with the bots of examples/quakes
//	shards        shards of the intake stream, or on-demand; default 1
//	architecture  arm64 or x86_64 of the functions; default arm64
//	code          directory with the functions' programs, as scripts/build-lambdas makes it; default: they are built
//	removeData    true makes the removal of the bus remove its events; default false, and true with an endpoint
//	alarmTopic    ARN of the SNS topic that alarms tell
//	trust         accounts and roles, separated by commas, that may assume the bus's Role
//	botAccounts   accounts, separated by commas, whose functions may be bots
//	replicateTo   ARNs, separated by commas, of the Role outputs of buses that queues are copied to
//	replicate     the queues that are copied, as the JSON of a list: ["q", {"q": {"account": …, "stack": …, "destination": …}}]
//	endpoint      address of an emulator
//
// Apps of one's own use package rstreamscdk, which has more to choose.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/rstreams-go/rstreams/examples/quakes"
	"github.com/rstreams-go/rstreams/infra/rstreamscdk"
	"github.com/rstreams-go/rstreams/sdk/replicate"
)

func main() {
	app := awscdk.NewApp(nil)
	get := func(name string) any { return app.Node().TryGetContext(jsii.String(name)) }
	err := stacks(app, get, os.Getenv)
	if err == nil {
		app.Synth(nil)
	}
	jsii.Close()
	if err != nil {
		fmt.Fprintln(os.Stderr, "infra:", err)
		os.Exit(1)
	}
}

// stacks makes the stacks that the context asks for.
func stacks(app awscdk.App, get func(name string) any, getenv func(string) string) error {
	c := &reader{get: get}
	stage, name := c.text("stage", ""), c.text("name", "rstreams")
	props := rstreamscdk.BusProps{
		Stage: stage, Architecture: c.text("architecture", ""), Code: c.text("code", ""), Endpoint: c.text("endpoint", ""),
		Alarms:            rstreamscdk.Alarms{Topic: c.text("alarmTopic", "")},
		TrustedPrincipals: c.list("trust"), Invoke: rstreamscdk.Invoke{Accounts: c.list("botAccounts")},
		Intake: c.intake(), Replication: c.replication(),
	}
	props.RemoveData = c.boolean("removeData", props.Endpoint != "")
	demo := c.boolean("demo", false)
	if stage == "" {
		c.errs = append(c.errs, errors.New("no stage is given: cdk deploy -c stage=dev"))
	}
	if len(c.errs) > 0 {
		texts := make([]string, len(c.errs))
		for i, err := range c.errs {
			texts[i] = err.Error()
		}
		return errors.New(strings.Join(texts, "; "))
	}

	bus := name + "-" + stage
	stackProps := &awscdk.StackProps{Description: jsii.String("RStreams bus " + bus), Env: env(getenv)}
	stack := awscdk.NewStack(app, jsii.String(bus), stackProps)
	made, err := rstreamscdk.NewBus(stack, "Bus", props)
	if err != nil || !demo {
		return err
	}
	stack = awscdk.NewStack(app, jsii.String(bus+"-demo"), &awscdk.StackProps{
		Description: jsii.String("bots of the demonstration on RStreams bus " + bus), Env: env(getenv),
	})
	bots := rstreamscdk.BotsProps{
		Bus: made, Entry: "./examples/quakes/quakesbots",
		Environment: map[string]string{"QUAKES_CSV": "/tmp/quakes.csv"}, // the only place that a function may write to
	}
	if c.text("code", "") != "" {
		bots.Entry, bots.Code = "", c.text("code", "")+"/"+demoCode
	}
	_, err = rstreamscdk.NewBots(stack, "Bots", bots, quakes.Bots(quakes.Config{})...)
	return err
}

// demoCode is the directory of the demonstration's program among the built functions.
const demoCode = "quakesbots"

// env is the account and region that the CDK command line found; none outside of it.
func env(getenv func(string) string) *awscdk.Environment {
	account, region := getenv("CDK_DEFAULT_ACCOUNT"), getenv("CDK_DEFAULT_REGION")
	if account == "" || region == "" {
		return nil
	}
	return &awscdk.Environment{Account: jsii.String(account), Region: jsii.String(region)}
}

// reader reads the context and gathers what is wrong with it.
type reader struct {
	get  func(name string) any
	errs []error
}

func (r *reader) bad(name string, value any, want string) {
	r.errs = append(r.errs, fmt.Errorf("context %s is %v, want %s", name, value, want))
}

func (r *reader) text(name, def string) string {
	switch v := r.get(name).(type) {
	case nil:
		return def
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	default:
		r.bad(name, v, "text")
		return def
	}
}

func (r *reader) boolean(name string, def bool) bool {
	switch v := r.get(name).(type) {
	case nil:
		return def
	case bool:
		return v
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			return b
		}
	}
	r.bad(name, r.get(name), "true or false")
	return def
}

func (r *reader) list(name string) []string {
	return slices.DeleteFunc(strings.Split(r.text(name, ""), ","), func(s string) bool { return strings.TrimSpace(s) == "" })
}

func (r *reader) intake() rstreamscdk.Intake {
	switch v := r.text("shards", "1"); v {
	case "on-demand":
		return rstreamscdk.Intake{OnDemand: true}
	default:
		n, err := strconv.Atoi(v)
		if err != nil || n < 1 {
			r.bad("shards", v, "a number of at least 1, or on-demand")
		}
		return rstreamscdk.Intake{Shards: n}
	}
}

// replication reads the parameters of the original (bus.md 3.12).
func (r *reader) replication() *rstreamscdk.Replication {
	roles, mapping := r.list("replicateTo"), r.text("replicate", "")
	routes, err := replicate.Routes(roles, []byte(mapping))
	if err != nil {
		r.errs = append(r.errs, fmt.Errorf("context replicateTo and replicate: %w", err))
	}
	if len(routes) == 0 {
		return nil
	}
	out := &rstreamscdk.Replication{Roles: roles}
	for _, to := range routes {
		out.Queues = append(out.Queues, rstreamscdk.ReplicatedQueue{
			Queue: to.Source, Destination: to.Destination, Account: to.Account, Stack: to.Stack, Region: to.Region,
		})
	}
	return out
}
