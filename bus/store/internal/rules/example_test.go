package rules_test

import (
	"fmt"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

// A backend loads a row, applies a rule and writes the row back, in one transaction.
func ExampleLock() {
	row := store.Bot{ID: "b", InvokeTime: 1000}
	fmt.Println(rules.Lock(&row, store.Lock{Bot: "b", Seen: 1000, At: 2000}), row.Token)
	fmt.Println(rules.Lock(&row, store.Lock{Bot: "b", Seen: 1000, At: 3000}))
	// Output:
	// <nil> 2000
	// conflict: bot b was locked at 2000 since it was read
}
