package sqlite_test

import (
	"context"
	"fmt"
	"os"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/sqlite"
)

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "bus")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	db, err := sqlite.Open(ctx, dir, sqlite.Options{})
	if err != nil {
		panic(err) // its text says what to do
	}
	defer db.Close()
	bots := db.Store().Bots

	move := func(expected, to string) error {
		return bots.Checkpoint(ctx, store.CheckpointWrite{
			Bot: "pricer", Ref: "queue:orders", Expected: expected, Checkpoint: store.Checkpoint{Position: to}})
	}
	fmt.Println(move("", "z/2026/11/21/02/35/1795228519234-0000041"))
	fmt.Println(move("", "z/2026/11/21/02/35/1795228519234-0000002"))
	// Output:
	// <nil>
	// conflict: Stale Checkpoint: bot pricer is at "z/2026/11/21/02/35/1795228519234-0000041" on queue:orders, not at ""
}
