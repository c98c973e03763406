package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/store"
)

// control applies one change to each of the bots that are named, and reports it.
func (a *app) control(names []string, word string, change store.Control) (err error) {
	bus, done, err := a.open()
	if err != nil {
		return err
	}
	defer done(&err)
	var failed []error
	for _, name := range names {
		id := botID(name)
		var err error
		if change.Paused != nil && !*change.Paused {
			_, err = runnable(a.soft, bus.Store(), id)
		}
		if err == nil {
			err = bus.Store().Bots.Control(a.soft, id, change)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("%w (see `rstreams bots`)", err))
			continue
		}
		a.note("%s %s", word, id)
	}
	return errors.Join(failed...)
}

// runnable returns a bot that shall be made to run. An archived one is an error: it would not run, whatever its row said.
func runnable(ctx context.Context, st store.Store, id string) (store.Bot, error) {
	b, err := st.Bots.Get(ctx, id)
	if err == nil && b.Archived {
		err = fmt.Errorf("bot %s is archived and never runs; to have it back, register it again, or undo what archived it", id)
	}
	return b, err
}

func (a *app) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use: "pause BOT...", Short: "Keep bots from running",
		Long: "pause keeps bots from running. A run that is on goes on to its end. Triggers are remembered, so that a resumed bot\n" +
			"continues where it stopped.",
		Args: args(1, -1, "BOT..."),
		RunE: func(_ *cobra.Command, names []string) error {
			return a.control(names, "paused", store.Control{Paused: new(true)})
		},
	}
}

func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "resume BOT...", Short: "Let paused bots run again",
		Args: args(1, -1, "BOT..."),
		RunE: func(_ *cobra.Command, names []string) error {
			return a.control(names, "resumed", store.Control{Paused: new(false)})
		},
	}
}

func (a *app) runCommand() *cobra.Command {
	var force bool
	var wait time.Duration
	c := &cobra.Command{
		Use:   "run BOT",
		Short: "Ask for a run of a bot now",
		Long: "run asks for a run of a bot now, even if nothing is there to read, and ends its back-off after errors. The bot runs\n" +
			"in the program that hosts it (see `rstreams dev`). --force lets a paused bot run once. --wait waits until the run is\n" +
			"over and exits with 1 if it failed.",
		Args: args(1, 1, "BOT"),
		RunE: func(_ *cobra.Command, names []string) (err error) {
			bus, done, err := a.open()
			if err != nil {
				return err
			}
			defer done(&err)
			st, id := bus.Store(), botID(names[0])
			var cursor string
			if wait > 0 { // On AWS it takes rights that whoever asks for a run need not have.
				if _, cursor, err = st.Feed.Changes(a.soft, "", 1); err != nil {
					return fmt.Errorf("watch the bot: %w", err)
				}
			}
			before, err := runnable(a.soft, st, id)
			if err != nil {
				return fmt.Errorf("%w (see `rstreams bots`)", err)
			}
			if before.Paused && !force {
				return fmt.Errorf("bot %s is paused; resume it with `rstreams resume %s`, or run it once with --force", id, id)
			}
			change := store.Control{Trigger: new(time.Now().UnixMilli()), ScheduledTrigger: new(int64(0)), ErrorCount: new(0)}
			if force {
				change.IgnorePaused = new(true)
			}
			if err := st.Bots.Control(a.soft, id, change); err != nil {
				return err
			}
			if wait <= 0 {
				a.note("asked for a run of %s", id)
				return nil
			}
			return a.awaitRun(st, id, before.Instance.Token, cursor, wait)
		},
	}
	c.Flags().BoolVar(&force, "force", false, "run a paused bot once")
	c.Flags().DurationVar(&wait, "wait", 0, "wait up to this long for the end of the run")
	return c
}

// awaitRun waits until a run later than the one with the token seen is over.
func (a *app) awaitRun(st store.Store, id string, seen int64, cursor string, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(a.soft, wait)
	defer cancel()
	for {
		b, err := st.Bots.Get(ctx, id)
		if err == nil && b.Instance.Token != seen && b.Instance.CompletedTime != 0 {
			if b.Instance.Status == store.StatusError {
				return fmt.Errorf("the run of %s failed: %s", id, runLog(b.Instance.Log))
			}
			a.note("the run of %s is complete", id)
			return nil
		}
		if err == nil {
			err = st.Feed.Wait(ctx, cursor)
		}
		if err == nil {
			_, cursor, err = st.Feed.Changes(ctx, cursor, 1000)
			if errors.Is(err, store.ErrNotFound) {
				_, cursor, err = st.Feed.Changes(ctx, "", 1)
			}
		}
		switch {
		case err == nil:
		case a.interrupted():
			return errInterrupted
		case ctx.Err() != nil:
			return fmt.Errorf("the run of %s is not over after %s; is a program running that hosts it (rstreams dev)?", id, wait)
		default:
			return err
		}
	}
}

// runLog is the text that a run left.
func runLog(log []byte) string {
	zr, err := gzip.NewReader(bytes.NewReader(log))
	if err != nil {
		return "it left no message"
	}
	text, err := io.ReadAll(io.LimitReader(zr, 1<<20))
	if err != nil {
		return "its message is damaged"
	}
	var s string
	if json.Unmarshal(text, &s) == nil {
		return s
	}
	var structured struct {
		Message string `json:"msg"`
	}
	if json.Unmarshal(text, &structured) == nil && structured.Message != "" {
		return structured.Message
	}
	return string(text)
}
