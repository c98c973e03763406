package usecases_test

import (
	"context"
	"fmt"

	"github.com/rstreams-go/rstreams/examples/usecases"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// Read some events, checkpoint, and go on there the next time. Reading alone moves no checkpoint.
func Example_readAndResume() {
	ctx := context.Background()
	bus, remove := filled(ctx)
	defer remove()

	for range 3 {
		r, err := bus.NewReader("people", rstreams.ReadOptions{Bot: "greeter", From: rstreams.Earliest(), Limit: 2})
		check(err)
		for e, err := range r.All(ctx) {
			check(err)
			p, err := rstreams.Decode[usecases.Person](e)
			check(err)
			fmt.Println("hello", p.Name)
		}
		check(r.Checkpoint(ctx))
	}
	// Output:
	// hello Ada
	// hello Björn
	// hello Carla
	// hello Dmitri
	// hello Erin
	// hello Fatima
}

// Process one stretch of a queue again, under a bot of its own: nobody's checkpoint moves.
func Example_readRange() {
	ctx := context.Background()
	bus, remove := filled(ctx)
	defer remove()

	var ids []string
	for e, err := range bus.Read(ctx, "people", rstreams.ReadOptions{Start: "z/"}) {
		check(err)
		ids = append(ids, e.EID)
	}
	// A start is exclusive, an end inclusive. Dates will do as well: z/2026/11/21/09.
	for p, err := range rstreams.ReadTyped[usecases.Person](ctx, bus, "people", rstreams.ReadOptions{Start: ids[1], End: ids[3]}) {
		check(err)
		fmt.Println(p.Value.Name)
	}
	// Output:
	// Carla
	// Dmitri
}

// Rewind a bot to see events again. Other bots go on where they are.
func Example_rewind() {
	ctx := context.Background()
	bus, remove := filled(ctx)
	defer remove()

	count := func(bot string) int {
		n := 0
		_, err := bus.Offload(ctx, rstreams.OffloadOptions{
			Bot: bot, From: []string{"people"}, Read: rstreams.ReadOptions{From: rstreams.Earliest()},
		}, func(context.Context, rstreams.Event) error {
			n++
			return nil
		})
		check(err)
		return n
	}
	fmt.Println(count("a"), count("b"), count("a"), count("b"))
	at, err := bus.GetCheckpoint(ctx, "a", "people")
	check(err)
	check(bus.Checkpoint(ctx, rstreams.CheckpointRequest{
		Bot: "a", Queue: "people", Checkpoint: rstreams.Checkpoint{Position: "z/"}, Expected: at.Position, Backwards: true,
	}))
	fmt.Println(count("a"), count("b"))
	// Output:
	// 6 6 0 0
	// 6 0
}

// Follow a queue as it grows.
func Example_follow() {
	ctx := context.Background()
	bus, remove := filled(ctx)
	defer remove()

	n := 0
	for e, err := range bus.Read(ctx, "people", rstreams.ReadOptions{Start: "z/", Follow: true, Limit: 8}) {
		check(err)
		if n++; n == 6 { // Everything that was there. More comes while the loop waits.
			go func() {
				check(usecases.Fill(ctx, bus, "people", usecases.Person{Name: "Gil"}, usecases.Person{Name: "Hana"}))
			}()
		}
		if n > 6 {
			fmt.Printf("%s\n", e.Payload)
		}
	}
	// Output:
	// {"name":"Gil","country":""}
	// {"name":"Hana","country":""}
}

// Trace an event over two queues to where it came from.
func Example_trace() {
	ctx := context.Background()
	bus, remove := filled(ctx)
	defer remove()

	_, err := bus.Enrich(ctx, rstreams.EnrichOptions{
		Bot: "upper", From: []string{"people"}, To: "people.upper", Read: rstreams.ReadOptions{From: rstreams.Earliest()},
	}, func(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
		return rstreams.Emit(e.Payload), nil
	})
	check(err)

	var last string
	for e, err := range bus.Read(ctx, "people.upper", rstreams.ReadOptions{Start: "z/"}) {
		check(err)
		last = e.EID
	}
	steps, err := bus.Trace(ctx, "people.upper", last)
	check(err)
	for _, s := range steps {
		fmt.Printf("%s, written by %s: %s\n", s.Queue, s.Event.Bot, s.Event.Payload)
	}
	// Output:
	// people.upper, written by upper: {"name":"Fatima","country":"MA","age":33}
	// people, written by people-source: {"name":"Fatima","country":"MA","age":33}
}
