package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/metrics"
	"slices"
	"sync/atomic"
	"time"

	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// embedded is a bus in a directory of its own.
type embedded struct {
	*rstreams.Bus
	local *local.Bus
	dir   string
}

var quiet = slog.New(slog.DiscardHandler)

func newEmbedded(ctx context.Context) (*embedded, error) {
	dir, err := os.MkdirTemp("", "rstreams-bench-")
	if err != nil {
		return nil, err
	}
	l, err := local.Open(ctx, dir, local.Options{Logger: quiet})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return &embedded{Bus: rstreams.New(l.Store(), rstreams.Options{Logger: quiet}), local: l, dir: dir}, nil
}

func (e *embedded) remove(ctx context.Context, err *error) {
	*err = errors.Join(*err, e.local.Close(context.WithoutCancel(ctx)), os.RemoveAll(e.dir))
}

// endToEnd writes events and reads them at the same time: from the first Put until the reader has the last event, which is
// durable by then.
func endToEnd(ctx context.Context, s size) (f figure, err error) {
	bus, err := newEmbedded(ctx)
	if err != nil {
		return f, err
	}
	defer bus.remove(ctx, &err)
	list := payloads(100_000)
	began := time.Now()
	wrote := make(chan error, 1)
	go func() { wrote <- bus.fill(ctx, func(n int) json.RawMessage { return at(list, n, s.EndToEnd) }) }()
	n := 0
	for _, err := range bus.Read(ctx, "orders", rstreams.ReadOptions{Start: "z/", Follow: true, Limit: int64(s.EndToEnd)}) {
		if err != nil {
			return f, err
		}
		n++
	}
	took := time.Since(began)
	if err := <-wrote; err != nil || n != s.EndToEnd {
		return f, errors.Join(err, fmt.Errorf("%d events were read of %d", n, s.EndToEnd))
	}
	return figure{
		name: "embedded, end to end", measured: float64(n) / took.Seconds(), target: 150_000, format: "%.0f events/s",
		note: fmt.Sprintf("%d events, durable, in %.1f s", n, took.Seconds()),
	}, nil
}

// at returns event n of a list that repeats, nil after the last.
func at(list []json.RawMessage, n, events int) json.RawMessage {
	if n >= events {
		return nil
	}
	return list[n%len(list)]
}

// fill writes what next returns until that is nil.
func (e *embedded) fill(ctx context.Context, next func(n int) json.RawMessage) error {
	w, err := e.NewWriter(rstreams.WriterOptions{Bot: "shop", Queue: "orders"})
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		p := next(n)
		if p == nil {
			break
		}
		if _, err := w.PutRaw(ctx, p); err != nil {
			return err
		}
	}
	return w.Close(ctx)
}

// latency is the time from a Put until the bot that the queue triggers begins to run.
func latency(ctx context.Context, s size) (f figure, err error) {
	bus, err := newEmbedded(ctx)
	if err != nil {
		return f, err
	}
	defer bus.remove(ctx, &err)
	began, ended := make(chan time.Time, 1), make(chan error, 1)
	b := bot.Bot{ID: "billing", Triggers: []string{"orders"}, Run: func(ctx context.Context, run *bot.Run) error {
		at := time.Now()
		stats, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{
			From: []string{"orders"}, Read: rstreams.ReadOptions{From: rstreams.Earliest()},
		}, func(context.Context, rstreams.Event) error { return nil })
		if stats.Events > 0 {
			began <- at
			ended <- err
		}
		return err
	}}
	runner, err := bot.NewRunner(bus.Bus, bot.RunnerConfig{Logger: quiet}, b)
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, runner.Close(context.WithoutCancel(ctx))) }()
	if err := bot.Register(ctx, bus.Store().Bots, b); err != nil {
		return f, err
	}
	stop, err := bus.local.StartDispatcher(runner, runner.Hosts)
	if err != nil {
		return f, err
	}
	defer stop()
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "shop", Queue: "orders"})
	if err != nil {
		return f, err
	}
	defer func() { err = errors.Join(err, w.Close(context.WithoutCancel(ctx))) }()
	list := payloads(100)
	times := make([]time.Duration, 0, s.Invocations)
	for n := range s.Invocations {
		// The bot is idle: its last run is over and its row says so.
		for idle := false; !idle; {
			row, err := bus.Store().Bots.Get(ctx, b.ID)
			if err != nil {
				return f, err
			}
			if idle = row.Instance.CompletedTime != 0 || row.Instance.InvokeTime == 0; !idle {
				time.Sleep(time.Millisecond)
			}
		}
		time.Sleep(5 * time.Millisecond)
		put := time.Now()
		if _, err := w.PutRaw(ctx, list[n%len(list)]); err != nil {
			return f, err
		}
		select {
		case at := <-began:
			times = append(times, at.Sub(put))
		case <-ctx.Done():
			return f, ctx.Err()
		case <-time.After(30 * time.Second):
			return f, errors.New("the bot did not run for 30 s")
		}
		if err := <-ended; err != nil {
			return f, err
		}
	}
	slices.Sort(times)
	ms := func(q float64) float64 { return times[int(q*float64(len(times)-1))].Seconds() * 1000 }
	return figure{
		name: "write -> bot invoked, p50", measured: ms(0.5), target: 10, atMost: true, format: "%.1f ms",
		note: fmt.Sprintf("p95 %.1f ms, max %.1f ms, %d events one by one; the writer waits 5 ms for company", ms(0.95), ms(1), len(times)),
	}, nil
}

// heap is how much the heap grows, at its largest, while a queue is read.
func heap(ctx context.Context, s size) (f figure, err error) {
	bus, err := newEmbedded(ctx)
	if err != nil {
		return f, err
	}
	defer bus.remove(ctx, &err)
	list := payloads(50_000)
	var size int64
	err = bus.fill(ctx, func(n int) json.RawMessage {
		if size >= s.HeapBytes {
			return nil
		}
		p := list[n%len(list)]
		size += int64(len(p))
		return p
	})
	if err != nil {
		return f, err
	}
	list = nil
	runtime.GC()
	runtime.GC()
	base := heapBytes()
	var most atomic.Uint64
	watching, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			if h := heapBytes(); h > most.Load() {
				most.Store(h)
			}
			select {
			case <-watching.Done():
				return
			case <-tick.C:
			}
		}
	}()
	n, bytes := 0, int64(0)
	for e, err := range bus.Read(ctx, "orders", rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			return f, err
		}
		n, bytes = n+1, bytes+int64(len(e.Payload))
	}
	stop()
	<-done
	if bytes != size {
		return f, fmt.Errorf("%d bytes of payloads were read of %d", bytes, size)
	}
	grown := max(0, int64(most.Load())-int64(base))
	return figure{
		name: fmt.Sprintf("heap while reading %.1f GB", float64(bytes)/(1<<30)), measured: float64(grown) / (1 << 20), target: 64, atMost: true,
		format: "%.0f MiB", note: fmt.Sprintf("%d events; base %.1f MiB", n, float64(base)/(1<<20)),
	}, nil
}

// heapBytes is what objects on the heap take, those not yet collected included.
func heapBytes() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
