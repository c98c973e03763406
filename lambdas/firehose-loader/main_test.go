package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

// TestBatchesThatWereGivenUpAreCountedUntilSomebodyDealsWithThem is W-O2: an alarm goes by the count.
func TestBatchesThatWereGivenUpAreCountedUntilSomebodyDealsWithThem(t *testing.T) {
	st := memory.New(memory.Options{})
	var metrics bytes.Buffer
	env := &shell.Env{
		Store: st, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Metrics: shell.NewMetrics(&metrics, "bus", "firehose-loader", time.Now),
		Getenv: func(string) string { return "" },
	}
	counted := func() (n float64) {
		t.Helper()
		metrics.Reset()
		if err := countLost(t.Context(), env); err != nil {
			t.Fatal(err)
		}
		var line map[string]any
		if err := json.Unmarshal(metrics.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		return line[shell.MetricLostBatches].(float64)
	}
	if n := counted(); n != 0 {
		t.Errorf("%v batches before any was lost", n)
	}
	for _, key := range []string{"aws/lambda/1/shardId-000000000000/2026/11/21/a", "aws/lambda/1/shardId-000000000001/2026/11/21/b", "firehose/x", "bus/q/y"} {
		if _, _, err := st.Blobs.Put(t.Context(), key, strings.NewReader("{}")); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // That they were counted once does not make them go away.
		if n := counted(); n != 2 {
			t.Errorf("%v batches, want 2", n)
		}
	}
}

// openLoader returns the function's environment, with a store in memory, and how it publishes.
func openLoader(t *testing.T, st store.Store) (*shell.Env, sequencer.Config) {
	t.Helper()
	vars := map[string]string{
		shell.EnvStack: "bus", shell.EnvConfig: `{"Region":"us-east-1","LeoStream":"s","LeoCron":"c","LeoEvent":"e","LeoSettings":"t",` +
			`"LeoSystem":"y","LeoS3":"memory","LeoKinesisStream":"k","LeoFirehoseStream":"f"}`,
	}
	env, err := shell.Open(t.Context(), "firehose-loader", func(n string) string { return vars[n] }, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = env.Bus.Close(context.Background()) }) // It returns nil.
	env.Store = st
	cfg, err := env.Sequencer()
	if err != nil {
		t.Fatal(err)
	}
	return env, cfg
}

func deliver(t *testing.T, st store.Store, n int) {
	t.Helper()
	if _, _, err := st.Blobs.Put(t.Context(), fmt.Sprintf("firehose/%d", n), strings.NewReader(`{"id":"b","event":"q","payload":1}`+"\n")); err != nil {
		t.Fatal(err)
	}
}

// hooked is a bucket whose reads may hang until the context ends, as those of S3 do, and that tells of deletions.
type hooked struct {
	store.Blobs
	hangs   func() error
	deleted func()
}

func (h *hooked) Get(ctx context.Context, ref store.BlobRef, offset, length int64) (io.ReadCloser, error) {
	if err := h.hangs(); err != nil {
		<-ctx.Done()
		if errors.Is(err, context.DeadlineExceeded) {
			err = ctx.Err() // And not its cause.
		}
		return nil, fmt.Errorf("get blob %s: %w", ref.Key, err)
	}
	return h.Blobs.Get(ctx, ref, offset, length)
}

func (h *hooked) Delete(ctx context.Context, keys []string) error {
	defer h.deleted()
	return h.Blobs.Delete(ctx, keys)
}

// TestABacklogThatGetsOnIsNoErrorWhenTheTimeIsOver, whichever request the end of the time meets: an error would be repeated at once.
func TestABacklogThatGetsOnIsNoErrorWhenTheTimeIsOver(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		what   string
		loaded int // before reads hang
		err    error
		want   error
	}{
		{"it got on", 1, context.DeadlineExceeded, nil},
		{"it did not", 0, context.DeadlineExceeded, context.DeadlineExceeded},
		{"something else is wrong", 1, broken, broken},
	} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(20 * 365 * 24 * time.Hour) // The clock begins with 2000, ids of events later.
			st := memory.New(memory.Options{})
			loaded := 0
			blobs := &hooked{Blobs: st.Blobs}
			blobs.hangs = func() error {
				if loaded < c.loaded {
					return nil
				}
				return c.err
			}
			blobs.deleted = func() {
				loaded++
				deliver(t, st, loaded)
			}
			deliver(t, st, 0)
			hanging := st
			hanging.Blobs = blobs
			env, cfg := openLoader(t, hanging)
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
			defer cancel()
			if err := load(ctx, env, cfg); !errors.Is(err, c.want) {
				t.Errorf("%s: %v", c.what, err)
			}
			if loaded != c.loaded {
				t.Errorf("%s: loaded %d objects", c.what, loaded)
			}
		})
	}
}

// TestAnInvocationThatIsDeliveredTwiceAtOnceLoadsOnce: both have one request id, and a lock is its owner's.
func TestAnInvocationThatIsDeliveredTwiceAtOnceLoadsOnce(t *testing.T) {
	st := memory.New(memory.Options{})
	deliver(t, st, 0)
	ctx := lambdacontext.NewContext(t.Context(), &lambdacontext.LambdaContext{AwsRequestID: "request"})
	reads := 0
	blobs := &hooked{Blobs: st.Blobs, deleted: func() {}}
	both := st
	both.Blobs = blobs
	env, cfg := openLoader(t, both)
	blobs.hangs = func() error {
		if reads++; reads == 1 {
			if err := load(ctx, env, cfg); err != nil {
				t.Error(err)
			}
		}
		return nil
	}
	if err := load(ctx, env, cfg); err != nil {
		t.Fatal(err)
	}
	if reads != 1 {
		t.Errorf("the object was read %d times", reads)
	}
}
