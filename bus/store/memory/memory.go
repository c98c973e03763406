// Package memory is a backend of the bus in the memory of one process: for tests, simulations and demos. It has the whole
// of the ports' meaning, Atomic included, but nothing survives the process.
//
// It starts no goroutines, reads no clock but the given one and draws no random numbers, so that a run over it repeats
// exactly. Everything that waits does so on channels, which keeps it usable inside a testing/synctest bubble.
package memory

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Options configures a store. The zero value is usable.
type Options struct {
	// Now is the clock that decides which chunks have expired; nil means time.Now.
	Now func() time.Time
}

// New returns an empty store. Its Intake is nil. It holds everything it was given until that is deleted or, for chunks,
// expires. Inside Atomic, Feed and a further Atomic are nil.
func New(o Options) store.Store {
	if o.Now == nil {
		o.Now = time.Now
	}
	d := &db{
		now:      o.Now,
		lock:     make(chan struct{}, 1),
		queues:   newTable[store.Queue](),
		bots:     newTable[store.Bot](),
		chunks:   map[string][]*store.Chunk{},
		settings: map[string]string{},
		systems:  newTable[string](),
		leases:   map[string]lease{},
		blobs:    newTable[[]byte](),
	}
	s := view{db: d}.store()
	s.Feed = feed{d}
	s.Atomic = d.atomic
	return s
}

// db is the state. lock guards everything but the feed, which has its own mutex so that waiting for it needs no lock.
// It is a channel: acquiring it ends with the context, and a bubble of synctest can tell that a goroutine waits for it.
type db struct {
	now      func() time.Time
	lock     chan struct{}
	queues   *table[store.Queue]
	bots     *table[store.Bot]
	chunks   map[string][]*store.Chunk // by queue, in order of End
	settings map[string]string
	systems  *table[string]
	leases   map[string]lease
	blobs    *table[[]byte]

	feedState feedState
}

// lease is a lock of the settings.
type lease struct {
	owner   string
	expires int64
}

// view is what the ports work on: the store itself, or one Atomic call's transaction.
type view struct {
	db *db
	tx *tx
}

// tx is the state of an Atomic call.
type tx struct {
	mu      sync.Mutex // held by each operation: the ports stay safe for concurrent use inside Atomic
	ended   bool
	undo    []func()
	changes []store.Change
}

var errEnded = errors.New("memory store: the view of an Atomic call was used after the call")

func (v view) store() store.Store {
	return store.Store{
		Chunks: chunks{v}, Queues: queues{v}, Bots: bots{v}, Settings: settings{v}, Systems: systems{v}, Blobs: blobs{v},
	}
}

// enter begins an operation; leave ends it.
func (v view) enter(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if v.tx != nil {
		v.tx.mu.Lock()
		if v.tx.ended {
			v.tx.mu.Unlock()
			return errEnded
		}
		return nil
	}
	return v.db.acquire(ctx)
}

func (v view) leave() {
	if v.tx != nil {
		v.tx.mu.Unlock()
		return
	}
	<-v.db.lock
}

func (d *db) acquire(ctx context.Context) error {
	select {
	case d.lock <- struct{}{}:
		return nil
	default:
	}
	select {
	case d.lock <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// onRollback notes how to undo the change that is about to be made. Outside Atomic there is nothing to undo: every
// operation checks before it changes.
func (v view) onRollback(undo func()) {
	if v.tx != nil {
		v.tx.undo = append(v.tx.undo, undo)
	}
}

// changed tells the feed, now or when the Atomic call commits.
func (v view) changed(kind store.ChangeKind, id string) {
	c := store.Change{Kind: kind, ID: id}
	if v.tx != nil {
		v.tx.changes = append(v.tx.changes, c)
		return
	}
	v.db.feedState.add(c)
}

func (d *db) atomic(ctx context.Context, fn func(ctx context.Context, tx store.Store) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.acquire(ctx); err != nil {
		return err
	}
	defer func() { <-d.lock }()
	t := &tx{}
	committed := false
	defer func() { t.end(committed) }() // also when fn panics
	if err := fn(ctx, view{db: d, tx: t}.store()); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	committed = true
	d.feedState.add(t.changes...)
	return nil
}

// end closes the transaction for use and, if it was not committed, puts everything back in reverse order.
func (t *tx) end(committed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	if committed {
		return
	}
	for i := len(t.undo) - 1; i >= 0; i-- {
		t.undo[i]()
	}
}
