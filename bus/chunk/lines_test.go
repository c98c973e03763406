package chunk

import (
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// trace reads lines to their end and says what came: lines with their numbers, and errors.
func trace(r io.Reader, maxLine int) []string {
	var out []string
	for l := NewLines(r, maxLine); ; {
		line, err := l.Next()
		switch {
		case err == nil:
			out = append(out, strconv.Itoa(l.Number())+" "+string(line))
		case errors.Is(err, ErrLineTooLong):
			out = append(out, strconv.Itoa(l.Number())+" too long")
		default:
			again, err2 := l.Next()
			if again != nil || err2 != err {
				out = append(out, "the end does not stay")
			}
			if err != io.EOF {
				out = append(out, err.Error())
			}
			return out
		}
	}
}

func TestLines(t *testing.T) {
	for _, c := range []struct {
		text    string
		maxLine int
		want    []string
	}{
		{"", 9, nil},
		{"\n", 9, nil},
		{"\n \n\t\r\n\r\n", 9, nil},
		{"a\nb\n", 9, []string{"1 a", "2 b"}},
		{"a\nb", 9, []string{"1 a", "2 b"}},
		{"a\r\n\r\nb\r\n", 9, []string{"1 a", "3 b"}},
		{"a\r", 9, []string{"1 a"}},
		{"a\rb\n", 9, []string{"1 a\rb"}},
		{"a\r\r\n", 9, []string{"1 a\r"}},
		{" a \n", 9, []string{"1  a "}},
		{"12345\n1234\n12345\r\n1234\r\n12345", 4, []string{"1 too long", "2 1234", "3 too long", "4 1234", "5 too long"}},
		{strings.Repeat("x", 300<<10) + "\na\n" + strings.Repeat("y", 300<<10), 100, []string{"1 too long", "2 a", "3 too long"}},
		{"a\n" + strings.Repeat("     ", 300) + "\nb", 1000, []string{"1 a", "2 too long", "3 b"}},
	} {
		for name, r := range map[string]io.Reader{
			"": strings.NewReader(c.text), "by bytes": iotest.OneByteReader(strings.NewReader(c.text)),
			"end with data": iotest.DataErrReader(strings.NewReader(c.text)), "by halves": iotest.HalfReader(strings.NewReader(c.text)),
		} {
			if got := trace(r, c.maxLine); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%.40q %s: %.200q, want %q", c.text, name, got, c.want)
			}
		}
	}
}

func TestLongLinesFitWhereTheyAreAllowed(t *testing.T) {
	long := strings.Repeat("x", 5<<20)
	lines, err := readLines(strings.NewReader("a\n"+long+"\n"+long+"y\nb"), 0)
	if err != nil || len(lines) != 4 || lines[1] != long || lines[2] != long+"y" || lines[3] != "b" {
		t.Errorf("%d lines, %v", len(lines), err)
	}
}

func TestAFailureEndsLinesAfterThoseThatWereComplete(t *testing.T) {
	for text, want := range map[string][]string{
		"": {errDisk.Error()}, "a\nb\nhalf": {"1 a", "2 b", errDisk.Error()}, "a\n": {"1 a", errDisk.Error()}, "123456": {errDisk.Error()},
	} {
		if got := trace(failing{strings.NewReader(text)}, 5); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// idle never gives anything.
type idle struct{}

func (idle) Read([]byte) (int, error) { return 0, nil }

func TestAReaderThatGivesNothingIsGivenUp(t *testing.T) {
	if got := trace(idle{}, 5); !reflect.DeepEqual(got, []string{io.ErrNoProgress.Error()}) {
		t.Errorf("%q", got)
	}
}
