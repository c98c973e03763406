// Package loader publishes what the bus's Firehose stream left in the bucket (bus.md 2.9, C59): objects of event lines under
// firehose/. Each object is published once, whoever dies where, and however many loaders run.
//
// Nobody keeps a cursor over the keys, which end in random text and need not appear in their order (W-D9): an object is pending
// as long as it is there, and is deleted once everything in it is published. Loading goes like this:
//
//	take the lock  ->  list what is pending  ->  note which objects come next, with their numbers, in one conditional write
//	->  publish their lines  ->  delete the objects
//
// The note is what makes it exact. An object is cut into parts at line ends, always at the same places, and a part's sequence number
// follows from the object's number. So a loader that takes over where another died, or that runs beside one, gives
// package sequencer the same records with the same numbers, and what was published is recognised.
package loader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Names in the store.
const (
	// Prefix is where Firehose puts its objects.
	Prefix = "firehose/"
	// Shard is the intake shard that the objects' records belong to.
	Shard = "firehose"
	// Setting holds the loader's note, and names its lock.
	Setting = "firehose-loader"
	// Quarantine is where objects are kept that could not be read to their end.
	Quarantine = "files/rstreams/quarantine/"
)

// Config tunes a Loader. Bucket and Owner are required.
type Config struct {
	// Bucket is the store's own name for its blob space.
	Bucket string
	// Owner identifies the loader; two that may run at the same time must differ. It becomes the sequencer's as well.
	Owner string
	// Prefix is where the objects are; "" means the constant of this name.
	Prefix string
	// Keep, if not "", is a prefix under which a copy of each loaded object is kept.
	Keep string
	// Lease is how long a loader that died keeps others from loading; 0 means 60 s.
	Lease time.Duration
	// PartBytes is how much text is read ahead; 0 means 4 MiB. A changed value counts for objects that are not begun.
	PartBytes int
	// Sequencer configures how the events are published. Owner and Creator are the loader's to set.
	Sequencer sequencer.Config
	// Now is the clock; nil means time.Now. Logger gets what an operator should know; nil means slog.Default.
	Now    func() time.Time
	Logger *slog.Logger
}

// Loader loads. It is safe for concurrent use; calls of Load with one owner must not overlap.
type Loader struct {
	store store.Store
	cfg   Config
	seq   *sequencer.Sequencer
}

// New returns a loader into st.
func New(st store.Store, cfg Config) *Loader {
	if cfg.Prefix == "" {
		cfg.Prefix = Prefix
	}
	if cfg.Lease <= 0 {
		cfg.Lease = 60 * time.Second
	}
	if cfg.PartBytes <= 0 {
		cfg.PartBytes = 4 << 20
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.Sequencer.Owner, cfg.Sequencer.Creator = "firehose/"+cfg.Owner, "firehose"
	return &Loader{store: st, cfg: cfg, seq: sequencer.New(st, cfg.Sequencer)}
}

// Result tells what a call of Load did.
type Result struct {
	// Objects counts the objects that are now loaded.
	Objects int
	// Events, DeadLetters and Repeats are as in sequencer.Result.
	Events, DeadLetters, Repeats int64
	// Busy means that another loader is at work; it will see everything that was there when this call was made.
	Busy bool
	// Oldest is when Firehose wrote the oldest object that is still pending, as its key says; zero when nothing is.
	Oldest time.Time
}

const (
	listPage = 1000
	// At most so many objects, and so many bytes but for the first, are taken at a time.
	maxKeys  = 100
	maxBytes = 32 << 20
	// partsPerObject is more than any object can have.
	partsPerObject = 1_000_000
	// grace is for what is left to do when the time is over.
	grace = 2 * time.Second
)

var errLost = errors.New("another loader took over")

// note is what the loader has in work: the numbers from Next on belong to Keys.
type note struct {
	Next int64    `json:"next"`
	Keys []string `json:"keys,omitempty"`
	// At is when they were taken, in ms, and so when their events arrived. Part is the PartBytes that they are cut by.
	At    int64  `json:"at,omitempty"`
	Part  int    `json:"part,omitempty"`
	Owner string `json:"owner,omitempty"`
}

// Load publishes everything that is pending, in order of the keys, until there is no more, or ctx ends. After an error, the rest
// comes with the next call.
func (l *Loader) Load(ctx context.Context) (Result, error) {
	var res Result
	for _, kept := range []string{l.cfg.Keep, Quarantine} {
		if kept != "" && strings.HasPrefix(kept, l.cfg.Prefix) {
			return res, fmt.Errorf("firehose loader: %w prefix: what is kept under %s would be loaded again, as it is under %s; choose another",
				store.ErrInvalid, kept, l.cfg.Prefix)
		}
	}
	for {
		now := l.cfg.Now()
		err := l.store.Settings.Acquire(ctx, Setting, l.cfg.Owner, now.UnixMilli(), now.Add(l.cfg.Lease).UnixMilli())
		if errors.Is(err, store.ErrConflict) {
			res.Busy = true
			return res, nil
		}
		if err != nil {
			return res, fmt.Errorf("firehose loader: lock: %w", err)
		}
		err = l.drain(ctx, &res)
		if releaseErr := l.release(ctx); err == nil {
			err = releaseErr
		}
		if errors.Is(err, errLost) {
			res.Busy = true
			return res, nil
		}
		list, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		pending, listErr := l.pending(list)
		cancel()
		if len(pending) > 0 {
			res.Oldest = written(pending[0].Key)
		}
		if err = errors.Join(err, listErr); err != nil {
			return res, fmt.Errorf("firehose loader: %w", err)
		}
		if len(pending) == 0 {
			// Who found the lock taken left its objects to this call: they were there before the list that is empty.
			return res, nil
		}
	}
}

func (l *Loader) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := l.store.Settings.Release(ctx, Setting, l.cfg.Owner); err != nil {
		return fmt.Errorf("release of the lock: %w", err)
	}
	return nil
}

// pending returns the first objects that are there.
func (l *Loader) pending(ctx context.Context) ([]store.BlobInfo, error) {
	for after := ""; ; {
		page, err := l.store.Blobs.List(ctx, l.cfg.Prefix, after, listPage)
		if err != nil {
			return nil, fmt.Errorf("list of %s: %w", l.cfg.Prefix, err)
		}
		full := len(page) == listPage
		if full {
			after = page[len(page)-1].Key
		}
		// Some tools make empty objects for folders.
		page = slices.DeleteFunc(page, func(b store.BlobInfo) bool { return strings.HasSuffix(b.Key, "/") })
		if len(page) > 0 || !full {
			return page, nil
		}
	}
}

// drain finishes what is noted and loads what is pending until nothing is.
func (l *Loader) drain(ctx context.Context, res *Result) error {
	raw, err := l.store.Settings.Get(ctx, Setting)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("note: %w", err)
	}
	n := note{Next: 1}
	if err == nil {
		if err := json.Unmarshal(raw, &n); err != nil {
			return fmt.Errorf("%w: setting %s is no note of a loader: %w", store.ErrCorrupt, Setting, err)
		}
	}
	for {
		if err := l.work(ctx, n, res); err != nil {
			return err
		}
		list, err := l.pending(ctx)
		if err != nil {
			return err
		}
		if len(list) == 0 && len(n.Keys) == 0 {
			return nil
		}
		next := l.take(n, list)
		if raw, err = l.swap(ctx, raw, next); err != nil {
			return err
		}
		n = next
	}
}

// take returns the note of the next objects, after those of n. Their numbers are also above the clock's ms: where the note was lost,
// or restored from an older copy, numbers that begin anew would make new events pass for repeats of old ones.
func (l *Loader) take(n note, list []store.BlobInfo) note {
	now := l.cfg.Now().UnixMilli()
	next := note{
		Next: max(n.Next+int64(len(n.Keys)), now), At: now, Part: l.cfg.PartBytes, Owner: l.cfg.Owner,
	}
	var size int64
	for _, b := range list {
		if len(next.Keys) > 0 && (size+b.Size > maxBytes || len(next.Keys) == maxKeys) {
			break
		}
		next.Keys = append(next.Keys, b.Key)
		size += b.Size
	}
	return next
}

// swap replaces the note. Without that, nothing is begun: numbers would be given twice.
func (l *Loader) swap(ctx context.Context, old json.RawMessage, next note) (json.RawMessage, error) {
	raw, err := json.Marshal(next)
	if err != nil {
		return nil, fmt.Errorf("note: %w", err)
	}
	err = l.store.Settings.Swap(ctx, Setting, old, raw)
	if errors.Is(err, store.ErrConflict) {
		// It may have been this very write, sent again after its answer was lost.
		var stored note
		now, getErr := l.store.Settings.Get(ctx, Setting)
		if getErr != nil || json.Unmarshal(now, &stored) != nil || !stored.same(next) {
			return nil, errLost
		}
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("note: %w", err)
	}
	return raw, nil
}

func (n note) same(o note) bool {
	return n.Next == o.Next && n.At == o.At && n.Part == o.Part && n.Owner == o.Owner && slices.Equal(n.Keys, o.Keys)
}

// work loads and deletes the objects of a note.
func (l *Loader) work(ctx context.Context, n note, res *Result) error {
	if len(n.Keys) == 0 {
		return nil
	}
	p := publisher{l: l, res: res, note: &n}
	loaded := 0
	for i, key := range n.Keys {
		found, err := p.object(ctx, n.Next+int64(i), key)
		if err != nil {
			return fmt.Errorf("object %s: %w", key, err)
		}
		if found {
			loaded++
		}
	}
	if err := p.flush(ctx); err != nil {
		return err
	}
	if l.cfg.Keep != "" {
		for _, key := range n.Keys {
			if err := l.copy(ctx, key, l.cfg.Keep); err != nil {
				return err
			}
		}
	}
	if err := l.store.Blobs.Delete(ctx, n.Keys); err != nil {
		return fmt.Errorf("deleting loaded objects: %w", err)
	}
	res.Objects += loaded
	return nil
}

// copy keeps an object under another prefix. An object that is gone was kept by the loader that deleted it.
func (l *Loader) copy(ctx context.Context, key, prefix string) error {
	r, err := l.open(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // It was only read.
	if _, _, err := l.store.Blobs.Put(ctx, prefix+key, r); err != nil {
		return fmt.Errorf("copy of %s to %s: %w", key, prefix, err)
	}
	return nil
}

// stamp is the time in a key that Firehose made: YYYY-MM-DD-HH-MM-SS before the random part.
var stamp = regexp.MustCompile(`-(\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d)-[0-9a-fA-F-]+$`)

// written returns when Firehose wrote an object, as far as its key tells.
func written(key string) time.Time {
	m := stamp.FindStringSubmatch(key)
	if m == nil {
		return time.Time{}
	}
	t, err := time.Parse("2006-01-02-15-04-05", m[1])
	if err != nil {
		return time.Time{}
	}
	return t
}
