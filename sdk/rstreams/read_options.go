package rstreams

import (
	"fmt"
	"time"

	"github.com/rstreams-go/rstreams/bus/eid"
)

// ReadOptions says what to read. It is passed by value and never changed. The zero value reads from the session bot's
// checkpoint up to the head of the queue.
type ReadOptions struct {
	// Bot is the bot whose checkpoint is the default start; "" means the session's. Without any, From decides.
	Bot string
	// Start is the position to start after: an event id, or a prefix of one such as "z/" or "z/2026/11/21", which includes
	// everything below it. "" means the session's start for the queue, else the bot's checkpoint, else From.
	Start string
	// From is where to start when there is neither a start nor a checkpoint. The zero value is Today().
	From StartPolicy
	// End is the last position to read, inclusive, compared as text with each event's id; "" means the session's Max, else
	// no end. A prefix excludes what is below it.
	End string
	// EndByChunk applies End as leo-sdk does: to whole chunks. Events up to End are then left out where the chunk that holds
	// them goes beyond it (sdk.md fault 6).
	EndByChunk bool
	// NoSnapshot keeps a start of exactly "z/" from being replaced by the queue's registered snapshot.
	NoSnapshot bool

	// Limit ends the read after so many events, Bytes once the events' lines have at least so many bytes; 0 means no limit.
	Limit, Bytes int64
	// RunTime ends the read after that time, StopAt at that time; the earliest of them and the session's StopAt counts.
	// Zero means never. Ending so is no error.
	RunTime time.Duration
	StopAt  time.Time
	// Follow waits at the head of the queue for further events instead of ending there.
	Follow bool

	// StrictQueue makes reading a queue that does not exist an ErrQueueNotFound. Otherwise it is an empty queue, as for
	// leo-sdk, and Follow waits for it to appear.
	StrictQueue bool
	// Malformed says what to do with stored lines that are no events.
	Malformed MalformedPolicy
	// OnMalformed, if set, is told of each line that is passed over. It is called from the goroutine that reads.
	OnMalformed func(*LineError)
	// Gaps says what to do where events are proven to be missing, and OnGap, if set, is told of each that is passed over.
	// It is called from a goroutine of the reader's own.
	Gaps  GapPolicy
	OnGap func(*GapError)

	// Memory bounds what is read ahead, in bytes; 0 means 16 MiB. What the program keeps of the events comes on top, and so
	// does a single line that is longer.
	Memory int
	// Parallel is how many chunks are fetched and decompressed at once; 0 means 4.
	Parallel int
	// MaxLine is the longest line that can be an event, in bytes; 0 means 32 MiB.
	MaxLine int
}

// StartPolicy says where a reader without a checkpoint starts.
type StartPolicy struct {
	kind startKind
	at   time.Time
}

type startKind int

const (
	startToday startKind = iota
	startEarliest
	startLatest
	startAt
)

// Today starts at the beginning of the current day in UTC, as leo-sdk does (in the time zone of its process). It is the
// default: a new bot does not read a queue's whole past by accident.
func Today() StartPolicy { return StartPolicy{} }

// Earliest starts at the queue's beginning: its snapshot if one is registered, else its archive, else its oldest event.
func Earliest() StartPolicy { return StartPolicy{kind: startEarliest} }

// Latest starts after the newest event that is there when the read begins, without the snapshot. Enrich and Offload store that place
// as the checkpoint of a bot that has none, before they handle anything: the bot's next run goes on from there.
func Latest() StartPolicy { return StartPolicy{kind: startLatest} }

// At starts with the events that entered the bus at t or later.
func At(t time.Time) StartPolicy { return StartPolicy{kind: startAt, at: t} }

// MalformedPolicy says what a reader does with a stored line that is no event. Its id counts in any case.
type MalformedPolicy int

// The policies for malformed lines.
const (
	// MalformedFail ends the read with a *LineError.
	MalformedFail MalformedPolicy = iota
	// MalformedSkip passes over the line.
	MalformedSkip
	// MalformedDeadLetter writes the line to the bus's dead-letter queue, waits until that is durable, and passes over it.
	MalformedDeadLetter
)

// GapPolicy says what a reader does where events are proven to be missing.
type GapPolicy int

// The policies for gaps.
const (
	// GapFail ends the read with a *GapError.
	GapFail GapPolicy = iota
	// GapSkip goes on behind the gap, and logs it. The position moves past it. A read that goes on at the end of one chunk, within
	// another that overlaps it, counts the events of the other up to there as a gap; with GapFail, an overlap is store.ErrCorrupt.
	GapSkip
)

const (
	defaultMemory   = 16 << 20
	defaultParallel = 4
	defaultMaxLine  = 32 << 20
)

// settings is ReadOptions with every default applied.
type settings struct {
	ReadOptions
	// block is the size of a piece of decoded text, page the compressed bytes of a query's answer.
	block, page int
	// lookup tells that one known event is wanted, whatever is wrong with its neighbours.
	lookup bool
}

// resolve applies defaults and the session's values, and reports everything that is wrong.
func (o ReadOptions) resolve(b *Bus) (settings, error) {
	o.Bot = b.bot(o.Bot)
	if o.End == "" || b.session.Max != "" && b.session.Max < o.End {
		o.End = b.session.Max
	}
	for _, p := range []struct{ name, position string }{{"start", o.Start}, {"end", o.End}} {
		if p.position == "" {
			continue
		}
		if err := eid.ValidatePosition(p.position); err != nil {
			return settings{}, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if o.Limit < 0 || o.Bytes < 0 || o.Memory < 0 || o.Parallel < 0 || o.MaxLine < 0 || o.RunTime < 0 {
		return settings{}, fmt.Errorf("read options: limits must not be negative: %w", errOptions)
	}
	if o.Memory == 0 {
		o.Memory = defaultMemory
	}
	if o.Parallel == 0 {
		o.Parallel = defaultParallel
	}
	if o.MaxLine == 0 {
		o.MaxLine = defaultMaxLine
	}
	// Each of the parallel fetches holds up to three blocks of text (one being filled, one waiting, one being read): they get
	// half of the memory. The other half is for the decoded envelopes and for two pages of the index.
	return settings{
		ReadOptions: o,
		block:       min(max(o.Memory/2/(3*o.Parallel), 16<<10), 512<<10),
		page:        min(max(o.Memory/8, 64<<10), 4<<20),
	}, nil
}

// stopAt returns when a read that begins now must end, zero for never.
func (s *settings) stopAt(b *Bus) time.Time {
	var stop time.Time
	earlier := func(t time.Time) {
		if !t.IsZero() && (stop.IsZero() || t.Before(stop)) {
			stop = t
		}
	}
	earlier(b.session.StopAt)
	earlier(s.StopAt)
	if s.RunTime > 0 {
		earlier(b.now().Add(s.RunTime))
	}
	return stop
}
