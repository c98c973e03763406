package quakes

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/local"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func TestTheFeedHoldsRealRecordsOldestFirst(t *testing.T) {
	n, last := 0, int64(0)
	for raw, err := range Features() {
		if err != nil {
			t.Fatal(err)
		}
		var f Feature
		if err := json.Unmarshal(raw, &f); err != nil {
			t.Fatal(err)
		}
		p := f.Properties
		if f.ID == "" || p.Place == "" || p.Time < last || p.Time >= FeedGenerated || f.Geometry.Coordinates == [3]float64{} {
			t.Errorf("record %d: %s", n, raw)
		}
		n, last = n+1, p.Time
	}
	if n != FeedRecords {
		t.Errorf("the feed has %d records, want %d", n, FeedRecords)
	}
}

func TestScore(t *testing.T) {
	record := func(mag, kind string) string {
		return `{"id":"ci37868143","properties":{"mag":` + mag + `,"place":"4km W of Castaic, CA","time":1517966773840,"type":"` +
			kind + `"},"geometry":{"coordinates":[-118.6671667,34.4945,26.49]}}`
	}
	q, ok, err := Score(json.RawMessage(record("4.5", "earthquake")))
	want := Scored{
		ID: "ci37868143", Time: 1517966773840, Region: "California", Place: "4km W of Castaic, CA", Mag: 4.5, Class: "light",
		Joules: 3.5e11, Lon: -118.6671667, Lat: 34.4945, Depth: 26.49,
	}
	if err != nil || !ok || q != want {
		t.Errorf("an earthquake: %+v, %v, %v; want %+v", q, ok, err, want)
	}
	if _, ok, err := Score(json.RawMessage(record("1.5", "quarry blast"))); ok || err != nil {
		t.Errorf("a quarry blast: %v, %v", ok, err)
	}
	for _, bad := range []string{record("null", "earthquake"), record("1", ""), `{}`, `[]`, `"text"`} {
		if _, _, err := Score(json.RawMessage(bad)); !errors.Is(err, ErrFeature) {
			t.Errorf("%s: error %v", bad, err)
		}
	}
	if q, ok, err := Score(json.RawMessage(`{"generated":1517968154000}`)); err != nil || !ok || !q.End || q.Time != FeedGenerated {
		t.Errorf("the end of the feed: %+v, %v, %v", q, ok, err)
	}
}

func TestClassesBeginAtWholeMagnitudes(t *testing.T) {
	for mag, want := range map[float64]string{
		-0.5: "micro", 2.99: "micro", 3: "minor", 4: "light", 5: "moderate", 6: "strong", 7: "major", 7.99: "major", 8: "great", 9.5: "great",
	} {
		if got := Class(mag); got != want {
			t.Errorf("Class(%v) = %s, want %s", mag, got, want)
		}
	}
}

func TestRegions(t *testing.T) {
	for place, want := range map[string]string{
		"4km W of Castaic, CA": "California", "10km N of Tijuana, B.C., MX": "Mexico", "South of the Fiji Islands": "South of the Fiji Islands",
		"": "unknown", "somewhere,": "unknown",
	} {
		if got := Region(place); got != want {
			t.Errorf("Region(%q) = %q, want %q", place, got, want)
		}
	}
}

// newBus returns an empty bus in memory and a runner of the demonstration's bots on it.
func newBus(t *testing.T, c Config) (*rstreams.Bus, *bot.Runner) {
	t.Helper()
	ctx := context.Background()
	l := local.New(memory.New(memory.Options{}), local.Options{SweepEvery: -1})
	bus := rstreams.New(l.Store(), rstreams.Options{})
	runner, err := bot.NewRunner(bus, bot.RunnerConfig{Logger: slog.New(slog.DiscardHandler)}, Bots(c)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(runner.Close(ctx), l.Close(ctx)); err != nil {
			t.Error(err)
		}
	})
	if err := bot.Register(ctx, bus.Store().Bots, Bots(c)...); err != nil {
		t.Fatal(err)
	}
	return bus, runner
}

func run(t *testing.T, r *bot.Runner, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := r.RunNow(context.Background(), id); err != nil {
			t.Fatalf("bot %s: %v", id, err)
		}
	}
}

// all reads a queue.
func all[T any](t *testing.T, bus *rstreams.Bus, queue string) (payloads []T, events []rstreams.Event) {
	t.Helper()
	for e, err := range bus.Read(context.Background(), queue, rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			t.Fatal(err)
		}
		var p T
		if err := json.Unmarshal(e.Payload, &p); err != nil {
			t.Fatal(err)
		}
		payloads, events = append(payloads, p), append(events, e)
	}
	return payloads, events
}

func TestTheWholePipelineAccountsForEveryRecord(t *testing.T) {
	var totals bytes.Buffer
	offloaded := 0
	c := Config{CSV: filepath.Join(t.TempDir(), "quakes.csv"), Totals: &totals, Offloaded: func(rstreams.Event) { offloaded++ }}
	bus, r := newBus(t, c)
	run(t, r, SourceBot, ScoreBot, HourlyBot, CSVBot, TotalsBot)

	raw, _ := all[json.RawMessage](t, bus, RawQueue)
	if len(raw) != FeedRecords+1 {
		t.Errorf("%s has %d events", RawQueue, len(raw))
	}
	scored, events := all[Scored](t, bus, ScoredQueue)
	at := map[string]int{}
	quakes := map[[2]string]int{}
	for i, q := range scored {
		at[events[i].EID] = i
		if !q.End {
			quakes[[2]string{q.Region, strconv.FormatInt(Hour(q.Time), 10)}]++
		}
	}
	if len(scored) != 1680 || !scored[len(scored)-1].End {
		t.Errorf("%s has %d events", ScoredQueue, len(scored))
	}

	hours, events := all[RegionHour](t, bus, HourlyQueue)
	if len(hours) != len(quakes) {
		t.Errorf("%s has %d events, want one for each of %d regions and hours", HourlyQueue, len(hours), len(quakes))
	}
	count := 0
	for i, h := range hours {
		count += h.Count
		// The correlation spans exactly the quakes of the region in that hour.
		from := events[i].Correlation
		if from == nil || from.Source != ScoredQueue || from.Units != int64(h.Count) || (from.End == "") != (h.Count == 1) {
			t.Fatalf("%+v has the correlation %+v", h, from)
		}
		first, last := at[from.Start], at[from.Start]
		if from.End != "" {
			last = at[from.End]
		}
		n := 0
		for _, q := range scored[first : last+1] {
			if q.Region == h.Region {
				n++
			}
		}
		if n != h.Count || scored[first].Region != h.Region || scored[last].Region != h.Region {
			t.Errorf("%+v has the correlation %+v, which spans %d quakes of the region", h, from, n)
		}
	}
	if count != 1679 {
		t.Errorf("the hours count %d quakes", count)
	}

	rows := readCSV(t, c.CSV)
	if len(rows) != 1680 || offloaded != 1680 {
		t.Errorf("the file has %d rows (with the header), and %d events were offloaded", len(rows), offloaded)
	}
	if want := "totals: 1679 quakes in 169 hours and 71 regions, strongest M 6.4 (Taiwan), 7.9e+14 J in all\n"; totals.String() != want {
		t.Errorf("totals: %q, want %q", totals.String(), want)
	}

	// A second run has nothing to do.
	run(t, r, SourceBot, ScoreBot, HourlyBot, CSVBot)
	if again, _ := all[RegionHour](t, bus, HourlyQueue); len(again) != len(hours) {
		t.Errorf("a second run made %d more events", len(again)-len(hours))
	}
	if again := readCSV(t, c.CSV); len(again) != len(rows) {
		t.Errorf("a second run made %d more rows", len(again)-len(rows))
	}
}

func readCSV(t *testing.T, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// write puts quakes into quakes.scored.
func write(t *testing.T, bus *rstreams.Bus, quakes ...Scored) {
	t.Helper()
	ctx := context.Background()
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "test", Queue: ScoredQueue})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range quakes {
		if _, err := w.Put(ctx, q); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

const hour = 3_600_000

func TestAnHourIsEmittedOnceWhereverRunsEnd(t *testing.T) {
	bus, r := newBus(t, Config{})
	base := Hour(FeedGenerated)
	quake := func(id string, ms int64, region string, mag float64) Scored {
		return Scored{ID: id, Time: base + ms, Region: region, Mag: mag, Joules: 1}
	}
	count := func(want int) {
		t.Helper()
		run(t, r, HourlyBot)
		if got, _ := all[RegionHour](t, bus, HourlyQueue); len(got) != want {
			t.Fatalf("%d events are out, want %d", len(got), want)
		}
	}
	write(t, bus, quake("a", 1, "Alaska", 2))
	count(0) // The hour goes on.
	write(t, bus, quake("b", 2, "Alaska", 3), quake("c", 3, "Japan", 1))
	count(0)
	write(t, bus, quake("d", hour+1, "Alaska", 1))
	count(2) // The first hour is over, in two regions; the run ended in the second.
	count(2)
	write(t, bus, Scored{ID: "end", Time: base + hour + 2, End: true})
	count(3)
	count(3)
	got, _ := all[RegionHour](t, bus, HourlyQueue)
	want := []RegionHour{
		{Region: "Alaska", Hour: "2018-02-07T01:00:00Z", Count: 2, MaxMag: 3, Strongest: "b", Joules: 2},
		{Region: "Japan", Hour: "2018-02-07T01:00:00Z", Count: 1, MaxMag: 1, Strongest: "c", Joules: 1},
		{Region: "Alaska", Hour: "2018-02-07T02:00:00Z", Count: 1, MaxMag: 1, Strongest: "d", Joules: 1},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestARecordThatCannotBeScoredIsADeadLetterAndTheRestGoesOn(t *testing.T) {
	ctx := context.Background()
	bus, r := newBus(t, Config{})
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "test", Queue: RawQueue})
	if err != nil {
		t.Fatal(err)
	}
	for _, payload := range []string{`{"id":"broken"}`, `{"generated":1517968154000}`} {
		if _, err := w.PutRaw(ctx, json.RawMessage(payload)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(ctx); err != nil {
		t.Fatal(err)
	}
	run(t, r, ScoreBot)
	if scored, _ := all[Scored](t, bus, ScoredQueue); len(scored) != 1 || !scored[0].End {
		t.Errorf("scored: %+v", scored)
	}
	letters, _ := all[deadletter.Letter](t, bus, deadletter.Queue)
	if len(letters) != 1 || letters[0].Bot != ScoreBot || letters[0].Queue != RawQueue || !strings.Contains(letters[0].Raw, `"broken"`) {
		t.Errorf("dead letters: %+v", letters)
	}
}

func TestTheCSVFileSurvivesACrashAtAnyByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "quakes.csv")
	ids := []string{
		"z/2026/11/21/00/00/1795219200000-0000000", "z/2026/11/21/00/00/1795219200000-0000001", "z/2026/11/21/00/00/1795219200000-0000002",
	}
	fill := func() {
		t.Helper()
		f, err := openCSV(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if err := f.add(id, &Scored{ID: id, Place: `10km "N", somewhere`, Mag: 1.5}); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.close(); err != nil {
			t.Fatal(err)
		}
	}
	fill()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := range len(whole) + 1 {
		if err := os.WriteFile(path, whole[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		fill()
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, whole) {
			t.Fatalf("cut at byte %d and filled again, the file is\n%s\nwant\n%s", cut, got, whole)
		}
	}
}
