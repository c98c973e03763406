package rstreamscdk

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatch"
	"github.com/aws/aws-cdk-go/awscdk/v2/awscloudwatchactions"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssns"
	"github.com/aws/jsii-runtime-go"
)

// Metrics of the bus's functions in the namespace RStreams, by the name of the bus's stack, in seconds: how old the oldest event is
// that should be archived, and the oldest object that should be loaded.
const (
	metricNamespace     = "RStreams"
	metricArchiveBehind = "ArchiveBehind"
	metricArchiveGaps   = "ArchiveGaps" // places where events left the index before they were archived, and chunks that cannot be
	metricLoadBehind    = "FirehoseBehind"
	metricLostBatches   = "LostBatches" // batches of the stream that were given up and wait in the bucket
)

// loadLag is how far the loader may be behind: its objects are as old as Firehose's buffer when they come.
const loadLag = time.Hour

// alarms tells when the bus needs an operator (W-O2).
func (b *Bus) alarms() {
	lag := b.props.Alarms.Lag
	for _, name := range []string{kinesisProcessor, eventTrigger, botRunner, monitor} {
		b.alarm(name+" is behind its stream", alarm{
			metric: b.functionMetric(name, "IteratorAge", "Maximum"), limit: float64(lag.Milliseconds()), of: 3,
		})
	}
	for _, name := range functionNames(b.props) {
		b.alarm(name+" fails", alarm{metric: b.functionMetric(name, "Errors", "Sum"), limit: 0, of: 1})
		b.alarm(name+" is throttled", alarm{metric: b.functionMetric(name, "Throttles", "Sum"), limit: 0, of: 1})
	}
	b.alarm("dead letters wait", alarm{limit: 0, of: 1, metric: b.metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum",
		"QueueName", *b.DeadLetters.QueueName())})
	b.alarm("batches were given up", alarm{limit: 0, of: 1, metric: b.metric(metricNamespace, metricLostBatches, "Maximum", "Bus", b.place.bus)})
	b.alarm("writers are throttled", alarm{limit: 0, of: 3, metric: b.metric("AWS/Kinesis", "WriteProvisionedThroughputExceeded", "Sum",
		"StreamName", *b.Stream.StreamName())})
	b.alarm("archive is behind", alarm{limit: (b.props.TTL / 2).Seconds(), of: 1, metric: b.metric(metricNamespace, metricArchiveBehind, "Maximum",
		"Bus", b.place.bus)})
	b.alarm("archive has gaps", alarm{limit: 0, of: 1, metric: b.metric(metricNamespace, metricArchiveGaps, "Sum", "Bus", b.place.bus)})
	b.alarm("firehose is behind", alarm{limit: loadLag.Seconds(), of: 1, metric: b.metric(metricNamespace, metricLoadBehind, "Maximum",
		"Bus", b.place.bus)})
	b.alarm("firehose cannot deliver", alarm{limit: loadLag.Seconds(), of: 3, metric: b.metric("AWS/Firehose", "DeliveryToS3.DataFreshness", "Maximum",
		"DeliveryStreamName", *b.firehose.Ref())})
	b.silence()
}

// silence tells of what does not run at all, and so fails nowhere: a rule or a mapping that somebody has disabled.
func (b *Bus) silence() {
	for _, clock := range []struct {
		name  string
		every time.Duration
	}{{scheduler, schedulerEvery}, {firehoseLoader, loaderEvery}, {archiver, b.props.ArchiveEvery}} {
		period := awscdk.Duration_Seconds(jsii.Number(max(alarmPeriod, clock.every).Seconds()))
		b.alarm(clock.name+" does not run", alarm{
			metric: b.functionMetric(clock.name, "Invocations", "Sum").With(&awscloudwatch.MetricOptions{Period: period}),
			limit:  1, of: 2, silence: true,
		})
	}
	if b.props.Endpoint != "" {
		return // MiniStack refuses alarms by more than one metric.
	}
	b.alarm("nobody reads the stream", alarm{limit: 0, of: 2, metric: awscloudwatch.NewMathExpression(&awscloudwatch.MathExpressionProps{
		Expression: jsii.String("IF(FILL(written, 0) > 0 AND FILL(runs, 0) == 0, 1, 0)"),
		UsingMetrics: &map[string]awscloudwatch.IMetric{
			"written": b.metric("AWS/Kinesis", "IncomingRecords", "Sum", "StreamName", *b.Stream.StreamName()),
			"runs":    b.functionMetric(kinesisProcessor, "Invocations", "Sum"),
		},
		Label: jsii.String("stream is written and not read"), Period: awscdk.Duration_Seconds(jsii.Number(alarmPeriod.Seconds())),
	})})
}

// alarmPeriod is the time that a value of an alarm is of, unless its function runs less often.
const alarmPeriod = 5 * time.Minute

// alarm is over a limit in so many of as many periods, or below it if it tells of silence: no value is then as bad as 0.
type alarm struct {
	metric  awscloudwatch.IMetric
	limit   float64
	of      int
	silence bool
}

func (b *Bus) alarm(text string, a alarm) {
	compare, missing := awscloudwatch.ComparisonOperator_GREATER_THAN_THRESHOLD, awscloudwatch.TreatMissingData_NOT_BREACHING
	if a.silence {
		compare, missing = awscloudwatch.ComparisonOperator_LESS_THAN_THRESHOLD, awscloudwatch.TreatMissingData_BREACHING
	}
	made := awscloudwatch.NewAlarm(b.Construct, jsii.String("Alarm"+constructID(text)), &awscloudwatch.AlarmProps{
		AlarmDescription: jsii.String("bus " + b.place.bus + ": " + text), Metric: a.metric, Threshold: jsii.Number(a.limit),
		ComparisonOperator: compare, EvaluationPeriods: jsii.Number(a.of), DatapointsToAlarm: jsii.Number(a.of), TreatMissingData: missing,
	})
	if arn := b.props.Alarms.Topic; arn != "" {
		made.AddAlarmAction(awscloudwatchactions.NewSnsAction(b.topic(arn)))
		made.AddOkAction(awscloudwatchactions.NewSnsAction(b.topic(arn)))
	}
	b.Alarms = append(b.Alarms, made)
}

func (b *Bus) topic(arn string) awssns.ITopic {
	if found := b.Construct.Node().TryFindChild(jsii.String("AlarmTopic")); found != nil {
		return found.(awssns.ITopic)
	}
	return awssns.Topic_FromTopicArn(b.Construct, jsii.String("AlarmTopic"), jsii.String(arn))
}

func (b *Bus) functionMetric(name, metric, statistic string) awscloudwatch.Metric {
	return b.metric("AWS/Lambda", metric, statistic, "FunctionName", *b.Functions[name].FunctionName())
}

func (b *Bus) metric(namespace, name, statistic, dimension, value string) awscloudwatch.Metric {
	return awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
		Namespace: jsii.String(namespace), MetricName: jsii.String(name), Statistic: jsii.String(statistic),
		DimensionsMap: &map[string]*string{dimension: jsii.String(value)},
		Period:        awscdk.Duration_Seconds(jsii.Number(alarmPeriod.Seconds())),
	})
}
