package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

// Defaults of Query.
const (
	defaultLimit = 1000
	defaultBytes = 8 << 20
)

type chunks struct{ view }

// extra holds, as JSON, what not all chunks have.
type extra struct {
	Blob            *store.BlobRef `json:"blob,omitempty"`
	Offsets         []store.Offset `json:"offsets,omitempty"`
	Archive         bool           `json:"archive,omitempty"`
	Snapshot        int64          `json:"snapshot,omitempty"`
	Creator         string         `json:"creator,omitempty"`
	Timestamp       int64          `json:"timestamp,omitempty"`
	SourceTimestamp int64          `json:"source_timestamp,omitempty"`
	Sealed          bool           `json:"sealed,omitempty"`
}

func (c chunks) Put(ctx context.Context, list []store.Chunk) error {
	valid, failed := rules.Chunks(list)
	if len(valid) == 0 {
		if failed != nil {
			return failed
		}
		return c.db.begun(ctx)
	}
	err := c.write(ctx, func(t *txn) error {
		for i := range valid {
			if err := putChunk(t.conn, &valid[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return failed
}

func putChunk(c *conn, k *store.Chunk) error {
	var blob, more sql.NullString
	if k.Blob != nil && k.Blob.Bucket == bucket { // Sweep looks for blobs of ours
		blob = sql.NullString{String: k.Blob.Key, Valid: true}
	}
	if k.Blob != nil || len(k.Offsets) > 0 || k.Archive || k.Snapshot != 0 || k.Creator != "" || k.Timestamp != 0 ||
		k.SourceTimestamp != 0 || k.Sealed {
		b, err := json.Marshal(extra{
			k.Blob, k.Offsets, k.Archive, k.Snapshot, k.Creator, k.Timestamp, k.SourceTimestamp, k.Sealed,
		})
		if err != nil {
			return err
		}
		more = sql.NullString{String: string(b), Valid: true}
	}
	var gzip any
	if len(k.Gzip) > 0 {
		gzip = k.Gzip
	}
	_, err := c.exec("insert or replace into chunks"+
		"(queue, end, start, records, size, gzip_size, expires, prev, blob, extra, gzip) values(?,?,?,?,?,?,?,?,?,?,?)",
		k.Queue, k.End, k.Start, k.Records, k.Size, k.GzipSize, k.Expires, k.Prev, blob, more, gzip)
	return err
}

func (c chunks) Query(ctx context.Context, queue, after, through string, limit, maxBytes int) (store.Page, error) {
	if limit <= 0 {
		limit = defaultLimit
	}
	if maxBytes <= 0 {
		maxBytes = defaultBytes
	}
	now := c.db.o.Now().Unix()
	var page store.Page
	err := c.read(ctx, func(cn *conn) error {
		page = store.Page{}
		rows, err := cn.query("select end, start, records, size, gzip_size, expires, prev, extra, gzip from chunks "+
			"where queue = ? and end > ? and end <= ? and (expires = 0 or expires > ?) order by end", queue, after, through, now)
		if err != nil {
			return err
		}
		defer rows.Close()
		bytes := 0
		for rows.Next() {
			if len(page.Chunks) == limit {
				page.More = true
				return nil
			}
			k := store.Chunk{Queue: queue}
			var more sql.RawBytes
			if err := rows.Scan(&k.End, &k.Start, &k.Records, &k.Size, &k.GzipSize, &k.Expires, &k.Prev, &more, &k.Gzip); err != nil {
				return err
			}
			if len(page.Chunks) > 0 && bytes+len(k.Gzip) > maxBytes {
				page.More = true
				return nil
			}
			if len(more) > 0 {
				if err := setExtra(&k, more); err != nil {
					if len(page.Chunks) == 0 {
						return &store.ChunkError{Chunk: k, Err: err}
					}
					page.More = true
					return nil
				}
			}
			bytes += len(k.Gzip)
			page.Chunks = append(page.Chunks, k)
		}
		return rows.Err()
	})
	if err != nil {
		return store.Page{}, err
	}
	return page, nil
}

func setExtra(k *store.Chunk, text []byte) error {
	var e extra
	if err := json.Unmarshal(text, &e); err != nil {
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	k.Blob, k.Offsets, k.Archive, k.Snapshot, k.Creator = e.Blob, e.Offsets, e.Archive, e.Snapshot, e.Creator
	k.Timestamp, k.SourceTimestamp, k.Sealed = e.Timestamp, e.SourceTimestamp, e.Sealed
	return nil
}

func (c chunks) Delete(ctx context.Context, queue string, ends []string) error {
	if len(ends) == 0 {
		return c.db.begun(ctx)
	}
	return c.write(ctx, func(t *txn) error {
		for _, end := range ends {
			if _, err := t.exec("delete from chunks where queue = ? and end = ?", queue, end); err != nil {
				return err
			}
		}
		return nil
	})
}
