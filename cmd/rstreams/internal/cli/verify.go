package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/cmd/rstreams/internal/verify"
)

func (a *app) verifyCommand() *cobra.Command {
	var asJSON bool
	var o verify.Options
	c := &cobra.Command{
		Use:   "verify",
		Short: "Prove from the stored data that every acknowledged event is readable",
		Long: "verify reads everything that is stored and checks that every event can be read once, in order, under an id of its\n" +
			"own, or lies in the dead-letter queue: ids unique and growing, no chunk missing or overlapping, blobs present and\n" +
			"sound, every line an event in its place, heads and checkpoints where they must be. It changes nothing and may run\n" +
			"while the bus is in use. With faults it lists them and exits with 4.",
		Args: args(0, 0, ""),
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if c.Flags().Changed("queue") && len(o.Queues) == 0 {
				return usageError(errors.New("--queue names no queue"))
			}
			bus, done, err := a.open()
			if err != nil {
				return err
			}
			defer done(&err)
			p := a.progress(-1, "verify")
			o.Progress = func(_ string, events, _ int64) { p.set(events) }
			report, err := verify.Run(a.soft, bus.Store(), o)
			p.end()
			if errors.Is(err, store.ErrNotFound) {
				err = fmt.Errorf("%w (see `rstreams queues`)", err)
			}
			if err != nil {
				return err
			}
			return a.printVerify(report, asJSON)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the report as one JSON object")
	c.Flags().StringSliceVar(&o.Queues, "queue", nil, "check only these queues")
	c.Flags().DurationVar(&o.Retention, "retention", time.Hour, "events younger than this cannot have left by age; less than 0 for none")
	c.Flags().IntVar(&o.MaxFaults, "max-faults", 1000, "list at most so many faults; all are counted")
	return c
}

func (a *app) printVerify(r *verify.Report, asJSON bool) error {
	if asJSON {
		if err := newTable(a.Out, true).row(r); err != nil {
			return err
		}
	} else {
		t := newTable(a.Out, false, "QUEUE", "EVENTS", "CHUNKS", "BLOBS", "BYTES", "HEAD", "NOTES")
		for _, q := range r.Queues {
			notes := ""
			if q.Expired {
				notes = "older events expired"
			}
			if q.Unchained > 0 {
				notes = fmt.Sprintf("%d chunks without a link to the one before", q.Unchained)
			}
			if err := t.row(nil, q.Name, thousands(q.Events), thousands(q.Chunks), thousands(q.Blobs), thousands(q.Bytes),
				orDash(q.Head), notes); err != nil {
				return err
			}
		}
		if err := t.end("the bus holds no queues"); err != nil {
			return err
		}
		for _, f := range r.Faults {
			if _, err := fmt.Fprintf(a.Out, "fault: %s\n", f); err != nil {
				return err
			}
		}
	}
	if !r.OK() {
		return &coded{codeVerify, fmt.Errorf("%d faults in %s events: the stored data contradicts itself; the faults are listed",
			r.FaultCount, thousands(r.Events))}
	}
	var letters int64
	for _, n := range r.DeadLetters {
		letters += n
	}
	a.note("verified: %s events in %d queues (%d dead letters), %d checkpoints of %d bots, no faults",
		thousands(r.Events), len(r.Queues), letters, r.Checkpoints, r.Bots)
	return nil
}
