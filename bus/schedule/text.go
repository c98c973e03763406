package schedule

import "strings"

// parseRate reads rate(N unit) and returns N units in seconds.
func parseRate(expr string) (int64, *fault) {
	body, open, err := inBrackets(expr)
	if err != nil {
		return 0, err
	}
	words := split(body)
	if len(words) != 2 {
		return 0, faultf(open, "rate(...) takes a number and a unit, such as rate(5 minutes)")
	}
	n, ok := number(words[0].text)
	if !ok || n < 1 {
		return 0, faultf(open+words[0].pos, "%q is no number from 1", words[0].text)
	}
	var unit int64
	switch strings.TrimSuffix(strings.ToLower(words[1].text), "s") {
	case "second":
		unit = 1
	case "minute":
		unit = 60
	case "hour":
		unit = 60 * 60
	case "day":
		unit = 24 * 60 * 60
	default:
		return 0, faultf(open+words[1].pos, "%q is no unit of rate(...), use seconds, minutes, hours or days", words[1].text)
	}
	return int64(n) * unit, nil
}

// textParser reads an English schedule: one clause of "every" or "on", one of "at", in any order.
type textParser struct {
	words  []word
	next   int
	length int

	calendar  calendar
	frequency bool  // an "every" for seconds, minutes or hours was read
	days      bool  // a clause for days was read
	times     []int // minutes of the day
}

func parseText(expr string) ([]calendar, *fault) {
	// Commas separate as "and" does, and letters count in any case.
	p := textParser{words: split(strings.ToLower(strings.ReplaceAll(expr, ",", " "))), length: len(expr)}
	p.calendar = calendar{second: 1, minute: 1, hour: 1, dom: interval(1, 31), month: interval(1, 12), dow: interval(0, 6)}
	for p.next < len(p.words) {
		var err *fault
		switch w := p.take(); w.text {
		case "every":
			err = p.every(w)
		case "on":
			err = p.on(w)
		case "at":
			err = p.at(w)
		default:
			err = faultf(w.pos, "%q is not understood; %s", w.text, accepted)
		}
		if err != nil {
			return nil, err
		}
	}
	if p.times == nil {
		return []calendar{p.calendar}, nil
	}
	var all []calendar
	for _, t := range p.times {
		c := p.calendar
		c.hour, c.minute = 1<<uint(t/60), 1<<uint(t%60)
		all = append(all, c)
	}
	return all, nil
}

// take returns the next word, and an empty one behind the last.
func (p *textParser) take() word {
	w := p.peek()
	p.next++
	return w
}

func (p *textParser) peek() word {
	if p.next < len(p.words) {
		return p.words[p.next]
	}
	return word{pos: p.length}
}

// skip passes over the next words if they are these.
func (p *textParser) skip(texts ...string) bool {
	if p.next+len(texts) > len(p.words) {
		return false
	}
	for i, t := range texts {
		if p.words[p.next+i].text != t {
			return false
		}
	}
	p.next += len(texts)
	return true
}

// every reads "every [N] unit", "every weekday", "every monday and friday".
func (p *textParser) every(every word) *fault {
	if n, ok := number(p.peek().text); ok {
		return p.everyN(n, p.take(), p.take())
	}
	switch w := p.peek(); unitOf(w.text) {
	case "":
		return p.weekdays(every)
	default:
		return p.everyN(1, w, p.take())
	}
}

// unitOf returns the unit that a word stands for, or "".
func unitOf(s string) string {
	switch s {
	case "s", "sec", "secs", "second", "seconds":
		return "second"
	case "m", "min", "mins", "minute", "minutes":
		return "minute"
	case "h", "hour", "hours":
		return "hour"
	case "day", "days":
		return "day"
	default:
		return ""
	}
}

// everyN sets the fields as */n does in cron.
func (p *textParser) everyN(n int, count, unit word) *fault {
	var limit int
	var values set
	switch unitOf(unit.text) {
	case "second", "minute":
		limit = 60
	case "hour":
		limit = 24
	case "day":
		limit = 31
	default:
		return faultf(unit.pos, "%q is no unit, use seconds, minutes, hours or days", unit.text)
	}
	if n < 1 || n > limit {
		return faultf(count.pos, "every takes 1-%d %[2]ss; for longer periods use rate(%[3]d %[2]ss)",
			limit, unitOf(unit.text), max(n, 1))
	}
	for i := 0; i < limit; i += n {
		values |= 1 << uint(i)
	}
	if unitOf(unit.text) == "day" {
		if err := p.setDays(count); err != nil {
			return err
		}
		p.calendar.dom = values << 1
		return nil
	}
	if p.frequency || p.times != nil {
		return faultf(count.pos, "only one of \"every N %ss\" and \"at\" may be given", unitOf(unit.text))
	}
	p.frequency = true
	p.calendar.minute, p.calendar.hour = interval(0, 59), allHours
	switch unitOf(unit.text) {
	case "second":
		p.calendar.second = values
	case "minute":
		p.calendar.minute = values
	case "hour":
		p.calendar.minute, p.calendar.hour = 1, values
	}
	return nil
}

// setDays notes that days were given.
func (p *textParser) setDays(w word) *fault {
	if p.days {
		return faultf(w.pos, "days are given twice")
	}
	p.days = true
	return nil
}

// on reads "on monday and friday" and "on the first day of the month".
func (p *textParser) on(on word) *fault {
	if !p.skip("the") {
		return p.weekdays(on)
	}
	w := p.take()
	day, numbered := ordinal(w.text)
	switch {
	case w.text == "first":
		p.calendar.dom = 1 << 1
	case w.text == "last":
		p.calendar.dom, p.calendar.domRules = 0, []domRule{{}}
	case numbered && day >= 1 && day <= 31:
		p.calendar.dom = 1 << uint(day)
	default:
		return faultf(w.pos, "%q is no day of the month, use first, last or 2nd to 31st", w.text)
	}
	if !p.skip("day", "of", "the", "month") {
		return faultf(p.peek().pos, "\"day of the month\" must follow")
	}
	return p.setDays(on)
}

// ordinal reads "2nd" or "15th".
func ordinal(s string) (int, bool) {
	for _, suffix := range [...]string{"st", "nd", "rd", "th"} {
		if digits, ok := strings.CutSuffix(s, suffix); ok {
			return number(digits)
		}
	}
	return 0, false
}

// weekdays reads names of days up to a word that is none.
func (p *textParser) weekdays(clause word) *fault {
	var days set
	for {
		before := p.next
		p.skip("and")
		d := weekdaysOf(p.peek().text)
		if d == 0 {
			p.next = before
			break
		}
		days |= d
		p.next++
	}
	if days == 0 {
		return faultf(p.peek().pos, "a number, a unit or a day of the week must follow %q; %s", clause.text, accepted)
	}
	p.calendar.dow = days
	return p.setDays(clause)
}

// weekdaysOf returns the days that a word stands for.
func weekdaysOf(s string) set {
	switch s {
	case "weekday", "weekdays":
		return interval(1, 5)
	case "weekend", "weekends":
		return 1 | 1<<6
	case "sun", "sunday", "sundays":
		return 1 << 0
	case "mon", "monday", "mondays":
		return 1 << 1
	case "tue", "tues", "tuesday", "tuesdays":
		return 1 << 2
	case "wed", "wednesday", "wednesdays":
		return 1 << 3
	case "thu", "thur", "thurs", "thursday", "thursdays":
		return 1 << 4
	case "fri", "friday", "fridays":
		return 1 << 5
	case "sat", "saturday", "saturdays":
		return 1 << 6
	default:
		return 0
	}
}

// at reads "at 10:00", "at 5:15 pm", "at 9:00 and 17:00".
func (p *textParser) at(at word) *fault {
	if p.frequency || p.times != nil {
		return faultf(at.pos, "\"at\" may be given once, and not with every N seconds, minutes or hours")
	}
	for {
		w := p.take()
		text := w.text
		if half := p.peek().text; half == "am" || half == "pm" {
			text += half
			p.next++
		}
		t, ok := clock(text)
		if !ok {
			return faultf(w.pos, "%q is no time of day, use 17:15, 5:15 pm or 5 pm", w.text)
		}
		p.times = append(p.times, t)
		before := p.next
		p.skip("and")
		if c := p.peek().text; c == "" || c[0] < '0' || c[0] > '9' {
			p.next = before
			return nil
		}
	}
}

// clock reads a time of day and returns its minute of the day.
func clock(s string) (int, bool) {
	text := s
	half := ""
	if strings.HasSuffix(s, "am") || strings.HasSuffix(s, "pm") {
		text, half = s[:len(s)-2], s[len(s)-2:]
	}
	hourText, minuteText, colon := strings.Cut(text, ":")
	hour, ok1 := number(hourText)
	minute, ok2 := 0, half != ""
	if colon {
		minute, ok2 = number(minuteText)
		ok2 = ok2 && len(minuteText) == 2
	}
	if !ok1 || !ok2 || len(hourText) > 2 || minute > 59 {
		return 0, false
	}
	if half == "" {
		return hour*60 + minute, hour <= 23
	}
	if hour < 1 || hour > 12 {
		return 0, false
	}
	if hour %= 12; half == "pm" {
		hour += 12
	}
	return hour*60 + minute, true
}
