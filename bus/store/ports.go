package store

import (
	"context"
	"encoding/json"
	"io"
)

// Settings is the bus's key/value state and its locks (bus.md 1.5).
type Settings interface {
	// Get returns the value stored under id, or ErrNotFound.
	Get(ctx context.Context, id string) (json.RawMessage, error)
	// Put stores value under id.
	Put(ctx context.Context, id string, value json.RawMessage) error
	// Swap stores next under id if old is what is stored there (nil: nothing is), else ErrConflict. Values are compared as JSON,
	// where the order of members and the way a number is written do not count.
	Swap(ctx context.Context, id string, old, next json.RawMessage) error
	// Delete removes id; an absent one is not an error.
	Delete(ctx context.Context, id string) error
	// Acquire takes the lock "lock_<name>" for owner until expires (ms), if nobody holds it at now (ms) or owner does
	// already; else ErrConflict. A lock that ends more than a day, and more than twice as far as is asked for, ahead was taken
	// while a clock was wrong, and counts as free.
	Acquire(ctx context.Context, name, owner string, now, expires int64) error
	// Release gives the lock up if owner holds it; otherwise it does nothing.
	Release(ctx context.Context, name, owner string) error
}

// System is the document of an external system (bus.md 1.6).
type System struct {
	// ID is the plain system id. Doc is a JSON object without the id.
	ID  string
	Doc json.RawMessage
}

// Systems holds one document for each external system that bots are attached to.
type Systems interface {
	// Get returns the document of a system, or ErrNotFound.
	Get(ctx context.Context, id string) (System, error)
	// List returns up to limit systems with ids after the given one, in order of id. Fewer than limit means the end.
	List(ctx context.Context, after string, limit int) ([]System, error)
	// Merge merges doc, a JSON object, into the stored document, objects member by member and everything else as a whole, and
	// creates the document where there is none. A member "id" of doc is left out. Concurrent merges of different members are
	// all kept.
	Merge(ctx context.Context, s System) error
}

// BlobInfo describes a stored blob.
type BlobInfo struct {
	// Key is as in BlobRef; Size is in bytes.
	Key  string
	Size int64
}

// Blobs holds objects too large for an item, and archives.
type Blobs interface {
	// Put stores what r holds under key, replacing what was there, and returns a reference and the size in bytes. Nothing
	// is visible under the key until all of it is durable; after an error, nothing of it is left.
	Put(ctx context.Context, key string, r io.Reader) (BlobRef, int64, error)
	// Get returns length bytes from offset on; length < 0 means up to the end, and a range that ends past the object ends
	// with it (C70). ErrNotFound where there is no such blob, ErrInvalid for a bucket that is not this store's or an
	// offset past the end. The caller closes the reader.
	Get(ctx context.Context, ref BlobRef, offset, length int64) (io.ReadCloser, error)
	// Delete removes blobs; absent ones are not an error.
	Delete(ctx context.Context, keys []string) error
	// List returns up to limit blobs whose key begins with prefix and is after the given key, in order of key.
	List(ctx context.Context, prefix, after string, limit int) ([]BlobInfo, error)
}

// Change says that a row was written. It carries no data: readers look the row up, so that changes may be merged.
type Change struct {
	// Kind is the table.
	Kind ChangeKind
	// ID is the queue's name or the bot's id.
	ID string
}

// ChangeKind tells which table changed.
type ChangeKind int

// The tables that are watched.
const (
	QueueChanged ChangeKind = iota + 1
	BotChanged
)

// Feed tells what changed, to every process that has the store open.
type Feed interface {
	// Changes returns up to limit changes after cursor in the order of their commits, and the cursor after them; on AWS, where
	// each table has a stream of its own, the order is that of each table, and a change may be told again. The
	// cursor "" stands for now: it returns no changes and the current cursor. A cursor that is too old to continue from
	// returns ErrNotFound: the caller should scan the tables and begin at "". Heads moved by Queues.Advance, and every
	// write to a bot's row, are changes; a claim is not.
	Changes(ctx context.Context, cursor string, limit int) ([]Change, string, error)
	// Wait returns nil soon after (milliseconds) there may be changes after cursor, whichever process made them, or the
	// context's error. It may return early.
	Wait(ctx context.Context, cursor string) error
}

// Record is one intake record: a blob of events in one of the forms of bus.md 2.4.
type Record struct {
	// PartitionKey and HashKey (decimal, "" for none) choose the shard.
	PartitionKey, HashKey string
	Data                  []byte
}

// Ack tells what became of a record.
type Ack struct {
	// Shard and Sequence are where the record was stored.
	Shard, Sequence string
	// Err is nil if and only if the record is durable. ErrThrottled asks for a retry.
	Err error
}

// Intake accepts records.
type Intake interface {
	// Put stores records and returns their acks in the same order. Records of one call that go to one shard are ordered
	// as given, as far as they succeed. A non-nil error means that nothing is known of any of them.
	Put(ctx context.Context, records []Record) ([]Ack, error)
	// Limits returns what one call may carry.
	Limits() IntakeLimits
}

// IntakeLimits bounds a call of Intake.Put and tells which form of record is cheapest.
type IntakeLimits struct {
	// Records and Bytes bound one call, RecordBytes one record's data.
	Records, Bytes, RecordBytes int
	// Plain means that the intake is in this process, so that compressing records would be wasted work.
	Plain bool
}

// Invoker starts bots.
type Invoker interface {
	// Invoke hands payload to the bot's code and returns without waiting for the run. An error means that the run did not
	// begin and never will.
	Invoke(ctx context.Context, bot Bot, payload []byte) error
}
