package aws

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	fh "github.com/aws/aws-sdk-go-v2/service/firehose/types"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	kin "github.com/aws/aws-sdk-go-v2/service/kinesis/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/rstreams-go/rstreams/bus/store"
)

// part is something that a bus needs.
type part struct {
	name string // as in Resources
	what string // "table rstreams-dev-LeoEvent"
	// look returns what is wrong with it: an error of a call, or one that says it.
	look func(ctx context.Context) error
}

// fault is what is wrong with a part that answers.
type fault string

func (f fault) Error() string { return string(f) }

// check looks at every part at once. What several parts have in common, such as an emulator that is down, is said once.
func (b *Bus) check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	parts := b.parts()
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, p := range parts {
		wg.Go(func() { errs[i] = p.look(ctx) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	names := map[string][]string{} // of the parts by what is wrong
	failed := 0
	for i, p := range parts {
		if errs[i] == nil {
			continue
		}
		failed++
		why := b.explain(errs[i])
		names[why] = append(names[why], p.name+" ("+p.what+")")
	}
	if failed == 0 {
		return nil
	}
	var lines []string
	for _, why := range slices.Sorted(maps.Keys(names)) {
		if failed == len(parts) && len(names) == 1 {
			lines = append(lines, "every part: "+why)
			continue
		}
		lines = append(lines, strings.Join(names[why], ", ")+": "+why)
	}
	return fmt.Errorf("%w: the bus cannot be used: %s", store.ErrUnavailable, strings.Join(lines, "; "))
}

// explain says what an error of a part means for somebody who runs the bus.
func (b *Bus) explain(err error) string {
	if f, ok := err.(fault); ok { //nolint:errorlint // It is made here and not wrapped.
		return string(f)
	}
	code, message := apiError(err)
	switch code {
	case "ResourceNotFoundException", "NoSuchBucket", "NotFound":
		return "not there; is " + b.o.Resources.Region + " the region of the bus, are the credentials of its account, and is it deployed?"
	case "PermanentRedirect", "MovedPermanently", "301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException":
		return "in another region than " + b.o.Resources.Region
	case "Forbidden", "403":
		return "these credentials have no permission; attach the policy of the bus's stack to their role"
	case "":
		advice, _ := b.advise(err)
		if dialing(err) {
			return advice
		}
		return advice + " (" + flat(err.Error()) + ")"
	}
	advice, _ := b.advise(err)
	return advice + " (" + code + ": " + flat(message) + ")"
}

// parts lists what the configuration names. LeoSettings and LeoSystem may be missing in it.
func (b *Bus) parts() []part {
	r := b.o.Resources
	tries := func() awssdk.Retryer { // Not the usual patience: whoever checks is waiting.
		return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxAttempts = 2 })
	}
	tables := dynamodb.NewFromConfig(b.cfg, func(o *dynamodb.Options) { o.Retryer = tries() })
	table := func(field, name, hash, sort string, stream bool) part {
		return part{field, "table " + name, func(ctx context.Context) error {
			out, err := tables.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: &name})
			if err != nil {
				return err
			}
			return checkTable(out.Table, hash, sort, stream)
		}}
	}
	parts := []part{
		table("LeoStream", r.LeoStream, "event", "end", false),
		table("LeoEvent", r.LeoEvent, "event", "", true),
		table("LeoCron", r.LeoCron, "id", "", true),
	}
	if r.LeoSettings != "" {
		parts = append(parts, table("LeoSettings", r.LeoSettings, "id", "", false))
	}
	if r.LeoSystem != "" {
		parts = append(parts, table("LeoSystem", r.LeoSystem, "id", "", false))
	}
	return append(parts,
		part{"LeoKinesisStream", "stream " + r.LeoKinesisStream, func(ctx context.Context) error {
			c := kinesis.NewFromConfig(b.cfg, func(o *kinesis.Options) { o.Retryer = tries() })
			out, err := c.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &r.LeoKinesisStream})
			if err != nil {
				return err
			}
			s := out.StreamDescriptionSummary.StreamStatus
			if s == kin.StreamStatusActive || s == kin.StreamStatusUpdating {
				return nil
			}
			return fault("its status is " + string(s))
		}},
		part{"LeoFirehoseStream", "Firehose " + r.LeoFirehoseStream, func(ctx context.Context) error {
			c := firehose.NewFromConfig(b.cfg, func(o *firehose.Options) { o.Retryer = tries() })
			out, err := c.DescribeDeliveryStream(ctx, &firehose.DescribeDeliveryStreamInput{DeliveryStreamName: &r.LeoFirehoseStream})
			if err != nil {
				return err
			}
			if s := out.DeliveryStreamDescription.DeliveryStreamStatus; s != fh.DeliveryStreamStatusActive {
				return fault("its status is " + string(s))
			}
			return nil
		}},
		part{"LeoS3", "bucket " + r.LeoS3, func(ctx context.Context) error {
			_, err := newS3(b, func(o *s3.Options) { o.Retryer = tries() }).HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &r.LeoS3})
			return err
		}},
	)
}

// checkTable tells what is wrong with a table that is there.
func checkTable(t *ddb.TableDescription, hash, sort string, stream bool) error {
	if t.TableStatus != ddb.TableStatusActive && t.TableStatus != ddb.TableStatusUpdating {
		return fault("its status is " + string(t.TableStatus))
	}
	var keys [2]string
	for _, k := range t.KeySchema {
		if k.KeyType == ddb.KeyTypeHash {
			keys[0] = awssdk.ToString(k.AttributeName)
		} else {
			keys[1] = awssdk.ToString(k.AttributeName)
		}
	}
	if keys != [2]string{hash, sort} {
		return fault(fmt.Sprintf("its key is %q %q, where this table of a bus has %q %q: are the names of tables mixed up?", keys[0], keys[1], hash, sort))
	}
	spec := t.StreamSpecification
	if stream && (spec == nil || !awssdk.ToBool(spec.StreamEnabled) || spec.StreamViewType != ddb.StreamViewTypeNewAndOldImages) {
		return fault("it has no stream of new and old images, without which bots are not triggered")
	}
	return nil
}
