package monitor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
)

const (
	// attempts is how often the records that an intake refused are put again, pause the time before the first repetition; it
	// doubles.
	attempts = 6
	pause    = 50 * time.Millisecond
	// recordText is the most bytes of lines in one record, unless the intake takes less.
	recordText = 512 << 10
)

// WriteError is the error of a Write that did not get everything into the intake. Callers should write what follows Durable again.
type WriteError struct {
	// Durable is how many events, from the first, are in the intake. Some of those after them may be as well.
	Durable int
	// Err is why; it wraps one of the errors of package store where one fits.
	Err error
}

// Error says why.
func (e *WriteError) Error() string {
	return fmt.Sprintf("monitor: %d events written, no more: %v", e.Durable, e.Err)
}

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// Write puts events into the intake, stamped with now, in their order as far as a retry allows. hashKey, a decimal number, says
// to which shard; "" leaves that to the partition key, which is Queue. A nil error means that all are durable, any other is a
// WriteError. To write again what is durable repeats it, and who counts it counts it twice.
func Write(ctx context.Context, intake store.Intake, events []event.Event, hashKey string, now time.Time) error {
	if len(events) == 0 {
		return nil
	}
	limits := intake.Limits()
	records, ends, err := pack(limits, events, hashKey, now)
	if err != nil {
		return &WriteError{Err: err}
	}
	for done := 0; done < len(records); {
		k := fits(limits, records[done:])
		durable, err := put(ctx, intake, records[done:done+k])
		if err != nil {
			if done += durable; done == 0 {
				return &WriteError{Err: err}
			}
			return &WriteError{Durable: ends[done-1], Err: err}
		}
		done += k
	}
	return nil
}

// pack makes records of events. ends holds how many events there are up to the end of each record.
func pack(limits store.IntakeLimits, events []event.Event, hashKey string, now time.Time) (records []store.Record, ends []int, err error) {
	most := recordText
	if limits.RecordBytes > 0 {
		most = min(most, limits.RecordBytes/2)
	}
	var lines []byte
	n, packed := 0, 0
	flush := func() {
		data := lines
		if !limits.Plain {
			data = chunk.AppendGzip(nil, lines)
		} else {
			lines = nil
		}
		packed += n
		records = append(records, store.Record{PartitionKey: Queue, HashKey: hashKey, Data: data})
		ends = append(ends, packed)
		lines, n = lines[:0], 0
	}
	for i := range events {
		e := events[i]
		e.Timestamp, e.SourceTimestamp = now.UnixMilli(), now.UnixMilli()
		was := len(lines)
		if lines, err = event.AppendLine(lines, &e, n); err != nil {
			return nil, nil, fmt.Errorf("event of bot %s: %w", e.Bot, err)
		}
		if n > 0 && len(lines) > most {
			lines = lines[:was]
			flush()
			if lines, err = event.AppendLine(lines, &e, 0); err != nil {
				return nil, nil, fmt.Errorf("event of bot %s: %w", e.Bot, err)
			}
		}
		n++
	}
	flush()
	return records, ends, nil
}

// fits returns how many of the records one call takes, at least one.
func fits(limits store.IntakeLimits, records []store.Record) int {
	k := len(records)
	if limits.Records > 0 {
		k = min(k, limits.Records)
	}
	if limits.Bytes > 0 {
		size := 0
		for i := range k {
			if size += len(records[i].Data) + len(Queue); i > 0 && size > limits.Bytes {
				return i
			}
		}
	}
	return k
}

// put puts records until all are durable, or it is told that they never will be. durable is how many are, from the first.
func put(ctx context.Context, intake store.Intake, records []store.Record) (durable int, err error) {
	left := make([]int, len(records))
	for i := range left {
		left[i] = i
	}
	wait := pause
	for n := 1; ; n++ {
		again := make([]store.Record, len(left))
		for i, at := range left {
			again[i] = records[at]
		}
		acks, err := intake.Put(ctx, again)
		if err != nil {
			return left[0], err
		}
		var refused []int
		final := n == attempts
		for i, ack := range acks {
			if ack.Err == nil {
				continue
			}
			refused = append(refused, left[i])
			if err == nil || !errors.Is(ack.Err, store.ErrThrottled) {
				err = ack.Err
			}
			final = final || !errors.Is(ack.Err, store.ErrThrottled)
		}
		switch {
		case len(refused) == 0:
			return len(records), nil
		case final:
			return refused[0], err
		}
		left = refused
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return left[0], context.Cause(ctx)
		case <-timer.C:
		}
		wait *= 2
	}
}
