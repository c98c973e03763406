package rstreamscdk

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// The bus's functions, by the names of their directories in lambdas/.
const (
	kinesisProcessor = "kinesis-processor"
	eventTrigger     = "event-trigger"
	botRunner        = "bot-runner"
	scheduler        = "scheduler"
	monitor          = "monitor"
	firehoseLoader   = "firehose-loader"
	archiver         = "archiver"
	busAPI           = "bus-api"
	register         = "register"
	replicator       = "replicator"
)

// functionNames are the functions of a bus.
func functionNames(p BusProps) []string {
	names := []string{kinesisProcessor, eventTrigger, botRunner, scheduler, monitor, firehoseLoader, archiver, busAPI, register}
	if p.Replication != nil {
		names = append(names, replicator)
	}
	return names
}

// function describes a function of the bus.
type function struct {
	name, description string
	memory            int
	timeout           time.Duration
	grants            []grant
	env               map[string]string
	policies          []string // ARNs of managed policies
}

// functions makes the bus's functions, each with a role, a log and rights of its own.
func (b *Bus) functions(code string) {
	m, p, lost := b.props.Memory, b.place, *b.DeadLetters.QueueArn()
	sequencing := map[string]string{"RSTREAMS_TTL_SECONDS": seconds(b.props.TTL)}
	if len(b.props.SkipQueues) > 0 {
		sequencing["RSTREAMS_SKIP_EVENTS"] = strings.Join(b.props.SkipQueues, ",")
	}
	if len(b.props.SkipBots) > 0 {
		sequencing["RSTREAMS_SKIP_BOTS"] = strings.Join(b.props.SkipBots, ",")
	}
	invoke, dispatch := p.invokeGrants(b.props.Invoke), []string(nil)
	if b.props.Invoke.Policy != "" {
		dispatch = []string{b.props.Invoke.Policy}
	}
	// bot-runner tells the scheduler of bots that are due within its minute.
	b.function(function{
		name: scheduler, description: "starts bots whose time has come", memory: m.Scheduler, timeout: 5 * time.Minute,
		grants: slices.Concat(p.schedulerGrants(), invoke), policies: dispatch,
	}, code)
	wake := allow("WakeScheduler", []string{*b.Functions[scheduler].FunctionArn()}, "lambda:InvokeFunction")
	for _, f := range []function{
		{
			name: kinesisProcessor, description: "publishes the events of the Kinesis stream", memory: m.KinesisProcessor, timeout: 5 * time.Minute,
			grants: p.processorGrants(),
			env:    sequencing,
		},
		{
			name: eventTrigger, description: "starts the bots of queues that have moved", memory: m.EventTrigger, timeout: 5 * time.Minute,
			grants: slices.Concat(p.triggerGrants(), p.changeGrants(*b.LeoEvent.TableStreamArn(), lost), invoke), policies: dispatch,
		},
		{
			name: botRunner, description: "starts bots whose state has changed", memory: m.BotRunner, timeout: 5 * time.Minute,
			grants: slices.Concat(p.runnerGrants(), p.changeGrants(*b.LeoCron.TableStreamArn(), lost), invoke, []grant{wake}), policies: dispatch,
			env: map[string]string{"RSTREAMS_SCHEDULER": *b.Functions[scheduler].FunctionName()},
		},
		{
			name: monitor, description: "tells the monitor queue what bots do", memory: m.Monitor, timeout: 5 * time.Minute,
			grants: append(p.monitorGrants(), p.changeGrants(*b.LeoCron.TableStreamArn(), lost)...),
			env:    map[string]string{"RSTREAMS_MONITOR_HASH_KEY": b.props.MonitorHashKey},
		},
		{
			name: firehoseLoader, description: "publishes what Firehose has brought", memory: m.FirehoseLoader, timeout: 10 * time.Minute,
			grants: p.loaderGrants(lost), env: sequencing,
		},
		{
			name: archiver, description: "archives events before they leave the index", memory: m.Archiver, timeout: 15 * time.Minute,
			grants: p.archiverGrants(), env: sequencing,
		},
		{
			name: busAPI, description: "reads, writes and checkpoints for programs without an SDK", memory: m.BusAPI, timeout: 5 * time.Minute,
			grants: p.botGrants(),
		},
		{
			name: register, description: "registers the bots, systems and schemas of stacks", memory: m.Register, timeout: 5 * time.Minute,
			grants: p.registerGrants(),
		},
		{
			name: replicator, description: "copies queues to other buses", memory: m.Replicator, timeout: 5 * time.Minute,
			grants: p.replicatorGrants(b.props.Replication),
		},
	} {
		if f.name == replicator && b.props.Replication == nil {
			continue
		}
		b.function(f, code)
	}
	if f := b.Functions[replicator]; f != nil {
		// Bots are behind it, which the bus starts like any other.
		awscdk.Tags_Of(f).Add(jsii.String(busTag), jsii.String(p.bus), nil)
	}
}

func (b *Bus) function(f function, code string) {
	env := map[string]*string{
		"RSTREAMS_CONFIG":        b.place.config(),
		"RSTREAMS_STACK":         jsii.String(b.place.bus),
		"RSTREAMS_PARTIAL_BATCH": jsii.String(strconv.FormatBool(b.partialBatch())),
		"RSTREAMS_LOG_LEVEL":     jsii.String("info"),
		"GOMEMLIMIT":             jsii.String(memoryLimit(f.memory)),
	}
	for k, v := range f.env {
		env[k] = jsii.String(v)
	}
	id := constructID(f.name)
	scope := constructs.NewConstruct(b.Construct, jsii.String(id))
	b.scopes[f.name] = scope
	logs := newLogGroup(scope, "Log", b.props.LogRetention)
	role := newFunctionRole(scope, append(logGrants(*logs.LogGroupArn()), f.grants...), f.policies)
	b.Functions[f.name] = newFunction(scope, functionProps{
		code: filepath.Join(code, f.name), description: "RStreams: " + f.description, memory: f.memory, timeout: f.timeout,
		env: env, role: role, logs: logs, architecture: b.props.Architecture, endpoint: b.props.Endpoint,
	})
}

// partialBatch tells whether event sources understand which records of a batch failed. Emulators do not: they would take a
// report of failures for success.
func (b *Bus) partialBatch() bool { return b.props.Endpoint == "" }

// permit lets a service start a function on behalf of a resource.
func (b *Bus) permit(name, id, service, source string) awslambda.CfnPermission {
	return awslambda.NewCfnPermission(b.scopes[name], jsii.String(id+"Permission"), &awslambda.CfnPermissionProps{
		Action: jsii.String("lambda:InvokeFunction"), FunctionName: b.Functions[name].FunctionArn(), Principal: service,
		SourceArn: source, SourceAccount: b.place.stack.Account(),
	})
}

// functionProps describes a function, of the bus or of a bot.
type functionProps struct {
	code, description string
	memory            int
	timeout           time.Duration
	env               map[string]*string
	role              awsiam.IRole
	logs              awslogs.LogGroup
	architecture      string
	endpoint          string
}

func newFunction(scope constructs.Construct, f functionProps) awslambda.Function {
	if f.endpoint != "" {
		f.env["AWS_ENDPOINT_URL"] = jsii.String(f.endpoint)
	}
	architecture := awslambda.Architecture_ARM_64()
	if f.architecture == x86 {
		architecture = awslambda.Architecture_X86_64()
	}
	return awslambda.NewFunction(scope, jsii.String("Function"), &awslambda.FunctionProps{
		Runtime: awslambda.Runtime_PROVIDED_AL2023(), Handler: jsii.String("bootstrap"), Architecture: architecture,
		Code: awslambda.Code_FromAsset(jsii.String(f.code), nil), Description: jsii.String(f.description),
		MemorySize: jsii.Number(f.memory), Timeout: awscdk.Duration_Seconds(jsii.Number(f.timeout.Seconds())),
		Environment: &f.env, Role: f.role, LogGroup: f.logs,
	})
}

// newFunctionRole makes the role of one function.
func newFunctionRole(scope constructs.Construct, grants []grant, policies []string) awsiam.Role {
	var managed []awsiam.IManagedPolicy
	for i, arn := range policies {
		managed = append(managed, awsiam.ManagedPolicy_FromManagedPolicyArn(scope, jsii.String("Policy"+strconv.Itoa(i)), jsii.String(arn)))
	}
	return awsiam.NewRole(scope, jsii.String("Role"), &awsiam.RoleProps{
		AssumedBy:      awsiam.NewServicePrincipal(jsii.String("lambda.amazonaws.com"), nil),
		InlinePolicies: &map[string]awsiam.PolicyDocument{"Function": document(grants)}, ManagedPolicies: &managed,
	})
}

// newLogGroup makes a log. It goes with its stack: logs are no data of the bus.
func newLogGroup(scope constructs.Construct, id string, keep time.Duration) awslogs.LogGroup {
	return awslogs.NewLogGroup(scope, jsii.String(id), &awslogs.LogGroupProps{
		Retention: logRetention()[keep], RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
	})
}

// logRetention are the times that CloudWatch Logs knows.
func logRetention() map[time.Duration]awslogs.RetentionDays {
	return map[time.Duration]awslogs.RetentionDays{
		day:        awslogs.RetentionDays_ONE_DAY,
		3 * day:    awslogs.RetentionDays_THREE_DAYS,
		5 * day:    awslogs.RetentionDays_FIVE_DAYS,
		7 * day:    awslogs.RetentionDays_ONE_WEEK,
		14 * day:   awslogs.RetentionDays_TWO_WEEKS,
		30 * day:   awslogs.RetentionDays_ONE_MONTH,
		60 * day:   awslogs.RetentionDays_TWO_MONTHS,
		90 * day:   awslogs.RetentionDays_THREE_MONTHS,
		120 * day:  awslogs.RetentionDays_FOUR_MONTHS,
		150 * day:  awslogs.RetentionDays_FIVE_MONTHS,
		180 * day:  awslogs.RetentionDays_SIX_MONTHS,
		365 * day:  awslogs.RetentionDays_ONE_YEAR,
		400 * day:  awslogs.RetentionDays_THIRTEEN_MONTHS,
		545 * day:  awslogs.RetentionDays_EIGHTEEN_MONTHS,
		731 * day:  awslogs.RetentionDays_TWO_YEARS,
		1827 * day: awslogs.RetentionDays_FIVE_YEARS,
		3653 * day: awslogs.RetentionDays_TEN_YEARS,
	}
}

// logRetention reports a time that CloudWatch Logs does not know.
func (c *checks) logRetention(v time.Duration) {
	if _, ok := logRetention()[v]; !ok {
		c.bad("LogRetention %v is not a time that CloudWatch Logs knows, such as 1, 7, 30, 90 or 365 days", v)
	}
}

// memoryLimit is what the Go runtime may use of a function's memory: three quarters.
func memoryLimit(mb int) string { return strconv.Itoa(mb*3/4) + "MiB" }

func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }

// constructID makes KinesisProcessor of kinesis-processor.
func constructID(name string) string {
	var b strings.Builder
	for _, word := range strings.FieldsFunc(name, func(r rune) bool { return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9') }) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}
