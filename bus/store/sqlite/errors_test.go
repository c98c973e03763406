package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// clear checks that err is of the kind and says, in one line, what is wrong with which file.
func clear(t *testing.T, err, kind error, want ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("got error %v, want %v", err, kind)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than one line: %q", err)
	}
}

func mustOpen(t *testing.T, dir string, o Options) *DB {
	t.Helper()
	db, err := Open(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestOpenSaysWhatIsInTheWay(t *testing.T) {
	file := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	other := func(t *testing.T, path, script string) {
		t.Helper()
		db, err := sql.Open("sqlite", dsn(path))
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.Exec(script)
		if err := errors.Join(err, db.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		prepare func(t *testing.T, dir string) (open string)
		kind    error
		say     string
	}{
		"a file in place of the directory": {func(t *testing.T, dir string) string {
			file(t, filepath.Join(dir, "x"), "")
			return filepath.Join(dir, "x")
		}, store.ErrUnavailable, "choose another directory"},
		"a file above the directory": {func(t *testing.T, dir string) string {
			file(t, filepath.Join(dir, "x"), "")
			return filepath.Join(dir, "x", "bus")
		}, store.ErrUnavailable, "choose another directory"},
		"a directory in place of bus.db": {func(t *testing.T, dir string) string {
			if err := os.Mkdir(filepath.Join(dir, fileName), 0o755); err != nil {
				t.Fatal(err)
			}
			return dir
		}, store.ErrUnavailable, "cannot open"},
		"a file that is no database": {func(t *testing.T, dir string) string {
			file(t, filepath.Join(dir, fileName), strings.Repeat("no database at all ", 1000))
			return dir
		}, store.ErrCorrupt, "is not a database"},
		"a short file that is no database": {func(t *testing.T, dir string) string {
			file(t, filepath.Join(dir, fileName), "hello")
			return dir
		}, store.ErrCorrupt, "is not a database"},
		"a database of another program": {func(t *testing.T, dir string) string {
			other(t, filepath.Join(dir, fileName), "create table theirs(a)")
			return dir
		}, store.ErrUnavailable, "another program"},
		"a newer version's database": {func(t *testing.T, dir string) string {
			other(t, filepath.Join(dir, fileName), fmt.Sprintf(
				"create table a(b); pragma application_id=%d; pragma user_version=%d", applicationID, version+1))
			return dir
		}, store.ErrUnavailable, "upgrade this program"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := c.prepare(t, t.TempDir())
			db, err := Open(t.Context(), dir, Options{BusyTimeout: 50 * time.Millisecond})
			if err == nil {
				_ = db.Close()
			}
			clear(t, err, c.kind, c.say, filepath.Base(filepath.Dir(dir)))
		})
	}
}

func TestADatabaseOfAnotherProgramIsLeftAsItWas(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	db, err := sql.Open("sqlite", dsn(path))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("create table theirs(a); insert into theirs values(1)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = Open(t.Context(), dir, Options{})
	clear(t, err, store.ErrUnavailable)
	if db, err = sql.Open("sqlite", dsn(path)); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var tables int
	if err := db.QueryRow("select count(*) from sqlite_schema").Scan(&tables); err != nil || tables != 1 {
		t.Errorf("it has %d tables now, error %v", tables, err)
	}
}

// locker is another program that has the file open.
func locker(t *testing.T, db *DB, script string) *sql.Conn {
	t.Helper()
	other, err := sql.Open("sqlite", dsn(db.path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = other.Close() })
	c, err := other.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if _, err := c.ExecContext(t.Context(), script); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestALockedDatabaseIsUnavailableAfterTheTimeoutAndReadableMeanwhile(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{BusyTimeout: 50 * time.Millisecond})
	s := db.Store()
	if err := s.Queues.SetArchive(t.Context(), "q", "z/1"); err != nil {
		t.Fatal(err)
	}
	c := locker(t, db, "begin exclusive")
	clear(t, s.Queues.SetArchive(t.Context(), "q", "z/2"), store.ErrUnavailable, "locked", db.path, "50ms")
	err := s.Atomic(t.Context(), func(context.Context, store.Store) error { t.Error("ran without the lock"); return nil })
	clear(t, err, store.ErrUnavailable)
	if q, err := s.Queues.Get(t.Context(), "q"); err != nil || q.ArchiveEnd != "z/1" {
		t.Errorf("a read beside the lock gave %+v, %v", q, err)
	}
	if _, err := c.ExecContext(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	if err := s.Queues.SetArchive(t.Context(), "q", "z/3"); err != nil {
		t.Errorf("after the lock was released: %v", err)
	}
}

func TestAWaitForALockEndsWithItsContext(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{BusyTimeout: time.Hour})
	locker(t, db, "begin exclusive")
	ctx, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 2)
	for range 2 { // one waits for the lock, the other for the first
		go func() { errs <- db.Store().Queues.SetArchive(ctx, "q", "z/2") }()
	}
	cancel()
	for range 2 {
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
}

func TestOpenWaitsForALockUntilItsContextEnds(t *testing.T) {
	dir := t.TempDir()
	if err := mustOpen(t, dir, Options{}).Close(); err != nil {
		t.Fatal(err)
	}
	locker(t, &DB{path: filepath.Join(dir, fileName)}, "pragma locking_mode=exclusive; begin exclusive")
	_, err := Open(t.Context(), dir, Options{BusyTimeout: 30 * time.Millisecond})
	clear(t, err, store.ErrUnavailable, "locked")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, dir, Options{BusyTimeout: time.Hour}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

// limit lets the file grow by so many pages at most; less than 0 means without end.
func limit(t *testing.T, db *DB, pages int) {
	t.Helper()
	c := <-db.slot
	defer func() { db.slot <- c }()
	n := 1 << 30
	if pages >= 0 {
		if err := c.scan("pragma page_count", &n); err != nil {
			t.Fatal(err)
		}
	}
	var got int
	if err := c.scan(fmt.Sprintf("pragma max_page_count=%d", n+max(pages, 0)), &got); err != nil {
		t.Fatal(err)
	}
}

func bigChunk(queue, end string) store.Chunk {
	return store.Chunk{Queue: queue, Start: end, End: end, Records: 1, Size: 1, GzipSize: 1, Gzip: bytes.Repeat([]byte{7}, 300_000)}
}

func TestAFullDiskIsUnavailableAndLosesNothing(t *testing.T) {
	dir := t.TempDir()
	db := mustOpen(t, dir, Options{})
	s := db.Store()
	put := func(end string) error { return s.Chunks.Put(t.Context(), []store.Chunk{bigChunk("q", end)}) }
	if err := put("z/1"); err != nil {
		t.Fatal(err)
	}
	limit(t, db, 5)
	clear(t, put("z/2"), store.ErrUnavailable, "no space", db.path)
	err := s.Atomic(t.Context(), func(ctx context.Context, tx store.Store) error {
		if err := tx.Queues.SetArchive(ctx, "before", "z/1"); err != nil {
			return err
		}
		clear(t, tx.Chunks.Put(ctx, []store.Chunk{bigChunk("q", "z/3")}), store.ErrUnavailable)
		// What follows must not be committed by itself, though SQLite has rolled back.
		clear(t, tx.Queues.SetArchive(ctx, "after", "z/1"), store.ErrUnavailable)
		_, err := tx.Queues.Get(ctx, "before")
		clear(t, err, store.ErrUnavailable)
		return nil // even if the caller does not care
	})
	clear(t, err, store.ErrUnavailable, "no space")
	for _, q := range []string{"before", "after"} {
		if _, err := s.Queues.Get(t.Context(), q); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("queue %s is there: %v", q, err)
		}
	}
	limit(t, db, -1)
	if err := put("z/4"); err != nil {
		t.Fatal(err)
	}
	p, err := s.Chunks.Query(t.Context(), "q", "", "z/9", 0, 0)
	if err != nil || len(p.Chunks) != 2 || p.Chunks[0].End != "z/1" || p.Chunks[1].End != "z/4" {
		t.Errorf("%d chunks, %v", len(p.Chunks), err)
	}
}

func TestAReadOnlyDatabaseIsUnavailable(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{})
	err := db.read(t.Context(), func(c *conn) error { return c.run("delete from queues") }) // readers may not write
	clear(t, err, store.ErrUnavailable, "read-only", db.path)
}

func TestADamagedFileIsCorrupt(t *testing.T) {
	dir := t.TempDir()
	db := mustOpen(t, dir, Options{})
	for i := range 50 {
		if err := db.Store().Chunks.Put(t.Context(), []store.Chunk{bigChunk("q", fmt.Sprintf("z/%03d", i))}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, fileName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	garbage := bytes.Repeat([]byte{0xA5}, 8192)
	for page := int64(20); page < 1500; page++ {
		if _, err := f.WriteAt(garbage, page*8192); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	db = mustOpen(t, dir, Options{})
	_, err = db.Store().Chunks.Query(t.Context(), "q", "", "z/9", 0, 0)
	clear(t, err, store.ErrCorrupt, "damaged", db.path, ".recover")
}

func TestRowsThatCannotBeReadAreCorrupt(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{})
	s := db.Store()
	if err := s.Bots.Register(t.Context(), store.Registration{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	if err := s.Queues.SetArchive(t.Context(), "q", "z/1"); err != nil {
		t.Fatal(err)
	}
	c := bigChunk("q", "z/1")
	c.Creator = "firehose"
	if err := s.Chunks.Put(t.Context(), []store.Chunk{c}); err != nil {
		t.Fatal(err)
	}
	err := db.transact(t.Context(), func(tx *txn) error {
		return tx.run("update bots set triggers = '{'; update queues set through = '['; update chunks set extra = 'x'")
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Bots.Get(t.Context(), "b")
	clear(t, err, store.ErrCorrupt, "bot b")
	_, err = s.Bots.List(t.Context(), "", 10)
	clear(t, err, store.ErrCorrupt, "bot b")
	_, err = s.Queues.Get(t.Context(), "q")
	clear(t, err, store.ErrCorrupt, "queue q")
	_, err = s.Chunks.Query(t.Context(), "q", "", "z/9", 0, 0)
	clear(t, err, store.ErrCorrupt, "queue q")
	bad, ok := errors.AsType[*store.ChunkError](err)
	if !ok || bad.Chunk.Queue != "q" || bad.Chunk.End != "z/1" || bad.Chunk.Expires != c.Expires {
		t.Fatalf("%+v", bad)
	}
	// What is before it can be read, and what is after it.
	for _, end := range []string{"z/0", "z/2"} {
		if err := s.Chunks.Put(t.Context(), []store.Chunk{bigChunk("q", end)}); err != nil {
			t.Fatal(err)
		}
	}
	page, err := s.Chunks.Query(t.Context(), "q", "", "z/9", 0, 0)
	if err != nil || len(page.Chunks) != 1 || page.Chunks[0].End != "z/0" || !page.More {
		t.Errorf("%+v, %v", page, err)
	}
	_, err = s.Chunks.Query(t.Context(), "q", "z/0", "z/9", 0, 0)
	clear(t, err, store.ErrCorrupt, "queue q")
	if page, err := s.Chunks.Query(t.Context(), "q", bad.Chunk.End, "z/9", 0, 0); err != nil || len(page.Chunks) != 1 || page.More {
		t.Errorf("%+v, %v", page, err)
	}
}

func TestBlobFilesThatAreGoneOrCutAreCorrupt(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{})
	s := db.Store()
	ref, _, err := s.Blobs.Put(t.Context(), "key", strings.NewReader("some text"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(db.dir, blobsDir, "*", "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, %v", files, err)
	}
	if err := os.Truncate(files[0], 3); err != nil {
		t.Fatal(err)
	}
	_, err = s.Blobs.Get(t.Context(), ref, 0, -1)
	clear(t, err, store.ErrCorrupt, "key", files[0])
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	_, err = s.Blobs.Get(t.Context(), ref, 0, -1)
	clear(t, err, store.ErrCorrupt, "key", files[0])
}

func TestAPlaceWhereNoBlobCanBeWrittenIsUnavailable(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{})
	dir := filepath.Join(db.dir, blobsDir)
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, err := db.Store().Blobs.Put(t.Context(), "key", strings.NewReader("text"))
	clear(t, err, store.ErrUnavailable, db.dir)
}

func TestNothingOfAFailedBlobStaysOnTheDisk(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{BusyTimeout: 20 * time.Millisecond})
	s := db.Store()
	files := func() int {
		got, err := filepath.Glob(filepath.Join(db.dir, blobsDir, "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(got)
	}
	boom := errors.New("boom")
	r := io.MultiReader(strings.NewReader("half"), brokenReader{boom})
	if _, _, err := s.Blobs.Put(t.Context(), "key", r); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	err := s.Atomic(t.Context(), func(ctx context.Context, tx store.Store) error {
		_, _, err := tx.Blobs.Put(ctx, "key", strings.NewReader("text"))
		return errors.Join(err, boom)
	})
	if !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	c := locker(t, db, "begin exclusive")
	_, _, err = s.Blobs.Put(t.Context(), "key", strings.NewReader("text"))
	clear(t, err, store.ErrUnavailable)
	if _, err := c.ExecContext(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	if n := files(); n != 0 {
		t.Errorf("%d files are left", n)
	}
	for range 3 {
		if _, _, err := s.Blobs.Put(t.Context(), "key", strings.NewReader("text")); err != nil {
			t.Fatal(err)
		}
	}
	if n := files(); n != 1 {
		t.Errorf("one blob has %d files", n)
	}
	if err := s.Blobs.Delete(t.Context(), []string{"key"}); err != nil {
		t.Fatal(err)
	}
	if n := files(); n != 0 {
		t.Errorf("a deleted blob has %d files", n)
	}
}

type brokenReader struct{ err error }

func (r brokenReader) Read([]byte) (int, error) { return 0, r.err }
