package shell

import (
	"encoding/json"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"
)

// KinesisEvent is what an event source mapping of a Kinesis stream invokes a function with: records of one shard, in order.
type KinesisEvent struct {
	Records []KinesisRecord `json:"Records"`
}

// KinesisRecord is one record of a KinesisEvent.
type KinesisRecord struct {
	// EventID is the shard's id, a colon, and the sequence number.
	EventID string `json:"eventID"`
	Kinesis struct {
		SequenceNumber string `json:"sequenceNumber"`
		PartitionKey   string `json:"partitionKey"`
		// Arrival is when the stream took the record.
		Arrival EpochTime `json:"approximateArrivalTimestamp"`
		Data    []byte    `json:"data"`
	} `json:"kinesis"`
}

// Shard returns the id of the record's shard, "" where the event id names none.
func (r *KinesisRecord) Shard() string {
	shard, _, ok := strings.Cut(r.EventID, ":")
	if !ok {
		return ""
	}
	return shard
}

// EpochTime is a time that JSON gives in seconds, with a fraction, as AWS does, or as text of RFC 3339, as some emulators do.
type EpochTime struct{ time.Time }

// UnmarshalJSON reads either form.
func (t *EpochTime) UnmarshalJSON(data []byte) error {
	var seconds float64
	if err := json.Unmarshal(data, &seconds); err == nil {
		if seconds < 0 || seconds > maxEpoch || math.IsNaN(seconds) {
			return fmt.Errorf("a time of %g seconds", seconds)
		}
		t.Time = time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("want a time in seconds, got %.60s", data)
	}
	var err error
	if t.Time, err = time.Parse(time.RFC3339Nano, text); err != nil {
		return fmt.Errorf("want a time: %w", err)
	}
	return nil
}

// maxEpoch is the last second of event ids.
const maxEpoch = 9_999_999_999

// DynamoEvent is what an event source mapping of a DynamoDB stream invokes a function with.
type DynamoEvent struct {
	Records []DynamoRecord `json:"Records"`
}

// DynamoRecord is one change of an item.
type DynamoRecord struct {
	EventID string `json:"eventID"`
	// EventName is "INSERT", "MODIFY" or "REMOVE".
	EventName string `json:"eventName"`
	// Source is the ARN of the table's stream.
	Source string `json:"eventSourceARN"`
	Change struct {
		// Created is when the item changed, to the second.
		Created        EpochTime `json:"ApproximateCreationDateTime"`
		SequenceNumber string    `json:"SequenceNumber"`
		// Keys, NewImage and OldImage are objects in DynamoDB's JSON, such as {"id":{"S":"b"}}, nil where there is none. Package
		// bus/store/aws decodes them (DecodeBotImage, DecodeQueueImage).
		Keys     json.RawMessage `json:"Keys"`
		NewImage json.RawMessage `json:"NewImage"`
		OldImage json.RawMessage `json:"OldImage"`
	} `json:"dynamodb"`
}

// S3Event is a notification of a bucket.
type S3Event struct {
	Records []S3Record `json:"Records"`
}

// S3Record tells of one object.
type S3Record struct {
	EventName string `json:"eventName"`
	S3        struct {
		Bucket struct {
			Name string `json:"name"`
		} `json:"bucket"`
		Object struct {
			// Key is URL-encoded; see S3Record.Key.
			Key  string `json:"key"`
			Size int64  `json:"size"`
		} `json:"object"`
	} `json:"s3"`
}

// Key returns the object's key, decoded. A key that cannot be decoded is returned as it is.
func (r *S3Record) Key() string {
	if key, err := url.QueryUnescape(r.S3.Object.Key); err == nil {
		return key
	}
	return r.S3.Object.Key
}
