package aws

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"sync"
	"unicode/utf8"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	kin "github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Limits of one PutRecords (facts.md C.1). Streams may be set up for more, but a bus must not depend on that.
const (
	maxPutRecords  = 500
	maxPutBytes    = 5 << 20
	maxRecordBytes = 1 << 20 // with its partition key
	maxKeyChars    = 256
	maxKeyBytes    = maxKeyChars * utf8.UTFMax
)

// defaultKey is the partition key and the hash key of records that name none: all of them go to one shard, as those of the
// original SDK do (bus.md 2.4).
const defaultKey = "0"

// intake is the bus's Kinesis stream. It never sends a part of a call again on its own: what follows a refused record has been
// accepted by then, and only the caller knows which records must not be overtaken (W10).
//
// Kinesis stores the accepted records of a call in their order, but promises that only for records of different calls. A
// caller that needs the order whatever happens has one record of a queue in a call and one call in flight, as sdk/rstreams has.
type intake struct {
	bus    *Bus
	client func() *kinesis.Client
}

func newIntake(b *Bus) store.Intake {
	return &intake{bus: b, client: sync.OnceValue(func() *kinesis.Client {
		return kinesis.NewFromConfig(b.cfg, func(o *kinesis.Options) { o.Retryer = once })
	})}
}

// Limits implements store.Intake.
func (in *intake) Limits() store.IntakeLimits {
	return store.IntakeLimits{Records: maxPutRecords, Bytes: maxPutBytes, RecordBytes: maxRecordBytes - maxKeyBytes}
}

// Put implements store.Intake. An answer that was lost is asked for once more by the client, so that records may be stored
// twice, next to each other.
func (in *intake) Put(ctx context.Context, records []store.Record) ([]store.Ack, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	if len(records) > maxPutRecords {
		return nil, fmt.Errorf("%w: %d records in one call, at most %d; split the call", store.ErrTooLarge, len(records), maxPutRecords)
	}
	acks := make([]store.Ack, len(records))
	entries := make([]kin.PutRecordsRequestEntry, 0, len(records))
	index := make([]int, 0, len(records)) // of entries among acks: records that were refused are not sent
	total := 0
	for i, r := range records {
		entry, size, err := putEntry(r)
		if err != nil {
			acks[i].Err = err
			continue
		}
		total += size
		entries = append(entries, entry)
		index = append(index, i)
	}
	if total > maxPutBytes {
		return nil, fmt.Errorf("%w: %d bytes in one call, at most %d; split the call", store.ErrTooLarge, total, maxPutBytes)
	}
	if len(entries) == 0 {
		return acks, nil
	}
	op := "put records into stream " + in.bus.o.Resources.LeoKinesisStream
	call := &kinesis.PutRecordsInput{StreamName: &in.bus.o.Resources.LeoKinesisStream, Records: entries}
	out, err := ask(ctx, in.bus, func(ctx context.Context) (*kinesis.PutRecordsOutput, error) {
		return in.client().PutRecords(ctx, call)
	})
	if err != nil {
		return nil, in.bus.classify(op, err)
	}
	if len(out.Records) != len(entries) {
		return nil, fmt.Errorf("%s: the answer tells of %d records, %d were sent", op, len(out.Records), len(entries))
	}
	for i, r := range out.Records {
		ack := &acks[index[i]]
		switch code := awssdk.ToString(r.ErrorCode); {
		case code != "":
			ack.Err = recordError(op, code, awssdk.ToString(r.ErrorMessage))
		case awssdk.ToString(r.SequenceNumber) == "":
			ack.Err = fmt.Errorf("%s: the answer has no sequence number for record %d", op, index[i])
		default:
			ack.Shard, ack.Sequence = awssdk.ToString(r.ShardId), *r.SequenceNumber
		}
	}
	return acks, nil
}

// putEntry returns the entry of a record and the bytes that it counts for.
func putEntry(r store.Record) (kin.PutRecordsRequestEntry, int, error) {
	key, hash := r.PartitionKey, r.HashKey
	if key == "" {
		key = defaultKey
		if hash == "" {
			hash = defaultKey
		}
	}
	if utf8.RuneCountInString(key) > maxKeyChars {
		// Names of queues may be longer than partition keys. One queue keeps one shard.
		sum := sha256.Sum256([]byte(key))
		key = hex.EncodeToString(sum[:])
	}
	size := len(r.Data) + len(key)
	switch {
	case size > maxRecordBytes:
		return kin.PutRecordsRequestEntry{}, 0, fmt.Errorf("%w: a record of %d bytes with its key, at most %d; write large events through a blob",
			store.ErrTooLarge, size, maxRecordBytes)
	case !utf8.ValidString(key):
		return kin.PutRecordsRequestEntry{}, 0, fmt.Errorf("%w partition key %.40q: it is no UTF-8", store.ErrInvalid, key)
	case hash != "" && !validHash(hash):
		return kin.PutRecordsRequestEntry{}, 0, fmt.Errorf("%w hash key %.50q: it needs to be a decimal number below 2^128", store.ErrInvalid, hash)
	}
	entry := kin.PutRecordsRequestEntry{PartitionKey: &key, Data: r.Data}
	if hash != "" {
		entry.ExplicitHashKey = &hash
	}
	return entry, size, nil
}

// validHash tells whether Kinesis takes the hash key; a wrong one would fail the records beside it.
func validHash(hash string) bool {
	for _, c := range hash {
		if c < '0' || c > '9' {
			return false
		}
	}
	if len(hash) > 39 {
		return false
	}
	n, ok := new(big.Int).SetString(hash, 10)
	return ok && n.BitLen() <= 128
}

// recordError is the error of one refused record of an accepted call. All of these pass with time; Kinesis documents the first two.
func recordError(op, code, message string) error {
	switch code {
	case "ProvisionedThroughputExceededException", "InternalFailure", "InternalServerError", "KMSThrottlingException",
		"LimitExceededException", "ServiceUnavailableException", "ThrottlingException":
		return fmt.Errorf("%s: %w: %s: %s", op, store.ErrThrottled, code, flat(message))
	}
	return fmt.Errorf("%s: %s: %s", op, code, flat(message))
}
