package rstreamscdk

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/constructs-go/constructs/v10"
	"github.com/aws/jsii-runtime-go"
)

// registration is what the bus is told of one bot, in the form that serverless-leo sends (sdk.md 6.6).
type registration map[string]any

// maxRegistrations is how many bots one custom resource may hold: its properties travel in one invocation.
const maxRegistrations = 100

// registerTimeout is how long a stack waits for the bus's Register function, in seconds. CloudFormation would wait an hour.
const registerTimeout = 600

// newRegistration is the custom resource that registers bots: created with it, updated with it, paused and archived when they
// leave it (W-P15). Each property is a bot.
func newRegistration(scope constructs.Construct, id, serviceToken string, bots map[string]registration) awscdk.CustomResource {
	props := map[string]any{}
	for id, b := range bots {
		props[id] = map[string]any(b)
	}
	return awscdk.NewCustomResource(scope, jsii.String(id), &awscdk.CustomResourceProps{
		ServiceToken: jsii.String(serviceToken), ResourceType: jsii.String("Custom::RStreamsBots"), Properties: &props,
		ServiceTimeout: awscdk.Duration_Seconds(jsii.Number(registerTimeout)),
	})
}

// replicate registers a bot for each queue that is copied to another bus (bus.md 3.12). A queue that is no longer copied has its
// bot paused and archived, as any bot that leaves its stack.
func (b *Bus) replicate() {
	r := b.props.Replication
	if r == nil {
		return
	}
	bots := map[string]registration{}
	for _, q := range r.Queues {
		d, _ := r.destination(q)
		set(&q.Destination, q.Queue)
		id := "replicate-" + q.Queue + "-to-" + d.account + "-" + d.stack + "-" + q.Destination
		bots[id] = registration{
			"id": id, "name": id, "type": "cron", "triggers": []string{q.Queue}, "paused": false,
			"lambdaName": b.Functions[replicator].FunctionName(),
			"settings": map[string]any{
				"sourceQueue": q.Queue, "destinationQueue": q.Destination, "destinationBusStack": d.stack, "destinationLeoBotRoleArn": d.arn,
			},
		}
	}
	resource := newRegistration(b.Construct, "Replication", *b.Functions[register].FunctionArn(), bots)
	resource.Node().AddDependency(b.Functions[register].Role())
}
