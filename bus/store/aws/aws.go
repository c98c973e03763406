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
	"sync"
	"sync/atomic"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

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
	// transport is the bus's own, nil if the caller brought a client.
	transport *http.Transport
	// closing is done once Close was called.
	closing context.Context
	close   context.CancelFunc
	// dynamo, store and invoker are made at their first use: a program that only starts bots sets up no more than it needs.
	dynamo  func() *dynamodb.Client
	store   func() store.Store
	invoker func() store.Invoker
	// apartUntil is until when, in ms, rows are not written together; see writeTogether.
	apartUntil atomic.Int64
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
	b := &Bus{o: o, cfg: cfg}
	if cfg.HTTPClient == nil {
		cfg.HTTPClient = awshttp.NewBuildableClient()
	}
	if c, ok := cfg.HTTPClient.(*awshttp.BuildableClient); ok {
		t := c.GetTransport()
		t.MaxIdleConns, t.MaxIdleConnsPerHost = 0, idleConnections
		b.transport = t
		b.cfg.HTTPClient = &http.Client{Transport: t, Timeout: c.GetTimeout(), CheckRedirect: sameMethod}
	}
	b.closing, b.close = context.WithCancel(context.Background())
	b.dynamo = sync.OnceValue(func() *dynamodb.Client {
		return dynamodb.NewFromConfig(b.cfg, func(o *dynamodb.Options) { o.Retryer = once })
	})
	b.store = sync.OnceValue(func() store.Store {
		queues := newQueues(b)
		return store.Store{
			Chunks: newChunks(b), Queues: queues, Bots: newBots(b), Settings: newSettings(b), Systems: newSystems(b),
			Blobs: newBlobs(b), Feed: newFeed(b), Intake: newIntake(b), Firehose: newFirehose(b),
			Look: b.look, ClaimAll: queues.claimAll,
		}
	})
	b.invoker = sync.OnceValue(func() store.Invoker { return newInvoker(b) })
	return b, nil
}

// idleConnections is how many connections to one service are kept open. The SDK's limit is below what a sequencer or a
// dispatcher has under way.
const idleConnections = 64

// sameMethod follows redirections that repeat the request as it is, and no others, as the SDK's own client does.
func sameMethod(r *http.Request, _ []*http.Request) error {
	if r.Response != nil && (r.Response.StatusCode == http.StatusTemporaryRedirect || r.Response.StatusCode == http.StatusPermanentRedirect) {
		return nil
	}
	return http.ErrUseLastResponse
}

// Resources returns the names of the bus's parts.
func (b *Bus) Resources() Resources { return b.o.Resources }

// Store returns the bus's ports. Atomic is nil: every call is durable on its own. They serve until Close.
func (b *Bus) Store() store.Store { return b.store() }

// Invoker returns what starts bots: Lambda functions, SNS topics and addresses (C57).
func (b *Bus) Invoker() store.Invoker { return b.invoker() }

// Check asks every part of the bus whether it is there and may be used. Its error names each part that is missing or refused,
// and wraps store.ErrUnavailable.
func (b *Bus) Check(ctx context.Context) error { return b.check(ctx) }

// Close gives up connections. Calls that are under way fail, and so do later ones. Closing again does nothing.
func (b *Bus) Close(context.Context) error {
	b.close()
	if b.transport != nil {
		b.transport.CloseIdleConnections()
	}
	return nil
}
