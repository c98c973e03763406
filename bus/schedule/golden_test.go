package schedule_test

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/schedule"
)

// TestMomentsAreThoseOfTheOriginal compares with later 1.2.0, the module that the original bus reads schedules with.
// Where that module counts the start of a search as a moment ("every 2 hours" asked at 10:07), the recording leaves it out;
// likewise where the module has a last day of February 2100 that is not the last.
func TestMomentsAreThoseOfTheOriginal(t *testing.T) {
	raw, err := os.ReadFile("testdata/later.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Expr  string
		After time.Time
		Next  []time.Time
	}
	if err := json.Unmarshal(raw, &cases); err != nil || len(cases) < 250 {
		t.Fatalf("%d cases, %v", len(cases), err)
	}
	for _, c := range cases {
		s, err := schedule.Parse(c.Expr, "")
		if err != nil {
			t.Error(err)
			continue
		}
		at := c.After
		for _, want := range c.Next {
			if at = s.Next(at); !at.Equal(want) {
				t.Errorf("%q after %v gives %v, want %v", c.Expr, c.After, at, want)
				break
			}
		}
	}
}
