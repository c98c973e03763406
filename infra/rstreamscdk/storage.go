package rstreamscdk

import (
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsdynamodb"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsiam"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesis"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskinesisfirehose"
	"github.com/aws/aws-cdk-go/awscdk/v2/awskms"
	"github.com/aws/aws-cdk-go/awscdk/v2/awslogs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awss3"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssqs"
	"github.com/aws/jsii-runtime-go"
)

// Prefixes of the bucket.
const (
	rawPrefix    = "firehose/"        // what Firehose brings
	failedPrefix = "firehose-failed/" // what Firehose could not bring
	lostPrefix   = "aws/lambda/"      // batches that the processor could not sequence; Lambda chooses this name
)

// tables makes the tables with the keys, streams and the time to live of the original (bus.md 1.1). LeoArchive, which nothing
// reads or writes, is left out (bus.md 1.7).
func (b *Bus) tables() {
	c := b.props.Tables
	b.LeoStream = b.table("LeoStream", "event", c.LeoStream, func(p *awsdynamodb.TableProps) {
		p.SortKey = &awsdynamodb.Attribute{Name: jsii.String("end"), Type: awsdynamodb.AttributeType_STRING}
		p.TimeToLiveAttribute = jsii.String("ttl")
	})
	changes := func(p *awsdynamodb.TableProps) { p.Stream = awsdynamodb.StreamViewType_NEW_AND_OLD_IMAGES }
	plain := func(*awsdynamodb.TableProps) {}
	b.LeoEvent = b.table("LeoEvent", "event", c.LeoEvent, changes)
	b.LeoCron = b.table("LeoCron", "id", c.LeoCron, changes)
	b.LeoSettings = b.table("LeoSettings", "id", c.LeoSettings, plain)
	b.LeoSystem = b.table("LeoSystem", "id", c.LeoSystem, plain)
}

func (b *Bus) table(id, key string, c Capacity, more func(*awsdynamodb.TableProps)) awsdynamodb.Table {
	props := &awsdynamodb.TableProps{
		PartitionKey:  &awsdynamodb.Attribute{Name: jsii.String(key), Type: awsdynamodb.AttributeType_STRING},
		BillingMode:   awsdynamodb.BillingMode_PAY_PER_REQUEST,
		RemovalPolicy: b.removal(), DeletionProtection: jsii.Bool(!b.props.RemoveData),
		PointInTimeRecoverySpecification: &awsdynamodb.PointInTimeRecoverySpecification{PointInTimeRecoveryEnabled: jsii.Bool(true)},
	}
	if c.Provisioned {
		props.BillingMode = awsdynamodb.BillingMode_PROVISIONED
		props.ReadCapacity, props.WriteCapacity = jsii.Number(c.MinRead), jsii.Number(c.MinWrite)
	}
	if key := b.key(id + "Key"); key != nil {
		props.Encryption, props.EncryptionKey = awsdynamodb.TableEncryption_CUSTOMER_MANAGED, key
	}
	more(props)
	t := awsdynamodb.NewTable(b.Construct, jsii.String(id), props)
	if c.Provisioned && b.props.Endpoint == "" {
		use := &awsdynamodb.UtilizationScalingProps{TargetUtilizationPercent: jsii.Number(70)}
		t.AutoScaleReadCapacity(&awsdynamodb.EnableScalingProps{MinCapacity: jsii.Number(c.MinRead), MaxCapacity: jsii.Number(c.MaxRead)}).
			ScaleOnUtilization(use)
		t.AutoScaleWriteCapacity(&awsdynamodb.EnableScalingProps{MinCapacity: jsii.Number(c.MinWrite), MaxCapacity: jsii.Number(c.MaxWrite)}).
			ScaleOnUtilization(use)
	}
	named(t, id)
	return t
}

// key refers to the customer key, nil for none.
func (b *Bus) key(id string) awskms.IKey {
	if b.props.KMSKey == "" {
		return nil
	}
	return awskms.Key_FromKeyArn(b.Construct, jsii.String(id), jsii.String(b.props.KMSKey))
}

// stream makes the Kinesis stream. Its shards, like those of the original, are reserved unless they are left to AWS.
func (b *Bus) stream() {
	in := b.props.Intake
	props := &awskinesis.StreamProps{
		StreamMode: awskinesis.StreamMode_PROVISIONED, ShardCount: jsii.Number(in.Shards),
		RetentionPeriod: awscdk.Duration_Hours(jsii.Number(in.Retention.Hours())), RemovalPolicy: b.removal(),
		Encryption: awskinesis.StreamEncryption_MANAGED,
	}
	if in.OnDemand {
		props.StreamMode, props.ShardCount = awskinesis.StreamMode_ON_DEMAND, nil
	}
	if key := b.key("StreamKey"); key != nil {
		props.Encryption, props.EncryptionKey = awskinesis.StreamEncryption_KMS, key
	}
	b.Stream = awskinesis.NewStream(b.Construct, jsii.String("LeoKinesisStream"), props)
	named(b.Stream, "LeoKinesisStream")
}

// deadLetters makes the queue that is told what was given up.
func (b *Bus) deadLetters() {
	b.DeadLetters = awssqs.NewQueue(b.Construct, jsii.String("DeadLetters"), &awssqs.QueueProps{
		Encryption: awssqs.QueueEncryption_SQS_MANAGED, EnforceSSL: jsii.Bool(true), RetentionPeriod: awscdk.Duration_Days(jsii.Number(14)),
		RemovalPolicy: awscdk.RemovalPolicy_DESTROY,
	})
}

// bucket makes the bucket, which notifies the loader of what Firehose brought (C59) and of batches that were given up. A queue would
// be told as well, but S3 begins with a test message there, which nobody would take away and which would hide what comes after.
func (b *Bus) bucket() {
	days := func(d time.Duration) awscdk.Duration { return awscdk.Duration_Days(jsii.Number(d.Hours() / 24)) }
	props := &awss3.BucketProps{
		BucketName: jsii.String(b.bucketName), BlockPublicAccess: awss3.BlockPublicAccess_BLOCK_ALL(), EnforceSSL: jsii.Bool(true),
		Encryption: awss3.BucketEncryption_S3_MANAGED, ObjectOwnership: awss3.ObjectOwnership_BUCKET_OWNER_ENFORCED,
		RemovalPolicy: b.removal(),
		LifecycleRules: &[]*awss3.LifecycleRule{
			{Id: jsii.String("raw"), Prefix: jsii.String(rawPrefix), Expiration: days(b.props.RawRetention)},
			{Id: jsii.String("uploads"), AbortIncompleteMultipartUploadAfter: days(2 * day)},
		},
	}
	if key := b.key("BucketKey"); key != nil {
		props.Encryption, props.EncryptionKey, props.BucketKeyEnabled = awss3.BucketEncryption_KMS, key, jsii.Bool(true)
	}
	if b.props.AccessLogs != "" {
		props.ServerAccessLogsBucket = awss3.Bucket_FromBucketName(b.Construct, jsii.String("AccessLogs"), jsii.String(b.props.AccessLogs))
		props.ServerAccessLogsPrefix = jsii.String(b.place.bus + "/")
	}
	b.Bucket = awss3.NewBucket(b.Construct, jsii.String("LeoS3"), props)
	named(b.Bucket, "LeoS3")

	// The notifications are the bucket's own property: those of the CDK need a function in Python.
	cfn := b.Bucket.Node().DefaultChild().(awss3.CfnBucket)
	created := jsii.String("s3:ObjectCreated:*")
	under := func(prefix string) any {
		return map[string]any{"s3Key": map[string]any{"rules": []any{map[string]any{"name": "prefix", "value": prefix}}}}
	}
	cfn.SetNotificationConfiguration(&awss3.CfnBucket_NotificationConfigurationProperty{
		LambdaConfigurations: []any{
			&awss3.CfnBucket_LambdaConfigurationProperty{Event: created, Function: b.Functions[firehoseLoader].FunctionArn(), Filter: under(rawPrefix)},
			&awss3.CfnBucket_LambdaConfigurationProperty{Event: created, Function: b.Functions[firehoseLoader].FunctionArn(), Filter: under(lostPrefix)},
		},
	})
	// S3 asks for it when the bucket is made.
	b.Bucket.Node().AddDependency(b.permit(firehoseLoader, "Bucket", "s3.amazonaws.com", b.place.bucket()))
}

// deliveryStream makes the Firehose, with the buffers of the original (bus.md 4.2).
func (b *Bus) deliveryStream() {
	logs := b.logGroup("FirehoseLog")
	errors := awslogs.NewCfnLogStream(b.Construct, jsii.String("FirehoseErrors"), &awslogs.CfnLogStreamProps{LogGroupName: logs.LogGroupName()})
	p := b.place
	role := awsiam.NewRole(b.Construct, jsii.String("FirehoseRole"), &awsiam.RoleProps{
		AssumedBy: awsiam.NewServicePrincipal(jsii.String("firehose.amazonaws.com"), &awsiam.ServicePrincipalOpts{
			Conditions: &map[string]any{"StringEquals": map[string]any{"aws:SourceAccount": p.stack.Account()}},
		}),
		InlinePolicies: &map[string]awsiam.PolicyDocument{"Deliver": document(append([]grant{
			allow("WriteObjects", []string{p.objects(rawPrefix + "*"), p.objects(failedPrefix + "*")}, "s3:PutObject", "s3:AbortMultipartUpload"),
			allow("ListObjects", []string{p.bucket()}, "s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"),
			allow("WriteLog", []string{*logs.LogGroupArn()}, "logs:PutLogEvents"),
		}, p.keyGrants("kms:Decrypt", "kms:GenerateDataKey")...))},
	})
	stream := awskinesisfirehose.NewCfnDeliveryStream(b.Construct, jsii.String("LeoFirehoseStream"), &awskinesisfirehose.CfnDeliveryStreamProps{
		DeliveryStreamName: firehoseName(p.bus), DeliveryStreamType: jsii.String("DirectPut"),
		DeliveryStreamEncryptionConfigurationInput: map[string]any{"keyType": "AWS_OWNED_CMK"},
		ExtendedS3DestinationConfiguration: &awskinesisfirehose.CfnDeliveryStream_ExtendedS3DestinationConfigurationProperty{
			BucketArn: b.Bucket.BucketArn(), RoleArn: role.RoleArn(), Prefix: jsii.String(rawPrefix), ErrorOutputPrefix: jsii.String(failedPrefix),
			CompressionFormat: jsii.String("UNCOMPRESSED"),
			BufferingHints:    map[string]any{"intervalInSeconds": 60, "sizeInMBs": 128},
			CloudWatchLoggingOptions: map[string]any{
				"enabled": true, "logGroupName": logs.LogGroupName(), "logStreamName": errors.Ref(),
			},
		},
	})
	stream.OverrideLogicalId(jsii.String("LeoFirehoseStream"))
	stream.Node().AddDependency(role)
	b.firehose = stream
}

// logGroup makes a log with the bus's retention.
func (b *Bus) logGroup(id string) awslogs.LogGroup {
	return newLogGroup(b.Construct, id, b.props.LogRetention)
}
