// Package ref reads references to queues, bots and systems and gives the two forms in which the bus stores them.
//
// Users, configuration and wire lines name a queue as "q", "queue:q", "bot:b" or "system:s". Two stored forms follow:
//
//   - the reference form, "queue:q": the key of triggers and checkpoints on a bot's item (String, QueueRef);
//   - the queue form, "q", "bot.b" or "system.s": the `event` of a stored chunk and the key of a queue's head (Queue).
//
// The rules are those of leo-sdk 6.0.18, odd ones included, because both SDKs write these forms into the same tables
// (bus.md 2.1, sdk.md 2.5): one leading "s_", "e_" or "b_" is removed, a type word and a colon count wherever they stand
// and in any letter case, and what stands after a type word ends at the end of the line. All functions are pure.
package ref

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Type tells what a Ref names. The zero Type counts as TypeQueue.
type Type string

// The types of a reference.
const (
	TypeQueue  Type = "queue"
	TypeBot    Type = "bot"
	TypeSystem Type = "system"
)

// MaxQueueBytes is the longest queue name that can be stored, in bytes: the limit of a DynamoDB partition key (W-P3).
const MaxQueueBytes = 2048

// ErrInvalid reports a name that cannot be the name of a queue. Callers should reject the record or call that carried it.
var ErrInvalid = errors.New("invalid queue name")

// Ref is a parsed reference. The zero Ref is the queue with the empty name, which ValidateQueue refuses.
// Refs are comparable and safe to share.
type Ref struct {
	// Type is what the reference names; "" counts as TypeQueue.
	Type Type
	// ID is the name after the type, with one legacy prefix removed.
	ID string
}

// Parse reads a reference; text without a type word names a queue. Every text is a reference, so there is no error:
// names that cannot be stored are found by ValidateQueue.
func Parse(s string) Ref { return parse(s, TypeQueue) }

// ParseBot reads a reference; text without a type word names a bot.
func ParseBot(s string) Ref { return parse(s, TypeBot) }

// ParseSystem reads a reference and makes it the reference of a system, whatever type word it has.
func ParseSystem(s string) Ref { return Ref{Type: TypeSystem, ID: parse(s, TypeSystem).ID} }

// FromObject reads a reference that came as an object, such as the `event` of a record that leo-sdk moved to S3
// (bus.md 2.1 rule 5). A typ that is empty or none of the three types means TypeQueue. Type words inside id have no
// meaning here.
func FromObject(typ, id string) Ref {
	t := Type(typ)
	if t != TypeBot && t != TypeSystem {
		t = TypeQueue
	}
	return Ref{Type: t, ID: strip(id)}
}

func parse(s string, def Type) Ref {
	s = strip(s)
	// No type word holds a colon, so looking at what stands before each colon in turn finds the leftmost word.
	for i := range len(s) {
		if s[i] != ':' {
			continue
		}
		for _, t := range [...]Type{TypeQueue, TypeBot, TypeSystem} {
			if start := i - len(t); start >= 0 && equalFold(s[start:i], string(t)) {
				return Ref{Type: t, ID: firstLine(s[i+1:])}
			}
		}
	}
	return Ref{Type: def, ID: s}
}

// strip removes one legacy prefix.
func strip(s string) string {
	if hasLegacyPrefix(s) {
		return s[2:]
	}
	return s
}

func hasLegacyPrefix(s string) bool {
	return len(s) >= 2 && s[1] == '_' && (s[0] == 's' || s[0] == 'e' || s[0] == 'b')
}

// equalFold compares ASCII only. strings.EqualFold would also take 'ſ' for 's', which the original does not.
func equalFold(s, lower string) bool {
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// firstLine cuts s at the first line terminator of JavaScript.
func firstLine(s string) string {
	if i := strings.IndexAny(s, "\n\r\u2028\u2029"); i >= 0 {
		return s[:i]
	}
	return s
}

// String returns the reference form, such as "queue:q" or "bot:b".
func (r Ref) String() string {
	if r.Type == "" {
		return string(TypeQueue) + ":" + r.ID
	}
	return string(r.Type) + ":" + r.ID
}

// Queue returns the plain queue form: the ID of a queue, "bot.b" of a bot, "system.s" of a system. A queue's ID loses
// one more legacy prefix here, as in the original: "s_s_q" is stored as "q".
func (r Ref) Queue() string {
	if r.Type == TypeQueue || r.Type == "" {
		return strip(r.ID)
	}
	prefix := string(r.Type) + "."
	if strings.HasPrefix(r.ID, prefix) {
		return r.ID
	}
	return prefix + r.ID
}

// Sub returns the plain queue form of a queue below r: Parse("bot:b").Sub("error") is "bot.b.error".
func (r Ref) Sub(name string) string { return r.Queue() + "." + name }

// Owner tells whose queue r is: "bot.b.error" belongs to bot b (and is its queue "error"), "system.s" to system s
// (and is its own queue, ""). ok is false where r is no queue, or a queue of nobody's.
func (r Ref) Owner() (owner Ref, queue string, ok bool) {
	if r.Type != TypeQueue && r.Type != "" {
		return Ref{}, "", false
	}
	typ, rest, found := strings.Cut(r.ID, ".")
	if !found || (typ != string(TypeBot) && typ != string(TypeSystem)) {
		return Ref{}, "", false
	}
	id, queue, _ := strings.Cut(rest, ".")
	return Ref{Type: Type(typ), ID: id}, queue, true
}

// Queue returns the plain queue form of any reference, Parse(s).Queue(). It does not allocate for a plain name or for a
// reference to a queue.
func Queue(s string) string {
	if Plain(s) {
		return s
	}
	return Parse(s).Queue()
}

// Plain tells whether s is its own queue form, so that Queue(s) == s without a look at its words. It may be false for a
// few names that are ("a:b").
func Plain(s string) bool { return strings.IndexByte(s, ':') < 0 && !hasLegacyPrefix(s) }

// QueueRef returns the reference form of any reference, Parse(s).String(): "q" gives "queue:q", "bot:b" stays "bot:b".
// It is the key of triggers and checkpoints.
func QueueRef(s string) string { return Parse(s).String() }

// BotErrorQueue returns the plain queue form of a bot's error queue: "b" gives "bot.b.error".
func BotErrorQueue(bot string) string { return ParseBot(bot).Sub("error") }

// ValidateQueue checks that the queue which s refers to can be stored: a name is left when type word and legacy prefix
// are removed, its queue form has at most MaxQueueBytes bytes, and s is UTF-8 without control characters and line
// separators (a line end inside s would silently cut the name short). The error wraps ErrInvalid.
func ValidateQueue(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: %.60q is not UTF-8", ErrInvalid, s)
	}
	if strings.ContainsFunc(s, func(c rune) bool { return unicode.IsControl(c) || c == '\u2028' || c == '\u2029' }) {
		return fmt.Errorf("%w: %.60q holds a control character or line separator", ErrInvalid, s)
	}
	r := Parse(s)
	queue := r.Queue()
	if queue == "" || r.ID == "" {
		return fmt.Errorf("%w: %q names no queue once its type and the prefixes s_, e_ and b_ are removed", ErrInvalid, s)
	}
	if len(queue) > MaxQueueBytes {
		return fmt.Errorf("%w: %.60q has %d bytes, at most %d can be stored", ErrInvalid, s, len(queue), MaxQueueBytes)
	}
	return nil
}
