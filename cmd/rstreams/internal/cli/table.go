package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// table prints rows for people, aligned, or for programs, as one JSON object a line.
type table struct {
	json   bool
	header []string
	out    io.Writer
	tab    *tabwriter.Writer
	enc    *json.Encoder
}

// newTable begins a table. The header is printed with the first row.
func newTable(out io.Writer, asJSON bool, header ...string) *table {
	t := &table{json: asJSON, header: header, out: out}
	if asJSON {
		t.enc = json.NewEncoder(out)
		t.enc.SetEscapeHTML(false)
	} else {
		t.tab = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	}
	return t
}

// row adds a row: value is its JSON form, cells its columns.
func (t *table) row(value any, cells ...any) error {
	if t.json {
		return t.enc.Encode(value)
	}
	if t.header != nil {
		if _, err := fmt.Fprintln(t.tab, strings.Join(t.header, "\t")); err != nil {
			return err
		}
		t.header = nil
	}
	for i, c := range cells {
		sep := "\t"
		if i == len(cells)-1 {
			sep = "\n"
		}
		if _, err := fmt.Fprint(t.tab, c, sep); err != nil {
			return err
		}
	}
	return nil
}

// end writes what is held back; none is printed in place of a table without rows.
func (t *table) end(none string) error {
	if t.json {
		return nil
	}
	if t.header != nil {
		_, err := fmt.Fprintln(t.out, none)
		return err
	}
	return t.tab.Flush()
}

// ago is how long ago ms was, in one unit, or "-" for never.
func ago(now time.Time, ms int64) string {
	if ms == 0 {
		return "-"
	}
	return span(now.Sub(time.UnixMilli(ms)))
}

// span is a duration in one unit, as people say it.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "in " + span(-d)
	case d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// orDash is s, or "-" where there is none.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// thousands is n with separators.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	from := 0
	if n < 0 {
		from = 1
	}
	for i := len(s) - 3; i > from; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// buffered is standard output behind a large buffer, for commands that print many lines. Callers must flush it.
func (a *app) buffered() *bufio.Writer { return bufio.NewWriterSize(a.Out, 256<<10) }
