//go:build rstreams_lambda

package config

import (
	"context"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
)

// openEmbedded refuses: functions on AWS have no use for an embedded bus, and without it they are a quarter smaller.
func openEmbedded(_ context.Context, p Place, _ Options) (*Backend, error) {
	return nil, fmt.Errorf("%w: %s: this program was built without the embedded bus (build tag rstreams_lambda)", store.ErrUnavailable, p)
}

// host is nil: functions are invoked, they host nothing.
func host(*awsbus.Bus, Options) func(store.Invoker, func(store.Bot) bool) (func(), error) { return nil }
