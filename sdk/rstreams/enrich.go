package rstreams

import (
	"context"
	"fmt"
	"time"
)

// Handler turns an event into what is to be written because of it. It is called for one event at a time, in the order of the
// queue. ctx is the run's context: it does not end when the run is only to stop soon. See Result and the errors beside it for
// what it may return.
type Handler func(ctx context.Context, e Event) (Result, error)

// BatchHandler is a Handler for several consecutive events of one queue at a time. What it emits is derived from all of them.
type BatchHandler func(ctx context.Context, events []Event) (Result, error)

// EnrichOptions configures Enrich and EnrichBatch. Bot and From are required.
type EnrichOptions struct {
	// Bot is whose checkpoints are read and moved, and who writes the derived events; "" means the session's.
	Bot string
	// From are the queues that are read. Each has its own checkpoint, and they are read at the same time; the handler is
	// still called for one event, or batch, at a time.
	From []string
	// To is where results go that name no queue. It may be empty if all do.
	To string
	// Read says what to read of each queue. Its Bot is ignored. With a Start, the checkpoint may move back to it.
	Read ReadOptions
	// Write tunes the writer. Its Bot and Queue are ignored.
	Write WriterOptions
	// Batch says how much EnrichBatch hands over at a time.
	Batch BatchOptions
	// CheckpointEvery is how often checkpoints are stored while the run lasts, besides at its end; 0 means 1 s, less than 0
	// means at the end only.
	CheckpointEvery time.Duration
}

// BatchOptions says when a batch is handed over: as soon as one of its bounds is reached, and at the end of the read.
type BatchOptions struct {
	// Records and Bytes are events and the size of their payloads; 0 means 1000 and 1 MiB.
	Records, Bytes int
	// Linger is how long an event waits for others; 0 means 1 s.
	Linger time.Duration
}

// RunStats tells what a run of Enrich or Offload did.
type RunStats struct {
	// Events were handed to the handler and dealt with, Outputs written because of them, DeadLetters given up on.
	Events, Outputs, DeadLetters int64
	// Retries counts calls repeated after RetryAfter.
	Retries int64
	// Checkpoints holds the stored position of each source queue, "" where none was stored.
	Checkpoints map[string]string
	// Reasons tells for each source queue why its read ended.
	Reasons map[string]EndReason
}

// Enrich reads queues from the bot's checkpoints on, calls h for each event and writes what it returns. Derived events carry
// the bot, the source event's id as their correlation, and its source timestamp (sdk.md 5.2, 5.3).
//
// A checkpoint moves past an event once everything derived from it, and from the events before it, is durable; so a crash at
// any point repeats events and loses none (C6). Checkpoints are conditional: if another run of the bot moves one, this run
// ends with ErrStaleCheckpoint.
//
// Enrich returns when every queue's read has ended (see Reader.All) and all work is checkpointed. When ctx ends, it returns
// at once and checkpoints nothing more; for an orderly end set Session.StopAt or Stop. After an error of the handler, what
// was handled before is still finished and checkpointed.
func (b *Bus) Enrich(ctx context.Context, o EnrichOptions, h Handler) (RunStats, error) {
	return b.pipe(ctx, "enrich", o, 1, func(ctx context.Context, events []Event) (Result, error) { return h(ctx, events[0]) })
}

// EnrichBatch is Enrich for a handler of batches. A batch holds events of one queue; it counts as handled as a whole, unless
// the handler returns HandledFirst.
func (b *Bus) EnrichBatch(ctx context.Context, o EnrichOptions, h BatchHandler) (RunStats, error) {
	return b.pipe(ctx, "enrich", o, batchRecords(o.Batch), h)
}

// OffloadOptions configures Offload and OffloadBatch. Bot and From are required. The fields are those of EnrichOptions.
type OffloadOptions struct {
	// Bot is whose checkpoints are read and moved; "" means the session's. From are the queues that are read.
	Bot  string
	From []string
	// Read, Batch and CheckpointEvery are as in EnrichOptions.
	Read            ReadOptions
	Batch           BatchOptions
	CheckpointEvery time.Duration
}

// Offload reads queues from the bot's checkpoints on and calls h for each event: for work that ends outside the bus. A nil
// error means that the event is dealt with; its checkpoint may then be stored. Otherwise it is Enrich.
func (b *Bus) Offload(ctx context.Context, o OffloadOptions, h func(ctx context.Context, e Event) error) (RunStats, error) {
	return b.pipe(ctx, "offload", o.enrich(), 1, func(ctx context.Context, events []Event) (Result, error) {
		return Handled(), h(ctx, events[0])
	})
}

// OffloadBatch is Offload for a handler of batches, such as one that writes to a database.
func (b *Bus) OffloadBatch(
	ctx context.Context, o OffloadOptions, h func(ctx context.Context, events []Event) error,
) (RunStats, error) {
	return b.pipe(ctx, "offload", o.enrich(), batchRecords(o.Batch), func(ctx context.Context, events []Event) (Result, error) {
		return Handled(), h(ctx, events)
	})
}

func (o OffloadOptions) enrich() EnrichOptions {
	return EnrichOptions{Bot: o.Bot, From: o.From, Read: o.Read, Batch: o.Batch, CheckpointEvery: o.CheckpointEvery}
}

const (
	defaultBatchRecords = 1000
	defaultBatchBytes   = 1 << 20
	defaultBatchLinger  = time.Second
	defaultCheckpoint   = time.Second
)

func batchRecords(o BatchOptions) int {
	if o.Records == 0 {
		return defaultBatchRecords
	}
	return o.Records
}

// check reports what is wrong with the options.
func (o *EnrichOptions) check() error {
	switch {
	case o.Bot == "":
		return fmt.Errorf("%w: no bot is named, here or in the session", errOptions)
	case len(o.From) == 0:
		return fmt.Errorf("%w: From names no queue", errOptions)
	case o.Batch.Records < 0 || o.Batch.Bytes < 0 || o.Batch.Linger < 0:
		return fmt.Errorf("%w: bounds of a batch must not be negative", errOptions)
	}
	return nil
}
