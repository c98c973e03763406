package store

import (
	"context"
	"fmt"
)

// MaxInlineItem is the most bytes that the compressed events of an inline chunk may have so that its item stays below
// DynamoDB's 400 KB with key and attributes (W-P2, C26).
const MaxInlineItem = 390_000

// Chunk is one entry of a queue's index: consecutive events of one queue, inline or in a blob (bus.md 1.2).
type Chunk struct {
	// Queue is the plain queue name, perhaps with "/_archive" or "/_snapshot".
	Queue string
	// Start and End are the ids of the first and the last event. End is the sort key.
	Start, End string
	// Records is the number of events, at least 1. Size is their bytes as text including newlines, GzipSize as compressed.
	Records, Size, GzipSize int64
	// Gzip holds the events of an inline chunk: gzip members of newline-terminated JSON. It is nil when Blob is set.
	Gzip []byte
	// Blob is the object that holds the events, nil for an inline chunk. Offsets then has at least one section.
	Blob    *BlobRef
	Offsets []Offset
	// Prev is the End of the chunk before this one in the queue when this one was made, "" for the first. It lets a reader
	// prove that no chunk between two is missing. It is an addition to the RStreams format (C28 permits it); archive
	// chunks and chunks of the original software have none.
	Prev string
	// Sealed promises that every line of an inline chunk was checked when it was written and has its payload as the last
	// member, which makes reading cheaper (event.ScanSealed). Like Prev it is an addition.
	Sealed bool
	// Archive marks chunks whose lines and offsets carry their own ids.
	Archive bool
	// Snapshot is the time of the snapshot the chunk belongs to, in ms; 0 for none.
	Snapshot int64
	// Creator is "firehose" for chunks that came that way, else "".
	Creator string
	// Timestamp and SourceTimestamp, in ms, are set on chunks that arrived as pointers; 0 for none.
	Timestamp, SourceTimestamp int64
	// Expires is the epoch second from which the backend may drop the chunk; 0 means never.
	Expires int64
}

// BlobRef names a blob. Bucket is the backend's own name for its blob space.
type BlobRef struct {
	Bucket string `json:"bucket"`
	// Key names the blob in its bucket (bus.md 2.7): 1 to 1024 bytes of UTF-8.
	Key string `json:"key"`
}

// Offset describes one section of a blob: an independent gzip member (bus.md 2.7).
type Offset struct {
	// Event is the queue, or "" when the writer did not say.
	Event string
	// Start and End are the indexes, in the whole blob, of the section's first and last event. In archives StartID and
	// EndID hold ids instead and Start and End are 0.
	Start, End     int64
	StartID, EndID string
	// Records, Size and GzipSize are of this section.
	Records, Size, GzipSize int64
	// Offset and GzipOffset are where the section begins, in bytes of text and of the blob.
	Offset, GzipOffset int64
}

// Page is a run of chunks in order of End.
type Page struct {
	// Chunks are in order of End. The caller may keep and change them.
	Chunks []Chunk
	// More tells whether another page may follow. It is false for an empty page: a backend that skips items, such as expired
	// ones, goes on until it has a chunk or the end.
	More bool
}

// ChunkError reports an item of the index that is stored, and is no chunk.
type ChunkError struct {
	// Chunk is what could be read of it. Queue and End are always there; anything else may be missing or wrong.
	Chunk Chunk
	// Err is what is wrong; it wraps ErrCorrupt.
	Err error
}

// Error names the item and what is wrong with it.
func (e *ChunkError) Error() string {
	return fmt.Sprintf("chunk %s of queue %s: %v", e.Chunk.End, e.Chunk.Queue, e.Err)
}

// Unwrap returns what is wrong.
func (e *ChunkError) Unwrap() error { return e.Err }

// Chunks is the index of every queue's events.
type Chunks interface {
	// Put stores chunks, replacing any with the same queue and End. The order in which they become visible is not
	// defined; readers are kept from unfinished runs by the queue's head. A failure of some is a *BatchError.
	// Put refuses chunks without records, with neither or both of Gzip and Blob, or whose Start is after their End
	// (ErrInvalid), and inline chunks over MaxInlineItem (ErrTooLarge).
	Put(ctx context.Context, chunks []Chunk) error
	// Query returns the chunks of queue with after < End <= through, ascending, at most limit of them and about maxBytes
	// of Gzip (at least one chunk; 0 means the backend's default for either). It sees every write that was acknowledged
	// before the call, and no chunk whose Expires has passed. An item that is no chunk ends the page before it; as the first
	// of a page it is a *ChunkError, and who passes over it goes on after its End.
	Query(ctx context.Context, queue, after, through string, limit, maxBytes int) (Page, error)
	// Delete removes the chunks of queue with these Ends; absent ones are not an error. Blobs are left alone.
	Delete(ctx context.Context, queue string, ends []string) error
}
