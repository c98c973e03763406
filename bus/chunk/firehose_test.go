package chunk

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func TestFirehoseLinesAreDecodedFromEveryForm(t *testing.T) {
	const text = "{\"id\":\"b\",\"n\":\"??>>~~\"}\n{\"id\":\"c\"}\n"
	gz := AppendGzip(nil, []byte(text))
	std, raw, url := base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding
	first, second := AppendGzip(nil, []byte(text[:25])), AppendGzip(nil, []byte(text[25:]))
	for name, line := range map[string]string{
		"gzip": std.EncodeToString(gz), "without padding": raw.EncodeToString(gz), "for URLs": url.EncodeToString(gz),
		"zlib": std.EncodeToString(zlibText(t, text, 6)), "zlib 1": std.EncodeToString(zlibText(t, text, 1)), "zlib 9": std.EncodeToString(zlibText(t, text, 9)),
		"plain": std.EncodeToString([]byte(text)), "with white space": std.EncodeToString(gz) + " \r",
		"two members": std.EncodeToString(append(bytes.Clone(first), second...)), "two pieces": std.EncodeToString(first) + std.EncodeToString(second),
		"literal": text,
	} {
		got, err := FirehoseLine([]byte(line))
		if err != nil || string(got) != text {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, line := range []string{"", " ", "[1]", "x", `"H"`, "null"} {
		if got, err := FirehoseLine([]byte(line)); err != nil || string(got) != line {
			t.Errorf("%q: %q, %v", line, got, err)
		}
	}
}

func TestFirehoseLinesThatAreDamagedAreErrors(t *testing.T) {
	gz := base64.StdEncoding.EncodeToString(AppendGzip(nil, []byte("{\"id\":\"b\"}\n")))
	for line, want := range map[string]error{
		"H": ErrCorrupt, "Hello, world": ErrCorrupt, gz[:len(gz)/2/4*4]: ErrCorrupt, "H" + gz[2:]: ErrUnknownForm, "eeee": ErrUnknownForm, "H!": ErrCorrupt,
		"H4sI{}": ErrCorrupt, "eJ": ErrUnknownForm, "eJw=": ErrCorrupt,
	} {
		if got, err := FirehoseLine([]byte(line)); !errors.Is(err, want) {
			t.Errorf("%q: %q, %v, want %v", line, got, err, want)
		}
	}
}

func TestFirehoseLinesAreBounded(t *testing.T) {
	huge := "{\"id\":\"" + strings.Repeat("x", MaxFirehoseText) + "\"}\n"
	for name, data := range map[string][]byte{"gzip": AppendGzip(nil, []byte(huge)), "zlib": zlibText(t, huge, 1)} {
		got, err := FirehoseLine([]byte(base64.StdEncoding.EncodeToString(data)))
		if !errors.Is(err, ErrTooLarge) || got != nil {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestAFirehoseLineThatIsTooLongAsTextIsGivenAsData(t *testing.T) {
	const text = "{\"id\":\"b\"}\n"
	limit := int64(len(text))
	for name, data := range map[string][]byte{"gzip": AppendGzip(nil, []byte(text)), "zlib": zlibText(t, text, 6), "plain": []byte(text)} {
		line := []byte(base64.StdEncoding.EncodeToString(data))
		if got, rest, err := FirehoseText(line, limit); err != nil || string(got) != text || rest != nil {
			t.Errorf("%s: %q, %q, %v", name, got, rest, err)
		}
		if got, rest, err := FirehoseText(line, limit-1); !errors.Is(err, ErrTooLarge) || got != nil || !bytes.Equal(rest, data) {
			t.Errorf("%s: %q, %q, %v", name, got, rest, err)
		}
	}
	if got, rest, err := FirehoseText([]byte(text), 1); err != nil || string(got) != text || rest != nil {
		t.Errorf("%q, %q, %v", got, rest, err) // It is no longer than it was read.
	}
}
