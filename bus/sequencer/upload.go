package sequencer

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"

	"github.com/google/uuid"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

// upload moves chunks that are too large for an item into blobs (rule 5, W-P2). The key follows from the content and its place
// in the intake, so that a retry replaces the blob of the attempt before. Inside a transaction the blob is part of it: what is
// undone leaves none behind.
func upload(ctx context.Context, to store.Store, streams []*stream) error {
	for _, st := range streams {
		for i := range st.chunks {
			pl := &st.chunks[i]
			if len(pl.gzip) <= store.MaxInlineItem || pl.pointer != nil {
				continue
			}
			size := int64(len(pl.gzip))
			blob, _, err := to.Blobs.Put(ctx, blobKey(st, i+1), bytes.NewReader(pl.gzip))
			if err != nil {
				return fmt.Errorf("sequencer: chunk of queue %s as a blob: %w", st.queue, err)
			}
			pl.pointer = &chunk.Pointer{
				Queue: st.queue, Blob: blob, GzipSize: size, Size: pl.size, Records: pl.records,
				Offsets: []store.Offset{{
					Event: st.queue, Start: 0, End: pl.records - 1, Records: pl.records, Size: pl.size, GzipSize: size,
				}},
			}
		}
	}
	return nil
}

// forgetBlobs takes back what upload did, after a transaction that was undone.
func (g *group) forgetBlobs() {
	for _, st := range g.order {
		for i := range st.chunks {
			if pl := &st.chunks[i]; pl.gzip != nil {
				pl.pointer = nil
			}
		}
	}
}

// BlobPrefix is where the keys of blobs begin that the bus makes of chunks. Writers of events put theirs below bus/<queue>/.
const BlobPrefix = "bus/_chunks/"

// blobKey names the blob of the nth chunk of a stream.
func blobKey(st *stream, n int) string {
	g, id := st.group, uuid.New()
	if g.shard != "" {
		sum := sha256.Sum256(st.chunks[n-1].gzip)
		id = uuid.NewSHA1(uuid.NameSpaceURL, fmt.Appendf(nil, "%s\n%s\n%s\n%d\n%x", g.shard, st.queue, st.first, n, sum))
	}
	queue := st.queue
	if len(queue) > maxKeyQueue {
		// The name is for people who look at the bucket. A key has 1024 bytes at most, a queue's name up to twice that.
		queue = strings.ToValidUTF8(queue[:maxKeyQueue], "")
	}
	return fmt.Sprintf(BlobPrefix+"%s/%s%d-%07d-%s.gz", queue, eid.MinutePath(g.arrival), g.arrival, n, id)
}

// maxKeyQueue is how many bytes of a queue's name go into the key of a blob.
const maxKeyQueue = 900

// buffers is a pool of text buffers.
type buffers struct{ pool sync.Pool }

var textPool buffers

func (b *buffers) get() []byte {
	if p, ok := b.pool.Get().(*[]byte); ok {
		return (*p)[:0]
	}
	return make([]byte, 0, 512)
}

// put gives a buffer back, unless it is so small that it is not worth keeping or so large that it would pin memory.
func (b *buffers) put(text []byte) {
	if c := cap(text); c >= 64<<10 && c <= 1<<20 {
		b.pool.Put(&text)
	}
}
