// Package testbots has the bots of the end-to-end test. They are ordinary values of sdk/bot: tests/aws/bots makes the program of
// them, and tests/aws/app the Lambda functions.
package testbots

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// The queues of the set Pipeline.
const (
	Orders    = "e2e.orders" // -> Priced -> Shipped
	Priced    = "e2e.priced"
	Shipped   = "e2e.shipped"
	Ticks     = "e2e.ticks" // written by the clock
	Refused   = "e2e.refused"
	Accepted  = "e2e.accepted" // what Failing has of Refused
	Deadly    = "e2e.deadly"
	Survived  = "e2e.survived" // what Crashing has of Deadly
	Gated     = "e2e.gated"
	Released  = "e2e.released" // what Pausable has of Gated
	Mirrored  = "e2e.mirrored" // copied to the other bus
	Ingested  = "e2e.ingested" // what Loaded has of Delivered
	Delivered = "e2e.delivered"
)

// The bots of the set Pipeline.
const (
	Price    = "e2e-price"
	Ship     = "e2e-ship"
	Clock    = "e2e-clock"
	Failing  = "e2e-failing"
	Crashing = "e2e-crashing"
	Pausable = "e2e-pausable"
	Loaded   = "e2e-loaded"
)

// The bots of the sets First and Second.
const (
	Stays  = "e2e-stays" // in both, and changed
	Leaves = "e2e-leaves"
	Comes  = "e2e-comes"
)

// The sets of bots, each of which is a stack of its own.
const (
	Pipeline = "pipeline"
	// First and Second are the bots of one stack before and after a change.
	First  = "first"
	Second = "second"
)

// Failures is how often Failing fails for each run of events.
const Failures = 2

// CrashingTimeout is the time limit of Crashing, and so about how long the bus takes it for alive when it is not.
const CrashingTimeout = 6 * time.Second

// Settings are those of Price.
type Settings struct {
	// Factor is what prices are multiplied with.
	Factor int `json:"factor"`
}

// Order is an event of Orders, and of all queues that events pass through unchanged.
type Order struct {
	// Run names the run of the test, N counts its events from 0.
	Run string `json:"run"`
	N   int    `json:"n"`
	// Price is what Price has found.
	Price int `json:"price,omitempty"`
}

// Tick is an event of Ticks.
type Tick struct {
	// At is when the clock ran, in ms.
	At int64 `json:"at"`
}

// Bots returns the bots of a set, none for an unknown one.
func Bots(set string) []bot.Bot {
	switch set {
	case Pipeline:
		return []bot.Bot{
			{
				ID: Price, Triggers: []string{Orders}, Writes: []string{Priced}, Settings: Settings{Factor: 3}, Timeout: time.Minute,
				Run: price,
			},
			pass(Ship, Priced, Shipped),
			{ID: Clock, Schedule: "*/5 * * * * *", Writes: []string{Ticks}, Timeout: time.Minute, Run: tick},
			failing(), crashing(),
			pass(Pausable, Gated, Released),
			pass(Loaded, Delivered, Ingested),
		}
	case First:
		stays := pass(Stays, "e2e.stays", "e2e.stayed")
		stays.Description, stays.Tags = "before", []string{"old"}
		return []bot.Bot{stays, pass(Leaves, "e2e.leaves", "e2e.left")}
	case Second:
		stays := pass(Stays, "e2e.stays", "e2e.stayed")
		stays.Description, stays.Tags, stays.Timeout = "after", []string{"new"}, 2*time.Minute
		stays.Triggers = append(stays.Triggers, "e2e.more")
		return []bot.Bot{stays, pass(Comes, "e2e.comes", "e2e.came")}
	}
	return nil
}

// All returns the bots that a program must have for every set.
func All() []bot.Bot {
	return append(append(Bots(Pipeline), Bots(Second)...), Bots(First)[1])
}

// pass returns a bot that copies events from a queue to another.
func pass(id, from, to string) bot.Bot {
	return bot.Bot{
		ID: id, Triggers: []string{from}, Writes: []string{to}, Timeout: time.Minute,
		Run: func(ctx context.Context, run *bot.Run) error { return forward(ctx, run, from, to) },
	}
}

func forward(ctx context.Context, run *bot.Run, from, to string) error {
	_, err := run.Bus.Enrich(ctx, rstreams.EnrichOptions{
		From: []string{from}, To: to, Read: rstreams.ReadOptions{From: rstreams.Earliest()},
	}, func(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
		return rstreams.Emit(e.Payload), nil
	})
	return err
}

func price(ctx context.Context, run *bot.Run) error {
	var settings Settings
	if err := run.DecodeSettings(&settings); err != nil {
		return err
	}
	_, err := run.Bus.Enrich(ctx, rstreams.EnrichOptions{
		From: []string{Orders}, To: Priced, Read: rstreams.ReadOptions{From: rstreams.Earliest()},
	}, rstreams.HandlerOf(func(_ context.Context, o Order, _ rstreams.Event) (rstreams.Result, error) {
		o.Price = o.N * settings.Factor
		return rstreams.Emit(o), nil
	}))
	return err
}

func tick(ctx context.Context, run *bot.Run) error {
	w, err := run.Bus.NewWriter(rstreams.WriterOptions{Queue: Ticks})
	if err != nil {
		return err
	}
	_, err = w.Put(ctx, Tick{At: time.Now().UnixMilli()})
	return errors.Join(err, w.Close(ctx))
}

// failing returns a bot that fails until the bus has counted enough errors.
func failing() bot.Bot {
	b := pass(Failing, Refused, Accepted)
	b.Run = func(ctx context.Context, run *bot.Run) error {
		row, err := run.Bus.Store().Bots.Get(ctx, Failing)
		if err != nil {
			return err
		}
		if row.ErrorCount < Failures {
			return fmt.Errorf("failure %d, on purpose", row.ErrorCount+1)
		}
		return forward(ctx, run, Refused, Accepted)
	}
	return b
}

// crashing returns a bot whose process dies when it sees events of a run of the test for the first time.
func crashing() bot.Bot {
	b := pass(Crashing, Deadly, Survived)
	b.Timeout = CrashingTimeout
	b.Run = func(ctx context.Context, run *bot.Run) error {
		settings := run.Bus.Store().Settings
		for e, err := range run.Bus.Read(ctx, Deadly, rstreams.ReadOptions{Bot: Crashing, From: rstreams.Earliest()}) {
			if err != nil {
				return err
			}
			o, err := rstreams.Decode[Order](e)
			if err != nil {
				return err
			}
			note := CrashNote(o.Run)
			if _, err := settings.Get(ctx, note); !errors.Is(err, store.ErrNotFound) {
				if err != nil {
					return err
				}
				continue
			}
			if err := settings.Put(ctx, note, json.RawMessage("true")); err != nil {
				return err
			}
			os.Exit(3)
		}
		return forward(ctx, run, Deadly, Survived)
	}
	return b
}

// CrashNote is the setting in which Crashing notes that it died of a run's events.
func CrashNote(run string) string { return "e2e-crashed-" + run }
