// Package sequencer turns intake records into a queue's numbered, readable events.
//
// It is the one place where event ids are given, and follows the ten rules of bus.md 5.5. A batch of records is decoded as a
// stream, cut into groups of bounded size, and each group is published queue by queue:
//
//	claim the queue (a base for the ids, a fence)  ->  remove leftovers of crashed attempts  ->  write the chunks
//	->  advance the head (on condition of the fence)  ->  record what of the intake is now published
//
// The head and the mark of the intake move in one write, so that a record that is delivered again, alone or in a batch cut
// otherwise, is recognised and numbered once. What goes into a chunk, and which counter an event gets, depends on nothing but
// the records and the stored state: no timers, no clock, no order of goroutines.
package sequencer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Record is one intake record.
type Record struct {
	// Sequence is its decimal sequence number; it grows within a shard.
	Sequence string
	// Arrival is when the intake took it, in ms.
	Arrival int64
	// Data holds events in one of the forms of bus.md 2.4 or, with Plain, plain lines whatever they begin with.
	Data  []byte
	Plain bool
}

// Batch is a run of records of one shard, in order.
type Batch struct {
	// Shard names the shard. "" stands for an intake that never delivers a record twice; nothing is then remembered of it.
	Shard   string
	Records []Record
}

// Config tunes a Sequencer. The zero value is usable.
type Config struct {
	// Owner is who claims queues; "" means the batch's shard, which is right where a shard has one batch in work at a
	// time, because the retry of a crashed batch then need not wait for its lease. Where an attempt may go on after it was
	// given up, each needs an owner of its own; one that fails and lives cuts its claims short, to a tenth of their lease,
	// so that the next need not wait for long. OwnPerBatch adds the batch's first
	// sequence number, for event source mappings with a parallelization factor over 1. What is published is remembered by
	// shard, so such a mapping's batches must be split by partition key, and Batch.Shard must name the key too: under the
	// shard's own name, the records of one lane would pass for repeats of a faster one's.
	Owner       string
	OwnPerBatch bool
	// Lease is how long a claim lasts; 0 means 60 s. Writing stops after nine tenths of it.
	Lease time.Duration
	// TTL is how long events stay in the index; 0 means 7 days, less than 0 for ever.
	TTL time.Duration
	// ChunkBytes and ChunkRecords close a chunk once reached; 0 means 204800 bytes and 2000 events, as the original.
	ChunkBytes, ChunkRecords int
	// GroupBytes is how much decoded text is in work at a time; 0 means 8 MiB.
	GroupBytes int
	// MaxLine is the longest line that can be an event, in bytes; 0 means 16 MiB. Longer ones become dead letters.
	MaxLine int
	// MaxText is to how many bytes the compressed data of a record may inflate; 0 means 256 MiB. What follows becomes a dead letter.
	MaxText int64
	// Parallel is how many queues are claimed and advanced at once; 0 means 16. Inside a transaction it is 1.
	Parallel int
	// Bucket is the only bucket that pointer records may name; "" accepts any (W-O1). Prefixes are what the key of their blob may
	// begin with; none accepts any. Where readers, and this sequencer with CheckBlobs, may read some prefixes only, they should be
	// told here: what may not be read is the storage's failure, and not the pointer's, so that one pointer would stop its shard.
	Bucket   string
	Prefixes []string
	// CheckBlobs makes a pointer record whose blob is not there a dead letter, as its readers would never get past it. It costs
	// a request for each pointer record.
	CheckBlobs bool
	// Creator is noted on the chunks: "firehose" for what came that way, else "".
	Creator string
	// SkipQueues and SkipBots name events to drop for good.
	SkipQueues, SkipBots []string
	// Now is the clock for leases and timestamps of heads; nil means time.Now.
	Now func() time.Time
	// OnPublish, if set, is called after each publication that is durable, with the queue and its head, from the
	// goroutine that called Process or Commit. It must not block.
	OnPublish func(queue, head string)
	// Logger gets what an operator should know; nil means slog.Default.
	Logger *slog.Logger
}

// Sequencer publishes batches. It holds no state between calls and is safe for concurrent use as far as Config.Owner tells
// concurrent batches apart.
type Sequencer struct {
	store      store.Store
	cfg        Config
	skipQueues map[string]bool
	skipBots   map[string]bool
}

// New returns a sequencer that publishes into st.
func New(st store.Store, cfg Config) *Sequencer {
	setDefault(&cfg.Lease, 60*time.Second)
	setDefault(&cfg.TTL, 7*24*time.Hour)
	setDefault(&cfg.ChunkBytes, 200<<10)
	setDefault(&cfg.ChunkRecords, 2000)
	setDefault(&cfg.GroupBytes, 8<<20)
	setDefault(&cfg.MaxLine, 16<<20)
	setDefault(&cfg.MaxText, 256<<20)
	setDefault(&cfg.Parallel, 16)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Sequencer{store: st, cfg: cfg, skipQueues: set(cfg.SkipQueues), skipBots: set(cfg.SkipBots)}
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func set(names []string) map[string]bool {
	if len(names) == 0 {
		return nil
	}
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// Result tells what became of a batch.
type Result struct {
	// Done is the number of records, from the first, of which everything is published.
	Done int
	// Events counts the events published by this call, DeadLetters those among them in the dead-letter queue, and Repeats
	// events that had been published before.
	Events, DeadLetters, Repeats int64
	// Heads holds the new head of each queue that was published to.
	Heads map[string]string
}

func (r *Result) add(o Result) {
	r.Done = o.Done
	r.Events += o.Events
	r.DeadLetters += o.DeadLetters
	r.Repeats += o.Repeats
	if r.Heads == nil {
		r.Heads = o.Heads
		return
	}
	for q, h := range o.Heads {
		r.Heads[q] = h
	}
}

// Process publishes a batch. Input that is no event becomes a dead letter and never an error (rule 9). After an error,
// Result.Done records are published for good, and the rest may be processed again, in a batch of any cut, without loss or
// repetition. Process waits while other owners hold queues of the batch.
func (s *Sequencer) Process(ctx context.Context, b Batch) (total Result, err error) {
	var stats []store.Produced
	if s.store.Atomic == nil {
		// One write for each bot, not one for each bot and group (W-S2).
		defer func() { s.produced(ctx, s.store, stats) }()
	}
	for at := (Cursor{}); !at.end(b); {
		p, err := s.Prepare(ctx, b, at)
		if err != nil {
			return total, err
		}
		r, err := s.commit(ctx, p, &stats)
		if err != nil {
			return total, err
		}
		total.add(r)
		at = p.Next
	}
	total.Done = len(b.Records)
	return total, nil
}

// grace returns a context for what a call still has to do when its own has ended.
func (s *Sequencer) grace(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), s.cfg.Lease/10)
}

// produced records statistics of events that are published. They are only as good as the next batch of the same bot.
func (s *Sequencer) produced(ctx context.Context, st store.Store, stats []store.Produced) {
	if len(stats) == 0 {
		return
	}
	ctx, cancel := s.grace(ctx)
	defer cancel()
	if err := st.Bots.Produced(ctx, stats); err != nil {
		s.cfg.Logger.WarnContext(ctx, "producer statistics not written", "error", err)
	}
}

// Prepared is a group of decoded and compressed events, ready to be numbered and published. It belongs to the sequencer that
// made it and is committed once.
type Prepared struct {
	// Next is where the batch continues.
	Next Cursor

	batch Batch
	from  Cursor
	group *group
	// looks are the outcomes of looking at the blobs of pointers. Preparing the group again needs no second look, and comes to the
	// same.
	looks map[look]error
}

// look is what was asked of a blob: whether it has so many bytes.
type look struct {
	blob  store.BlobRef
	bytes int64
}

// Prepare does the part of a group's work that needs no claim: decoding, cutting, compression, and, where there are no
// transactions, the upload of chunks that are too large to be items. Groups may be prepared ahead, but must be committed in
// order. An error is the storage's or the context's; nothing is published then.
func (s *Sequencer) Prepare(ctx context.Context, b Batch, from Cursor) (*Prepared, error) {
	if err := checkBatch(b); err != nil {
		return nil, err
	}
	return s.prepare(ctx, s.store, decoder{batch: b, looks: map[look]error{}}, from, nil)
}

// prepare works on st, which inside a transaction is its view: the store itself would wait for the transaction to end. A group
// that was prepared before ends where it ended then (until).
func (s *Sequencer) prepare(ctx context.Context, st store.Store, d decoder, from Cursor, until *Cursor) (*Prepared, error) {
	d.seq, d.store = s, st
	g, next, err := d.group(ctx, from, until)
	if err != nil {
		return nil, err
	}
	if s.store.Atomic == nil {
		if err := upload(ctx, st, g.order); err != nil {
			return nil, err
		}
	}
	return &Prepared{Next: next, batch: d.batch, from: from, group: g, looks: d.looks}, nil
}

// again prepares a group anew: of the queues in rest, if that is given, what lies behind their marks and nothing of others.
func (s *Sequencer) again(ctx context.Context, st store.Store, p *Prepared, rest map[string]string, refused map[string]error) (*Prepared, error) {
	return s.prepare(ctx, st, decoder{batch: p.batch, rest: rest, refused: refused, looks: p.looks}, p.from, &p.Next)
}

// checkBatch refuses batches whose order could not be told, which no intake delivers.
func checkBatch(b Batch) error {
	if b.Shard == "" {
		return nil
	}
	for i := 1; i < len(b.Records); i++ {
		if store.CompareMarks(b.Records[i-1].Sequence, b.Records[i].Sequence) >= 0 {
			return fmt.Errorf("%w: sequence numbers %s, %s of shard %s do not grow", store.ErrInvalid,
				b.Records[i-1].Sequence, b.Records[i].Sequence, b.Shard)
		}
	}
	return nil
}

// Commit numbers and publishes a prepared group, in one transaction where the store has them. While another owner holds a
// queue of the group, it waits.
func (s *Sequencer) Commit(ctx context.Context, p *Prepared) (Result, error) {
	var stats []store.Produced
	r, err := s.commit(ctx, p, &stats)
	if s.store.Atomic == nil {
		s.produced(ctx, s.store, stats)
	}
	return r, err
}

// commit is Commit. Where there are no transactions, it leaves the statistics of what it published to the caller.
func (s *Sequencer) commit(ctx context.Context, p *Prepared, stats *[]store.Produced) (Result, error) {
	pub := publication{seq: s, p: p, pending: p.group.names(), result: Result{Repeats: p.group.repeats}, stats: stats}
	for {
		wait, err := s.attempt(ctx, &pub)
		if err != nil && pub.anew(err) {
			if err := s.restart(ctx, &pub, err); err != nil {
				return Result{}, err
			}
			continue
		}
		if err != nil {
			return Result{}, err
		}
		if len(pub.pending) == 0 {
			break
		}
		if wait == 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return Result{}, context.Cause(ctx)
		case <-time.After(wait):
		}
	}
	pub.result.Done = p.Next.record
	if s.cfg.OnPublish != nil {
		for queue, head := range pub.result.Heads {
			s.cfg.OnPublish(queue, head)
		}
	}
	return pub.result, nil
}

// restart prepares the group of a publication again, because of cause. What is published stays so.
func (s *Sequencer) restart(ctx context.Context, pub *publication, cause error) error {
	var refusal *refusalError
	if errors.As(cause, &refusal) {
		s.cfg.Logger.ErrorContext(ctx, "the events of a queue become dead letters, as its row cannot be used", "queue", refusal.queue, "error", refusal.err)
		if pub.refused = maps.Clone(pub.refused); pub.refused == nil {
			pub.refused = map[string]error{}
		}
		pub.refused[refusal.queue] = refusal.err
	}
	again, err := s.again(ctx, s.store, pub.p, nil, pub.refused)
	if err != nil {
		pub.drop(ctx, nil)
		return err
	}
	pending := slices.DeleteFunc(again.group.names(), func(queue string) bool { return pub.done[queue] })
	pub.drop(ctx, pending)
	pub.p, pub.pending = again, pending
	return nil
}

// attempt publishes what it can get hold of. A wait over 0 means that queues are left, held by others.
func (s *Sequencer) attempt(ctx context.Context, pub *publication) (wait time.Duration, err error) {
	if s.store.Atomic == nil {
		return pub.run(ctx, s.store, s.cfg.Parallel)
	}
	whole := *pub
	err = s.store.Atomic(ctx, func(ctx context.Context, tx store.Store) error {
		*pub = whole
		pub.p.group.forgetBlobs()
		wait, err = pub.run(ctx, tx, 1)
		if err == nil && wait > 0 {
			return errHeld // A transaction must not wait: it is undone and tried anew.
		}
		return err
	})
	if errors.Is(err, errHeld) {
		*pub = whole
		return wait, nil
	}
	return 0, err
}

var errHeld = errors.New("a queue is held by another sequencer")
