package usecases_test

import (
	"context"
	"fmt"
	"log"
	"strconv"
	"strings"

	"github.com/rstreams-go/rstreams/examples/usecases"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// open opens an empty bus for an example.
func open(ctx context.Context) (*rstreams.Bus, func()) {
	bus, remove, err := usecases.OpenTemporary(ctx)
	check(err)
	return bus, func() { check(remove()) }
}

// filled opens a bus whose queue "people" holds usecases.People.
func filled(ctx context.Context) (*rstreams.Bus, func()) {
	bus, remove := open(ctx)
	check(usecases.Fill(ctx, bus, "people", usecases.People()...))
	return bus, remove
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// print prints the payloads of a queue.
func print(ctx context.Context, bus *rstreams.Bus, queue string) {
	for e, err := range bus.Read(ctx, queue, rstreams.ReadOptions{Start: "z/"}) {
		check(err)
		fmt.Printf("%s: %s\n", queue, e.Payload)
	}
}

// Put one event and wait until it is durable: for the occasional write of a web request.
func Example_putOne() {
	ctx := context.Background()
	bus, remove := open(ctx)
	defer remove()

	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "signup", Queue: "people"})
	check(err)
	ack, err := w.Put(ctx, usecases.Person{Name: "Ada", Country: "UK"})
	check(err)
	_, err = ack.Wait(ctx)
	check(err)
	check(w.Close(ctx))

	print(ctx, bus, "people")
	// Output: people: {"name":"Ada","country":"UK"}
}

// Put many events: the writer sends them in batches. Close waits until all of them are durable.
func Example_putMany() {
	ctx := context.Background()
	bus, remove := open(ctx)
	defer remove()

	acknowledged := 0
	w, err := bus.NewWriter(rstreams.WriterOptions{
		Bot: "import", Queue: "numbers",
		OnAck: func(r rstreams.Receipt, err error) { acknowledged += r.Events },
	})
	check(err)
	for n := 1; n <= 10_000; n++ {
		_, err := w.Put(ctx, n)
		check(err)
	}
	check(w.Close(ctx))
	fmt.Println(acknowledged, "events are durable")
	// Output: 10000 events are durable
}

// Write to several queues with one writer. Events of one queue keep their order.
func Example_putToSeveralQueues() {
	ctx := context.Background()
	bus, remove := open(ctx)
	defer remove()

	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "import", Queue: "people.other"})
	check(err)
	for _, p := range usecases.People() {
		if p.Country == "US" {
			_, err = w.PutTo(ctx, "people.us", p)
		} else {
			_, err = w.Put(ctx, p)
		}
		check(err)
	}
	check(w.Close(ctx))
	print(ctx, bus, "people.us")
	// Output:
	// people.us: {"name":"Carla","country":"US","age":29}
	// people.us: {"name":"Erin","country":"US","age":61}
}

// An event of several megabytes is written and read like any other: on its way it travels as an object.
func Example_putLarge() {
	ctx := context.Background()
	bus, remove := open(ctx)
	defer remove()

	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "scanner", Queue: "documents"})
	check(err)
	_, err = w.Put(ctx, map[string]string{"text": strings.Repeat("lorem ipsum ", 300_000)})
	check(err)
	check(w.Close(ctx))
	for e, err := range bus.Read(ctx, "documents", rstreams.ReadOptions{Start: "z/"}) {
		check(err)
		fmt.Println(len(e.Payload), "bytes")
	}
	// Output: 3600011 bytes
}

// Load from a source that has pages, and remember the place: the page number is a checkpoint on the system that is read. It
// moves after the page is durable, so that a crash repeats a page and loses none.
func Example_createSource() {
	ctx := context.Background()
	bus, remove := open(ctx)
	defer remove()
	bus = bus.Session(rstreams.Session{Bot: "people-source"})

	// fetch stands for a call of somebody's API: pages of two, and an empty one at the end.
	fetch := func(page int) []usecases.Person {
		all := usecases.People()
		return all[min(2*page, len(all)):min(2*page+2, len(all))]
	}
	load := func(pages int) {
		at, err := bus.GetCheckpoint(ctx, "", "system:people-api")
		check(err)
		page, _ := strconv.Atoi(at.Position)
		w, err := bus.NewWriter(rstreams.WriterOptions{Queue: "people"})
		check(err)
		for ; pages > 0; pages-- {
			people := fetch(page)
			if len(people) == 0 {
				break
			}
			for _, p := range people {
				_, err := w.Put(ctx, p)
				check(err)
			}
			check(w.Flush(ctx))
			page++
			next := rstreams.Checkpoint{Position: strconv.Itoa(page), Records: int64(len(people))}
			check(bus.Checkpoint(ctx, rstreams.CheckpointRequest{Queue: "system:people-api", Checkpoint: next, Expected: at.Position}))
			at = next
		}
		check(w.Close(ctx))
		fmt.Println("now at page", page)
	}
	load(2)
	load(2)
	load(2)
	print(ctx, bus, "people")
	// Output:
	// now at page 2
	// now at page 3
	// now at page 3
	// people: {"name":"Ada","country":"UK","age":36}
	// people: {"name":"Björn","country":"SE","age":51}
	// people: {"name":"Carla","country":"US","age":29}
	// people: {"name":"Dmitri","country":"DE","age":44}
	// people: {"name":"Erin","country":"US","age":61}
	// people: {"name":"Fatima","country":"MA","age":33}
}
