package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"

	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/replicate"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// copier runs the copying bots.
type copier struct {
	// resources are those of this bus.
	resources awsbus.Resources
	logger    *slog.Logger
	open      func(ctx context.Context, s replicate.Settings, bot, region string, logger *slog.Logger) (*destination, error)
}

// destination is the other bus of one run.
type destination struct {
	bus       *rstreams.Bus
	resources awsbus.Resources
	close     func(context.Context) error
}

// errSettings reports a bot whose settings do not say what to copy where.
var errSettings = errors.New("settings of the bot")

func (c *copier) run(ctx context.Context, run *bot.Run) (err error) {
	id := botID(run)
	var s replicate.Settings
	if err := run.DecodeSettings(&s); err != nil {
		return err
	}
	for _, need := range []struct{ name, value string }{
		{"sourceQueue", s.Source}, {"destinationQueue", s.Destination}, {"destinationBusStack", s.Stack}, {"destinationLeoBotRoleArn", s.Role},
	} {
		if need.value == "" {
			return fmt.Errorf("%w: %s is not set; the register function sets it from %s", errSettings, need.name, replicate.ParameterMapping)
		}
	}
	to, err := c.open(ctx, s, id, c.resources.Region, c.logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.close(context.WithoutCancel(ctx))) }()
	if to.resources.LeoStream == c.resources.LeoStream && to.resources.Region == c.resources.Region && s.Source == s.Destination {
		return fmt.Errorf("%w: %s would be copied to itself", errSettings, s.Source)
	}
	stats, err := replicate.Run(ctx, replicate.Options{
		From: run.Bus, To: to.bus, Source: s.Source, Destination: s.Destination, Bot: id,
	})
	run.Logger.InfoContext(ctx, "copied", "source", s.Source, "destination", s.Destination, "stack", s.Stack,
		"events", stats.Events, "checkpoint", stats.Checkpoint, "reason", stats.Reason.String())
	if err == nil && stats.Reason == rstreams.EndTime {
		run.RunAgain()
	}
	return err
}

// botID returns the bot that the invocation is for: the same code runs for many.
func botID(run *bot.Run) string {
	var event struct {
		BotID string `json:"botId"`
		Cron  struct {
			ID string `json:"id"`
		} `json:"__cron"`
	}
	if json.Unmarshal(run.Event, &event) == nil {
		if event.Cron.ID != "" {
			return event.Cron.ID
		}
		if event.BotID != "" {
			return event.BotID
		}
	}
	return run.Bot.ID
}
