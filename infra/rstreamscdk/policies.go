package rstreamscdk

import (
	"slices"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/jsii-runtime-go"

	"github.com/rstreams-go/rstreams/bus/archive"
	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/loader"
	"github.com/rstreams-go/rstreams/bus/registry"
	"github.com/rstreams-go/rstreams/bus/sequencer"
)

// grant is a statement that allows something or, if refused is set, refuses it whatever else allows it.
type grant struct {
	sid     string
	actions []string
	on      []string
	when    map[string]any
	refused bool
}

func allow(sid string, on []string, actions ...string) grant {
	return grant{sid: sid, actions: actions, on: on}
}

func refuse(sid string, on []string, actions ...string) grant {
	return grant{sid: sid, actions: actions, on: on, refused: true}
}

func (g grant) only(conditions map[string]any) grant {
	g.when = conditions
	return g
}

func (g grant) statement() awsiam.PolicyStatement {
	props := &awsiam.PolicyStatementProps{
		Sid: jsii.String(g.sid), Actions: jsii.Strings(g.actions...), Resources: jsii.Strings(g.on...),
	}
	if g.refused {
		props.Effect = awsiam.Effect_DENY
	}
	if g.when != nil {
		props.Conditions = &g.when
	}
	return awsiam.NewPolicyStatement(props)
}

// document makes a policy of grants.
func document(grants []grant) awsiam.PolicyDocument {
	doc := awsiam.NewPolicyDocument(nil)
	for _, g := range grants {
		doc.AddStatements(g.statement())
	}
	return doc
}

// locks limits a grant to the locks of bots.
func locks() map[string]any {
	c := notTheBuses()
	c["ForAllValues:StringLike"] = map[string]any{"dynamodb:LeadingKeys": []string{"lock_*"}}
	return c
}

// notTheBuses keeps a grant away from the settings by which the bus's own functions run: their locks and their notes.
func notTheBuses() map[string]any {
	return map[string]any{"ForAllValues:StringNotLike": map[string]any{"dynamodb:LeadingKeys": []string{
		"lock_" + archive.Lock, "lock_" + loader.Setting, "lock_" + dispatch.LeaseName,
		loader.Setting, dispatch.TickSetting, dispatch.TriggersSetting, registry.RetiredPrefix + "*", registry.ClaimsPrefix + "*",
	}}}
}

// ownKeys limits a grant to items whose hash key is one of the values. Requests without a key, such as scans, are refused.
func ownKeys(values ...string) map[string]any {
	return map[string]any{
		"ForAllValues:StringEquals": map[string]any{"dynamodb:LeadingKeys": values},
		"Null":                      map[string]any{"dynamodb:LeadingKeys": "false"},
	}
}

// findGrants let a program find the bus by its stage, and see whether its parts are there.
func (p place) findGrants() []grant {
	r := p.resources
	return []grant{
		allow("FindBus", []string{p.parameter()}, "ssm:GetParameter"),
		allow("FindBusSecret", []string{p.secret()}, "secretsmanager:GetSecretValue"),
		allow("CheckBus", []string{p.table(r.LeoStream), p.table(r.LeoEvent), p.table(r.LeoCron), p.table(r.LeoSettings), p.table(r.LeoSystem)},
			"dynamodb:DescribeTable"),
		allow("CheckIntake", []string{p.kinesis()}, "kinesis:DescribeStreamSummary"),
		allow("CheckFirehose", []string{p.firehose()}, "firehose:DescribeDeliveryStream"),
	}
}

// readGrants let a bot find the bus and read its queues: heads, chunks, objects, settings and systems (bus.md 6.2).
func (p place) readGrants() []grant {
	r := p.resources
	return slices.Concat(p.findGrants(), []grant{
		allow("ReadQueues", []string{p.table(r.LeoStream)}, "dynamodb:Query", "dynamodb:GetItem", "dynamodb:BatchGetItem"),
		allow("ReadState", []string{p.table(r.LeoEvent), p.table(r.LeoSettings), p.table(r.LeoSystem)},
			"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:Scan"),
		allow("ReadObjects", []string{p.objects("bus/*"), p.objects("files/*")}, "s3:GetObject", "s3:ListMultipartUploadParts"),
		allow("ListObjects", []string{p.bucket()}, "s3:ListBucket", "s3:ListBucketMultipartUploads"),
	}, p.keyGrants("kms:Decrypt"))
}

// readerGrants are for programs that read and are no bots. leo-sdk asks for the bot's row all the same.
func (p place) readerGrants() []grant {
	return append(p.readGrants(), allow("ReadPlaces", []string{p.table(p.resources.LeoCron)}, "dynamodb:GetItem", "dynamodb:BatchGetItem"))
}

// writerGrants are for programs that write and are no bots. Whether the bucket is there is asked under the right to list it.
func (p place) writerGrants() []grant {
	return slices.Concat(p.findGrants(), []grant{allow("CheckBucket", []string{p.bucket()}, "s3:ListBucket")}, p.writeGrants())
}

// writeGrants let a bot write events by every way in: Kinesis, Firehose, and objects for both (bus.md 6.2). Objects that the bus
// made are out of reach: archives, which are all that is left of events after their time, and chunks that do not fit an item.
// Whoever writes an object in parts needs both rights on the key.
func (p place) writeGrants() []grant {
	return append([]grant{
		allow("WriteEvents", []string{p.kinesis()}, "kinesis:PutRecord", "kinesis:PutRecords"),
		allow("WriteFirehose", []string{p.firehose()}, "firehose:PutRecord", "firehose:PutRecordBatch"),
		allow("WriteObjects", []string{p.objects("bus/*"), p.objects("files/*")}, "s3:PutObject", "s3:AbortMultipartUpload"),
		refuse("SpareBusObjects", []string{p.objects(archive.Prefix + "*"), p.objects(sequencer.BlobPrefix + "*")}, "s3:PutObject", "s3:AbortMultipartUpload"),
	}, p.keyGrants("kms:Decrypt", "kms:GenerateDataKey")...)
}

// stateGrants let a bot keep settings and systems, and take and release locks for runs that the bus did not start (W-P14).
// BatchWriteItem is not among them, here and below: it deletes as well as it puts, and knows no condition.
func (p place) stateGrants() []grant {
	r := p.resources
	return []grant{
		allow("KeepState", []string{p.table(r.LeoSettings), p.table(r.LeoSystem)},
			"dynamodb:PutItem", "dynamodb:UpdateItem").only(notTheBuses()),
		allow("ReleaseLocks", []string{p.table(r.LeoSettings)}, "dynamodb:DeleteItem").only(locks()),
	}
}

// ownGrants let a bot keep its own checkpoints and run state, and those of no other bot (W-O4).
func (p place) ownGrants(bot string) []grant {
	return []grant{
		allow("OwnItem", []string{p.table(p.resources.LeoCron)},
			"dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:UpdateItem", "dynamodb:PutItem").only(ownKeys(bot)),
	}
}

// botGrants are the rights of programs that are any number of bots: the original's LeoBotPolicy without what bots have no
// business with: queue heads, network interfaces and topics.
func (p place) botGrants() []grant {
	grants := append(p.readGrants(), p.writeGrants()...)
	grants = append(grants, p.stateGrants()...)
	return append(grants,
		allow("KeepBots", []string{p.table(p.resources.LeoCron)}, "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query",
			"dynamodb:Scan", "dynamodb:UpdateItem", "dynamodb:PutItem"),
		allow("DescribeBus", []string{p.arn("cloudformation", "stack", p.bus+"/*")}, "cloudformation:DescribeStacks"))
}

// keyGrants let a role use the customer key, if there is one.
func (p place) keyGrants(actions ...string) []grant {
	if p.kms == "" {
		return nil
	}
	sid := "UseKey"
	if len(actions) > 1 {
		sid = "UseKeyToWrite"
	}
	return []grant{allow(sid, []string{p.kms}, actions...)}
}

// logGrants let a function write its log, which exists already.
func logGrants(group string) []grant {
	return []grant{allow("WriteLog", []string{group}, "logs:CreateLogStream", "logs:PutLogEvents")}
}

// invokeGrants let a function start bots (W-O4).
func (p place) invokeGrants(i Invoke) []grant {
	grants := []grant{
		allow("StartBots", []string{*p.stack.FormatArn(&awscdk.ArnComponents{
			Service: jsii.String("lambda"), Resource: jsii.String("function"), ResourceName: jsii.String("*"),
			Region: jsii.String("*"), ArnFormat: awscdk.ArnFormat_COLON_RESOURCE_NAME,
		})}, "lambda:InvokeFunction").only(map[string]any{"StringEquals": map[string]any{"aws:ResourceTag/" + busTag: p.bus}}),
	}
	if len(i.Functions) > 0 {
		grants = append(grants, allow("StartFunctions", i.Functions, "lambda:InvokeFunction"))
	}
	if len(i.Accounts) > 0 {
		var arns []string
		for _, a := range i.Accounts {
			arns = append(arns, "arn:"+*p.stack.Partition()+":lambda:*:"+a+":function:*")
		}
		grants = append(grants, allow("StartBotsOfAccounts", arns, "lambda:InvokeFunction"))
	}
	if len(i.Topics) > 0 {
		grants = append(grants, allow("PublishToBots", i.Topics, "sns:Publish"))
	}
	return grants
}

// busTag marks functions that the bus may start with the name of its stack.
const busTag = "rstreams-bus"
