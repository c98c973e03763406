// Package cli is the rstreams command line: one file for each command, this one for what they share.
//
// Every command writes its results to standard output, as JSON Lines or as a table, and everything else to standard error: at
// most one line for an error, and a progress bar where standard error is a terminal. Exit codes are in exit.go.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/config"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// Streams are a process's standard streams.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// grace is how long a command may take to finish what it began after a first signal. A second signal ends it at once.
const grace = 30 * time.Second

// Main runs the command that args name and returns the exit code. It handles SIGINT and SIGTERM while it runs: the first asks
// the command to stop, finish and report, the second ends the process.
func Main(args []string, s Streams) int {
	hard, kill := context.WithCancelCause(context.Background())
	defer kill(nil)
	soft, stop := context.WithCancelCause(hard)
	defer stop(nil)

	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-signals:
			stop(errInterrupted)
		case <-done:
			return
		}
		select {
		case <-signals:
			os.Exit(codeInterrupted)
		case <-time.After(grace):
			kill(fmt.Errorf("%w: it took longer than %s to finish", errInterrupted, grace))
		case <-done:
		}
	}()
	return Run(soft, hard, args, s)
}

// Run is Main without signals: soft ends when the command shall stop and finish, hard when it must give up. hard must not end
// before soft.
func Run(soft, hard context.Context, args []string, s Streams) int {
	a := &app{Streams: s, soft: soft, hard: hard}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	err := root.ExecuteContext(soft)
	if err == nil {
		return codeOK
	}
	code := exitCode(err)
	if text := oneLine(err); text != "" {
		_, _ = fmt.Fprintf(s.Err, "rstreams: %s\n", text)
	}
	return code
}

// app is what the commands share.
type app struct {
	Streams
	soft, hard context.Context

	url   string
	quiet bool
}

// root builds the command tree.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "rstreams",
		Short: "Run, feed, read and inspect an RStreams event bus",
		Long: "rstreams runs, feeds, reads and inspects an RStreams event bus.\n\n" +
			"Begin with `rstreams demo`: it runs a whole bus on real data and ends by itself.\n" +
			"Name the bus with --bus or RSTREAMS_BUS, for example embedded:./data, or aws:dev for the bus of a stage on AWS.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.PersistentFlags().StringVar(&a.url, "bus", "", "the bus, such as embedded:./data or aws:dev (default: $RSTREAMS_BUS)")
	root.PersistentFlags().BoolVarP(&a.quiet, "quiet", "q", false, "no progress and no notes on standard error")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError(fmt.Errorf("%w (see `%s --help`)", err, c.CommandPath()))
	})
	root.AddCommand(
		a.demoCommand(), a.devCommand(),
		a.writeCommand(), a.readCommand(), a.traceCommand(),
		a.queuesCommand(), a.botsCommand(), a.checkpointCommand(),
		a.pauseCommand(), a.resumeCommand(), a.runCommand(), a.registerCommand(),
		a.dlqCommand(), a.verifyCommand(), a.versionCommand(), exitCodesTopic(),
	)
	root.SetHelpCommand(helpCommand())
	wrapUsage(root)
	return root
}

// helpCommand is cobra's, but that a command that does not exist is an error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [command]", Short: "Help about any command",
		RunE: func(c *cobra.Command, args []string) error {
			found, rest, err := c.Root().Find(args)
			if found == nil || err != nil || len(rest) > 0 {
				return usageError(fmt.Errorf("there is no help on %q; `%s help` lists the commands", strings.Join(args, " "), c.Root().Name()))
			}
			return found.Help()
		},
	}
}

// wrapUsage makes a wrong number of arguments and an unknown command usage errors.
func wrapUsage(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError(fmt.Errorf("%w (see `%s --help`)", err, c.CommandPath()))
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		wrapUsage(sub)
	}
}

// args checks the number of arguments and names those that are wanted.
func args(least, most int, names string) cobra.PositionalArgs {
	return func(c *cobra.Command, given []string) error {
		if n := len(given); n < least || most >= 0 && n > most {
			return fmt.Errorf("usage: %s %s", c.CommandPath(), names)
		}
		return nil
	}
}

// open opens the bus that --bus or RSTREAMS_BUS names, which must exist. The function that it returns closes the bus and must
// be deferred with the command's error: a failure to close counts where nothing else failed.
func (a *app) open() (*rstreams.Bus, func(*error), error) {
	at, err := config.Parse(a.url)
	if err != nil {
		return nil, nil, err
	}
	if at.AWS {
		return a.create()
	}
	if _, err := os.Stat(at.Dir); errors.Is(err, fs.ErrNotExist) {
		return nil, nil, fmt.Errorf("%w: there is no bus in %s; `rstreams write` makes one", store.ErrUnavailable, at.Dir)
	}
	return a.create()
}

// create is open for a bus that is made where it does not exist.
func (a *app) create() (*rstreams.Bus, func(*error), error) {
	bus, err := rstreams.Open(a.hard, a.url, rstreams.WithLogger(a.logger(slog.LevelWarn)))
	if err != nil {
		return nil, nil, err
	}
	return bus, func(err *error) {
		if e := bus.Close(a.hard); e != nil && *err == nil {
			*err = e
		}
	}, nil
}

// note prints a line for people to standard error, unless --quiet.
func (a *app) note(format string, v ...any) {
	if !a.quiet {
		_, _ = fmt.Fprintf(a.Err, format+"\n", v...)
	}
}

// interrupted tells whether a signal asked the command to stop.
func (a *app) interrupted() bool { return a.soft.Err() != nil }

// oneLine is an error's text without line breaks.
func oneLine(err error) string {
	text := strings.Join(strings.Fields(strings.ReplaceAll(err.Error(), "\n", "; ")), " ")
	return strings.TrimPrefix(text, "rstreams: ")
}
