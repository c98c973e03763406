// Package awstest gives tests a bus of their own on an emulator of AWS: tables, streams, a bucket and a Firehose, made with
// plain SDK calls and deleted at the end of the test. It has no part in how a bus is deployed; infra does that.
package awstest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	fh "github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	kin "github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"golang.org/x/sync/errgroup"

	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
)

// EndpointVariable is the environment variable with the emulator's address, such as http://127.0.0.1:4566.
const EndpointVariable = "RSTREAMS_TEST_ENDPOINT"

// Region is where test buses are; emulators have every region.
const Region = "us-east-1"

// How long resources may take to come up, and how often they are looked at. Only an emulator is polled.
const (
	patience = 2 * time.Minute
	poll     = 100 * time.Millisecond
)

// Setup tells how a bus differs from the usual one.
type Setup struct {
	// Shards is the number of shards of the intake stream; 0 means 1.
	Shards int
}

// Endpoint returns the emulator's address. Where there is none it skips the test, or fails it when CI is set: there an emulator
// is promised.
func Endpoint(t testing.TB) string {
	t.Helper()
	endpoint := strings.TrimSuffix(os.Getenv(EndpointVariable), "/")
	if endpoint == "" {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not set, and CI must run the tests against an emulator", EndpointVariable)
		}
		t.Skipf("needs an emulator of AWS: set %s to its address (scripts/localstack up starts one)", EndpointVariable)
	}
	return endpoint
}

// Config returns a configuration for SDK clients of the emulator, whatever the environment says.
func Config(t testing.TB) awssdk.Config {
	t.Helper()
	return config(Endpoint(t))
}

func config(endpoint string) awssdk.Config {
	return awssdk.Config{
		Region:       Region,
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
		BaseEndpoint: &endpoint,
	}
}

// New makes a bus of one shard and returns what opens it. The bus is deleted when the test ends.
func New(t testing.TB) *awsbus.Options {
	t.Helper()
	return NewWith(t, Setup{})
}

// NewWith is New for a bus that is not the usual one.
func NewWith(t testing.TB, setup Setup) *awsbus.Options {
	t.Helper()
	endpoint, name := Endpoint(t), strings.ToLower(rand.Text()[:10])
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), patience)
		defer cancel()
		if err := Delete(ctx, endpoint, name); err != nil {
			t.Errorf("delete the test's bus: %v", err)
		}
	})
	o, err := Make(t.Context(), endpoint, name, setup)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// Make makes the bus of a name, of lower-case letters and digits, or what of it is not there yet: several processes may make one
// bus at once. Whoever calls it sees to it that the bus is deleted.
func Make(ctx context.Context, endpoint, name string, setup Setup) (*awsbus.Options, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cfg := config(endpoint)
	m := newMaker(cfg, name)
	if err := m.create(ctx, setup); err != nil {
		return nil, fmt.Errorf("make a bus on the emulator at %s: %w", endpoint, err)
	}
	return &awsbus.Options{Resources: m.Resources, Config: &cfg, Endpoint: endpoint}, nil
}

// Delete deletes the bus of a name, as far as it is there.
func Delete(ctx context.Context, endpoint, name string) error {
	return newMaker(config(endpoint), name).delete(ctx)
}

// Open makes a bus of one shard and opens it. It is closed and deleted when the test ends.
func Open(t testing.TB) *awsbus.Bus {
	t.Helper()
	return OpenWith(t, *New(t))
}

// OpenWith opens a bus, and closes it when the test ends.
func OpenWith(t testing.TB, o awsbus.Options) *awsbus.Bus {
	t.Helper()
	b, err := awsbus.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("close the bus: %v", err)
		}
	})
	return b
}

// maker creates and deletes the parts of a bus.
type maker struct {
	awsbus.Resources
	dynamodb *dynamodb.Client
	kinesis  *kinesis.Client
	firehose *firehose.Client
	s3       *s3.Client
}

func newMaker(cfg awssdk.Config, name string) *maker {
	prefix := "rst-" + name + "-"
	r := awsbus.Resources{
		Region: Region, LeoStream: prefix + "LeoStream", LeoCron: prefix + "LeoCron", LeoEvent: prefix + "LeoEvent",
		LeoSettings: prefix + "LeoSettings", LeoSystem: prefix + "LeoSystem", LeoS3: prefix + "leos3",
		LeoKinesisStream: prefix + "LeoKinesisStream", LeoFirehoseStream: prefix + "LeoFirehoseStream",
	}
	return &maker{
		Resources: r, dynamodb: dynamodb.NewFromConfig(cfg), kinesis: kinesis.NewFromConfig(cfg),
		firehose: firehose.NewFromConfig(cfg), s3: s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = true }),
	}
}

// tables returns the key attributes of each table, and whether it has a stream.
func (m *maker) tables() []table {
	return []table{
		{m.LeoStream, "event", "end", false}, {m.LeoEvent, "event", "", true}, {m.LeoCron, "id", "", true},
		{m.LeoSettings, "id", "", false}, {m.LeoSystem, "id", "", false},
	}
}

type table struct {
	name, hash, sort string
	stream           bool
}

func (m *maker) create(ctx context.Context, setup Setup) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, t := range m.tables() {
		g.Go(func() error { return m.createTable(ctx, t) })
	}
	g.Go(func() error { return m.createStream(ctx, max(1, setup.Shards)) })
	g.Go(func() error {
		if _, err := m.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &m.LeoS3}); err != nil && !exists(err) {
			return err
		}
		return m.createFirehose(ctx)
	})
	return g.Wait()
}

func (m *maker) createTable(ctx context.Context, t table) error {
	in := &dynamodb.CreateTableInput{
		TableName: &t.name, BillingMode: ddb.BillingModePayPerRequest,
		AttributeDefinitions: []ddb.AttributeDefinition{{AttributeName: &t.hash, AttributeType: ddb.ScalarAttributeTypeS}},
		KeySchema:            []ddb.KeySchemaElement{{AttributeName: &t.hash, KeyType: ddb.KeyTypeHash}},
	}
	if t.sort != "" {
		in.AttributeDefinitions = append(in.AttributeDefinitions,
			ddb.AttributeDefinition{AttributeName: &t.sort, AttributeType: ddb.ScalarAttributeTypeS})
		in.KeySchema = append(in.KeySchema, ddb.KeySchemaElement{AttributeName: &t.sort, KeyType: ddb.KeyTypeRange})
	}
	if t.stream {
		in.StreamSpecification = &ddb.StreamSpecification{
			StreamEnabled: awssdk.Bool(true), StreamViewType: ddb.StreamViewTypeNewAndOldImages,
		}
	}
	_, made := m.dynamodb.CreateTable(ctx, in)
	if made != nil && !exists(made) {
		return made
	}
	err := wait(ctx, func() (bool, error) {
		out, err := m.dynamodb.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &t.name})
		return err == nil && out.Table.TableStatus == ddb.TableStatusActive, err
	})
	if err != nil || made != nil || t.sort == "" {
		return err
	}
	_, err = m.dynamodb.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{
		TableName:               &t.name,
		TimeToLiveSpecification: &ddb.TimeToLiveSpecification{AttributeName: awssdk.String("ttl"), Enabled: awssdk.Bool(true)},
	})
	return err
}

func (m *maker) createStream(ctx context.Context, shards int) error {
	_, err := m.kinesis.CreateStream(ctx, &kinesis.CreateStreamInput{
		StreamName: &m.LeoKinesisStream, ShardCount: awssdk.Int32(int32(shards)),
	})
	if err != nil && !exists(err) {
		return err
	}
	return wait(ctx, func() (bool, error) {
		out, err := m.kinesis.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &m.LeoKinesisStream})
		return err == nil && out.StreamDescriptionSummary.StreamStatus == kin.StreamStatusActive, err
	})
}

func (m *maker) createFirehose(ctx context.Context) error {
	bucket := "arn:aws:s3:::" + m.LeoS3
	_, err := m.firehose.CreateDeliveryStream(ctx, &firehose.CreateDeliveryStreamInput{
		DeliveryStreamName: &m.LeoFirehoseStream, DeliveryStreamType: fh.DeliveryStreamTypeDirectPut,
		ExtendedS3DestinationConfiguration: &fh.ExtendedS3DestinationConfiguration{
			BucketARN: &bucket, RoleARN: awssdk.String("arn:aws:iam::000000000000:role/firehose"), Prefix: awssdk.String("firehose/"),
			BufferingHints:    &fh.BufferingHints{IntervalInSeconds: awssdk.Int32(60), SizeInMBs: awssdk.Int32(128)},
			CompressionFormat: fh.CompressionFormatUncompressed,
		},
	})
	if err != nil && !exists(err) {
		return err
	}
	return wait(ctx, func() (bool, error) {
		out, err := m.firehose.DescribeDeliveryStream(ctx, &firehose.DescribeDeliveryStreamInput{
			DeliveryStreamName: &m.LeoFirehoseStream})
		return err == nil && out.DeliveryStreamDescription.DeliveryStreamStatus == fh.DeliveryStreamStatusActive, err
	})
}

// delete removes what is there and reports what could not be removed.
func (m *maker) delete(ctx context.Context) error {
	var (
		mu   sync.Mutex
		errs []error
		wg   sync.WaitGroup
	)
	try := func(fn func() error) {
		wg.Go(func() {
			if err := fn(); err != nil && !missing(err) {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	for _, t := range m.tables() {
		try(func() error {
			_, err := m.dynamodb.DeleteTable(ctx, &dynamodb.DeleteTableInput{TableName: &t.name})
			return err
		})
	}
	try(func() error {
		_, err := m.kinesis.DeleteStream(ctx, &kinesis.DeleteStreamInput{
			StreamName: &m.LeoKinesisStream, EnforceConsumerDeletion: awssdk.Bool(true)})
		return err
	})
	try(func() error {
		_, err := m.firehose.DeleteDeliveryStream(ctx, &firehose.DeleteDeliveryStreamInput{DeliveryStreamName: &m.LeoFirehoseStream})
		return err
	})
	try(func() error { return m.deleteBucket(ctx) })
	wg.Wait()
	return errors.Join(errs...)
}

func (m *maker) deleteBucket(ctx context.Context) error {
	for {
		page, err := m.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: &m.LeoS3})
		if err != nil {
			return err
		}
		if len(page.Contents) == 0 {
			break
		}
		for _, o := range page.Contents {
			if _, err := m.s3.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &m.LeoS3, Key: o.Key}); err != nil {
				return err
			}
		}
	}
	_, err := m.s3.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &m.LeoS3})
	return err
}

// missing tells whether err only says that there is nothing to delete.
func missing(err error) bool {
	var (
		table  *ddb.ResourceNotFoundException
		stream *kin.ResourceNotFoundException
		hose   *fh.ResourceNotFoundException
		bucket *s3types.NoSuchBucket
	)
	return errors.As(err, &table) || errors.As(err, &stream) || errors.As(err, &hose) || errors.As(err, &bucket)
}

// exists tells whether err only says that somebody else has made it.
func exists(err error) bool {
	var (
		table  *ddb.ResourceInUseException
		stream *kin.ResourceInUseException
		hose   *fh.ResourceInUseException
		bucket *s3types.BucketAlreadyOwnedByYou
		taken  *s3types.BucketAlreadyExists
	)
	return errors.As(err, &table) || errors.As(err, &stream) || errors.As(err, &hose) || errors.As(err, &bucket) || errors.As(err, &taken)
}

// wait asks until the answer is yes.
func wait(ctx context.Context, ready func() (bool, error)) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		ok, err := ready()
		if ok {
			return nil
		}
		if err != nil && !missing(err) { // What was made a moment ago may not be known everywhere.
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}
