package rstreamscdk

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"

	"github.com/rstreams-go/rstreams/sdk/replicate"
)

// maxRegistrations is how many bots one custom resource may hold: its properties travel in one invocation.
const maxRegistrations = 100

// registerTimeout is how long a stack waits for the bus's Register function, in seconds. CloudFormation would wait an hour.
const registerTimeout = 600

// newRegistration is the custom resource that registers bots: created with it, updated with it, paused and archived when they
// leave it (W-P15). Each property is a bot, in the form that
// serverless-leo sends (sdk.md 6.6).
func newRegistration(scope constructs.Construct, id, serviceToken string, props map[string]any) awscdk.CustomResource {
	return awscdk.NewCustomResource(scope, jsii.String(id), &awscdk.CustomResourceProps{
		ServiceToken: jsii.String(serviceToken), ResourceType: jsii.String("Custom::RStreamsBots"), Properties: &props,
		ServiceTimeout: awscdk.Duration_Seconds(jsii.Number(registerTimeout)),
	})
}

// ownBots registers the rows that the bus's own functions keep their checkpoints in, and a bot for each queue that is copied to
// another bus (bus.md 3.11, 3.12): properties that declare no bot mean just that. A queue that is no longer copied has its bot
// paused and archived, as any bot that leaves its stack.
func (b *Bus) ownBots() {
	props := map[string]any{"Version": "1"}
	if r := b.props.Replication; r != nil {
		props[replicate.ParameterRoles], props[replicate.ParameterMapping] = r.Roles, string(r.mapping())
		props["SourceQueueReplicator"] = b.Functions[replicator].FunctionArn()
	}
	newRegistration(b.Construct, "OwnBots", *b.Functions[register].FunctionArn(), props)
}
