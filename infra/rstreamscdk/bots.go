package rstreamscdk

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/bot"
)

// BotsProps configures NewBots. Bus is required, and Entry or Code if there are bots.
type BotsProps struct {
	// Bus is the bus that the bots are on: of NewBus or of ImportBus.
	Bus Target
	// Entry is the main package that calls bot.Main with the bots, as the go command takes it: ./cmd/orders, relative to the
	// directory of the app, or an import path. It is built once for all bots.
	Entry string
	// Code is a directory with the built program as bootstrap, instead of Entry.
	Code string
	// Handlers are functions that others have written, in whatever language, and that are bots too.
	Handlers []Handler
	// Environment is added to that of every bot.
	Environment map[string]string
	// Reads are the queues that a bot may read besides its triggers, by the bot's id. A bot that is not in the map may read every
	// queue of the bus.
	Reads map[string][]string
	// Policies are ARNs of managed policies for what the bots do outside of the bus, by the bot's id; those of "" are for all.
	Policies map[string][]string
	// Memory is that of bots which do not say, in MB; 0 means 256.
	Memory int
	// LogRetention is as in BusProps.
	LogRetention time.Duration
	// Architecture and Endpoint are as in BusProps; "" means those of the bus, if NewBus made it.
	Architecture, Endpoint string

	// registerCode is a built Register function, for tests.
	registerCode string
}

// Handler is a function that others have written and that the bus shall run as a bot.
type Handler struct {
	// Function is the code. The bus may start it if it carries the tag rstreams-bus with the name of the bus's stack, which a
	// function of this app is given, or if it is among the bus's Invoke.Functions.
	Function awslambda.IFunction
	// Bot is the registration: all of it but Run and Memory, which the function sees to.
	Bot bot.Bot
}

// Bots are the functions of bots.
type Bots struct {
	// Construct is the node in the tree of constructs, for tags and aspects.
	Construct constructs.Construct
	// Functions are the functions by the bots' ids, without those of Handlers.
	Functions map[string]awslambda.Function
}

// maxTimeout is the longest run that Lambda allows.
const maxTimeout = 15 * time.Minute

// NewBots makes a Lambda function of each bot, all of one program, with the memory, the time limit and the rights that it needs,
// and registers the bots on the bus. A bot that leaves the construct, or whose stack is deleted, is paused and archived there; its
// checkpoints stay (W-P15). The error wraps ErrProps or is that of a build.
//
// A bot may read the bus's queues (see BotsProps.Reads), write to them if it has Triggers or Writes (those that have triggers
// may have dead letters), and keep its own checkpoints and no other bot's (W-O4). For a bus in another account the rights are those of
// its LeoBotRole, which is any bot of that bus: give the accounts that are trusted with it the bus's TrustedPrincipals.
func NewBots(scope constructs.Construct, id string, props BotsProps, bots ...bot.Bot) (*Bots, error) {
	registrations, err := props.check(bots)
	if err != nil {
		return nil, err
	}
	bus, err := props.Bus.at(scope)
	if err != nil {
		return nil, err
	}
	if bus.abroad && len(props.Reads) > 0 {
		return nil, fmt.Errorf("%w: Reads cannot be kept to for a bus in another account, where the bots have the rights of its LeoBotRole; leave Reads out", ErrProps)
	}
	code, cleanup, err := props.code(bus.elsewhere)
	if err != nil {
		return nil, err
	}
	defer cleanup()

	b := &Bots{Construct: constructs.NewConstruct(scope, jsii.String(id)), Functions: map[string]awslambda.Function{}}
	properties := map[string]any{}
	for _, one := range bots {
		f := b.function(bus, props, code, one)
		b.Functions[one.ID] = f
		properties[one.ID] = newBotRegistration(registrations[one.ID], bus.name(f))
	}
	for i, h := range props.Handlers {
		if bus.abroad {
			id := jsii.String(fmt.Sprint("HandlerOfBus", i))
			awslambda.NewCfnPermission(b.Construct, id, &awslambda.CfnPermissionProps{
				Action: jsii.String("lambda:InvokeFunction"), FunctionName: h.Function.FunctionArn(), Principal: bus.account,
			})
		}
		awscdk.Tags_Of(h.Function).Add(jsii.String(busTag), jsii.String(bus.bus), nil)
		properties[h.Bot.ID] = newBotRegistration(registrations[h.Bot.ID], bus.name(h.Function))
	}
	token := bus.register
	var wait []constructs.IDependable
	if bus.elsewhere {
		f := b.register(bus, props, code)
		token, wait = *f.FunctionArn(), append(wait, f.Role())
	}
	resource := newRegistration(b.Construct, "Registration", token, properties)
	// A bot that is registered may be started at once.
	for _, one := range bots {
		wait = append(wait, b.Functions[one.ID])
	}
	resource.Node().AddDependency(wait...)
	return b, nil
}

// check validates the props and the bots, fills in defaults, and returns the registrations by id.
func (p *BotsProps) check(bots []bot.Bot) (map[string]store.Registration, error) {
	var c checks
	if p.Bus == nil {
		c.bad("Bus is missing: give the result of NewBus or ImportBus")
	}
	if bus, ok := p.Bus.(*Bus); ok && bus != nil {
		set(&p.Architecture, bus.props.Architecture)
		set(&p.Endpoint, bus.props.Endpoint)
	}
	set(&p.Architecture, arm64)
	set(&p.Memory, 256)
	set(&p.LogRetention, 30*day)
	if p.Architecture != arm64 && p.Architecture != x86 {
		c.bad("Architecture %q must be %s or %s", p.Architecture, arm64, x86)
	}
	c.logRetention(p.LogRetention)
	c.endpoint(p.Endpoint)
	if len(bots) > 0 && (p.Entry == "") == (p.Code == "") {
		c.bad("bots need either Entry, the main package that they are in, or Code, where it is built")
	}
	if n := len(bots) + len(p.Handlers); n == 0 || n > maxRegistrations {
		c.bad("there are %d bots, want 1 to %d; use further constructs for more", n, maxRegistrations)
	}
	list := slices.Clone(bots)
	for i, h := range p.Handlers {
		if h.Function == nil {
			c.bad("Handlers[%d], bot %q, has no Function", i, h.Bot.ID)
		}
		if h.Bot.Run != nil {
			c.bad("Handlers[%d], bot %q, has a Run: its code is the Function", i, h.Bot.ID)
		}
		h.Bot.Run = func(context.Context, *bot.Run) error { return nil }
		list = append(list, h.Bot)
	}
	out := map[string]store.Registration{}
	for i, one := range list {
		r, err := one.Registration()
		if err != nil {
			c.bad("%w", err)
		}
		if _, ok := out[one.ID]; ok {
			c.bad("bot %s is there twice", one.ID)
		}
		out[one.ID] = r
		if i < len(bots) {
			c.limits(one, p.Memory)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(p.Reads)) {
		if _, ok := out[id]; !ok {
			c.bad("Reads names bot %s, which is not among the bots", id)
		}
		for _, q := range p.Reads[id] {
			if err := ref.ValidateQueue(q); err != nil {
				c.bad("Reads of bot %s: %w", id, err)
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(p.Policies)) {
		if _, ok := out[id]; !ok && id != "" {
			c.bad("Policies names bot %s, which is not among the bots", id)
		}
		c.arns("Policies of bot "+id, "iam", p.Policies[id])
	}
	for _, name := range slices.Sorted(maps.Keys(p.Environment)) {
		if strings.HasPrefix(name, "RSTREAMS_") || strings.HasPrefix(name, "AWS_") {
			c.bad("Environment must not have %s: names with RSTREAMS_ and AWS_ are taken", name)
		}
	}
	return out, c.err("the bots")
}

// limits checks what Lambda does not allow.
func (c *checks) limits(b bot.Bot, memory int) {
	if b.Timeout > maxTimeout {
		c.bad("bot %s: its Timeout %v is longer than Lambda's %v; end the run earlier and let the bus go on with the next", b.ID, b.Timeout, maxTimeout)
	}
	if b.Timeout%time.Second != 0 {
		c.bad("bot %s: its Timeout %v must be whole seconds", b.ID, b.Timeout)
	}
	c.between("Memory of bot "+b.ID, cmp.Or(b.Memory, memory), 128, 10_240)
}

// code returns the directory with the program of the bots and, if asked for, that of the register function in a directory of its
// own, and what removes it.
func (p *BotsProps) code(registers bool) (dir string, cleanup func(), err error) {
	dir, err = os.MkdirTemp("", "rstreams-build-")
	if err != nil {
		return "", nil, err
	}
	cleanup = func() { _ = os.RemoveAll(dir) }
	ctx := context.Background()
	switch {
	case p.Code != "":
		err = built(p.Code, "")
	case p.Entry != "":
		if err = os.Mkdir(filepath.Join(dir, botCode), 0o755); err == nil {
			err = buildProgram(ctx, filepath.Join(dir, botCode), p.Architecture, p.Entry)
		}
	}
	if err == nil && registers && p.registerCode == "" {
		err = buildBus(ctx, dir, p.Architecture, []string{register})
	}
	if err != nil {
		cleanup()
		return "", nil, err
	}
	return dir, cleanup, nil
}

// botCode is the directory of the bots' program.
const botCode = "bots"

// function makes the function of a bot.
func (b *Bots) function(bus place, props BotsProps, code string, one bot.Bot) awslambda.Function {
	// A construct's id may hold anything but its separator.
	scope := constructs.NewConstruct(b.Construct, jsii.String(strings.ReplaceAll(one.ID, "/", "%2F")))
	memory := cmp.Or(one.Memory, props.Memory)
	env := map[string]*string{
		"RSTREAMS_CONFIG": bus.config(), "RSTREAMS_BOT": jsii.String(one.ID), "RSTREAMS_STACK": jsii.String(bus.bus),
		"GOMEMLIMIT": jsii.String(memoryLimit(memory)),
	}
	for k, v := range props.Environment {
		env[k] = jsii.String(v)
	}
	var grants []grant
	if bus.abroad {
		env["RSTREAMS_ROLE"] = jsii.String(bus.role)
		grants = append(grants, allow("BeBot", []string{bus.role}, "sts:AssumeRole"))
	} else {
		grants = bus.grantsOf(one, props.Reads)
	}
	logs := newLogGroup(scope, "Log", props.LogRetention)
	policies := slices.Concat(props.Policies[""], props.Policies[one.ID])
	f := newFunction(scope, functionProps{
		code: cmp.Or(props.Code, filepath.Join(code, botCode)), description: "bot " + one.ID + " of bus " + bus.bus, memory: memory,
		timeout: cmp.Or(one.Timeout, maxTimeout), env: env, logs: logs, architecture: props.Architecture, endpoint: props.Endpoint,
		role: newFunctionRole(scope, append(logGrants(*logs.LogGroupArn()), grants...), policies),
	})
	awscdk.Tags_Of(f).Add(jsii.String(busTag), jsii.String(bus.bus), nil)
	// The bus sees to retries: Lambda's own would find the run begun, or be late.
	awslambda.NewCfnEventInvokeConfig(scope, jsii.String("Async"), &awslambda.CfnEventInvokeConfigProps{
		FunctionName: f.FunctionName(), Qualifier: jsii.String("$LATEST"),
		MaximumRetryAttempts: jsii.Number(0), MaximumEventAgeInSeconds: jsii.Number(maxTimeout.Seconds()),
	})
	if one.FanOut != nil {
		// Beside the role: a policy of the role itself that names the function would make the two depend on each other.
		arn := *f.FunctionArn()
		awsiam.NewPolicy(scope, jsii.String("Workers"), &awsiam.PolicyProps{
			Document: document([]grant{allow("InvokeItself", []string{arn, arn + ":*"}, "lambda:InvokeFunction")}),
			Roles:    &[]awsiam.IRole{f.Role()},
		})
	}
	if bus.abroad {
		awslambda.NewCfnPermission(scope, jsii.String("Bus"), &awslambda.CfnPermissionProps{
			Action: jsii.String("lambda:InvokeFunction"), FunctionName: f.FunctionArn(), Principal: bus.account,
		})
	}
	return f
}

// grantsOf are the rights of a bot.
func (p place) grantsOf(b bot.Bot, reads map[string][]string) []grant {
	grants := p.readGrants()
	if more, ok := reads[b.ID]; ok {
		grants = p.readOnlyGrants(slices.Concat(b.Triggers, more), b.Writes)
	}
	grants = append(grants, p.stateGrants()...)
	grants = append(grants, p.ownGrants(b.ID)...)
	if len(b.Triggers)+len(b.Writes) > 0 {
		grants = append(grants, p.writeGrants()...)
	}
	return grants
}

// readOnlyGrants are the readGrants for some queues, which have parts of their own for their archive and snapshot. Objects cannot
// be told apart by queue. Of the queues that the bot writes it gets the heads only: who writes a snapshot looks for the one before.
func (p place) readOnlyGrants(queues, writes []string) []grant {
	r := p.resources
	parts := func(queues []string) []string {
		var names []string
		for _, q := range queues {
			q = ref.Queue(q)
			names = append(names, q, q+"/_archive", q+"/_snapshot")
		}
		slices.Sort(names)
		return slices.Compact(names)
	}
	names, heads := parts(queues), parts(slices.Concat(queues, writes))
	grants := p.readGrants()
	for i, g := range grants {
		switch g.sid {
		case "ReadQueues":
			grants[i] = g.only(ownKeys(names...))
		case "ReadState":
			grants[i].on = []string{p.table(r.LeoSettings), p.table(r.LeoSystem)}
		}
	}
	return append(grants, allow("ReadHeads", []string{p.table(r.LeoEvent)},
		"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query").only(ownKeys(heads...)))
}

// name is how the bus starts a function: by its name in its own account and region, by its ARN otherwise (C57).
func (p place) name(f awslambda.IFunction) string {
	if p.account != "" || *f.Env().Account != *p.stack.Account() || *f.Env().Region != *p.stack.Region() {
		return *f.FunctionArn()
	}
	return *f.FunctionName()
}

// newBotRegistration is what the bus is told of a bot. Settings travel as text, which CloudFormation leaves as it is.
func newBotRegistration(r store.Registration, function string) map[string]any {
	out := map[string]any{
		"id": r.ID, "name": r.Name, "type": "cron", "lambdaName": function, "triggers": orEmpty(r.Triggers), "writes": orEmpty(r.Writes),
		"paused": r.Paused, "timeout": r.Timeout,
	}
	for name, value := range map[string]string{"description": r.Description, "time": r.Schedule, "timeZone": r.TimeZone, "settings": string(r.Settings)} {
		if value != "" {
			out[name] = value
		}
	}
	if len(r.Tags) > 0 {
		out["tags"] = r.Tags
	}
	if r.Delay > 0 {
		out["delay"] = r.Delay
	}
	return out
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// register makes a Register function beside bots in another region than their bus: CloudFormation finds none of other regions.
func (b *Bots) register(bus place, props BotsProps, code string) awslambda.Function {
	const memory = 256
	scope := constructs.NewConstruct(b.Construct, jsii.String("Register"))
	logs := newLogGroup(scope, "Log", props.LogRetention)
	return newFunction(scope, functionProps{
		code: cmp.Or(props.registerCode, filepath.Join(code, register)), description: "registers bots on bus " + bus.bus, memory: memory, timeout: 5 * time.Minute,
		env: map[string]*string{
			"RSTREAMS_CONFIG": bus.config(), "RSTREAMS_STACK": jsii.String(bus.bus), "GOMEMLIMIT": jsii.String(memoryLimit(memory)),
		},
		logs: logs, architecture: props.Architecture, endpoint: props.Endpoint,
		role: newFunctionRole(scope, append(logGrants(*logs.LogGroupArn()), bus.registerGrants()...), nil),
	})
}
