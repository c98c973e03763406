// Package replicate copies queues from one bus to another (bus.md 3.12).
//
// A copy has the payload, source timestamp, units and further members of the original event. Its queue is the destination's, its
// bot the copier, and its correlation says of which event it is a copy: {source: QUEUE, start: ID}. Nothing of the events' own
// history is taken over, because the queues in it are queues of the other bus (W-O6).
//
// The copy has no gaps and keeps the order: the checkpoint moves only over events whose copies are durable. A crash between the two
// copies events again. Such a repeat has the same correlation, by which a reader of the destination can tell it.
package replicate

import (
	"context"
	"fmt"
	"time"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// Options configures Run. All but Every and Read are required.
type Options struct {
	// From and To are the buses, Source and Destination the queues on them. Source and Destination may have the same name.
	From, To            *rstreams.Bus
	Source, Destination string
	// Bot is the copier: it has the checkpoint on From, and is the bot of the copies.
	Bot string
	// Every is how often what was copied is made durable and checkpointed; 0 means 1 s. It costs one wait for the destination.
	Every time.Duration
	// Read says what to read. Its Bot, snapshots and the policy for damaged lines are ignored: such lines go to the dead-letter queue of From,
	// so that one of them does not hold the queue up. Without a checkpoint, reading starts at the queue's beginning unless
	// Read.Start or Read.From says something else.
	Read rstreams.ReadOptions
	// FromToday makes a copier without a checkpoint start at the beginning of the day, as the original did.
	FromToday bool
}

// Stats tells what a run did.
type Stats struct {
	// Events were copied and are durable; Checkpoint is the position that is stored, "" where none was.
	Events     int64
	Checkpoint string
	// Reason tells why reading ended.
	Reason rstreams.EndReason
}

// maxEvent is above what any bus takes: a copy is a little longer than its original.
const maxEvent = 64 << 20

// Run copies until it has caught up with the source, or its reads end for another reason (see rstreams.Session). What was copied is
// then checkpointed. When ctx ends, Run returns at once, and what was not checkpointed is copied again by the next run.
func Run(ctx context.Context, o Options) (stats Stats, err error) {
	read := o.Read
	read.Bot, read.Malformed = o.Bot, rstreams.MalformedDeadLetter
	read.NoSnapshot = true // A snapshot sums events up; the copy is to have them.
	if read.From == (rstreams.StartPolicy{}) && !o.FromToday {
		read.From = rstreams.Earliest()
	}
	r, err := o.From.NewReader(o.Source, read)
	if err != nil {
		return stats, err
	}
	w, err := o.To.NewWriter(rstreams.WriterOptions{Bot: o.Bot, Queue: o.Destination, MaxEventBytes: maxEvent})
	if err != nil {
		return stats, fmt.Errorf("destination: %w", err)
	}
	c := &copier{o: o, r: r, w: w, stats: &stats}
	err = c.run(ctx)
	// The writer is closed in any case. After a failure what it still holds may or may not arrive: it is not checkpointed.
	if cerr := w.Close(ctx); err == nil && cerr != nil {
		err = fmt.Errorf("destination: %w", cerr)
	}
	if err == nil {
		err = c.commit(ctx)
	}
	stats.Reason = r.Reason()
	return stats, err
}

// copier is one run.
type copier struct {
	o       Options
	r       *rstreams.Reader
	w       *rstreams.Writer
	stats   *Stats
	pending int64
	last    string
}

func (c *copier) run(ctx context.Context) error {
	every := c.o.Every
	if every <= 0 {
		every = time.Second
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	source := c.r.Queue()
	for e, err := range c.r.All(ctx) {
		if err != nil {
			return err
		}
		copied := rstreams.Event{
			Bot: c.o.Bot, Payload: e.Payload, SourceTimestamp: e.SourceTimestamp, Units: e.Units, Extra: e.Extra,
			Correlation: &rstreams.Correlation{Source: source, Start: e.EID, Units: e.Units},
		}
		if copied.SourceTimestamp == 0 {
			copied.SourceTimestamp = e.Timestamp
		}
		if _, err := c.w.PutEvent(ctx, copied); err != nil {
			return fmt.Errorf("copy of %s: %w", e.EID, err)
		}
		c.pending, c.last = c.pending+1, e.EID
		select {
		case <-tick.C:
			if err := c.w.Flush(ctx); err != nil {
				return fmt.Errorf("destination: %w", err)
			}
			if err := c.commit(ctx); err != nil {
				return err
			}
		default:
		}
	}
	return nil
}

// commit stores the checkpoint of what was read. Everything of it is durable.
func (c *copier) commit(ctx context.Context) error {
	if err := c.r.Checkpoint(ctx); err != nil {
		return err
	}
	c.stats.Events += c.pending
	c.pending = 0
	c.stats.Checkpoint = c.last
	return nil
}
