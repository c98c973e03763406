package bot

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// slowBots and slowSettings take five seconds to lock.
type slowBots struct{ store.Bots }

func (s slowBots) Confirm(ctx context.Context, c store.Confirm) error {
	time.Sleep(5 * time.Second)
	return s.Bots.Confirm(ctx, c)
}

type slowSettings struct{ store.Settings }

func (s slowSettings) Acquire(ctx context.Context, id, owner string, now, expires int64) error {
	time.Sleep(5 * time.Second)
	return s.Settings.Acquire(ctx, id, owner, now, expires)
}

// The process is frozen at the function's deadline: a run that ends behind it never ends on the bus.
func TestASlowLockDoesNotTakeTheTimeToComplete(t *testing.T) {
	var cause error
	b := Bot{Run: func(ctx context.Context, _ *Run) error {
		<-ctx.Done()
		cause = context.Cause(ctx)
		return cause
	}}
	wrap := func(st store.Store) store.Store {
		st.Bots, st.Settings = slowBots{st.Bots}, slowSettings{st.Settings}
		return st
	}
	deployOn(t, b, LambdaConfig{}, wrap, func(t *testing.T, d *deployed) {
		begun := time.Now()
		answer := d.answer("r", 20*time.Second, d.reserve())
		if row := d.row(); row.ErrorCount != 1 || row.Instance.CompletedTime == 0 || !strings.Contains(answer, "time limit") || time.Since(begun) > 19*time.Second {
			t.Errorf("after %v: %s, %+v", time.Since(begun), answer, row.Instance)
		}
		begun = time.Now()
		answer = d.answer("r2", 20*time.Second, []byte(`{}`))
		if !strings.Contains(answer, "time limit") || !errors.Is(cause, ErrTimeLimit) || time.Since(begun) > 19*time.Second {
			t.Errorf("without a bus, after %v: %s, %v", time.Since(begun), answer, cause)
		}
	})
}
