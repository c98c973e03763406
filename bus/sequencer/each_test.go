package sequencer

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestAQueueThatFailsEndsNoRequestOfAnother: what was given up on its way could be carried out after what the next try writes.
func TestAQueueThatFailsEndsNoRequestOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fails := errors.New("refused")
		err := each(t.Context(), 2, []*unit{{queue: "bad"}, {queue: "good"}}, func(ctx context.Context, u *unit) error {
			if u.queue == "bad" {
				return fails
			}
			select {
			case <-ctx.Done():
				t.Error("its request is given up")
			case <-time.After(time.Second):
			}
			return nil
		})
		if !errors.Is(err, fails) {
			t.Error(err)
		}
	})
}
