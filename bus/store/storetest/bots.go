package storetest

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/rstreams-go/rstreams/bus/store"
)

var botTests = []test{
	{"Get of an unknown bot is ErrNotFound", func(e *env) {
		_, err := e.Bots.Get(e.Context(), e.name("none"))
		e.is(err, store.ErrNotFound)
	}},
	{"Register creates the row with placeholders for its queues", func(e *env) {
		r := registration(e.name("b"))
		e.ok(e.Bots.Register(e.Context(), r))
		want := store.Bot{
			ID: r.ID, Name: r.Name, Description: r.Description, Owner: r.Owner, Invocation: r.Invocation,
			Settings: r.Settings, Schedule: r.Schedule, TimeZone: r.TimeZone,
			Triggers: []string{"queue:in", "queue:in2", "queue:bot.x"}, Paused: true, Timeout: 5000, Delay: 60, Tags: r.Tags,
			Read:  map[string]store.Checkpoint{"queue:in": {}, "queue:in2": {}, "queue:bot.x": {}},
			Write: map[string]store.Checkpoint{"queue:out": {}},
		}
		got := e.bot(r.ID)
		e.sameJSON(got.Settings, string(want.Settings))
		got.Settings, want.Settings = nil, nil
		e.same(got, want)
	}},
	{"registering again replaces the configuration and leaves all else alone", func(e *env) { // C44
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), registration(b)))
		e.busy(b)
		want := e.bot(b)
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b, Name: "new", Triggers: []string{"in", "more"}}))
		want.Name, want.Triggers = "new", []string{"queue:in", "queue:more"}
		want.Description, want.Owner, want.Schedule, want.TimeZone = "", "", "", ""
		want.Invocation, want.Settings, want.Tags = store.Invocation{}, nil, nil
		want.Timeout, want.Delay = 0, 0
		want.Read["queue:more"] = store.Checkpoint{}
		e.same(e.bot(b), want)
	}},
	{"Paused of a registration applies only to a new row", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b, Paused: true}))
		e.same(e.bot(b).Paused, false)
	}},
	{"Register refuses a bot without an id and settings that are not JSON", func(e *env) {
		e.is(e.Bots.Register(e.Context(), store.Registration{}), store.ErrInvalid)
		b := e.name("b")
		e.is(e.Bots.Register(e.Context(), store.Registration{ID: b, Settings: json.RawMessage("{")}), store.ErrInvalid)
		e.is(e.Bots.Register(e.Context(), store.Registration{ID: b, Triggers: []string{"queue:"}}), store.ErrInvalid)
		_, err := e.Bots.Get(e.Context(), b)
		e.is(err, store.ErrNotFound)
	}},
	{"further attributes of a registration are stored as they are, and others of the row stay", func(e *env) {
		b := e.name("b")
		r := registration(b)
		r.Extra = extra(`{"health":{"source_lag":1000,"mute":false},"x.y #1":"<é>","n":12345678901234567890,"none":null}`)
		e.ok(e.Bots.Register(e.Context(), r))
		e.sameExtra(b, `{"health":{"source_lag":1000,"mute":false},"x.y #1":"<é>","n":12345678901234567890,"none":null}`)
		e.busy(b)
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b, Extra: extra(`{"health":{"mute":true},"system":"system:s"}`)}))
		want := `{"health":{"mute":true},"x.y #1":"<é>","n":12345678901234567890,"none":null,"system":"system:s"}`
		e.sameExtra(b, want)
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.sameExtra(b, want)
		list, err := e.Bots.List(e.Context(), e.prefix, 1)
		e.ok(err)
		e.sameJSON(list[0].Extra["health"], `{"mute":true}`)
	}},
	{"further attributes cannot be the row's own, and must be JSON", func(e *env) {
		b := e.name("b")
		for _, doc := range []string{`{"id":"x"}`, `{"ok":1,"checkpoints":{}}`, `{"instances":{}}`, `{"errorCount":1}`, `{"":1}`, `{"lambdaName":"f"}`} {
			e.is(e.Bots.Register(e.Context(), store.Registration{ID: b, Extra: extra(doc)}), store.ErrInvalid)
		}
		for _, v := range []string{"", "{", "text"} {
			x := map[string]json.RawMessage{"a": json.RawMessage(v)}
			e.is(e.Bots.Register(e.Context(), store.Registration{ID: b, Extra: x}), store.ErrInvalid)
		}
		_, err := e.Bots.Get(e.Context(), b)
		e.is(err, store.ErrNotFound)
	}},
	{"List returns rows after an id in order, and fewer than the limit at the end", func(e *env) {
		ids := []string{"a", "a-b", "a1", "b", "c", "d"}
		for _, id := range ids {
			e.ok(e.Bots.Register(e.Context(), registration(e.name(id))))
		}
		e.busy(e.name("a1"))
		for _, limit := range []int{1, 4, 100} {
			var got []string
			for after := e.prefix; ; {
				page, err := e.Bots.List(e.Context(), after, limit)
				e.ok(err)
				if len(page) > limit {
					e.Fatalf("limit %d gave %d rows", limit, len(page))
				}
				for _, b := range page {
					if base, mine := e.base(b.ID); mine {
						e.same(b, e.bot(b.ID))
						got = append(got, base)
					}
				}
				if len(page) < limit || !e.mine(page[len(page)-1].ID) {
					break
				}
				after = page[len(page)-1].ID
			}
			e.same(got, ids)
		}
	}},
	{"Control changes the given fields and no others", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), registration(b)))
		e.busy(b)
		want := e.bot(b)
		yes, no, zero, ms := true, false, int64(0), int64(base)
		none, errs := 0, 7
		for _, step := range []struct {
			c      store.Control
			change func()
		}{
			{store.Control{}, func() {}},
			{store.Control{Paused: &no}, func() { want.Paused = false }},
			{store.Control{Archived: &yes, IgnorePaused: &yes}, func() { want.Archived, want.IgnorePaused = true, true }},
			{store.Control{Trigger: &ms, ScheduledTrigger: &ms}, func() { want.Trigger, want.ScheduledTrigger = ms, ms }},
			{store.Control{ScheduledTrigger: &zero, ErrorCount: &errs}, func() { want.ScheduledTrigger, want.ErrorCount = 0, 7 }},
			{store.Control{ErrorCount: &none, Archived: &no}, func() { want.ErrorCount, want.Archived = 0, false }},
		} {
			e.ok(e.Bots.Control(e.Context(), b, step.c))
			step.change()
			e.same(e.bot(b), want)
		}
	}},
	{"a missing bot is never created by accident", func(e *env) { // W-P12
		b := e.name("ghost")
		yes := true
		ctx := e.Context()
		e.is(e.Bots.Control(ctx, b, store.Control{Paused: &yes}), store.ErrNotFound)
		e.is(e.Bots.Request(ctx, request(b, "queue:q", id(1, 0), 5)), store.ErrNotFound)
		e.is(e.Bots.Lock(ctx, store.Lock{Bot: b, At: 5}), store.ErrNotFound)
		e.is(e.Bots.Confirm(ctx, confirm(b, 5, "r")), store.ErrNotFound)
		e.is(e.Bots.Extend(ctx, confirm(b, 5, "r")), store.ErrNotFound)
		e.is(e.Bots.Complete(ctx, store.Complete{Bot: b, Token: 5, RequestID: "r", At: 6}), store.ErrNotFound)
		e.ok(e.Bots.Produced(ctx, []store.Produced{produced(b, "queue:q", id(1, 0))}))
		_, err := e.Bots.Get(ctx, b)
		e.is(err, store.ErrNotFound)
	}},
	{"Request records heads and the trigger, which only grow", func(e *env) { // W-D4
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		for _, step := range []struct {
			heads map[string]string
			at    int64
			want  map[string]string
			wants int64
		}{
			{map[string]string{"queue:q": id(5, 0)}, 100, map[string]string{"queue:q": id(5, 0)}, 100},
			{map[string]string{"queue:q": id(4, 0), "queue:r": id(1, 0)}, 90, map[string]string{"queue:q": id(5, 0), "queue:r": id(1, 0)}, 100},
			{map[string]string{"queue:q": id(6, 0), "queue:r": id(0, 0)}, 200, map[string]string{"queue:q": id(6, 0), "queue:r": id(1, 0)}, 200},
			{nil, 300, map[string]string{"queue:q": id(6, 0), "queue:r": id(1, 0)}, 300},
		} {
			e.ok(e.Bots.Request(e.Context(), store.Request{Bot: b, Heads: step.heads, At: step.at}))
			got := e.bot(b)
			e.same(got.Requested, step.want)
			e.same(got.Trigger, step.wants)
		}
	}},
	{"racing requests end with the greatest head and trigger", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		n := e.rounds(40)
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				if err := e.Bots.Request(e.Context(), request(b, "queue:q", id(int64(i), 0), int64(i))); err != nil {
					e.Error(err)
				}
			})
		}
		wg.Wait()
		got := e.bot(b)
		e.same(got.Requested["queue:q"], id(int64(n-1), 0))
		e.same(got.Trigger, int64(n-1))
	}},
	{"Produced keeps the newer checkpoint, and skips unknown bots", func(e *env) { // C45, C46, W-O7
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), registration(b)))
		for _, step := range []struct{ put, want string }{{id(5, 3), id(5, 3)}, {id(4, 9), id(5, 3)}, {id(5, 4), id(5, 4)}} {
			p := produced(b, "queue:out", step.put)
			p.Records = 7
			list := []store.Produced{produced(e.name("none"), "queue:out", id(9, 0)), p, produced(b, "queue:new", step.put)}
			e.ok(e.Bots.Produced(e.Context(), list))
			got := e.bot(b).Write
			e.same(got["queue:out"].Position, step.want)
			e.same(got["queue:new"].Position, step.want)
		}
		again := produced(b, "queue:out", id(5, 4)) // the same position replaces too
		again.Records = 8
		e.ok(e.Bots.Produced(e.Context(), []store.Produced{again}))
		e.same(e.bot(b).Write["queue:out"], again.Checkpoint)
		e.ok(e.Bots.Produced(e.Context(), nil))
	}},
	{"Produced does not touch read checkpoints", func(e *env) {
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b}))
		e.ok(e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:q", "", id(1, 0))))
		e.ok(e.Bots.Produced(e.Context(), []store.Produced{produced(b, "queue:q", id(9, 0))}))
		e.same(e.bot(b).Read["queue:q"].Position, id(1, 0))
	}},
	{"racing writers of one row do not undo each other", func(e *env) { // W-D13
		b := e.name("b")
		e.ok(e.Bots.Register(e.Context(), store.Registration{ID: b, Triggers: []string{"q"}}))
		n := e.rounds(30)
		var wg sync.WaitGroup
		loop := func(fn func(i int) error) {
			wg.Go(func() {
				for i := range n {
					if err := fn(i); err != nil {
						e.Error(err)
					}
				}
			})
		}
		at := func(i int) string { return id(int64(i), 0) }
		loop(func(i int) error {
			expected := ""
			if i > 0 {
				expected = at(i - 1)
			}
			return e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:q", expected, at(i)))
		})
		loop(func(i int) error {
			return e.Bots.Produced(e.Context(), []store.Produced{produced(b, "queue:out", at(i))})
		})
		loop(func(i int) error { return e.Bots.Request(e.Context(), request(b, "queue:q", at(i), int64(i))) })
		loop(func(i int) error {
			return e.Bots.Register(e.Context(), store.Registration{ID: b, Name: fmt.Sprint(i), Triggers: []string{"q"}})
		})
		loop(func(i int) error { return e.Bots.Control(e.Context(), b, store.Control{ErrorCount: &i}) })
		loop(func(i int) error {
			seen := int64(i) * 10
			return e.Bots.Lock(e.Context(), store.Lock{Bot: b, Seen: seen, At: seen + 10})
		})
		wg.Wait()
		got := e.bot(b)
		e.same([]string{got.Read["queue:q"].Position, got.Write["queue:out"].Position, got.Requested["queue:q"], got.Name},
			[]string{at(n - 1), at(n - 1), at(n - 1), fmt.Sprint(n - 1)})
		e.same([]int64{got.Trigger, int64(got.ErrorCount), got.InvokeTime}, []int64{int64(n - 1), int64(n - 1), int64(n) * 10})
	}},
	{"what a call returned or was given stays apart from the row", func(e *env) {
		b := e.name("b")
		r := registration(b)
		r.Extra = map[string]json.RawMessage{"x": json.RawMessage("1")}
		e.ok(e.Bots.Register(e.Context(), r))
		e.busy(b)
		spoil := func(b store.Bot) {
			b.Triggers[0], b.Tags[0], b.Settings[0], b.Instance.Log[0] = "spoilt", "spoilt", '[', 99
			b.Extra["x"][0] = '['
			b.Extra["x"] = json.RawMessage("2")
			b.Read["queue:in"], b.Write["queue:out"] = store.Checkpoint{}, store.Checkpoint{}
			b.Requested["queue:in"], b.Progress["queue:in"], b.ProgressRequested["queue:in"] = "", "", ""
		}
		check := func() {
			e.Helper()
			got := e.bot(b)
			e.same([]string{got.Triggers[0], got.Tags[0], string(got.Settings[0]), fmt.Sprint(got.Instance.Log),
				got.Read["queue:in"].Position, got.Write["queue:out"].Position, got.Requested["queue:in"],
				got.Progress["queue:in"], got.ProgressRequested["queue:in"], string(got.Extra["x"])},
				[]string{"queue:in", "one", "{", "[1 2 3]", id(1, 0), id(2, 0), id(3, 0), id(1, 0), id(3, 0), "1"})
		}
		r.Triggers[0], r.Tags[0], r.Settings[0], r.Extra["x"][0] = "spoilt", "spoilt", '[', '['
		check()
		spoil(e.bot(b))
		check()
		list, err := e.Bots.List(e.Context(), e.prefix, 1)
		e.ok(err)
		spoil(list[0])
		check()
		before := e.bot(b)
		e.ok(e.Bots.Checkpoint(e.Context(), checkpoint(b, "queue:in", id(1, 0), id(4, 0))))
		e.same(before.Read["queue:in"].Position, id(1, 0))
	}},
}

// registration returns one with every field set.
func registration(id string) store.Registration {
	return store.Registration{
		ID: id, Name: "name é", Description: "text <b>", Owner: "team",
		Invocation: store.Invocation{Type: "lambda", Lambda: "fn", Qualifier: "live", ARN: "arn", URL: "https://x/?a&b"},
		Settings:   json.RawMessage(`{"a":1,"b":"<é>","big":12345678901234567890}`),
		Schedule:   "0 * * * *", TimeZone: "Europe/Berlin",
		Triggers: []string{"in", "queue:in2", "in", "queue:bot.x"}, Writes: []string{"out"},
		Timeout: 5000, Delay: 60, Tags: []string{"one", "two"}, Paused: true,
	}
}

// extra returns the members of an object.
func extra(doc string) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(doc), &m); err != nil {
		panic(err)
	}
	return m
}

func (e *env) sameExtra(bot, want string) {
	e.Helper()
	got, err := json.Marshal(e.bot(bot).Extra)
	e.ok(err)
	e.sameJSON(got, want)
}

// busy gives a row state of every kind.
func (e *env) busy(b string) {
	e.Helper()
	ctx := e.Context()
	e.ok(e.Bots.Checkpoint(ctx, checkpoint(b, "queue:in", "", id(1, 0))))
	e.ok(e.Bots.Produced(ctx, []store.Produced{produced(b, "queue:out", id(2, 0))}))
	e.ok(e.Bots.Request(ctx, request(b, "queue:in", id(3, 0), 50)))
	e.ok(e.Bots.Lock(ctx, store.Lock{Bot: b, At: 100, Stalls: 2,
		Progress: map[string]string{"queue:in": id(1, 0)}, Requested: map[string]string{"queue:in": id(3, 0)}}))
	e.ok(e.Bots.Confirm(ctx, confirm(b, 100, "r")))
	e.ok(e.Bots.Complete(ctx, store.Complete{Bot: b, Token: 100, RequestID: "r", At: 130, Failed: true,
		Log: []byte{1, 2, 3}, Result: []byte{4}, RunAgain: true, RetryAt: 200}))
}

// bot returns a row that must exist.
func (e *env) bot(id string) store.Bot {
	e.Helper()
	b, err := e.Bots.Get(e.Context(), id)
	e.ok(err)
	return b
}

func position(at string) store.Checkpoint {
	return store.Checkpoint{
		Position: at, SourceTimestamp: base + 1, StartedTimestamp: base + 2, EndedTimestamp: base + 3, Records: 4,
	}
}

func checkpoint(bot, ref, expected, at string) store.CheckpointWrite {
	return store.CheckpointWrite{Bot: bot, Ref: ref, Expected: expected, Checkpoint: position(at)}
}

func produced(bot, ref, at string) store.Produced {
	return store.Produced{Bot: bot, Ref: ref, Checkpoint: position(at)}
}

func request(bot, ref, head string, at int64) store.Request {
	return store.Request{Bot: bot, Heads: map[string]string{ref: head}, At: at}
}

func confirm(bot string, token int64, requestID string) store.Confirm {
	return store.Confirm{Bot: bot, Token: token, RequestID: requestID, At: token + 1, MaxDuration: 1000}
}
