// Package eid makes, parses and compares event ids and positions.
//
// An event id names one event of a queue for ever and is its place in the queue's order:
//
//	z/YYYY/MM/DD/HH/mm/<ms>-<counter>
//
// The date path is the UTC minute of ms, ms is the epoch in milliseconds with 13 digits, and counter has exactly seven
// digits. The part before '-' is the prefix (all events of one sequenced batch share it), the part after it numbers the
// events of the batch from 0. A position is any prefix of an id ("z/", "z/2026/11/21"), an id, or an id followed by one
// space, which means "strictly after". Positions are ordered as plain bytes; on the alphabet that ValidatePosition accepts, that
// order equals the order of DynamoDB and both string orders of the Node SDK (bus.md 2.2, sdk.md 2.4).
package eid

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// MaxCounter is the largest counter an id can carry. The original software kept the last seven digits of larger numbers,
// which sent ids backwards (W-D7); here passing it is ErrCounterOverflow.
const MaxCounter = 9_999_999

// counterDigits is the width of the counter.
const counterDigits = 7

// First is the position before every event of every queue.
const First = "z/"

// SnapshotPrefix stands before the ids that readers see while they read a snapshot. Stored keys do not carry it.
const SnapshotPrefix = "_snapshot/"

var (
	// ErrCounterOverflow reports a counter outside 0..MaxCounter. Callers should open a new base (ms + 1).
	ErrCounterOverflow = errors.New("event id counter does not fit in seven digits")
	// ErrInvalid reports text that is no id, or no position. Callers should reject the input that carried it.
	ErrInvalid = errors.New("invalid event id")
	// ErrTimeRange reports a time that has no 13-digit millisecond form. Callers should check their clock.
	ErrTimeRange = errors.New("time does not fit an event id")
)

// minMillis and maxMillis bound the epoch milliseconds that have 13 digits (2001-09-09 to 2286-11-20), the range in which
// byte order equals numeric order.
const (
	minMillis = 1_000_000_000_000
	maxMillis = 9_999_999_999_999
)

// ID is an event id in its two parts. The zero ID is no id: String returns "".
type ID struct {
	// Path is the date path with its trailing slash. It is the UTC minute of Millis, but for the ids of a snapshot,
	// where it is the minute of the snapshot (bus.md 3.2 step 4).
	Path string
	// Millis is the base of the sequenced batch, in epoch milliseconds.
	Millis int64
	// Counter is the event's place in the batch, from 0.
	Counter int
}

// New returns the id of event counter in the batch whose base is ms.
// It returns ErrTimeRange or ErrCounterOverflow where the id cannot be written.
func New(ms int64, counter int) (ID, error) {
	if ms < minMillis || ms > maxMillis {
		return ID{}, fmt.Errorf("%w: %d ms", ErrTimeRange, ms)
	}
	if counter < 0 || counter > MaxCounter {
		return ID{}, fmt.Errorf("%w: %d", ErrCounterOverflow, counter)
	}
	return ID{Path: MinutePath(ms), Millis: ms, Counter: counter}, nil
}

// MinutePath returns "z/YYYY/MM/DD/HH/mm/" of ms (epoch milliseconds, UTC). It is meant for the years 0 to 9999.
func MinutePath(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("z/2006/01/02/15/04/")
}

// Parse reads a full event id. Text with a "_snapshot/" prefix or with a trailing space is not a full id.
// The path must have the form of a minute but need not be the minute of the milliseconds, because the ids of a snapshot
// keep the snapshot's minute; see Consistent. What Parse accepts, String writes back unchanged.
// The error wraps ErrInvalid.
func Parse(s string) (ID, error) {
	slash := strings.LastIndexByte(s, '/')
	dash := strings.IndexByte(s, '-')
	if !strings.HasPrefix(s, "z/") || dash < slash || len(s)-dash-1 != counterDigits || dash-slash-1 != 13 {
		return ID{}, fmt.Errorf("%w: %q, want z/YYYY/MM/DD/HH/mm/<ms>-<7 digits>", ErrInvalid, s)
	}
	ms, err1 := parseDigits(s[slash+1 : dash])
	counter, err2 := parseDigits(s[dash+1:])
	path := s[:slash+1]
	// A leading zero would be lost on the way through Millis, and the id with it.
	if err1 != nil || err2 != nil || ms < minMillis || !validPath(path) {
		return ID{}, fmt.Errorf("%w: %q, want z/YYYY/MM/DD/HH/mm/<ms>-<7 digits>", ErrInvalid, s)
	}
	return ID{Path: path, Millis: ms, Counter: int(counter)}, nil
}

func parseDigits(s string) (int64, error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, ErrInvalid
		}
	}
	return strconv.ParseInt(s, 10, 64)
}

// validPath tells whether p is "z/dddd/dd/dd/dd/dd/".
func validPath(p string) bool {
	const form = "z/0000/00/00/00/00/"
	if len(p) != len(form) {
		return false
	}
	for i := range len(form) {
		if form[i] == '0' {
			if p[i] < '0' || p[i] > '9' {
				return false
			}
		} else if p[i] != form[i] {
			return false
		}
	}
	return true
}

// Prefix returns the id up to, and without, the '-'.
func (id ID) Prefix() string {
	return id.Path + strconv.FormatInt(id.Millis, 10)
}

// String returns the id as it is stored, or "" for the zero ID.
func (id ID) String() string {
	if id == (ID{}) {
		return ""
	}
	b := make([]byte, 0, len(id.Path)+13+1+counterDigits)
	b = append(b, id.Path...)
	b = strconv.AppendInt(b, id.Millis, 10)
	return string(AppendCounter(append(b, '-'), id.Counter))
}

// AppendCounter appends the seven digits of counter to b. A counter outside 0..MaxCounter, which New and Add never give,
// is written in full: text that is no id and that every check refuses, never the id of another event.
func AppendCounter(b []byte, counter int) []byte {
	if counter < 0 || counter > MaxCounter {
		return strconv.AppendInt(b, int64(counter), 10)
	}
	var d [counterDigits]byte
	for i := counterDigits - 1; i >= 0; i-- {
		d[i] = byte('0' + counter%10)
		counter /= 10
	}
	return append(b, d[:]...)
}

// Add returns the id n events further in the same batch, or ErrCounterOverflow.
func (id ID) Add(n int) (ID, error) {
	if c := id.Counter + n; c < 0 || c > MaxCounter {
		return ID{}, fmt.Errorf("%w: %d", ErrCounterOverflow, c)
	}
	id.Counter += n
	return id, nil
}

// Consistent tells whether the path is the UTC minute of the milliseconds, which holds for every stored id but those of
// snapshots (bus.md C21).
func (id ID) Consistent() bool { return id.Path == MinutePath(id.Millis) }

// Time returns the base of the id's batch.
func (id ID) Time() time.Time { return time.UnixMilli(id.Millis).UTC() }

// Compare orders two ids or positions as readers and DynamoDB do: byte by byte. It returns -1, 0 or 1.
func Compare(a, b string) int { return strings.Compare(a, b) }

// After returns the position strictly after pos: pos and one space, which sorts below '-', '/' and the digits. A position
// that already means "after" is returned as it is.
func After(pos string) string {
	if strings.HasSuffix(pos, " ") {
		return pos
	}
	return pos + " "
}

// Max returns the greater of two positions.
func Max(a, b string) string {
	if a > b {
		return a
	}
	return b
}

// ValidatePosition checks that pos may be used to read a queue: "z/" or a deeper prefix of an id, with or without
// "_snapshot/" in front and one space behind, in the alphabet on which every order agrees (sdk.md 2.4, E3).
// The error wraps ErrInvalid.
func ValidatePosition(pos string) error {
	p := strings.TrimSuffix(strings.TrimPrefix(pos, SnapshotPrefix), " ")
	bad := !strings.HasPrefix(p, "z/") && p != "z"
	for i := 1; i < len(p) && !bad; i++ {
		c := p[i]
		bad = c != '/' && c != '-' && (c < '0' || c > '9')
	}
	if bad {
		return fmt.Errorf("%w: position %q; use z/ for the beginning, a date such as z/2026/11/21, or an event id", ErrInvalid, pos)
	}
	return nil
}
