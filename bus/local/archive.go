package local

import (
	"context"
	"time"

	"github.com/rstreams-go/rstreams/bus/archive"
	"github.com/rstreams-go/rstreams/bus/sequencer"
)

const (
	defaultTTL = 7 * 24 * time.Hour
	// archiveEvery is how often queues are looked at, at most.
	archiveEvery = 5 * time.Minute
)

// startArchive archives from time to time, until Close. Processes that share the bus take turns.
func (b *Bus) startArchive(ctx context.Context) {
	if b.o.Archive <= 0 {
		return
	}
	age := b.o.Archive
	if ttl := b.o.TTL; ttl == 0 {
		age = min(age, defaultTTL/8)
	} else if ttl > 0 {
		age = min(age, ttl/8)
	}
	b.wg.Go(func() {
		tick := time.NewTicker(max(min(archiveEvery, age/2), time.Millisecond))
		defer tick.Stop()
		for {
			res, err := archive.New(b.store, archive.Config{
				Owner: b.owner, Age: age, Settle: max(min(archiveEvery, age/2), time.Millisecond), Parallel: 1, Now: b.o.Now, Logger: b.o.Logger,
				Sequencer: sequencer.Config{TTL: b.o.TTL, Now: b.o.Now, Logger: b.o.Logger, Parallel: 1},
			}).Run(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				b.o.Logger.Warn("cannot archive everything; trying again later", "error", err, "behind", res.Behind.String())
			case res.Objects > 0:
				b.o.Logger.Info("archived", "events", res.Events, "objects", res.Objects)
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}
