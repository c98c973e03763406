package rstreamstest

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
)

// intake publishes what it is given before it answers. It has no goroutine, so that it can be used in a synctest bubble.
type intake struct {
	seq *sequencer.Sequencer
	now func() time.Time

	mu   sync.Mutex
	last int64 // sequence number
}

// Limits implements store.Intake.
func (in *intake) Limits() store.IntakeLimits {
	return store.IntakeLimits{Records: 500, Bytes: 5 << 20, RecordBytes: 1 << 20, Plain: true}
}

// Put implements store.Intake.
func (in *intake) Put(ctx context.Context, records []store.Record) ([]store.Ack, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	acks := make([]store.Ack, len(records))
	b := sequencer.Batch{Records: make([]sequencer.Record, len(records))}
	arrival := in.now().UnixMilli()
	for i, r := range records {
		in.last++
		sequence := strconv.FormatInt(in.last, 10)
		b.Records[i] = sequencer.Record{Sequence: sequence, Arrival: arrival, Data: r.Data}
		acks[i] = store.Ack{Shard: "memory", Sequence: sequence}
	}
	done, err := in.seq.Process(ctx, b)
	for i := done.Done; i < len(acks) && err != nil; i++ {
		acks[i] = store.Ack{Err: err}
	}
	return acks, nil
}
