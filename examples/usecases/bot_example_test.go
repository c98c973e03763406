package usecases_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/examples/usecases"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// A bot declares what wakes it. Here two bots run in the program itself, the second on what the first writes; in a program of
// its own, bot.Main does the same, and `rstreams dev` runs it.
func Example_bots() {
	ctx := context.Background()
	quiet := slog.New(slog.DiscardHandler)
	dir, err := os.MkdirTemp("", "rstreams-example-")
	check(err)
	defer func() { check(os.RemoveAll(dir)) }()
	l, err := local.Open(ctx, dir, local.Options{Logger: quiet})
	check(err)
	defer func() { check(l.Close(ctx)) }()
	bus := rstreams.New(l.Store(), rstreams.Options{Logger: quiet})

	var done sync.WaitGroup
	done.Add(len(usecases.People()))
	bots := []bot.Bot{
		{
			ID: "names", Triggers: []string{"people"}, Writes: []string{"names"},
			Run: func(ctx context.Context, run *bot.Run) error {
				_, err := run.Bus.Enrich(ctx, rstreams.EnrichOptions{From: []string{"people"}, To: "names", Read: earliest},
					rstreams.HandlerOf(func(_ context.Context, p usecases.Person, _ rstreams.Event) (rstreams.Result, error) {
						return rstreams.Emit(p.Name), nil
					}))
				return err
			},
		},
		{
			ID: "printer", Triggers: []string{"names"},
			Run: func(ctx context.Context, run *bot.Run) error {
				_, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{From: []string{"names"}, Read: earliest},
					func(_ context.Context, e rstreams.Event) error {
						fmt.Printf("%s\n", e.Payload)
						done.Done()
						return nil
					})
				return err
			},
		},
	}
	runner, err := bot.NewRunner(bus, bot.RunnerConfig{Logger: quiet}, bots...)
	check(err)
	check(bot.Register(ctx, bus.Store().Bots, bots...))
	stop, err := l.StartDispatcher(runner, runner.Hosts)
	check(err)

	check(usecases.Fill(ctx, bus, "people", usecases.People()...))
	done.Wait()
	stop()
	check(runner.Close(ctx))
	// Output:
	// "Ada"
	// "Björn"
	// "Carla"
	// "Dmitri"
	// "Erin"
	// "Fatima"
}
