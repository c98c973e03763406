package deadletter_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/rstreams-go/rstreams/bus/deadletter"
)

func TestRawBytesSurviveJSONWhateverTheyAre(t *testing.T) {
	for _, raw := range [][]byte{nil, []byte("{\"a\":"), {0xff, 0, 0x1f, 0x8b}, []byte("\u2028 é \x00")} {
		l := deadletter.Letter{Reason: deadletter.ReasonLine, Error: "e"}
		l.SetRaw(raw)
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		got, err := deadletter.Parse(text)
		if err != nil || !bytes.Equal(got.Bytes(), raw) {
			t.Errorf("%q came back as %q, %v", raw, got.Bytes(), err)
		}
	}
}

func TestALetterOfWhateverLengthIsALineThatReadersTake(t *testing.T) {
	for name, piece := range map[string]string{"text": "aé\u2028", "quotes": `"`, "control characters": "\x01", "bytes": "\xff", "continuations": "\x80"} {
		raw := []byte(strings.Repeat(piece, 40<<20/len(piece)))
		l := deadletter.Letter{Reason: deadletter.ReasonRecord, Error: "e"}
		l.SetRaw(raw)
		text, err := json.Marshal(l)
		if err != nil || len(text) > 24<<20 {
			t.Fatalf("%s: %d bytes, %v", name, len(text), err)
		}
		got, err := deadletter.Parse(text)
		if err != nil || got.Size != int64(len(raw)) || len(got.Bytes()) < deadletter.MaxRaw-3 || !bytes.HasPrefix(raw, got.Bytes()) {
			t.Errorf("%s: %d bytes of %d, %v", name, len(got.Bytes()), got.Size, err)
		}
		if utf8.Valid(raw) != utf8.Valid(got.Bytes()) {
			t.Errorf("%s: a character is cut", name)
		}
		if l.SetRaw(raw[:deadletter.MaxRaw]); l.Size != 0 || len(l.Bytes()) != deadletter.MaxRaw {
			t.Errorf("%s: %d bytes of %d are too many", name, len(l.Bytes()), deadletter.MaxRaw)
		}
	}
}

func TestParseRefusesOtherPayloads(t *testing.T) {
	for _, payload := range []string{``, `[]`, `{}`, `{"reason":5}`, `{"error":"x"}`} {
		if _, err := deadletter.Parse([]byte(payload)); !errors.Is(err, deadletter.ErrNotLetter) {
			t.Errorf("%s: %v", payload, err)
		}
	}
}

func ExampleParse() {
	l, err := deadletter.Parse([]byte(`{"reason":"bad-line","error":"unexpected end","sequence":"42","line":3,"raw":"{\"id\":"}`))
	fmt.Println(l.Reason, l.Sequence, l.Line, string(l.Bytes()), err)
	// Output: bad-line 42 3 {"id": <nil>
}
