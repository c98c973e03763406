// Package firehose stands in for a Firehose delivery stream where there is none: it takes the records of bus.md 2.9 and puts
// what they hold through the bus's intake at once.
//
// On AWS, such records gather in objects, which a loader turns into events later (package loader). Here writers that choose the
// cheap path work the same, and their events are readable when the record is acknowledged.
package firehose

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Limits of one Put are those of the service, so that what works here works there.
const (
	// MaxRecords and MaxBytes bound one call, MaxRecordBytes one record's data.
	MaxRecords     = 500
	MaxBytes       = 4 << 20
	MaxRecordBytes = 1_024_000
)

// New returns an intake for Firehose records that puts their lines through to. A record of which only a part could be put fails
// as a whole: putting it again repeats that part. What is no event becomes a dead letter, as on any other way in.
func New(to store.Intake) store.Intake { return intake{to} }

type intake struct{ to store.Intake }

// Limits implements store.Intake.
func (in intake) Limits() store.IntakeLimits {
	return store.IntakeLimits{Records: MaxRecords, Bytes: MaxBytes, RecordBytes: MaxRecordBytes, Plain: in.to.Limits().Plain}
}

// Put implements store.Intake.
func (in intake) Put(ctx context.Context, records []store.Record) ([]store.Ack, error) {
	size := 0
	for _, r := range records {
		size += len(r.Data)
	}
	if len(records) > MaxRecords || size > MaxBytes {
		return nil, fmt.Errorf("%w: %d Firehose records of %d bytes in one call, at most %d of %d; split the call",
			store.ErrTooLarge, len(records), size, MaxRecords, MaxBytes)
	}
	acks := make([]store.Ack, len(records))
	for i, r := range records {
		if len(r.Data) > MaxRecordBytes {
			acks[i].Err = fmt.Errorf("%w: a Firehose record of %d bytes, at most %d; write large events through a blob",
				store.ErrTooLarge, len(r.Data), MaxRecordBytes)
			continue
		}
		// One record at a time: what a record decodes to may be many times its size.
		var err error
		if acks[i], err = in.put(ctx, r.Data); err != nil {
			return nil, err
		}
	}
	return acks, nil
}

// put puts the lines of one record. An error means that nothing is known of it.
func (in intake) put(ctx context.Context, data []byte) (store.Ack, error) {
	limits := in.to.Limits()
	lines, err := split(data, limits.RecordBytes)
	if err != nil {
		return store.Ack{Err: err}, nil
	}
	var last store.Ack
	for len(lines) > 0 {
		n, size := 0, 0
		for n < len(lines) && n < limits.Records && (n == 0 || size+len(lines[n].Data) <= limits.Bytes) {
			size += len(lines[n].Data)
			n++
		}
		acks, err := in.to.Put(ctx, lines[:n])
		if err != nil {
			return store.Ack{}, err
		}
		for _, a := range acks {
			if a.Err != nil {
				return store.Ack{Err: a.Err}, nil
			}
			last = a
		}
		lines = lines[n:]
	}
	return last, nil
}

// split returns intake records of at most limit bytes with the lines that data stands for, in order. A line that cannot be one
// of JSON is a record of its own: as the first line of one it would hide the form of the others.
func split(data []byte, limit int) ([]store.Record, error) {
	var out []store.Record
	open := false // whether the last record takes further lines
	add := func(line []byte) error {
		switch {
		case len(line)+1 > limit:
			return fmt.Errorf("%w: a line of %d bytes in a Firehose record, at most %d; write large events through a blob",
				store.ErrTooLarge, len(line), limit-1)
		case line[0] != '{':
			out = append(out, store.Record{Data: line})
			open = false
			return nil
		case !open || len(out[len(out)-1].Data)+len(line)+1 > limit:
			out = append(out, store.Record{})
			open = true
		}
		r := &out[len(out)-1]
		r.Data = append(append(r.Data, line...), '\n')
		return nil
	}
	err := each(data, len(data), func(line []byte) error {
		text, err := chunk.FirehoseLine(line)
		if err != nil {
			return add(bytes.Clone(line)) // It becomes a dead letter, which says why.
		}
		return each(text, len(text), func(line []byte) error { return add(bytes.Clone(line)) })
	})
	return out, err
}

// each calls fn with every line of text that is not blank, without white space around it.
func each(text []byte, longest int, fn func(line []byte) error) error {
	lines := chunk.NewLines(bytes.NewReader(text), longest+1)
	for {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err // Not from bytes in memory.
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		if err := fn(line); err != nil {
			return err
		}
	}
}
