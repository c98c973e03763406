package chunk

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/event"
)

// goldenData was recorded from leo-sdk 6.0.18 and the original bus: what PutRecords got, the chunks and objects that were
// stored, pointer records, and a Firehose object. Runs of letters in lines are folded to <x*N>.
type goldenData struct {
	Records []struct {
		Name    string
		Records [][]byte
		Lines   [][]string
	}
	Forms  [][]byte
	Chunks []struct {
		Queue         string
		Gzip          []byte
		Size, Records int64
		Lines         []string
	}
	Pointers []string
	Objects  map[string][]byte
	Firehose struct {
		Body  string
		Forms []string
	}
}

func golden(tb testing.TB) goldenData {
	tb.Helper()
	data, err := os.ReadFile("testdata/golden.json")
	if err != nil {
		tb.Fatal(err)
	}
	var g goldenData
	if err := json.Unmarshal(data, &g); err != nil {
		tb.Fatal(err)
	}
	return g
}

// linesOf returns the lines of a record, and the error that ended them.
func linesOf(data []byte) ([]string, error) {
	r, err := OpenRecord(data)
	if err != nil {
		return nil, err
	}
	lines, err := readLines(r, 0)
	if cerr := r.Close(); cerr != nil {
		return lines, cerr
	}
	return lines, err
}

func readLines(r io.Reader, maxLine int) ([]string, error) {
	var lines []string
	for l := NewLines(r, maxLine); ; {
		line, err := l.Next()
		if err == io.EOF {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		lines = append(lines, string(line))
	}
}

// fold folds long runs as the golden lines do.
func fold(line string) string {
	if len(line) < 1000 {
		return line
	}
	var b strings.Builder
	for i := 0; i < len(line); {
		n := 1
		for i+n < len(line) && line[i+n] == line[i] {
			n++
		}
		if n >= 200 {
			b.WriteString("<" + line[i:i+1] + "*" + strconv.Itoa(n) + ">")
		} else {
			b.WriteString(line[i : i+n])
		}
		i += n
	}
	return b.String()
}

func TestRecordsOfNodeGiveTheirLines(t *testing.T) {
	for _, c := range golden(t).Records {
		for i, data := range c.Records {
			lines, err := linesOf(data)
			if err != nil {
				t.Fatalf("%s: %v", c.Name, err)
			}
			for k := range lines {
				lines[k] = fold(lines[k])
			}
			if !reflect.DeepEqual(lines, c.Lines[i]) {
				t.Errorf("%s: record %d gives\n%q\nwant\n%q", c.Name, i, lines, c.Lines[i])
			}
		}
	}
}

func TestEveryFormOfARecordIsReadThatTheOriginalReadsAndSomeThatItLost(t *testing.T) {
	// In order: gzip; two members; without final newline; CRLF and blank lines; zlib; zlib 1; zlib 9; plain; leading space;
	// an array; a line between that is no JSON.
	want := []int{1, 2, 1, 2, 1, 1, 1, 1, 1, -1, 3}
	forms := golden(t).Forms
	if len(forms) != len(want) {
		t.Fatalf("%d forms", len(forms))
	}
	for i, data := range forms {
		lines, err := linesOf(data)
		if (err != nil) != (want[i] < 0) || err == nil && len(lines) != want[i] {
			t.Errorf("form %d: %d lines, %v, want %d: %q", i, len(lines), err, want[i], lines)
		}
	}
}

func TestStoredChunksOfTheOriginalAreRead(t *testing.T) {
	for _, c := range golden(t).Chunks {
		text, err := AppendGunzip(nil, c.Gzip, c.Size)
		if err != nil || int64(len(text)) != c.Size {
			t.Errorf("%s: %d bytes, %v, want %d", c.Queue, len(text), err, c.Size)
		}
		lines, err := readLines(bytes.NewReader(text), 0)
		for i := range lines {
			lines[i] = fold(lines[i])
		}
		if err != nil || !reflect.DeepEqual(lines, c.Lines) || int64(len(lines)) != c.Records {
			t.Errorf("%s: %q, %v, want %q", c.Queue, lines, err, c.Lines)
		}
		if again, err := AppendGunzip(nil, AppendGzip(nil, text), c.Size); err != nil || !bytes.Equal(again, text) {
			t.Errorf("%s: %v", c.Queue, err)
		}
	}
}

func TestPointersOfNodeComeBackWithTheSameMembers(t *testing.T) {
	for _, line := range golden(t).Pointers {
		p, err := ParsePointer([]byte(line))
		if err != nil {
			t.Errorf("%v\n%s", err, line)
			continue
		}
		again, err := AppendPointer([]byte("x"), &p)
		if err != nil {
			t.Errorf("%v\n%s", err, line)
			continue
		}
		var got, want any
		if err := json.Unmarshal(again[1:], &got); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(line), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) || again[len(again)-1] != '\n' || again[0] != 'x' {
			t.Errorf("\n got %s\nwant %s", again[1:], line)
		}
	}
}

// Every section of every object is a member of its own, from which reading may begin (C25, R4).
func TestObjectsCanBeReadFromEverySection(t *testing.T) {
	g := golden(t)
	seen := 0
	for _, line := range g.Pointers {
		p, err := ParsePointer([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		data, ok := g.Objects[p.Blob.Key]
		if !ok || int64(len(data)) != p.GzipSize {
			t.Fatalf("object %s has %d bytes, want %d", p.Blob.Key, len(data), p.GzipSize)
		}
		seen++
		for i, o := range p.Offsets {
			r, err := NewGunzip(bytes.NewReader(data[o.GzipOffset:]))
			if err != nil {
				t.Fatal(err)
			}
			lines, err := readLines(r, 0)
			want := int64(0)
			for _, rest := range p.Offsets[i:] {
				want += rest.Records
			}
			if err != nil || int64(len(lines)) != want || r.Close() != nil {
				t.Errorf("%s from section %d: %d lines, %v, want %d", p.Blob.Key, i, len(lines), err, want)
			}
			text, err := AppendGunzip(nil, data[o.GzipOffset:o.GzipOffset+o.GzipSize], o.Size)
			if err != nil || int64(len(text)) != o.Size {
				t.Errorf("section %d: %d bytes, %v, want %d", i, len(text), err, o.Size)
			}
		}
	}
	if seen < 10 {
		t.Errorf("%d pointers", seen)
	}
}

func TestFirehoseLinesOfEveryFormGiveTheirEvents(t *testing.T) {
	g := golden(t)
	lines, err := readLines(strings.NewReader(g.Firehose.Body), 0)
	if err != nil || len(lines) != len(g.Firehose.Forms) {
		t.Fatalf("%d lines, %v, want %d", len(lines), err, len(g.Firehose.Forms))
	}
	var got []string
	for i, line := range lines {
		text, err := FirehoseLine([]byte(line))
		if err != nil {
			t.Fatalf("%s: %v", g.Firehose.Forms[i], err)
		}
		events, err := readLines(bytes.NewReader(text), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events {
			ev, err := event.Parse([]byte(e))
			if err != nil {
				t.Fatalf("%s: %v", g.Firehose.Forms[i], err)
			}
			got = append(got, ev.Queue+string(ev.Payload))
		}
	}
	want := []string{`q.fire{"i":1}`, `q.fire2{"i":2}`, `q.fire{"i":3}`, `q.fire{"i":4}`, `q.fire{"i":5}`, `q.fire{"i":6}`, ``, `q.fire{"i":7}`}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
