package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// traceRow is a step as `rstreams trace --json` prints it.
type traceRow struct {
	Step  int    `json:"step"`
	Queue string `json:"queue"`
	EID   string `json:"eid"`
	// End and Units tell of the last event, and how many there are, where the step before was derived from several.
	End   string          `json:"end,omitempty"`
	Units int64           `json:"units"`
	Bot   string          `json:"bot,omitempty"`
	At    int64           `json:"at,omitempty"`
	Event json.RawMessage `json:"event,omitempty"`
	Error string          `json:"error,omitempty"`
}

func (a *app) traceCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "trace QUEUE EID",
		Short: "Show an event and the events that it was derived from",
		Long: "trace prints an event and, step by step, the event that it was derived from: which bot made it, when, and from how\n" +
			"many events of which queue. Of several it follows the first.",
		Args: args(2, 2, "QUEUE EID"),
		RunE: func(_ *cobra.Command, names []string) (err error) {
			bus, done, err := a.open()
			if err != nil {
				return err
			}
			defer done(&err)
			steps, err := bus.Trace(a.soft, names[0], names[1])
			if err != nil && len(steps) == 0 {
				return err
			}
			return errors.Join(a.printTrace(steps, asJSON), err)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a step, with the whole event")
	return c
}

func (a *app) printTrace(steps []rstreams.TraceStep, asJSON bool) error {
	t := newTable(a.Out, asJSON, "QUEUE", "EVENT", "BOT", "AT", "PAYLOAD")
	for i, s := range steps {
		row := traceRow{Step: i, Queue: s.Queue, EID: s.EID, End: s.End, Units: s.Units, Bot: s.Event.Bot}
		cells := []any{strings.Repeat("  ", i) + arrow(i) + s.Queue, s.EID, orDash(row.Bot), "-", ""}
		if s.End != "" {
			cells[1] = fmt.Sprintf("%s .. %s (%d)", s.EID, s.End, s.Units)
		}
		if id, err := eid.Parse(strings.TrimPrefix(s.EID, eid.SnapshotPrefix)); err == nil {
			row.At = id.Millis
			cells[3] = id.Time().Format(time.RFC3339)
		}
		if s.Err != nil {
			row.Error = oneLine(s.Err)
			cells[4] = row.Error
		} else {
			text, err := appendOutput(nil, &s.Event, true)
			if err != nil {
				return err
			}
			row.Event = text
			cells[4] = shorten(string(s.Event.Payload), 100)
		}
		if err := t.row(row, cells...); err != nil {
			return err
		}
	}
	return t.end("")
}

// arrow stands before every step but the first.
func arrow(i int) string {
	if i == 0 {
		return ""
	}
	return "<- "
}
