package event

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// unescape appends the text of a scanned string (without its quotes) to dst. whole is false where the string holds half of a
// surrogate pair, which has no UTF-8 form; U+FFFD stands in its place.
func unescape(dst, s []byte) (text []byte, whole bool) {
	whole = true
	for len(s) > 0 {
		i := bytes.IndexByte(s, '\\')
		if i < 0 {
			return append(dst, s...), whole
		}
		dst = append(dst, s[:i]...)
		c := s[i+1]
		s = s[i+2:]
		switch c {
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r := hex4(s)
			s = s[4:]
			if utf16.IsSurrogate(r) {
				pair := rune(utf8.RuneError)
				if len(s) >= 6 && s[0] == '\\' && s[1] == 'u' {
					pair = utf16.DecodeRune(r, hex4(s[2:]))
				}
				if pair == utf8.RuneError {
					whole = false
				} else {
					s = s[6:]
				}
				r = pair
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
	return dst, whole
}

func hex4(s []byte) rune {
	return hexValue(s[0])<<12 | hexValue(s[1])<<8 | hexValue(s[2])<<4 | hexValue(s[3])
}

// appendString appends s as a JSON string; ok is false where s is not UTF-8.
func appendString(dst []byte, s string) (out []byte, ok bool) {
	dst, ok = appendText(append(dst, '"'), s)
	return append(dst, '"'), ok
}

// appendText appends the inside of the JSON string of s, escaped as JSON.stringify does: quote, backslash and control
// characters only. ok is false where s is not UTF-8.
func appendText(dst []byte, s string) (out []byte, ok bool) {
	start := len(dst)
	dst = append(dst, s...)
	switch text := dst[start:]; {
	case isPlain(text):
		return dst, true
	case !utf8.Valid(text):
		return dst, false
	}
	return appendEscaped(dst[:start], s), true
}

// isPlain tells whether s is ASCII with nothing to escape.
func isPlain(s []byte) bool {
	for i := 0; i+8 <= len(s); i += 8 {
		if x, _ := load(s, i); special(x)|x&highBits != 0 {
			return false
		}
	}
	if x, ok := load(s, len(s)-8); ok {
		return special(x)|x&highBits == 0
	}
	for _, c := range s {
		if c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// appendEscaped appends s, escaped.
func appendEscaped(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	from := 0
	for i := range len(s) {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		dst = append(dst, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, `\b`...)
		case '\f':
			dst = append(dst, `\f`...)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(dst, s[from:]...)
}

// appendMillis appends a time. Those of our age have 13 digits, made eight at a time.
func appendMillis(dst []byte, ms int64) []byte {
	if ms < 1_000_000_000_000 || ms > 9_999_999_999_999 {
		return strconv.AppendInt(dst, ms, 10)
	}
	high, low := eightDigits(uint32(ms/1e8)), eightDigits(uint32(ms%1e8))
	n := len(dst) + 5
	dst = binary.LittleEndian.AppendUint64(dst, high>>24)[:n] // Without the three leading zeros.
	return binary.LittleEndian.AppendUint64(dst, low)
}

// eightDigits returns n, below 1e8, in eight decimal digits, the first lowest.
func eightDigits(n uint32) uint64 {
	// Two numbers of four digits, four of two, eight of one.
	x := uint64(n/10000) | uint64(n%10000)<<32
	q := x * 10486 >> 20 & 0x7f_0000_007f // x/100 in each half
	x = q | (x-q*100)<<16
	q = x * 103 >> 10 & 0x000f_000f_000f_000f // x/10 in each quarter
	return q | (x-q*10)<<8 | lowBits*'0'
}

// appendCompact appends the valid JSON value v to dst without the white space outside its strings.
func appendCompact(dst, v []byte) []byte {
	for i := 0; i < len(v); {
		if v[i] == '"' {
			end := skipString(v, i+1)
			dst = append(dst, v[i:end]...)
			i = end
			continue
		}
		if v[i] > ' ' {
			dst = append(dst, v[i])
		}
		i++
	}
	return dst
}

// Truthy tells whether a JSON value counts as true in JavaScript, whose rules decide what the bus stores (bus.md 2.3): all but
// null, false, 0 and "". No value at all counts as false. v must be valid and without white space around it.
func Truthy(v json.RawMessage) bool { return truthy(v) }

// truthy is Truthy for a scanned value.
func truthy(v []byte) bool {
	if len(v) == 0 {
		return false
	}
	switch v[0] {
	case 'n', 'f':
		return false
	case '"':
		return len(v) > 2
	case '-', '0':
		return !isZero(v)
	case '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return !bytes.ContainsAny(v, "eE") || !isZero(v)
	}
	return true
}

// isZero tells whether a number is 0 as a double: 0, -0.0, and what is too small, such as 1e-400.
func isZero(v []byte) bool {
	f, _ := strconv.ParseFloat(string(v), 64) // Out of range gives an infinity, which is not zero.
	return f == 0
}

// integer reads a number that is a whole number within the range of an int64, however it is written.
func integer(v []byte) (int64, bool) {
	if n, ok := plainInteger(v); ok {
		return n, true
	}
	f, err := strconv.ParseFloat(string(v), 64)
	if err != nil || f != math.Trunc(f) || math.Abs(f) >= 1<<53 {
		return 0, false
	}
	return int64(f), true
}

// plainInteger reads digits with at most a minus before them.
func plainInteger(v []byte) (int64, bool) {
	d := v
	if len(d) > 0 && d[0] == '-' {
		d = d[1:]
	}
	if len(d) == 0 || len(d) > 18 {
		return 0, false
	}
	var n int64
	for x, ok := load(d, 0); ok && noDigits(x) == 0; x, ok = load(d, 0) {
		// Pairs, fours, and then all eight digits are added up in place.
		x -= lowBits * '0'
		x = x*10 + x>>8
		x = x & 0x00ff_00ff_00ff_00ff * (1 + 100<<16) >> 16
		x = x & 0x0000_ffff_0000_ffff * (1 + 10000<<32) >> 32
		n, d = n*1e8+int64(x), d[8:]
	}
	for _, c := range d {
		if !isDigit(c) {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if v[0] == '-' {
		n = -n
	}
	return n, true
}

func isNumber(v []byte) bool { return len(v) > 0 && (v[0] == '-' || isDigit(v[0])) }

// millis reads a time in one of the forms that the bus accepts: a number of ms (fractions are cut off), the same in a string,
// or a date in a string. ok is false for anything else, and for numbers that no time stamp has (0 and negative numbers are
// "not set" to JavaScript, or nonsense).
func millis(v []byte) (ms int64, ok bool) {
	switch {
	case isNumber(v):
		if ms, ok = plainInteger(v); !ok {
			f, err := strconv.ParseFloat(string(v), 64)
			if err != nil || f != f || f >= math.MaxInt64 {
				return 0, false
			}
			ms = int64(f)
		}
		return ms, ms > 0
	case len(v) > 2 && v[0] == '"':
		text, whole := unescape(nil, v[1:len(v)-1])
		if !whole {
			return 0, false
		}
		return dateMillis(string(text))
	}
	return 0, false
}

// dateLayouts are the forms of a date that the original reads through moment.js and Date; what names no zone is UTC, the zone
// of the original's Lambda.
var dateLayouts = [...]string{
	"2006-01-02T15:04:05.999999999Z07:00",
	"2006-01-02T15:04:05.999999999Z0700",
	"2006-01-02T15:04:05.999999999",
	"2006-01-02 15:04:05.999999999Z07:00",
	"2006-01-02 15:04:05.999999999",
	"2006-01-02T15:04Z07:00",
	"2006-01-02T15:04",
	"2006-01-02 15:04",
	"2006-01-02",
	"20060102T150405Z07:00",
	"20060102T150405",
	"20060102",
	"2006-01",
	"2006",
	time.RFC1123,
	time.RFC1123Z,
	"Mon Jan 02 2006 15:04:05 GMT-0700",
}

// dateMillis reads a date, or a number of ms with the ten or more digits that tell it from one.
func dateMillis(s string) (int64, bool) {
	if len(s) >= 10 {
		if n, ok := plainInteger([]byte(s)); ok {
			return n, n > 0
		}
	}
	if len(s) > 64 {
		return 0, false
	}
	for _, layout := range dateLayouts {
		if t, err := time.Parse(layout, s); err == nil {
			ms := t.UnixMilli()
			return ms, ms > 0
		}
	}
	return 0, false
}
