package rstreams

import (
	"fmt"
	"time"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/ref"
)

// MaxInlineEvent is the longest line, without its newline, that travels inside an intake record. Longer events are stored as
// an object, and a pointer to it travels instead (sdk.md W9). leo-sdk has the same limit.
const MaxInlineEvent = 614_400

// WriterOptions configures a Writer. Bot is required; Queue too, unless every event names its own.
type WriterOptions struct {
	// Bot is the bot that writes; "" means the session's. Events that name a bot keep it.
	Bot string
	// Queue is where events go that name no queue. It may be a reference ("bot:b").
	Queue string
	// Path is how events travel. The zero value is PathIntake.
	Path Path
	// Chunk says when a run of events of one queue is sent. It does not apply to PathBlobs.
	Chunk ChunkOptions
	// Blobs says when an object is closed and sent, with PathBlobs.
	Blobs BlobOptions
	// MaxBytes and MaxEvents bound what is not acknowledged yet; 0 means 32 MiB and 100000 events, or 64 MiB and 10000000
	// with PathBlobs, where the bytes are those that are held: compressed ones once a section is full. When a bound is
	// reached, Put waits.
	MaxBytes, MaxEvents int
	// MaxEventBytes is the longest line of one event; 0 means 16 MiB. Longer ones are ErrTooLarge.
	MaxEventBytes int
	// Partition says which shard of the bus a queue's events go to. The zero value is SinglePartition.
	Partition Partition
	// Retry spaces the attempts to send. Sending is tried until it succeeds, Close's context ends, or GiveUp.
	Retry Backoff
	// GiveUp fails the writer once the same events were refused for so long; 0 means never.
	GiveUp time.Duration
	// OnAck, if set, is called once for every chunk whose fate is known, in order for each queue, from the goroutine that
	// sends. It must not block, and must not call the Writer. If it panics, the writer fails with a *PanicError.
	OnAck func(Receipt, error)

	// snapshot makes the objects parts of the snapshot of that time, in ms.
	snapshot int64
}

// Path is how a Writer's events travel to the bus. Whatever the path, a Writer keeps the order of each queue; of events that
// take different paths, nobody does.
type Path int

// The paths.
const (
	// PathIntake sends events in intake records: they are readable within about a second.
	PathIntake Path = iota
	// PathBlobs gathers events in objects and sends a pointer to each (leo-sdk: useS3). It costs least for large amounts; events
	// are readable some ten seconds later.
	PathBlobs
	// PathFirehose sends events as plain lines to Firehose (leo-sdk: firehose). They are readable a minute or more later, and
	// the order within a queue is that in which Firehose delivers, mostly the one in which they were written.
	PathFirehose
	// PathFirehoseGzip is PathFirehose with lines of base64 of gzip (leo-sdk 7: gzipFirehose).
	PathFirehoseGzip
)

// BlobOptions says when an object of events is closed and its pointer sent: as soon as one of its bounds is reached.
type BlobOptions struct {
	// SectionBytes is the text that is compressed as one section, the least that a reader fetches; 0 means 10 MiB.
	SectionBytes int
	// Sections are the sections of an object, 1000 at most; 0 means 10. Where the queue's name is long, it has fewer, as the name
	// stands beside each in the index.
	Sections int
	// Linger is how long an event waits for others; 0 means 10 s. Less than 0 means until a bound is reached or Flush.
	Linger time.Duration
	// Prefix is the part of the object's key behind the queue; "" means the writer's bot.
	Prefix string
}

// ChunkOptions says when a chunk is sent: as soon as one of its bounds is reached. (In leo-sdk these are fixed, and the options
// of the same name do something else: sdk.md fault 27.)
type ChunkOptions struct {
	// Records and Bytes are events and their text; 0 means 10000 and 1 MiB less a margin. More than fits a record counts as
	// that, and more than 900 KiB as 900 KiB for Firehose.
	Records, Bytes int
	// Linger is how long an event waits for others; 0 means 200 ms, 5 ms on an intake in this process, or 1 s for Firehose.
	// Less than 0 means until a bound is reached or Flush.
	Linger time.Duration
	// over permits the last event of a chunk to exceed Bytes.
	over bool
}

// LeoChunks returns the bounds of leo-sdk (sdk.md W7): 100 events, 204800 bytes, which the last event may exceed, and 200 ms.
// Small chunks cost more and are readable no sooner.
func LeoChunks() ChunkOptions {
	return ChunkOptions{Records: 100, Bytes: 204_800, Linger: defaultLinger, over: true}
}

// Partition says which shard of the bus events go to. Within a shard, and so always within a queue, order is kept.
type Partition struct {
	perQueue bool
	hash     string
}

// SinglePartition sends everything to the shard of hash key 0, as leo-sdk does by default. Order then holds among all writers.
func SinglePartition() Partition { return Partition{} }

// QueuePartition spreads the queues over the shards: a queue's events stay on one.
func QueuePartition() Partition { return Partition{perQueue: true} }

// HashPartition sends everything to the shard of the given explicit hash key, a decimal number below 2^128.
func HashPartition(key string) Partition { return Partition{hash: key} }

// key returns the partition key and the hash key of a queue's records (sdk.md W8).
func (p Partition) key(queue string) (partition, hash string) {
	switch {
	case p.perQueue:
		return queue, ""
	case p.hash != "":
		return "0", p.hash
	}
	return "0", "0"
}

const (
	defaultChunkRecords = 10_000
	defaultChunkBytes   = 1 << 20
	defaultMaxBytes     = 32 << 20
	defaultMaxEvents    = 100_000
	defaultMaxEvent     = 16 << 20
	// A dead letter holds an event of any legal size, in base64 where that is shorter.
	maxLetter          = 28 << 20
	defaultLinger      = 200 * time.Millisecond
	defaultLocalLinger = 5 * time.Millisecond

	firehoseBytes  = 900 << 10 // of one record's text (sdk.md 4.2)
	firehoseLinger = time.Second

	defaultSectionBytes = 10 << 20
	defaultSections     = 10
	defaultFileLinger   = 10 * time.Second
	defaultFileBytes    = 64 << 20
	maxSections         = 1000 // A pointer with so many fits a record.
)

// resolve applies defaults, and reports everything that is wrong.
func (w *Writer) resolve() error {
	o := &w.o
	o.Bot = w.bus.bot(o.Bot)
	st := &w.bus.core.store
	switch o.Path {
	case PathIntake, PathBlobs:
		w.intake = st.Intake
	case PathFirehose, PathFirehoseGzip:
		w.intake = st.Firehose
	default:
		return fmt.Errorf("%w: there is no path %d", errOptions, o.Path)
	}
	switch {
	case o.Bot == "":
		return fmt.Errorf("%w: no bot is named, here or in the session", errOptions)
	case w.intake == nil && o.Path != PathIntake && o.Path != PathBlobs:
		return fmt.Errorf("%w: this bus has no Firehose; write with PathIntake, or with PathBlobs for large amounts", errOptions)
	case w.intake == nil:
		return fmt.Errorf("%w: this bus has no intake", errOptions)
	case o.MaxBytes < 0 || o.MaxEvents < 0 || o.MaxEventBytes < 0 || o.Chunk.Records < 0 || o.Chunk.Bytes < 0 ||
		o.Blobs.SectionBytes < 0 || o.Blobs.Sections < 0:
		return fmt.Errorf("%w: bounds must not be negative", errOptions)
	case o.Blobs.Sections > maxSections:
		return fmt.Errorf("%w: an object has %d sections at most", errOptions, maxSections)
	}
	if o.Queue != "" {
		if err := ref.ValidateQueue(o.Queue); err != nil {
			return err
		}
	}
	w.limits = w.intake.Limits()
	w.plain = w.limits.Plain
	setDefault(&o.MaxEventBytes, defaultMaxEvent)
	w.joins = o.Path == PathIntake && !w.plain && o.Chunk.Records == 0 && o.Chunk.Bytes == 0
	setDefault(&o.Chunk.Records, defaultChunkRecords)
	setDefault(&o.Chunk.Bytes, defaultChunkBytes)
	if o.Path == PathBlobs {
		setDefault(&o.Blobs.SectionBytes, defaultSectionBytes)
		setDefault(&o.Blobs.Sections, defaultSections)
		setDefault(&o.Blobs.Prefix, o.Bot)
		setDefault(&o.MaxBytes, defaultFileBytes)
		setDefault(&o.MaxEvents, eid.MaxCounter+1)
	}
	setDefault(&o.MaxBytes, defaultMaxBytes)
	setDefault(&o.MaxEvents, defaultMaxEvents)
	o.Chunk.Linger = w.defaultLinger()
	return w.fit()
}

// defaultLinger returns how long events wait.
func (w *Writer) defaultLinger() time.Duration {
	switch l := w.o.Chunk.Linger; {
	case w.o.Path == PathBlobs && w.o.Blobs.Linger != 0:
		return w.o.Blobs.Linger
	case w.o.Path == PathBlobs:
		return defaultFileLinger
	case l != 0:
		return l
	case w.o.Path != PathIntake:
		return firehoseLinger
	case w.plain:
		return defaultLocalLinger
	}
	return defaultLinger
}

// fit reduces the bounds of a chunk to what a record takes.
func (w *Writer) fit() error {
	w.inline = MaxInlineEvent
	if limit := w.limits.RecordBytes; limit > 0 {
		if w.o.Path == PathFirehoseGzip {
			limit = limit / 4 * 3 // of base64
		}
		// Text that gzip cannot shrink grows by some bytes, and keys count too.
		room := limit - limit/256 - 1024
		w.o.Chunk.Bytes, w.inline = min(w.o.Chunk.Bytes, room), min(w.inline, room)
	}
	if w.o.Path == PathFirehose || w.o.Path == PathFirehoseGzip {
		w.o.Chunk.Bytes = min(w.o.Chunk.Bytes, firehoseBytes)
	}
	if w.o.Chunk.Bytes < 1 || w.inline < 1 {
		return fmt.Errorf("%w: the intake takes records of %d bytes only", errOptions, w.limits.RecordBytes)
	}
	return nil
}

// most returns how long the text of a chunk may become.
func (w *Writer) most() int {
	if !w.o.Chunk.over {
		return w.o.Chunk.Bytes
	}
	// The last event begins within Bytes; the whole must fit a record.
	most := w.o.Chunk.Bytes + MaxInlineEvent
	if w.limits.RecordBytes > 0 {
		most = min(most, w.limits.RecordBytes-w.limits.RecordBytes/256-1024)
	}
	return most
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
