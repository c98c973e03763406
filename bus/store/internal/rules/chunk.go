// Package rules holds what a write to a row means, as pure functions on the types of package store. Backends that load a
// row, change it and write it back under one transaction (memory, sqlite) apply them, so that the meaning is written once.
package rules

import (
	"fmt"

	"github.com/rstreams-go/rstreams/bus/store"
)

// Chunk says why a backend must refuse c: store.ErrInvalid or store.ErrTooLarge, or nil (bus.md C20, C26).
func Chunk(c *store.Chunk) error {
	switch {
	case c.Queue == "":
		return fmt.Errorf("%w chunk: it names no queue", store.ErrInvalid)
	case c.Start == "" || c.End == "":
		return invalidChunk(c, "it has no start or no end")
	case c.Start > c.End:
		return invalidChunk(c, "it starts at "+c.Start+", after its end")
	case c.Records < 1:
		return invalidChunk(c, "it has no records")
	case len(c.Gzip) == 0 && c.Blob == nil:
		return invalidChunk(c, "it has neither inline events nor a blob")
	case len(c.Gzip) > 0 && c.Blob != nil:
		return invalidChunk(c, "it has both inline events and a blob")
	case c.Blob != nil && c.Blob.Key == "":
		return invalidChunk(c, "its blob has no key")
	case c.Blob != nil && len(c.Offsets) == 0:
		return invalidChunk(c, "its blob has no sections")
	case len(c.Gzip) > store.MaxInlineItem:
		return fmt.Errorf("%w: chunk %s of queue %s has %d compressed bytes, at most %d fit inline: use a blob",
			store.ErrTooLarge, c.End, c.Queue, len(c.Gzip), store.MaxInlineItem)
	}
	return nil
}

func invalidChunk(c *store.Chunk, why string) error {
	return fmt.Errorf("%w chunk %s of queue %s: %s", store.ErrInvalid, c.End, c.Queue, why)
}

// Chunks splits chunks into those that may be stored and the failures of the others, nil for none. It does not copy where
// all are valid.
func Chunks(chunks []store.Chunk) ([]store.Chunk, error) {
	var failed []store.ItemError
	var valid []store.Chunk
	for i := range chunks {
		err := Chunk(&chunks[i])
		if err != nil && failed == nil {
			valid = append(valid, chunks[:i]...)
		}
		switch {
		case err != nil:
			failed = append(failed, store.ItemError{Index: i, Err: err})
		case failed != nil:
			valid = append(valid, chunks[i])
		}
	}
	if failed == nil {
		return chunks, nil
	}
	return valid, &store.BatchError{Items: failed}
}
