//go:build !rstreams_lambda

package config

import (
	"context"

	"github.com/rstreams-go/rstreams/bus/local"
)

// openEmbedded opens an embedded bus.
func openEmbedded(ctx context.Context, p Place, o Options) (*Backend, error) {
	bus, err := local.Open(ctx, p.Dir, local.Options{Now: o.Now, Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	return &Backend{Place: p, Store: bus.Store(), Host: bus.StartDispatcher, Close: bus.Close}, nil
}
