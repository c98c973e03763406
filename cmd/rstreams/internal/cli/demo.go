package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/cmd/rstreams/internal/verify"
	"github.com/rstreams-go/rstreams/examples/quakes"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/config"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// keepTemporary is the value of --keep without a directory.
const keepTemporary = "a new directory"

// demoOptions are the flags of `rstreams demo`.
type demoOptions struct {
	keep    string
	pace    time.Duration
	timeout time.Duration
}

func (a *app) demoCommand() *cobra.Command {
	var o demoOptions
	c := &cobra.Command{
		Use:   "demo [--keep [DIR]]",
		Short: "Run a whole bus on real earthquake data and end",
		Long: "demo runs a bus in this process and plays back a week of real earthquakes on it: a source bot writes them to\n" +
			"quakes.raw, an enrich bot classifies them into quakes.scored, a reduce bot sums them up by region and hour into\n" +
			"quakes.hourly, an offload bot writes a CSV file, and a cron bot prints totals. It ends by itself with a summary.\n\n" +
			"--keep leaves the bus and the CSV file in DIR, or in a new directory, for rstreams read, trace, bots and the rest.\n" +
			"With --bus the demo runs on that bus, which is kept; RSTREAMS_BUS does not count, so that it never runs there by\n" +
			"accident. On AWS (--bus aws:dev) it writes the records and waits for the bots, which are Lambda functions there:\n" +
			"`scripts/deploy dev --demo` deploys them. Each run there plays the week once more.",
		Args: args(0, 1, "[--keep [DIR]]"),
		RunE: func(_ *cobra.Command, names []string) error {
			if len(names) == 1 {
				if o.keep != keepTemporary {
					return usageError(fmt.Errorf("what is %q? a directory goes with --keep", names[0]))
				}
				o.keep = names[0]
			}
			return a.demo(o)
		},
	}
	f := c.Flags()
	f.StringVar(&o.keep, "keep", "", "keep the bus in this directory, or in a new one")
	f.Lookup("keep").NoOptDefVal = keepTemporary
	f.DurationVar(&o.pace, "pace", 3*time.Second, "how long the week takes; 0 for as fast as possible")
	f.DurationVar(&o.timeout, "timeout", 0, "give up after so long (default 2m, on AWS 10m)")
	return c
}

// demoPlace is where a demo runs.
type demoPlace struct {
	url, csv string
	// aws tells that the bots are functions on AWS.
	aws bool
	// kept tells that the bus stays; remove removes it otherwise.
	kept   bool
	remove func() error
}

// place chooses where the demo runs.
func (a *app) place(o demoOptions) (demoPlace, error) {
	keep := func(dir string) demoPlace {
		return demoPlace{url: "embedded:" + dir, csv: filepath.Join(dir, "quakes.csv"), kept: true}
	}
	switch {
	case a.url != "" && o.keep != "":
		return demoPlace{}, usageError(errors.New("the bus of --bus is kept anyway; leave --keep away"))
	case a.url != "":
		at, err := config.Parse(a.url)
		if err != nil {
			return demoPlace{}, err
		}
		if at.AWS {
			return demoPlace{url: a.url, aws: true, kept: true}, nil
		}
		return keep(at.Dir), nil
	case o.keep != "" && o.keep != keepTemporary:
		return keep(o.keep), nil
	}
	dir, err := os.MkdirTemp("", "rstreams-demo-")
	if err != nil {
		return demoPlace{}, fmt.Errorf("%w: cannot make a directory for the demo: %w", store.ErrUnavailable, err)
	}
	p := keep(dir)
	if o.keep == "" {
		p.kept, p.remove = false, func() error { return os.RemoveAll(dir) }
	}
	return p, nil
}

func (a *app) demo(o demoOptions) (err error) {
	p, err := a.place(o)
	if err != nil {
		return err
	}
	if p.remove != nil {
		defer func() { err = errors.Join(err, p.remove()) }()
	}
	d := &demo{a: a, place: p, pace: o.pace}
	if o.timeout == 0 {
		if o.timeout = 2 * time.Minute; p.aws {
			o.timeout = 10 * time.Minute
		}
	}
	ctx, cancel := context.WithTimeoutCause(a.soft, o.timeout, errDemoTime)
	defer cancel()
	if p.aws {
		return d.onAWS(ctx)
	}
	h, err := hostBots(a, p.url, d.bots())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close(a.hard)) }()
	d.bus = h.bus
	a.note("a week of earthquakes on %s; the bots are %s", p.url, strings.Join(h.ids(), ", "))
	began := time.Now()
	if err := h.run(ctx, quakes.SourceBot); err != nil {
		return err
	}
	if err := d.wait(ctx); err != nil {
		return err
	}
	took := time.Since(began)
	if err := h.stopBots(a.hard); err != nil {
		return err
	}
	return d.summary(took)
}

var errDemoTime = errors.New("the demo took too long")

// demo is one run of `rstreams demo`. It knows the bus only through the SDK and the store's ports, and not who hosts the bots.
type demo struct {
	a     *app
	place demoPlace
	pace  time.Duration
	bus   *rstreams.Bus

	mu        sync.Mutex
	latencies []time.Duration
}

// bots returns the demo's bots with the hooks of this program.
func (d *demo) bots() []bot.Bot {
	return quakes.Bots(quakes.Config{
		CSV: d.place.csv, Totals: d.a.Out, TotalsSchedule: "* * * * * *", Pace: d.pace,
		Offloaded: func(e rstreams.Event) {
			latency := time.Since(time.UnixMilli(e.SourceTimestamp))
			d.mu.Lock()
			defer d.mu.Unlock()
			d.latencies = append(d.latencies, latency)
		},
	})
}

// wait waits until the source has written the whole feed and every bot has dealt with all of it.
func (d *demo) wait(ctx context.Context) error {
	feed := d.bus.Store().Feed
	_, cursor, err := feed.Changes(ctx, "", 1)
	for err == nil {
		var left string
		if left, err = d.left(ctx); err != nil || left == "" {
			break
		}
		if err = feed.Wait(ctx, cursor); err != nil {
			if ctx.Err() != nil && errors.Is(context.Cause(ctx), errDemoTime) {
				return fmt.Errorf("%w: %s; look at it with `rstreams bots`", errDemoTime, left)
			}
			break
		}
		if _, cursor, err = feed.Changes(ctx, cursor, 1000); errors.Is(err, store.ErrNotFound) {
			_, cursor, err = feed.Changes(ctx, "", 1)
		}
	}
	if err != nil && d.a.interrupted() {
		return errInterrupted
	}
	return err
}

// left says what is still to be done, "" for nothing. The order matters: each check relies on those before it.
func (d *demo) left(ctx context.Context) (string, error) {
	st := d.bus.Store()
	row, err := st.Bots.Get(ctx, quakes.SourceBot)
	if err != nil {
		return "", err
	}
	if row.Read[quakes.FeedSystem].Position != strconv.Itoa(quakes.FeedRecords+1) {
		return "the source has not written the whole feed", nil
	}
	for _, step := range []struct{ bot, queue string }{
		{quakes.ScoreBot, quakes.RawQueue}, {quakes.HourlyBot, quakes.ScoredQueue}, {quakes.CSVBot, quakes.ScoredQueue},
	} {
		q, err := st.Queues.Get(ctx, step.queue)
		if err != nil {
			return "", err
		}
		row, err := st.Bots.Get(ctx, step.bot)
		if err != nil {
			return "", err
		}
		if row.Read["queue:"+step.queue].Position != q.Head {
			left := "bot " + step.bot + " has not read all of " + step.queue
			if row.ErrorCount > 0 {
				left += fmt.Sprintf(" (%d errors, the last: %s)", row.ErrorCount, runLog(row.Instance.Log))
			}
			return left, nil
		}
		if dispatch.Deadline(&row) != 0 {
			return "bot " + step.bot + " is running", nil
		}
	}
	return "", nil
}

// summary prints what happened.
func (d *demo) summary(took time.Duration) error {
	ctx, out := d.a.soft, d.a.Out
	var check verify.Options
	var bots []string
	if d.place.aws { // Others may be using the bus.
		check.Queues = []string{quakes.RawQueue, quakes.ScoredQueue, quakes.HourlyQueue}
		bots = demoBots()
	}
	report, err := verify.Run(ctx, d.bus.Store(), check)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "\nThe week took %.1f s.\n\n", took.Seconds())
	t := newTable(out, false, "QUEUE", "EVENTS", "NEWEST")
	for _, q := range report.Queues {
		if err := t.row(nil, q.Name, thousands(q.Events), orDash(q.Head)); err != nil {
			return err
		}
	}
	if err := t.end("no queues"); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(out)
	t = newTable(out, false, "BOT", "READ", "CHECKPOINT", "ERRORS")
	err = eachBot(ctx, d.bus.Store(), bots, func(b store.Bot) error {
		for _, at := range slices.Sorted(maps.Keys(b.Read)) {
			if cp := b.Read[at]; cp.Position != "" {
				if err := t.row(nil, b.ID, at, cp.Position, b.ErrorCount); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err == nil {
		err = t.end("no checkpoints")
	}
	if err != nil {
		return err
	}
	if err := d.totals(ctx); err != nil {
		return err
	}
	d.latency()
	if report.OK() {
		_, _ = fmt.Fprintf(out, "verified: every one of the %s events is readable once, in order\n", thousands(report.Events))
	} else if err := d.a.printVerify(report, false); err != nil {
		return err
	}
	return d.further(ctx)
}

// totals prints the sums over all hours.
func (d *demo) totals(ctx context.Context) error {
	t, err := quakes.Sum(ctx, d.bus)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(d.a.Out, "\n%s\n", t)
	return err
}

// latency prints how long events took from the source's write to the row in the file.
func (d *demo) latency() {
	d.mu.Lock()
	defer d.mu.Unlock()
	slices.Sort(d.latencies)
	n := len(d.latencies)
	if n == 0 {
		if !d.place.aws {
			_, _ = fmt.Fprintf(d.a.Out, "nothing was left to offload\n")
		}
		return
	}
	what := "from write to CSV"
	if d.place.aws {
		what = "from write to scored, read back here"
	}
	at := func(q float64) int64 { return d.latencies[min(n-1, int(q*float64(n)))].Milliseconds() }
	_, _ = fmt.Fprintf(d.a.Out, "%s: p50 %d ms, p95 %d ms, max %d ms (%s events)\n",
		what, at(0.5), at(0.95), d.latencies[n-1].Milliseconds(), thousands(int64(n)))
}

// further tells what to do with the bus.
func (d *demo) further(ctx context.Context) error {
	if !d.place.kept {
		_, err := fmt.Fprintf(d.a.Out, "\nNothing is kept. To look at the bus, run `rstreams demo --keep`.\n")
		return err
	}
	q, err := d.bus.Store().Queues.Get(ctx, quakes.HourlyQueue)
	if err != nil {
		return err
	}
	where := "The bus is kept, and the rows are in " + d.place.csv
	if d.place.aws {
		where = "The bots are functions; " + quakes.CSVBot + " keeps its rows in its own /tmp/quakes.csv"
	}
	_, err = fmt.Fprintf(d.a.Out, "\n%s. Try:\n\n"+
		"  export RSTREAMS_BUS=%s\n"+
		"  rstreams read %s --limit 3\n"+
		"  rstreams trace %s %s\n"+
		"  rstreams bots\n", where, d.place.url, quakes.HourlyQueue, quakes.HourlyQueue, q.Head)
	return err
}

// logger is the log of commands that host bots: what needs attention, and with verbose what happens.
func (a *app) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(a.Err, &slog.HandlerOptions{Level: level}))
}
