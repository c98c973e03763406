package verify

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// late is a time at which the events of newBus have expired. The store's own clock still shows them.
func late() time.Time { return time.Now().AddDate(0, 0, 8) }

func TestEventsThatExpiredAreNoGap(t *testing.T) {
	st := newBus(t)
	first := find(t, st, "inline")
	if err := st.Chunks.Delete(context.Background(), "inline", []string{first.End}); err != nil {
		t.Fatal(err)
	}
	r := check(t, st, Options{Queues: []string{"inline"}, Now: late})
	if !r.OK() || !r.Queues[0].Expired || r.Queues[0].Events != 30 {
		t.Errorf("report: %+v", r)
	}
}

func TestChunksThatExpireDuringTheRunAreNoGap(t *testing.T) {
	st := newBus(t)
	st.Chunks = editedChunks{st.Chunks, nthInline(1, func(*store.Chunk) bool { return false })}
	if r := check(t, st, Options{Now: late}); !r.OK() {
		t.Errorf("faults: %v", r.Faults)
	}
}

// remove deletes the first n chunks of queue inline and returns the id with which the last of them ended, and the chunk after it.
func remove(t *testing.T, st store.Store, n int) (end string, next store.Chunk) {
	t.Helper()
	page, err := st.Chunks.Query(t.Context(), "inline", "", beyond, 0, 0)
	if err != nil || len(page.Chunks) < n {
		t.Fatal(err, len(page.Chunks))
	}
	var ends []string
	for _, k := range page.Chunks[:n] {
		ends = append(ends, k.End)
	}
	if err := st.Chunks.Delete(t.Context(), "inline", ends); err != nil {
		t.Fatal(err)
	}
	if n < len(page.Chunks) {
		next = page.Chunks[n]
	}
	return ends[n-1], next
}

func TestOldestEventsThatWentBeforeTheirTimeAreMissed(t *testing.T) {
	st := newBus(t)
	end, next := remove(t, st, 2)
	r := check(t, st, Options{})
	wantRule(t, r, RuleGap)
	if r.FaultCount != 1 || r.Queues[1].Expired {
		t.Errorf("report: %+v", r)
	}
	id, err := eid.Parse(end)
	if err != nil {
		t.Fatal(err)
	}
	expires := time.UnixMilli(id.Millis).AddDate(0, 0, 7)
	for at, ok := range map[time.Time]bool{expires.Add(-(margin + 2) * time.Second): false, expires.Add(time.Second): true} {
		if r := check(t, st, Options{Now: func() time.Time { return at }}); r.OK() != ok {
			t.Errorf("at %s, while they were to go at %s: %v", at, expires, r.Faults)
		}
	}
	// Chunks that stay for ever follow none that went.
	st.Chunks = editedChunks{st.Chunks, func(k *store.Chunk) bool {
		k.Expires = 0
		return true
	}}
	wantRule(t, check(t, st, Options{Now: late}), RuleGap)
	// What is archived need not be in the queue itself.
	if err := st.Queues.SetArchive(t.Context(), "inline", next.Prev); err != nil {
		t.Fatal(err)
	}
	if r := check(t, st, Options{}); !r.OK() || !r.Queues[1].Expired {
		t.Errorf("report: %+v", r)
	}
}

func TestAChunkThatIsMissingBehindOneThatExpiresDuringTheRunIsFound(t *testing.T) {
	st := newBus(t)
	// The second chunk was to stay for days when the first one expired.
	st.Chunks = editedChunks{st.Chunks, func(k *store.Chunk) bool {
		if k.Queue == "inline" && k.Prev == "" {
			k.Expires = time.Now().Unix()
		}
		return nthInline(1, func(*store.Chunk) bool { return false })(k)
	}}
	wantRule(t, check(t, st, Options{}), RuleGap)
}

func TestAQueueWhoseYoungEventsAreAllGoneIsFound(t *testing.T) {
	st := newBus(t)
	head, _ := remove(t, st, 4)
	r := check(t, st, Options{})
	wantRule(t, r, RuleHead)
	if r.FaultCount != 1 || r.Queues[1].Expired {
		t.Errorf("report: %+v", r)
	}
	// How long they were to stay is not known any more.
	hour := func() time.Time { return time.Now().Add(61 * time.Minute) }
	for _, o := range []Options{{Now: hour}, {Retention: -1}, {Retention: time.Minute, Now: hour}} {
		if r := check(t, st, o); !r.OK() || !r.Queues[1].Expired {
			t.Errorf("report: %+v", r)
		}
	}
	wantRule(t, check(t, st, Options{Retention: 2 * time.Hour, Now: hour}), RuleHead)
	if err := st.Queues.SetArchive(t.Context(), "inline", head); err != nil {
		t.Fatal(err)
	}
	if r := check(t, st, Options{}); !r.OK() {
		t.Errorf("events that are in the archive are missed: %v", r.Faults)
	}
}

func TestQueuesAreChosenByReferenceAndMustBeThere(t *testing.T) {
	st := newBus(t)
	for _, name := range []string{"queue:inline", "s_inline", "inline/_archive", "inline"} {
		if r := check(t, st, Options{Queues: []string{name}}); len(r.Queues) != 1 || r.Queues[0].Name != "inline" || r.Checkpoints != 1 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if _, err := Run(t.Context(), st, Options{Queues: []string{"inline", "typo"}}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a queue that is not there: %v", err)
	}
	if _, err := Run(t.Context(), st, Options{Queues: []string{"queue:"}}); !errors.Is(err, ref.ErrInvalid) {
		t.Errorf("no queue: %v", err)
	}
}
