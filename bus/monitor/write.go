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

// Write puts events into the intake, stamped with now, in their order as far as a retry allows. hashKey, a decimal number, says
// to which shard; "" leaves that to the partition key, which is Queue. A nil error means that all are durable. After an error
// some may be; writing again repeats those, and who counts them counts them twice.
func Write(ctx context.Context, intake store.Intake, events []event.Event, hashKey string, now time.Time) error {
	if len(events) == 0 {
		return nil
	}
	limits := intake.Limits()
	most := recordText
	if limits.RecordBytes > 0 {
		most = min(most, limits.RecordBytes/2)
	}
	var records []store.Record
	var lines []byte
	n := 0
	flush := func() {
		if n == 0 {
			return
		}
		data := lines
		if !limits.Plain {
			data = chunk.AppendGzip(nil, lines)
		} else {
			lines = nil
		}
		records = append(records, store.Record{PartitionKey: Queue, HashKey: hashKey, Data: data})
		lines, n = lines[:0], 0
	}
	for i := range events {
		e := events[i]
		e.Timestamp, e.SourceTimestamp = now.UnixMilli(), now.UnixMilli()
		was := len(lines)
		var err error
		if lines, err = event.AppendLine(lines, &e, n); err != nil {
			return fmt.Errorf("monitor: event of bot %s: %w", e.Bot, err)
		}
		if n > 0 && len(lines) > most {
			lines = lines[:was]
			flush()
			if lines, err = event.AppendLine(lines, &e, 0); err != nil {
				return fmt.Errorf("monitor: event of bot %s: %w", e.Bot, err)
			}
		}
		n++
	}
	flush()
	for len(records) > 0 {
		k := len(records)
		if limits.Records > 0 {
			k = min(k, limits.Records)
		}
		if limits.Bytes > 0 {
			size := 0
			for i := range k {
				if size += len(records[i].Data) + len(Queue); i > 0 && size > limits.Bytes {
					k = i
					break
				}
			}
		}
		if err := put(ctx, intake, records[:k]); err != nil {
			return fmt.Errorf("monitor: %d events: %w", len(events), err)
		}
		records = records[k:]
	}
	return nil
}

// put puts records until all are durable, or it is told that they never will be.
func put(ctx context.Context, intake store.Intake, records []store.Record) error {
	wait := pause
	for n := 1; ; n++ {
		acks, err := intake.Put(ctx, records)
		if err != nil {
			return err
		}
		var refused []store.Record
		for i, ack := range acks {
			if ack.Err == nil {
				continue
			}
			err = ack.Err
			if !errors.Is(err, store.ErrThrottled) {
				return err
			}
			refused = append(refused, records[i])
		}
		if len(refused) == 0 || n == attempts {
			return err
		}
		records = refused
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		wait *= 2
	}
}
