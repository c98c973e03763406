package aws_test

import (
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/bus/store/storetest"
)

// The suite of the ports on an emulator of AWS. One bus serves all tests: each has its own names.
func TestConformance(t *testing.T) {
	s := awstest.Open(t).Store()
	storetest.RunWith(t, storetest.Options{Scale: 0.5}, func(*testing.T) store.Store { return s })
}
