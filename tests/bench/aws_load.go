package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/tests/bench/internal/benchbots"
)

// The workload of single events: each second so many requests come to a program at once, and each of them writes one event and
// waits until it is durable.
const (
	askAtOnce = 5
	askEach   = time.Second
)

// ask writes n events through bus and waits for the answers of the bot, which it reads through answers. It returns the times from
// the writes until the bot's code had the events, in order of size.
func ask(ctx context.Context, bus, answers *rstreams.Bus, n int) ([]time.Duration, error) {
	from := rstreams.At(time.Now().Add(-time.Second))
	before, err := count(ctx, answers, benchbots.Answered, from)
	if err != nil {
		return nil, err
	}
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "bench-asker", Queue: benchbots.Asked})
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(askEach)
	defer tick.Stop()
	var g errgroup.Group
	for i := range n {
		if i > 0 && i%askAtOnce == 0 {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil, errors.Join(ctx.Err(), g.Wait(), w.Close(context.WithoutCancel(ctx)))
			}
		}
		g.Go(func() error {
			if _, err := w.Put(ctx, benchbots.Question{Sent: time.Now().UnixMicro()}); err != nil {
				return err
			}
			return w.Flush(ctx)
		})
	}
	if err := errors.Join(g.Wait(), w.Close(ctx)); err != nil {
		return nil, err
	}
	var times []time.Duration
	skip := before
	for e, err := range answers.Read(ctx, benchbots.Answered, rstreams.ReadOptions{From: from, Follow: true, Limit: int64(before + n)}) {
		if err != nil {
			return nil, err
		}
		if skip > 0 {
			skip--
			continue
		}
		a, err := rstreams.Decode[benchbots.Answer](e)
		if err != nil {
			return nil, err
		}
		times = append(times, time.Duration(a.Handled-a.Sent)*time.Microsecond)
	}
	if len(times) != n {
		return nil, fmt.Errorf("%d of %d questions were answered", len(times), n)
	}
	slices.Sort(times)
	return times, nil
}

// pour writes the payloads, by two bots at once to the pipelines in turn, and waits until all of them came out at the other ends.
func pour(ctx context.Context, bus, results *rstreams.Bus, list []json.RawMessage) error {
	from := rstreams.At(time.Now().Add(-time.Second))
	before := make([]int, benchbots.Pipelines)
	for n := range before {
		var err error
		if before[n], err = count(ctx, results, benchbots.Derived(n), from); err != nil {
			return err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	for bot := range writers {
		g.Go(func() error {
			w, err := bus.NewWriter(rstreams.WriterOptions{Bot: fmt.Sprintf("bench-writer-%d", bot)})
			if err != nil {
				return err
			}
			for i := bot; i < len(list); i += writers {
				e := rstreams.Event{Queue: benchbots.Source(i % benchbots.Pipelines), Payload: list[i]}
				if _, err := w.PutEvent(gctx, e); err != nil {
					return errors.Join(err, w.Close(context.WithoutCancel(ctx)))
				}
			}
			return w.Close(gctx)
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	g, gctx = errgroup.WithContext(ctx)
	for n := range benchbots.Pipelines {
		g.Go(func() error {
			want := len(list)/benchbots.Pipelines + before[n]
			if n < len(list)%benchbots.Pipelines {
				want++
			}
			got := 0
			for _, err := range results.Read(gctx, benchbots.Derived(n), rstreams.ReadOptions{From: from, Follow: true, Limit: int64(want)}) {
				if err != nil {
					return err
				}
				got++
			}
			if got != want {
				return fmt.Errorf("%d of %d events came to queue %s", got, want, benchbots.Derived(n))
			}
			return nil
		})
	}
	return g.Wait()
}

// writers are the bots that write at once.
const writers = 2

func count(ctx context.Context, bus *rstreams.Bus, queue string, from rstreams.StartPolicy) (int, error) {
	n := 0
	for _, err := range bus.Read(ctx, queue, rstreams.ReadOptions{From: from}) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// linesOf returns payloads as the lines that the original's SDK compresses: with its envelope, and in derived events the one of
// which each was derived.
func linesOf(list []json.RawMessage, derived bool) [][]byte {
	out := make([][]byte, len(list))
	for i, p := range list {
		bot, queue, correlation := fmt.Sprint("bench-writer-", i%writers), benchbots.Source(i%benchbots.Pipelines), ""
		if derived {
			correlation = fmt.Sprintf(`"correlation_id":{"source":"%s","start":"z/2026/11/21/02/35/1795228519234-%07d","units":1},`, queue, i)
			bot, queue = fmt.Sprint("bench-enrich-", i%benchbots.Pipelines), benchbots.Derived(i%benchbots.Pipelines)
		}
		out[i] = fmt.Appendf(nil, `{"id":"%s","event":"%s","payload":%s,%s"timestamp":%d,"event_source_timestamp":%[5]d,"eid":%d}`+"\n",
			bot, queue, p, correlation, 1795228519234+i/originalChunkRecords, i%originalChunkRecords)
	}
	return out
}
