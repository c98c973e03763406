package dispatch_test

import (
	"fmt"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
)

// A bot that failed three times waits 11.39 s from the end of its last run.
func ExampleDecide() {
	ended := time.Date(2026, 11, 21, 2, 35, 0, 0, time.UTC)
	bot := store.Bot{
		ID: "orders", Invocation: store.Invocation{Type: "local"}, Triggers: []string{"queue:orders"},
		Requested:  map[string]string{"queue:orders": "z/2026/11/21/02/34/1795228459234-0000003"},
		InvokeTime: ended.UnixMilli() - 500, ErrorCount: 3,
		Instance: store.Instance{
			InvokeTime: ended.UnixMilli() - 500, CompletedTime: ended.UnixMilli(), Status: store.StatusError,
		},
	}
	for _, now := range []time.Time{ended.Add(time.Second), ended.Add(12 * time.Second)} {
		d := dispatch.Decide(bot, now)
		fmt.Println(d.Action, "-", d.Reason)
		if d.Action == dispatch.Wait {
			fmt.Println("until", d.Until.Sub(ended), "after the failure")
		}
	}
	// Output:
	// wait - backing off after an error
	// until 11.39s after the failure
	// run - behind on a trigger
}
