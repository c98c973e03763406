package loader_test

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/loader"
)

// A line of some KB may stand for more text than a reader takes as one line: a letter with all of it could not be read.
func TestALetterOfALineThatStandsForMuchTextHoldsTheLine(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		letters int
	}{
		"one long line":         {`{"id":"b","event":"q","payload":"` + strings.Repeat("a", 34<<20) + `"}` + "\n", 1},
		"many lines, none JSON": {strings.Repeat("x\n", 17<<20), 1001},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			packed := packedLine(c.text)
			w.deliver(1, line("q", 0)+packed+line("q", 1))
			config := w.config("a")
			config.PartBytes = 0
			if res, err := loader.New(w.store, config).Load(t.Context()); err != nil || res.DeadLetters != int64(c.letters) {
				t.Fatalf("%+v, %v", res, err)
			}
			if got := w.numbers("q"); !slices.Equal(got, upTo(2)) {
				t.Errorf("q has %v", got)
			}
			want, err := base64.StdEncoding.DecodeString(strings.TrimSpace(packed))
			if err != nil {
				t.Fatal(err)
			}
			letters := w.letters()
			if len(letters) != c.letters || !bytes.Equal(letters[len(letters)-1].Bytes(), want) {
				t.Errorf("%d letters, want %d, the last one with the %d bytes that came", len(letters), c.letters, len(want))
			}
		})
	}
}
