package rstreamscdk

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsssm"
	"github.com/aws/jsii-runtime-go"
)

// policies makes the rights of bots (bus.md 4.3, W-O4): one policy for programs that are any bot, its halves for those that only
// read or only write, and the role of programs elsewhere.
func (b *Bus) policies() {
	policy := func(id, description string, grants []grant) awsiam.ManagedPolicy {
		p := awsiam.NewManagedPolicy(b.Construct, jsii.String(id), &awsiam.ManagedPolicyProps{
			Description: jsii.String(description), Document: document(grants),
		})
		named(p, id)
		return p
	}
	p := b.place
	b.BotPolicy = policy("LeoBotPolicy", "be any bot of the bus", p.botGrants())
	b.ReadPolicy = policy("LeoReadPolicy", "read the queues of the bus", p.readerGrants())
	b.WritePolicy = policy("LeoWritePolicy", "write to the queues of the bus", p.writerGrants())

	var principals []awsiam.IPrincipal
	for _, t := range b.props.TrustedPrincipals {
		if accountNumber.MatchString(t) {
			principals = append(principals, awsiam.NewAccountPrincipal(t))
		} else {
			principals = append(principals, awsiam.NewArnPrincipal(jsii.String(t)))
		}
	}
	principals = append(principals, awsiam.NewServicePrincipal(jsii.String("lambda.amazonaws.com"), nil))
	b.BotRole = awsiam.NewRole(b.Construct, jsii.String("LeoBotRole"), &awsiam.RoleProps{
		AssumedBy: awsiam.NewCompositePrincipal(principals...), ManagedPolicies: &[]awsiam.IManagedPolicy{b.BotPolicy},
		Description: jsii.String("programs that are bots of the bus"),
	})
	named(b.BotRole, "LeoBotRole")

	for _, account := range b.props.Invoke.Accounts {
		awslambda.NewCfnPermission(b.scopes[register], jsii.String("Account"+account), &awslambda.CfnPermissionProps{
			Action: jsii.String("lambda:InvokeFunction"), FunctionName: b.Functions[register].FunctionArn(), Principal: account,
		})
	}
}

// discovery tells programs where the bus is: outputs and exports by the names of the original (C1), a secret and a parameter.
func (b *Bus) discovery() {
	stack := b.place.stack
	output := func(name, description string, value *string) {
		o := awscdk.NewCfnOutput(b.Construct, jsii.String("Output"+name), &awscdk.CfnOutputProps{
			Value: value, Description: jsii.String(description), ExportName: jsii.String(b.place.bus + "-" + name),
		})
		o.OverrideLogicalId(jsii.String(name))
	}
	output("Region", "where the bus is", stack.Region())
	output("LeoStream", "table of events", b.LeoStream.TableName())
	output("LeoEvent", "table of queues", b.LeoEvent.TableName())
	output("LeoCron", "table of bots", b.LeoCron.TableName())
	output("LeoSettings", "table of settings", b.LeoSettings.TableName())
	output("LeoSystem", "table of systems", b.LeoSystem.TableName())
	output("LeoS3", "bucket", b.Bucket.BucketName())
	output("LeoKinesisStream", "Kinesis stream", b.Stream.StreamName())
	output("LeoFirehoseStream", "Firehose stream", b.firehose.Ref())
	output("Role", "role of programs that are bots", b.BotRole.RoleArn())
	output("Policy", "policy of programs that are bots", b.BotPolicy.ManagedPolicyArn())
	output("ReadPolicy", "policy of programs that read queues", b.ReadPolicy.ManagedPolicyArn())
	output("WritePolicy", "policy of programs that write to queues", b.WritePolicy.ManagedPolicyArn())
	output("Register", "function that registers bots: ServiceToken of custom resources", b.Functions[register].FunctionArn())
	output("BusApi", "function that reads, writes and checkpoints", b.Functions[busAPI].FunctionArn())
	if f := b.Functions[replicator]; f != nil {
		output("SourceQueueReplicator", "function that copies queues to other buses", f.FunctionArn())
	}

	awssecretsmanager.NewCfnSecret(b.Construct, jsii.String("Secret"), &awssecretsmanager.CfnSecretProps{
		Name: jsii.String(secretName(b.place.bus)), SecretString: b.place.config(),
		Description: jsii.String("names of the parts of the bus, as LEO_CONFIG_SECRET expects them"),
	})
	awsssm.NewStringParameter(b.Construct, jsii.String("Parameter"), &awsssm.StringParameterProps{
		ParameterName: jsii.String(parameterName(b.place.bus)), StringValue: b.place.config(),
		Description: jsii.String("names of the parts of the bus"),
	})
}
