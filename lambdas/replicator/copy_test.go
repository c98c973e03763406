package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/replicate"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// invoke runs a bot as the bus does: it registers it, takes its lock and hands over the payload.
func invoke(t *testing.T, from *rstreamstest.Bus, c *copier, r store.Registration) store.Bot {
	t.Helper()
	bots := from.Store().Bots
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(bots.Register(t.Context(), r))
	row, err := bots.Get(t.Context(), r.ID)
	check(err)
	lock := dispatch.LockFor(row, time.Now())
	check(bots.Lock(t.Context(), lock))
	row, err = bots.Get(t.Context(), r.ID)
	check(err)
	payload, err := dispatch.Payload(row, lock.At)
	check(err)
	h, err := bot.NewLambda(from.Bus, bot.LambdaConfig{Lines: io.Discard, Runner: bot.RunnerConfig{Logger: slog.New(slog.NewTextHandler(t.Output(), nil))}}, bot.Bot{ID: "replicator", Run: c.run})
	check(err)
	_, err = h.Invoke(t.Context(), payload)
	check(err)
	row, err = bots.Get(t.Context(), r.ID)
	check(err)
	return row
}

func route(t *testing.T, destination string) store.Registration {
	t.Helper()
	r, err := replicate.Route{Source: "orders", Destination: destination, Account: "1", Stack: "far", Region: "eu-west-1", Role: "arn:role"}.
		Registration("copier")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheFunctionCopiesForTheBotThatItIsInvokedFor(t *testing.T) {
	from, to := rstreamstest.New(t), rstreamstest.New(t)
	from.Put("orders", "a", "b")
	r := route(t, "copy")
	closed := false
	c := &copier{resources: awsbus.Resources{Region: "us-east-1", LeoStream: "s"}, logger: slog.Default(),
		open: func(_ context.Context, s replicate.Settings, bot, region string, _ *slog.Logger) (*destination, error) {
			if s.Role != "arn:role" || s.Stack != "far" || s.Region != "eu-west-1" || bot != r.ID || region != "us-east-1" {
				t.Errorf("opened %+v for %s in %s", s, bot, region)
			}
			return &destination{bus: to.Bus, close: func(context.Context) error { closed = true; return nil }}, nil
		}}
	row := invoke(t, from, c, r)
	if row.Instance.Status != store.StatusComplete || row.Read["queue:orders"].Position == "" || !closed {
		t.Errorf("got %+v, closed %v", row, closed)
	}
	n := 0
	for e, err := range to.Read(t.Context(), "copy", rstreams.ReadOptions{Start: "z/"}) {
		if n++; err != nil || e.Bot != r.ID || e.Correlation == nil || e.Correlation.Source != "orders" {
			t.Errorf("%v, %+v", err, e)
		}
	}
	if n != 2 {
		t.Errorf("%d copies", n)
	}
}

func TestARunThatCannotCopyFails(t *testing.T) {
	from := rstreamstest.New(t)
	own := awsbus.Resources{Region: "us-east-1", LeoStream: "s"}
	for name, c := range map[string]struct {
		open error
		to   awsbus.Resources
		r    func(*store.Registration)
	}{
		"role": {open: fmt.Errorf("%w: no role", store.ErrUnavailable)},
		"itself": {to: own, r: func(r *store.Registration) {
			r.Settings = []byte(strings.ReplaceAll(string(r.Settings), "copy", "orders"))
		}},
		"settings": {r: func(r *store.Registration) { r.Settings = nil }},
	} {
		r := route(t, "copy")
		r.ID = name
		if c.r != nil {
			c.r(&r)
		}
		row := invoke(t, from, &copier{resources: own, logger: slog.Default(),
			open: func(context.Context, replicate.Settings, string, string, *slog.Logger) (*destination, error) {
				return &destination{bus: from.Bus, resources: c.to, close: func(context.Context) error { return nil }}, c.open
			}}, r)
		if row.Instance.Status != store.StatusError || row.ErrorCount != 1 {
			t.Errorf("%s: got %+v", name, row.Instance)
		}
	}
}

type stacks map[string]string

func (s stacks) DescribeStacks(
	context.Context, *cloudformation.DescribeStacksInput, ...func(*cloudformation.Options),
) (*cloudformation.DescribeStacksOutput, error) {
	if s == nil {
		return nil, errors.New("access denied")
	}
	var out types.Stack
	for k, v := range s {
		out.Outputs = append(out.Outputs, types.Output{OutputKey: awssdk.String(k), OutputValue: awssdk.String(v)})
	}
	return &cloudformation.DescribeStacksOutput{Stacks: []types.Stack{out}}, nil
}

func TestTheDestinationIsFoundByTheOutputsOfItsStack(t *testing.T) {
	var full stacks
	if err := json.Unmarshal([]byte(`{"LeoStream":"s","LeoCron":"c","LeoEvent":"e","LeoS3":"b","LeoKinesisStream":"k","LeoFirehoseStream":"f"}`), &full); err != nil {
		t.Fatal(err)
	}
	s := replicate.Settings{Stack: "far", Role: "arn:role"}
	if r, err := outputs(t.Context(), full, s, "eu-west-1"); err != nil || r.Region != "eu-west-1" || r.LeoKinesisStream != "k" {
		t.Errorf("%v, %+v", err, r)
	}
	delete(full, "LeoCron")
	if _, err := outputs(t.Context(), full, s, "eu-west-1"); !errors.Is(err, awsbus.ErrConfig) || !strings.Contains(err.Error(), "LeoCron") {
		t.Error(err)
	}
	if _, err := outputs(t.Context(), stacks(nil), s, "eu-west-1"); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "arn:role") {
		t.Error(err)
	}
}

func TestSessionsAreNamedAfterTheBot(t *testing.T) {
	for id, want := range map[string]string{"replicate-a/b:c-to-1-x-y": "rstreams-replicate-a-b-c-to-1-x-y", "ä": "rstreams-"} {
		if got := sessionName(id); got != want {
			t.Errorf("%q: %q", id, got)
		}
	}
	if got := sessionName(strings.Repeat("x", 200)); len(got) > 64 {
		t.Error(got)
	}
}
