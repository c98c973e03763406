package schedule

import (
	"math/bits"
	"time"
)

// set is a set of small numbers, one bit each.
type set uint64

func (s set) has(n int) bool { return s>>uint(n)&1 != 0 }

// from returns the smallest member not below n, or -1.
func (s set) from(n int) int {
	if s = s >> uint(n); n > 63 || s == 0 {
		return -1
	}
	return n + bits.TrailingZeros64(uint64(s))
}

// interval returns the set of low..high.
func interval(low, high int) set { return set(^uint64(0)>>uint(63-high)) &^ (1<<uint(low) - 1) }

// allHours is the hour set of a schedule that follows the wall clock.
const allHours set = 1<<24 - 1

// calendar is one conjunction of fields over local date and time.
type calendar struct {
	second, minute, hour set
	dom, month, dow      set
	domRules             []domRule
	dowRules             []dowRule
	// years holds the years allowed; nil means all.
	years map[int]bool
}

// domRule is a day of the month that depends on the month.
type domRule struct {
	// fromLast counts back from the last day of the month; day is 0 then.
	fromLast int
	day      int
	// workday moves the day to the nearest Monday to Friday of the same month.
	workday bool
}

// dowRule is the nth weekday of the month, n from 1, or the last one, n = 0.
type dowRule struct{ weekday, n int }

// searchYears is the cycle of the Gregorian calendar: what does not occur within it never occurs.
const searchYears = 400

// firstYear and lastYear bound the years that an expression may name, as AWS does.
const (
	firstYear = 1970
	lastYear  = 2199
)

// possible tells whether the calendar matches any date.
func (c *calendar) possible() bool {
	_, ok := c.next(time.Date(firstYear, 1, 1, 0, 0, 0, 0, time.UTC).Unix())
	return ok
}

// nextIn returns the first moment after the given one, in seconds since 1970, in a zone.
//
// Local time is taken as seconds since 1970 too, as if it were UTC. Within a stretch of constant offset the two differ by
// that offset, so the search goes from stretch to stretch and treats their borders as the package comment says.
func (c *calendar) nextIn(zone *time.Location, after int64) (int64, bool) {
	const slack = 2 * 24 * 60 * 60 // more than two offsets can differ
	for at := after + 1; ; {
		t := time.Unix(at, 0).In(zone)
		_, zoneOffset := t.Zone()
		offset := int64(zoneOffset)
		start, end := t.ZoneBounds()
		if !end.IsZero() && !end.After(t) {
			// Go 1.26 says so on 31 December of leap years beyond the table of a zone: without this the search stands still.
			end = t.Add(time.Hour)
		}
		if c.hour != allHours && !start.IsZero() {
			_, o := start.Add(-time.Second).Zone()
			begin, before := start.Unix(), int64(o)
			if at == begin && before < offset {
				if local, ok := c.next(begin + before); ok && local < begin+offset {
					return at, true
				}
			}
			if again := begin + before - offset; at < again && (end.IsZero() || again < end.Unix()) {
				at = again
			}
		}
		local, ok := c.next(at + offset)
		if !ok {
			return 0, false
		}
		if end.IsZero() || local-offset < end.Unix() {
			return local - offset, true
		}
		// Nothing matches before local, so stretches well before it need no look.
		at = max(end.Unix(), local-slack)
	}
}

// next returns the first match at or after a local time.
func (c *calendar) next(local int64) (int64, bool) {
	t := time.Unix(local, 0).UTC()
	year, m, day := t.Date()
	month, second := int(m), t.Hour()*3600+t.Minute()*60+t.Second()
	limit := year + searchYears
	if c.years != nil {
		limit = lastYear
	}
	for ; year <= limit; year, month, day, second = year+1, 1, 1, 0 {
		if c.years != nil && !c.years[year] {
			continue
		}
		for ; month <= 12; month, day, second = month+1, 1, 0 {
			if !c.month.has(month) {
				continue
			}
			first := time.Date(year, time.Month(month), 1, 0, 0, 0, 0, time.UTC)
			info := monthInfo{days: first.AddDate(0, 1, -1).Day(), firstWeekday: int(first.Weekday())}
			for ; day <= info.days; day, second = day+1, 0 {
				if !c.matchesDay(info, day) {
					continue
				}
				if s := c.timeOfDay(second); s >= 0 {
					return first.Unix() + int64(day-1)*24*60*60 + int64(s), true
				}
			}
		}
	}
	return 0, false
}

// timeOfDay returns the first matching second of the day not before second, or -1.
func (c *calendar) timeOfDay(second int) int {
	h, m, s := second/3600, second/60%60, second%60
	hour := c.hour.from(h)
	if hour == h {
		minute := c.minute.from(m)
		if minute == m {
			if sec := c.second.from(s); sec >= 0 {
				return h*3600 + m*60 + sec
			}
			minute = c.minute.from(m + 1)
		}
		if minute >= 0 {
			return h*3600 + minute*60 + c.second.from(0)
		}
		hour = c.hour.from(h + 1)
	}
	if hour < 0 {
		return -1
	}
	return hour*3600 + c.minute.from(0)*60 + c.second.from(0)
}

// monthInfo is what the days of a month depend on.
type monthInfo struct{ days, firstWeekday int }

func (m monthInfo) weekday(day int) int { return (m.firstWeekday + day - 1) % 7 }

func (c *calendar) matchesDay(m monthInfo, day int) bool {
	return c.matchesDom(m, day) && c.matchesDow(m, day)
}

func (c *calendar) matchesDom(m monthInfo, day int) bool {
	if c.dom.has(day) {
		return true
	}
	for _, r := range c.domRules {
		want := r.day
		if want == 0 {
			want = m.days - r.fromLast
		}
		if want < 1 || want > m.days {
			continue
		}
		if r.workday {
			want = m.nearestWorkday(want)
		}
		if want == day {
			return true
		}
	}
	return false
}

// nearestWorkday moves a Saturday to Friday and a Sunday to Monday, but never out of the month.
func (m monthInfo) nearestWorkday(day int) int {
	switch m.weekday(day) {
	case int(time.Saturday):
		if day == 1 {
			return 3
		}
		return day - 1
	case int(time.Sunday):
		if day == m.days {
			return day - 2
		}
		return day + 1
	default:
		return day
	}
}

func (c *calendar) matchesDow(m monthInfo, day int) bool {
	weekday := m.weekday(day)
	if c.dow.has(weekday) {
		return true
	}
	for _, r := range c.dowRules {
		if r.weekday == weekday && (r.n == (day-1)/7+1 || r.n == 0 && day+7 > m.days) {
			return true
		}
	}
	return false
}
