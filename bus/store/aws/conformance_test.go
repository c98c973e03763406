package aws_test

import (
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/bus/store/storetest"
)

// TestConformance is the suite of the ports. It needs an emulator of AWS: see awstest.EndpointVariable. One bus serves all
// tests: each has its own names.
func TestConformance(t *testing.T) {
	bus := awstest.Open(t)
	if err := bus.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Emulators are a hundred times slower than the embedded stores, and their tables have one shard.
	o := storetest.Options{Scale: 0.1, FeedByTable: true, Patience: time.Minute}
	storetest.RunWith(t, o, func(*testing.T) store.Store { return bus.Store() })
}
