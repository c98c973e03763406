package aws

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/smithy-go"

	"github.com/rstreams-go/rstreams/bus/store"
)

const (
	// maxPayload is the most bytes that an asynchronous invocation and an SNS message take.
	maxPayload = 256 << 10
	// postTimeout is how long the answer to a POST is waited for. Whoever has the whole request may run as long as it likes. It must be
	// less than the dispatchers' patience: what they give up counts as failed.
	postTimeout = 4 * time.Second
)

// invoker starts bots that are Lambda functions, subscribers of SNS topics, or web addresses (C57), in any region and account.
//
// A run begins with store.Bots.Confirm. An invocation that was accepted although its answer was lost is therefore no run: the
// dispatcher ends it when it gets the error (W-P5), and its Confirm is refused then.
type invoker struct {
	bus *Bus

	mu      sync.Mutex
	lambdas map[string]*lambda.Client // by region
	topics  map[string]*sns.Client
	posts   *http.Client
}

func newInvoker(b *Bus) store.Invoker {
	posts := &http.Client{
		Timeout: postTimeout,
		// Following would post again, or not at all, depending on the status.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	switch {
	case b.o.HTTPClient != nil:
		posts.Transport = b.o.HTTPClient.Transport
	case b.transport != nil:
		posts.Transport = b.transport
	}
	return &invoker{bus: b, lambdas: map[string]*lambda.Client{}, topics: map[string]*sns.Client{}, posts: posts}
}

// Invoke implements store.Invoker.
func (v *invoker) Invoke(ctx context.Context, bot store.Bot, payload []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	target := bot.Invocation
	switch target.Type {
	case "lambda":
		return v.lambda(ctx, bot.ID, target, payload)
	case "sns":
		return v.publish(ctx, bot.ID, target.ARN, payload)
	case "url":
		return v.post(ctx, bot.ID, target.URL, payload)
	case "fargate":
		return fmt.Errorf("%w invocation of bot %s: this bus does not start Fargate tasks; let a Lambda function start it", store.ErrInvalid, bot.ID)
	case "local":
		return fmt.Errorf("%w invocation of bot %s: it runs in the process that declares it, which a bus on AWS cannot reach", store.ErrInvalid, bot.ID)
	}
	return fmt.Errorf("%w invocation of bot %s: type %q is none of lambda, sns, url", store.ErrInvalid, bot.ID, target.Type)
}

func (v *invoker) lambda(ctx context.Context, bot string, target store.Invocation, payload []byte) error {
	if target.Lambda == "" {
		return fmt.Errorf("%w invocation of bot %s: it names no function", store.ErrInvalid, bot)
	}
	if len(payload) > maxPayload {
		return payloadTooLarge(bot, payload)
	}
	in := &lambda.InvokeInput{
		FunctionName: &target.Lambda, InvocationType: lambdatypes.InvocationTypeEvent, Payload: payload,
	}
	if target.Qualifier != "" {
		in.Qualifier = &target.Qualifier
	}
	c := client(v, v.lambdas, target.Lambda, func(cfg awssdk.Config) *lambda.Client {
		return lambda.NewFromConfig(cfg, func(o *lambda.Options) { o.Retryer = once })
	})
	out, err := ask(ctx, v.bus, func(ctx context.Context) (*lambda.InvokeOutput, error) { return c.Invoke(ctx, in) })
	if err != nil {
		return v.classify(bot, "function "+target.Lambda, err)
	}
	if out.StatusCode/100 != 2 || out.FunctionError != nil {
		return fmt.Errorf("invoke bot %s: function %s: status %d, error %q", bot, target.Lambda, out.StatusCode, awssdk.ToString(out.FunctionError))
	}
	return nil
}

func (v *invoker) publish(ctx context.Context, bot, topic string, payload []byte) error {
	if topic == "" {
		return fmt.Errorf("%w invocation of bot %s: it names no SNS topic", store.ErrInvalid, bot)
	}
	if len(payload) > maxPayload {
		return payloadTooLarge(bot, payload)
	}
	c := client(v, v.topics, topic, func(cfg awssdk.Config) *sns.Client {
		return sns.NewFromConfig(cfg, func(o *sns.Options) { o.Retryer = once })
	})
	in := &sns.PublishInput{TopicArn: &topic, Message: awssdk.String(string(payload))}
	if _, err := ask(ctx, v.bus, func(ctx context.Context) (*sns.PublishOutput, error) { return c.Publish(ctx, in) }); err != nil {
		return v.classify(bot, "topic "+topic, err)
	}
	return nil
}

// client returns the client for the region of a resource.
func client[C any](v *invoker, known map[string]*C, name string, make func(awssdk.Config) *C) *C {
	region := regionOf(name, v.bus.o.Resources.Region)
	v.mu.Lock()
	defer v.mu.Unlock()
	c := known[region]
	if c == nil {
		cfg := v.bus.cfg.Copy()
		cfg.Region = region
		c = make(cfg)
		known[region] = c
	}
	return c
}

// regionOf returns the region of an ARN, and that of the bus for a name.
func regionOf(name, region string) string {
	if parts := strings.SplitN(name, ":", 6); len(parts) == 6 && parts[0] == "arn" && parts[3] != "" {
		return parts[3]
	}
	return region
}

// post hands the payload to an address. Once it has all of the request, it has the run, whether it answers soon or not.
func (v *invoker) post(ctx context.Context, bot, address string, payload []byte) error {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return fmt.Errorf("%w invocation of bot %s: %q is no http or https address", store.ErrInvalid, bot, address)
	}
	var sent atomic.Bool
	tracing := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(i httptrace.WroteRequestInfo) { sent.Store(i.Err == nil) },
	})
	req, err := http.NewRequestWithContext(tracing, http.MethodPost, address, bytes.NewReader(payload))
	if err != nil {
		return fmt.Errorf("%w invocation of bot %s: %w", store.ErrInvalid, bot, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.GetBody = nil // Never sent again behind our back.
	resp, err := v.posts.Do(req)
	if err != nil {
		var timeout interface{ Timeout() bool }
		if sent.Load() && errors.As(err, &timeout) && timeout.Timeout() && ctx.Err() == nil {
			return nil
		}
		return fmt.Errorf("invoke bot %s: %s", bot, flat(redact(u, err)))
	}
	defer resp.Body.Close() //nolint:errcheck // Nothing more is asked of it.
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200)) // A hint at most.
		return fmt.Errorf("invoke bot %s: %s://%s answered %s: %s", bot, u.Scheme, u.Host, resp.Status, flat(string(text)))
	}
	return nil
}

// redact returns the error's text without the address, whose path and query may hold a secret.
func redact(u *url.URL, err error) string {
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return u.Scheme + "://" + u.Host + ": " + err.Error()
}

func payloadTooLarge(bot string, payload []byte) error {
	return fmt.Errorf("%w: the payload for bot %s has %d bytes, at most %d; make its settings smaller", store.ErrTooLarge, bot, len(payload), maxPayload)
}

// classify explains the common refusals.
func (v *invoker) classify(bot, target string, err error) error {
	op := "invoke bot " + bot
	var api smithy.APIError
	if errors.As(err, &api) {
		switch api.ErrorCode() {
		case "ResourceNotFoundException", "NotFound", "NotFoundException":
			return fmt.Errorf("%s: %s: %w: it is not there; deploy it, or register the bot anew", op, target, store.ErrNotFound)
		case "RequestTooLargeException":
			return fmt.Errorf("%s: %s: %w: %s", op, target, store.ErrTooLarge, flat(api.ErrorMessage()))
		}
	}
	return v.bus.classify(op+": "+target, err)
}
