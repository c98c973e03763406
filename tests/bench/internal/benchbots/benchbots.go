// Package benchbots has the bots of the benchmark on AWS, for the program that runs them and the app that deploys them.
package benchbots

import (
	"context"
	"fmt"
	"time"

	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// Pipelines is how many queues the bulk workload has. Each has a bot that copies it to another queue.
const Pipelines = 4

// The queue of single events, and the one in which its bot answers.
const (
	Asked    = "bench.asked"
	Answered = "bench.answered"
)

// Sources is what the names of all sources begin with.
const Sources = "bench.source."

// Source returns the queue that pipeline n reads, from 0, Derived the one that it writes.
func Source(n int) string { return fmt.Sprintf("%s%d", Sources, n) }

// Derived returns the queue that pipeline n writes.
func Derived(n int) string { return fmt.Sprintf("bench.derived.%d", n) }

// Question is an event of Asked. Sent is when it was written, in µs since 1970.
type Question struct {
	Sent int64 `json:"sent"`
}

// Answer is the event of Answered for it. Handled is when the bot's code had the question.
type Answer struct {
	Sent    int64 `json:"sent"`
	Handled int64 `json:"handled"`
}

// All returns the bots.
func All() []bot.Bot {
	bots := []bot.Bot{{
		ID: "bench-answer", Triggers: []string{Asked}, Writes: []string{Answered}, Timeout: time.Minute,
		Run: enrich(Asked, Answered, rstreams.HandlerOf(func(_ context.Context, q Question, _ rstreams.Event) (rstreams.Result, error) {
			return rstreams.Emit(Answer{Sent: q.Sent, Handled: time.Now().UnixMicro()}), nil
		})),
	}}
	for n := range Pipelines {
		bots = append(bots, bot.Bot{
			ID: fmt.Sprintf("bench-enrich-%d", n), Triggers: []string{Source(n)}, Writes: []string{Derived(n)}, Timeout: 5 * time.Minute,
			Run: enrich(Source(n), Derived(n), func(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
				return rstreams.Emit(e.Payload), nil
			}),
		})
	}
	return bots
}

func enrich(from, to string, each rstreams.Handler) func(context.Context, *bot.Run) error {
	return func(ctx context.Context, run *bot.Run) error {
		_, err := run.Bus.Enrich(ctx, rstreams.EnrichOptions{
			From: []string{from}, To: to, Read: rstreams.ReadOptions{From: rstreams.Earliest()},
		}, each)
		return err
	}
}
