package eid

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Granularity says how deep a position FromTime makes. The zero Granularity is Millisecond.
type Granularity int

// The granularities, from the deepest to the shallowest. Second and Millisecond give the prefix of an id, the others a
// date path that ends in a slash.
const (
	Millisecond Granularity = iota
	Second
	Minute
	Hour
	Date
	Month
	Year
)

// pathLayouts holds the layouts of the granularities that give a date path.
var pathLayouts = [...]string{
	Minute: "z/2006/01/02/15/04/", Hour: "z/2006/01/02/15/", Date: "z/2006/01/02/", Month: "z/2006/01/", Year: "z/2006/",
}

// FromTime returns the position at the start of the period of t (UTC): reading from it gives the events published in that
// period and later. Use New for an id with a counter. The error wraps ErrTimeRange for times before 1970 or after
// 2286-11-20, and ErrInvalid for an unknown granularity. It is eventIdFromTimestamp of the Node SDK (sdk.md 2.4).
func FromTime(t time.Time, g Granularity) (string, error) {
	ms := t.UnixMilli()
	switch {
	case ms < 0 || ms > maxMillis:
		return "", fmt.Errorf("%w: %s", ErrTimeRange, t.UTC().Format(time.RFC3339))
	case g == Millisecond:
		return MinutePath(ms) + strconv.FormatInt(ms, 10), nil
	case g == Second:
		ms -= ms % 1000
		return MinutePath(ms) + strconv.FormatInt(ms, 10), nil
	case g >= Minute && g <= Year:
		return t.UTC().Format(pathLayouts[g]), nil
	default:
		return "", fmt.Errorf("%w: unknown granularity %d", ErrInvalid, int(g))
	}
}

// ignoredMillis is the largest last path field that the Node SDK does not take for milliseconds.
const ignoredMillis = 10_000

// Time returns the time that a position or id begins at: its milliseconds where it has them, otherwise the start of the
// year, month, day, hour or minute that it names (UTC). A trailing space makes no difference. It is eventIdToTimestamp of
// the Node SDK (sdk.md 2.4), but for positions whose time that function guesses: a field that is cut off ("z/2024/1"),
// empty or not a number, and a date that does not exist, are errors here. So are "z/" and snapshot positions, there and
// here. The error wraps ErrTimeRange for a date or time outside the calendar and ErrInvalid otherwise.
func Time(pos string) (time.Time, error) {
	invalid := func() (time.Time, error) {
		return time.Time{}, fmt.Errorf("%w: %q names no time, want z/YYYY and deeper", ErrInvalid, pos)
	}
	if ValidatePosition(pos) != nil || strings.HasPrefix(pos, SnapshotPrefix) {
		return invalid()
	}
	path, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(pos, " "), "z/"), "-")
	fields := strings.Split(strings.TrimSuffix(path, "/"), "/")
	if len(fields) > 6 {
		return invalid()
	}
	date := [...]int64{0, 1, 1, 0, 0, 0} // year, month, day, hour, minute, milliseconds
	widths := [...]int{4, 2, 2, 2, 2}
	for i, f := range fields {
		if f == "" || (i < len(widths) && len(f) != widths[i]) {
			return invalid()
		}
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("%w: %q", ErrTimeRange, pos)
		}
		date[i] = n
	}
	if len(fields) < 6 && strings.Contains(pos, "-") {
		return invalid()
	}
	if ms := date[5]; ms > maxMillis {
		return time.Time{}, fmt.Errorf("%w: %q", ErrTimeRange, pos)
	} else if ms > ignoredMillis {
		return time.UnixMilli(ms).UTC(), nil
	}
	t := time.Date(int(date[0]), time.Month(date[1]), int(date[2]), int(date[3]), int(date[4]), 0, 0, time.UTC)
	// time.Date carries 30 February over into March; a position must not move like that.
	if t.Format("2006/01/02/15/04") != fmt.Sprintf("%04d/%02d/%02d/%02d/%02d", date[0], date[1], date[2], date[3], date[4]) {
		return time.Time{}, fmt.Errorf("%w: %q is no date of the calendar", ErrTimeRange, pos)
	}
	return t, nil
}
