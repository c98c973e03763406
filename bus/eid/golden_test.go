package eid_test

import (
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/eid"
)

// golden is what the event id helpers of leo-sdk 6.0.18 gave.
type golden struct {
	FromTimestamp []struct {
		Timestamp   int64
		Granularity *string
		Index       *int
		EID         string
	} `json:"eventIdFromTimestamp"`
	ToTimestamp []struct {
		EID   any
		Value any
		Error string
	} `json:"eventIdToTimestamp"`
	Compare struct {
		IDs  []string
		Rows [][5]int
	}
}

func load(t *testing.T) golden {
	t.Helper()
	raw, err := os.ReadFile("testdata/eids.json")
	if err != nil {
		t.Fatal(err)
	}
	var g golden
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	if len(g.FromTimestamp) < 300 || len(g.ToTimestamp) < 28 || len(g.Compare.Rows) < 324 {
		t.Fatal("the golden file lost cases")
	}
	return g
}

var granularities = map[string]eid.Granularity{
	"year": eid.Year, "month": eid.Month, "date": eid.Date, "hour": eid.Hour, "minute": eid.Minute, "second": eid.Second,
	"millisecond": eid.Millisecond, "full": eid.Millisecond,
}

func TestFromTimeGivesTheIDsOfTheOriginal(t *testing.T) {
	for _, c := range load(t).FromTimestamp {
		g := eid.Millisecond // as the original takes a name that is missing or unknown
		if c.Granularity != nil {
			g = granularities[*c.Granularity]
		}
		if g != eid.Millisecond || c.Index == nil {
			got, err := eid.FromTime(time.UnixMilli(c.Timestamp), g)
			if err != nil || got != c.EID {
				t.Errorf("FromTime(%d, %v) = %q, %v, want %q", c.Timestamp, g, got, err, c.EID)
			}
			continue
		}
		id, err := eid.New(c.Timestamp, *c.Index)
		switch {
		case c.Timestamp < 1_000_000_000_000: // fewer digits would put the order at risk
			if !errors.Is(err, eid.ErrTimeRange) {
				t.Errorf("New(%d, %d) = %v, %v, want ErrTimeRange", c.Timestamp, *c.Index, id, err)
			}
		case *c.Index > eid.MaxCounter: // the original wraps here
			if !errors.Is(err, eid.ErrCounterOverflow) {
				t.Errorf("New(%d, %d) = %v, %v, want ErrCounterOverflow", c.Timestamp, *c.Index, id, err)
			}
		case err != nil || id.String() != c.EID:
			t.Errorf("New(%d, %d) = %q, %v, want %q", c.Timestamp, *c.Index, id, err, c.EID)
		}
	}
}

func TestTimeGivesTheTimesOfTheOriginal(t *testing.T) {
	for _, c := range load(t).ToTimestamp {
		pos, isString := c.EID.(string)
		if !isString {
			continue // the original throws; Go does not compile
		}
		got, err := eid.Time(pos)
		want, isNumber := c.Value.(float64)
		switch {
		case strings.Contains(pos, "xx"): // the original reads 2024-01-01 out of z/2024/xx/01; here E3 comes first
			if !errors.Is(err, eid.ErrInvalid) {
				t.Errorf("Time(%q) = %v, %v, want ErrInvalid", pos, got, err)
			}
		case pos == "z/1704164645678":
			if !errors.Is(err, eid.ErrInvalid) {
				t.Errorf("Time(%q) = %v, %v, want ErrInvalid", pos, got, err)
			}
		case isNumber:
			if err != nil || got.UnixMilli() != int64(want) {
				t.Errorf("Time(%q) = %v, %v, want %d ms", pos, got, err, int64(want))
			}
		case c.Value == "NaN":
			if !errors.Is(err, eid.ErrTimeRange) {
				t.Errorf("Time(%q) = %v, %v, want ErrTimeRange", pos, got, err)
			}
		case c.Error != "":
			if !errors.Is(err, eid.ErrInvalid) {
				t.Errorf("Time(%q) = %v, %v, want ErrInvalid", pos, got, err)
			}
		default:
			t.Errorf("case not understood: %+v", c)
		}
	}
}

func TestOrderIsTheOrderOfTheOriginal(t *testing.T) {
	c := load(t).Compare
	for _, row := range c.Rows {
		a, b, locale, utf16 := c.IDs[row[0]], c.IDs[row[1]], row[2], row[3]
		if got := eid.Compare(a, b); got != utf16 {
			t.Errorf("Compare(%q, %q) = %d, UTF-16 order gives %d", a, b, got, utf16)
		}
		if eid.ValidatePosition(a) != nil || eid.ValidatePosition(b) != nil {
			continue
		}
		if got := eid.Compare(a, b); got != locale {
			t.Errorf("Compare(%q, %q) = %d, localeCompare gives %d", a, b, got, locale)
		}
	}
	for _, foreign := range []string{"Z/2024", "z/2024:1", "z/2024_1"} { // E3
		if err := eid.ValidatePosition(foreign); !errors.Is(err, eid.ErrInvalid) {
			t.Errorf("ValidatePosition(%q) = %v, want ErrInvalid", foreign, err)
		}
	}
}
