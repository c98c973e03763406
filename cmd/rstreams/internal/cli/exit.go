package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/config"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// The exit codes. They are part of the interface: scripts may rely on them.
const (
	codeOK          = 0
	codeFailure     = 1
	codeUsage       = 2
	codeUnavailable = 3
	codeVerify      = 4
	codeInput       = 5
	codeNotFound    = 6
	codeInterrupted = 7
	codeStale       = 8
)

// exitCodes says what the codes mean and what to do.
func exitCodes() [][3]string {
	return [][3]string{
		{"0", "ok", "everything asked for was done; long-running commands that a signal ended in order"},
		{"1", "failure", "something else went wrong; the line on standard error says what"},
		{"2", "usage", "a wrong command, flag, bus URL, bus configuration, position, schedule or name; correct it"},
		{"3", "bus unavailable", "the bus cannot be opened, read or written: missing, locked, read-only, full, damaged, refused, not reachable; the message says what to do"},
		{"4", "verification failed", "rstreams verify found faults; each is listed"},
		{"5", "bad input", "a line of the input is no event; the message has its number, everything before it is written"},
		{"6", "not found", "the queue, bot, event or dead letter does not exist"},
		{"7", "interrupted", "a signal ended the command before it was done; what was acknowledged is reported"},
		{"8", "conflict", "another program changed the checkpoint meanwhile; look, and decide anew"},
	}
}

// exitCodesTopic is `rstreams help exit-codes`.
func exitCodesTopic() *cobra.Command {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range exitCodes() {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", c[0], c[1], c[2])
	}
	_ = w.Flush()
	return &cobra.Command{
		Use: "exit-codes", Short: "The exit codes and what they mean",
		Long: "The exit codes of every command:\n\n" + b.String(),
	}
}

// errInterrupted is why a command ends that a signal stopped.
var errInterrupted = errors.New("interrupted")

// coded is an error with its exit code.
type coded struct {
	code int
	err  error
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

// usageError marks an error of the command line itself.
func usageError(err error) error { return &coded{codeUsage, err} }

// inputError marks input that cannot be used.
func inputError(err error) error { return &coded{codeInput, err} }

// exitCode tells an error's code.
func exitCode(err error) int {
	var c *coded
	switch {
	case errors.As(err, &c):
		return c.code
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return codeInterrupted
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrThrottled), errors.Is(err, store.ErrCorrupt):
		return codeUnavailable
	case errors.Is(err, rstreams.ErrStaleCheckpoint), errors.Is(err, rstreams.ErrBackwards):
		return codeStale
	case errors.Is(err, config.ErrURL), errors.Is(err, config.ErrConfig), errors.Is(err, eid.ErrInvalid), errors.Is(err, ref.ErrInvalid),
		strings.HasPrefix(err.Error(), "unknown command"):
		return codeUsage
	case errors.Is(err, store.ErrNotFound), errors.Is(err, rstreams.ErrQueueNotFound), errors.Is(err, rstreams.ErrEventNotFound):
		return codeNotFound
	}
	return codeFailure
}
