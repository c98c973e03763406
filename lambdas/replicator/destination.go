package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/sdk/replicate"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// openDestination assumes the other bus's bot role, reads the outputs of its stack and opens it. The credentials are renewed before
// they end, for as long as the bus is open.
func openDestination(ctx context.Context, s replicate.Settings, bot, region string, logger *slog.Logger) (*destination, error) {
	if s.Region != "" {
		region = s.Region
	}
	own, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: AWS configuration: %w", store.ErrUnavailable, err)
	}
	cfg := own.Copy()
	cfg.Region = region
	cfg.Credentials = awssdk.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(own), s.Role,
		func(o *stscreds.AssumeRoleOptions) { o.RoleSessionName = sessionName(bot) }))
	resources, err := outputs(ctx, cloudformation.NewFromConfig(cfg), s, region)
	if err != nil {
		return nil, err
	}
	bus, err := awsbus.Open(ctx, awsbus.Options{Resources: resources, Config: &cfg, Logger: logger})
	if err != nil {
		return nil, fmt.Errorf("outputs of stack %s in %s: %w", s.Stack, region, err)
	}
	return &destination{
		bus: rstreams.New(bus.Store(), rstreams.Options{Logger: logger}), resources: resources, close: bus.Close,
	}, nil
}

// describer is the part of CloudFormation that is used.
type describer interface {
	DescribeStacks(context.Context, *cloudformation.DescribeStacksInput, ...func(*cloudformation.Options)) (*cloudformation.DescribeStacksOutput, error)
}

// outputs reads the resources of the other bus.
func outputs(ctx context.Context, client describer, s replicate.Settings, region string) (awsbus.Resources, error) {
	out, err := client.DescribeStacks(ctx, &cloudformation.DescribeStacksInput{StackName: &s.Stack})
	if err != nil {
		return awsbus.Resources{}, fmt.Errorf(
			"%w: the outputs of stack %s in %s cannot be read as %s (the role must trust this function's role and permit cloudformation:DescribeStacks): %w",
			store.ErrUnavailable, s.Stack, region, s.Role, err)
	}
	names := map[string]string{}
	for _, stack := range out.Stacks {
		for _, o := range stack.Outputs {
			names[awssdk.ToString(o.OutputKey)] = awssdk.ToString(o.OutputValue)
		}
	}
	if names["Region"] == "" {
		names["Region"] = region
	}
	text, err := json.Marshal(names)
	if err != nil {
		return awsbus.Resources{}, err
	}
	resources, err := awsbus.ParseResources(text)
	if err == nil {
		err = resources.Validate()
	}
	if err != nil {
		return awsbus.Resources{}, fmt.Errorf("stack %s in %s is no bus: %w", s.Stack, region, err)
	}
	return resources, nil
}

// notInSessionNames is what STS does not take in the name of a session.
var notInSessionNames = regexp.MustCompile(`[^\w+=,.@-]+`)

// sessionName returns the name under which the other account's logs show the bot: 2 to 64 characters.
func sessionName(bot string) string {
	name := strings.Trim(notInSessionNames.ReplaceAllString(bot, "-"), "-")
	return "rstreams-" + name[:min(len(name), 50)]
}
