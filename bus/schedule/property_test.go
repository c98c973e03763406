package schedule_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/rstreams-go/rstreams/bus/schedule"
)

// model is a schedule of minutes and hours told by trying every minute of real time.
type model struct {
	minute, hour, every int // hour -1 means every hour; every -1 means the exact minute
	zone                *time.Location
}

func (m model) expr() string {
	minute, hour := fmt.Sprint(m.minute), fmt.Sprint(m.hour)
	if m.every > 0 {
		minute = fmt.Sprintf("*/%d", m.every)
	}
	if m.hour < 0 {
		hour = "*"
	}
	return minute + " " + hour + " * * *"
}

// matches tells whether a wall clock that shows hour and minute makes the schedule due.
func (m model) matches(hour, minute int) bool {
	return (m.hour < 0 || hour == m.hour) && (m.every > 0 && minute%m.every == 0 || m.every <= 0 && minute == m.minute)
}

// due lists the moments in (from, to], both whole minutes.
func (m model) due(from, to time.Time) []time.Time {
	var all []time.Time
	shown := func(t time.Time) time.Time { // what the wall clock shows, as a UTC time
		t = t.In(m.zone)
		return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), 0, 0, time.UTC)
	}
	furthest := shown(from.Add(-3 * time.Hour)) // the latest time that the wall clock has shown
	for t := from.Add(-3 * time.Hour).Add(time.Minute); !t.After(to); t = t.Add(time.Minute) {
		now := shown(t)
		due := m.matches(now.Hour(), now.Minute())
		if m.hour >= 0 {
			due = due && now.After(furthest) // repeated
			for skipped := furthest.Add(time.Minute); skipped.Before(now); skipped = skipped.Add(time.Minute) {
				due = due || m.matches(skipped.Hour(), skipped.Minute())
			}
		}
		if now.After(furthest) {
			furthest = now
		}
		if due && t.After(from) {
			all = append(all, t)
		}
	}
	return all
}

func TestNextAndBetweenAgreeWithTryingEveryMinute(t *testing.T) {
	var zones []*time.Location
	for _, name := range []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		zones = append(zones, zone)
	}
	rapid.Check(t, func(t *rapid.T) {
		m := model{
			minute: rapid.IntRange(0, 59).Draw(t, "minute"),
			hour:   rapid.SampledFrom([]int{-1, 0, 1, 2, 3, 4, 23}).Draw(t, "hour"),
			every:  rapid.SampledFrom([]int{-1, 7, 15, 30}).Draw(t, "every"),
			zone:   rapid.SampledFrom(zones).Draw(t, "zone"),
		}
		from := time.Unix(rapid.Int64Range(1_500_000_000/60, 1_600_000_000/60).Draw(t, "from")*60, 0)
		if _, end := from.In(m.zone).ZoneBounds(); !end.IsZero() && rapid.Bool().Draw(t, "near a change") {
			from = end.Truncate(time.Minute).Add(-time.Duration(rapid.IntRange(0, 300).Draw(t, "minutes before")) * time.Minute)
		}
		to := from.Add(time.Duration(rapid.IntRange(1, 30*60).Draw(t, "length")) * time.Minute)
		s, err := schedule.Parse(m.expr(), m.zone.String())
		if err != nil {
			t.Fatal(err)
		}
		want := m.due(from, to)
		at := from
		for _, w := range want {
			if at = s.Next(at); !at.Equal(w) {
				t.Fatalf("%s after %v: got %v, want %v", s, from.In(m.zone), at.In(m.zone), w.In(m.zone))
			}
		}
		if next := s.Next(at); !next.After(to) {
			t.Fatalf("%s: %v should not be due", s, next.In(m.zone))
		}
		last, ok := s.Between(from, to)
		if ok != (len(want) > 0) || ok && !last.Equal(want[len(want)-1]) {
			t.Fatalf("%s between %v and %v: got %v, %v, want the last of %v", s, from, to, last, ok, want)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"*/5 * * * *", "0 30 9 * * 1-5", "0 0 L-3 2 5#1", "0 0 1W,LW * 5L", "0 0 0 29 2 * 2024-2199/4", "cron(0 10 ? * 2#1 2025)", "rate(5 minutes)",
		"every 5 minutes", "every day at 10:00 and 5 pm", "on the last day of the month at 12:30 am", "on mon, tue and fri at 9:00", "0 0 30 2 *",
	} {
		f.Add(s, int64(1_711_846_800), true)
	}
	f.Fuzz(func(t *testing.T, expr string, after int64, local bool) {
		zone := ""
		if local {
			zone = "Europe/Berlin"
		}
		s, err := schedule.Parse(expr, zone)
		if err != nil {
			var fault *schedule.Error
			if !errors.Is(err, schedule.ErrInvalid) || !errors.As(err, &fault) || fault.Pos < 0 || fault.Pos > len(expr) {
				t.Fatalf("Parse(%q) fails with %v", expr, err)
			}
			return
		}
		if _, err := schedule.Parse(s.String()[:len(s.String())-len(" (Europe/Berlin)")*b2i(local)], zone); err != nil {
			t.Fatalf("String of %q does not parse: %v", expr, err)
		}
		start := time.Unix(after%(1<<36), 0)
		next := s.Next(start)
		if next.IsZero() {
			return
		}
		if !next.After(start) {
			t.Fatalf("%q after %v gives %v", expr, start, next)
		}
		if last, ok := s.Between(start, next); !ok || !last.Equal(next) {
			t.Fatalf("%q: Between(%v, %v) = %v, %v", expr, start, next, last, ok)
		}
		if last, ok := s.Between(start, next.Add(-time.Second)); ok {
			t.Fatalf("%q: %v lies before the next moment %v", expr, last, next)
		}
	})
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func BenchmarkNext(b *testing.B) {
	for _, expr := range []string{"*/5 * * * *", "0 0 29 2 1", "rate(5 minutes)"} {
		b.Run(expr, func(b *testing.B) {
			s, err := schedule.Parse(expr, "Europe/Berlin")
			if err != nil {
				b.Fatal(err)
			}
			after := time.Unix(1_711_846_800, 0)
			for b.Loop() {
				s.Next(after)
			}
		})
	}
}
