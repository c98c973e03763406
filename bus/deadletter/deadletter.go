// Package deadletter defines the bus's dead-letter queue: where input that cannot become an event, and events that a bot
// gave up on, are kept with the reason and the original bytes, until someone looks at them and writes them again.
//
// The original software dropped such input without a trace (W-D8); here nothing that was acknowledged is ever lost.
package deadletter

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// Queue is the queue that holds the dead letters of the whole bus. It is an ordinary queue: readable, counted, replayable.
const Queue = "rstreams.dlq"

// SequencerBot is the bot id that the sequencer's dead letters carry.
const SequencerBot = "rstreams-sequencer"

// Reason says, in one word that programs may switch on, why a letter is dead.
type Reason string

// The reasons that the bus itself gives.
const (
	// ReasonRecord is an intake record in no known form.
	ReasonRecord Reason = "unknown-record"
	// ReasonCorrupt is a record whose compressed data breaks off or is damaged. Lines before the damage are events.
	ReasonCorrupt Reason = "corrupt-record"
	// ReasonLine is a line that is not a JSON object.
	ReasonLine Reason = "bad-line"
	// ReasonLineTooLong is a line over the limit. Raw holds its record, or, where there is none, the line or its beginning.
	ReasonLineTooLong Reason = "line-too-long"
	// ReasonEvent is a line that is no event: bot, queue or payload is missing or not usable.
	ReasonEvent Reason = "bad-event"
	// ReasonPointer is a pointer record that contradicts itself or the bus.
	ReasonPointer Reason = "bad-pointer"
	// ReasonChunk is a chunk that could not be archived whole. Raw names its object, or holds its compressed bytes.
	ReasonChunk Reason = "bad-chunk"
	// ReasonHandler is an event that a bot's handler refused.
	ReasonHandler Reason = "handler"
)

// Letter is the payload of an event in Queue.
type Letter struct {
	// Reason is never empty.
	Reason Reason `json:"reason"`
	// Error is the fault in words.
	Error string `json:"error"`
	// Queue and Bot are where the input wanted to go and who wrote it, as far as that is known. For ReasonHandler Queue is
	// the queue that was read and Bot the bot that refused.
	Queue string `json:"queue,omitempty"`
	Bot   string `json:"bot,omitempty"`
	// Shard, Sequence and Line (from 1; 0 for the record as a whole) name the place in the intake.
	Shard    string `json:"shard,omitempty"`
	Sequence string `json:"sequence,omitempty"`
	Line     int    `json:"line,omitempty"`
	// EID is the id of the event that a handler refused, and Attempts how often it tried; for ReasonChunk the id of its first event.
	EID      string `json:"eid,omitempty"`
	Attempts int    `json:"attempts,omitempty"`
	// At is when the input arrived, or when the handler gave up, in ms.
	At int64 `json:"at"`
	// Raw holds the original bytes, at most MaxRaw of them, where they are UTF-8 text, else RawBytes does (base64 in JSON). Long text that JSON would
	// make much longer is kept as bytes as well. Use SetRaw and Bytes.
	Raw      string `json:"raw,omitempty"`
	RawBytes []byte `json:"raw_base64,omitempty"`
	// Size is how many bytes the input has where Raw or RawBytes holds only its beginning; 0 where it holds all of it.
	Size int64 `json:"size,omitempty"`
	// Bare tells that the input was to be the payload of an event of Queue. Otherwise it was to be a line, with an envelope.
	Bare bool `json:"bare,omitempty"`
}

// MaxRaw is the most bytes that a letter keeps. With them it is a line that every reader takes.
const MaxRaw = 16 << 20

// SetRaw keeps b, unchanged, but for what is beyond MaxRaw bytes, and sets Size.
func (l *Letter) SetRaw(b []byte) {
	l.Raw, l.RawBytes, l.Size = "", nil, 0
	if len(b) > MaxRaw {
		l.Size = int64(len(b))
		b = prefix(b, MaxRaw)
	}
	if utf8.Valid(b) && (len(b) <= alwaysText || escaped(b) <= base64.StdEncoding.EncodedLen(len(b))) {
		l.Raw = string(b)
		return
	}
	l.RawBytes = b
}

// prefix returns the first n bytes of b, fewer where b is text and the last of them would be a part of a character.
func prefix(b []byte, n int) []byte {
	for cut := n; cut > n-utf8.UTFMax; cut-- {
		if utf8.RuneStart(b[cut]) {
			return b[:cut]
		}
	}
	return b[:n]
}

// alwaysText is up to how many bytes of text stay text, however many escapes they need.
const alwaysText = 64 << 10

// escaped returns the most bytes that the text b has as a JSON string. Escapes make up to six bytes of one: the letter of the
// longest line must not become a line that no reader takes.
func escaped(b []byte) int {
	n := 0
	for _, c := range string(b) {
		switch {
		case c == '"' || c == '\\':
			n += 2
		case c < ' ' || c == '<' || c == '>' || c == '&' || c == '\u2028' || c == '\u2029':
			n += 6
		default:
			n += utf8.RuneLen(c)
		}
	}
	return n
}

// Bytes returns what SetRaw kept.
func (l *Letter) Bytes() []byte {
	if l.RawBytes != nil {
		return l.RawBytes
	}
	return []byte(l.Raw)
}

// ErrNotLetter reports a payload that is no dead letter. Callers should leave the event where it is.
var ErrNotLetter = errors.New("not a dead letter")

// Parse reads the payload of an event of Queue.
func Parse(payload []byte) (Letter, error) {
	var l Letter
	if err := json.Unmarshal(payload, &l); err != nil {
		return Letter{}, fmt.Errorf("%w: %w", ErrNotLetter, err)
	}
	if l.Reason == "" {
		return Letter{}, fmt.Errorf("%w: it has no reason", ErrNotLetter)
	}
	return l, nil
}
