// Package store states what the bus needs of its storage, in the bus's own terms.
//
// Each port is an interface whose operations carry a meaning (advance a queue's head, lock a bot) and a concurrency rule.
// Backends are the packages below this one; package storetest runs the same conformance suite against all of them. The
// formats that a DynamoDB table holds are the AWS backend's business: the types here have the fields of the RStreams items
// and no others, so that what one backend stores any other can.
//
// Every method takes a context, is safe for concurrent use, and returns promptly with the context's error once it is done.
// A nil error from a method that writes means the write is durable: it survives a crash of the process and of the machine.
// Times named "ms" are epoch milliseconds.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// Store is a bus's storage: one value for each port. It is a plain struct so that a test can wrap a single port.
type Store struct {
	// Chunks is the index of events, Queues and Bots hold their rows, Settings the bus's own state and locks, Systems the
	// external systems, Blobs what is too large for an item, and Feed tells what changed. All are set, but for Feed in the view
	// that Atomic gives.
	Chunks   Chunks
	Queues   Queues
	Bots     Bots
	Settings Settings
	Systems  Systems
	Blobs    Blobs
	Feed     Feed
	// Intake accepts records for sequencing. A bare backend may leave it nil; bus/local fills it.
	Intake Intake
	// Firehose accepts records of event lines that become readable later and at a lower price (bus.md 2.9): each record is plain
	// lines, or base64 of compressed ones. A bare backend may leave it nil; bus/local fills it.
	Firehose Intake
	// Atomic runs fn on a view of the store whose writes to Chunks, Queues, Bots, Settings and Systems commit together when fn
	// returns nil, or not at all. It is nil where the backend cannot do that (AWS), and callers must be correct without
	// it. fn may be called only once and must not use the outer store.
	Atomic func(ctx context.Context, fn func(ctx context.Context, tx Store) error) error
	// Look reads several rows with one request, each as fresh as its own Get would be. It is nil where a request for each costs
	// no more, and callers must be correct without it.
	Look func(ctx context.Context, keys Keys) (Rows, error)
	// ClaimAll claims different queues with fewer requests than Queues.Claim needs, each as that does: a claim that fails harms
	// no other. It returns what became of each, in order. It is nil where a call for each costs no more, and callers must be
	// correct without it.
	ClaimAll func(ctx context.Context, claims []Claim) []Claimed
}

// Claimed is what became of a claim: a grant, or the error of Queues.Claim.
type Claimed struct {
	Grant Grant
	Err   error
}

// MaxKeys is how many rows one Look may ask for, of all kinds together.
const MaxKeys = 100

// Keys are rows to look at, by id and plain queue name. None may be empty or named twice.
type Keys struct{ Settings, Bots, Queues []string }

// Rows are the rows that were found; those that are not stored are missing.
type Rows struct {
	Settings map[string]json.RawMessage
	Bots     map[string]Bot
	Queues   map[string]Queue
}

var (
	// ErrNotFound reports that the named thing is not stored. Callers should treat it as an answer.
	ErrNotFound = errors.New("not found")
	// ErrConflict reports a failed condition: another writer was first. Callers should read again and decide anew.
	ErrConflict = errors.New("conflict")
	// ErrThrottled reports that the storage refuses work for now. Callers should retry with back-off.
	ErrThrottled = errors.New("throttled")
	// ErrTooLarge reports an item, record or blob over a limit of the backend. Callers should split or offload it.
	ErrTooLarge = errors.New("too large")
	// ErrInvalid reports an argument that no backend accepts. Callers should correct it; retrying cannot help.
	ErrInvalid = errors.New("invalid")
	// ErrCorrupt reports stored data that contradicts itself. Callers should stop and tell an operator.
	ErrCorrupt = errors.New("corrupt")
	// ErrUnavailable reports storage that cannot be used as it stands: read-only, full, locked or missing. Callers should
	// show it to whoever runs the bus; the wrapped text says what to do.
	ErrUnavailable = errors.New("storage unavailable")
)

// ItemError is the failure of one item of a batch. Index is the item's place in the batch.
type ItemError struct {
	Index int
	// Err is why; it wraps one of the errors of this package where one fits.
	Err error
}

// BatchError reports the items of a batch that failed; the others succeeded. Callers should retry only those, in order.
type BatchError struct {
	// Items are the failures, in order of Index; there is at least one.
	Items []ItemError
}

// Error names the first failure and counts the rest.
func (e *BatchError) Error() string {
	if len(e.Items) == 0 {
		return "batch failed"
	}
	return fmt.Sprintf("%d items of the batch failed, first item %d: %v", len(e.Items), e.Items[0].Index, e.Items[0].Err)
}

// Unwrap returns the causes, for errors.Is and errors.As.
func (e *BatchError) Unwrap() []error {
	errs := make([]error, len(e.Items))
	for i, it := range e.Items {
		errs[i] = it.Err
	}
	return errs
}
