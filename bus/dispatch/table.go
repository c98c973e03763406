package dispatch

import (
	"container/heap"
	"time"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/schedule"
	"github.com/rstreams-go/rstreams/bus/store"
)

// table is what the dispatcher knows of the bots. Dispatcher.mu guards it.
type table struct {
	bots      map[string]*bot
	triggered map[string]map[*bot]bool // queue -> bots
	due       dueHeap
	scans     int
}

// bot is one bot as the dispatcher knows it.
type bot struct {
	id       string
	triggers map[string]string // queue -> the reference that the row uses for it
	hosted   bool
	scan     int // the newest scan that saw it

	// What is to be done: heads to compare, and the schedule's next occurrence.
	heads map[string]bool
	next  time.Time
	// release is the end of a run that could not be started, until it is stored.
	release *store.Complete
	// unstarted is the token of a run that has not started and whose invocation lies ahead of the clock, and since when it was
	// seen: only that tells when it is overdue.
	unstarted int64
	since     time.Time
	// requested is when heads were last stored.
	requested time.Time

	expr, zone string
	schedule   *schedule.Schedule

	// queued, busy and again say where the bot is in the work order; wake and index where in the heap.
	queued, busy, again bool
	wake                time.Time
	index               int
}

func newTable() table {
	return table{bots: map[string]*bot{}, triggered: map[string]map[*bot]bool{}}
}

// bot returns the entry of id, which it makes where needed.
func (t *table) bot(id string) *bot {
	b := t.bots[id]
	if b == nil {
		b = &bot{id: id, index: -1}
		t.bots[id] = b
	}
	return b
}

// forget removes b.
func (t *table) forget(b *bot) {
	t.setTriggers(b, nil)
	t.setWake(b, time.Time{})
	delete(t.bots, b.id)
}

// setTriggers makes refs the triggers of b. Those that are new are noted as moved: their heads may be news to the bot.
func (t *table) setTriggers(b *bot, refs []string) {
	now := make(map[string]string, len(refs))
	for _, r := range refs {
		now[ref.Queue(r)] = ref.QueueRef(r)
	}
	for queue := range b.triggers {
		if _, ok := now[queue]; ok {
			continue
		}
		delete(t.triggered[queue], b)
		if len(t.triggered[queue]) == 0 {
			delete(t.triggered, queue)
		}
		delete(b.heads, queue)
	}
	for queue := range now {
		if _, ok := b.triggers[queue]; ok {
			continue
		}
		if t.triggered[queue] == nil {
			t.triggered[queue] = map[*bot]bool{}
		}
		t.triggered[queue][b] = true
		b.moved(queue)
	}
	b.triggers = now
}

// moved notes that the head of queue is to be compared with what b knows of it.
func (b *bot) moved(queue string) {
	if b.heads == nil {
		b.heads = map[string]bool{}
	}
	b.heads[queue] = true
}

// setWake sets when b is to be put to work, the zero time for never.
func (t *table) setWake(b *bot, at time.Time) {
	b.wake = at
	switch {
	case at.IsZero() && b.index >= 0:
		heap.Remove(&t.due, b.index)
	case at.IsZero():
	case b.index >= 0:
		heap.Fix(&t.due, b.index)
	default:
		heap.Push(&t.due, b)
	}
}

// dueHeap orders bots by wake.
type dueHeap []*bot

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].wake.Before(h[j].wake) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *dueHeap) Push(x any) {
	b := x.(*bot)
	b.index = len(*h)
	*h = append(*h, b)
}
func (h *dueHeap) Pop() any {
	old := *h
	b := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	b.index = -1
	return b
}
