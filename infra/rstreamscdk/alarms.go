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
	metricArchiveGaps   = "ArchiveGaps" // places where events left the index before they were archived
	metricLoadBehind    = "FirehoseBehind"
)

// loadLag is how far the loader may be behind: its objects are as old as Firehose's buffer when they come.
const loadLag = time.Hour

// alarms tells when the bus needs an operator (W-O2).
func (b *Bus) alarms() {
	lag := b.props.Alarms.Lag
	for _, name := range []string{kinesisProcessor, eventTrigger, botRunner, monitor} {
		b.alarm(name+" is behind its stream", alarm{
			metric: b.functionMetric(name, "IteratorAge", "Maximum"), over: float64(lag.Milliseconds()), of: 3,
		})
	}
	for _, name := range functionNames(b.props) {
		b.alarm(name+" fails", alarm{metric: b.functionMetric(name, "Errors", "Sum"), over: 0, of: 1})
		b.alarm(name+" is throttled", alarm{metric: b.functionMetric(name, "Throttles", "Sum"), over: 0, of: 1})
	}
	b.alarm("dead letters wait", alarm{over: 0, of: 1, metric: b.metric("AWS/SQS", "ApproximateNumberOfMessagesVisible", "Maximum",
		"QueueName", *b.DeadLetters.QueueName())})
	b.alarm("writers are throttled", alarm{over: 0, of: 3, metric: b.metric("AWS/Kinesis", "WriteProvisionedThroughputExceeded", "Sum",
		"StreamName", *b.Stream.StreamName())})
	b.alarm("archive is behind", alarm{over: (b.props.TTL / 2).Seconds(), of: 1, metric: b.metric(metricNamespace, metricArchiveBehind, "Maximum",
		"Bus", b.place.bus)})
	b.alarm("archive has gaps", alarm{over: 0, of: 1, metric: b.metric(metricNamespace, metricArchiveGaps, "Sum", "Bus", b.place.bus)})
	b.alarm("firehose is behind", alarm{over: loadLag.Seconds(), of: 1, metric: b.metric(metricNamespace, metricLoadBehind, "Maximum",
		"Bus", b.place.bus)})
}

// alarm is over a threshold in so many of as many five minutes.
type alarm struct {
	metric awscloudwatch.IMetric
	over   float64
	of     int
}

func (b *Bus) alarm(text string, a alarm) {
	made := awscloudwatch.NewAlarm(b.Construct, jsii.String("Alarm"+constructID(text)), &awscloudwatch.AlarmProps{
		AlarmDescription: jsii.String("bus " + b.place.bus + ": " + text), Metric: a.metric, Threshold: jsii.Number(a.over),
		ComparisonOperator: awscloudwatch.ComparisonOperator_GREATER_THAN_THRESHOLD,
		EvaluationPeriods:  jsii.Number(a.of), DatapointsToAlarm: jsii.Number(a.of),
		TreatMissingData: awscloudwatch.TreatMissingData_NOT_BREACHING,
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

func (b *Bus) functionMetric(name, metric, statistic string) awscloudwatch.IMetric {
	return b.metric("AWS/Lambda", metric, statistic, "FunctionName", *b.Functions[name].FunctionName())
}

func (b *Bus) metric(namespace, name, statistic, dimension, value string) awscloudwatch.IMetric {
	return awscloudwatch.NewMetric(&awscloudwatch.MetricProps{
		Namespace: jsii.String(namespace), MetricName: jsii.String(name), Statistic: jsii.String(statistic),
		DimensionsMap: &map[string]*string{dimension: jsii.String(value)},
		Period:        awscdk.Duration_Seconds(jsii.Number((5 * time.Minute).Seconds())),
	})
}
