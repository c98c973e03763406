package storetest_test

import (
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/bus/store/storetest"
)

// A backend's own test calls the suite with a function that opens an empty store.
func ExampleRun() {
	_ = func(t *testing.T) {
		storetest.Run(t, func(*testing.T) store.Store { return memory.New(memory.Options{}) })
	}
	// Output:
}
