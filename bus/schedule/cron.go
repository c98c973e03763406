package schedule

import (
	"strconv"
	"strings"
)

// field describes one field of a cron expression.
type field struct {
	name      string
	low, high int
	names     string // three letters each, the first one standing for low
	cyclic    bool   // ranges may run over the end
}

// The fields, in the order of the longest form.
func cronFields(aws bool) [7]field {
	f := [7]field{
		{name: "second", low: 0, high: 59, cyclic: true},
		{name: "minute", low: 0, high: 59, cyclic: true},
		{name: "hour", low: 0, high: 23, cyclic: true},
		{name: "day of month", low: 1, high: 31, cyclic: true},
		{name: "month", low: 1, high: 12, names: "janfebmaraprmayjunjulaugsepoctnovdec", cyclic: true},
		{name: "day of week", low: 0, high: 6, names: weekdays, cyclic: true},
		{name: "year", low: firstYear, high: lastYear},
	}
	if aws {
		f[dowField].low, f[dowField].high = 1, 7
	}
	return f
}

const weekdays = "sunmontuewedthufrisat"

const (
	domField  = 3
	dowField  = 5
	yearField = 6
)

// parseAWSCron reads cron(minute hour dom month dow year).
func parseAWSCron(expr string) ([]calendar, *fault) {
	body, open, err := inBrackets(expr)
	if err != nil {
		return nil, err
	}
	words := split(body)
	for i := range words {
		words[i].pos += open
	}
	if len(words) != 6 {
		return nil, faultf(open, "cron(...) takes 6 fields, minute hour day-of-month month day-of-week year, but has %d", len(words))
	}
	if dom, dow := words[2], words[4]; dom.text != "?" && dow.text != "?" {
		return nil, faultf(dow.pos, "in cron(...) one of day-of-month and day-of-week must be ?")
	} else if dom.text == dow.text {
		return nil, faultf(dow.pos, "day-of-month and day-of-week cannot both be ?")
	}
	return parseFields(append([]word{{text: "0", pos: open}}, words...), true)
}

// inBrackets returns what stands between the brackets of name(...) and where it begins.
func inBrackets(expr string) (string, int, *fault) {
	open := strings.IndexByte(expr, '(') + 1
	end := strings.IndexByte(expr, ')')
	if end < 0 {
		return "", 0, faultf(len(expr), "the closing bracket is missing")
	}
	if rest := strings.TrimSpace(expr[end+1:]); rest != "" {
		return "", 0, faultf(end+1, "nothing may follow the closing bracket")
	}
	return expr[open:end], open, nil
}

// parseCron reads 5, 6 or 7 fields.
func parseCron(words []word, length int) ([]calendar, *fault) {
	switch len(words) {
	case 5:
		words = append([]word{{text: "0"}}, words...)
		fallthrough
	case 6:
		words = append(words, word{text: "*", pos: length})
	case 7:
	default:
		return nil, faultf(words[0].pos, "%d fields; cron takes 5 (minute hour day-of-month month day-of-week), "+
			"6 with a second in front, or 7 with a year behind; otherwise %s", len(words), accepted)
	}
	return parseFields(words, false)
}

// parseFields reads all seven fields.
func parseFields(words []word, aws bool) ([]calendar, *fault) {
	fields := cronFields(aws)
	var c calendar
	targets := [...]*set{&c.second, &c.minute, &c.hour, &c.dom, &c.month, &c.dow}
	for i, w := range words {
		p := fieldParser{field: fields[i], index: i, aws: aws, calendar: &c}
		if err := p.parse(w); err != nil {
			return nil, err
		}
		if i < len(targets) {
			*targets[i] = p.values
		}
	}
	return []calendar{c}, nil
}

// fieldParser reads the items of one field.
type fieldParser struct {
	field
	index    int
	aws      bool
	calendar *calendar
	values   set // but for years
}

func (p *fieldParser) parse(w word) *fault {
	if w.text == "*" || w.text == "?" {
		if w.text == "?" && p.index != domField && p.index != dowField {
			return faultf(w.pos, "? may stand for day of month or day of week only, use *")
		}
		if p.index != yearField {
			p.values = interval(p.low, p.high)
			if p.aws && p.index == dowField {
				p.values = interval(0, 6)
			}
		}
		return nil
	}
	pos := w.pos
	for item := range strings.SplitSeq(w.text, ",") {
		if err := p.item(strings.ToLower(item), pos); err != nil {
			return err
		}
		pos += len(item) + 1
	}
	return nil
}

func (p *fieldParser) item(item string, pos int) *fault {
	if done, err := p.rule(item, pos); done || err != nil {
		return err
	}
	body, stepText, stepped := strings.Cut(item, "/")
	step := 1
	if stepped {
		var ok bool
		if step, ok = number(stepText); !ok || step < 1 {
			return faultf(pos+len(body)+1, "step %q of the %s is no number from 1", stepText, p.name)
		}
		if span := p.high - p.low + 1; step > span {
			return faultf(pos+len(body)+1, "step %d is longer than the %d values of the %s; rate(...) has no such limit",
				step, span, p.name)
		}
	}
	low, high := p.low, p.high
	if body != "*" {
		first, last, ranged := strings.Cut(body, "-")
		var err *fault
		if low, err = p.value(first, pos); err != nil {
			return err
		}
		switch {
		case ranged:
			if high, err = p.value(last, pos+len(first)+1); err != nil {
				return err
			}
			if low > high {
				if !p.cyclic {
					return faultf(pos, "range %q of the %s runs backwards", body, p.name)
				}
				high += p.high - p.low + 1
			}
		case !stepped:
			high = low
		case low > high: // Sunday as 7 before a step
			low = p.low
		}
	}
	for n := low; n <= high; n += step {
		p.add((n-p.low)%(p.high-p.low+1) + p.low)
	}
	return nil
}

// add adds a value in the notation of the field.
func (p *fieldParser) add(n int) {
	switch {
	case p.index == yearField:
		if p.calendar.years == nil {
			p.calendar.years = make(map[int]bool)
		}
		p.calendar.years[n] = true
	case p.index == dowField:
		p.values |= 1 << uint(n-p.low)
	default:
		p.values |= 1 << uint(n)
	}
}

// value reads a number or name of the field. Sunday as 7 stays 7, so that 0-7 and 5-7 are the ranges they look like; what
// uses the value takes it modulo the length of the field.
func (p *fieldParser) value(s string, pos int) (int, *fault) {
	if n, ok := number(s); ok {
		if n >= p.low && n <= p.high || n == 7 && p.index == dowField {
			return n, nil
		}
	} else if i := strings.Index(p.names, s); len(s) == 3 && i >= 0 && i%3 == 0 {
		return p.low + i/3, nil
	}
	if p.names != "" {
		return 0, faultf(pos, "%q is no %s, use %d-%d or %s-%s", s, p.name, p.low, p.high,
			strings.ToUpper(p.names[:3]), strings.ToUpper(p.names[len(p.names)-3:]))
	}
	return 0, faultf(pos, "%q is no %s, use %d-%d", s, p.name, p.low, p.high)
}

// rule reads the items that depend on the month: L, L-n, LW and nW for days of the month, xL and x#n for days of the week.
func (p *fieldParser) rule(item string, pos int) (bool, *fault) {
	switch {
	case p.index == domField && item == "l":
		p.calendar.domRules = append(p.calendar.domRules, domRule{})
	case p.index == domField && item == "lw":
		p.calendar.domRules = append(p.calendar.domRules, domRule{workday: true})
	case p.index == domField && strings.HasPrefix(item, "l-"):
		n, ok := number(item[2:])
		if !ok || n > 30 {
			return false, faultf(pos+2, "%q is no count of days before the last, use 0-30", item[2:])
		}
		p.calendar.domRules = append(p.calendar.domRules, domRule{fromLast: n})
	case p.index == domField && strings.HasSuffix(item, "w"):
		n, err := p.value(item[:len(item)-1], pos)
		if err != nil {
			return false, err
		}
		p.calendar.domRules = append(p.calendar.domRules, domRule{day: n, workday: true})
	case p.index == dowField && p.aws && item == "l": // AWS: the last day of the week
		p.values |= 1 << 6
	case p.index == dowField && strings.HasSuffix(item, "l"):
		n, err := p.value(item[:len(item)-1], pos)
		if err != nil {
			return false, err
		}
		p.calendar.dowRules = append(p.calendar.dowRules, dowRule{weekday: (n - p.low) % 7})
	case p.index == dowField && strings.Contains(item, "#"):
		day, nth, _ := strings.Cut(item, "#")
		weekday, err := p.value(day, pos)
		if err != nil {
			return false, err
		}
		n, ok := number(nth)
		if !ok || n < 1 || n > 5 {
			return false, faultf(pos+len(day)+1, "%q is no week of the month, use 1-5", nth)
		}
		p.calendar.dowRules = append(p.calendar.dowRules, dowRule{weekday: (weekday - p.low) % 7, n: n})
	default:
		return false, nil
	}
	return true, nil
}

// number reads an unsigned number of at most nine digits.
func number(s string) (int, bool) {
	if len(s) == 0 || len(s) > 9 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}
