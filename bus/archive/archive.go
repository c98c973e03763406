// Package archive copies the events of queues from the index, where they expire, into objects that stay (bus.md 2.7, 3.8):
// readers that begin before the archive's end read these first (R8).
//
// Every pass looks at every queue (W-D10), and archives those whose oldest event that is not archived has reached an age: well
// before events expire, and not so early that each pass makes an object of a few events. An object holds whole chunks of the index,
// in their order, up to a time that is long settled (W-D11). It is published through package sequencer, which puts it into
// "<queue>/_archive" and then moves the queue's archive end. Only what that end covers is archived: a pass that dies leaves at
// most an object that nothing refers to, and the next begins at the same place.
//
// A chunk whose object is gone, or that is not what it says, stops its queue's archive behind what comes before it: an operator may
// still restore the object. Once the chunk has reached three quarters of the time that it, or an event of today, stays, what follows must
// not be lost as well. The chunk is passed over then, with what can be read of it archived, a gap counted and a dead letter that names
// it.
package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Lock is the name of the archiver's lock among the settings.
const Lock = "archiver"

// Prefix is where the keys of archives begin (sdk.md 2.3).
const Prefix = "bus/_archive/"

// Config tunes an Archiver. Owner is required.
type Config struct {
	// Owner identifies the archiver; two that may run at the same time must differ. It becomes the sequencer's as well.
	Owner string
	// Age is how old the oldest event that is not archived has to be for its queue to be archived; 0 means an hour. It should be
	// a small part of the time that events stay in the index.
	Age time.Duration
	// Settle is how old an event has to be to be archived; 0 means 5 minutes.
	Settle time.Duration
	// ObjectBytes is how large objects get, compressed; 0 means 64 MiB. SectionBytes is how much text a part of an object has that can be
	// read by itself; 0 means 4 MiB. Both can be exceeded by a chunk of the index.
	ObjectBytes, SectionBytes int64
	// Parallel is how many queues are archived at once; 0 means 4.
	Parallel int
	// Lease is how long an archiver that died keeps others from archiving; 0 means 2 minutes.
	Lease time.Duration
	// Until is when to begin no more chunks; what is in work is then published. Zero means never.
	Until time.Time
	// Sequencer configures how objects are published. Owner is the archiver's to set. TTL also says how long events wait in the index
	// to be archived.
	Sequencer sequencer.Config
	// Gaps is told of gaps (Result.Gaps) before the object behind them is published: what Result tells is lost with a pass that is
	// killed. A gap is told again when the object is tried again. It is called by several goroutines; nil tells nobody.
	Gaps func(queue string, n int)
	// Now is the clock; nil means time.Now. Logger gets what an operator should know; nil means slog.Default.
	Now    func() time.Time
	Logger *slog.Logger
}

// Archiver archives. Run may be called again and again, not concurrently.
type Archiver struct {
	store store.Store
	cfg   Config
	seq   *sequencer.Sequencer
	// giveUp is how old a chunk that cannot be read has to be to be passed over; 0 means never, as nothing expires.
	giveUp time.Duration
}

// defaultTTL is the sequencer's.
const defaultTTL = 7 * 24 * time.Hour

// New returns an archiver of st.
func New(st store.Store, cfg Config) *Archiver {
	setDefault(&cfg.Age, time.Hour)
	setDefault(&cfg.Settle, 5*time.Minute)
	setDefault(&cfg.ObjectBytes, 64<<20)
	setDefault(&cfg.SectionBytes, 4<<20)
	setDefault(&cfg.Parallel, 4)
	setDefault(&cfg.Lease, 2*time.Minute)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Gaps == nil {
		cfg.Gaps = func(string, int) {}
	}
	cfg.Sequencer.Owner, cfg.Sequencer.CheckBlobs = "archiver/"+cfg.Owner, false
	cfg.Sequencer.SkipQueues, cfg.Sequencer.SkipBots = nil, nil // They are of what arrives, and not of what a queue has.
	ttl := cfg.Sequencer.TTL
	if ttl == 0 {
		ttl = defaultTTL
	}
	// The alarm of archives that are behind goes off at half of the time.
	return &Archiver{store: st, cfg: cfg, seq: sequencer.New(st, cfg.Sequencer), giveUp: max(ttl/4*3, 0)}
}

func setDefault[T cmp.Ordered](v *T, d T) {
	var zero T
	if *v <= zero {
		*v = d
	}
}

// Result tells what a pass did.
type Result struct {
	// Queues counts the queues that were looked at, Objects and Events what was archived.
	Queues, Objects int
	Events          int64
	// Bad counts lines that are no events and were not archived: they are dead letters.
	Bad int64
	// Gaps counts places where the index had lost events before they were archived, chunks that were passed over, and chunks that
	// had ids of others. One behind which a queue has no event yet does not count yet, and one whose object could not be published
	// counts again.
	Gaps int
	// Behind is the age of the oldest event of any queue that is not archived now, 0 for none; BehindQueue is that queue.
	Behind      time.Duration
	BehindQueue string
	// Busy means that another archiver is at work and nothing was done.
	Busy bool
}

var errLost = errors.New("another archiver took over")

// Run makes one pass over all queues. A queue that cannot be archived does not keep the others from it: the error tells of all
// that failed.
func (a *Archiver) Run(ctx context.Context) (Result, error) {
	var res Result
	if err := a.lock(ctx); errors.Is(err, errLost) {
		res.Busy = true
		return res, nil
	} else if err != nil {
		return res, err
	}
	defer a.unlock(ctx)
	list, err := a.pending(ctx, &res)
	if err != nil {
		return res, err
	}
	var mu sync.Mutex
	var errs []error
	g := errgroup.Group{}
	g.SetLimit(a.cfg.Parallel)
	for _, q := range list {
		g.Go(func() error {
			done, err := a.queue(ctx, q)
			mu.Lock()
			defer mu.Unlock()
			res.add(done)
			if err != nil && len(errs) < maxErrors {
				errs = append(errs, fmt.Errorf("archive of queue %s: %w", q.Name, err))
			}
			return nil
		})
	}
	_ = g.Wait() // The functions return none.
	if err := errors.Join(errs...); err != nil {
		return res, err
	}
	return res, nil
}

// maxErrors is of how many queues a pass tells what failed.
const maxErrors = 10

func (r *Result) add(o Result) {
	r.Objects += o.Objects
	r.Events += o.Events
	r.Bad += o.Bad
	r.Gaps += o.Gaps
	if o.Behind > r.Behind {
		r.Behind, r.BehindQueue = o.Behind, o.BehindQueue
	}
}

func (a *Archiver) lock(ctx context.Context) error {
	now := a.cfg.Now()
	err := a.store.Settings.Acquire(ctx, Lock, a.cfg.Owner, now.UnixMilli(), now.Add(a.cfg.Lease).UnixMilli())
	if errors.Is(err, store.ErrConflict) {
		return errLost
	}
	if err != nil {
		return fmt.Errorf("lock of the archiver: %w", err)
	}
	return nil
}

func (a *Archiver) unlock(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	if err := a.store.Settings.Release(ctx, Lock, a.cfg.Owner); err != nil {
		a.cfg.Logger.WarnContext(ctx, "the archiver's lock stays until its lease ends", "error", err)
	}
}

const listPage = 500

// pending returns the queues that have something to archive, those that are furthest behind first.
func (a *Archiver) pending(ctx context.Context, res *Result) ([]store.Queue, error) {
	var out []store.Queue
	for after := ""; ; {
		page, err := a.store.Queues.List(ctx, after, listPage)
		if err != nil {
			return nil, fmt.Errorf("archive: list of queues: %w", err)
		}
		for _, q := range page {
			after = q.Name
			if strings.HasSuffix(q.Name, store.ArchiveSuffix) || strings.HasSuffix(q.Name, store.SnapshotSuffix) {
				continue
			}
			res.Queues++
			if q.SkipArchive || q.Head == "" || q.ArchiveEnd >= q.Head {
				continue
			}
			if len(q.Name)+len(store.ArchiveSuffix) > ref.MaxQueueBytes {
				a.cfg.Logger.ErrorContext(ctx, "the queue's name is too long for that of its archive; its events expire with the index", "queue", q.Name)
				continue
			}
			out = append(out, store.Queue{Name: q.Name, Head: q.Head, ArchiveEnd: q.ArchiveEnd})
		}
		if len(page) < listPage {
			slices.SortStableFunc(out, func(x, y store.Queue) int { return cmp.Compare(x.ArchiveEnd, y.ArchiveEnd) })
			return out, nil
		}
	}
}

// queue archives one queue, if it is due.
func (a *Archiver) queue(ctx context.Context, q store.Queue) (res Result, err error) {
	end, err := a.end(ctx, q)
	if err != nil {
		return res, err
	}
	for {
		first, err := a.first(ctx, q, end)
		if err != nil || first.End == "" {
			return res, err
		}
		age := a.age(&first, end)
		res.Behind, res.BehindQueue = age, q.Name
		through, err := a.settled(q.Head)
		if err != nil {
			return res, err
		}
		if age < a.cfg.Age || first.End > through || a.over() {
			return res, nil
		}
		o, err := a.object(ctx, q.Name, end, through)
		var damage *damageError
		if errors.As(err, &damage) && damage.before != "" {
			// What comes before the chunk does not wait for it, and is older.
			if o, err = a.object(ctx, q.Name, end, damage.before); err == nil && o.damage == nil {
				o.damage = damage
			}
		}
		if err != nil {
			return res, err
		}
		if o.pointer.Records == 0 {
			return res, o.damage // Or it expired before it was read, or there is no event in it.
		}
		if o.gaps > 0 {
			// An attempt that fails may be durable: the next one would begin behind the gap.
			res.Gaps += o.gaps
			a.cfg.Gaps(q.Name, o.gaps)
		}
		if err := a.publish(ctx, q.Name, o); err != nil {
			return res, err
		}
		end = o.last
		res.Objects++
		res.Events += o.pointer.Records
		res.Bad += int64(o.badLines)
		res.Behind, res.BehindQueue = 0, ""
	}
}

// end returns where the queue's archive ends. The archive's own head may be ahead of what the queue's row says, if who
// published it died in between; that is made good here.
func (a *Archiver) end(ctx context.Context, q store.Queue) (string, error) {
	row, err := a.store.Queues.Get(ctx, q.Name+store.ArchiveSuffix)
	if errors.Is(err, store.ErrNotFound) {
		return q.ArchiveEnd, nil
	}
	if err != nil {
		return "", fmt.Errorf("head of the archive: %w", err)
	}
	if row.Head <= q.ArchiveEnd {
		return q.ArchiveEnd, nil
	}
	if err := a.store.Queues.SetArchive(ctx, q.Name, row.Head); err != nil {
		return "", fmt.Errorf("end of the archive: %w", err)
	}
	return row.Head, nil
}

// first returns the first chunk that is not archived; none with an empty End.
func (a *Archiver) first(ctx context.Context, q store.Queue, end string) (store.Chunk, error) {
	if end >= q.Head {
		return store.Chunk{}, nil
	}
	for after := end; ; {
		page, _, err := a.query(ctx, q.Name, after, q.Head, 1) // What is wrong with the chunk is told when it is read.
		if err != nil {
			return store.Chunk{}, err
		}
		if len(page.Chunks) > 0 {
			return page.Chunks[0], nil
		}
		if !page.More {
			return store.Chunk{}, nil
		}
	}
}

// age returns how long ago the first event was made that is not archived; c is its chunk.
func (a *Archiver) age(c *store.Chunk, end string) time.Duration {
	id, err := eid.Parse(max(c.Start, end))
	if err != nil || c.Start == "" || c.Start > c.End {
		id, err = eid.Parse(c.End)
	}
	if err != nil {
		return a.cfg.Age // Nobody can tell.
	}
	return max(a.cfg.Now().Sub(time.UnixMilli(id.Millis)), 0)
}

// settled returns up to where a queue may be archived.
func (a *Archiver) settled(head string) (string, error) {
	id, err := eid.New(a.cfg.Now().Add(-a.cfg.Settle).UnixMilli(), eid.MaxCounter)
	if err != nil {
		return "", fmt.Errorf("archive: clock: %w", err)
	}
	return min(head, id.String()), nil
}

// over tells whether nothing more is to be begun.
func (a *Archiver) over() bool { return !a.cfg.Until.IsZero() && !a.cfg.Now().Before(a.cfg.Until) }
