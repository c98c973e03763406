package rstreams_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

type order struct {
	Item  string `json:"item"`
	Count int    `json:"count"`
}

type priced struct {
	order
	Total float64 `json:"total"`
}

// openExample opens a bus in a directory that is removed afterwards.
func openExample(ctx context.Context) (*rstreams.Bus, func()) {
	dir, err := os.MkdirTemp("", "rstreams-example-")
	if err != nil {
		log.Fatal(err)
	}
	bus, err := rstreams.Open(ctx, "embedded:"+dir)
	if err != nil {
		log.Fatal(err)
	}
	return bus, func() {
		if err := bus.Close(ctx); err != nil {
			log.Fatal(err)
		}
		if err := os.RemoveAll(dir); err != nil {
			log.Fatal(err)
		}
	}
}

// A program writes orders, a bot prices them, another one takes the result out of the bus.
func Example() {
	ctx := context.Background()
	bus, done := openExample(ctx)
	defer done()

	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "shop", Queue: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	for _, o := range []order{{"pear", 3}, {"apple", 0}, {"plum", 10}} {
		if _, err := w.Put(ctx, o); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Close(ctx); err != nil { // Everything is durable now.
		log.Fatal(err)
	}

	price := rstreams.HandlerOf(func(_ context.Context, o order, _ rstreams.Event) (rstreams.Result, error) {
		if o.Count == 0 {
			return rstreams.Handled(), nil
		}
		return rstreams.Emit(priced{o, 0.25 * float64(o.Count)}), nil
	})
	stats, err := bus.Enrich(ctx, rstreams.EnrichOptions{Bot: "pricing", From: []string{"orders"}, To: "orders.priced"}, price)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(stats.Events, "orders,", stats.Outputs, "priced")

	_, err = rstreams.OffloadTyped(ctx, bus, rstreams.OffloadOptions{Bot: "till", From: []string{"orders.priced"}},
		func(_ context.Context, p priced, _ rstreams.Event) error {
			fmt.Println(p.Count, p.Item, p.Total)
			return nil
		})
	if err != nil {
		log.Fatal(err)
	}
	// Output:
	// 3 orders, 2 priced
	// 3 pear 0.75
	// 10 plum 2.5
}

func ExampleBus_Read() {
	ctx := context.Background()
	bus, done := openExample(ctx)
	defer done()
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "shop", Queue: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 3 {
		if _, err := w.Put(ctx, order{Item: "pear", Count: i + 1}); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Close(ctx); err != nil {
		log.Fatal(err)
	}

	for e, err := range bus.Read(ctx, "orders", rstreams.ReadOptions{Start: "z/", Limit: 2}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s %s\n", e.Bot, e.Payload)
	}
	// Output:
	// shop {"item":"pear","count":1}
	// shop {"item":"pear","count":2}
}

// A Reader tells why it ended and where, and moves the bot's checkpoint when the program says so.
func ExampleReader_Checkpoint() {
	ctx := context.Background()
	bus, done := openExample(ctx)
	defer done()
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "shop", Queue: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 5 {
		if _, err := w.Put(ctx, i+1); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Close(ctx); err != nil {
		log.Fatal(err)
	}

	for range 2 { // Two runs of one bot.
		r, err := bus.NewReader("orders", rstreams.ReadOptions{Bot: "billing", Limit: 3})
		if err != nil {
			log.Fatal(err)
		}
		var payloads []string
		for e, err := range r.All(ctx) {
			if err != nil {
				log.Fatal(err)
			}
			payloads = append(payloads, string(e.Payload))
		}
		if err := r.Checkpoint(ctx); err != nil {
			log.Fatal(err)
		}
		fmt.Println(strings.Join(payloads, " "), "-", r.Reason())
	}
	// Output:
	// 1 2 3 - limit
	// 4 5 - caught up
}

// An event that a handler cannot deal with goes to the dead-letter queue, and the run goes on.
func ExampleDeadLetter() {
	ctx := context.Background()
	bus, done := openExample(ctx)
	defer done()
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "shop", Queue: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	for _, payload := range []any{order{"pear", 3}, "three pears, please", order{"plum", 1}} {
		if _, err := w.Put(ctx, payload); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Close(ctx); err != nil {
		log.Fatal(err)
	}

	stats, err := bus.Offload(ctx, rstreams.OffloadOptions{Bot: "till", From: []string{"orders"}},
		func(_ context.Context, e rstreams.Event) error {
			o, err := rstreams.Decode[order](e)
			if errors.Is(err, rstreams.ErrDecode) {
				return rstreams.DeadLetter(err)
			}
			fmt.Println(o.Count, o.Item)
			return err
		})
	fmt.Println(stats.Events, "handled,", stats.DeadLetters, "dead letter,", err)
	// Output:
	// 3 pear
	// 1 plum
	// 3 handled, 1 dead letter, <nil>
}

func ExampleAck_Wait() {
	ctx := context.Background()
	bus, done := openExample(ctx)
	defer done()
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "shop", Queue: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	defer w.Close(ctx) //nolint:errcheck // The only event was waited for.
	ack, err := w.Put(ctx, order{"pear", 3})
	if err != nil {
		log.Fatal(err)
	}
	receipt, err := ack.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(receipt.Queue, receipt.Shard, receipt.Sequence != "")
	// Output: orders embedded true
}

// EnrichTyped is for the plain case: one event in, one event out.
func ExampleEnrichTyped() {
	ctx := context.Background()
	bus, done := openExample(ctx)
	defer done()
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "shop", Queue: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := w.Put(ctx, order{"pear", 3}); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(ctx); err != nil {
		log.Fatal(err)
	}
	stats, err := rstreams.EnrichTyped(ctx, bus, rstreams.EnrichOptions{Bot: "pricing", From: []string{"orders"}, To: "orders.priced"},
		func(_ context.Context, o order) (priced, error) { return priced{o, 0.25 * float64(o.Count)}, nil })
	if err != nil {
		log.Fatal(err)
	}
	for e, err := range rstreams.ReadTyped[priced](ctx, bus, "orders.priced", rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			log.Fatal(err)
		}
		steps, err := bus.Trace(ctx, e.Queue, e.EID)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(stats.Outputs, e.Value.Total, "made of", steps[1].Queue, string(steps[1].Event.Payload))
	}
	// Output: 1 0.75 made of orders {"item":"pear","count":3}
}

// Large amounts cost least in objects: one pointer travels for many events.
func ExampleWriter_blobs() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "bus")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	bus, err := rstreams.Open(ctx, "embedded:"+dir)
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close(ctx)

	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "import", Queue: "orders", Path: rstreams.PathBlobs})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 10_000 {
		if _, err := w.Put(ctx, map[string]int{"order": i}); err != nil {
			log.Fatal(err)
		}
	}
	if err := w.Close(ctx); err != nil { // Everything is durable and readable now.
		log.Fatal(err)
	}
	n := 0
	for _, err := range bus.Read(ctx, "orders", rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			log.Fatal(err)
		}
		n++
	}
	fmt.Println(n, "orders")
	// Output: 10000 orders
}

// A snapshot is what readers get that begin at a queue's beginning, before live events.
func ExampleBus_WriteSnapshot() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "bus")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	bus, err := rstreams.Open(ctx, "embedded:"+dir)
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close(ctx)

	_, err = bus.WriteSnapshot(ctx, rstreams.SnapshotOptions{Bot: "snapper", Queue: "customers"},
		func(ctx context.Context, w *rstreams.Writer) error {
			for _, name := range []string{"Ada", "Grace"} {
				if _, err := w.Put(ctx, name); err != nil {
					return err
				}
			}
			return nil
		})
	if err != nil {
		log.Fatal(err)
	}
	for e, err := range bus.Read(ctx, "customers", rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(string(e.Payload))
	}
	// Output:
	// "Ada"
	// "Grace"
}
