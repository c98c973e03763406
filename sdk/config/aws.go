package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go/logging"

	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
)

// endpointEnv is the AWS SDKs' own variable for the address of every service.
const endpointEnv = "AWS_ENDPOINT_URL"

// roleEnv names a role of the bus's account that a program elsewhere takes on to use the bus.
const roleEnv = "RSTREAMS_ROLE"

// openAWS finds a bus on AWS and opens it.
func openAWS(ctx context.Context, p Place, o Options) (*Backend, error) {
	found, err := find(ctx, p, o.Find)
	if err != nil {
		return nil, err
	}
	endpoint := found.Endpoint
	if endpoint == "" {
		endpoint = o.Find.getenv(endpointEnv)
	}
	if err := reach(ctx, endpoint); err != nil {
		return nil, err
	}
	sdk, err := loadAWS(ctx, o.Find, found.Resources.Region, endpoint)
	if o.Logger != nil {
		sdk.Logger = sdkLogger(o.Logger)
	}
	if err != nil {
		return nil, err
	}
	if role := o.Find.getenv(roleEnv); role != "" {
		sdk.Credentials = awssdk.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(sdk), role))
	}
	bus, err := awsbus.Open(ctx, awsbus.Options{
		Resources: found.Resources, Config: &sdk, Endpoint: endpoint, Budget: o.Budget, Now: o.Now, Logger: o.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("open the bus of %s: %w", found.Source, err)
	}
	st := bus.Store()
	if o.Find.getenv("AWS_LAMBDA_RUNTIME_API") != "" {
		// A table's stream has room for two readers, and they are the bus's own functions; bots have no rights to it either.
		// Reads that follow look at the queue's row instead.
		st.Feed = nil
	}
	return &Backend{Place: p, Store: st, Host: host(bus, o), Check: bus.Check, Close: bus.Close}, nil
}

// loadAWS returns the SDK's own configuration. An emulator needs no credentials, but requests must be signed: unless there is a key in
// the environment they are signed with made-up ones. Those of a profile are an account's, and no business of what listens there.
func loadAWS(ctx context.Context, o FindOptions, region, endpoint string) (awssdk.Config, error) {
	opts := []func(*awsconfig.LoadOptions) error{awsconfig.WithLogger(sdkLogger(slog.Default()))}
	if region != "" {
		opts = append(opts, awsconfig.WithRegion(region))
	}
	if emulator(endpoint) && o.getenv("AWS_ACCESS_KEY_ID") == "" {
		opts = append(opts, awsconfig.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("test", "test", "")))
	}
	sdk, err := awsconfig.LoadDefaultConfig(ctx, opts...)
	if err != nil {
		return awssdk.Config{}, fmt.Errorf("%w: the AWS configuration of this machine: %w", store.ErrUnavailable, err)
	}
	if endpoint != "" {
		sdk.BaseEndpoint = &endpoint
	}
	return sdk, nil
}

// sdkLogger passes on what the AWS SDK notes, such as connections that were closed early: nothing that an operator must know, as
// failures are errors.
func sdkLogger(l *slog.Logger) logging.Logger {
	return logging.LoggerFunc(func(kind logging.Classification, format string, v ...any) {
		l.Debug(fmt.Sprintf(format, v...), "from", "AWS SDK", "kind", string(kind))
	})
}

// emulator tells whether an endpoint is no service of AWS: it is spoken to without TLS.
func emulator(endpoint string) bool {
	u, err := url.Parse(endpoint)
	return err == nil && u.Scheme == "http"
}

// reachTime is how long an emulator on this machine may take to accept a connection.
const reachTime = 3 * time.Second

// reach finds out at once, and not after half a minute of retries, that an emulator on this machine is not running.
func reach(ctx context.Context, endpoint string) error {
	if endpoint == "" {
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%w: the endpoint %q is no address; want one such as http://127.0.0.1:4566", awsbus.ErrConfig, endpoint)
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme != "http" || u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil
	}
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "80")
	}
	ctx, cancel := context.WithTimeout(ctx, reachTime)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Err != nil {
			err = op.Err
		}
		return fmt.Errorf("%w: the emulator at %s does not answer (%w); start it with `scripts/localstack up`, or correct its address "+
			"(Endpoint in the bus's configuration, or %s)", store.ErrUnavailable, endpoint, err, endpointEnv)
	}
	return conn.Close()
}

// getenv reads the environment.
func (o FindOptions) getenv(name string) string {
	if o.Getenv != nil {
		return o.Getenv(name)
	}
	return os.Getenv(name)
}
