package rstreams

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/sdk/config"
)

// Option changes what Open does.
type Option func(*Options)

// WithLogger sets Options.Logger, for the backend too.
func WithLogger(l *slog.Logger) Option { return func(o *Options) { o.Logger = l } }

// WithClock sets Options.Now, for the backend too.
func WithClock(now func() time.Time) Option { return func(o *Options) { o.Now = now } }

// WithRetention sets Options.Retention.
func WithRetention(d time.Duration) Option { return func(o *Options) { o.Retention = d } }

// Open opens the bus at url, such as "embedded:./data"; "" takes the url from the environment variable RSTREAMS_BUS. Any other
// scheme, and a url that is nowhere given, is an error that names what is accepted (config.ErrURL). ctx bounds the opening
// only. The caller closes the bus.
func Open(ctx context.Context, url string, opts ...Option) (*Bus, error) {
	var o Options
	for _, opt := range opts {
		opt(&o)
	}
	backend, err := config.Open(ctx, url, config.Options{Now: o.Now, Logger: o.Logger})
	if err != nil {
		return nil, wrap("open bus", "", "", err)
	}
	b := New(backend.Store, o)
	var once sync.Once
	var closed error
	b.core.release = func(ctx context.Context) error {
		once.Do(func() { closed = backend.Close(ctx) })
		return closed
	}
	return b, nil
}
