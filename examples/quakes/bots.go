package quakes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// The queues of the demonstration.
const (
	RawQueue    = "quakes.raw"
	ScoredQueue = "quakes.scored"
	HourlyQueue = "quakes.hourly"
)

// The bots of the demonstration.
const (
	SourceBot = "quakes-source"
	ScoreBot  = "quakes-score"
	HourlyBot = "quakes-hourly"
	CSVBot    = "quakes-csv"
	TotalsBot = "quakes-totals"
)

// FeedSystem is the reference under which the source keeps how far it has come: the number of records that are written.
const FeedSystem = "system:usgs-feed"

// Config is what the bots need of the program that hosts them.
type Config struct {
	// CSV is the path of the file that quakes-csv writes.
	CSV string
	// Totals is where quakes-totals prints, and TotalsSchedule when; "" means every minute.
	Totals         io.Writer
	TotalsSchedule string
	// Pace is how long the source takes for the week; 0 writes it at once.
	Pace time.Duration
	// Offloaded, if set, is called with each event once its row is in the file.
	Offloaded func(rstreams.Event)
}

// Bots returns the bots of the demonstration.
func Bots(c Config) []bot.Bot {
	schedule := c.TotalsSchedule
	if schedule == "" {
		schedule = "* * * * *"
	}
	return []bot.Bot{
		{
			ID: SourceBot, Description: "writes a week of the USGS earthquake feed",
			Writes: []string{RawQueue}, Run: c.source,
		},
		{
			ID: ScoreBot, Description: "classifies each quake",
			Triggers: []string{RawQueue}, Writes: []string{ScoredQueue}, Run: score,
		},
		{
			ID: HourlyBot, Description: "sums the quakes up by region and hour",
			Triggers: []string{ScoredQueue}, Writes: []string{HourlyQueue}, Run: hourly,
		},
		{
			ID: CSVBot, Description: "writes the quakes to a CSV file",
			Triggers: []string{ScoredQueue}, Run: c.csv,
		},
		{
			ID: TotalsBot, Description: "prints totals on a schedule",
			Schedule: schedule, Run: c.totals,
		},
	}
}

// source writes the feed's records, an hour of the week at a time, and after the last one the end of the feed. It keeps its
// place as a checkpoint on the feed, so that it goes on there when it is stopped and does nothing once all is written.
func (c Config) source(ctx context.Context, run *bot.Run) error {
	cp, err := run.Bus.GetCheckpoint(ctx, "", FeedSystem)
	if err != nil {
		return err
	}
	done, _ := strconv.Atoi(cp.Position) // no position: nothing is written
	w, err := run.Bus.NewWriter(rstreams.WriterOptions{Queue: RawQueue})
	if err != nil {
		return err
	}
	err = c.feed(ctx, run, w, done, cp.Position)
	return errors.Join(err, w.Close(ctx))
}

// feed writes the records after the first done.
func (c Config) feed(ctx context.Context, run *bot.Run, w *rstreams.Writer, done int, position string) error {
	// save makes what was put durable, and only then moves the checkpoint to n records.
	save := func(n int) error {
		if err := w.Flush(ctx); err != nil {
			return err
		}
		next := strconv.Itoa(n)
		err := run.Bus.Checkpoint(ctx, rstreams.CheckpointRequest{
			Queue: FeedSystem, Expected: position,
			Checkpoint: rstreams.Checkpoint{Position: next, Records: int64(n - done)},
		})
		position, done = next, n
		return err
	}
	began := time.Now()
	n, hour, first := 0, int64(0), int64(0)
	for raw, err := range Features() {
		if err != nil {
			return err
		}
		if n++; n <= done {
			continue
		}
		var f Feature
		if err := json.Unmarshal(raw, &f); err != nil {
			return fmt.Errorf("record %d of the feed: %w", n, err)
		}
		if h := Hour(f.Properties.Time); h != hour {
			if hour != 0 {
				if err := save(n - 1); err != nil {
					return err
				}
			}
			if first == 0 {
				first = h
			}
			hour = h
			wait := time.Duration(float64(c.Pace) * float64(h-first) / float64(FeedGenerated-first))
			if !sleepUntil(ctx, run, began.Add(wait)) {
				run.RunAgain()
				return context.Cause(ctx)
			}
		}
		if _, err := w.PutRaw(ctx, raw); err != nil {
			return err
		}
	}
	if done > n {
		return nil // the end of the feed is written too
	}
	if _, err := w.Put(ctx, EndOfFeed{Generated: FeedGenerated}); err != nil {
		return err
	}
	return save(n + 1)
}

// score classifies the records of quakes.raw. Records that it cannot use go to the dead-letter queue; what is no earthquake is
// passed over.
func score(ctx context.Context, run *bot.Run) error {
	_, err := run.Bus.Enrich(ctx, rstreams.EnrichOptions{From: []string{RawQueue}, To: ScoredQueue, Read: fromTheStart()},
		func(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
			quake, ok, err := Score(e.Payload)
			switch {
			case err != nil:
				return rstreams.Result{}, rstreams.DeadLetter(err)
			case !ok:
				return rstreams.Handled(), nil
			}
			return rstreams.Emit(quake), nil
		})
	return err
}

// csv appends the quakes to the file, a batch at a time.
func (c Config) csv(ctx context.Context, run *bot.Run) (err error) {
	f, err := openCSV(c.CSV)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	_, err = run.Bus.OffloadBatch(ctx, rstreams.OffloadOptions{
		From: []string{ScoredQueue}, Read: fromTheStart(),
		Batch: rstreams.BatchOptions{Linger: 2 * time.Millisecond}, CheckpointEvery: 100 * time.Millisecond,
	}, func(_ context.Context, events []rstreams.Event) error {
		for i := range events {
			var q Scored
			if err := json.Unmarshal(events[i].Payload, &q); err != nil {
				return rstreams.HandledFirst(i, fmt.Errorf("event %s: %w", events[i].EID, err))
			}
			if err := f.add(events[i].EID, &q); err != nil {
				return err
			}
		}
		if err := f.sync(); err != nil {
			return err
		}
		if c.Offloaded != nil {
			for _, e := range events {
				c.Offloaded(e)
			}
		}
		return nil
	})
	return err
}

// totals prints the sums over quakes.hourly.
func (c Config) totals(ctx context.Context, run *bot.Run) error {
	t, err := Sum(ctx, run.Bus)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Totals, t)
	return err
}

// fromTheStart makes a bot without a checkpoint begin with the oldest event.
func fromTheStart() rstreams.ReadOptions { return rstreams.ReadOptions{From: rstreams.Earliest()} }

// sleepUntil waits for t and tells whether the run goes on: false means that it is being stopped, and the rest is left to the
// next run.
func sleepUntil(ctx context.Context, run *bot.Run, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-run.Stopping():
		return false
	case <-ctx.Done():
		return false
	}
}
