package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

// beyond is a position after every id.
const beyond = "z~"

// maxEmptyPages is how many empty pages in a row are taken for an index that never ends.
const maxEmptyPages = 1000

// queue checks one queue up to the head that row has. Events published meanwhile are left to the next run.
func (c *checker) queue(ctx context.Context, row store.Queue, q *Queue) error {
	snapshot := strings.HasSuffix(row.Name, store.SnapshotSuffix)
	at := Fault{Queue: row.Name}
	if row.Head != "" {
		id, err := eid.Parse(row.Head)
		if err != nil {
			at.Rule = RuleHead
			c.fault(at, "%v", err)
		} else if base := row.Sequencing.Base; base != 0 && base < id.Millis && !strings.HasSuffix(row.Name, store.ArchiveSuffix) {
			at.Rule = RuleRow
			c.fault(at, "the newest reserved base %d is below the head's %d: ids could be given twice", base, id.Millis)
		}
	}
	q.Publishing = row.Sequencing.Open
	through := row.Head
	if snapshot {
		through = beyond // the paths are of the snapshots, so the newest id need not be the greatest
	}
	last, err := c.chunks(ctx, row, q, through)
	if err != nil {
		return err
	}
	at.Rule = RuleHead
	switch {
	case row.Head == "" || snapshot:
	case last == "" && row.Head > row.ArchiveEnd && c.young(row.Head):
		c.fault(at, "no chunk is left, though the newest event %s is too young to have expired", row.Head)
	case last == "":
		q.Expired = true
	case last != row.Head:
		c.fault(at, "the last readable chunk ends at %s but the head is %s", last, row.Head)
	}
	if row.ArchiveEnd > row.Head {
		c.fault(at, "the archive ends at %s, beyond the head %s", row.ArchiveEnd, row.Head)
	}
	if snapshot {
		return nil
	}
	return c.above(ctx, row)
}

// chunks walks the index of a queue and returns the end of the last chunk.
func (c *checker) chunks(ctx context.Context, row store.Queue, q *Queue, through string) (string, error) {
	prev, expires, empty := "", int64(0), 0
	for through != "" {
		page, err := c.st.Chunks.Query(ctx, row.Name, prev, through, 0, 0)
		if bad, ok := errors.AsType[*store.ChunkError](err); ok && bad.Chunk.End > prev {
			c.fault(Fault{Queue: row.Name, Chunk: bad.Chunk.End, Rule: RuleBody}, "its item in the index is no chunk: %v", bad.Err)
			q.Chunks++
			prev, expires = bad.Chunk.End, bad.Chunk.Expires
			continue
		}
		if err != nil {
			return "", fmt.Errorf("query chunks after %q: %w", prev, err)
		}
		for i := range page.Chunks {
			k := &page.Chunks[i]
			if err := ctx.Err(); err != nil {
				return "", err
			}
			if k.End <= prev {
				return "", fmt.Errorf("%w: the index returned chunk %s after %s", store.ErrCorrupt, k.End, prev)
			}
			c.order(k, row, prev, expires, q)
			if err := c.chunk(ctx, k, q); err != nil {
				return "", err
			}
			q.Chunks++
			if prev == "" {
				q.First = k.Start
			}
			prev, expires = k.End, k.Expires
			if c.o.Progress != nil {
				c.o.Progress(row.Name, c.report.Events+q.Events, c.report.Bytes+q.Bytes)
			}
		}
		if !page.More {
			break
		}
		if empty++; len(page.Chunks) > 0 {
			empty = 0
		} else if empty == maxEmptyPages {
			return "", fmt.Errorf("%w: the index promises more chunks after %q but gives none", store.ErrCorrupt, prev)
		}
	}
	return prev, nil
}

// expired tells whether the time has come from which the backend may drop a chunk: during a run that takes long, the oldest
// chunks may go while it reads them.
func (c *checker) expired(expires int64) bool { return expires != 0 && expires <= c.o.Now().Unix() }

// young tells whether an event cannot have left by age, whatever its queue's time is.
func (c *checker) young(id string) bool {
	parsed, err := eid.Parse(id)
	return err == nil && c.o.Retention > 0 && c.o.Now().Sub(parsed.Time()) < c.o.Retention
}

// margin is how many seconds before a time of expiry that was worked out a chunk may be gone: ms are cut off, and clocks differ.
const margin = 60

// expiredBefore tells whether the chunk before k may be gone by age: both were given the same time to stay. It need not be there
// either if the archive has its events.
func (c *checker) expiredBefore(k *store.Chunk, row store.Queue) bool {
	if k.Prev <= row.ArchiveEnd {
		return true
	}
	start, err := eid.Parse(k.Start)
	if err != nil {
		return true // That is a fault of its own.
	}
	prev, err := eid.Parse(k.Prev)
	if err != nil {
		return true
	}
	return k.Expires != 0 && c.expired(max(1, k.Expires-(start.Millis-prev.Millis)/1000-margin))
}

// order checks a chunk of row against the one before it, which expires at the given time.
func (c *checker) order(k *store.Chunk, row store.Queue, prev string, expires int64, q *Queue) {
	at := Fault{Queue: k.Queue, Chunk: k.End}
	if prev != "" && k.Start <= prev {
		at.Rule = RuleOverlap
		c.fault(at, "it starts at %s, not after the end %s of the chunk before it", k.Start, prev)
	}
	snapshot := strings.HasSuffix(k.Queue, store.SnapshotSuffix)
	switch {
	case snapshot:
	case k.Prev == "" && prev != "":
		if q.Unchained++; !k.Archive && k.Creator == "" {
			return
		}
	case k.Prev > prev && (prev == "" || c.expired(expires)) && c.expiredBefore(k, row):
		q.Expired = true // In a long run the one before may have gone since it was read.
	case k.Prev > prev && prev == "":
		at.Rule = RuleGap
		c.fault(at, "a chunk that ended at %s is missing before it; with as much time as this one has it would not have expired yet", k.Prev)
	case k.Prev > prev:
		at.Rule = RuleGap
		c.fault(at, "a chunk that ended at %s is missing before it", k.Prev)
	case k.Prev < prev:
		at.Rule = RuleGap
		c.fault(at, "it was numbered after %s although %s lies between: two sequencers published at once", k.Prev, prev)
	}
}

// above checks that nothing lies above the head but the unfinished work of a sequencer that holds the queue.
func (c *checker) above(ctx context.Context, row store.Queue) error {
	page, err := c.st.Chunks.Query(ctx, row.Name, row.Head, beyond, 1, 0)
	if bad, ok := errors.AsType[*store.ChunkError](err); ok {
		page, err = store.Page{Chunks: []store.Chunk{bad.Chunk}}, nil
	}
	if err != nil {
		return fmt.Errorf("query chunks above the head: %w", err)
	}
	if len(page.Chunks) == 0 || row.Sequencing.Open {
		return nil
	}
	now, err := c.st.Queues.Get(ctx, row.Name)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read the queue again: %w", err)
	}
	if now.Head != row.Head || now.Sequencing.Open {
		return nil // published or claimed since the row was read
	}
	c.fault(Fault{Rule: RuleHead, Queue: row.Name, Chunk: page.Chunks[0].End},
		"it lies above the head %s and nobody is publishing: a later head would make it readable", row.Head)
	return nil
}
