package store

import (
	"cmp"
	"strconv"
	"strings"
)

// A Mark is a place in an intake shard: the sequence number of a record and, when only part of the record is meant, a
// colon and the number of its lines up to and including the place. "" is before everything. Sequence numbers are decimal
// and compared as numbers, whatever their length, as Kinesis defines them.

// NewMark returns the mark of the first lines lines of the record; lines 0 means the whole record.
func NewMark(sequence string, lines int) string {
	if lines == 0 {
		return sequence
	}
	return sequence + ":" + strconv.Itoa(lines)
}

// CompareMarks orders two marks of one shard and returns -1, 0 or 1. A whole record is after any part of it.
func CompareMarks(a, b string) int {
	as, al, aPart := strings.Cut(a, ":")
	bs, bl, bPart := strings.Cut(b, ":")
	if c := compareDecimal(as, bs); c != 0 {
		return c
	}
	switch {
	case aPart && bPart:
		return compareDecimal(al, bl)
	case aPart:
		return -1
	case bPart:
		return 1
	}
	return 0
}

// compareDecimal compares two non-negative decimal numbers of any length.
func compareDecimal(a, b string) int {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	if c := cmp.Compare(len(a), len(b)); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}
