package verify_test

import (
	"context"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/cmd/rstreams/internal/verify"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func Example() {
	ctx := context.Background()
	l := local.New(memory.New(memory.Options{}), local.Options{})
	defer func() { _ = l.Close(ctx) }()

	w, err := rstreams.New(l.Store(), rstreams.Options{}).NewWriter(rstreams.WriterOptions{Bot: "shop", Queue: "orders"})
	if err != nil {
		fmt.Println(err)
		return
	}
	for n := 1; n <= 100; n++ {
		if _, err := w.Put(ctx, map[string]int{"order": n}); err != nil {
			fmt.Println(err)
		}
	}
	if err := w.Close(ctx); err != nil {
		fmt.Println(err)
	}

	report, err := verify.Run(ctx, l.Store(), verify.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(report.OK(), report.Events, "events in", report.Queues[0].Name)
	// Output: true 100 events in orders
}
