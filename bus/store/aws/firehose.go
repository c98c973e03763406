package aws

import (
	"bytes"
	"context"
	"fmt"
	"sync"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	fh "github.com/aws/aws-sdk-go-v2/service/firehose/types"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Limits of one PutRecordBatch (facts.md C.2).
const (
	maxHoseRecords     = 500
	maxHoseBytes       = 4 << 20
	maxHoseRecordBytes = 1000 << 10
)

// hose is the bus's Firehose. It has no shards and keeps no order: bus.md 2.9.
type hose struct {
	bus    *Bus
	client func() *firehose.Client
}

func newFirehose(b *Bus) store.Intake {
	return &hose{bus: b, client: sync.OnceValue(func() *firehose.Client {
		return firehose.NewFromConfig(b.cfg, func(o *firehose.Options) { o.Retryer = once })
	})}
}

// Limits implements store.Intake. A record's last newline is added where it is missing, for which there is room in each.
func (h *hose) Limits() store.IntakeLimits {
	return store.IntakeLimits{Records: maxHoseRecords, Bytes: maxHoseBytes - maxHoseRecords, RecordBytes: maxHoseRecordBytes - 1}
}

// Put implements store.Intake. Keys are of no meaning here; the acks' sequences are the service's record ids.
func (h *hose) Put(ctx context.Context, records []store.Record) ([]store.Ack, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if len(records) > maxHoseRecords {
		return nil, fmt.Errorf("%w: %d records in one call, at most %d; split the call", store.ErrTooLarge, len(records), maxHoseRecords)
	}
	acks := make([]store.Ack, len(records))
	entries := make([]fh.Record, 0, len(records))
	index := make([]int, 0, len(records))
	total := 0
	for i, r := range records {
		data := r.Data
		if !bytes.HasSuffix(data, []byte{'\n'}) {
			// Firehose joins records without anything between them.
			data = append(data[:len(data):len(data)], '\n')
		}
		if len(data) > maxHoseRecordBytes {
			acks[i].Err = fmt.Errorf("%w: a record of %d bytes, at most %d; write large events through a blob",
				store.ErrTooLarge, len(data), maxHoseRecordBytes)
			continue
		}
		total += len(data)
		entries = append(entries, fh.Record{Data: data})
		index = append(index, i)
	}
	if total > maxHoseBytes {
		return nil, fmt.Errorf("%w: %d bytes in one call, at most %d; split the call", store.ErrTooLarge, total, maxHoseBytes)
	}
	if len(entries) == 0 {
		return acks, nil
	}
	op := "put records into Firehose " + h.bus.o.Resources.LeoFirehoseStream
	in := &firehose.PutRecordBatchInput{DeliveryStreamName: &h.bus.o.Resources.LeoFirehoseStream, Records: entries}
	out, err := ask(ctx, h.bus, func(ctx context.Context) (*firehose.PutRecordBatchOutput, error) {
		return h.client().PutRecordBatch(ctx, in)
	})
	if err != nil {
		return nil, h.bus.classify(op, err)
	}
	if len(out.RequestResponses) != len(entries) {
		return nil, fmt.Errorf("%s: the answer tells of %d records, %d were sent", op, len(out.RequestResponses), len(entries))
	}
	for i, r := range out.RequestResponses {
		ack := &acks[index[i]]
		switch code := awssdk.ToString(r.ErrorCode); {
		case code != "":
			ack.Err = recordError(op, code, awssdk.ToString(r.ErrorMessage))
		case awssdk.ToString(r.RecordId) == "":
			ack.Err = fmt.Errorf("%s: the answer has no id for record %d", op, index[i])
		default:
			ack.Sequence = *r.RecordId
		}
	}
	return acks, nil
}
