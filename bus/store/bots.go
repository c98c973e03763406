package store

import (
	"context"
	"encoding/json"
)

// Bot is a bot's row (bus.md 1.4).
type Bot struct {
	// ID is the plain bot id.
	ID string
	// Name, Description and Owner are labels.
	Name, Description, Owner string
	// Invocation is how the bot is run. A zero Type means that nothing can run it: it only has checkpoints.
	Invocation Invocation
	// Settings is the bot's settings object (lambda.settings[0]) as JSON, nil for none.
	Settings json.RawMessage
	// Schedule is a cron expression, "" for none; TimeZone is the IANA zone it is meant in, "" for UTC.
	Schedule, TimeZone string
	// Triggers are the queues that wake the bot, as references ("queue:q").
	Triggers []string
	// Paused bots are triggered but not run. Archived bots are neither. IgnorePaused lets a paused bot, or one that backs
	// off, run once; taking the lock removes it.
	Paused, Archived, IgnorePaused bool
	// Timeout is how long a run may take when the run itself did not say, in ms; 0 means 900000.
	Timeout int64
	// Delay is the least time between two invocations, in ms; 0 for none (W-O10).
	Delay int64
	// Tags are free labels.
	Tags []string
	// Extra are the row's other attributes as JSON, by name: configuration of other software, kept and not acted on.
	Extra map[string]json.RawMessage

	// Read and Write are the checkpoints by reference. An entry with an empty Position is a placeholder.
	Read, Write map[string]Checkpoint
	// Requested is, for each triggering reference, the newest head that was seen.
	Requested map[string]string

	// Trigger is when the bot was last asked to run, in ms: it runs when that is after the last invocation.
	Trigger int64
	// ScheduledTrigger is the earliest time of the next run, in ms; 0 for none.
	ScheduledTrigger int64
	// ErrorCount counts consecutive failed runs.
	ErrorCount int
	// InvokeTime and Token are of the newest lock. They are what the next lock is conditional on.
	InvokeTime, Token int64
	// Progress is the read checkpoint of every trigger when the newest lock was taken. Together with Requested at that
	// time (ProgressRequested) it tells whether the last run got anywhere (W-P9).
	Progress, ProgressRequested map[string]string
	// Stalls counts consecutive successful runs that moved no checkpoint although there was something to read.
	Stalls int
	// Instance is the state of the newest run.
	Instance Instance
}

// Invocation says how a bot is run.
type Invocation struct {
	// Type is "lambda", "local", "sns", "url", "none" or "".
	Type string `json:"type,omitempty"`
	// Lambda is a function name or ARN, Qualifier its version or alias.
	Lambda    string `json:"lambdaName,omitempty"`
	Qualifier string `json:"qualifier,omitempty"`
	// ARN is the SNS topic, URL the address to post to.
	ARN string `json:"arn,omitempty"`
	URL string `json:"url,omitempty"`
}

// Checkpoint is how far a bot came on a reference (bus.md 1.4.2).
type Checkpoint struct {
	// Position is an event id, or an opaque place in a system.
	Position string `json:"checkpoint"`
	// SourceTimestamp is the earliest source time of the events covered, StartedTimestamp and EndedTimestamp frame the
	// work; all in ms.
	SourceTimestamp  int64 `json:"source_timestamp"`
	StartedTimestamp int64 `json:"started_timestamp"`
	EndedTimestamp   int64 `json:"ended_timestamp"`
	// Records is the units since the checkpoint before.
	Records int64 `json:"records"`
}

// Instance is one run of a bot.
type Instance struct {
	// Token identifies the run; the lock sets it together with InvokeTime (ms).
	Token, InvokeTime int64
	// RequestID, StartTime (ms) and MaxDuration (ms) are set by the run itself when it starts. RequestID is "released" where the
	// run ended before that.
	RequestID              string
	StartTime, MaxDuration int64
	// CompletedTime (ms) is 0 while the run is on. Status is StatusComplete, StatusError or "".
	CompletedTime int64
	Status        string
	// Log is gzip of the JSON of the error, or of "". Result is gzip of the JSON of the result, nil for none.
	Log, Result []byte
}

// Status of a finished run.
const (
	StatusComplete = "complete"
	StatusError    = "error"
)

// CheckpointWrite moves a checkpoint.
type CheckpointWrite struct {
	// Bot is the plain id; a trailing "_reader" is dropped (C10). Ref is the reference, such as "queue:q".
	Bot, Ref string
	Checkpoint
	// Expected is the position that must be stored, "" for none. Force drops the condition; it is for operators.
	Expected string
	Force    bool
	// Location, if it is not zero, is where the checkpoint goes instead, whatever is stored there.
	Location Location
}

// Location is where an instance of a bus-side fan-out keeps its checkpoints: the map Instance, such as "0", in the attribute
// Attribute of the bot's row, mostly "instances" (cploc, sdk.md 3.9). Only the AWS backend has such places; others refuse them
// (ErrInvalid). The zero Location is the bot's read checkpoints.
type Location struct {
	Attribute, Instance string
}

// Produced is what a bot wrote to a queue in one batch.
type Produced struct {
	// Bot is the plain id, Ref the queue's reference. Position is the id of the bot's last event in the batch (W-O7).
	Bot, Ref string
	Checkpoint
}

// Request asks for a bot to run because queues moved.
type Request struct {
	// Bot is the plain id.
	Bot string
	// Heads are the new heads by reference. The stored ones only grow (W-D4).
	Heads map[string]string
	// At is when, in ms; the stored trigger only grows.
	At int64
}

// Lock is the first of the three steps of a run (bus.md 1.4.3): the dispatcher reserves it.
type Lock struct {
	// Bot is the plain id.
	Bot string
	// Seen is the InvokeTime of the row the decision was made on, 0 for none. The lock is taken only if it is still that.
	Seen int64
	// At is the new InvokeTime and, as it is unique, the run's token (W-P16). It must be greater than Seen.
	At int64
	// Progress and Requested are the row's read checkpoints of its triggers and its requested heads; Stalls its new count.
	Progress, Requested map[string]string
	Stalls              int
	// Heads and Trigger are what a Request would record, in the same write: heads by reference, which only grow, and a time
	// in ms, which only grows. nil and 0 record nothing.
	Heads   map[string]string
	Trigger int64
}

// Confirm is the second step: the run starts.
type Confirm struct {
	// Bot is the plain id, Token the run's, as the lock gave it.
	Bot   string
	Token int64
	// RequestID identifies the process that runs it; it is required.
	RequestID string
	// At is the start and MaxDuration how long the run may hold the lock without a sign of life, both in ms.
	At, MaxDuration int64
}

// Complete is the third step: the run ends.
type Complete struct {
	// Bot, Token and RequestID are those of the run's Confirm.
	Bot       string
	Token     int64
	RequestID string
	// At is the end, in ms.
	At int64
	// Failed adds 1 to the error count; success sets it to 0.
	Failed bool
	// Log and Result are stored as they are (see Instance).
	Log, Result []byte
	// RunAgain sets the trigger to At, or to just after the token where that is later: clocks may differ.
	RunAgain bool
	// RetryAt, in ms, becomes the ScheduledTrigger if it is not 0.
	RetryAt int64
}

// Control is an operator's change of a bot. Nil fields stay as they are.
type Control struct {
	// Paused, Archived and IgnorePaused are as in Bot.
	Paused, Archived, IgnorePaused *bool
	// Trigger asks for a run at this ms; ScheduledTrigger sets or, with 0, clears the earliest next run.
	Trigger, ScheduledTrigger *int64
	// ErrorCount replaces the count of consecutive errors.
	ErrorCount *int
}

// Bots holds one row for each bot. Methods that change a row return ErrNotFound where it is missing, unless they say that
// they create it: a deleted bot never comes back by accident (W-P12).
type Bots interface {
	// Get returns the row, consistent with every write acknowledged before the call, or ErrNotFound.
	Get(ctx context.Context, id string) (Bot, error)
	// List returns up to limit rows with ids after the given one, in order of id. Fewer than limit means the end.
	List(ctx context.Context, after string, limit int) ([]Bot, error)
	// Register creates the row or replaces its configuration.
	Register(ctx context.Context, r Registration) error
	// Control applies an operator's change.
	Control(ctx context.Context, id string, c Control) error
	// Checkpoint moves a read checkpoint if the stored position is Expected, else ErrConflict ("Stale Checkpoint"), and of
	// several writers that expect the same position exactly one succeeds. It creates a row where none is (C43), and maps
	// where they are missing (fault 40, C69). With a Location there is no condition, and a missing row is ErrNotFound: who fans a
	// bot out knows it.
	Checkpoint(ctx context.Context, w CheckpointWrite) error
	// Produced records producer statistics: each entry replaces the stored write checkpoint unless that is newer.
	// Unknown bots are skipped (C45).
	Produced(ctx context.Context, p []Produced) error
	// Request records triggers; see Request.
	Request(ctx context.Context, r Request) error
	// Lock reserves a run, or returns ErrConflict when the row was locked since it was read. It removes IgnorePaused.
	Lock(ctx context.Context, l Lock) error
	// Confirm starts the run with this token, or returns ErrConflict when it was started before or is not the newest.
	Confirm(ctx context.Context, c Confirm) error
	// Extend renews a started run's claim to its lock: MaxDuration becomes the given one (fault 56). ErrConflict means
	// the run has lost its lock and must stop.
	Extend(ctx context.Context, c Confirm) error
	// Complete ends the run with this token and request id, or returns ErrConflict when the lock was lost. An empty
	// RequestID ends a run that was never started: its invocation failed (W-P5). The row then has the request id "released",
	// so that no software can start it any more.
	Complete(ctx context.Context, c Complete) error
}
