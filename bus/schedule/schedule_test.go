package schedule_test

import (
	"errors"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // zones on machines that have none

	"github.com/rstreams-go/rstreams/bus/schedule"
)

// at reads "2024-03-10 02:30:00", or a text with an offset behind.
func at(t testing.TB, s string) time.Time {
	t.Helper()
	layout := "2006-01-02 15:04:05"
	if len(s) > len(layout) {
		layout += " -0700"
	}
	v, err := time.Parse(layout, s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func parse(t testing.TB, expr, zone string) schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(expr, zone)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type table []struct {
	expr, after string
	want        []string
}

func (cases table) run(t *testing.T, zone string) {
	t.Helper()
	for _, c := range cases {
		s := parse(t, c.expr, zone)
		next := at(t, c.after)
		for _, want := range c.want {
			if next = s.Next(next); !next.Equal(at(t, want)) {
				t.Errorf("%q (%s) after %s gives %v, want %s", c.expr, zone, c.after, next, want)
				break
			}
		}
	}
}

func TestCronDates(t *testing.T) {
	table{
		{"0 0 29 2 *", "2096-03-01 00:00:00", []string{"2104-02-29 00:00:00", "2108-02-29 00:00:00"}}, // 2100 is no leap year
		{"0 0 29 2 1", "2072-03-01 00:00:00", []string{"2112-02-29 00:00:00"}},                        // forty years without one
		{"0 0 31 * *", "2024-03-31 00:00:00", []string{"2024-05-31 00:00:00", "2024-07-31 00:00:00", "2024-08-31 00:00:00"}},
		{"0 0 L * *", "2024-01-31 00:00:00", []string{"2024-02-29 00:00:00", "2024-03-31 00:00:00", "2024-04-30 00:00:00"}},
		{"0 0 L-2 * *", "2024-02-01 00:00:00", []string{"2024-02-27 00:00:00", "2024-03-29 00:00:00"}},
		{"0 0 L-30 * *", "2024-01-02 00:00:00", []string{"2024-03-01 00:00:00", "2024-05-01 00:00:00"}},
		{"0 0 LW * *", "2024-02-29 00:00:00", []string{"2024-03-29 00:00:00", "2024-04-30 00:00:00", "2024-05-31 00:00:00", "2024-06-28 00:00:00"}},
		{"0 0 15W * *", "2024-05-16 00:00:00", []string{"2024-06-14 00:00:00", "2024-07-15 00:00:00", "2024-08-15 00:00:00", "2024-09-16 00:00:00"}},
		{"0 0 1W * *", "2024-05-31 00:00:00", []string{"2024-06-03 00:00:00", "2024-07-01 00:00:00"}},  // Saturday the 1st: not into May
		{"0 0 31W * *", "2024-03-01 00:00:00", []string{"2024-03-29 00:00:00", "2024-05-31 00:00:00"}}, // Sunday the 31st: not into April
		{"0 0 1,15,L * *", "2024-02-02 00:00:00", []string{"2024-02-15 00:00:00", "2024-02-29 00:00:00", "2024-03-01 00:00:00"}},
		{"0 0 * * 5L", "2024-01-26 00:00:00", []string{"2024-02-23 00:00:00", "2024-03-29 00:00:00"}},
		{"0 0 * * FRI#5", "2024-01-01 00:00:00", []string{"2024-03-29 00:00:00", "2024-05-31 00:00:00"}},
		{"0 0 * * 7", "2024-01-31 00:00:00", []string{"2024-02-04 00:00:00", "2024-02-11 00:00:00"}},
		{"0 0 * * 7L", "2024-01-31 00:00:00", []string{"2024-02-25 00:00:00"}},
		{"0 0 * * 7#1", "2024-01-31 00:00:00", []string{"2024-02-04 00:00:00"}},
		{"0 0 * * 0-7", "2024-01-31 00:00:00", []string{"2024-02-01 00:00:00", "2024-02-02 00:00:00"}},
		{"0 0 * * 5-7", "2024-01-31 00:00:00", []string{"2024-02-02 00:00:00", "2024-02-03 00:00:00", "2024-02-04 00:00:00", "2024-02-09 00:00:00"}},
		{"0 0 * * 7-2", "2024-02-03 00:00:00", []string{"2024-02-04 00:00:00", "2024-02-05 00:00:00", "2024-02-06 00:00:00", "2024-02-11 00:00:00"}},
		{"0 0 * * 7/2", "2024-02-03 00:00:00", []string{"2024-02-04 00:00:00", "2024-02-06 00:00:00", "2024-02-08 00:00:00", "2024-02-10 00:00:00"}},
		{"0 0 * * fri-MON", "2024-02-01 00:00:00", []string{"2024-02-02 00:00:00", "2024-02-03 00:00:00", "2024-02-04 00:00:00", "2024-02-05 00:00:00", "2024-02-09 00:00:00"}},
		{"0 22-2/2 * * *", "2024-02-01 00:00:00", []string{"2024-02-01 02:00:00", "2024-02-01 22:00:00", "2024-02-02 00:00:00"}},
		{"0 0 1 NOV-FEB *", "2024-01-15 00:00:00", []string{"2024-02-01 00:00:00", "2024-11-01 00:00:00", "2024-12-01 00:00:00", "2025-01-01 00:00:00"}},
		{"0 0 13 * 5", "2024-01-01 00:00:00", []string{"2024-09-13 00:00:00", "2024-12-13 00:00:00"}}, // both must hold
		{"59 59 23 31 12 *", "2024-06-01 00:00:00", []string{"2024-12-31 23:59:59", "2025-12-31 23:59:59"}},
		{"0 0 0 1 1 * 2031,2033", "2024-01-01 00:00:00", []string{"2031-01-01 00:00:00", "2033-01-01 00:00:00"}},
		{" 0\t10  * * *\n", "2024-01-01 00:00:00", []string{"2024-01-01 10:00:00"}},
	}.run(t, "")
}

func TestAWSForms(t *testing.T) {
	table{
		{"cron(0 10 * * ? *)", "2024-01-01 10:00:00", []string{"2024-01-02 10:00:00"}},
		{"cron(15 12 * * ? *)", "2024-01-01 00:00:00", []string{"2024-01-01 12:15:00"}},
		{"CRON(0 18 ? * MON-FRI *)", "2024-02-02 18:00:00", []string{"2024-02-05 18:00:00"}},
		{"cron(0 8 1 * ? *)", "2024-01-01 08:00:00", []string{"2024-02-01 08:00:00"}},
		{"cron(0/5 8-17 ? * MON-FRI *)", "2024-02-02 17:54:59", []string{"2024-02-02 17:55:00", "2024-02-05 08:00:00"}},
		{"cron(0 0 ? * 1 *)", "2024-02-02 00:00:00", []string{"2024-02-04 00:00:00"}}, // 1 is Sunday here
		{"cron(0 0 ? * 7 *)", "2024-02-02 00:00:00", []string{"2024-02-03 00:00:00"}},
		{"cron(0 0 ? * L *)", "2024-02-02 00:00:00", []string{"2024-02-03 00:00:00", "2024-02-10 00:00:00"}},
		{"cron(0 0 ? * 2-6 *)", "2024-02-02 00:00:00", []string{"2024-02-05 00:00:00"}},
		{"cron(0 9 ? * 2#1 *)", "2024-02-01 00:00:00", []string{"2024-02-05 09:00:00", "2024-03-04 09:00:00"}},
		{"cron(15 10 ? * 6L 2022-2023)", "2022-11-30 00:00:00", []string{"2022-12-30 10:15:00", "2023-01-27 10:15:00"}},
		{"cron(0 0 L * ? *)", "2024-02-01 00:00:00", []string{"2024-02-29 00:00:00"}},
		{"cron(0 0 3W * ? *)", "2024-02-01 00:00:00", []string{"2024-02-02 00:00:00"}},
		{"rate(1 minute)", "2024-01-01 00:00:30", []string{"2024-01-01 00:01:00", "2024-01-01 00:02:00"}},
		{"rate(5 minutes)", "2024-01-01 00:05:00", []string{"2024-01-01 00:10:00"}},
		{"rate(90 minutes)", "1970-01-01 00:00:00", []string{"1970-01-01 01:30:00", "1970-01-01 03:00:00"}},
		{"rate(7 minutes)", "1969-12-31 23:52:59", []string{"1969-12-31 23:53:00", "1970-01-01 00:00:00", "1970-01-01 00:07:00"}},
		{"rate(1 day)", "2024-02-28 12:00:00", []string{"2024-02-29 00:00:00", "2024-03-01 00:00:00"}},
		{"Rate( 2  Hours )", "2024-02-28 12:00:00", []string{"2024-02-28 14:00:00"}},
		{"rate(10 seconds)", "2024-02-28 12:00:00", []string{"2024-02-28 12:00:10"}},
	}.run(t, "")
}

func TestEnglish(t *testing.T) {
	table{
		{"every minute", "2024-01-01 00:00:30", []string{"2024-01-01 00:01:00"}},
		{"every hour", "2024-01-01 00:00:30", []string{"2024-01-01 01:00:00", "2024-01-01 02:00:00"}},
		{"every second", "2024-01-01 00:00:30", []string{"2024-01-01 00:00:31"}},
		{"every day", "2024-01-01 00:00:00", []string{"2024-01-02 00:00:00"}},
		{"every day at 10:00", "2024-01-01 10:00:00", []string{"2024-01-02 10:00:00"}},
		{"at 10:00 every day", "2024-01-01 10:00:00", []string{"2024-01-02 10:00:00"}},
		{"at 5 pm", "2024-01-01 10:00:00", []string{"2024-01-01 17:00:00"}},
		{"at 5pm", "2024-01-01 10:00:00", []string{"2024-01-01 17:00:00"}},
		{"at 12:00 am", "2024-01-01 10:00:00", []string{"2024-01-02 00:00:00"}},
		{"at 12:30 am", "2024-01-01 10:00:00", []string{"2024-01-02 00:30:00"}},
		{"at 12 pm", "2024-01-01 10:00:00", []string{"2024-01-01 12:00:00"}},
		{"At 9:00, 12:30 and 17:15", "2024-01-01 09:00:00", []string{"2024-01-01 12:30:00", "2024-01-01 17:15:00", "2024-01-02 09:00:00"}},
		{"every monday", "2024-02-01 00:00:00", []string{"2024-02-05 00:00:00", "2024-02-12 00:00:00"}},
		{"every monday, wednesday and fri at 6:30", "2024-02-01 00:00:00", []string{"2024-02-02 06:30:00", "2024-02-05 06:30:00", "2024-02-07 06:30:00"}},
		{"on weekdays at 9:00", "2024-02-02 10:00:00", []string{"2024-02-05 09:00:00"}},
		{"every weekend at 9:00", "2024-02-02 10:00:00", []string{"2024-02-03 09:00:00", "2024-02-04 09:00:00", "2024-02-10 09:00:00"}},
		{"every 2 hours on sat", "2024-02-02 23:00:00", []string{"2024-02-03 00:00:00", "2024-02-03 02:00:00"}},
		{"on the 31st day of the month at 6:00", "2024-02-02 23:00:00", []string{"2024-03-31 06:00:00", "2024-05-31 06:00:00"}},
		{"on the last day of the month at 6:00", "2024-02-02 23:00:00", []string{"2024-02-29 06:00:00"}},
	}.run(t, "")
}

func TestClocksJumpForward(t *testing.T) {
	// Berlin, 2024-03-31: 02:00 +0100 becomes 03:00 +0200.
	table{
		{"30 2 * * *", "2024-03-30 12:00:00", []string{"2024-03-31 03:00:00 +0200", "2024-04-01 02:30:00 +0200"}},
		{"0 2 * * *", "2024-03-30 12:00:00", []string{"2024-03-31 03:00:00 +0200", "2024-04-01 02:00:00 +0200"}},
		{"0,30 2-3 * * *", "2024-03-30 12:00:00", []string{"2024-03-31 03:00:00 +0200", "2024-03-31 03:30:00 +0200", "2024-04-01 02:00:00 +0200"}},
		{"0 3 * * *", "2024-03-30 12:00:00", []string{"2024-03-31 03:00:00 +0200", "2024-04-01 03:00:00 +0200"}},
		{"30 1 * * *", "2024-03-30 12:00:00", []string{"2024-03-31 01:30:00 +0100", "2024-04-01 01:30:00 +0200"}},
		{"at 2:15", "2024-03-30 12:00:00", []string{"2024-03-31 03:00:00 +0200"}},
		{"30 * * * *", "2024-03-31 00:00:00 +0100", []string{"2024-03-31 00:30:00 +0100", "2024-03-31 01:30:00 +0100", "2024-03-31 03:30:00 +0200"}},
		{"30 2 31 3 *", "2023-03-31 12:00:00", []string{"2024-03-31 03:00:00 +0200", "2025-03-31 02:30:00 +0200"}},
		{"30 2 * * 0", "2024-03-30 12:00:00", []string{"2024-03-31 03:00:00 +0200", "2024-04-07 02:30:00 +0200"}},
		{"rate(30 minutes)", "2024-03-31 01:30:00 +0100", []string{"2024-03-31 03:00:00 +0200", "2024-03-31 03:30:00 +0200"}},
	}.run(t, "Europe/Berlin")
	// Asked at the very moment of the jump, a run in the gap is over.
	table{{"30 2 * * *", "2024-03-31 03:00:00 +0200", []string{"2024-04-01 02:30:00 +0200"}}}.run(t, "Europe/Berlin")
	// Sao Paulo, 2018-11-04: midnight does not exist.
	table{{"0 0 * * *", "2018-11-03 12:00:00", []string{"2018-11-04 01:00:00 -0200", "2018-11-05 00:00:00 -0200"}}}.run(t, "America/Sao_Paulo")
	// Lord Howe jumps by half an hour, 2024-10-06 02:00 +1030.
	table{{"15 2 * * *", "2024-10-05 12:00:00", []string{"2024-10-06 02:30:00 +1100", "2024-10-07 02:15:00 +1100"}}}.run(t, "Australia/Lord_Howe")
	// Apia left out the whole of 2011-12-30.
	table{{"0 12 * * *", "2011-12-29 23:00:00 -1000", []string{"2011-12-31 00:00:00 +1400", "2011-12-31 12:00:00 +1400"}}}.run(t, "Pacific/Apia")
}

func TestClocksAreSetBack(t *testing.T) {
	// Berlin, 2024-10-27: 03:00 +0200 becomes 02:00 +0100.
	table{
		{"30 2 * * *", "2024-10-26 12:00:00", []string{"2024-10-27 02:30:00 +0200", "2024-10-28 02:30:00 +0100"}},
		{"0 3 * * *", "2024-10-26 12:00:00", []string{"2024-10-27 03:00:00 +0100", "2024-10-28 03:00:00 +0100"}},
		{"0 2 * * *", "2024-10-26 12:00:00", []string{"2024-10-27 02:00:00 +0200", "2024-10-28 02:00:00 +0100"}},
		{"*/30 2-3 * * *", "2024-10-27 02:00:00 +0200", []string{"2024-10-27 02:30:00 +0200", "2024-10-27 03:00:00 +0100", "2024-10-27 03:30:00 +0100"}},
		{"*/30 * * * *", "2024-10-27 02:00:00 +0200", []string{"2024-10-27 02:30:00 +0200", "2024-10-27 02:00:00 +0100", "2024-10-27 02:30:00 +0100", "2024-10-27 03:00:00 +0100"}},
		{"every day at 2:30", "2024-10-27 02:30:00 +0200", []string{"2024-10-28 02:30:00 +0100"}},
		{"every 20 minutes", "2024-10-27 02:40:00 +0200", []string{"2024-10-27 02:00:00 +0100"}},
	}.run(t, "Europe/Berlin")
	// Lord Howe is set back by half an hour, 2024-04-07 02:00 +1100.
	table{{"45 1 * * *", "2024-04-06 12:00:00", []string{"2024-04-07 01:45:00 +1100", "2024-04-08 01:45:00 +1030"}}}.run(t, "Australia/Lord_Howe")
}

// TestZoneRulesBeyondTheTableDoNotStopTheSearch guards against ends of zone stretches that lie in the past, which
// time.ZoneBounds gives on the last day of leap years after 2037.
func TestZoneRulesBeyondTheTableDoNotStopTheSearch(t *testing.T) {
	table{
		{"0 0 0 1 1 2 2109", "2024-03-31 00:00:00", []string{"2109-01-01 00:00:00 +0100"}},
		{"30 2 * * *", "2108-12-30 12:00:00", []string{"2108-12-31 02:30:00 +0100", "2109-01-01 02:30:00 +0100"}},
		{"30 * * * *", "2108-12-31 22:00:00", []string{"2108-12-31 23:30:00 +0100", "2109-01-01 00:30:00 +0100", "2109-01-01 01:30:00 +0100"}},
		{"30 2 * * *", "2109-03-30 12:00:00", []string{"2109-03-31 03:00:00 +0200", "2109-04-01 02:30:00 +0200"}},
	}.run(t, "Europe/Berlin")
}

func TestNextIsStrictlyLaterWithinASecond(t *testing.T) {
	s := parse(t, "0 10 * * *", "")
	due := at(t, "2024-01-01 10:00:00")
	for before, want := range map[time.Duration]time.Time{
		-time.Nanosecond: due, -time.Second: due, 0: due.AddDate(0, 0, 1), time.Nanosecond: due.AddDate(0, 0, 1),
	} {
		if got := s.Next(due.Add(before)); !got.Equal(want) {
			t.Errorf("Next(due %+v) = %v, want %v", before, got, want)
		}
	}
	if got := s.Next(due); got.Location() != time.UTC {
		t.Errorf("Next answers in %v", got.Location())
	}
}

func TestEndOfScheduleIsTheZeroTime(t *testing.T) {
	s := parse(t, "0 0 0 1 1 * 2024", "")
	if got := s.Next(at(t, "2024-01-01 00:00:00")); !got.IsZero() {
		t.Errorf("got %v", got)
	}
	if got := s.Next(time.Time{}); !got.Equal(at(t, "2024-01-01 00:00:00")) {
		t.Errorf("from the year 1: got %v", got)
	}
	var none schedule.Schedule
	if got := none.Next(at(t, "2024-01-01 00:00:00")); !got.IsZero() || none.String() != "" {
		t.Errorf("zero Schedule gives %v and %q", got, none)
	}
	if _, ok := none.Between(time.Time{}, at(t, "2024-01-01 00:00:00")); ok {
		t.Error("zero Schedule has a moment")
	}
}

func TestBetweenGivesTheLatestMissedMoment(t *testing.T) {
	for _, c := range []struct{ expr, from, to, want string }{
		{"0 10 * * *", "2024-01-01 10:00:00", "2024-01-01 23:00:00", ""},                    // from is exclusive
		{"0 10 * * *", "2024-01-01 09:59:59", "2024-01-01 10:00:00", "2024-01-01 10:00:00"}, // to is inclusive
		{"0 10 * * *", "2024-01-01 09:00:00", "2024-01-01 09:59:59", ""},
		{"0 10 * * *", "2024-01-01 09:00:00", "2024-03-05 09:59:59", "2024-03-04 10:00:00"},
		{"* * * * * *", "2024-01-01 00:00:00", "2034-01-01 00:00:00", "2034-01-01 00:00:00"},
		{"0 0 29 2 *", "1970-01-01 00:00:00", "2027-01-01 00:00:00", "2024-02-29 00:00:00"},
		{"0 10 * * *", "2024-01-02 00:00:00", "2024-01-01 00:00:00", ""}, // the clock went back
		{"0 10 * * *", "2024-01-02 10:00:00", "2024-01-02 10:00:00", ""},
		{"at 9:00 and 17:15", "2024-01-01 00:00:00", "2024-01-09 12:00:00", "2024-01-09 09:00:00"},
		{"rate(7 minutes)", "1970-01-01 00:00:00", "1970-01-01 00:20:59", "1970-01-01 00:14:00"},
	} {
		got, ok := parse(t, c.expr, "").Between(at(t, c.from), at(t, c.to))
		if ok != (c.want != "") || ok && !got.Equal(at(t, c.want)) {
			t.Errorf("%q between %s and %s: %v, %v, want %q", c.expr, c.from, c.to, got, ok, c.want)
		}
	}
}

func TestStringNamesTheZone(t *testing.T) {
	if got := parse(t, " 0 10 * * * ", "").String(); got != "0 10 * * *" {
		t.Errorf("got %q", got)
	}
	if got := parse(t, "0 10 * * *", "Europe/Berlin").String(); got != "0 10 * * * (Europe/Berlin)" {
		t.Errorf("got %q", got)
	}
}

func TestUnknownZonesAreRefused(t *testing.T) {
	for _, zone := range []string{"Local", "Europe/Nowhere", "../etc/passwd", "CEST+2"} {
		if _, err := schedule.Parse("0 10 * * *", zone); !errors.Is(err, schedule.ErrInvalid) {
			t.Errorf("%q gives %v, want ErrInvalid", zone, err)
		}
	}
}

// TestFaultsAreLocated gives the place of each fault by ^ before it.
func TestFaultsAreLocated(t *testing.T) {
	for _, marked := range []string{
		"^", "^ ", "^* * *", "^* * * * * * * *", "^hello", "^latest",
		"^60 * * * *", "* ^24 * * *", "* * ^0 * *", "* * ^32 * *", "* * * ^13 *", "* * * * ^8", "^60 0 * * * *", "0 0 0 * * * ^1969", "0 0 0 * * * ^2200",
		"1,^2x * * * *", "1,^ * * * *", "1-^ * * * *", "^-5 * * * *", "^1.5 * * * *", "*/^0 * * * *", "*/^x * * * *", "*/^90 * * * *", "*/^ * * * *",
		"^? * * * *", "* ^? * * *", "* * * ^foo *", "* * * * ^montag", "* * * * ^m", "* * L-^31 * *", "* * L-^x * *", "* * ^0W * *", "* * ^W * *", "* * * * ^L",
		"* * * * 5#^0", "* * * * 5#^6", "* * * * ^8#1", "* * * * ^8L", "0 0 0 * * * ^2030-2029", "^** * * * *", "1-^2-3 * * * *", "1/^2/3 * * * *",
		"^0 0 30 2 *", "^0 0 31 4,6 *", "^0 0 L-29 2 *", "^0 0 0 29 2 * 2023",
		"cron(^* * * * *)", "cron(^)", "cron(0 10 * * ^* *)", "cron(0 10 ? * ^? *)", "cron(0 10 ? * ^0 *)", "cron(0 10 * * ? *^", "cron(0 10 * * ? *)^ x",
		"cron(^60 10 * * ? *)", "^cron (0 10 * * ? *)",
		"rate(^)", "rate(^5)", "rate(^0 minutes)", "rate(^-5 minutes)", "rate(^x minutes)", "rate(5 ^weeks)", "rate(5 minutes^", "rate(^99999999999 days)",
		"every^", "every ^week", "every ^month", "every ^90 minutes", "every ^0 minutes", "every 5^", "every 5 ^weeks", "every ^fortnight",
		"every 5 minutes ^at 10:00", "at 10:00 every ^5 minutes", "every day ^on monday", "on monday ^on friday", "every 5 minutes every ^5 hours",
		"on the^", "on the ^0th day of the month", "on the ^32nd day of the month", "on the first ^monday", "on^", "on monday ^and", "on monday ^xyz",
		"at ^24:00", "at ^10", "at ^10:60", "at ^13:00 pm", "at ^0:30 am", "at ^10:5", "at ^1000:00", "at ^x", "at^", "at 10:00 ^at 11:00", "at 10:00 ^after",
		"every 5 minutes ^after the 5th hour", "* * * * ^é", "* * * * ^\xb4/", "every ^ſunday",
	} {
		// "every 5 minutes every ^5 hours" and texts whose fault is at the end are marked where the parser stands.
		expr := strings.Replace(marked, "^", "", 1)
		want := strings.IndexByte(marked, '^')
		s, err := schedule.Parse(expr, "")
		var fault *schedule.Error
		if !errors.Is(err, schedule.ErrInvalid) || !errors.As(err, &fault) {
			t.Errorf("%q gives %v, %v, want an *Error", expr, s, err)
		} else if fault.Pos != want || fault.Expr != expr || fault.Reason == "" {
			t.Errorf("%q is at fault at %d, want %d: %v", expr, fault.Pos, want, err)
		}
	}
	if _, err := schedule.Parse(strings.Repeat("1,", 1000)+"1 * * * *", ""); !errors.Is(err, schedule.ErrInvalid) {
		t.Errorf("a very long expression gives %v", err)
	}
}
