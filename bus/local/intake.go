package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Shard is the shard in the acks of an embedded bus.
const Shard = "embedded"

// Limits of one Put, and of what is committed together.
const (
	maxRecords     = 10_000
	maxBytes       = 16 << 20
	maxRecordBytes = 8 << 20
	groupRecords   = 10_000
	groupBytes     = 16 << 20
	// pendingBytes bounds what has been put and is not committed yet; further callers wait.
	pendingBytes = 64 << 20
)

var errClosed = fmt.Errorf("%w: the bus is closed", store.ErrUnavailable)

// intake commits what concurrent callers put, together: while one transaction is on its way to the disk, the next one's
// records gather and are decoded and compressed. A caller that is alone waits for nobody.
type intake struct {
	seq  *sequencer.Sequencer
	now  func() time.Time
	room *semaphore.Weighted

	mu      sync.Mutex
	waiting []*put
	closed  bool
	wake    chan struct{} // something waits
	last    uint64        // sequence number

	commits chan batch
	cancel  context.CancelFunc // of work in progress
	done    chan struct{}
}

// put is one call of Put.
type put struct {
	ctx     context.Context
	room    *semaphore.Weighted
	records []sequencer.Record
	index   []int // of records among acks: records that were refused are not sequenced
	acks    []store.Ack
	size    int
	done    chan struct{}
}

// batch is the records of several puts, the first part of them prepared.
type batch struct {
	puts     []*put
	batch    sequencer.Batch
	prepared *sequencer.Prepared
	err      error // of the preparation
}

func newIntake(seq *sequencer.Sequencer, now func() time.Time) *intake {
	ctx, cancel := context.WithCancel(context.Background())
	in := &intake{
		seq: seq, now: now, room: semaphore.NewWeighted(pendingBytes),
		wake: make(chan struct{}, 1), commits: make(chan batch), cancel: cancel, done: make(chan struct{}),
	}
	go in.gather(ctx)
	go in.commit(ctx)
	return in
}

// Limits implements store.Intake.
func (in *intake) Limits() store.IntakeLimits {
	return store.IntakeLimits{Records: maxRecords, Bytes: maxBytes, RecordBytes: maxRecordBytes, Plain: true}
}

// Put implements store.Intake: when it returns, records without Err are published.
func (in *intake) Put(ctx context.Context, records []store.Record) ([]store.Ack, error) {
	if len(records) > maxRecords {
		return nil, fmt.Errorf("%w: %d records in one call, at most %d; split the call",
			store.ErrTooLarge, len(records), maxRecords)
	}
	p := &put{ctx: ctx, room: in.room, acks: make([]store.Ack, len(records)), done: make(chan struct{})}
	for i, r := range records {
		if len(r.Data) > maxRecordBytes {
			p.acks[i].Err = fmt.Errorf("%w: a record of %d bytes, at most %d; write large events through a blob",
				store.ErrTooLarge, len(r.Data), maxRecordBytes)
			continue
		}
		p.size += len(r.Data)
		p.index = append(p.index, i)
	}
	if p.size > maxBytes {
		return nil, fmt.Errorf("%w: %d bytes in one call, at most %d; split the call",
			store.ErrTooLarge, p.size, maxBytes)
	}
	if err := in.room.Acquire(ctx, int64(p.size)); err != nil {
		return nil, context.Cause(ctx)
	}
	arrival := in.now().UnixMilli()
	for _, i := range p.index {
		// A copy, so that a caller whose context ends need not wait until the records are no longer needed.
		p.records = append(p.records, sequencer.Record{Arrival: arrival, Data: bytes.Clone(records[i].Data)})
	}
	if len(p.records) == 0 {
		return p.acks, nil
	}
	in.mu.Lock()
	if in.closed {
		in.mu.Unlock()
		in.room.Release(int64(p.size))
		return nil, errClosed
	}
	in.waiting = append(in.waiting, p)
	in.mu.Unlock()
	in.signal()
	select {
	case <-p.done:
		return p.acks, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx) // Whether it will be committed is not known.
	}
}

func (in *intake) signal() {
	select {
	case in.wake <- struct{}{}:
	default:
	}
}

// take returns the puts that wait, as many as are to be committed together, and false when there will be no more.
func (in *intake) take() ([]*put, bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	var out []*put
	records, size := 0, 0
	rest := in.waiting
	for len(rest) > 0 {
		p := rest[0]
		if err := p.ctx.Err(); err != nil {
			p.fail(0, context.Cause(p.ctx))
			rest = rest[1:]
			continue
		}
		if len(out) > 0 && (records+len(p.records) > groupRecords || size+p.size > groupBytes) {
			break
		}
		records, size = records+len(p.records), size+p.size
		for i := range p.records {
			in.last++
			p.records[i].Sequence = strconv.FormatUint(in.last, 10)
		}
		out = append(out, p)
		rest = rest[1:]
	}
	if len(rest) == 0 {
		in.waiting = nil
	} else {
		in.waiting = rest
	}
	return out, len(out) > 0 || !in.closed
}

// gather collects and prepares batches until the intake is closed and empty.
func (in *intake) gather(ctx context.Context) {
	defer close(in.commits)
	for {
		puts, more := in.take()
		if !more {
			return
		}
		if len(puts) == 0 {
			<-in.wake
			continue
		}
		b := batch{puts: puts}
		for _, p := range puts {
			b.batch.Records = append(b.batch.Records, p.records...)
		}
		b.prepared, b.err = in.seq.Prepare(ctx, b.batch, sequencer.Cursor{})
		in.commits <- b
	}
}

// commit publishes batches in order and answers their puts.
func (in *intake) commit(ctx context.Context) {
	defer close(in.done)
	for b := range in.commits {
		done, err := in.publish(ctx, b)
		if err != nil && len(b.puts) > 1 && ofInput(err) {
			in.publishEach(ctx, b.puts, done)
			continue
		}
		for _, p := range b.puts {
			n := min(done, len(p.records))
			done -= n
			p.succeed(n)
			p.fail(n, err)
		}
	}
}

// publish commits b, and prepares and commits what follows when its first part is not all. It returns how many records are
// published.
func (in *intake) publish(ctx context.Context, b batch) (done int, err error) {
	if b.err != nil {
		return 0, b.err
	}
	for p := b.prepared; ; {
		r, err := in.seq.Commit(ctx, p)
		if err != nil {
			return done, err
		}
		done = r.Done
		if !p.Next.More(b.batch) {
			return len(b.batch.Records), nil
		}
		if p, err = in.seq.Prepare(ctx, b.batch, p.Next); err != nil {
			return done, err
		}
	}
}

// publishEach publishes the puts one by one, without their first skip records, so that what is wrong with one does not fail
// the others.
func (in *intake) publishEach(ctx context.Context, puts []*put, skip int) {
	for _, p := range puts {
		n := min(skip, len(p.records))
		skip -= n
		p.succeed(n)
		b := batch{batch: sequencer.Batch{Records: p.records[n:]}}
		if len(b.batch.Records) == 0 {
			p.fail(n, nil)
			continue
		}
		b.prepared, b.err = in.seq.Prepare(ctx, b.batch, sequencer.Cursor{})
		done, err := in.publish(ctx, b)
		p.succeed(n + done)
		p.fail(n+done, err)
	}
}

// ofInput tells whether err may be the fault of some of the records.
func ofInput(err error) bool {
	return errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrTooLarge) || errors.Is(err, store.ErrCorrupt)
}

// succeed notes that the first n records are published.
func (p *put) succeed(n int) {
	for i := range n {
		p.acks[p.index[i]] = store.Ack{Shard: Shard, Sequence: p.records[i].Sequence}
	}
}

// fail notes err for the records from the nth on, and ends the put.
func (p *put) fail(n int, err error) {
	for i := n; i < len(p.records); i++ {
		p.acks[p.index[i]] = store.Ack{Err: err}
	}
	p.room.Release(int64(p.size))
	close(p.done)
}

// close refuses further puts and waits for those that wait; once ctx ends they fail.
func (in *intake) close(ctx context.Context) {
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	in.signal()
	select {
	case <-in.done:
	case <-ctx.Done():
		in.cancel()
		<-in.done
	}
	in.cancel()
}
