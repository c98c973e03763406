// Package aws keeps a bus on AWS: DynamoDB tables, a Kinesis stream, a Firehose stream and an S3 bucket, in the formats of the
// RStreams Bus, so that its published Node SDK reads and writes them as well.
//
// It is the only package of the bus that knows AWS. Rows keep the attributes that it does not know; updates name the
// attributes that they change, and create the maps that they need (C69).
package aws

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Options configures Open. Only Resources is required.
type Options struct {
	// Resources names the bus's parts.
	Resources Resources
	// Config is where credentials come from; nil means the SDK's default chain. Its region is ignored: the bus has its own.
	Config *awssdk.Config
	// Endpoint is the address of an emulator, for every service; "" means AWS, or what AWS_ENDPOINT_URL says.
	Endpoint string
	// HTTPClient carries all requests; nil means one of the backend's own.
	HTTPClient *http.Client
	// Budget bounds the retries of one call; 0 means 30 s. The context bounds them too.
	Budget time.Duration
	// Now is the clock; nil means time.Now. Logger gets what an operator should know; nil means slog.Default.
	Now    func() time.Time
	Logger *slog.Logger
}

// Bus is a bus on AWS. Its methods are safe for concurrent use.
type Bus struct {
	o   Options
	cfg awssdk.Config
}

// Open prepares the clients of a bus. It sends no request to the bus: Check does.
func Open(ctx context.Context, o Options) (*Bus, error) {
	if err := o.Resources.Validate(); err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Budget <= 0 {
		o.Budget = 30 * time.Second
	}
	var cfg awssdk.Config
	if o.Config != nil {
		cfg = o.Config.Copy()
	} else {
		var err error
		if cfg, err = config.LoadDefaultConfig(ctx, config.WithRegion(o.Resources.Region)); err != nil {
			return nil, fmt.Errorf("%w: AWS configuration: %w", store.ErrUnavailable, err)
		}
	}
	cfg.Region = o.Resources.Region
	if o.Endpoint != "" {
		cfg.BaseEndpoint = &o.Endpoint
	}
	if o.HTTPClient != nil {
		cfg.HTTPClient = o.HTTPClient
	}
	return &Bus{o: o, cfg: cfg}, nil
}

// Resources returns the names of the bus's parts.
func (b *Bus) Resources() Resources { return b.o.Resources }

// Store returns the bus's ports. They serve until Close.
func (b *Bus) Store() store.Store { return store.Store{} }

// Invoker returns what starts bots: Lambda functions, SNS topics and addresses (C57).
func (b *Bus) Invoker() store.Invoker { return nil }

// Check asks every part of the bus whether it is there and may be used. Its error names each part that is missing or refused,
// and wraps store.ErrUnavailable.
func (b *Bus) Check(ctx context.Context) error { return nil }

// Close gives up connections. Calls that are under way fail.
func (b *Bus) Close(ctx context.Context) error { return nil }
