package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/rstreams-go/rstreams/bus/store"
)

var checkpointTests = []test{
	{"a checkpoint is stored whole when the position is the expected one", func(e *env) { // C42
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), registration(b)))
		for i, ref := range []string{"queue:in", "queue:other", "system:sap"} { // a placeholder, and none
			e.ok(e.Bots.Checkpoint(e.Context(), checkpoint(b, ref, "", id(1, i))))
			e.same(e.bot(b).Read[ref], position(id(1, i)))
			e.ok(e.Bots.Checkpoint(e.Context(), checkpoint(b, ref, id(1, i), id(2, i))))
			e.same(e.bot(b).Read[ref], position(id(2, i)))
		}
		e.same(e.bot(b).Read["queue:in2"], store.Checkpoint{})
	}},
	{"a checkpoint that expects another position is a Stale Checkpoint", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), registration(b)))
		e.ok(e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:in", "", id(5, 0))))
		for _, expected := range []string{"", id(4, 0), id(6, 0), id(5, 0) + " "} {
			err := e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:in", expected, id(7, 0)))
			e.is(err, store.ErrConflict)
			if !strings.Contains(err.Error(), "Stale Checkpoint") {
				e.Errorf("the error does not say Stale Checkpoint: %v", err)
			}
		}
		e.is(e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:in2", id(1, 0), id(7, 0))), store.ErrConflict)
		e.is(e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:new", id(1, 0), id(7, 0))), store.ErrConflict)
		e.same(e.bot(b).Read["queue:in"], position(id(5, 0)))
	}},
	{"Force drops the condition", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), registration(b)))
		for _, at := range []string{id(5, 0), id(1, 0), "z/2026"} {
			w := checkpoint(b, "queue:in", "not this", at)
			w.Force = true
			e.ok(e.Bots.Checkpoint(e.Context(), w))
			e.same(e.bot(b).Read["queue:in"], position(at))
		}
	}},
	{"a checkpoint of an unknown bot creates the row", func(e *env) { // C43
		b := e.name("b")
		e.is(e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:q", id(1, 0), id(2, 0))), store.ErrConflict)
		_, err := e.Bots.Get(e.Context(), b)
		e.is(err, store.ErrNotFound)
		e.ok(e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:q", "", id(1, 0))))
		e.same(e.bot(b), store.Bot{ID: b, Name: b, Read: map[string]store.Checkpoint{"queue:q": position(id(1, 0))}})
		forced := checkpoint(e.name("b2"), "queue:q", id(1, 0), id(2, 0))
		forced.Force = true
		e.ok(e.Bots.Checkpoint(e.Context(), forced))
		e.same(e.bot(e.name("b2")).Read["queue:q"].Position, id(2, 0))
	}},
	{"a bot that only has checkpoints can be triggered and run", func(e *env) { // C69, fault 40
		b := e.name("b")
		e.ok(e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:in", "", id(1, 0))))
		e.ok(e.Bots.Request(e.Context(), request(b, "queue:in", id(2, 0), 50)))
		e.ok(e.Bots.Produced(e.Context(), []store.Produced{produced(b, "queue:out", id(2, 0))}))
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, At: 100}))
		e.ok(e.Bots.Confirm(e.Context(), confirm(b, 100, "r")))
		e.ok(e.Bots.Complete(e.Context(), store.Complete{Bot: b, Token: 100, RequestID: "r", At: 130}))
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b, Paused: true}))
		got := e.bot(b)
		e.same([]string{got.Read["queue:in"].Position, got.Requested["queue:in"], got.Instance.Status},
			[]string{id(1, 0), id(2, 0), store.StatusComplete})
		e.same(got.Paused, false)
	}},
	{"a trailing _reader is dropped from the bot's id", func(e *env) { // C10 of sdk.md
		b := e.name("b")
		e.ok(e.Bots.Checkpoint(e.Context(), checkpoint(b+"_reader", "queue:q", "", id(1, 0))))
		e.same(e.bot(b).Read["queue:q"].Position, id(1, 0))
		e.is(e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:q", "", id(2, 0))), store.ErrConflict)
		e.ok(e.Bots.Checkpoint(e.Context(), checkpoint(b+"_reader", "queue:q", id(1, 0), id(2, 0))))
		_, err := e.Bots.Get(e.Context(), b+"_reader")
		e.is(err, store.ErrNotFound)
	}},
	{"a checkpoint without a bot or a reference is refused", func(e *env) {
		e.is(e.Bots.Checkpoint(e.Context(), checkpoint("", "queue:q", "", id(1, 0))), store.ErrInvalid)
		e.is(e.Bots.Checkpoint(e.Context(), checkpoint("_reader", "queue:q", "", id(1, 0))), store.ErrInvalid)
		e.is(e.Bots.Checkpoint(e.Context(), checkpoint(e.name("b"), "", "", id(1, 0))), store.ErrInvalid)
	}},
	{"a fan-out's location is honoured whatever is stored, or refused clearly, and the read checkpoints stay", func(e *env) { // C9 of sdk.md
		b := e.name("b")
		e.ok(e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:q", "", id(1, 0))))
		w := checkpoint(b, "queue:q", "", id(5, 0))
		w.Location = store.Location{Attribute: "instances", Instance: "0"}
		for range 2 {
			if err := e.Bots.Checkpoint(e.Context(), w); err != nil {
				e.is(err, store.ErrInvalid)
			}
		}
		e.same(e.bot(b).Read["queue:q"], position(id(1, 0)))
		w.Location.Instance = ""
		e.is(e.Bots.Checkpoint(e.Context(), w), store.ErrInvalid)
		w.Location = store.Location{Attribute: "checkpoints", Instance: "read"}
		e.is(e.Bots.Checkpoint(e.Context(), w), store.ErrInvalid)
		e.same(e.bot(b).Read["queue:q"], position(id(1, 0)))
	}},
	{"of many that expect the same position exactly one succeeds", func(e *env) {
		b := e.name("b")
		stored := ""
		for round := range e.rounds(20) {
			won := e.race(8, func(i int) error {
				return e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:q", stored, id(int64(round), i)))
			})
			e.same(len(won), 1)
			stored = id(int64(round), won[0])
			e.same(e.bot(b).Read["queue:q"], position(stored))
		}
	}},
	{"checkpoints of many bots and queues do not disturb each other", func(e *env) {
		var wg sync.WaitGroup
		n := e.rounds(20)
		for i := range 4 {
			for j := range 2 {
				wg.Go(func() {
					b, ref, at := e.name(fmt.Sprint("b", i)), fmt.Sprint("queue:q", j), ""
					for k := range n {
						next := id(int64(k), i)
						if err := e.Bots.Checkpoint(e.Context(), checkpoint(b, ref, at, next)); err != nil {
							e.Error(err)
							return
						}
						at = next
					}
				})
			}
		}
		wg.Wait()
		for i := range 4 {
			want := position(id(int64(n-1), i))
			e.same(e.bot(e.name(fmt.Sprint("b", i))).Read, map[string]store.Checkpoint{"queue:q0": want, "queue:q1": want})
		}
	}},
}

// race runs fn n times at once and returns which calls succeeded; the others must fail with ErrConflict.
func (e *env) race(n int, fn func(i int) error) []int {
	e.Helper()
	var mu sync.Mutex
	var won []int
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			err := fn(i)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won = append(won, i)
			} else if !errors.Is(err, store.ErrConflict) {
				e.Errorf("racing call %d: %v", i, err)
			}
		})
	}
	close(start)
	wg.Wait()
	return won
}
