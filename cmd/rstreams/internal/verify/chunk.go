package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

// chunk checks a chunk and everything in it, and counts what it holds.
func (c *checker) chunk(ctx context.Context, k *store.Chunk, q *Queue) error {
	at := Fault{Queue: k.Queue, Chunk: k.End}
	c.ids(k, at)
	var read int64
	var err error
	switch {
	case (k.Gzip != nil) == (k.Blob != nil):
		at.Rule = RuleBody
		c.fault(at, "it must have either inline data or a blob")
		return nil
	case k.Blob != nil:
		q.Blobs++
		read, err = c.blob(ctx, k, at)
	default:
		read, err = c.inline(k, at)
	}
	q.Events += read
	q.Bytes += k.Size
	return err
}

// ids checks the ids that a chunk states of itself (C20, C21, C23).
func (c *checker) ids(k *store.Chunk, at Fault) {
	at.Rule = RuleID
	start, err := eid.Parse(k.Start)
	if err != nil {
		c.fault(at, "start: %v", err)
		return
	}
	end, err := eid.Parse(k.End)
	if err != nil {
		c.fault(at, "end: %v", err)
		return
	}
	if k.Start > k.End {
		c.fault(at, "it starts at %s, after its end", k.Start)
		return
	}
	if k.Archive {
		return // an archive's ids are those its events had, of any number of prefixes
	}
	if start.Prefix() != end.Prefix() {
		c.fault(at, "its start %s is of another batch than its end", k.Start)
		return
	}
	if !strings.HasSuffix(k.Queue, store.SnapshotSuffix) && end.Path != eid.MinutePath(end.Millis) {
		c.fault(at, "the date of the id is not that of its %d ms", end.Millis)
	}
	if n := int64(end.Counter-start.Counter) + 1; n != k.Records || k.Records < 1 {
		at.Rule = RuleCount
		c.fault(at, "its ids span %d events but it says %d", n, k.Records)
	}
}

// inline checks the events of a chunk that holds them itself, and returns how many there are.
func (c *checker) inline(k *store.Chunk, at Fault) (int64, error) {
	at.Rule = RuleBody
	if int64(len(k.Gzip)) != k.GzipSize {
		c.fault(at, "it holds %d compressed bytes but says %d", len(k.Gzip), k.GzipSize)
	}
	if len(k.Gzip) > store.MaxInlineItem {
		c.fault(at, "its %d compressed bytes are over the limit of %d for an item", len(k.Gzip), store.MaxInlineItem)
	}
	w := c.lines.begin(c, k, at)
	err := w.read(bytes.NewReader(k.Gzip))
	if err != nil {
		c.fault(at, "its data is damaged after %d events: %v", w.records, err)
		return w.records, nil
	}
	w.end(k.Records, k.Size)
	return w.records, nil
}

// blob checks the sections of a chunk's blob one by one, each on its own, and returns how many events there are.
func (c *checker) blob(ctx context.Context, k *store.Chunk, at Fault) (int64, error) {
	c.sections(k, at)
	var records int64
	w := c.lines.begin(c, k, at)
	for i, s := range k.Offsets {
		n := s.GzipSize
		if i == len(k.Offsets)-1 {
			n = -1 // to the end, so that bytes after the last section show
		}
		r, err := c.st.Blobs.Get(ctx, *k.Blob, s.GzipOffset, n)
		if err != nil {
			if !lost(err) {
				return records, fmt.Errorf("read blob %s: %w", k.Blob.Key, err)
			}
			if !c.expired(k.Expires) {
				at.Rule = RuleBody
				c.fault(at, "blob %s, section %d: %v", k.Blob.Key, i, err)
			}
			return records, nil
		}
		count := &counter{r: r}
		w.section()
		err = w.read(count)
		_, _ = io.Copy(io.Discard, count)
		closed := r.Close()
		records += w.records
		if ctx.Err() != nil {
			return records, ctx.Err()
		}
		at.Rule = RuleSection
		switch {
		case count.err != nil && !lost(count.err):
			return records, fmt.Errorf("read blob %s: %w", k.Blob.Key, count.err)
		case err != nil:
			c.fault(at, "blob %s, section %d is damaged after %d events: %v", k.Blob.Key, i, w.records, err)
			return records, nil
		case closed != nil:
			return records, fmt.Errorf("close blob %s: %w", k.Blob.Key, closed)
		case count.n != s.GzipSize:
			c.fault(at, "blob %s, section %d has %d compressed bytes, its entry says %d", k.Blob.Key, i, count.n, s.GzipSize)
		}
		w.end(s.Records, s.Size)
		if k.Archive {
			w.ids(s.StartID, s.EndID)
		}
	}
	if k.Archive {
		w.ids("", k.End)
	}
	return records, nil
}

// sections checks the arithmetic of a blob's section table (C25).
func (c *checker) sections(k *store.Chunk, at Fault) {
	at.Rule = RuleSection
	if len(k.Offsets) == 0 {
		c.fault(at, "blob %s has no sections", k.Blob.Key)
		return
	}
	var sum store.Offset
	for i, s := range k.Offsets {
		if s.Offset != sum.Size || s.GzipOffset != sum.GzipSize {
			c.fault(at, "section %d begins at byte %d (%d compressed), the one before ends at %d (%d)",
				i, s.Offset, s.GzipOffset, sum.Size, sum.GzipSize)
		}
		if !k.Archive && (s.Start != sum.Records || s.End != s.Start+s.Records-1) {
			c.fault(at, "section %d holds the events %d to %d, wanted %d to %d",
				i, s.Start, s.End, sum.Records, sum.Records+s.Records-1)
		}
		if s.Records < 1 {
			c.fault(at, "section %d holds %d events", i, s.Records)
		}
		sum.Records += s.Records
		sum.Size += s.Size
		sum.GzipSize += s.GzipSize
	}
	if sum.Records != k.Records || sum.Size != k.Size || sum.GzipSize != k.GzipSize {
		c.fault(at, "its sections sum up to %d events, %d bytes, %d compressed, but it says %d, %d, %d",
			sum.Records, sum.Size, sum.GzipSize, k.Records, k.Size, k.GzipSize)
	}
}

// counter counts the bytes read through it and keeps the error that is not the end.
type counter struct {
	r   io.Reader
	n   int64
	err error
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}
