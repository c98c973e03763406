package rstreamscdk

import (
	"fmt"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// Target is a bus that bots can be on: what NewBus returns, and what ImportBus does.
type Target interface {
	// at returns the bus as a construct below scope may refer to it.
	at(scope constructs.Construct) (place, error)
}

// Resources are the names of a bus's parts, as its stack's outputs have them (C1).
type Resources struct {
	Region, LeoStream, LeoCron, LeoEvent, LeoSettings, LeoSystem, LeoS3, LeoKinesisStream, LeoFirehoseStream string
}

// ImportProps says which bus ImportBus refers to.
type ImportProps struct {
	// Stack is the name of the bus's stack; it is required. Without the fields below, the bus is found by the exports of that
	// stack, in the account and region of the stack that refers to it.
	Stack string
	// Account and Region say where the bus is, if that is elsewhere. Exports do not reach there, so that Resources are required,
	// and Register or Role with them: Register in the same region, Role in another account.
	Account, Region string
	// Resources are the bus's outputs, such as .rstreams/STAGE.json has them.
	Resources *Resources
	// Register and Role are the ARNs that the bus's outputs of these names have.
	Register, Role string
	// KMSKey is the ARN of the bus's customer key; "" for none.
	KMSKey string
}

// imported is a bus of another app.
type imported struct{ props ImportProps }

// ImportBus refers to a bus that another app has made. The error wraps ErrProps.
func ImportBus(props ImportProps) (Target, error) {
	var c checks
	if !stackName.MatchString(props.Stack) {
		c.bad("Stack %q must be the name of a bus's stack", props.Stack)
	}
	if props.Account != "" {
		c.account("Account", props.Account)
	}
	if (props.Account != "") != (props.Region != "") {
		c.bad("Account and Region must be given together")
	}
	if props.Account != "" && props.Resources == nil {
		c.bad("a bus of another account or region needs Resources: exports do not reach there")
	}
	c.optionalARN("Register", "lambda", props.Register)
	c.optionalARN("Role", "iam", props.Role)
	c.optionalARN("KMSKey", "kms", props.KMSKey)
	if r := props.Resources; r != nil {
		for _, f := range []struct{ name, value string }{
			{"Region", r.Region}, {"LeoStream", r.LeoStream}, {"LeoCron", r.LeoCron}, {"LeoEvent", r.LeoEvent}, {"LeoSettings", r.LeoSettings},
			{"LeoSystem", r.LeoSystem}, {"LeoS3", r.LeoS3}, {"LeoKinesisStream", r.LeoKinesisStream}, {"LeoFirehoseStream", r.LeoFirehoseStream},
		} {
			if f.value == "" {
				c.bad("Resources.%s is missing", f.name)
			}
		}
		if props.Region != "" && r.Region != props.Region {
			c.bad("Region %s is not that of the Resources, %s", props.Region, r.Region)
		}
		if props.Account == "" && props.Register == "" {
			c.bad("Resources need the Register output beside them")
		}
	}
	if err := c.err("the bus to import"); err != nil {
		return nil, err
	}
	return &imported{props: props}, nil
}

func (i *imported) at(scope constructs.Construct) (place, error) {
	p, stack := i.props, awscdk.Stack_Of(scope)
	if p.Resources == nil {
		out := exported(stack, p.Stack)
		out.kms = p.KMSKey
		return out, nil
	}
	out := place{stack: stack, bus: p.Stack, resources: *p.Resources, register: p.Register, role: p.Role, kms: p.KMSKey}
	if p.Account == "" {
		return out, nil
	}
	account, region := *stack.Account(), *stack.Region()
	if *awscdk.Token_IsUnresolved(account) || *awscdk.Token_IsUnresolved(region) {
		return place{}, fmt.Errorf("%w: the bus is in account %s and region %s: give the stack of the bots its Env, to tell whether that is elsewhere",
			ErrProps, p.Account, p.Region)
	}
	if p.Account != account || p.Region != region {
		out.account, out.region = p.Account, p.Region
	}
	out.abroad, out.elsewhere = p.Account != account, p.Region != region
	switch {
	case out.abroad && out.elsewhere:
		return place{}, fmt.Errorf("%w: bots of another account must be in the region of the bus, %s: deploy their stack there", ErrProps, p.Region)
	case out.abroad && (p.Role == "" || p.Register == ""):
		return place{}, fmt.Errorf("%w: bots of another account need the Role and the Register outputs of the bus", ErrProps)
	case !out.elsewhere && p.Register == "":
		return place{}, fmt.Errorf("%w: the bots need the Register output of the bus", ErrProps)
	}
	return out, nil
}

// place is a bus as seen from a stack. Its strings may be tokens of the CDK.
type place struct {
	stack     awscdk.Stack
	bus       string // name of the bus's stack, for names and tags
	account   string // "" means the account and region of stack
	region    string
	resources Resources
	register  string // ARN of its Register function
	role      string // ARN of its Role, for bots in other accounts
	kms       string // ARN of its customer key, "" for none
	abroad    bool   // in another account
	elsewhere bool   // in another region
}

// arn returns the ARN of something of the bus.
func (p place) arn(service, kind, name string) string {
	parts := &awscdk.ArnComponents{Service: jsii.String(service), Resource: jsii.String(kind), ResourceName: jsii.String(name)}
	if p.account != "" {
		parts.Account, parts.Region = jsii.String(p.account), jsii.String(p.region)
	}
	return *p.stack.FormatArn(parts)
}

func (p place) table(name string) string { return p.arn("dynamodb", "table", name) }
func (p place) kinesis() string          { return p.arn("kinesis", "stream", p.resources.LeoKinesisStream) }
func (p place) firehose() string {
	return p.arn("firehose", "deliverystream", p.resources.LeoFirehoseStream)
}

// bucket returns the ARN of the bus's bucket, and objects that of objects in it.
func (p place) bucket() string { return "arn:" + *p.stack.Partition() + ":s3:::" + p.resources.LeoS3 }
func (p place) objects(pattern string) string {
	return p.bucket() + "/" + pattern
}

// parameter and secret return the ARNs of the bus's configuration. Secrets have six characters more than their name.
func (p place) parameter() string { return p.arn("ssm", "parameter", parameterName(p.bus)[1:]) }
func (p place) secret() string {
	parts := &awscdk.ArnComponents{
		Service: jsii.String("secretsmanager"), Resource: jsii.String("secret"), ResourceName: jsii.String(secretName(p.bus) + "-??????"),
		ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
	}
	if p.account != "" {
		parts.Account, parts.Region = jsii.String(p.account), jsii.String(p.region)
	}
	return *p.stack.FormatArn(parts)
}

func parameterName(stack string) string { return "/rstreams/" + stack + "/config" }
func secretName(stack string) string    { return "rstreams-" + stack }

// config returns the flat JSON of the bus's names (sdk.md 1.1).
func (p place) config() *string {
	r := p.resources
	return p.stack.ToJsonString(map[string]string{
		"Region": r.Region, "LeoStream": r.LeoStream, "LeoCron": r.LeoCron, "LeoEvent": r.LeoEvent,
		"LeoSettings": r.LeoSettings, "LeoSystem": r.LeoSystem, "LeoS3": r.LeoS3,
		"LeoKinesisStream": r.LeoKinesisStream, "LeoFirehoseStream": r.LeoFirehoseStream,
	}, nil)
}
