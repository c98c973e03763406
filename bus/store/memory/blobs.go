package memory

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

// bucket is the name of the store's blob space.
const bucket = "memory"

type blobs struct{ view }

func (b blobs) Put(ctx context.Context, key string, r io.Reader) (store.BlobRef, int64, error) {
	if err := rules.BlobKey(key); err != nil {
		return store.BlobRef{}, 0, err
	}
	if err := ctx.Err(); err != nil {
		return store.BlobRef{}, 0, err
	}
	data, err := io.ReadAll(contextReader{ctx, r}) // before the lock is taken: the source may be slow
	if err != nil {
		return store.BlobRef{}, 0, fmt.Errorf("read blob %s: %w", key, err)
	}
	if err := b.enter(ctx); err != nil {
		return store.BlobRef{}, 0, err
	}
	defer b.leave()
	b.onRollback(b.db.blobs.replace(key, data))
	return store.BlobRef{Bucket: bucket, Key: key}, int64(len(data)), nil
}

func (b blobs) Get(ctx context.Context, ref store.BlobRef, offset, length int64) (io.ReadCloser, error) {
	if ref.Bucket != bucket {
		return nil, fmt.Errorf("%w bucket %q: this store has %q", store.ErrInvalid, ref.Bucket, bucket)
	}
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.leave()
	data, ok := b.db.blobs.rows[ref.Key]
	if !ok {
		return nil, fmt.Errorf("blob %s: %w", ref.Key, store.ErrNotFound)
	}
	if offset < 0 || offset > int64(len(data)) {
		return nil, fmt.Errorf("%w range: blob %s has %d bytes, offset is %d", store.ErrInvalid, ref.Key, len(data), offset)
	}
	data = data[offset:]
	if length >= 0 && length < int64(len(data)) {
		data = data[:length]
	}
	return io.NopCloser(contextReader{ctx, bytes.NewReader(data)}), nil // stored blobs are replaced, never written to
}

func (b blobs) Delete(ctx context.Context, keys []string) error {
	if err := b.enter(ctx); err != nil {
		return err
	}
	defer b.leave()
	t := b.db.blobs
	for _, key := range keys {
		if old, ok := t.rows[key]; ok {
			t.delete(key)
			b.onRollback(func() { t.put(key, old) })
		}
	}
	return nil
}

func (b blobs) List(ctx context.Context, prefix, after string, limit int) ([]store.BlobInfo, error) {
	if err := b.enter(ctx); err != nil {
		return nil, err
	}
	defer b.leave()
	keys := b.db.blobs.after(prefix, after, limit)
	out := make([]store.BlobInfo, len(keys))
	for i, k := range keys {
		out[i] = store.BlobInfo{Key: k, Size: int64(len(b.db.blobs.rows[k]))}
	}
	return out, nil
}

// contextReader ends with the context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
