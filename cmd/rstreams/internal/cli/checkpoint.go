package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// checkpointRow is a checkpoint as `rstreams checkpoint get --json` prints it.
type checkpointRow struct {
	Bot  string `json:"bot"`
	Kind string `json:"kind"`
	Ref  string `json:"ref"`
	store.Checkpoint
}

func (a *app) checkpointCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "checkpoint", Short: "Show or move a bot's checkpoints", Args: args(0, 0, "get|set"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.checkpointGetCommand(), a.checkpointSetCommand())
	return c
}

func (a *app) checkpointGetCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "get BOT [QUEUE]",
		Short: "Show a bot's checkpoints",
		Long: "get shows how far a bot has read, and what it wrote last. With a queue, it prints only the position to which the bot\n" +
			"has read that queue, for scripts.",
		Args: args(1, 2, "BOT [QUEUE]"),
		RunE: func(_ *cobra.Command, names []string) (err error) {
			bus, done, err := a.open()
			if err != nil {
				return err
			}
			defer done(&err)
			b, err := bus.Store().Bots.Get(a.soft, botID(names[0]))
			if err != nil {
				return fmt.Errorf("%w (see `rstreams bots`)", err)
			}
			if len(names) == 2 {
				at := ref.QueueRef(names[1])
				cp := b.Read[at]
				if cp.Position == "" {
					return fmt.Errorf("bot %s has no checkpoint on %s: %w", b.ID, at, store.ErrNotFound)
				}
				if asJSON {
					return newTable(a.Out, true).row(checkpointRow{b.ID, "read", at, cp})
				}
				_, err := fmt.Fprintln(a.Out, cp.Position)
				return err
			}
			t := newTable(a.Out, asJSON, "KIND", "OF", "POSITION", "MOVED", "RECORDS")
			now := time.Now()
			for _, m := range []struct {
				kind string
				of   map[string]store.Checkpoint
			}{{"read", b.Read}, {"write", b.Write}} {
				for _, k := range slices.Sorted(maps.Keys(m.of)) {
					cp := m.of[k]
					if cp.Position == "" {
						continue
					}
					if err := t.row(checkpointRow{b.ID, m.kind, k, cp}, m.kind, k, cp.Position,
						ago(now, cp.EndedTimestamp), cp.Records); err != nil {
						return err
					}
				}
			}
			return t.end("bot " + b.ID + " has no checkpoints")
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	return c
}

func (a *app) checkpointSetCommand() *cobra.Command {
	var expected string
	var force bool
	c := &cobra.Command{
		Use:   "set BOT QUEUE POSITION",
		Short: "Move a bot's read checkpoint, to replay or to skip events",
		Long: "set moves a bot's read checkpoint on a queue. POSITION is an event id (the bot goes on after it), a date such as\n" +
			"z/2026/11/21 or 2026-11-21T10:00:00Z (it goes on with that time), z/ (with the oldest event), or `head` (it skips\n" +
			"everything). For system:NAME in place of QUEUE it is whatever the bot keeps there.\n" +
			"The checkpoint moves only if nobody moves it meanwhile; --expect names the position it must have now.\n" +
			"--force overwrites it whatever happens: pause the bot first.",
		Args: args(3, 3, "BOT QUEUE POSITION"),
		RunE: func(_ *cobra.Command, names []string) (err error) {
			queue := ref.Queue(names[1])
			if err := ref.ValidateQueue(names[1]); err != nil {
				return err
			}
			bus, done, err := a.open()
			if err != nil {
				return err
			}
			defer done(&err)
			st := bus.Store()
			position := names[2]
			if ref.Parse(names[1]).Type != ref.TypeSystem { // positions in systems are the systems' own
				if position, err = a.queuePosition(st, queue, position); err != nil {
					return err
				}
			}
			b, err := st.Bots.Get(a.soft, botID(names[0]))
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return err
			}
			if b.ID == "" {
				return fmt.Errorf("bot %s: %w (see `rstreams bots`)", names[0], store.ErrNotFound)
			}
			at := ref.QueueRef(names[1])
			before := b.Read[at].Position
			if expected != "" && before != expected && !force {
				return &coded{codeStale, fmt.Errorf("the checkpoint is %s, not %s: it was moved; look again", orDash(before), expected)}
			}
			now := time.Now().UnixMilli()
			err = st.Bots.Checkpoint(a.soft, store.CheckpointWrite{
				Bot: b.ID, Ref: at, Expected: before, Force: force,
				Checkpoint: store.Checkpoint{Position: position, StartedTimestamp: now, EndedTimestamp: now},
			})
			if errors.Is(err, store.ErrConflict) {
				return &coded{codeStale, fmt.Errorf("the checkpoint of %s on %s moved meanwhile; pause the bot and try again", b.ID, queue)}
			}
			if err != nil {
				return fmt.Errorf("set the checkpoint: %w", err)
			}
			a.note("checkpoint of %s on %s: %s (was %s)", b.ID, queue, position, orDash(before))
			return nil
		},
	}
	c.Flags().StringVar(&expected, "expect", "", "the position that the checkpoint must have now")
	c.Flags().BoolVar(&force, "force", false, "overwrite the checkpoint whatever it is by then")
	return c
}

// queuePosition reads a position in a queue, which must not be beyond the newest event.
func (a *app) queuePosition(st store.Store, queue, text string) (string, error) {
	position, err := parsePosition(text)
	if err != nil {
		return "", err
	}
	q, err := st.Queues.Get(a.soft, queue)
	if errors.Is(err, store.ErrNotFound) {
		return "", fmt.Errorf("%w (see `rstreams queues`)", err)
	}
	if err != nil {
		return "", err
	}
	if position == "head" {
		position = q.Head
	}
	if strings.TrimSuffix(position, " ") > q.Head && !strings.HasPrefix(q.Head, position) {
		return "", usageError(fmt.Errorf("position %s is beyond the newest event %s of %s; use `head` to skip everything",
			position, q.Head, queue))
	}
	return position, nil
}

// parsePosition reads a position as people give it: an event id, a prefix of one, a time in RFC 3339, or a date. "head" is
// left to the caller.
func parsePosition(s string) (string, error) {
	if s == "head" || s == "" {
		return s, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02"} {
		t, err := time.Parse(layout, strings.TrimPrefix(s, "z/"))
		if err == nil {
			id, err := eid.New(t.UnixMilli(), 0)
			if err != nil {
				return "", usageError(err)
			}
			return id.Prefix(), nil
		}
	}
	if err := eid.ValidatePosition(s); err != nil {
		return "", usageError(fmt.Errorf("%w; a time such as 2026-11-21T10:00:00Z will do as well", err))
	}
	return s, nil
}
