package local_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/bus/store"
)

// A bus in a directory takes events, and what it acknowledges is readable.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "bus")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	bus, err := local.Open(ctx, dir, local.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer bus.Close(ctx)

	acks, err := bus.Store().Intake.Put(ctx, []store.Record{
		{Data: []byte(`{"id":"shop","event":"orders","payload":{"total":12}}` + "\n")},
	})
	if err != nil || acks[0].Err != nil {
		log.Fatal(err, acks)
	}
	queue, err := bus.Store().Queues.Get(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	page, err := bus.Store().Chunks.Query(ctx, "orders", "", queue.Head, 0, 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(page.Chunks), "chunk with", page.Chunks[0].Records, "event up to the head:", page.Chunks[0].End == queue.Head)
	// Output:
	// 1 chunk with 1 event up to the head: true
}
