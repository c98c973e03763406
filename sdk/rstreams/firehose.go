package rstreams

import (
	"encoding/base64"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/store"
)

// toFirehose sends chunks in as few records as they fit: Firehose bills each record. A record is durable whole or not at all;
// the chunks of records that are not are sent again, and no others (sdk.md fault 23).
func (w *Writer) toFirehose(call []*batch) (sent []*batch, err error) {
	var records []store.Record
	var in []int // the record of each chunk
	size := 0    // text of the last record
	for i, b := range call {
		if b.data == nil {
			if b.data, err = w.firehoseLines(b); err != nil {
				if call = call[:i]; i == 0 {
					return nil, err
				}
				break // Send what is ready; the failure is met again.
			}
		}
		if n := len(records); n == 0 || size+len(b.data) > w.firehoseRecord() {
			records, size = append(records, store.Record{}), 0
		}
		r := &records[len(records)-1]
		r.Data = append(r.Data, b.data...)
		size += len(b.data)
		in = append(in, len(records)-1)
	}
	acks, err := w.intake.Put(w.ctx, records)
	if err != nil {
		return nil, err
	}
	if len(acks) != len(records) {
		return nil, fmt.Errorf("%w: Firehose acknowledged %d of %d records", store.ErrCorrupt, len(acks), len(records))
	}
	for i, b := range call {
		ack := acks[in[i]]
		if ack.Err != nil {
			if err == nil || permanent(ack.Err) {
				err = ack.Err
			}
			continue
		}
		b.shard, b.sequence = ack.Shard, ack.Sequence
		sent = append(sent, b)
	}
	return sent, err
}

// firehoseRecord returns how many bytes chunks may have in one record.
func (w *Writer) firehoseRecord() int {
	if limit := w.limits.RecordBytes; limit > 0 && w.o.Path == PathFirehoseGzip {
		return limit
	}
	return firehoseBytes
}

// firehoseLines returns what a chunk is in a Firehose record (bus.md 2.9): its lines, or base64 of their gzip where that is
// asked for and shorter.
func (w *Writer) firehoseLines(b *batch) ([]byte, error) {
	text, err := w.lines(b)
	if err != nil || w.o.Path != PathFirehoseGzip {
		return text, err
	}
	gz := chunk.AppendGzip(make([]byte, 0, len(text)/4+512), text)
	if base64.StdEncoding.EncodedLen(len(gz)) >= len(text) {
		return text, nil
	}
	return append(base64.StdEncoding.AppendEncode(nil, gz), '\n'), nil
}
