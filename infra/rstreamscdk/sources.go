package rstreamscdk

import (
	"encoding/json"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsevents"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslambda"
	"github.com/aws/jsii-runtime-go"
)

// How often what fails is tried again. What is given up of a table's stream is made good by the scheduler, which looks at every
// bot each minute.
const (
	changeRetries = 10
	changeAge     = 3600 // s
	asyncRetries  = 2
	asyncAge      = 6 * 3600 // s
)

// How often the clock starts what looks for work that nobody told it of.
const (
	schedulerEvery = time.Minute
	loaderEvery    = 5 * time.Minute
)

// sources connects the functions with what starts them. None blocks its shard for ever, and none gives up in silence (bus.md
// 3.1: the original has no limits and no destinations).
func (b *Bus) sources() {
	in := b.props.Intake
	// A batch that cannot be sequenced after all retries is kept whole in the bucket, where firehose-loader counts it. By age, it is given up before it leaves the stream.
	b.source(kinesisProcessor, "Intake", &awslambda.CfnEventSourceMappingProps{
		EventSourceArn: *b.Stream.StreamArn(), BatchSize: jsii.Number(10_000),
		MaximumBatchingWindowInSeconds: jsii.Number(in.Window.Seconds()),
		MaximumRetryAttempts:           jsii.Number(in.Retries),
		MaximumRecordAgeInSeconds:      jsii.Number(min(in.Retention.Seconds()*3/4, 604_800)),
		DestinationConfig:              onFailure(b.lostBatches()),
	})
	// Of the writes to a queue's row those move its head that end a claim, and those of programs that make none.
	moved := func(open any) any {
		return image("NewImage", map[string]any{"sequencing": map[string]any{"M": map[string]any{"open": map[string]any{"BOOL": []any{open}}}}})
	}
	b.source(eventTrigger, "Heads", b.changes(*b.LeoEvent.TableStreamArn(), 0), moved(false), moved(map[string]any{"exists": false}))
	// A filter sees one image, and what a bot waits for is in both.
	b.source(botRunner, "Bots", b.changes(*b.LeoCron.TableStreamArn(), 0))
	// Nobody waits for these events.
	b.source(monitor, "Bots", b.changes(*b.LeoCron.TableStreamArn(), 5),
		image("Keys", map[string]any{"id": map[string]any{"S": []any{map[string]any{"anything-but": []string{"leo_cron_monitor"}}}}}))

	b.async(scheduler, 0, 60, false)
	b.every(scheduler, "Minute", awsevents.Schedule_Rate(awscdk.Duration_Minutes(jsii.Number(schedulerEvery.Minutes()))))
	b.async(archiver, 0, 60, false)
	b.every(archiver, "Archive", awsevents.Schedule_Rate(awscdk.Duration_Minutes(jsii.Number(b.props.ArchiveEvery.Minutes()))))
	// The bucket starts the loader as well. The clock sees to what was left when that failed.
	b.async(firehoseLoader, asyncRetries, asyncAge, true)
	b.every(firehoseLoader, "Load", awsevents.Schedule_Rate(awscdk.Duration_Minutes(jsii.Number(loaderEvery.Minutes()))))
}

// lostBatches is where Lambda puts batches of the stream that failed for good: the bucket, which keeps them whole. Emulators
// know only queues there.
func (b *Bus) lostBatches() string {
	if b.props.Endpoint != "" {
		return *b.DeadLetters.QueueArn()
	}
	return b.place.bucket()
}

func onFailure(arn string) any {
	return map[string]any{"onFailure": map[string]any{"destination": arn}}
}

// image is a filter pattern for rows that were written.
func image(name string, of any) any {
	return map[string]any{"eventName": []string{"INSERT", "MODIFY"}, "dynamodb": map[string]any{name: of}}
}

// changes reads a table's stream. window is how many seconds a batch may be gathered.
func (b *Bus) changes(stream string, window int) *awslambda.CfnEventSourceMappingProps {
	return &awslambda.CfnEventSourceMappingProps{
		EventSourceArn: stream, BatchSize: jsii.Number(1000), MaximumBatchingWindowInSeconds: jsii.Number(window),
		MaximumRetryAttempts: jsii.Number(changeRetries), MaximumRecordAgeInSeconds: jsii.Number(changeAge),
		DestinationConfig: onFailure(*b.DeadLetters.QueueArn()),
	}
}

// source adds an event source mapping with what all have in common. Filters are patterns of records that the function gets; no
// function needs them. Emulators get none: MiniStack takes a member whose parent is missing for one that exists.
func (b *Bus) source(name, id string, props *awslambda.CfnEventSourceMappingProps, filters ...any) {
	f := b.Functions[name]
	props.FunctionName, props.StartingPosition = f.FunctionName(), jsii.String("TRIM_HORIZON")
	props.BisectBatchOnFunctionError = true
	if b.partialBatch() {
		props.FunctionResponseTypes = jsii.Strings("ReportBatchItemFailures")
	}
	if len(filters) > 0 && b.props.Endpoint == "" {
		var list []any
		for _, f := range filters {
			text, err := json.Marshal(f)
			if err != nil {
				panic(err) // literals of this package
			}
			list = append(list, map[string]any{"pattern": string(text)})
		}
		props.FilterCriteria = map[string]any{"filters": list}
	}
	awslambda.NewCfnEventSourceMapping(b.scopes[name], jsii.String(id), props).Node().AddDependency(f.Role())
}

// async limits the retries of a function that is started without anybody waiting for it.
func (b *Bus) async(name string, retries, age int, tell bool) {
	f := b.Functions[name]
	props := &awslambda.CfnEventInvokeConfigProps{
		FunctionName: f.FunctionName(), Qualifier: jsii.String("$LATEST"),
		MaximumRetryAttempts: jsii.Number(retries), MaximumEventAgeInSeconds: jsii.Number(age),
	}
	if tell {
		props.DestinationConfig = onFailure(*b.DeadLetters.QueueArn())
	}
	awslambda.NewCfnEventInvokeConfig(b.scopes[name], jsii.String("Async"), props).Node().AddDependency(f.Role())
}

// every starts a function by the clock.
func (b *Bus) every(name, id string, schedule awsevents.Schedule) {
	f := b.Functions[name]
	rule := awsevents.NewCfnRule(b.scopes[name], jsii.String(id), &awsevents.CfnRuleProps{
		ScheduleExpression: schedule.ExpressionString(), State: jsii.String("ENABLED"),
		Targets: []any{map[string]any{"id": "Function", "arn": f.FunctionArn()}},
	})
	b.permit(name, id, "events.amazonaws.com", *rule.AttrArn())
}
