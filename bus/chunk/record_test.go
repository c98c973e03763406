package chunk

import (
	"bytes"
	"compress/zlib"
	"errors"
	"reflect"
	"strings"
	"testing"
)

func zlibText(t testing.TB, text string, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zlib.NewWriterLevel(&b, level)
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRecordsOfEveryFormGiveTheirLines(t *testing.T) {
	const text = "{\"a\":1}\n\n{\"b\":2}\r\n \n{\"c\":3}"
	want := []string{`{"a":1}`, `{"b":2}`, `{"c":3}`}
	records := map[string][]byte{
		"gzip": AppendGzip(nil, []byte(text)), "two members": AppendGzip(AppendGzip(nil, []byte(text[:12])), []byte(text[12:])),
		"plain": []byte(text), "plain after space": []byte(" \t\r\n" + text), "two zlib streams": append(zlibText(t, text[:12], 6), zlibText(t, text[12:], 9)...),
	}
	for level, second := range map[int]byte{1: 0x01, 3: 0x5e, 6: 0x9c, 9: 0xda} {
		data := zlibText(t, text, level)
		if data[0] != 0x78 || data[1] != second {
			t.Fatalf("level %d begins % x", level, data[:2])
		}
		records["zlib "+string(rune('0'+level))] = data
	}
	for name, data := range records {
		for range 2 { // The second time with what the first gave back.
			if lines, err := linesOf(data); err != nil || !reflect.DeepEqual(lines, want) {
				t.Errorf("%s: %q, %v", name, lines, err)
			}
		}
	}
}

func TestOtherRecordsAreOfNoKnownForm(t *testing.T) {
	for _, text := range []string{"", " ", "[1]", "x", "\x78", "\x78\x02", "\x1f", "\x1f\x8c", "null", "\xef\xbb\xbf{}", "H4sI", "PK\x03\x04", "\x28\xb5\x2f\xfd"} {
		if _, err := OpenRecord([]byte(text)); !errors.Is(err, ErrUnknownForm) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestLinesBeforeTheDamageAreGiven(t *testing.T) {
	text, events := chunkText(t)
	first := AppendGzip(nil, text)
	stream := zlibText(t, string(text), 6)
	for name, data := range map[string][]byte{
		"garbage after a member": append(bytes.Clone(first), "garbage"...), "a second member cut short": append(bytes.Clone(first), first[:len(first)/2]...),
		"zlib, garbage after": append(bytes.Clone(stream), "garbage"...), "zlib, cut": append(bytes.Clone(stream), stream[:len(stream)/2]...),
	} {
		lines, err := linesOf(data)
		if !errors.Is(err, ErrCorrupt) || len(lines) < len(events) {
			t.Errorf("%s: %d lines, %v, want %d at least", name, len(lines), err, len(events))
		}
		for i, line := range lines {
			if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}") {
				t.Errorf("%s: line %d is %q", name, i, line)
			}
		}
	}
	cut, err := linesOf(first[:len(first)*2/3])
	if !errors.Is(err, ErrCorrupt) || len(cut) == 0 || len(cut) >= len(events) {
		t.Errorf("cut short: %d lines, %v", len(cut), err)
	}
	for i, line := range cut {
		if !bytes.HasPrefix(text, []byte(line)) {
			t.Fatalf("line %d is %q", i, line)
		}
		text = text[len(line)+1:]
	}
}
