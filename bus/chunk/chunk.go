// Package chunk is the framing of events: the gzip members that hold them, the records and objects in which they travel, and
// the pointer records and section tables that say where they lie.
//
// Text is newline-terminated JSON lines (package event). A chunk of a queue is one or more gzip members of such text, inline
// in the index or in a blob made of independent members, its sections. Producers hand in records of text: gzip, zlib or
// plain (OpenRecord), or lines of Firehose objects (FirehoseLine). Lines that stand for events in a blob are pointer records
// (ParsePointer).
//
// Everything that decodes is bounded: readers stream, and what returns bytes has a limit. Compressors and decompressors come
// from pools and go back to them. All functions are safe for concurrent use; the types they return are not.
package chunk

import "errors"

var (
	// ErrTooLarge reports text beyond the caller's limit. Callers should read it as a stream, or refuse it.
	ErrTooLarge = errors.New("text is larger than allowed")
	// ErrCorrupt reports compressed or encoded data that cannot be decoded. Callers should quarantine the record, or
	// report the stored chunk as damaged; trying again gives the same.
	ErrCorrupt = errors.New("corrupt data")
	// ErrUnknownForm reports a record in none of the known forms. Callers should quarantine the record.
	ErrUnknownForm = errors.New("record is neither gzip, zlib nor JSON lines")
	// ErrLineTooLong reports a line beyond the limit. Only that line is lost; callers may go on with the next.
	ErrLineTooLong = errors.New("line is longer than allowed")
	// ErrPointer reports a pointer record or section table that contradicts itself or lacks something. Callers should
	// quarantine it: to follow it would lose or double events.
	ErrPointer = errors.New("invalid pointer record")
)
