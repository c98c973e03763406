package bot

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// part is what an instance reads of the run's events, and notes where its reads began. It is safe for concurrent use.
type part struct {
	key func(e *rstreams.Event) int64
	// stop ends what the instance does.
	stop context.CancelCauseFunc

	mu     sync.Mutex
	begins map[string]begin
	failed *PanicError // the first panic of key
}

// begin tells where an instance's reads of a queue began, by the events that they met, its own or not. Instances whose reads began
// elsewhere have not dealt with the same part of the queue: the start depends on the clock (Today), the head (Latest) and the
// registered snapshot, and those may change between the starts of two instances.
type begin struct {
	// First is the id of the first event, Least the least id.
	First string `json:"first"`
	Least string `json:"least"`
	// Snapshot is the path of the newest snapshot of which there was an event, "" for none. A read that is in a snapshot when
	// another one is registered begins again with that.
	Snapshot string `json:"snapshot,omitempty"`
}

// newPart returns the part of an instance that stop ends; key nil means Hash of the id.
func newPart(key func(e *rstreams.Event) int64, stop context.CancelCauseFunc) *part {
	if key == nil {
		key = func(e *rstreams.Event) int64 { return Hash(e.EID) }
	}
	return &part{key: key, stop: stop, begins: map[string]begin{}}
}

// share returns the part as one of count; nil, which is everything, where it is the only one.
func (p *part) share(index, count int) *rstreams.Share {
	if count == 1 {
		return nil
	}
	return &rstreams.Share{Index: index, Count: count, Hash: func(e *rstreams.Event) int64 {
		p.meet(e)
		return p.hash(e, int64(index)+1)
	}}
}

// hash returns the hash of an event's key. It is called from goroutines of the SDK's, where nothing else would catch a panic of the
// bot's code: that ends the instance, and the hash is other, of another instance's event, so that nobody handles it.
func (p *part) hash(e *rstreams.Event, other int64) (h int64) {
	defer func() {
		if v := recover(); v != nil {
			h = other
			p.fail(&PanicError{Value: v, Stack: string(debug.Stack())})
		}
	}()
	return p.key(e)
}

// fail notes a panic and ends the instance.
func (p *part) fail(err *PanicError) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil {
		p.failed = err
		p.stop(err)
	}
}

// result returns the error of the instance whose code ended with err: a panic of key counts, whatever the code made of it.
func (p *part) result(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == nil || errors.Is(err, p.failed) {
		return err
	}
	return errors.Join(p.failed, err)
}

// meet notes an event.
func (p *part) meet(e *rstreams.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b, known := p.begins[e.Queue]
	snapshot := ""
	if strings.HasPrefix(e.EID, eid.SnapshotPrefix) {
		snapshot = e.EID[:strings.LastIndexByte(e.EID, '/')+1]
	}
	if known && e.EID >= b.Least && snapshot <= b.Snapshot {
		return
	}
	id := strings.Clone(e.EID) // An event's text keeps that of its neighbours.
	if !known {
		b.First, b.Least = id, id
	}
	b.Least, b.Snapshot = min(b.Least, id), strings.Clone(max(b.Snapshot, snapshot))
	p.begins[strings.Clone(e.Queue)] = b
}

// met returns where the reads of each queue began.
func (p *part) met() map[string]begin {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.begins) // Code that was left behind may read on.
}

// alike tells whether two instances read the same part of a queue. Code that looks up other events of the queue as well may
// do so in another order, or other ones, in each instance: it is enough if either the first or the least is the same.
func (b begin) alike(o begin) bool {
	return (b.First == o.First || b.Least == o.Least) && b.Snapshot == o.Snapshot
}

// sameBegin returns an error unless all instances began at the same place of a queue, which is given as a reference.
func sameBegin(outcomes []outcome, queueRef string) error {
	queue := ref.Queue(queueRef)
	first := outcomes[0].Begins[queue]
	for _, o := range outcomes[1:] {
		if b := o.Begins[queue]; !first.alike(b) {
			return fmt.Errorf("%w: instance %d of the fan-out began to read %s at %s, another at %s, because a snapshot was registered "+
				"or the start moved in between; nothing is checkpointed there", rstreams.ErrStaleCheckpoint, o.IID, queue,
				b.place(), first.place())
		}
	}
	return nil
}

// place names where the reads began, for messages.
func (b begin) place() string {
	switch {
	case b.First == "":
		return "no event"
	case b.Snapshot != "" && !strings.HasPrefix(b.First, b.Snapshot):
		return b.First + " and snapshot " + b.Snapshot
	}
	return b.First
}
