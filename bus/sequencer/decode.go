package sequencer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// decoder reads one group of a batch.
type decoder struct {
	seq   *Sequencer
	store store.Store
	batch Batch
	// rest holds, for queues of which a part is published, the mark up to which it is. Unless it is nil, nothing else is wanted.
	rest map[string]string
	// looks are looks at blobs that were taken before; those that are taken are added.
	looks map[look]error
	// refused are queues to which nothing can be published, and why.
	refused map[string]error

	out    *group
	until  *Cursor // where the group has to end; nil: where its budgets end
	spent  int     // bytes of the budget of text
	bad    int     // lines of the record that are no events
	record *Record
	line   event.Line
	number int // of the current line in its record, from 1; 0 for the record as a whole
	last   *stream
	heads  map[string]string // of archive queues, looked up once a group
	ctx    context.Context   // of the call of group that is running
}

// take routes one line. What is no event becomes a dead letter; an error is the storage's.
func (d *decoder) take(raw []byte) error {
	l := &d.line
	if d.bad > maxBadLines && bytes.IndexByte(raw, '{') < 0 {
		return nil // One of millions, perhaps.
	}
	if err := event.Scan(raw, l); err != nil {
		return d.dead(deadletter.ReasonLine, err, raw)
	}
	if l.Command() != "" {
		return d.command(raw)
	}
	if l.IsPointer() {
		return d.pointer(raw)
	}
	st, err := d.stream()
	if err != nil {
		return d.dead(deadletter.ReasonEvent, err, raw)
	}
	if st == nil {
		return nil
	}
	return st.append(l, d.record.Arrival)
}

var (
	errNoBot        = errors.New("the event has no id: the bot that writes it must be named")
	errNoPayload    = errors.New("the event has no payload, or one of null, false, 0, \"\", which the bus does not store")
	errReserved     = errors.New("queues that end in /_archive or /_snapshot are written through pointer records only")
	errTooMany      = fmt.Errorf("a pointer record may stand for at most %d events", eid.MaxCounter+1)
	errTable        = errors.New("the pointer's table of sections does not fit into an item of the index")
	errLongName     = fmt.Errorf("with the suffix of archives or snapshots the queue's name has more than %d bytes, which cannot be stored", ref.MaxQueueBytes)
	errForeign      = errors.New("the pointer names a blob outside this bus")
	errArchiveBack  = errors.New("the archive pointer overlaps what is archived")
	errArchiveAhead = errors.New("the archive pointer ends behind the last event of its queue")
	errSnapshot     = fmt.Errorf("a snapshot's time must lie between 0 and %d ms", int64(maxSnapshot))
)

// maxLooks is how many blobs of pointers are looked at for a group, each of which takes some 20 to 40 ms on AWS: a group that is
// not done within its function's time would never be. In its budget of text a look counts for such a part.
const maxLooks = 1 << 10

// maxSnapshot is the latest time, in ms, of a snapshot: that of the latest event id. The date path of a later one is none, and
// a queue that had it in its head could never be published to again.
const maxSnapshot = 9_999_999_999_999

// stream returns the stream that the scanned line belongs to, or nil where the line is to be dropped: it was published
// before, or is configured away.
func (d *decoder) stream() (*stream, error) {
	l := &d.line
	name, plain := l.QueueBytes()
	snapshot := l.Snapshot()
	if snapshot < 0 || snapshot > maxSnapshot {
		return nil, errSnapshot
	}
	if d.last != nil && plain && snapshot == 0 && string(name) == d.last.queue && d.rest == nil {
		if l.HasPayload() && len(l.BotBytes()) > 0 && !l.Archive() && d.seq.skipBots == nil {
			return d.last, nil
		}
	}
	if len(l.BotBytes()) == 0 {
		return nil, errNoBot
	}
	if !l.HasPayload() {
		return nil, errNoPayload
	}
	if l.Archive() {
		return nil, errReserved
	}
	queue, err := l.Queue()
	if err != nil {
		return nil, err
	}
	if err := ref.ValidateQueue(queue); err != nil {
		return nil, err
	}
	if isReserved(queue) {
		return nil, errReserved
	}
	if d.dropped(queue) {
		return nil, nil
	}
	if snapshot != 0 {
		queue += store.SnapshotSuffix
	}
	if len(queue) > ref.MaxQueueBytes {
		return nil, errLongName
	}
	if err := d.refused[queue]; err != nil {
		return nil, err
	}
	st := d.open(queue, snapshot)
	if snapshot == 0 && st != nil {
		d.last = st
	}
	return st, nil
}

func (d *decoder) dropped(queue string) bool {
	return d.seq.skipQueues[queue] || d.seq.skipBots != nil && d.seq.skipBots[d.line.Bot()]
}

// open returns the stream for events of queue at the current place, nil when they were published before or are not wanted.
func (d *decoder) open(queue string, snapshot int64) *stream {
	mark := store.NewMark(d.record.Sequence, d.number)
	if d.number == 0 {
		mark = store.NewMark(d.record.Sequence, 1)
	}
	if d.rest != nil {
		through, wanted := d.rest[queue]
		if !wanted || store.CompareMarks(mark, through) <= 0 {
			return nil
		}
	}
	return d.out.stream(queue, snapshot, mark)
}

// pointer takes a line that stands for events in a blob.
func (d *decoder) pointer(raw []byte) error {
	p, err := chunk.ParsePointer(raw)
	if err != nil {
		return d.dead(deadletter.ReasonPointer, err, raw)
	}
	queue, err := d.line.Queue()
	if err == nil {
		err = ref.ValidateQueue(queue)
	}
	switch {
	case err != nil:
	case isReserved(queue):
		err = errReserved
	case p.Archive && len(queue)+len(store.ArchiveSuffix) > ref.MaxQueueBytes,
		p.Snapshot != 0 && len(queue)+len(store.SnapshotSuffix) > ref.MaxQueueBytes:
		err = errLongName
	case p.Records > eid.MaxCounter+1:
		err = errTooMany
	case itemBytes(&p) > store.MaxInlineItem:
		err = errTable
	case d.seq.cfg.Bucket != "" && p.Blob.Bucket != d.seq.cfg.Bucket || !d.seq.within(p.Blob.Key):
		err = errForeign
	case p.Snapshot > maxSnapshot:
		err = errSnapshot
	}
	if err == nil && d.seq.cfg.CheckBlobs {
		d.spent += d.seq.cfg.GroupBytes/maxLooks + 1
		absent, checkErr := d.absent(&p)
		if checkErr != nil {
			return checkErr
		}
		err = absent
	}
	if err != nil {
		return d.dead(deadletter.ReasonPointer, err, raw)
	}
	if d.dropped(queue) {
		return nil
	}
	if p.Archive {
		queue += store.ArchiveSuffix
		repeat, err := d.archived(queue, &p)
		if errors.Is(err, errArchiveBack) || errors.Is(err, errArchiveAhead) || errors.Is(err, store.ErrCorrupt) {
			return d.dead(deadletter.ReasonPointer, err, raw)
		}
		if err != nil || repeat {
			return err
		}
		d.heads[queue] = p.EndID
	} else if p.Snapshot != 0 {
		queue += store.SnapshotSuffix
	}
	if err := d.refused[queue]; err != nil {
		return d.dead(deadletter.ReasonPointer, err, raw)
	}
	if st := d.open(queue, p.Snapshot); st != nil {
		st.appendPointer(p)
	}
	return nil
}

// itemBytes is about what a pointer's chunk takes in the index, and not less: an item that the storage refuses would fail its batch
// for ever (W-P2).
func itemBytes(p *chunk.Pointer) int {
	const names, numbers, attributes = 60, 8 * 10, 500
	n := attributes + len(p.Queue) + len(p.Blob.Bucket) + len(p.Blob.Key)
	for i := range p.Offsets {
		o := &p.Offsets[i]
		n += names + numbers + len(o.Event) + len(o.StartID) + len(o.EndID)
	}
	return n
}

// within tells whether pointers may name a blob with this key.
func (s *Sequencer) within(key string) bool {
	return len(s.cfg.Prefixes) == 0 || slices.ContainsFunc(s.cfg.Prefixes, func(p string) bool { return strings.HasPrefix(key, p) })
}

// absent returns what is wrong with the blob of a pointer, as far as the storage can tell at once. err is the storage's.
func (d *decoder) absent(p *chunk.Pointer) (absent, err error) {
	what := look{p.Blob, p.GzipSize}
	if known, ok := d.looks[what]; ok {
		return known, nil
	}
	if absent, err = d.look(p); err == nil {
		d.looks[what] = absent
	}
	return absent, err
}

func (d *decoder) look(p *chunk.Pointer) (absent, err error) {
	body, err := d.store.Blobs.Get(d.ctx, p.Blob, p.GzipSize-1, 1)
	switch {
	case errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalid):
		return fmt.Errorf("the pointer's blob is not on this bus, or shorter than it says: %w", err), nil
	case err != nil:
		return nil, fmt.Errorf("sequencer: blob of a pointer: %w", err)
	}
	defer body.Close() //nolint:errcheck // What matters was read.
	if _, err := io.ReadFull(body, make([]byte, 1)); errors.Is(err, io.EOF) {
		return fmt.Errorf("the pointer's blob is shorter than the %d bytes it says", p.GzipSize), nil
	} else if err != nil {
		return nil, fmt.Errorf("sequencer: blob of a pointer: %w", err)
	}
	return nil, nil
}

// archived checks an archive pointer against what is archived already (W-D5). A pointer that lies wholly before the archive's
// end is a repeat; one that lies across it would hide or double events.
func (d *decoder) archived(queue string, p *chunk.Pointer) (repeat bool, err error) {
	head, known := d.heads[queue]
	if !known {
		row, err := d.store.Queues.Get(d.ctx, queue)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, fmt.Errorf("sequencer: archive of %s: %w", queue, err)
		}
		head = row.Head
		if d.heads == nil {
			d.heads = map[string]string{}
		}
		d.heads[queue] = head
	}
	if p.StartID > head {
		return false, d.archivable(strings.TrimSuffix(queue, store.ArchiveSuffix), p)
	}
	// The archiver began before the archive's end: it does not know that end, because an attempt died between the head of
	// the archive and the queue's archive end. Without the latter the archiver would come with the same events for ever.
	if d.out.archives == nil {
		d.out.archives = map[string]string{}
	}
	d.out.archives[strings.TrimSuffix(queue, store.ArchiveSuffix)] = head
	if p.EndID > head {
		return false, errArchiveBack
	}
	d.out.repeats += p.Records
	return true, nil
}

// archivable refuses a pointer to events that the live queue cannot have had: the archive's end would hide every event from
// readers below it. Pointers from before the live queue began, as of an imported archive, pass.
func (d *decoder) archivable(queue string, p *chunk.Pointer) error {
	end, err := eid.Parse(p.EndID)
	if err != nil {
		return fmt.Errorf("%w: it ends at %.60q", errArchiveAhead, p.EndID)
	}
	if end.Millis <= d.record.Arrival {
		return nil
	}
	row, err := d.store.Queues.Get(d.ctx, queue)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("sequencer: head of %s: %w", queue, err)
	}
	if p.EndID > row.Head {
		return errArchiveAhead
	}
	return nil
}

func isReserved(queue string) bool {
	return hasSuffix(queue, store.ArchiveSuffix) || hasSuffix(queue, store.SnapshotSuffix)
}

func hasSuffix(s, suffix string) bool {
	return len(s) >= len(suffix) && s[len(s)-len(suffix):] == suffix
}

// snapshotCommand is a registerSnapshot line (bus.md 2.5).
type snapshotCommand struct {
	Start json.RawMessage `json:"start"`
	Next  json.RawMessage `json:"next"`
}

// command takes a bus command. Unknown ones are ignored (C16).
func (d *decoder) command(raw []byte) error {
	if d.line.Command() != "registerSnapshot" {
		return nil
	}
	var c snapshotCommand
	queue, err := d.line.Queue()
	if err == nil {
		err = ref.ValidateQueue(queue)
	}
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	start, err1 := commandTime(c.Start)
	next, err2 := commandTime(c.Next)
	if err := errors.Join(err, err1, err2); err != nil {
		return d.dead(deadletter.ReasonEvent, fmt.Errorf("registerSnapshot: %w", err), raw)
	}
	d.out.snapshots = append(d.out.snapshots, snapshotRegistration{
		queue: queue, start: eid.SnapshotPrefix + eid.MinutePath(start), next: eid.MinutePath(next),
	})
	return nil
}

// commandTime reads a time that is a number of ms or a date string.
func commandTime(raw json.RawMessage) (int64, error) {
	var ms float64
	if err := json.Unmarshal(raw, &ms); err == nil {
		if ms < 0 || ms > maxSnapshot {
			return 0, fmt.Errorf("%w, got %g", errSnapshot, ms)
		}
		return int64(ms), nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
			t, err := time.Parse(layout, text)
			if err == nil && (t.UnixMilli() < 0 || t.UnixMilli() > maxSnapshot) {
				return 0, fmt.Errorf("%w, got %s", errSnapshot, text)
			}
			if err == nil {
				return t.UnixMilli(), nil
			}
		}
	}
	return 0, fmt.Errorf("want a time in ms or as ISO text, got %.60q", string(raw))
}

// dead keeps raw in the dead-letter queue. Everything in the letter comes from the input, so that a retry writes it again
// exactly.
func (d *decoder) dead(reason deadletter.Reason, cause error, raw []byte) error {
	if d.number > 0 && reason != deadletter.ReasonCorrupt {
		switch d.bad++; {
		case d.bad == maxBadLines+1:
			reason, raw = deadletter.ReasonRecord, d.record.Data
			cause = fmt.Errorf("more than %d lines of the record are no events; this is all of it, and there are no letters of more lines: %w",
				maxBadLines, cause)
		case d.bad > maxBadLines:
			return nil
		}
	}
	d.out.dead = append(d.out.dead, store.NewMark(d.record.Sequence, d.number))
	st := d.open(deadletter.Queue, 0)
	if st == nil {
		return nil
	}
	letter := deadletter.Letter{
		Reason: reason, Error: cause.Error(), Shard: d.batch.Shard, Sequence: d.record.Sequence, Line: d.number, At: d.record.Arrival,
	}
	if reason == deadletter.ReasonEvent || reason == deadletter.ReasonPointer {
		queue, _ := d.line.Queue() // A queue that cannot be told is what the letter is about.
		letter.Bot, letter.Queue = label(d.line.Bot()), label(queue)
	}
	letter.SetRaw(raw)
	payload, err := json.Marshal(letter)
	if err != nil {
		return fmt.Errorf("sequencer: dead letter: %w", err)
	}
	e := event.Event{
		Bot: deadletter.SequencerBot, Queue: deadletter.Queue, Payload: payload,
		Timestamp: d.record.Arrival, SourceTimestamp: d.record.Arrival,
	}
	line, err := event.AppendLine(nil, &e, -1)
	if err != nil {
		return fmt.Errorf("sequencer: dead letter: %w", err)
	}
	var l event.Line
	if err := event.Scan(line[:len(line)-1], &l); err != nil {
		return fmt.Errorf("sequencer: dead letter: %w", err)
	}
	d.spent += len(line)
	d.last = nil
	return st.append(&l, d.record.Arrival)
}

// label bounds a name that a letter repeats from its input; the whole of it is in the raw bytes.
func label(name string) string {
	if len(name) > ref.MaxQueueBytes {
		return strings.ToValidUTF8(name[:ref.MaxQueueBytes], "")
	}
	return name
}
