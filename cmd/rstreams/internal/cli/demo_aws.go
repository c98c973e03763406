package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/examples/quakes"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// demoBots are the ids of the demo's bots.
func demoBots() []string {
	return []string{quakes.SourceBot, quakes.ScoreBot, quakes.HourlyBot, quakes.CSVBot, quakes.TotalsBot}
}

// onAWS plays the week on a bus whose bots are deployed as Lambda functions: this process is only the source.
func (d *demo) onAWS(ctx context.Context) (err error) {
	bus, done, err := d.a.open()
	if err != nil {
		return err
	}
	defer done(&err)
	d.bus = bus
	if err := d.deployed(ctx); err != nil {
		return err
	}
	d.a.note("a week of earthquakes on %s; the bots there are %s", d.place.url, strings.Join(demoBots(), ", "))
	follow, err := d.follow(ctx)
	if err != nil {
		return err
	}
	began := time.Now()
	p, err := d.play(ctx)
	if err == nil {
		err = d.write(ctx)
	}
	if err == nil {
		err = d.poll(ctx, p)
	}
	took := time.Since(began)
	if follow(); err != nil {
		return err
	}
	return d.summary(took)
}

// deployed finds out whether the bots are functions on this bus that may run.
func (d *demo) deployed(ctx context.Context) error {
	stage := strings.TrimPrefix(strings.TrimPrefix(d.place.url, "aws:"), "//")
	if stage == "" {
		stage = "STAGE"
	}
	var missing, paused []string
	for _, id := range demoBots() {
		row, err := d.bus.Store().Bots.Get(ctx, id)
		switch {
		case errors.Is(err, store.ErrNotFound), err == nil && (row.Archived || row.Invocation.Type != "lambda"):
			missing = append(missing, id)
		case err != nil:
			return err
		case row.Paused:
			paused = append(paused, id)
		}
	}
	switch {
	case len(missing) > 0:
		return fmt.Errorf("%w: %s is no Lambda function on %s; deploy the demo's bots with `scripts/deploy %s --demo` (with --endpoint URL for an "+
			"emulator)", store.ErrNotFound, strings.Join(missing, ", "), d.place.url, stage)
	case len(paused) > 0:
		names := strings.Join(paused, " ")
		return fmt.Errorf("paused on %s: %s; resume with `rstreams --bus %s resume %s`", d.place.url, strings.Join(paused, ", "), d.place.url, names)
	}
	return nil
}

// write is the source: it runs the source bot here, under its lock on the bus. A week that is on the bus already is played again; one
// that was interrupted goes on.
func (d *demo) write(ctx context.Context) (err error) {
	cp, err := d.bus.GetCheckpoint(ctx, quakes.SourceBot, quakes.FeedSystem)
	if err != nil {
		return err
	}
	if cp.Position == strconv.Itoa(quakes.FeedRecords+1) {
		err = d.bus.Checkpoint(ctx, rstreams.CheckpointRequest{
			Bot: quakes.SourceBot, Queue: quakes.FeedSystem, Checkpoint: rstreams.Checkpoint{Position: "0"}, Expected: cp.Position, Backwards: true,
		})
		if err != nil {
			return err
		}
	}
	var source []bot.Bot
	for _, b := range d.bots() {
		if b.ID == quakes.SourceBot {
			source = append(source, b)
		}
	}
	runner, err := bot.NewRunner(d.bus, bot.RunnerConfig{Logger: d.a.logger(slog.LevelWarn)}, source...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, runner.Close(d.a.hard)) }()
	// A first signal ends the run in order: what was written is checkpointed.
	defer context.AfterFunc(d.a.soft, func() { _ = runner.Close(d.a.hard) })()
	err = runner.RunNow(context.WithoutCancel(ctx), quakes.SourceBot)
	if d.a.interrupted() {
		return errInterrupted
	}
	return err
}

// pollDemo is how often the demo looks how far the bots are, on AWS.
const pollDemo = time.Second

// poll waits until every bot has dealt with everything, and all that they wrote can be read.
func (d *demo) poll(ctx context.Context, p *play) error {
	tick := time.NewTicker(pollDemo)
	defer tick.Stop()
	told := ""
	for {
		left, err := p.unpublished(ctx, quakes.RawQueue, quakes.ScoredQueue)
		if err == nil && left == "" {
			left, err = d.left(ctx)
		}
		if err == nil && left == "" {
			left, err = p.unpublished(ctx, quakes.HourlyQueue)
		}
		switch {
		case err == nil && left == "":
			return nil
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil && left != told:
			d.a.note("waiting: %s", left)
			told = left
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if d.a.interrupted() {
				return errInterrupted
			}
			return fmt.Errorf("%w: %s; look at it with `rstreams --bus %s bots`", errDemoTime, told, d.place.url)
		}
	}
}

// follow reads what comes of the records, to measure how long that takes, until the function that it returns is called.
func (d *demo) follow(ctx context.Context) (stop func(), err error) {
	o := rstreams.ReadOptions{Start: "z/", Follow: true}
	switch q, err := d.bus.Store().Queues.Get(ctx, quakes.ScoredQueue); {
	case err == nil && q.Head != "":
		o.Start = q.Head
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for e, err := range d.bus.Read(ctx, quakes.ScoredQueue, o) {
			if err != nil {
				if ctx.Err() == nil {
					d.a.note("the latency is not measured: %s", oneLine(err))
				}
				return
			}
			latency := time.Since(time.UnixMilli(e.SourceTimestamp))
			d.mu.Lock()
			d.latencies = append(d.latencies, latency)
			d.mu.Unlock()
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}, nil
}
