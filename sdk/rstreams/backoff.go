package rstreams

import (
	"context"
	"math/rand/v2"
	"time"
)

// Backoff says how long to wait between attempts: a random time between half and the whole of a delay that doubles.
// The zero value means 10 ms up to 5 s.
type Backoff struct {
	// First is the delay after the first failure; 0 means 10 ms.
	First time.Duration
	// Max bounds the delay; 0 means 5 s.
	Max time.Duration
}

// delay returns the wait after the given number of failures, from 1.
func (b Backoff) delay(failures int) time.Duration {
	first, limit := b.First, b.Max
	if first <= 0 {
		first = 10 * time.Millisecond
	}
	if limit <= 0 {
		limit = 5 * time.Second
	}
	d := limit
	if shift := failures - 1; shift < 32 {
		if d = first << shift; d > limit || d <= 0 {
			d = limit
		}
	}
	return d/2 + rand.N(d/2+1)
}

// pause waits for d, or less when ctx ends, and then returns why it ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
