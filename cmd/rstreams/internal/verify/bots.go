package verify

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

func (c *checker) bots(ctx context.Context) error {
	for after := ""; ; {
		rows, err := c.st.Bots.List(ctx, after, pageSize)
		if err != nil {
			return fmt.Errorf("list bots: %w", err)
		}
		for _, b := range rows {
			after = b.ID
			c.report.Bots++
			for _, ref := range slices.Sorted(maps.Keys(b.Read)) {
				if err := c.checkpoint(ctx, b.ID, "read", ref, b.Read[ref]); err != nil {
					return err
				}
			}
			for _, ref := range slices.Sorted(maps.Keys(b.Write)) {
				if err := c.checkpoint(ctx, b.ID, "write", ref, b.Write[ref]); err != nil {
					return err
				}
			}
		}
		if len(rows) < pageSize {
			return nil
		}
	}
}

// checkpoint checks one position of a bot. Positions in systems are opaque and placeholders are empty: neither is checked.
func (c *checker) checkpoint(ctx context.Context, bot, kind, ref string, cp store.Checkpoint) error {
	queue, ok := strings.CutPrefix(ref, "queue:")
	if !ok || cp.Position == "" || !c.wanted(queue) {
		return nil
	}
	c.report.Checkpoints++
	at := Fault{Rule: RuleCheckpoint, Queue: queue, Bot: bot}
	if err := eid.ValidatePosition(cp.Position); err != nil {
		c.fault(at, "%s checkpoint: %v", kind, err)
		return nil
	}
	if strings.HasPrefix(cp.Position, eid.SnapshotPrefix) {
		return nil
	}
	// The head is read after the checkpoint, so that a head that moved in between cannot look too low.
	row, err := c.st.Queues.Get(ctx, queue)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read queue %s: %w", queue, err)
	}
	position := strings.TrimSuffix(cp.Position, " ")
	id, err := eid.Parse(position)
	if err != nil {
		// What comes later has an id of its time, and so is after a place that is past.
		if t, err := eid.Time(position); err == nil && !t.After(c.o.Now()) {
			return nil
		}
		if position > row.Head && position != "z/" && position != "z" && !strings.HasPrefix(row.Head, position) {
			c.fault(at, "%s checkpoint %s is beyond the head %q: events would be skipped", kind, cp.Position, row.Head)
		}
		return nil
	}
	if position > row.Head {
		c.fault(at, "%s checkpoint %s is beyond the head %q", kind, cp.Position, row.Head)
		return nil
	}
	found, err := c.within(ctx, queue, id)
	if err != nil {
		return err
	}
	if !found {
		c.fault(at, "%s checkpoint %s names no stored event although older ones are stored", kind, cp.Position)
	}
	return nil
}

// within tells whether id lies in a chunk of queue, or before the first one that is still stored.
func (c *checker) within(ctx context.Context, queue string, id eid.ID) (bool, error) {
	after := ""
	if id.Counter > 0 {
		before := id
		before.Counter--
		after = before.String()
	} else {
		after = id.Prefix() // the prefix sorts before all its ids
	}
	page, err := c.st.Chunks.Query(ctx, queue, after, beyond, 1, 1)
	if err != nil {
		return false, fmt.Errorf("query queue %s at %s: %w", queue, id, err)
	}
	if len(page.Chunks) == 0 || page.Chunks[0].Start <= id.String() {
		return true, nil
	}
	older, err := c.st.Chunks.Query(ctx, queue, "", id.String(), 1, 1)
	if err != nil {
		return false, fmt.Errorf("query queue %s before %s: %w", queue, id, err)
	}
	return len(older.Chunks) == 0, nil
}
