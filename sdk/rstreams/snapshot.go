package rstreams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// SnapshotOptions configures WriteSnapshot. Queue is required; Bot too, unless the session names one.
type SnapshotOptions struct {
	// Bot is the bot that writes; "" means the session's. Queue is the queue whose state the snapshot holds.
	Bot, Queue string
	// Next is the time from whose minute on live events follow the snapshot; zero means a minute before WriteSnapshot was called,
	// as the bus's clock, which gives events their ids, may be behind this one's. Events that the snapshot has taken account of may
	// follow again; one that it has not must not be before Next.
	Next time.Time
	// Write tunes the writer: its Blobs, bounds, partition, retries and OnAck. Its other fields do not apply.
	Write WriterOptions
}

// ErrSnapshotRunning reports that another snapshot of the queue was begun in the meantime. Callers should let that one finish.
var ErrSnapshotRunning = errors.New("another snapshot of the queue was begun")

// clockMargin is how far this machine's clock may be ahead of the bus's.
const clockMargin = time.Minute

// snapshotSetting holds the minute path of the newest snapshot that was begun of a queue.
const snapshotSetting = "snapshot_"

// WriteSnapshot replaces the queue's snapshot: what readers get that start at "z/", before live events (sdk.md 4.5, W12). fill
// puts events into w, which sends them in objects; they must all be for the queue. When it returns nil and all is durable, the
// snapshot is registered: readers see either the old one or the whole of the new one. After an error the old one stays, and
// what was written of the new one is left behind, seen by nobody.
//
// The events of a snapshot lie under its minute, so that each gets a minute of its own: one that is begun within the minute of
// the one before is dated a minute later. It returns the position at which the snapshot begins.
func (b *Bus) WriteSnapshot(ctx context.Context, o SnapshotOptions, fill func(ctx context.Context, w *Writer) error) (string, error) {
	begun := b.now()
	if o.Next.IsZero() {
		o.Next = begun.Add(-clockMargin)
	}
	wo := o.Write
	wo.Bot, wo.Queue, wo.Path = o.Bot, o.Queue, PathBlobs
	queue := ref.Queue(o.Queue)
	if queue == "" {
		return "", wrap("write snapshot", "", "", fmt.Errorf("%w: no queue is named", errOptions))
	}
	if strings.HasSuffix(queue, store.SnapshotSuffix) || strings.HasSuffix(queue, store.ArchiveSuffix) {
		return "", wrap("write snapshot", queue, "", fmt.Errorf("%w: the queue holds a snapshot or an archive itself", errOptions))
	}
	fail := func(err error) (string, error) { return "", wrap("write snapshot", queue, "", err) }
	if next := o.Next.UnixMilli(); next < 0 || next > maxSnapshotTime {
		return fail(fmt.Errorf("%w: Next is %s", errOptions, o.Next))
	}
	if wo.Blobs.Prefix == "" {
		wo.Blobs.Prefix = "_snapshot/" + b.bot(o.Bot)
	}
	if _, err := b.NewWriter(wo); err != nil { // Before a minute is taken.
		return "", err
	}
	at, err := b.snapshotMinute(ctx, queue, begun)
	if err != nil {
		return fail(err)
	}
	wo.snapshot = at
	w, err := b.NewWriter(wo)
	if err != nil {
		return "", err
	}
	if err := fill(ctx, w); err != nil {
		w.abandon(err)
		return fail(err)
	}
	if err := w.finishSnapshot(ctx, queue, at, o.Next.UnixMilli()); err != nil {
		w.abandon(err)
		return fail(err)
	}
	return eid.SnapshotPrefix + eid.MinutePath(at), wrap("write snapshot", queue, "", w.Close(ctx))
}

// maxSnapshotTime is the latest time that an event id can have, in ms.
const maxSnapshotTime = 9_999_999_999_999

// snapshotMinute takes a minute for a new snapshot that no other has, and returns its ms: that of now, or the first one after
// it and after the newest one.
func (b *Bus) snapshotMinute(ctx context.Context, queue string, now time.Time) (int64, error) {
	const minute = int64(time.Minute / time.Millisecond)
	st := &b.core.store
	id := snapshotSetting + queue
	old, err := st.Settings.Get(ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	last := ""
	if old != nil {
		if err := json.Unmarshal(old, &last); err != nil {
			return 0, fmt.Errorf("%w: setting %s is %.60q, want a date path", store.ErrCorrupt, id, string(old))
		}
	}
	// Other programs may have written a snapshot and keep no such setting.
	row, err := st.Queues.Get(ctx, queue+store.SnapshotSuffix)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return 0, err
	}
	if i := strings.LastIndexByte(row.Head, '/'); i >= 0 {
		last = max(last, row.Head[:i+1])
	}
	at := now.UnixMilli()
	if last != "" && eid.MinutePath(at) <= last {
		newest, err := eid.Time(last)
		if err != nil {
			return 0, fmt.Errorf("%w: the newest snapshot of %s lies under %q: %w", store.ErrCorrupt, queue, last, err)
		}
		at = newest.UnixMilli() + minute
	}
	next, err := json.Marshal(eid.MinutePath(at))
	if err != nil {
		return 0, err
	}
	if err := st.Settings.Swap(ctx, id, old, next); errors.Is(err, store.ErrConflict) {
		return 0, fmt.Errorf("%w: %w", ErrSnapshotRunning, err)
	} else if err != nil {
		return 0, err
	}
	return at, nil
}

// snapshotCommand is the line that registers a snapshot (bus.md 2.5).
type snapshotCommand struct {
	Command string `json:"_cmd"`
	Queue   string `json:"event"`
	Start   int64  `json:"start"`
	Next    int64  `json:"next"`
	Bot     string `json:"id"`
}

// finishSnapshot registers the snapshot once everything put is durable.
func (w *Writer) finishSnapshot(ctx context.Context, queue string, at, next int64) error {
	if err := w.Flush(ctx); err != nil {
		return err
	}
	line, err := json.Marshal(snapshotCommand{"registerSnapshot", queue, at, next, w.o.Bot})
	if err != nil {
		return err
	}
	b := newBatch(queue)
	b.text = append(append(b.text, line...), '\n')
	w.mu.Lock()
	if w.err != nil || w.closed {
		err := w.err
		w.mu.Unlock()
		if err == nil {
			err = fmt.Errorf("%w: the snapshot's writer", ErrClosed)
		}
		return err
	}
	w.push(b)
	w.mu.Unlock()
	_, err = Ack{b: b}.Wait(ctx)
	return err
}

// abandon ends the writer without waiting for what is not durable.
func (w *Writer) abandon(err error) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(err)
	_ = w.Close(ctx) // It fails, and the cause is known.
}
