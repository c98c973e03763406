// Package verify proves, from a bus's stored data alone, that what was acknowledged can be read: every event once, in order,
// under an id of its own, or as a dead letter with its reason.
//
// It walks every queue's index from end to end and every event behind it, as a stream: memory depends on the largest event
// and on the number of faults kept, not on the size of the bus. It only reads, and may run while the bus is in use.
package verify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Rule names what a fault breaks, by the rule's number in the specification (bus.md 6) where it has one.
type Rule string

// The rules that are checked.
const (
	// RuleID: ids are well-formed, of one prefix in a chunk, and their path is the minute of their ms (C21, C23).
	RuleID Rule = "id"
	// RuleCount: a chunk has as many events as it says and as its ids span (C20, C24).
	RuleCount Rule = "count"
	// RuleOverlap: a chunk begins after the one before it ends (C22).
	RuleOverlap Rule = "overlap"
	// RuleGap: no chunk is missing between two (the Prev chain).
	RuleGap Rule = "gap"
	// RuleBody: a chunk has either inline data or a blob, readable, of the stated sizes (C20, C26).
	RuleBody Rule = "body"
	// RuleSection: a blob's sections are independent gzip members that follow one another without gaps (C25).
	RuleSection Rule = "section"
	// RuleLine: every line is an event of its queue with its place as eid (C24).
	RuleLine Rule = "line"
	// RuleHead: a queue's head is the end of its last chunk, and nothing unpublished lies above it (C30, C32).
	RuleHead Rule = "head"
	// RuleCheckpoint: checkpoints are positions, and not beyond the head of their queue.
	RuleCheckpoint Rule = "checkpoint"
	// RuleDeadLetter: dead letters carry a reason and the original bytes.
	RuleDeadLetter Rule = "dead-letter"
	// RuleRow: rows of queues and bots can be read and agree with themselves.
	RuleRow Rule = "row"
)

// Fault is one thing that is not as it must be.
type Fault struct {
	Rule Rule `json:"rule"`
	// Queue, Chunk (the id of its last event), EID and Bot say where, as far as that applies.
	Queue string `json:"queue,omitempty"`
	Chunk string `json:"chunk,omitempty"`
	EID   string `json:"eid,omitempty"`
	Bot   string `json:"bot,omitempty"`
	// Detail says what is wrong in words.
	Detail string `json:"detail"`
}

// String is the fault in one line.
func (f Fault) String() string {
	var b strings.Builder
	b.WriteString(string(f.Rule))
	for _, p := range [...]struct{ name, value string }{
		{"queue", f.Queue}, {"bot", f.Bot}, {"chunk", f.Chunk}, {"event", f.EID},
	} {
		if p.value != "" {
			fmt.Fprintf(&b, " %s %s", p.name, p.value)
		}
	}
	return b.String() + ": " + f.Detail
}

// Queue is what was found in one queue.
type Queue struct {
	Name string `json:"queue"`
	// Head is the id of the newest readable event, First that of the oldest one stored.
	Head  string `json:"head"`
	First string `json:"first,omitempty"`
	// Chunks, Blobs and Events count what is readable, Bytes is the events' text with newlines.
	Chunks int64 `json:"chunks"`
	Blobs  int64 `json:"blobs"`
	Events int64 `json:"events"`
	Bytes  int64 `json:"bytes"`
	// Unchained counts chunks that do not name their predecessor (those of the original software): between them and the
	// chunk before, a missing chunk would not be noticed.
	Unchained int64 `json:"unchained,omitempty"`
	// Expired tells that events before First, or all, have left by age.
	Expired bool `json:"expired,omitempty"`
	// Publishing tells that a sequencer holds the queue; what lies above the head is its unfinished work.
	Publishing bool `json:"publishing,omitempty"`
}

// Report is the outcome.
type Report struct {
	// Queues holds one entry for each queue, in order of name.
	Queues []Queue `json:"queues"`
	// Events, Chunks and Bytes are sums over the queues. DeadLetters counts the readable events of the dead-letter queue by
	// reason.
	Events      int64            `json:"events"`
	Chunks      int64            `json:"chunks"`
	Bytes       int64            `json:"bytes"`
	DeadLetters map[string]int64 `json:"dead_letters"`
	// Bots and Checkpoints count what was checked.
	Bots        int64 `json:"bots"`
	Checkpoints int64 `json:"checkpoints"`
	// FaultCount counts all faults, Faults holds the first of them.
	FaultCount int64   `json:"fault_count"`
	Faults     []Fault `json:"faults"`
}

// OK tells whether nothing is wrong.
func (r *Report) OK() bool { return r.FaultCount == 0 }

// Options tune a run. The zero value is usable.
type Options struct {
	// Queues limits the run to these queues, with their archives and snapshots; none means all. They are names or references;
	// one that the bus does not have is an error. Checkpoints on other queues are then not checked.
	Queues []string
	// MaxFaults is how many faults are kept; 0 means 1000. All are counted.
	MaxFaults int
	// Progress, if set, is called after each chunk from the calling goroutine.
	Progress func(queue string, events, bytes int64)
	// Retention is an age below which an event cannot have left by age; 0 means one hour, less than 0 none. It tells whether a
	// queue without chunks lost them: nothing is left that knows how long they were to stay.
	Retention time.Duration
	// Now is the clock that tells which chunks may be gone by age; nil means time.Now.
	Now func() time.Time
}

// Run checks the bus stored in st. The error is the storage's or the context's, or store.ErrNotFound or ref.ErrInvalid for a queue
// of the options: faults of the data are in the report.
func Run(ctx context.Context, st store.Store, o Options) (*Report, error) {
	if o.MaxFaults == 0 {
		o.MaxFaults = 1000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Retention == 0 {
		o.Retention = time.Hour
	}
	c := &checker{st: st, o: o, report: &Report{Queues: []Queue{}, DeadLetters: map[string]int64{}, Faults: []Fault{}}}
	if err := c.choose(ctx); err != nil {
		return nil, err
	}
	if err := c.queues(ctx); err != nil {
		return nil, err
	}
	if err := c.bots(ctx); err != nil {
		return nil, err
	}
	return c.report, nil
}

// checker is one run.
type checker struct {
	st     store.Store
	o      Options
	report *Report
	lines  lineChecker
	// chosen are the plain names of the queues that the run covers; nil means all.
	chosen map[string]bool
}

// fault adds a fault to the report.
func (c *checker) fault(f Fault, format string, args ...any) {
	f.Detail = fmt.Sprintf(format, args...)
	c.report.FaultCount++
	if len(c.report.Faults) < c.o.MaxFaults {
		c.report.Faults = append(c.report.Faults, f)
	}
}

// choose finds the queues of the options. One that is not there must not look like one without faults.
func (c *checker) choose(ctx context.Context) error {
	for _, name := range c.o.Queues {
		if err := ref.ValidateQueue(name); err != nil {
			return err
		}
		plain := plainQueue(ref.Queue(name))
		known := false
		for _, suffix := range [...]string{"", store.ArchiveSuffix, store.SnapshotSuffix} {
			_, err := c.st.Queues.Get(ctx, plain+suffix)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return fmt.Errorf("queue %s: %w", plain+suffix, err)
			}
			known = known || err == nil
		}
		if !known {
			return fmt.Errorf("queue %s: %w", plain, store.ErrNotFound)
		}
		if c.chosen == nil {
			c.chosen = map[string]bool{}
		}
		c.chosen[plain] = true
	}
	return nil
}

// wanted tells whether the run covers queue.
func (c *checker) wanted(queue string) bool { return c.chosen == nil || c.chosen[plainQueue(queue)] }

// plainQueue is the queue that an archive or snapshot belongs to.
func plainQueue(queue string) string {
	return strings.TrimSuffix(strings.TrimSuffix(queue, store.ArchiveSuffix), store.SnapshotSuffix)
}

// pageSize is how many rows are listed at a time.
const pageSize = 100

func (c *checker) queues(ctx context.Context) error {
	for after := ""; ; {
		rows, err := c.st.Queues.List(ctx, after, pageSize)
		if err != nil {
			return fmt.Errorf("list queues: %w", err)
		}
		for _, row := range rows {
			if after = row.Name; !c.wanted(row.Name) {
				continue
			}
			q := Queue{Name: row.Name, Head: row.Head}
			if err := c.queue(ctx, row, &q); err != nil {
				return fmt.Errorf("queue %s: %w", row.Name, err)
			}
			c.report.Queues = append(c.report.Queues, q)
			c.report.Events += q.Events
			c.report.Chunks += q.Chunks
			c.report.Bytes += q.Bytes
		}
		if len(rows) < pageSize {
			return nil
		}
	}
}

// deadLetter checks one event's payload of the dead-letter queue.
func (c *checker) deadLetter(f Fault, payload []byte) {
	l, err := deadletter.Parse(payload)
	if err != nil {
		f.Rule = RuleDeadLetter
		c.fault(f, "%v", err)
		return
	}
	c.report.DeadLetters[string(l.Reason)]++
	if len(l.Bytes()) == 0 && l.Reason != deadletter.ReasonHandler && l.Reason != deadletter.ReasonRecord {
		f.Rule = RuleDeadLetter
		c.fault(f, "the letter (%s) holds no original bytes", l.Reason)
	}
}

// lost tells whether err means that the data itself is unusable, so that the walk goes on.
func lost(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrInvalid)
}
