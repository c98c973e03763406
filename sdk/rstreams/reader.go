package rstreams

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"sync/atomic"

	"github.com/rstreams-go/rstreams/bus/ref"
)

// EndReason tells why a read ended.
type EndReason int

// The reasons for the end of a read. Only EndError and EndCanceled come with an error.
const (
	// EndNone: the read has not ended, or the program stopped taking events.
	EndNone EndReason = iota
	// EndCaughtUp: every event up to the head that the read found when it began was delivered.
	EndCaughtUp
	// EndLimit and EndBytes: ReadOptions.Limit or Bytes is reached.
	EndLimit
	EndBytes
	// EndTime: RunTime, StopAt or the session's StopAt is reached, or its Stop is closed.
	EndTime
	// EndReached: ReadOptions.End is reached.
	EndReached
	// EndCanceled: the context ended.
	EndCanceled
	// EndError: the read failed.
	EndError
	// EndStopped: the handler of an Enrich or Offload asked to stop.
	EndStopped
)

var endReasons = [...]string{"none", "caught up", "limit", "bytes", "time", "end reached", "canceled", "error", "stopped"}

// String names the reason.
func (e EndReason) String() string {
	if e < 0 || int(e) >= len(endReasons) {
		return fmt.Sprintf("EndReason(%d)", int(e))
	}
	return endReasons[e]
}

var errOptions = errors.New("invalid option")

// Read returns the events of queue in order, as a Reader's All does. It is for loops that need neither the reason of the end
// nor a checkpoint:
//
//	for e, err := range bus.Read(ctx, "orders", rstreams.ReadOptions{Start: "z/"}) {
//		if err != nil {
//			return err
//		}
//		...
//	}
func (b *Bus) Read(ctx context.Context, queue string, o ReadOptions) iter.Seq2[Event, error] {
	r, err := b.NewReader(queue, o)
	if err != nil {
		return func(yield func(Event, error) bool) { yield(Event{}, err) }
	}
	return r.All(ctx)
}

// Reader reads one queue. It is for one goroutine at a time. It holds nothing between calls and needs no Close.
type Reader struct {
	bus    *Bus
	queue  string
	set    settings
	handle *handle

	position string
	reason   EndReason
	stats    ReadStats
	pending  progress
	letters  *Writer
	gaps     atomic.Int64
	// onPassed, if set, is told of every position that is passed over: that of an event of another instance of a fan-out, and the
	// end of a gap. onLatest, if set, is told instead where Latest begins, before anything is delivered.
	onPassed func(position string)
	onLatest func(ctx context.Context, position string) error
}

// ReadStats counts what a Reader did.
type ReadStats struct {
	// Events and Bytes are delivered events and their lines, Chunks the chunks that were read at least in part.
	Events, Bytes, Chunks int64
	// Malformed counts lines that were passed over, Gaps gaps.
	Malformed, Gaps int64
}

// NewReader returns a reader of queue, which may be given as a reference ("bot:b"). It reads nothing yet. The error tells what
// is wrong with the options.
func (b *Bus) NewReader(queue string, o ReadOptions) (*Reader, error) {
	if err := ref.ValidateQueue(queue); err != nil {
		return nil, wrap("read", queue, "", err)
	}
	set, err := o.resolve(b)
	if err != nil {
		return nil, wrap("read", queue, "", err)
	}
	r := &Reader{bus: b, queue: ref.Queue(queue), set: set}
	key := ref.QueueRef(queue)
	r.handle = &handle{bus: b, bot: set.Bot, ref: key, backwards: o.Start != "" || b.session.Starts[key] != ""}
	return r, nil
}

// Queue returns the plain name of the queue.
func (r *Reader) Queue() string { return r.queue }

// Reason tells why the last call of All ended.
func (r *Reader) Reason() EndReason { return r.reason }

// Position returns the id of the last event that was delivered or passed over, "" before the first; a read from Latest is at the
// place where it begins, which may be a date. Reading with it as the Start continues exactly behind it.
func (r *Reader) Position() string { return r.position }

// Stats returns what was read so far, over all calls of All.
func (r *Reader) Stats() ReadStats {
	s := r.stats
	s.Gaps = r.gaps.Load()
	return s
}

// errStop ends a read at its stop time.
var errStop = errors.New("the read is to stop")

// errBreak ends what a read has running once its consumer wants no more.
var errBreak = errors.New("the read has ended")

// All returns the events after the start position, in order. An error is the last pair, with a zero Event. Leaving the loop
// ends everything that reads ahead, and so does the end of ctx, which is an error (EndCanceled); reaching a limit, the end, the
// head or the stop time is none. Ranging again goes on behind the last event, with fresh limits.
//
// All reads up to the head that it finds when it begins; with Follow it never catches up for good.
func (r *Reader) All(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		left := false
		err := r.run(ctx, func(e Event, err error) bool {
			left = !yield(e, err)
			return !left
		})
		if err != nil && !left {
			yield(Event{}, wrap("read", r.queue, r.position, err))
		}
	}
}

// run reads, sets the reason and returns the error to deliver.
func (r *Reader) run(parent context.Context, yield func(Event, error) bool) error {
	r.reason = EndNone
	ctx, cancel := context.WithCancelCause(parent)
	if stop := r.set.stopAt(r.bus); !stop.IsZero() {
		var release context.CancelFunc
		ctx, release = context.WithTimeoutCause(ctx, stop.Sub(r.bus.now()), errStop)
		defer release()
	}
	var running sync.WaitGroup
	if stop := r.bus.session.Stop; stop != nil {
		running.Go(func() {
			select {
			case <-stop:
				cancel(errStop)
			case <-ctx.Done():
			}
		})
	}
	defer func() {
		cancel(errBreak)
		running.Wait()
		r.closeLetters()
	}()

	p := &planner{r: r, ctx: ctx, running: &running, units: make(chan *unit, r.set.Parallel)}
	running.Go(p.run)
	d := delivery{r: r, yield: yield}
	more, err := r.consume(ctx, p, &d)
	switch {
	case !more && err == nil:
		return nil // The consumer left, or a limit is reached.
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), errStop) && parent.Err() == nil:
		r.reason = EndTime
		return nil
	case ctx.Err() != nil:
		r.reason = EndCanceled
		return context.Cause(ctx)
	case err != nil:
		r.reason = EndError
		return err
	}
	r.reason = p.reason
	return nil
}

// consume delivers the planned units in order. more is false when the read is to end without regard to the plan.
func (r *Reader) consume(ctx context.Context, p *planner, d *delivery) (more bool, err error) {
	done := ctx.Done()
	for {
		select {
		case <-done:
			return true, nil
		case u, ok := <-p.units:
			if !ok {
				return true, p.err
			}
			for open := true; open; {
				select {
				case <-done:
					return true, nil
				case piece, ok := <-u.pieces:
					if open = ok; !ok {
						break
					}
					if more, err := d.piece(ctx, &piece); !more || err != nil {
						return more, err
					}
				}
			}
		}
	}
}

// retry runs fn again while the storage is throttled, for some 20 seconds at most.
func (r *Reader) retry(ctx context.Context, fn func() error) error {
	return r.bus.retryThrottled(ctx, fn)
}

// closeLetters ends the writer of dead letters. Every letter that counts was waited for; another is of a read that ended meanwhile,
// and its line is read again.
func (r *Reader) closeLetters() {
	if r.letters == nil {
		return
	}
	r.letters.abandon(errBreak)
	r.letters = nil
}
