package chunk

import (
	"bytes"
	stdgzip "compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/rstreams-go/rstreams/bus/event"
)

// known tells whether err is one that the package promises.
func known(err error) bool {
	return errors.Is(err, ErrTooLarge) || errors.Is(err, ErrCorrupt) || errors.Is(err, ErrUnknownForm) || errors.Is(err, ErrPointer)
}

func FuzzOpenRecord(f *testing.F) {
	g := golden(f)
	for _, data := range g.Forms {
		f.Add(data)
		f.Add(data[:len(data)/2])
		f.Add(append(bytes.Clone(data), data...))
	}
	for _, data := range damaged(g.Forms[0]) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := OpenRecord(data)
		if err != nil {
			if !known(err) {
				t.Fatal(err)
			}
			return
		}
		limited := io.LimitReader(r, 4<<20)
		for l := NewLines(limited, 1<<10); ; {
			line, err := l.Next()
			if err == io.EOF {
				break
			}
			if errors.Is(err, ErrLineTooLong) {
				continue
			}
			if err != nil {
				if !known(err) {
					t.Fatal(err)
				}
				break
			}
			if len(line) == 0 || len(line) > 1<<10 || bytes.IndexByte(line, '\n') >= 0 {
				t.Fatalf("line %q", line)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzGunzip compares AppendGunzip with the standard library: the same data is accepted and gives the same text.
func FuzzGunzip(f *testing.F) {
	g := golden(f)
	for _, c := range g.Chunks {
		f.Add(c.Gzip, int64(1<<20))
	}
	for _, data := range damaged(g.Forms[0]) {
		f.Add(data, int64(100))
	}
	f.Fuzz(func(t *testing.T, data []byte, limit int64) {
		limit = min(limit, 4<<20)
		got, err := AppendGunzip([]byte("before"), data, limit)
		if err != nil {
			if !known(err) || string(got) != "before" {
				t.Fatalf("%q, %v", got, err)
			}
		}
		text := bytes.TrimPrefix(got, []byte("before"))
		z, serr := stdgzip.NewReader(bytes.NewReader(data))
		var want []byte
		if serr == nil {
			want, serr = io.ReadAll(io.LimitReader(z, max(limit, 0)+1))
			if serr == nil && int64(len(want)) > max(limit, 0) {
				serr = ErrTooLarge
			}
		}
		if errors.Is(err, gzip.ErrHeader) && serr == nil {
			return // The reserved flags, which the standard library ignores.
		}
		if (err == nil) != (serr == nil) || err == nil && !bytes.Equal(text, want) {
			t.Fatalf("%d bytes, %v; the standard library gives %d, %v", len(text), err, len(want), serr)
		}
	})
}

func FuzzGzip(f *testing.F) {
	for _, text := range []string{"", "{}\n", strings.Repeat("ab", 70_000)} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		gz := AppendGzip(AppendGzip(nil, text), text)
		got, err := AppendGunzip(nil, gz, 2*int64(len(text)))
		if err != nil || !bytes.Equal(got[:len(text)], text) || !bytes.Equal(got[len(text):], text) {
			t.Fatal(err)
		}
	})
}

// FuzzLines compares Lines with a simple statement of its rules.
func FuzzLines(f *testing.F) {
	for _, text := range []string{"", "a\nb", "a\r\n\r\n \nbb\n", "12345\n1\n12345", "\r\r\n\n"} {
		f.Add([]byte(text), 4, false)
	}
	f.Fuzz(func(t *testing.T, text []byte, maxLine int, byHalves bool) {
		maxLine = maxLine&0xff + 1
		type result struct {
			text    string
			number  int
			tooLong bool
		}
		var want, got []result
		for i, line := range bytes.SplitAfter(text, []byte("\n")) {
			line = bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r"))
			switch {
			case len(line) > maxLine:
				want = append(want, result{"", i + 1, true})
			case len(bytes.Trim(line, " \t\r")) > 0:
				want = append(want, result{string(line), i + 1, false})
			}
		}
		var r io.Reader = bytes.NewReader(text)
		if byHalves {
			r = io.MultiReader(bytes.NewReader(text[:len(text)/2]), bytes.NewReader(text[len(text)/2:]))
		}
		for l := NewLines(r, maxLine); ; {
			line, err := l.Next()
			if err == io.EOF {
				break
			}
			if err != nil && !errors.Is(err, ErrLineTooLong) {
				t.Fatal(err)
			}
			got = append(got, result{string(line), l.Number(), err != nil})
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("%q\n got %+v\nwant %+v", text, got, want)
		}
	})
}

func FuzzParsePointer(f *testing.F) {
	for _, line := range golden(f).Pointers {
		f.Add([]byte(line))
		f.Add([]byte(line[:len(line)-9]))
		f.Add([]byte(strings.Replace(line, `"records":`, `"records":1`, 1)))
		f.Add([]byte(strings.Replace(line, `"offsets":[`, `"offsets":[null,`, 1)))
		f.Add([]byte(strings.Replace(line, `null`, `5`, 1)))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		p, err := ParsePointer(line)
		if err != nil {
			if !known(err) {
				t.Fatal(err)
			}
			return
		}
		if err := p.Validate(); err != nil {
			t.Fatal(err)
		}
		again, err := AppendPointer(nil, &p)
		if err != nil {
			t.Fatal(err)
		}
		if err := event.Scan(again, new(event.Line)); err != nil {
			t.Fatalf("%v: %q", err, again)
		}
		p2, err := ParsePointer(again)
		if err != nil || p2.Records != p.Records || !reflect.DeepEqual(p2.Offsets, p.Offsets) || p2.Queue != p.Queue || p2.Blob != p.Blob ||
			p2.Archive != p.Archive || p2.Snapshot != p.Snapshot || p2.StartID != p.StartID || p2.EndID != p.EndID {
			t.Fatalf("%+v came back as %+v, %v", p, p2, err)
		}
	})
}

func FuzzUnmarshalOffsets(f *testing.F) {
	for _, line := range golden(f).Pointers {
		var p struct{ Offsets json.RawMessage }
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(p.Offsets))
		f.Add([]byte(p.Offsets[:len(p.Offsets)/2]))
	}
	f.Add([]byte(`[{"event":{},"start":-1,"end":"z","records":1e3}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		offsets, err := UnmarshalOffsets(data)
		if err != nil {
			if !known(err) {
				t.Fatal(err)
			}
			return
		}
		again, err := MarshalOffsets(offsets)
		if err != nil {
			t.Fatal(err)
		}
		got, err := UnmarshalOffsets(again)
		if err != nil || !reflect.DeepEqual(got, offsets) {
			t.Fatalf("%+v came back as %+v, %v", offsets, got, err)
		}
		for _, archive := range []bool{true, false} {
			if _, _, _, err := ValidateOffsets(offsets, archive); err != nil && !known(err) {
				t.Fatal(err)
			}
		}
	})
}

func FuzzFirehoseLine(f *testing.F) {
	for line := range strings.SplitSeq(golden(f).Firehose.Body, "\n") {
		f.Add([]byte(line))
		f.Add([]byte(line + "="))
		f.Add([]byte(line + line))
		f.Add([]byte(line[:len(line)/2]))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		before := bytes.Clone(line)
		text, err := FirehoseLine(line)
		if err != nil && !known(err) || err != nil && text != nil {
			t.Fatalf("%q, %v", text, err)
		}
		if !bytes.Equal(line, before) {
			t.Fatal("the line was changed")
		}
	})
}
