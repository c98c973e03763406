package sqlite

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rstreams-go/rstreams/bus/store"
)

func TestCommitsAreSynced(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{})
	c := <-db.slot
	defer func() { db.slot <- c }()
	for pragma, want := range map[string]string{
		"synchronous": "2", "journal_mode": "wal", "fullfsync": "1", "checkpoint_fullfsync": "1", "page_size": "8192",
	} {
		var got string
		if err := c.scan("pragma "+pragma, &got); err != nil || got != want {
			t.Errorf("%s is %s, want %s, error %v", pragma, got, want, err)
		}
	}
}

// image is everything that a store holds.
type image struct {
	Queues []store.Queue
	Bots   []store.Bot
	Chunks []store.Chunk
	Blobs  map[string]string
	Lock   bool
}

func imageOf(t *testing.T, s store.Store) image {
	t.Helper()
	ctx := t.Context()
	img := image{Blobs: map[string]string{}}
	var err error
	if img.Queues, err = s.Queues.List(ctx, "", 0); err != nil {
		t.Fatal(err)
	}
	if img.Bots, err = s.Bots.List(ctx, "", 0); err != nil {
		t.Fatal(err)
	}
	for _, q := range img.Queues {
		p, err := s.Chunks.Query(ctx, q.Name, "", "z/9", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range p.Chunks {
			sum := sha256.Sum256(c.Gzip) // as quick to compare
			c.Gzip = sum[:]
			img.Chunks = append(img.Chunks, c)
		}
	}
	blobs, err := s.Blobs.List(ctx, "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		r, err := s.Blobs.Get(ctx, store.BlobRef{Bucket: bucket, Key: b.Key}, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		img.Blobs[b.Key] = string(text)
	}
	img.Lock = errors.Is(s.Settings.Acquire(ctx, "lock", "other", 1, 2), store.ErrConflict)
	return img
}

// fill writes something of everything.
func fill(t *testing.T, s store.Store, n int) {
	t.Helper()
	ctx := t.Context()
	q, b := fmt.Sprint("q", n), fmt.Sprint("b", n)
	const lastID = "z/2026/11/21/00/00/1795219200000-0000001"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	g, err := s.Queues.Claim(ctx, store.Claim{Queue: q, Owner: "o", Shard: "s", First: "1", Arrival: 5, Now: 5, Lease: 5})
	must(err)
	must(s.Chunks.Put(ctx, []store.Chunk{bigChunk(q, "z/1"), bigChunk(q, lastID)}))
	must(s.Queues.Advance(ctx, store.Advance{Queue: q, Fence: g.Fence, Head: lastID, Shard: "s", Through: "1", Now: 6}))
	must(s.Bots.Register(ctx, store.Registration{ID: b, Name: "name", Triggers: []string{q}, Tags: []string{"t"}}))
	must(s.Bots.Checkpoint(ctx, store.CheckpointWrite{
		Bot: b, Ref: "queue:" + q, Checkpoint: store.Checkpoint{Position: "z/1", Records: 3}}))
	must(s.Bots.Lock(ctx, store.Lock{Bot: b, At: 7, Progress: map[string]string{"queue:" + q: "z/1"}}))
	_, _, err = s.Blobs.Put(ctx, fmt.Sprint("blob", n), strings.NewReader(strings.Repeat("text", n)))
	must(err)
	must(s.Settings.Acquire(ctx, "lock", "me", 1, 1000))
}

func TestEverythingIsThereAfterAReopening(t *testing.T) {
	dir := t.TempDir()
	db := mustOpen(t, dir, Options{})
	fill(t, db.Store(), 1)
	fill(t, db.Store(), 2)
	want := imageOf(t, db.Store())
	_, cursor, err := db.Store().Feed.Changes(t.Context(), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = mustOpen(t, dir, Options{})
	if d := cmp.Diff(want, imageOf(t, db.Store()), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	if !want.Lock || len(want.Chunks) != 4 {
		t.Errorf("the image is not what was written: %v, %d chunks", want.Lock, len(want.Chunks))
	}
	// A reader of the feed goes on where it was.
	fill(t, db.Store(), 3)
	changes, _, err := db.Store().Feed.Changes(t.Context(), cursor, 10)
	wantChanges := []store.Change{{Kind: store.QueueChanged, ID: "q3"}, {Kind: store.BotChanged, ID: "b3"}}
	if d := cmp.Diff(wantChanges, changes); d != "" || err != nil {
		t.Error(d, err)
	}
}

// A copy of the files at any moment is what a crash of the process leaves.
func TestAcknowledgedWritesAreInTheFilesBeforeTheClose(t *testing.T) {
	dir := t.TempDir()
	db := mustOpen(t, dir, Options{})
	for n := range 4 {
		fill(t, db.Store(), n)
		want := imageOf(t, db.Store())
		crash := t.TempDir()
		if err := os.CopyFS(crash, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(crash, fileName+"-shm")); err != nil { // a machine's crash loses it
			t.Fatal(err)
		}
		copied := mustOpen(t, crash, Options{})
		if d := cmp.Diff(want, imageOf(t, copied.Store()), cmpopts.EquateEmpty()); d != "" {
			t.Fatal(d)
		}
	}
}

// The last frames of the WAL may be missing or garbled after a crash: what they held was not acknowledged, and what was is
// not touched by that.
func TestAWALThatEndsInGarbageIsCutAtItsLastWholeCommit(t *testing.T) {
	dir := t.TempDir()
	db := mustOpen(t, dir, Options{})
	fill(t, db.Store(), 1)
	want := imageOf(t, db.Store())
	wal, err := os.Stat(filepath.Join(dir, fileName+"-wal"))
	if err != nil {
		t.Fatal(err)
	}
	fill(t, db.Store(), 2)
	for _, spoil := range []func(path string) error{
		func(path string) error { return os.Truncate(path, wal.Size()+100) },
		func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("garbage"), wal.Size()+5000)
			return errors.Join(err, f.Close())
		},
	} {
		crash := t.TempDir()
		if err := os.CopyFS(crash, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(filepath.Join(crash, fileName+"-shm")), spoil(filepath.Join(crash, fileName+"-wal"))); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, imageOf(t, mustOpen(t, crash, Options{}).Store()), cmpopts.EquateEmpty()); d != "" {
			t.Error(d)
		}
	}
}

func TestTheWALIsCutWhenReadersLetItGrow(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{})
	db.walLimit = 12 << 20
	n := 0
	write := func() {
		t.Helper()
		n++
		if err := db.Store().Chunks.Put(t.Context(), []store.Chunk{bigChunk("q", fmt.Sprintf("z/%05d", n))}); err != nil || n > 1000 {
			t.Fatal(n, err)
		}
	}
	size := func() int64 {
		fi, err := os.Stat(db.path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		return fi.Size()
	}
	write()
	slow := locker(t, db, "begin; select count(*) from queues") // a reader that stays
	for size() < 2*db.walLimit {
		write()
	}
	if _, err := slow.ExecContext(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	write()
	if n := size(); n >= db.walLimit {
		t.Errorf("the WAL still has %d bytes", n)
	}
	for range 200 { // 60 MB beside quick readers
		write()
		if _, err := db.Store().Queues.List(t.Context(), "", 1); err != nil {
			t.Fatal(err)
		}
	}
	if n := size(); n > 2*db.walLimit {
		t.Errorf("the WAL has grown to %d bytes", n)
	}
}

func TestAClosedStoreIsUnavailable(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{})
	s := db.Store()
	_, cursor, err := s.Feed.Changes(t.Context(), "", 1)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() { clear(t, s.Feed.Wait(t.Context(), cursor), store.ErrUnavailable, "closed") })
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	clear(t, s.Queues.SetArchive(t.Context(), "q", "z/1"), store.ErrUnavailable, "closed")
	_, err = s.Queues.Get(t.Context(), "q")
	clear(t, err, store.ErrUnavailable, "closed")
	_, _, err = s.Blobs.Put(t.Context(), "k", strings.NewReader(""))
	clear(t, err, store.ErrUnavailable, "closed")
	clear(t, s.Feed.Wait(t.Context(), cursor), store.ErrUnavailable, "closed")
	_, err = db.Sweep(t.Context(), time.Now())
	clear(t, err, store.ErrUnavailable, "closed")
	if err := db.Close(); err != nil {
		t.Errorf("a second close: %v", err)
	}
}

func TestCloseWaitsForWhatIsInProgress(t *testing.T) {
	dir := t.TempDir()
	db := mustOpen(t, dir, Options{})
	inside, proceed := make(chan struct{}), make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- db.Store().Atomic(t.Context(), func(ctx context.Context, tx store.Store) error {
			close(inside)
			<-proceed
			return tx.Queues.SetArchive(ctx, "q", "z/1")
		})
	}()
	<-inside
	closed := make(chan error, 1)
	go func() { closed <- db.Close() }()
	select {
	case <-closed:
		t.Error("closed with a transaction in progress")
	case <-db.closing:
	}
	close(proceed)
	if err := errors.Join(<-done, <-closed); err != nil {
		t.Fatal(err)
	}
	if _, err := mustOpen(t, dir, Options{}).Store().Queues.Get(t.Context(), "q"); err != nil {
		t.Error(err)
	}
}

func TestAProcessThatWritesAllTheTimeLetsOthersIn(t *testing.T) {
	dir := t.TempDir()
	busy, other := mustOpen(t, dir, Options{}), mustOpen(t, dir, Options{BusyTimeout: 5 * time.Second})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			err := busy.Store().Chunks.Put(ctx, []store.Chunk{bigChunk("q", fmt.Sprint("z/", n%10))})
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
	for i := range 20 {
		if err := other.Store().Queues.SetArchive(t.Context(), "other", fmt.Sprintf("z/%03d", i)); err != nil {
			t.Error(err)
		}
	}
	cancel()
	wg.Wait()
}
