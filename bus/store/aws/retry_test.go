package aws

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// TestALostAnswerLeavesTimeToAskAgain: the locks of runs have 6 s, which is less than one request may take elsewhere.
func TestALostAnswerLeavesTimeToAskAgain(t *testing.T) {
	for _, budget := range []time.Duration{2 * time.Second, 6 * time.Second, time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			b := &Bus{o: Options{Budget: time.Minute, Logger: slog.New(slog.DiscardHandler)}, closing: context.Background()}
			ctx, cancel := context.WithTimeout(t.Context(), budget)
			defer cancel()
			began, attempts := time.Now(), 0
			r := b.retries()
			err := b.send(ctx, r, func(ctx context.Context) error {
				if attempts++; attempts > 1 {
					return nil
				}
				<-ctx.Done()
				return ctx.Err()
			})
			if took := time.Since(began); err != nil || attempts != 2 || !r.lost || took > min(budget*2/3, attemptTime)+firstPause {
				t.Errorf("in %v: %d attempts in %v, %v", budget, attempts, took, err)
			}
		})
	}
}
