package eid_test

import (
	"cmp"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rstreams-go/rstreams/bus/eid"
)

// millis draws a time that an id can carry, dense enough that equal times and equal minutes occur.
func millis() *rapid.Generator[int64] {
	return rapid.OneOf(
		rapid.Int64Range(1_000_000_000_000, 9_999_999_999_999),
		rapid.Int64Range(1_704_164_645_670, 1_704_164_645_690),
		rapid.Just(int64(1_000_000_000_000)), rapid.Just(int64(9_999_999_999_999)),
	)
}

func ids() *rapid.Generator[eid.ID] {
	return rapid.Custom(func(t *rapid.T) eid.ID {
		counter := rapid.OneOf(rapid.IntRange(0, eid.MaxCounter), rapid.IntRange(0, 11), rapid.Just(eid.MaxCounter)).Draw(t, "counter")
		id, err := eid.New(millis().Draw(t, "ms"), counter)
		if err != nil {
			t.Fatal(err)
		}
		return id
	})
}

func TestByteOrderIsNumericOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := ids().Draw(t, "a"), ids().Draw(t, "b")
		want := cmp.Or(cmp.Compare(a.Millis, b.Millis), cmp.Compare(a.Counter, b.Counter))
		if got := eid.Compare(a.String(), b.String()); got != want {
			t.Fatalf("Compare(%s, %s) = %d, want %d", a, b, got, want)
		}
		if got := strings.Compare(a.String(), b.String()); got != want {
			t.Fatalf("byte order of %s and %s is %d, want %d", a, b, got, want)
		}
		if m := eid.Max(a.String(), b.String()); m < a.String() || m < b.String() {
			t.Fatalf("Max(%s, %s) = %s", a, b, m)
		}
	})
}

func TestParseGivesBackWhatStringWrote(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := ids().Draw(t, "id")
		if rapid.Bool().Draw(t, "snapshot") {
			id.Path = eid.MinutePath(millis().Draw(t, "snapshot ms"))
		}
		got, err := eid.Parse(id.String())
		if err != nil || got != id {
			t.Fatalf("Parse(%q) = %+v, %v", id.String(), got, err)
		}
		if id.Consistent() != (id.Path == id.Time().Format("z/2006/01/02/15/04/")) {
			t.Fatalf("Consistent of %s is %v", id, id.Consistent())
		}
		if id.String() != id.Prefix()+"-"+id.String()[len(id.Prefix())+1:] {
			t.Fatalf("prefix of %s is %s", id, id.Prefix())
		}
	})
}

func TestEveryPositionFormIsAccepted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := ids().Draw(t, "id").String()
		pos := id[:rapid.IntRange(1, len(id)).Draw(t, "length")]
		if rapid.Bool().Draw(t, "snapshot") {
			pos = eid.SnapshotPrefix + pos
		}
		if rapid.Bool().Draw(t, "after") {
			pos = eid.After(pos)
		}
		if err := eid.ValidatePosition(pos); err != nil {
			t.Fatal(err)
		}
	})
}

func TestForeignAlphabetsAreRefused(t *testing.T) {
	for _, pos := range []string{
		"", " ", "0", "1704164645678", "y/2024", "Z/2024", "zz/2024", "_snapshot/", "_snapshot/_snapshot/z/2024", "_SNAPSHOT/z/2024",
		" z/2024", "z/2024  ", "z/2024 /01", "z/2024\t", "z/2024\n", "z/2024T01", "z/2024:1", "z/2024_1", "z/2024.1", "z/2024+", "z/é",
		"z/２０２４", "z\\2024", "z2024", "z-2024", "z/2024\x00", "z/\xff", "latest", "{}",
	} {
		if err := eid.ValidatePosition(pos); !errors.Is(err, eid.ErrInvalid) {
			t.Errorf("ValidatePosition(%q) = %v, want ErrInvalid", pos, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		const allowed = "0123456789/-"
		id := ids().Draw(t, "id").String()
		at := rapid.IntRange(2, len(id)-1).Draw(t, "at")
		foreign := rapid.Byte().Filter(func(b byte) bool { return !strings.Contains(allowed, string(rune(b))) }).Draw(t, "byte")
		pos := id[:at] + string([]byte{foreign}) + id[at:]
		if err := eid.ValidatePosition(pos); !errors.Is(err, eid.ErrInvalid) {
			t.Fatalf("ValidatePosition(%q) = %v, want ErrInvalid", pos, err)
		}
	})
}

func TestAfterLiesBetweenTheEventAndTheNext(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		id := ids().Draw(t, "id")
		after := eid.After(id.String())
		if eid.Compare(after, id.String()) != 1 || eid.After(after) != after {
			t.Fatalf("After(%q) = %q", id.String(), after)
		}
		if next, err := id.Add(1); err == nil && eid.Compare(after, next.String()) != -1 {
			t.Fatalf("%q is not before %s", after, next)
		} else if err != nil && id.Counter != eid.MaxCounter {
			t.Fatal(err)
		}
		// After a prefix comes everything that has the prefix.
		prefix := id.String()[:rapid.IntRange(1, len(id.String())-1).Draw(t, "length")]
		if eid.Compare(eid.After(prefix), id.String()) != -1 {
			t.Fatalf("%q is not before %s", eid.After(prefix), id)
		}
	})
}

func TestCountersNeverWrap(t *testing.T) {
	const ms = 1_704_164_645_678
	for _, counter := range []int{-1, eid.MaxCounter + 1, 12_345_678} {
		if id, err := eid.New(ms, counter); !errors.Is(err, eid.ErrCounterOverflow) {
			t.Errorf("New(ms, %d) = %v, %v, want ErrCounterOverflow", counter, id, err)
		}
		text := string(eid.AppendCounter([]byte("z/2024/01/02/03/04/1704164645678-"), counter))
		if id, err := eid.Parse(text); err == nil {
			t.Errorf("counter %d reads as %+v", counter, id)
		}
	}
	last, err := eid.New(ms, eid.MaxCounter)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{1, -eid.MaxCounter - 1, int(^uint(0) >> 1)} {
		if id, err := last.Add(n); !errors.Is(err, eid.ErrCounterOverflow) {
			t.Errorf("Add(%d) = %v, %v, want ErrCounterOverflow", n, id, err)
		}
	}
}

func TestTimesOutsideTheRangeAreRefused(t *testing.T) {
	for _, ms := range []int64{-1, 0, 999_999_999_999, 10_000_000_000_000} {
		if id, err := eid.New(ms, 0); !errors.Is(err, eid.ErrTimeRange) {
			t.Errorf("New(%d) = %v, %v, want ErrTimeRange", ms, id, err)
		}
	}
	for _, at := range []time.Time{{}, time.UnixMilli(-1), time.UnixMilli(10_000_000_000_000)} {
		if pos, err := eid.FromTime(at, eid.Year); !errors.Is(err, eid.ErrTimeRange) {
			t.Errorf("FromTime(%v) = %q, %v, want ErrTimeRange", at, pos, err)
		}
	}
	for _, g := range []eid.Granularity{-1, eid.Year + 1} {
		if pos, err := eid.FromTime(time.UnixMilli(1_704_164_645_678), g); !errors.Is(err, eid.ErrInvalid) {
			t.Errorf("FromTime(%d) = %q, %v, want ErrInvalid", g, pos, err)
		}
	}
}

func TestTextThatIsNoIDIsRefused(t *testing.T) {
	const id = "z/2024/01/02/03/04/1704164645678-0000005"
	if _, err := eid.Parse(id); err != nil {
		t.Fatal(err)
	}
	bad := []string{
		"", "z", "z/", "-", id + " ", id + "0", id[:len(id)-1], " " + id, "_snapshot/" + id, "Z" + id[1:],
		"z/2024/01/02/03/04/0704164645678-0000005",    // a leading zero would not come back
		"z/2024/01/02/03/04/+704164645678-0000005",    // signs are no digits
		"z/2024/01/02/03/04/1704164645678-+000005",    //
		"z/2024/01/02/03/04/1704164645678--000005",    //
		"z/2024/01/02/03/1704164645678-0000005",       // no minute
		"z/2024/01/02/03/04/05/1704164645678-0000005", // too deep
		"z/2024/1/002/03/04/1704164645678-0000005",
		"z/2024-01/02/03/04/1704164645678-0000005",
		"z/2024/01/02/03/04/1704164645678/0000005",
		"z/2024/01/02/03/04/170416464567８-0000005",
	}
	for _, s := range bad {
		if got, err := eid.Parse(s); !errors.Is(err, eid.ErrInvalid) {
			t.Errorf("Parse(%q) = %+v, %v, want ErrInvalid", s, got, err)
		}
	}
}

func TestPositionsWithoutAClearTimeAreRefused(t *testing.T) {
	invalid := []string{
		"z/0", "z/20", "z/202", "z/20240", "z/2024/1", "z/2024/01/0", "z/2024/001", "z/2024//01", "z/2024/01//", "z/2024-01-02", "z//",
		"z/2024/01/02/03/04/05/06", "z/2024/01/02/03/04//", "z/2024/01/02/03/04/x", "z/2024/01/02/03-0000001", "z/-", "z/2024/01/02/03/04/-",
	}
	for _, pos := range invalid {
		if got, err := eid.Time(pos); !errors.Is(err, eid.ErrInvalid) {
			t.Errorf("Time(%q) = %v, %v, want ErrInvalid", pos, got, err)
		}
	}
	outside := []string{
		"z/2024/00", "z/2024/13", "z/2024/01/00", "z/2024/01/32", "z/2023/02/29", "z/2024/01/02/24", "z/2024/01/02/03/60",
		"z/2024/01/02/03/04/10000000000000-0000001", "z/2024/01/02/03/04/99999999999999999999-0000001",
	}
	for _, pos := range outside {
		if got, err := eid.Time(pos); !errors.Is(err, eid.ErrTimeRange) {
			t.Errorf("Time(%q) = %v, %v, want ErrTimeRange", pos, got, err)
		}
	}
}

func TestTimeInvertsFromTime(t *testing.T) {
	periods := map[eid.Granularity]time.Duration{
		eid.Millisecond: time.Millisecond, eid.Second: time.Second, eid.Minute: time.Minute, eid.Hour: time.Hour, eid.Date: 24 * time.Hour,
	}
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(millis().Draw(t, "ms")).UTC()
		for g, period := range periods {
			pos, err := eid.FromTime(at, g)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := eid.Time(eid.After(pos)); err != nil || !got.Equal(at.Truncate(period)) {
				t.Fatalf("Time(%q) = %v, %v, want %v", pos, got, err, at.Truncate(period))
			}
			if err := eid.ValidatePosition(pos); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestZeroIDIsEmpty(t *testing.T) {
	if s := (eid.ID{}).String(); s != "" {
		t.Errorf("got %q", s)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"z/2024/01/02/03/04/1704164645678-0000005", "z/2024/13/45/99/99/0704164645678-0000005", "z/", "-z/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := eid.Parse(s)
		if err != nil {
			if !errors.Is(err, eid.ErrInvalid) {
				t.Fatalf("Parse(%q) fails with %v", s, err)
			}
			return
		}
		if id.String() != s {
			t.Fatalf("Parse(%q) writes %q", s, id.String())
		}
		if err := eid.ValidatePosition(s); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzValidatePosition(f *testing.F) {
	for _, s := range []string{"z/", "z", "z/2024 ", "_snapshot/z/2024/01", "z/2024/01/02/03/04/10001-0000001", "z/2024/02/30"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, err := eid.Time(s)
		if err == nil && (at.UnixMilli() > 253402300799999 || at.Location() != time.UTC) {
			t.Fatalf("Time(%q) = %v", s, at)
		}
		if eid.ValidatePosition(s) == nil {
			if strings.Trim(strings.TrimPrefix(s, eid.SnapshotPrefix), "z0123456789/- ") != "" {
				t.Fatalf("position %q accepted", s)
			}
		} else if err == nil {
			t.Fatalf("Time(%q) = %v though it is no position", s, at)
		}
	})
}
