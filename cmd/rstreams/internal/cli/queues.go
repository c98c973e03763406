package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// queueRow is a queue as `rstreams queues --json` prints it.
type queueRow struct {
	Queue     string `json:"queue"`
	Head      string `json:"head"`
	Timestamp int64  `json:"timestamp"`
	// Events and Chunks count what is stored, with --count only.
	Events        *int64 `json:"events,omitempty"`
	Chunks        *int64 `json:"chunks,omitempty"`
	ArchiveEnd    string `json:"archive_end,omitempty"`
	SnapshotStart string `json:"snapshot_start,omitempty"`
	SnapshotNext  string `json:"snapshot_next,omitempty"`
	SkipArchive   bool   `json:"skip_archive,omitempty"`
}

func (a *app) queuesCommand() *cobra.Command {
	var asJSON, count, all bool
	c := &cobra.Command{
		Use:   "queues [QUEUE...]",
		Short: "List the queues",
		Long: "queues lists the bus's queues, or those named: the id of the newest event, how long ago it was written, and what\n" +
			"belongs to the queue. --count adds the number of stored events, which reads the whole index (not the events).",
		Args: args(0, -1, "[QUEUE...]"),
		RunE: func(_ *cobra.Command, names []string) (err error) {
			bus, done, err := a.open()
			if err != nil {
				return err
			}
			defer done(&err)
			t := newTable(a.Out, asJSON, "QUEUE", "AGE", "EVENTS", "HEAD", "ARCHIVED TO", "SNAPSHOT")
			if !count {
				t = newTable(a.Out, asJSON, "QUEUE", "AGE", "HEAD", "ARCHIVED TO", "SNAPSHOT")
			}
			now := time.Now()
			err = eachQueue(a.soft, bus.Store(), names, func(q store.Queue) error {
				hidden := strings.HasSuffix(q.Name, store.ArchiveSuffix) || strings.HasSuffix(q.Name, store.SnapshotSuffix)
				if hidden && !all && len(names) == 0 {
					return nil
				}
				row := queueRow{Queue: q.Name, Head: q.Head, Timestamp: q.Timestamp, ArchiveEnd: q.ArchiveEnd,
					SnapshotStart: q.SnapshotStart, SnapshotNext: q.SnapshotNext, SkipArchive: q.SkipArchive}
				cells := []any{q.Name, ago(now, q.Timestamp)}
				if count {
					chunks, events, err := countQueue(a.soft, bus.Store(), q)
					if err != nil {
						return err
					}
					row.Chunks, row.Events = &chunks, &events
					cells = append(cells, thousands(events))
				}
				cells = append(cells, orDash(q.Head), orDash(q.ArchiveEnd), orDash(q.SnapshotNext))
				return t.row(row, cells...)
			})
			if err != nil {
				return err
			}
			return t.end("the bus holds no queues; write one with `rstreams write QUEUE --bot BOT`")
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	c.Flags().BoolVar(&count, "count", false, "count the stored events")
	c.Flags().BoolVar(&all, "all", false, "with archives and snapshots")
	return c
}

// eachQueue calls fn with the queues of these names, or with all.
func eachQueue(ctx context.Context, st store.Store, names []string, fn func(store.Queue) error) error {
	for _, name := range names {
		q, err := st.Queues.Get(ctx, ref.Queue(name))
		if err != nil {
			return fmt.Errorf("%w (see `rstreams queues`)", err)
		}
		if err := fn(q); err != nil {
			return err
		}
	}
	if len(names) > 0 {
		return nil
	}
	const page = 100
	for after := ""; ; {
		rows, err := st.Queues.List(ctx, after, page)
		if err != nil {
			return fmt.Errorf("list the queues: %w", err)
		}
		for _, q := range rows {
			after = q.Name
			if err := fn(q); err != nil {
				return err
			}
		}
		if len(rows) < page {
			return nil
		}
	}
}

// countQueue sums up the index of a queue up to its head.
func countQueue(ctx context.Context, st store.Store, q store.Queue) (chunks, events int64, err error) {
	for after := ""; q.Head != ""; {
		page, err := st.Chunks.Query(ctx, q.Name, after, q.Head, 0, 0)
		if err != nil {
			return 0, 0, fmt.Errorf("count queue %s: %w", q.Name, err)
		}
		for i := range page.Chunks {
			after = page.Chunks[i].End
			chunks++
			events += page.Chunks[i].Records
		}
		if !page.More || len(page.Chunks) == 0 {
			break
		}
	}
	return chunks, events, nil
}
