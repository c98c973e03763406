//go:build !rstreams_lambda

package bot

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/config"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

const usage = `Usage: %s [--bus BUS] COMMAND

Commands:
  list        show the bots and their state on the bus
  run BOT     run a bot once, now, and wait for its end
  dev         run the bots as their triggers and schedules ask, until interrupted

Flags:
  --bus BUS   the bus, such as embedded:./data or aws:dev; the default is $%s
  -v          log more
`

// errUsage is a wrong command line.
var errUsage = errors.New("wrong command line")

// execute is Main for a given command line and output, and returns the exit status. It ends when ctx does.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer, bots []Bot) int {
	c := command{bots: bots, out: stdout}
	flags := flag.NewFlagSet("bots", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	spec := flags.String("bus", "", "")
	verbose := flags.Bool("v", false, "")
	help := func(w io.Writer) { _, _ = fmt.Fprintf(w, usage, program(), config.Env) }
	// Flags may stand before and after the command.
	var words []string
	for err := error(nil); len(args) > 0; args = flags.Args()[min(1, flags.NArg()):] {
		if err = flags.Parse(args); errors.Is(err, flag.ErrHelp) {
			help(stdout)
			return 0
		} else if err != nil {
			_, _ = fmt.Fprintln(stderr, err)
			help(stderr)
			return 2
		}
		words = append(words, flags.Args()[:min(1, flags.NArg())]...)
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	c.log = slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level}))
	c.spec = *spec
	err := c.run(ctx, words)
	switch {
	case errors.Is(err, errUsage):
		_, _ = fmt.Fprintln(stderr, err)
		help(stderr)
		return 2
	case err != nil:
		_, _ = fmt.Fprintln(stderr, "error:", err)
		return 1
	}
	return 0
}

func program() string {
	if len(os.Args) == 0 {
		return "bots"
	}
	return os.Args[0]
}

// command is one execution of Main.
type command struct {
	bots []Bot
	spec string // the bus as given
	out  io.Writer
	log  *slog.Logger

	backend *config.Backend
	bus     *rstreams.Bus
	runner  *Runner
}

func (c *command) run(ctx context.Context, words []string) error {
	var act func(context.Context) error
	switch {
	case len(words) == 1 && words[0] == "list":
		act = c.list
	case len(words) == 2 && words[0] == "run":
		act = func(ctx context.Context) error { return c.once(ctx, words[1]) }
	case len(words) == 1 && words[0] == "dev":
		act = c.dev
	default:
		return fmt.Errorf("%w: %q", errUsage, strings.Join(words, " "))
	}
	var err error
	if c.backend, err = config.Open(ctx, c.spec, config.Options{Logger: c.log}); errors.Is(err, config.ErrURL) {
		return fmt.Errorf("%w: %w", errUsage, err)
	} else if err != nil {
		return err
	}
	c.bus = rstreams.New(c.backend.Store, rstreams.Options{Logger: c.log})
	err = c.with(ctx, act)
	closeCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	return errors.Join(err, c.backend.Close(closeCtx))
}

// with makes the Runner, calls act, and closes the Runner.
func (c *command) with(ctx context.Context, act func(context.Context) error) error {
	var err error
	if c.runner, err = NewRunner(c.bus, RunnerConfig{Logger: c.log}, c.bots...); err != nil {
		return err
	}
	err = act(ctx)
	return errors.Join(err, c.drain(ctx))
}

// list prints the bots in order of their ids.
func (c *command) list(ctx context.Context) error {
	w := tabwriter.NewWriter(c.out, 0, 8, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "BOT\tTRIGGERS\tSCHEDULE\tSTATE")
	now := time.Now()
	for _, b := range slices.SortedFunc(slices.Values(c.bots), func(a, b Bot) int { return strings.Compare(a.ID, b.ID) }) {
		state := "not registered"
		row, err := c.bus.Store().Bots.Get(ctx, b.ID)
		switch {
		case err == nil:
			state = describeState(row, now)
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", b.ID, dash(strings.Join(b.Triggers, ",")), dash(b.Schedule), state)
	}
	return w.Flush()
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// describeState puts what Decide says of a row in words.
func describeState(row store.Bot, now time.Time) string {
	d := dispatch.Decide(row, now)
	s := string(d.Reason)
	switch d.Action {
	case dispatch.Run:
		s = "due: " + s
	case dispatch.Wait:
		s += " until " + d.Until.UTC().Format(time.RFC3339)
	}
	if row.ErrorCount > 0 {
		s += fmt.Sprintf(" (%d errors)", row.ErrorCount)
	}
	return s
}

// once runs one bot.
func (c *command) once(ctx context.Context, id string) error {
	i := slices.IndexFunc(c.bots, func(b Bot) bool { return b.ID == id })
	if i < 0 {
		return fmt.Errorf("%w: there is no bot %q in this program", errUsage, id)
	}
	if deployed, err := c.deployed(ctx, c.bots[i]); err != nil {
		return err
	} else if deployed == "" {
		if err := Register(ctx, c.bus.Store().Bots, c.bots[i]); err != nil {
			return err
		}
	}
	// An interrupt ends the run gently: the Runner is closed, not the context.
	defer context.AfterFunc(ctx, func() { _ = c.drain(ctx) })()
	return c.runner.RunNow(context.WithoutCancel(ctx), id)
}

// drain closes the Runner, which lets runs finish for drainTime.
func (c *command) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	return c.runner.Close(ctx)
}

// deployed returns where a bot runs that is deployed on the bus, "" for one that this program may register as its own.
func (c *command) deployed(ctx context.Context, b Bot) (string, error) {
	if !c.backend.Place.AWS {
		return "", nil
	}
	row, err := c.bus.Store().Bots.Get(ctx, b.ID)
	switch in := row.Invocation; {
	case errors.Is(err, store.ErrNotFound):
		return "", nil
	case err != nil:
		return "", err
	case in.Type == "" || in.Type == "none" || in.Type == "local":
		return "", nil
	case in.Type == "lambda":
		return "the Lambda function " + in.Lambda, nil
	default:
		return in.Type, nil
	}
}

// dev runs the bots until ctx ends.
func (c *command) dev(ctx context.Context) error {
	for _, b := range c.bots {
		// Registering it as a local one would take it from where it runs, for everybody.
		if where, err := c.deployed(ctx, b); err != nil {
			return err
		} else if where != "" {
			return fmt.Errorf("bot %s of %s runs as %s; pause it and use `run %s`, or give this one another id", b.ID, c.backend.Place, where, b.ID)
		}
	}
	if err := Register(ctx, c.bus.Store().Bots, c.bots...); err != nil {
		return err
	}
	stop, err := c.backend.Host(c.runner, c.runner.Hosts)
	if err != nil {
		return err
	}
	c.log.InfoContext(ctx, "running", "bots", len(c.bots), "bus", c.backend.Place)
	<-ctx.Done()
	c.log.InfoContext(ctx, "stopping; interrupt again to stop at once")
	stop()
	return nil
}
