package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/store"
)

var epoch = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

func (d *DB) count(t *testing.T, table string) int {
	t.Helper()
	n := 0
	err := d.read(t.Context(), func(c *conn) error { return c.row("select count(*) from " + table).Scan(&n) })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestChunksAreHiddenFromTheSecondTheyExpireAndRemovedByASweep(t *testing.T) {
	now := epoch
	db := mustOpen(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	s := db.Store()
	var list []store.Chunk
	for i := range 500 {
		c := bigChunk("q", fmt.Sprintf("z/%03d", i))
		c.Gzip = []byte("gzip")
		c.Expires = epoch.Unix() + int64(i/2)
		if i%100 == 0 {
			c.Expires = 0
		}
		list = append(list, c)
	}
	if err := s.Chunks.Put(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	visible := func() int {
		p, err := s.Chunks.Query(t.Context(), "q", "", "z/9", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return len(p.Chunks)
	}
	for _, step := range []struct {
		seconds       int64
		left, removed int
	}{{-1, 500, 0}, {0, 499, 1}, {1, 497, 2}, {240, 23, 474}, {1000, 5, 18}} {
		now = epoch.Add(time.Duration(step.seconds) * time.Second)
		if got := visible(); got != step.left {
			t.Errorf("at %d s %d chunks are visible, want %d", step.seconds, got, step.left)
		}
		n, err := db.Sweep(t.Context(), now)
		if err != nil || n != step.removed {
			t.Errorf("at %d s the sweep removed %d chunks, want %d, error %v", step.seconds, n, step.removed, err)
		}
		if got := db.count(t, "chunks"); got != step.left {
			t.Errorf("at %d s %d chunks are stored, want %d", step.seconds, got, step.left)
		}
	}
}

func TestASweepRemovesTheBlobsThatOnlyExpiredChunksNamed(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{Now: func() time.Time { return epoch }})
	s := db.Store()
	put := func(queue, key string, expires int64, otherBucket bool) {
		t.Helper()
		ref, _, err := s.Blobs.Put(t.Context(), key, strings.NewReader("text"))
		if err != nil {
			t.Fatal(err)
		}
		if otherBucket {
			ref.Bucket = "other"
		}
		c := store.Chunk{Queue: queue, Start: "z/1", End: "z/1", Records: 1, Blob: &ref, Offsets: []store.Offset{{}}, Expires: expires}
		if err := s.Chunks.Put(t.Context(), []store.Chunk{c}); err != nil {
			t.Fatal(err)
		}
	}
	past, future := epoch.Unix()-1, epoch.Unix()+1
	put("q1", "gone", past, false)
	put("q2", "shared", past, false)
	put("q3", "shared", future, false)
	put("q4", "fresh", future, false)
	put("q5", "forever", 0, false)
	put("q6", "not-ours", past, true)
	if _, _, err := s.Blobs.Put(t.Context(), "unnamed", strings.NewReader("text")); err != nil {
		t.Fatal(err)
	}
	if n, err := db.Sweep(t.Context(), epoch); n != 3 || err != nil {
		t.Errorf("removed %d chunks, %v", n, err)
	}
	list, err := s.Blobs.List(t.Context(), "", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, b := range list {
		keys = append(keys, b.Key)
	}
	if d := cmp.Diff([]string{"forever", "fresh", "not-ours", "shared", "unnamed"}, keys); d != "" {
		t.Error(d)
	}
	files, err := filepath.Glob(filepath.Join(db.dir, blobsDir, "*", "*"))
	if err != nil || len(files) != len(keys) {
		t.Errorf("%d files, %v", len(files), err)
	}
}

func TestASweepRemovesOldFilesThatNoBlobNames(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{})
	if _, _, err := db.Store().Blobs.Put(t.Context(), "key", strings.NewReader("text")); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(db.dir, blobsDir, "zz")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-2 * orphanAge)
	for _, name := range []string{"old", "new"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("leftover"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(db.dir, blobsDir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if filepath.Base(f) != "new" {
			if err := os.Chtimes(f, old, old); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 2 { // the second does not look again
		if _, err := db.Sweep(t.Context(), epoch); err != nil {
			t.Fatal(err)
		}
	}
	left, err := filepath.Glob(filepath.Join(db.dir, blobsDir, "*", "*"))
	if err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "old")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the old leftover is still there")
	}
	r, err := db.Store().Blobs.Get(t.Context(), store.BlobRef{Bucket: bucket, Key: "key"}, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
}

func TestASweepEndsWithItsContext(t *testing.T) {
	db := mustOpen(t, t.TempDir(), Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := db.Sweep(ctx, epoch); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
