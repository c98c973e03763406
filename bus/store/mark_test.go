package store_test

import (
	"fmt"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/rstreams-go/rstreams/bus/store"
)

func TestMarksAreOrderedAsNumbersAndAWholeRecordIsAfterItsParts(t *testing.T) {
	inOrder := []string{
		"", "0:1", "0", "1:1", "1:9", "1:10", "1", "9", "10:3", "10", "49590338271490256608559692538361571095921575989136588898:1",
		"49590338271490256608559692538361571095921575989136588898", "49590338271490256608559692538361571095921575989136588899",
		"100000000000000000000000000000000000000000000000000000000000",
	}
	for i, a := range inOrder {
		for j, b := range inOrder {
			if a == "" && b == "0:1" || a == "0:1" && b == "" || a == "" && b == "0" || a == "0" && b == "" {
				continue // sequence number 0 does not occur
			}
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := store.CompareMarks(a, b); got != want {
				t.Errorf("CompareMarks(%q, %q) = %d, want %d", a, b, got, want)
			}
		}
	}
}

func TestLeadingZerosDoNotCount(t *testing.T) {
	if c := store.CompareMarks("007:01", "7:1"); c != 0 {
		t.Errorf("got %d", c)
	}
	if c := store.CompareMarks("0099", "100"); c != -1 {
		t.Errorf("got %d", c)
	}
}

func TestNewMarkIsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		number := rapid.StringMatching(`[1-9][0-9]{0,60}`)
		a, b := number.Draw(t, "a"), number.Draw(t, "b")
		m, n := rapid.IntRange(0, 3000).Draw(t, "m"), rapid.IntRange(0, 3000).Draw(t, "n")
		x, _ := new(big.Int).SetString(a, 10)
		y, _ := new(big.Int).SetString(b, 10)
		want := x.Cmp(y)
		if want == 0 {
			want = compareLines(m, n)
		}
		if got := store.CompareMarks(store.NewMark(a, m), store.NewMark(b, n)); got != want {
			t.Fatalf("marks of %s lines %d and %s lines %d: %d, want %d", a, m, b, n, got, want)
		}
	})
}

// compareLines orders numbers of lines, of which 0 means all.
func compareLines(m, n int) int {
	switch {
	case m == n:
		return 0
	case m == 0, n != 0 && m > n:
		return 1
	}
	return -1
}

func ExampleNewMark() {
	part, whole := store.NewMark("4959", 12), store.NewMark("4959", 0)
	fmt.Println(part, whole, store.CompareMarks(part, whole))
	// Output: 4959:12 4959 -1
}
