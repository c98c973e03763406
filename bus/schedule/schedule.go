// Package schedule reads the `time` of a bot and tells when it is due.
//
// Accepted are
//
//   - cron with 5 fields, minute hour day-of-month month day-of-week, with 6 fields, a second in front, and with 7, a
//     year behind as well;
//   - the AWS forms cron(minute hour day-of-month month day-of-week year) and rate(5 minutes);
//   - a small English: "every 5 minutes", "every 2 hours", "every day at 10:00", "at 5:15 pm", "every weekday at 9:00 am",
//     "on monday and friday at 9:00", "on the first day of the month at 6:00", "on the last day of the month".
//
// Fields take *, ?, names (JAN, MON), lists, ranges (also over the end, FRI-MON), steps (*/5, 10/20, 0-30/10), L, L-3, LW
// and 15W for days of the month, 5L and 5#2 for days of the week. In cron Sunday is 0 or 7, in the AWS form it is 1. Where
// both a day of the month and a day of the week are given, both must hold. "every N" counts from the start of the next
// larger unit, as */N does; rate counts from 1970-01-01 in UTC, so that every process agrees on the moments.
//
// These are the schedules of the original bus (bus.md 3.6, C54), which read them with the Node module later. Where later
// guesses (60 minutes for 59, day of week 7 for Saturday, 22-2 for always, 12:00 am for noon) this package follows cron
// and common usage or reports an error.
//
// Times are UTC unless a zone is given. In a zone with summer time a schedule that names hours keeps its count of runs per
// day: what the clocks jump over happens at the moment of the jump, and what they repeat happens the first time only. A
// schedule for every hour follows the wall clock: nothing in the jump, and both times round in the repetition.
package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrInvalid reports an expression or a zone that cannot be read. Callers should show the message to whoever wrote it:
// it says where the fault is and what is accepted.
var ErrInvalid = errors.New("invalid schedule")

// Error says what is wrong with an expression. It wraps ErrInvalid.
type Error struct {
	// Expr is the expression as given.
	Expr string
	// Pos is the place of the fault in Expr, in bytes from 0.
	Pos int
	// Reason says what is wrong and what would be right.
	Reason string
}

// Error returns the whole message.
func (e *Error) Error() string {
	return fmt.Sprintf("%v %q: at character %d: %s", ErrInvalid, e.Expr, e.Pos+1, e.Reason)
}

// Unwrap returns ErrInvalid.
func (e *Error) Unwrap() error { return ErrInvalid }

// Schedule is a set of moments at whole seconds. The zero Schedule has none. A Schedule is immutable and safe to share.
type Schedule struct {
	expr string
	zone *time.Location
	// calendars are united. They are empty where period is set.
	calendars []calendar
	// period is the distance of a rate in seconds.
	period int64
}

// maxLen bounds expressions: the longest sensible one lists all minutes.
const maxLen = 1024

// accepted ends the message where nothing of the expression was understood.
const accepted = `use cron ("*/5 * * * *", "0 30 9 * * 1-5" with seconds), "cron(0 10 * * ? *)", "rate(5 minutes)" or a text ` +
	`such as "every 5 minutes", "every day at 10:00", "on monday and friday at 5:15 pm"`

// Parse reads an expression. zone is a name of the IANA time zone database, such as "Europe/Berlin"; "" means UTC. The
// program must carry that database or find one on its machine. The error wraps ErrInvalid, and is an *Error where the
// expression is at fault. An expression whose date never comes, such as 30 February, is an error.
func Parse(expr, zone string) (Schedule, error) {
	loc := time.UTC
	if zone != "" {
		var err error
		// "Local" would make a schedule depend on the machine that reads it.
		if loc, err = time.LoadLocation(zone); err != nil || zone == "Local" {
			return Schedule{}, fmt.Errorf("%w: unknown time zone %.60q, use an IANA name such as Europe/Berlin or UTC", ErrInvalid, zone)
		}
	}
	s := Schedule{expr: strings.TrimSpace(expr), zone: loc}
	fail := func(pos int, reason string) (Schedule, error) {
		return Schedule{}, &Error{Expr: expr, Pos: pos, Reason: reason}
	}
	if len(expr) > maxLen {
		return Schedule{}, &Error{Expr: expr[:60], Pos: maxLen, Reason: fmt.Sprintf("longer than %d bytes", maxLen)}
	}
	// Nothing that is accepted needs more, and lower-casing other letters would move the places of faults.
	for i := range len(expr) {
		if expr[i] >= 0x80 {
			return fail(i, "only ASCII characters are accepted")
		}
	}
	words := split(expr)
	if len(words) == 0 {
		return fail(0, "empty; "+accepted)
	}
	var err *fault
	switch first := strings.ToLower(words[0].text); {
	case strings.HasPrefix(first, "cron("):
		s.calendars, err = parseAWSCron(expr)
	case strings.HasPrefix(first, "rate("):
		s.period, err = parseRate(expr)
	case first[0] >= 'a' && first[0] <= 'z':
		s.calendars, err = parseText(expr)
	default:
		s.calendars, err = parseCron(words, len(expr))
	}
	if err != nil {
		return fail(err.pos, err.reason)
	}
	for i := range s.calendars {
		if !s.calendars[i].possible() {
			return fail(words[0].pos, "matches no date of the calendar; check day, month and year")
		}
	}
	return s, nil
}

// String returns the expression, and the zone in brackets where it is not UTC.
func (s Schedule) String() string {
	if s.zone == nil || s.zone == time.UTC {
		return s.expr
	}
	return s.expr + " (" + s.zone.String() + ")"
}

// Next returns the first moment strictly after the given time, in UTC. It returns the zero time if there is none, which
// happens only where years are given or for the zero Schedule.
func (s Schedule) Next(after time.Time) time.Time {
	if next, ok := s.next(after.Unix()); ok {
		return time.Unix(next, 0).UTC()
	}
	return time.Time{}
}

// next is Next in seconds since 1970. Unix rounds down, hence whole seconds after it are those after the time itself.
func (s Schedule) next(after int64) (int64, bool) {
	if s.period > 0 {
		n := after / s.period
		if after%s.period < 0 {
			n--
		}
		return (n + 1) * s.period, true
	}
	var first int64
	found := false
	for i := range s.calendars {
		if at, ok := s.calendars[i].nextIn(s.zone, after); ok && (!found || at < first) {
			first, found = at, true
		}
	}
	return first, found
}

// Between returns the latest moment after from and not after to, in UTC; ok is false if there is none. It answers "was a
// run missed while nobody watched", whatever the number of missed moments, with some forty calls of Next.
func (s Schedule) Between(from, to time.Time) (last time.Time, ok bool) {
	low, high := from.Unix(), to.Unix()
	next, ok := s.next(low)
	if !ok || next > high {
		return time.Time{}, false
	}
	// The latest moment is the smallest time after which no moment up to high follows.
	for low = next; low < high; {
		middle := low + (high-low)/2
		if next, ok := s.next(middle); ok && next <= high {
			low = next
		} else {
			high = middle
		}
	}
	return time.Unix(low, 0).UTC(), true
}

// word is a part of an expression and its place.
type word struct {
	text string
	pos  int
}

// fault is an Error without the expression.
type fault struct {
	pos    int
	reason string
}

func faultf(pos int, format string, args ...any) *fault {
	return &fault{pos: pos, reason: fmt.Sprintf(format, args...)}
}

// split cuts at white space.
func split(s string) []word {
	var words []word
	start := -1
	for i := 0; i <= len(s); i++ {
		space := i == len(s) || s[i] == ' ' || s[i] == '\t' || s[i] == '\n' || s[i] == '\r'
		if space && start >= 0 {
			words = append(words, word{text: s[start:i], pos: start})
			start = -1
		} else if !space && start < 0 {
			start = i
		}
	}
	return words
}
