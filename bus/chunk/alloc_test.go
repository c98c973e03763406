//go:build !race

package chunk

import (
	"math"
	"testing"
)

// Under the race detector, pools drop some of what they are given, on purpose.

func TestNothingIsAllocatedOnceBuffersAreThere(t *testing.T) {
	text, _ := chunkText(t)
	gz := AppendGzip(nil, text)
	dst := make([]byte, 0, len(text))
	room := make([]byte, 0, len(text))
	for name, f := range map[string]func(){
		"AppendGzip": func() { room = AppendGzip(room[:0], text) },
		"AppendGunzip": func() {
			if _, err := AppendGunzip(dst, gz, 1<<20); err != nil {
				t.Error(err)
			}
		},
	} {
		// The garbage collector may empty the pools meanwhile, so the least of several runs counts.
		least := math.Inf(1)
		for range 5 {
			least = min(least, testing.AllocsPerRun(10, f))
		}
		if least != 0 {
			t.Errorf("%s allocates %v times", name, least)
		}
	}
}
