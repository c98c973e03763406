package storetest

import (
	"fmt"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

var runTests = []test{
	{"a run is locked, confirmed and completed", func(e *env) {
		b := e.name("b")
		yes := true
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Bots.Control(e.Context(), b, store.Control{IgnorePaused: &yes}))
		want := e.bot(b)

		l := store.Lock{Bot: b, At: 100, Stalls: 3,
			Progress: map[string]string{"queue:q": id(1, 0)}, Requested: map[string]string{"queue:q": id(2, 0)}}
		e.ok(e.Bots.Lock(e.Context(), l))
		want.IgnorePaused = false
		want.InvokeTime, want.Token, want.Stalls, want.Progress, want.ProgressRequested = 100, 100, 3, l.Progress, l.Requested
		want.Instance = store.Instance{Token: 100, InvokeTime: 100}
		e.same(e.bot(b), want)

		e.ok(e.Bots.Confirm(e.Context(), store.Confirm{Bot: b, Token: 100, RequestID: "r1", At: 105, MaxDuration: 900}))
		want.Instance.RequestID, want.Instance.StartTime, want.Instance.MaxDuration = "r1", 105, 900
		e.same(e.bot(b), want)

		e.ok(e.Bots.Extend(e.Context(), store.Confirm{Bot: b, Token: 100, RequestID: "r1", At: 300, MaxDuration: 1800}))
		want.Instance.MaxDuration = 1800
		e.same(e.bot(b), want)

		e.ok(e.Bots.Complete(e.Context(), store.Complete{
			Bot: b, Token: 100, RequestID: "r1", At: 500, Log: []byte{1, 0, 2}, Result: []byte{3}}))
		want.Instance.CompletedTime, want.Instance.Status = 500, store.StatusComplete
		want.Instance.Log, want.Instance.Result = []byte{1, 0, 2}, []byte{3}
		e.same(e.bot(b), want)

		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: 100, At: 600}))
		want.InvokeTime, want.Token, want.Stalls, want.Progress, want.ProgressRequested = 600, 600, 0, nil, nil
		want.Instance = store.Instance{Token: 600, InvokeTime: 600, Status: store.StatusComplete}
		e.same(e.bot(b), want)
	}},
	{"a lock is refused when the row was locked since it was read", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.is(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: 50, At: 100}), store.ErrConflict)
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: 0, At: 100}))
		before := e.bot(b)
		for _, seen := range []int64{0, 99, 101} {
			e.is(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: seen, At: 200, Stalls: 9}), store.ErrConflict)
		}
		e.same(e.bot(b), before)
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: 100, At: 101}))
	}},
	{"a lock records what a request would, in the same write", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Bots.Request(e.Context(), store.Request{Bot: b, At: 50, Heads: map[string]string{"queue:q": id(5, 0), "queue:r": id(5, 0)}}))
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, At: 100, Trigger: 90,
			Heads: map[string]string{"queue:q": id(4, 0), "queue:r": id(6, 0), "queue:s": id(1, 0), "queue:t": ""}}))
		got := e.bot(b)
		want := map[string]string{"queue:q": id(5, 0), "queue:r": id(6, 0), "queue:s": id(1, 0)}
		e.same(got.Requested, want)
		e.same([]int64{got.Trigger, got.Token}, []int64{90, 100})
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: 100, At: 200, Trigger: 80}))
		e.is(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: 100, At: 300, Trigger: 300,
			Heads: map[string]string{"queue:q": id(9, 0)}}), store.ErrConflict)
		e.is(e.Bots.Lock(e.Context(), store.Lock{Bot: e.name("none"), At: 300, Trigger: 300,
			Heads: map[string]string{"queue:q": id(9, 0)}}), store.ErrNotFound)
		got = e.bot(b)
		e.same(got.Requested, want)
		e.same([]int64{got.Trigger, got.Token}, []int64{90, 200})
	}},
	{"a lock that is not after the last one is refused", func(e *env) { // W-P16
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, At: 100}))
		e.is(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: 100, At: 100}), store.ErrInvalid)
		e.is(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: 100, At: 99}), store.ErrInvalid)
	}},
	{"of many that lock the same row exactly one succeeds", func(e *env) { // C50
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		seen := int64(0)
		for range e.rounds(20) {
			won := e.race(8, func(i int) error {
				return e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: seen, At: seen + 1 + int64(i)})
			})
			e.same(len(won), 1)
			seen += 1 + int64(won[0])
			e.same(e.bot(b).Token, seen)
		}
	}},
	{"a run starts once, and only the newest", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.is(e.Bots.Confirm(e.Context(), confirm(b, 100, "r")), store.ErrConflict)
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, At: 100}))
		e.is(e.Bots.Confirm(e.Context(), confirm(b, 99, "r")), store.ErrConflict)
		won := e.race(8, func(i int) error { return e.Bots.Confirm(e.Context(), confirm(b, 100, fmt.Sprint("r", i))) })
		e.same(len(won), 1)
		e.same(e.bot(b).Instance.RequestID, fmt.Sprint("r", won[0]))
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: 100, At: 200}))
		e.is(e.Bots.Confirm(e.Context(), confirm(b, 100, "late")), store.ErrConflict)
		e.ok(e.Bots.Confirm(e.Context(), confirm(b, 200, "next")))
	}},
	{"a start needs a request id and a time", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, At: 100}))
		e.is(e.Bots.Confirm(e.Context(), store.Confirm{Bot: b, Token: 100, At: 101}), store.ErrInvalid)
		e.is(e.Bots.Confirm(e.Context(), store.Confirm{Bot: b, Token: 100, RequestID: "r"}), store.ErrInvalid)
		e.same(e.bot(b).Instance, store.Instance{Token: 100, InvokeTime: 100})
	}},
	{"a run that lost its lock can neither renew nor complete", func(e *env) { // fault 56
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, At: 100}))
		e.is(e.Bots.Extend(e.Context(), confirm(b, 100, "r")), store.ErrConflict) // not started
		e.ok(e.Bots.Confirm(e.Context(), confirm(b, 100, "r")))
		e.is(e.Bots.Extend(e.Context(), confirm(b, 100, "other")), store.ErrConflict)
		e.is(e.Bots.Extend(e.Context(), confirm(b, 101, "r")), store.ErrConflict)
		e.is(e.Bots.Complete(e.Context(), store.Complete{Bot: b, Token: 100, RequestID: "other", At: 1}), store.ErrConflict)
		e.is(e.Bots.Complete(e.Context(), store.Complete{Bot: b, Token: 100, At: 1}), store.ErrConflict)
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: 100, At: 200})) // its time was over
		before := e.bot(b)
		e.is(e.Bots.Extend(e.Context(), confirm(b, 100, "r")), store.ErrConflict)
		late := store.Complete{Bot: b, Token: 100, RequestID: "r", At: 1, Failed: true, RunAgain: true}
		e.is(e.Bots.Complete(e.Context(), late), store.ErrConflict)
		e.same(e.bot(b), before)
	}},
	{"a run whose invocation failed is completed without a request id, and cannot start after", func(e *env) { // W-P5
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, At: 100}))
		e.is(e.Bots.Complete(e.Context(), store.Complete{Bot: b, Token: 100, RequestID: "r", At: 1}), store.ErrConflict)
		e.ok(e.Bots.Complete(e.Context(), store.Complete{Bot: b, Token: 100, At: 110, Failed: true, RetryAt: 900}))
		got := e.bot(b)
		e.same([]any{got.Instance.Status, got.ErrorCount, got.ScheduledTrigger, got.Instance.CompletedTime},
			[]any{store.StatusError, 1, int64(900), int64(110)})
		e.is(e.Bots.Confirm(e.Context(), confirm(b, 100, "late")), store.ErrConflict)
	}},
	{"a run that ended before it started has a request id, which the next lock takes away", func(e *env) { // C50
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		for i, failed := range []bool{true, false} {
			at := int64(i+1) * 100
			e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: e.bot(b).InvokeTime, At: at}))
			e.same(e.bot(b).Instance.RequestID, "")
			e.ok(e.Bots.Complete(e.Context(), store.Complete{Bot: b, Token: at, At: at + 10, Failed: failed}))
			// The original's start tests the token, startTime and requestId, and not the end.
			ended := e.bot(b)
			e.same([]any{ended.Instance.RequestID, ended.Instance.StartTime}, []any{rules.Released, int64(0)})
			e.is(e.Bots.Confirm(e.Context(), confirm(b, at, "late")), store.ErrConflict)
			for _, id := range []string{"", rules.Released} { // It ends once, whatever it is called.
				e.is(e.Bots.Complete(e.Context(), store.Complete{Bot: b, Token: at, RequestID: id, At: at + 20, Failed: true}), store.ErrConflict)
				e.is(e.Bots.Extend(e.Context(), confirm(b, at, id)), store.ErrConflict)
			}
			e.same(e.bot(b), ended)
		}
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: 200, At: 300}))
		e.ok(e.Bots.Confirm(e.Context(), confirm(b, 300, "next")))
		e.ok(e.Bots.Complete(e.Context(), store.Complete{Bot: b, Token: 300, RequestID: "next", At: 310}))
		e.same(e.bot(b).Instance.RequestID, "next")
	}},
	{"failures are counted and success sets the count to 0", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		seen := int64(0)
		for i, c := range []struct {
			failed bool
			want   int
		}{{true, 1}, {true, 2}, {true, 3}, {false, 0}, {false, 0}, {true, 1}} {
			at := int64(i+1) * 100
			e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: seen, At: at}))
			e.ok(e.Bots.Confirm(e.Context(), confirm(b, at, "r")))
			e.ok(e.Bots.Complete(e.Context(), store.Complete{Bot: b, Token: at, RequestID: "r", At: at + 5, Failed: c.failed}))
			e.same(e.bot(b).ErrorCount, c.want)
			seen = at
		}
	}},
	{"a run completes once", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, At: 100}))
		e.ok(e.Bots.Confirm(e.Context(), confirm(b, 100, "r")))
		won := e.race(6, func(int) error {
			return e.Bots.Complete(e.Context(), store.Complete{Bot: b, Token: 100, RequestID: "r", At: 110, Failed: true})
		})
		e.same(len(won), 1)
		e.same(e.bot(b).ErrorCount, 1)
		e.is(e.Bots.Extend(e.Context(), confirm(b, 100, "r")), store.ErrConflict)
	}},
	{"RunAgain and RetryAt set the triggers, and without them they stay", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Bots.Request(e.Context(), store.Request{Bot: b, At: 50}))
		run := func(at int64, c store.Complete) store.Bot {
			e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: e.bot(b).InvokeTime, At: at}))
			e.ok(e.Bots.Confirm(e.Context(), confirm(b, at, "r")))
			c.Bot, c.Token, c.RequestID, c.At = b, at, "r", at+10
			e.ok(e.Bots.Complete(e.Context(), c))
			return e.bot(b)
		}
		got := run(100, store.Complete{})
		e.same([]int64{got.Trigger, got.ScheduledTrigger}, []int64{50, 0})
		got = run(200, store.Complete{RunAgain: true, RetryAt: 999})
		e.same([]int64{got.Trigger, got.ScheduledTrigger}, []int64{210, 999})
		got = run(300, store.Complete{})
		e.same([]int64{got.Trigger, got.ScheduledTrigger}, []int64{210, 999})
	}},
	{"RunAgain asks for another run also where the run's clock is behind that of its lock", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, At: 100}))
		e.ok(e.Bots.Confirm(e.Context(), confirm(b, 100, "r")))
		e.ok(e.Bots.Complete(e.Context(), store.Complete{Bot: b, Token: 100, RequestID: "r", At: 98, RunAgain: true}))
		e.same(e.bot(b).Trigger, int64(101))
	}},
	{"requests that arrive while a bot runs leave its lock alone", func(e *env) { // C50
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Bots.Lock(e.Context(), store.Lock{Bot: b, At: 100}))
		e.ok(e.Bots.Confirm(e.Context(), confirm(b, 100, "r")))
		before := e.bot(b)
		e.ok(e.Bots.Request(e.Context(), request(b, "queue:q", id(1, 0), 150)))
		e.ok(e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:q", "", id(1, 0))))
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b, Name: "again"}))
		got := e.bot(b)
		e.same(got.Instance, before.Instance)
		e.same([]int64{got.InvokeTime, got.Token, got.Trigger}, []int64{100, 100, 150})
	}},
}
