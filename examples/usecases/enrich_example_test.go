package usecases_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/examples/usecases"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// earliest makes a new bot begin with the oldest event.
var earliest = rstreams.ReadOptions{From: rstreams.Earliest()}

// One event becomes one event. Correlation, source time and checkpoint are the SDK's work.
func Example_enrich() {
	ctx := context.Background()
	bus, remove := filled(ctx)
	defer remove()

	type greeted struct {
		Greeting string `json:"greeting"`
	}
	_, err := rstreams.EnrichTyped(ctx, bus, rstreams.EnrichOptions{Bot: "greeter", From: []string{"people"}, To: "greetings", Read: earliest},
		func(_ context.Context, p usecases.Person) (greeted, error) { return greeted{"Dear " + p.Name}, nil })
	check(err)
	print(ctx, bus, "greetings")
	// Output:
	// greetings: {"greeting":"Dear Ada"}
	// greetings: {"greeting":"Dear Björn"}
	// greetings: {"greeting":"Dear Carla"}
	// greetings: {"greeting":"Dear Dmitri"}
	// greetings: {"greeting":"Dear Erin"}
	// greetings: {"greeting":"Dear Fatima"}
}

// A filter says Handled for what it drops: nothing is passed over by a forgotten return.
func Example_filter() {
	ctx := context.Background()
	bus, remove := filled(ctx)
	defer remove()

	stats, err := bus.Enrich(ctx, rstreams.EnrichOptions{Bot: "seniors", From: []string{"people"}, To: "people.over50", Read: earliest},
		rstreams.HandlerOf(func(_ context.Context, p usecases.Person, _ rstreams.Event) (rstreams.Result, error) {
			if p.Age <= 50 {
				return rstreams.Handled(), nil
			}
			return rstreams.Emit(p), nil
		}))
	check(err)
	fmt.Println(stats.Events, "events,", stats.Outputs, "outputs")
	print(ctx, bus, "people.over50")
	// Output:
	// 6 events, 2 outputs
	// people.over50: {"name":"Björn","country":"SE","age":51}
	// people.over50: {"name":"Erin","country":"US","age":61}
}

// One event becomes several, in one queue or in many. They count as one: after a crash all of them are made again, or none.
func Example_oneToMany() {
	ctx := context.Background()
	bus, remove := filled(ctx)
	defer remove()

	_, err := bus.Enrich(ctx, rstreams.EnrichOptions{Bot: "split", From: []string{"people"}, To: "people.other", Read: earliest},
		rstreams.HandlerOf(func(_ context.Context, p usecases.Person, _ rstreams.Event) (rstreams.Result, error) {
			all := rstreams.EmitTo("names", p.Name)
			if p.Country == "US" {
				return all.And(rstreams.EmitTo("people.us", p)), nil
			}
			return all.And(rstreams.Emit(p)), nil
		}))
	check(err)
	print(ctx, bus, "people.us")
	print(ctx, bus, "names")
	// Output:
	// people.us: {"name":"Carla","country":"US","age":29}
	// people.us: {"name":"Erin","country":"US","age":61}
	// names: "Ada"
	// names: "Björn"
	// names: "Carla"
	// names: "Dmitri"
	// names: "Erin"
	// names: "Fatima"
}

// Several events become one. Its correlation spans all of them.
func Example_manyToOne() {
	ctx := context.Background()
	bus, remove := filled(ctx)
	defer remove()

	type summary struct {
		Names string `json:"names"`
	}
	_, err := bus.EnrichBatch(ctx, rstreams.EnrichOptions{
		Bot: "summaries", From: []string{"people"}, To: "summaries", Read: earliest,
		Batch: rstreams.BatchOptions{Records: 3, Linger: time.Minute},
	}, func(_ context.Context, events []rstreams.Event) (rstreams.Result, error) {
		var names []string
		for _, e := range events {
			p, err := rstreams.Decode[usecases.Person](e)
			if err != nil {
				return rstreams.Result{}, err
			}
			names = append(names, p.Name)
		}
		return rstreams.Emit(summary{strings.Join(names, ", ")}), nil
	})
	check(err)
	for e, err := range bus.Read(ctx, "summaries", rstreams.ReadOptions{Start: "z/"}) {
		check(err)
		fmt.Printf("%s, from %d events of %s\n", e.Payload, e.Correlation.Units, e.Correlation.Source)
	}
	// Output:
	// {"names":"Ada, Björn, Carla"}, from 3 events of people
	// {"names":"Dmitri, Erin, Fatima"}, from 3 events of people
}

// What cannot be handled goes to the dead-letter queue with the reason, and the rest goes on. `rstreams dlq` shows it.
func Example_deadLetter() {
	ctx := context.Background()
	bus, remove := filled(ctx)
	defer remove()

	_, err := bus.Enrich(ctx, rstreams.EnrichOptions{Bot: "checked", From: []string{"people"}, To: "people.checked", Read: earliest},
		rstreams.HandlerOf(func(_ context.Context, p usecases.Person, _ rstreams.Event) (rstreams.Result, error) {
			if p.Country == "MA" {
				return rstreams.Result{}, rstreams.DeadLetter(errors.New("the country is not served"))
			}
			return rstreams.Emit(p), nil
		}))
	check(err)
	for l, err := range rstreams.ReadTyped[deadletter.Letter](ctx, bus, deadletter.Queue, rstreams.ReadOptions{Start: "z/"}) {
		check(err)
		why := l.Value.Error
		fmt.Printf("%s refused an event of %s: %s\n", l.Value.Bot, l.Value.Queue, why[strings.Index(why, "the country"):])
	}
	// Output: checked refused an event of people: the country is not served
}

// A failure ends the run. What was handled before it is checkpointed, and the next run begins with the event that failed.
func Example_failAndGoOn() {
	ctx := context.Background()
	bus, remove := filled(ctx)
	defer remove()

	down := true
	run := func() {
		_, err := rstreams.OffloadTyped(ctx, bus, rstreams.OffloadOptions{Bot: "mailer", From: []string{"people"}, Read: earliest},
			func(_ context.Context, p usecases.Person, _ rstreams.Event) error {
				if p.Name == "Carla" && down {
					return errors.New("the mail server is down")
				}
				fmt.Println("mail to", p.Name)
				return nil
			})
		fmt.Println("failed:", err != nil)
	}
	run()
	down = false
	run()
	// Output:
	// mail to Ada
	// mail to Björn
	// failed: true
	// mail to Carla
	// mail to Dmitri
	// mail to Erin
	// mail to Fatima
	// failed: false
}

// Offload in batches, such as one statement of a database for many rows.
func Example_offloadBatch() {
	ctx := context.Background()
	bus, remove := filled(ctx)
	defer remove()

	_, err := bus.OffloadBatch(ctx, rstreams.OffloadOptions{
		Bot: "database", From: []string{"people"}, Read: earliest, Batch: rstreams.BatchOptions{Records: 4, Linger: time.Minute},
	}, func(_ context.Context, events []rstreams.Event) error {
		fmt.Println("insert", len(events), "rows")
		return nil
	})
	check(err)
	// Output:
	// insert 4 rows
	// insert 2 rows
}
