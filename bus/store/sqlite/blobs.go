package sqlite

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

// bucket is the name of every embedded bus's blob space: a copy of the directory stays valid.
const bucket = "embedded"

// blobs keeps each blob in a file with a name of its own, drawn at random, and a row that says which. So keys may hold
// anything that S3 takes, on every file system; a blob becomes visible, or is replaced, by the commit of its row; and
// a file is never written to after that.
type blobs struct{ view }

func (b blobs) Put(ctx context.Context, key string, r io.Reader) (store.BlobRef, int64, error) {
	if err := rules.BlobKey(key); err != nil {
		return store.BlobRef{}, 0, err
	}
	if err := b.db.begun(ctx); err != nil {
		return store.BlobRef{}, 0, err
	}
	file, size, err := b.db.writeFile(ctx, r)
	if err != nil {
		return store.BlobRef{}, 0, fmt.Errorf("blob %s: %w", key, err)
	}
	owned := false // by the transaction, which removes the file if it fails
	err = b.write(ctx, func(t *txn) error {
		owned = true
		t.aborted = append(t.aborted, func() { b.db.removeFile(file) })
		old, err := blobFile(t.conn, key)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		if old.name != "" {
			t.committed = append(t.committed, func() { b.db.removeFile(old.name) })
		}
		_, err = t.exec("insert or replace into blobs(key, file, size) values(?, ?, ?)", key, file, size)
		return err
	})
	if err != nil {
		if !owned {
			b.db.removeFile(file)
		}
		return store.BlobRef{}, 0, err
	}
	return store.BlobRef{Bucket: bucket, Key: key}, size, nil
}

// storedFile is the row of a blob.
type storedFile struct {
	name string // below the directory of blobs, with slashes
	size int64
}

func blobFile(c *conn, key string) (f storedFile, err error) {
	err = c.row("select file, size from blobs where key = ?", key).Scan(&f.name, &f.size)
	return f, err
}

func (d *DB) filePath(name string) string {
	return filepath.Join(d.dir, blobsDir, filepath.FromSlash(name))
}

// writeFile stores what r holds in a new file, safely on the disk when it returns.
func (d *DB) writeFile(ctx context.Context, r io.Reader) (name string, size int64, err error) {
	text := strings.ToLower(rand.Text())
	file := text[:2] + "/" + text
	path := d.filePath(file)
	if err := os.Mkdir(filepath.Dir(path), 0o755); err == nil {
		err = syncDir(filepath.Dir(filepath.Dir(path)))
		if err != nil {
			return "", 0, d.fileError("write a blob", err)
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return "", 0, d.fileError("write a blob", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return "", 0, d.fileError("write a blob", err)
	}
	defer func() {
		if err != nil {
			_ = f.Close() // a second close does nothing
			d.removeFile(file)
		}
	}()
	src := &contextReader{ctx: ctx, r: r}
	if size, err = io.Copy(f, src); err != nil {
		if src.err != nil {
			return "", 0, fmt.Errorf("read: %w", src.err)
		}
		return "", 0, d.fileError("write a blob", err)
	}
	if err = errors.Join(f.Sync(), f.Close(), syncDir(filepath.Dir(path))); err != nil {
		return "", 0, d.fileError("write a blob", err)
	}
	return file, size, nil
}

// syncDir makes the entries of a directory durable. Windows cannot, and needs not, do that.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// removeFile removes a blob's file. Where that fails, on Windows while someone reads it, DB.Sweep will.
func (d *DB) removeFile(name string) { _ = os.Remove(d.filePath(name)) }

func (b blobs) Get(ctx context.Context, ref store.BlobRef, offset, length int64) (io.ReadCloser, error) {
	if ref.Bucket != bucket {
		return nil, fmt.Errorf("%w bucket %q: this store has %q", store.ErrInvalid, ref.Bucket, bucket)
	}
	f, size, err := b.open(ctx, ref.Key)
	if err != nil {
		return nil, err
	}
	if offset < 0 || offset > size {
		_ = f.Close()
		return nil, fmt.Errorf("%w range: blob %s has %d bytes, offset is %d", store.ErrInvalid, ref.Key, size, offset)
	}
	if length < 0 || length > size-offset {
		length = size - offset
	}
	return &blobReader{contextReader{ctx: ctx, r: io.NewSectionReader(f, offset, length)}, f}, nil
}

func (b blobs) open(ctx context.Context, key string) (*os.File, int64, error) {
	var last storedFile
	for {
		var row storedFile
		err := b.read(ctx, func(c *conn) (err error) {
			row, err = blobFile(c, key)
			return err
		})
		if errors.Is(err, sql.ErrNoRows) {
			return nil, 0, fmt.Errorf("blob %s: %w", key, store.ErrNotFound)
		}
		if err != nil {
			return nil, 0, err
		}
		f, err := os.Open(b.db.filePath(row.name))
		if errors.Is(err, fs.ErrNotExist) {
			if row == last {
				return nil, 0, fmt.Errorf("%w: blob %s: its file %s is missing: restore the directory from a backup",
					store.ErrCorrupt, key, b.db.filePath(row.name))
			}
			last = row // replaced between the two steps
			continue
		}
		if err != nil {
			return nil, 0, b.db.fileError("read blob "+key, err)
		}
		if fi, err := f.Stat(); err != nil || fi.Size() != row.size {
			_ = f.Close()
			return nil, 0, fmt.Errorf("%w: blob %s: its file %s should have %d bytes: restore the directory from a backup",
				store.ErrCorrupt, key, b.db.filePath(row.name), row.size)
		}
		return f, row.size, nil
	}
}

func (b blobs) Delete(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return b.db.begun(ctx)
	}
	return b.write(ctx, func(t *txn) error {
		for _, key := range keys {
			if err := b.db.deleteBlob(t, key); err != nil {
				return err
			}
		}
		return nil
	})
}

func (d *DB) deleteBlob(t *txn, key string) error {
	old, err := blobFile(t.conn, key)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	t.committed = append(t.committed, func() { d.removeFile(old.name) })
	_, err = t.exec("delete from blobs where key = ?", key)
	return err
}

func (b blobs) List(ctx context.Context, prefix, after string, limit int) ([]store.BlobInfo, error) {
	var out []store.BlobInfo
	err := b.read(ctx, func(c *conn) error {
		out = nil
		rows, err := c.query("select key, size from blobs where key >= ? and key > ? order by key", prefix, after)
		if err != nil {
			return err
		}
		defer rows.Close()
		for (limit <= 0 || len(out) < limit) && rows.Next() {
			var i store.BlobInfo
			if err := rows.Scan(&i.Key, &i.Size); err != nil {
				return err
			}
			if !strings.HasPrefix(i.Key, prefix) {
				break
			}
			out = append(out, i)
		}
		return rows.Err()
	})
	return out, err
}

// blobReader reads a range of a blob's file.
type blobReader struct {
	contextReader
	io.Closer
}

// contextReader ends with its context, and remembers its own errors.
type contextReader struct {
	ctx context.Context
	r   io.Reader
	err error
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		c.err = err
		return 0, err
	}
	n, err := c.r.Read(p)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}
