package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/examples/quakes"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// play is one playing of the week on AWS. There an event is durable some time before the bus publishes it: a queue's head that a
// bot has reached does not tell that nothing more is under way.
type play struct {
	bus *rstreams.Bus
	// heads are the heads of the queues before it, "" for queues that were not there.
	heads map[string]string
	// quakes is how many of the records to come are earthquakes.
	quakes int
}

// play begins a playing: it notes what is there.
func (d *demo) play(ctx context.Context) (*play, error) {
	p := &play{bus: d.bus, heads: map[string]string{}}
	for _, queue := range []string{quakes.RawQueue, quakes.ScoredQueue, quakes.HourlyQueue} {
		var err error
		if p.heads[queue], err = p.head(ctx, queue); err != nil {
			return nil, err
		}
	}
	cp, err := d.bus.GetCheckpoint(ctx, quakes.SourceBot, quakes.FeedSystem)
	if err != nil {
		return nil, err
	}
	written, _ := strconv.Atoi(cp.Position) // By a playing that was interrupted; no position: nothing.
	if written > quakes.FeedRecords {
		written = 0
	}
	for record, err := range quakes.Features() {
		if err != nil {
			return nil, err
		}
		if written--; written >= 0 {
			continue
		}
		if _, ok, err := quakes.Score(record); err == nil && ok {
			p.quakes++
		}
	}
	return p, nil
}

func (p *play) head(ctx context.Context, queue string) (string, error) {
	q, err := p.bus.Store().Queues.Get(ctx, queue)
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return q.Head, err
}

// unpublished says which of the queues lacks events of the playing that are under way, "" for none. For a queue it relies on the
// bots that write to it having written everything.
func (p *play) unpublished(ctx context.Context, queues ...string) (string, error) {
	for _, queue := range queues {
		done, err := p.published(ctx, queue)
		if err != nil {
			return "", err
		}
		if !done {
			return queue + " is not complete", nil
		}
	}
	return "", nil
}

func (p *play) published(ctx context.Context, queue string) (bool, error) {
	head, err := p.head(ctx, queue)
	if err != nil || head == p.heads[queue] {
		return false, err
	}
	if queue == quakes.HourlyQueue {
		return p.summed(ctx)
	}
	// The last event of the others is the end of the feed. The shard keeps the order, so that everything else is there as well.
	e, err := p.bus.Get(ctx, queue, head)
	if err != nil {
		return false, err
	}
	var end struct {
		Generated int64 `json:"generated"` // of quakes.EndOfFeed
		End       bool  `json:"end"`       // of quakes.Scored
	}
	if err := json.Unmarshal(e.Payload, &end); err != nil {
		return false, fmt.Errorf("event %s of %s: %w", head, queue, err)
	}
	return end.Generated != 0 || end.End, nil
}

// summed tells whether the sums by the hour count every earthquake of the playing. What an interrupted one before it has left may
// come on top.
func (p *play) summed(ctx context.Context) (bool, error) {
	start := p.heads[quakes.HourlyQueue]
	if start == "" {
		start = "z/"
	}
	count := 0
	for e, err := range p.bus.Read(ctx, quakes.HourlyQueue, rstreams.ReadOptions{Start: start}) {
		if err != nil {
			return false, err
		}
		var sum quakes.RegionHour
		if err := json.Unmarshal(e.Payload, &sum); err != nil {
			return false, fmt.Errorf("event %s of %s: %w", e.EID, quakes.HourlyQueue, err)
		}
		count += sum.Count
	}
	return count >= p.quakes, nil
}
