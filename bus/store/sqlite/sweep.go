package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

const (
	// sweepBatch bounds one transaction of Sweep: writers wait for it.
	sweepBatch = 200
	// orphanAge is how old a file without a row must be to count as left over by a crash; orphanEvery is how often to look.
	orphanAge   = 24 * time.Hour
	orphanEvery = 24 * time.Hour
)

// Sweep removes the chunks that have expired at now, and the blobs that only such chunks named. Queries hide expired chunks
// in any case; this gives their space back for new ones. About once a day it also removes the files that crashes left in
// the directory of blobs. It returns how many chunks it removed, works in small transactions, and may run at any time, in
// several processes too.
func (d *DB) Sweep(ctx context.Context, now time.Time) (int, error) {
	total := 0
	for {
		n := 0
		err := d.transact(ctx, func(t *txn) error {
			var err error
			n, err = d.sweepChunks(t, now.Unix())
			return err
		})
		if err != nil {
			return total, err
		}
		total += n
		if n < sweepBatch {
			return total, d.sweepFiles(ctx)
		}
	}
}

func (d *DB) sweepChunks(t *txn, now int64) (int, error) {
	rows, err := t.query("select id, coalesce(blob, '') from chunks where expires > 0 and expires <= ? limit ?", now, sweepBatch)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	var ids []int64
	var keys []string
	for rows.Next() {
		var id int64
		var key string
		if err := rows.Scan(&id, &key); err != nil {
			return 0, err
		}
		ids = append(ids, id)
		if key != "" {
			keys = append(keys, key)
		}
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	for _, id := range ids {
		if _, err := t.exec("delete from chunks where id = ?", id); err != nil {
			return 0, err
		}
	}
	for _, key := range keys {
		var named bool
		if err := t.row("select exists(select 1 from chunks where blob = ?)", key).Scan(&named); err != nil {
			return 0, err
		}
		if !named {
			if err := d.deleteBlob(t, key); err != nil {
				return 0, err
			}
		}
	}
	return len(ids), nil
}

// sweepFiles removes old files that no row names.
func (d *DB) sweepFiles(ctx context.Context) error {
	now := time.Now() // the file system's clock, whatever the bus's is
	last := d.orphans.Load()
	if now.UnixNano()-last < int64(orphanEvery) || !d.orphans.CompareAndSwap(last, now.UnixNano()) {
		return nil
	}
	root := filepath.Join(d.dir, blobsDir)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // Another process sweeps too.
		}
		if err != nil || e.IsDir() {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		fi, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) || err == nil && now.Sub(fi.ModTime()) < orphanAge {
			return nil
		}
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		var named bool
		err = d.read(ctx, func(c *conn) error {
			return c.row("select exists(select 1 from blobs where file = ?)", filepath.ToSlash(name)).Scan(&named)
		})
		if err != nil || named {
			return err
		}
		if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	if err != nil && ctx.Err() == nil {
		return d.fileError("remove leftover blobs", err)
	}
	return err
}
