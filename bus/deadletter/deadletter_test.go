package deadletter_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"testing"

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
