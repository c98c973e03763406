package local

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// signal is an invoker whose bots end at once: it completes each run and tells that the bot was invoked.
type signal struct {
	st      store.Store
	invoked chan store.Bot
}

func (s signal) Invoke(ctx context.Context, bot store.Bot, payload []byte) error {
	if !json.Valid(payload) {
		return fmt.Errorf("payload %q", payload)
	}
	s.invoked <- bot
	return nil
}

// end moves the bot's checkpoint to what was requested, and completes the run.
func (s signal) end(t testing.TB, bot store.Bot) {
	ctx := context.Background()
	for ref, head := range bot.Requested {
		err := s.st.Bots.Checkpoint(ctx, store.CheckpointWrite{
			Bot: bot.ID, Ref: ref, Checkpoint: store.Checkpoint{Position: head}, Expected: bot.Read[ref].Position,
		})
		if err != nil {
			t.Error(err)
		}
	}
	if err := s.st.Bots.Complete(ctx, store.Complete{Bot: bot.ID, Token: bot.Token, At: time.Now().UnixMilli()}); err != nil {
		t.Error(err)
	}
}

func register(t testing.TB, b *Bus, id string, triggers ...string) {
	t.Helper()
	err := b.Store().Bots.Register(context.Background(), store.Registration{
		ID: id, Triggers: triggers, Invocation: store.Invocation{Type: "local"},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// BenchmarkWriteToInvoked measures the time from Put to the invocation of the bot that the queue triggers: in the process
// that wrote, with and without another process holding the dispatcher lease, and in another process.
func BenchmarkWriteToInvoked(b *testing.B) {
	for _, c := range []struct {
		name          string
		second, cross bool
	}{{"alone", false, false}, {"beside-lease-holder", true, false}, {"other-process", true, true}} {
		b.Run(c.name, func(b *testing.B) {
			dir := b.TempDir()
			first := open(b, dir)
			register(b, first, "bot", "q")
			host, writer := first, first
			none := func(store.Bot) bool { return false }
			if c.second {
				if _, err := first.StartDispatcher(signal{}, none); err != nil {
					b.Fatal(err)
				}
				host = open(b, dir)
				if writer = host; c.cross {
					writer = first
				}
			}
			inv := signal{st: host.Store(), invoked: make(chan store.Bot, 1)}
			if _, err := host.StartDispatcher(inv, nil); err != nil {
				b.Fatal(err)
			}
			putAll(b, writer, line("w", "q", 1))
			inv.end(b, <-inv.invoked)
			var took []time.Duration
			for b.Loop() {
				b.StopTimer()
				for { // until the run before has ended in the row and nothing is left to do
					row, err := first.Store().Bots.Get(context.Background(), "bot")
					if err != nil {
						b.Fatal(err)
					}
					if row.Instance.CompletedTime != 0 && row.Read["queue:q"].Position == row.Requested["queue:q"] {
						break
					}
				}
				b.StartTimer()
				begin := time.Now()
				putAll(b, writer, line("w", "q", 2))
				bot := <-inv.invoked
				took = append(took, time.Since(begin))
				b.StopTimer()
				inv.end(b, bot)
				b.StartTimer()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}

// BenchmarkPut measures acknowledged events a second: one writer that waits for each ack, and many whose puts are committed
// together.
func BenchmarkPut(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		for _, events := range []int{1, 100} {
			b.Run(fmt.Sprintf("writers-%d/events-%d", writers, events), func(b *testing.B) {
				bus := open(b, b.TempDir())
				var data []byte
				for i := range events {
					data = append(data, line("w", "q", i+1)...)
				}
				b.SetParallelism((writers + 1) / 2)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if a := putAll(b, bus, data); a[0].Err != nil {
							b.Error(a[0].Err)
						}
					}
				})
				b.ReportMetric(float64(events*b.N)/b.Elapsed().Seconds(), "events/s")
			})
		}
	}
}
