package rstreams

import (
	"context"
	"log/slog"
	"time"

	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Event is an event as it is written to and read from a queue.
//
// In events that were read, byte slices and strings alias a buffer that the reader filled for a run of neighbouring events and
// never touches again. They stay valid for ever, but an event that is kept for long keeps its neighbours' memory too: use
// Clone for those.
type Event = event.Event

// Correlation tells from which events of which queue an event was derived.
type Correlation = event.Correlation

// Bus is an open bus. It is safe for concurrent use.
type Bus struct {
	core    *core
	session Session
}

// core is what all views of a bus share.
type core struct {
	store   store.Store
	opts    Options
	release func(context.Context) error
}

// Options configures New. The zero value is usable.
type Options struct {
	// Now is the clock for timestamps, positions and stop times; nil means time.Now.
	Now func() time.Time
	// Logger gets what an operator should know, such as retries; nil means slog.Default.
	Logger *slog.Logger
	// Retention is an age below which a chunk cannot have expired. A queue whose head is younger and whose chunk is missing
	// has lost it, which readers report even where nothing else proves it. 0 means one hour, less than 0 never.
	Retention time.Duration
}

// New returns a bus on st. The caller keeps the ownership of st; Bus.Close then does nothing. To write, st needs an Intake.
func New(st store.Store, o Options) *Bus {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Retention == 0 {
		o.Retention = time.Hour
	}
	return &Bus{core: &core{store: st, opts: o}}
}

// Store returns the storage the bus works on. It is for tools of the bus itself; programs should not need it.
func (b *Bus) Store() store.Store { return b.core.store }

// Close gives the backend up, if Open opened it. Writers must be closed and reads ended before. A second call, and a call on
// a view, is the same call: the backend is closed once.
func (b *Bus) Close(ctx context.Context) error {
	if b.core.release == nil {
		return nil
	}
	return wrap("close bus", "", "", b.core.release(ctx))
}

// Session is what one run of a bot knows: it carries what the Node SDK kept in a registry of the process, which two runs in
// one process would overwrite for each other (sdk.md faults 20 and 45). The zero Session changes nothing.
type Session struct {
	// Bot is the bot that reads, writes and checkpoints wherever options name none.
	Bot string
	// StopAt ends every read, as a clean end with reason EndTime; zero means never. Work in flight is then finished and
	// checkpointed, so it should lie some time before the deadline of the contexts that are used.
	StopAt time.Time
	// Stop ends every read in the same way once it is closed; nil means never. It is for signals.
	Stop <-chan struct{}
	// Starts holds start positions by queue or reference, for reads that name none: the bus's own fan-out (starteid).
	Starts map[string]string
	// Max is an inclusive upper bound for every read, "" for none (maxeid); a read's own End counts where it is lower.
	Max string
	// Share makes every read deliver one instance's part of the events only; nil means all of them. Ledger, if set, takes the
	// read checkpoints instead of the bus. Together they are how the instances of a fan-out divide a bot's work.
	Share  *Share
	Ledger *Ledger
	// Location, if it is not zero, is where read checkpoints go, unconditionally: the bus that invoked this instance of its own
	// fan-out collects them there (cploc, sdk.md 6.1). Only buses on AWS have it.
	Location Location
	// Force drops the condition on checkpoints: the position is overwritten, whoever moved it. It is for operators.
	Force bool
}

// Session returns a view of the bus that applies s to everything done through it. The views share the backend.
func (b *Bus) Session(s Session) *Bus {
	if len(s.Starts) > 0 {
		starts := make(map[string]string, len(s.Starts))
		for queue, position := range s.Starts {
			starts[ref.QueueRef(queue)] = position
		}
		s.Starts = starts
	}
	return &Bus{core: b.core, session: s}
}

// bot returns the bot named in options, or the session's.
func (b *Bus) bot(named string) string {
	if named != "" {
		return named
	}
	return b.session.Bot
}

func (b *Bus) now() time.Time { return b.core.opts.Now() }

func (b *Bus) log() *slog.Logger { return b.core.opts.Logger }

// millis returns the bus's time in ms.
func (b *Bus) millis() int64 { return b.now().UnixMilli() }
