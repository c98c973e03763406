package bot_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"

	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// A bot that is woken by a queue, on a bus in a directory. bot.Main does the same for a whole program.
func Example() {
	ctx := context.Background()
	shipped := make(chan string)
	ship := bot.Bot{
		ID: "ship", Triggers: []string{"orders"},
		Run: func(ctx context.Context, run *bot.Run) error {
			_, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{From: []string{"orders"}},
				func(_ context.Context, e rstreams.Event) error {
					shipped <- string(e.Payload)
					return nil
				})
			return err
		},
	}

	dir, err := os.MkdirTemp("", "bus")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	quiet := slog.New(slog.DiscardHandler)
	embedded, err := local.Open(ctx, dir, local.Options{Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	defer embedded.Close(ctx)
	bus := rstreams.New(embedded.Store(), rstreams.Options{Logger: quiet})
	runner, err := bot.NewRunner(bus, bot.RunnerConfig{Logger: quiet}, ship)
	if err != nil {
		log.Fatal(err)
	}
	defer runner.Close(ctx)
	if err := bot.Register(ctx, embedded.Store().Bots, ship); err != nil {
		log.Fatal(err)
	}
	stop, err := embedded.StartDispatcher(runner, runner.Hosts)
	if err != nil {
		log.Fatal(err)
	}
	defer stop()

	orders, err := bus.NewWriter(rstreams.WriterOptions{Bot: "shop", Queue: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := orders.Put(ctx, map[string]int{"total": 12}); err != nil {
		log.Fatal(err)
	}
	if err := orders.Close(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-shipped)
	// Output:
	// {"total":12}
}
