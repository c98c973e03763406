package rstreamscdk

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// Bus is a bus in a stack. Its fields are for apps that refine it; bots need none of them.
type Bus struct {
	// Construct is the node in the tree of constructs, for tags and aspects.
	Construct constructs.Construct
	// LeoStream, LeoEvent, LeoCron, LeoSettings and LeoSystem are the tables (bus.md 1).
	LeoStream, LeoEvent, LeoCron, LeoSettings, LeoSystem awsdynamodb.Table
	// Stream is the Kinesis stream, Bucket the bucket.
	Stream awskinesis.Stream
	Bucket awss3.Bucket
	// DeadLetters gets what functions behind the tables' streams, and those that the clock starts, could not handle after all
	// retries. What the stream's processor could not is in the bucket, and an alarm tells of it.
	DeadLetters awssqs.Queue
	// Functions are the bus's functions by name, such as kinesis-processor.
	Functions map[string]awslambda.Function
	// BotPolicy lets a program be any bot; ReadPolicy and WritePolicy are the parts of it that read and write events.
	BotPolicy, ReadPolicy, WritePolicy awsiam.ManagedPolicy
	// BotRole is the role of programs elsewhere that are bots here.
	BotRole awsiam.Role
	// Alarms are the bus's alarms.
	Alarms []awscloudwatch.Alarm

	props BusProps
	place place
	// bucketName is known before there is a bucket: the bucket notifies functions that know its name.
	bucketName string
	firehose   awscdk.CfnResource
	scopes     map[string]constructs.Construct // of the functions, by name
}

// NewBus makes a bus in the stack of scope, which may hold one bus. The error wraps ErrProps or is that of a build.
func NewBus(scope constructs.Construct, id string, props BusProps) (*Bus, error) {
	props, err := props.withDefaults()
	if err != nil {
		return nil, err
	}
	stack := awscdk.Stack_Of(scope)
	if err := checkStackName(*stack.StackName()); err != nil {
		return nil, err
	}
	code, cleanup, err := busCode(props)
	if err != nil {
		return nil, err
	}
	defer cleanup()

	b := &Bus{Construct: constructs.NewConstruct(scope, jsii.String(id)), props: props, Functions: map[string]awslambda.Function{}}
	b.scopes = map[string]constructs.Construct{}
	b.place = place{stack: stack, bus: *stack.StackName(), kms: props.KMSKey}
	b.tables()
	b.stream()
	b.deadLetters()
	b.nameBucket()
	b.place.resources = Resources{
		Region: *stack.Region(), LeoStream: *b.LeoStream.TableName(), LeoEvent: *b.LeoEvent.TableName(), LeoCron: *b.LeoCron.TableName(),
		LeoSettings: *b.LeoSettings.TableName(), LeoSystem: *b.LeoSystem.TableName(), LeoS3: b.bucketName,
		LeoKinesisStream: *b.Stream.StreamName(), LeoFirehoseStream: firehoseName(b.place.bus),
	}
	b.functions(code)
	b.sources()
	b.bucket()
	b.deliveryStream()
	b.policies()
	b.discovery()
	b.ownBots()
	if !props.Alarms.Off {
		b.alarms()
	}
	tags := awscdk.Tags_Of(b.Construct)
	tags.Add(jsii.String("app"), jsii.String("rstreams-bus"), nil)
	tags.Add(jsii.String("environment"), jsii.String(props.Stage), nil)
	return b, nil
}

var stackName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]{0,40}$`)

// checkStackName checks that the names which are made of the stack's are allowed: those of a bucket and a delivery stream.
func checkStackName(name string) error {
	if !stackName.MatchString(name) {
		return fmt.Errorf("%w: a bus needs a stack whose name is known and has at most 41 letters, digits and hyphens, not %q", ErrProps, name)
	}
	return nil
}

// busCode returns the directory of the functions' programs, which are built unless they are given, and what removes it.
func busCode(p BusProps) (dir string, cleanup func(), err error) {
	names := functionNames(p)
	if p.Code != "" {
		return p.Code, func() {}, built(p.Code, names...)
	}
	if dir, err = os.MkdirTemp("", "rstreams-build-"); err != nil {
		return "", nil, err
	}
	// The CDK has copied the programs into its own directory when the constructs are made.
	cleanup = func() { _ = os.RemoveAll(dir) }
	if err = buildBus(context.Background(), dir, p.Architecture, names); err != nil {
		cleanup()
		return "", nil, err
	}
	return dir, cleanup, nil
}

// at refers to the bus: directly in its own stack, and from elsewhere in the app by its exports.
func (b *Bus) at(scope constructs.Construct) (place, error) {
	stack := awscdk.Stack_Of(scope)
	if *stack.Node().Path() == *b.place.stack.Node().Path() {
		p := b.place
		p.register, p.role = *b.Functions[register].FunctionArn(), *b.BotRole.RoleArn()
		return p, nil
	}
	if *stack.Account() != *b.place.stack.Account() || *stack.Region() != *b.place.stack.Region() {
		return place{}, fmt.Errorf("%w: the bus of stack %s is in another account or region: refer to it by ImportBus", ErrProps, b.place.bus)
	}
	stack.AddStackDependency(b.place.stack, jsii.String("the bus comes before its bots"))
	p := exported(stack, b.place.bus)
	p.kms = b.props.KMSKey
	return p, nil
}

// exported refers to a bus by the exports of its stack.
func exported(stack awscdk.Stack, bus string) place {
	get := func(name string) string { return *awscdk.Fn_ImportValue(jsii.String(bus + "-" + name)) }
	return place{
		stack: stack, bus: bus, register: get("Register"), role: get("Role"),
		resources: Resources{
			Region: get("Region"), LeoStream: get("LeoStream"), LeoEvent: get("LeoEvent"), LeoCron: get("LeoCron"), LeoSettings: get("LeoSettings"),
			LeoSystem: get("LeoSystem"), LeoS3: get("LeoS3"), LeoKinesisStream: get("LeoKinesisStream"), LeoFirehoseStream: get("LeoFirehoseStream"),
		},
	}
}

// named gives the resource behind a construct the logical id that it has in the original, by which tools know it.
func named(c constructs.Construct, id string) {
	c.Node().DefaultChild().(awscdk.CfnElement).OverrideLogicalId(jsii.String(id))
}

// removal is what happens to data when its resource goes away.
func (b *Bus) removal() awscdk.RemovalPolicy {
	if b.props.RemoveData {
		return awscdk.RemovalPolicy_DESTROY
	}
	return awscdk.RemovalPolicy_RETAIN
}

// firehoseName is the name of the delivery stream. LocalStack wants one to be given.
func firehoseName(stack string) string { return stack + "-LeoFirehoseStream" }

// nameBucket makes a name that no other bucket has, the bucket of an earlier stack of the same name included: the parts of the
// stack's id that differ make it unique.
func (b *Bus) nameBucket() {
	guid := awscdk.Fn_Split(jsii.String("-"), awscdk.Fn_Select(jsii.Number(2), awscdk.Fn_Split(jsii.String("/"), b.place.stack.StackId(), nil)), nil)
	b.bucketName = *awscdk.Fn_Join(jsii.String("-"), &[]*string{
		jsii.String(strings.ToLower(b.place.bus)), awscdk.Fn_Select(jsii.Number(0), guid), awscdk.Fn_Select(jsii.Number(4), guid),
	})
}
