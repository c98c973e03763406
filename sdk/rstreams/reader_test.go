package rstreams_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

func TestReadResumesBehindEveryEvent(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("q", numbers(50)...)
	ids = append(ids, bus.Put("q", numbers(100)[50:]...)...)
	for i, id := range ids {
		r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: id})
		got, values, err := read(r)
		if err != nil {
			t.Fatal(err)
		}
		wantRange(t, values, i+1, 100)
		if len(got) > 0 && got[0] != ids[i+1] {
			t.Fatalf("after %s came %s", id, got[0])
		}
		if r.Reason() != rstreams.EndCaughtUp {
			t.Fatalf("reason %v", r.Reason())
		}
	}
}

func TestReadStartsWhereItShould(t *testing.T) {
	clock := time.Date(2026, 11, 20, 23, 59, 59, 0, time.UTC)
	bus := rstreamstest.NewWith(t, rstreamstest.Options{Now: func() time.Time { return clock }})
	var ids []string
	for i := range 6 {
		ids = append(ids, bus.Put("q", number{i})...)
		clock = clock.Add(500 * time.Millisecond) // Two events on the 20th, four on the 21st.
	}
	check := func(name string, b *rstreams.Bus, o rstreams.ReadOptions, first int) {
		t.Helper()
		_, values, err := read(newReader(t, b, "q", o))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if fmt.Sprint(values) != fmt.Sprint(counting(first, 6)) {
			t.Fatalf("%s: got %v, want from %d", name, values, first)
		}
	}
	check("today", bus.Bus, rstreams.ReadOptions{Bot: "new"}, 2)
	check("earliest", bus.Bus, rstreams.ReadOptions{Bot: "new", From: rstreams.Earliest()}, 0)
	check("latest", bus.Bus, rstreams.ReadOptions{From: rstreams.Latest()}, 6)
	check("at", bus.Bus, rstreams.ReadOptions{From: rstreams.At(time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC))}, 2)
	check("at between", bus.Bus, rstreams.ReadOptions{From: rstreams.At(time.Date(2026, 11, 20, 23, 59, 59, 1e6, time.UTC))}, 1)
	check("prefix", bus.Bus, rstreams.ReadOptions{Start: "z/2026/11/20"}, 0)
	check("minute prefix", bus.Bus, rstreams.ReadOptions{Start: "z/2026/11/21/00/00/"}, 2)
	check("id with a space", bus.Bus, rstreams.ReadOptions{Start: ids[2] + " "}, 3)
	err := bus.Checkpoint(t.Context(), rstreams.CheckpointRequest{Bot: "old", Queue: "q", Checkpoint: rstreams.Checkpoint{Position: ids[3]}})
	if err != nil {
		t.Fatal(err)
	}
	check("checkpoint", bus.Bus, rstreams.ReadOptions{Bot: "old", From: rstreams.Earliest()}, 4)
	check("checkpoint of the reader form of the name", bus.Bus, rstreams.ReadOptions{Bot: "old_reader"}, 4)
	check("start before checkpoint", bus.Bus, rstreams.ReadOptions{Bot: "old", Start: ids[0]}, 1)
	session := bus.Session(rstreams.Session{Bot: "old", Starts: map[string]string{"q": ids[1]}})
	check("session's start", session, rstreams.ReadOptions{}, 2)
	check("start before the session's", session, rstreams.ReadOptions{Start: ids[4]}, 5)
	check("session's bot", bus.Session(rstreams.Session{Bot: "old"}), rstreams.ReadOptions{}, 4)
}

func TestBadPositionsAreErrors(t *testing.T) {
	bus := rstreamstest.New(t)
	bus.Put("q", number{1})
	for _, o := range []rstreams.ReadOptions{{Start: "yesterday"}, {Start: "Z/"}, {End: "now"}, {Limit: -1}, {Memory: -1}} {
		if _, err := bus.NewReader("q", o); err == nil {
			t.Errorf("%+v: no error", o)
		}
		for _, err := range bus.Read(t.Context(), "q", o) {
			if err == nil {
				t.Errorf("%+v: no error", o)
			}
		}
	}
	if _, err := bus.NewReader("", rstreams.ReadOptions{}); err == nil {
		t.Error("a queue without a name: no error")
	}
	session := bus.Session(rstreams.Session{Starts: map[string]string{"q": "17"}})
	if _, _, err := read(newReader(t, session, "q", rstreams.ReadOptions{})); !errors.Is(err, eid.ErrInvalid) {
		t.Errorf("session's start: %v", err)
	}
	err := bus.Store().Bots.Checkpoint(t.Context(), store.CheckpointWrite{
		Bot: "b", Ref: "queue:q", Checkpoint: store.Checkpoint{Position: "49000"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := read(newReader(t, bus.Bus, "q", rstreams.ReadOptions{Bot: "b"})); !errors.Is(err, eid.ErrInvalid) {
		t.Errorf("checkpoint: %v", err)
	}
}

func TestUnknownQueueIsEmptyOrAnError(t *testing.T) {
	bus := rstreamstest.New(t)
	r := newReader(t, bus.Bus, "nowhere", rstreams.ReadOptions{Start: "z/"})
	if ids, _, err := read(r); err != nil || len(ids) != 0 || r.Reason() != rstreams.EndCaughtUp {
		t.Fatal(ids, err, r.Reason())
	}
	r = newReader(t, bus.Bus, "nowhere", rstreams.ReadOptions{Start: "z/", StrictQueue: true})
	if _, _, err := read(r); !errors.Is(err, rstreams.ErrQueueNotFound) || r.Reason() != rstreams.EndError {
		t.Fatal(err, r.Reason())
	}
}

func TestLimitsEndAReadExactly(t *testing.T) {
	bus := rstreamstest.New(t)
	var ids []string
	for i := 0; i < 30; i += 10 {
		ids = append(ids, bus.Put("q", numbers(30)[i:i+10]...)...)
	}
	size := int64(0)
	for i := range 30 {
		r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", Limit: int64(i + 1)})
		_, values, err := read(r)
		if err != nil || r.Reason() != rstreams.EndLimit || r.Position() != ids[i] {
			t.Fatal(i, r.Reason(), r.Position(), err)
		}
		wantRange(t, values, 0, i+1)
		size = r.Stats().Bytes
		for _, n := range []int64{size, size - 1} {
			r = newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", Bytes: n})
			if _, values, err := read(r); err != nil || r.Reason() != rstreams.EndBytes || len(values) != i+1 {
				t.Fatal(i, len(values), r.Reason(), err)
			}
		}
		// A second loop goes on, with a fresh limit.
		if i < 29 {
			if _, values, err = read(r); err != nil || len(values) == 0 || values[0] != i+1 {
				t.Fatal(i, values, err)
			}
		}
	}
	r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", Limit: 31})
	if _, _, err := read(r); err != nil || r.Reason() != rstreams.EndCaughtUp {
		t.Fatal(r.Reason(), err)
	}
}

func TestEndIsInclusiveForEachEvent(t *testing.T) {
	bus := rstreamstest.New(t)
	var ids []string
	for i := 0; i < 20; i += 10 {
		ids = append(ids, bus.Put("q", numbers(20)[i:i+10]...)...)
	}
	for i, id := range ids {
		r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", End: id})
		_, values, err := read(r)
		if err != nil || r.Reason() != rstreams.EndReached {
			t.Fatal(i, r.Reason(), err)
		}
		wantRange(t, values, 0, i+1)
		session := bus.Session(rstreams.Session{Max: id})
		if _, values, err = read(newReader(t, session, "q", rstreams.ReadOptions{Start: "z/"})); err != nil || len(values) != i+1 {
			t.Fatal(values, err)
		}
		// As leo-sdk reads: whole chunks of ten only.
		r = newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", End: id, EndByChunk: true})
		if _, values, err = read(r); err != nil || len(values) != (i+1)/10*10 {
			t.Fatal(i, values, err)
		}
	}
	r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: ids[5], End: ids[5]})
	if _, values, err := read(r); err != nil || len(values) != 0 || r.Reason() != rstreams.EndReached {
		t.Fatal(values, r.Reason(), err)
	}
	r = newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", End: "z/9"})
	if _, values, err := read(r); err != nil || len(values) != 20 || r.Reason() != rstreams.EndCaughtUp {
		t.Fatal(values, r.Reason(), err)
	}
}

func TestLeavingTheLoopLeavesNothingBehind(t *testing.T) {
	bus := rstreamstest.New(t)
	for i := 0; i < 100; i += 10 {
		bus.Put("q", numbers(100)[i:i+10]...)
	}
	for _, follow := range []bool{false, true} {
		r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", Follow: follow, Parallel: 8})
		n := 0
		for _, err := range r.All(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 3 {
				break
			}
		}
		if err := goleak.Find(goleak.IgnoreCurrent()); err != nil {
			t.Fatal(err)
		}
		if r.Reason() != rstreams.EndNone || r.Position() != bus.Events("q")[2].EID {
			t.Fatal(r.Reason(), r.Position())
		}
	}
}

func TestFollowDeliversWhatComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := rstreamstest.New(t)
		got := make(chan int, 100)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/", Follow: true})
		done := make(chan error)
		go func() {
			var last error
			for e, err := range r.All(ctx) {
				if err != nil {
					last = err
					continue
				}
				n, _ := rstreams.Decode[number](e)
				got <- n.I
			}
			done <- last
		}()
		synctest.Wait() // The queue does not exist yet.
		for i := range 20 {
			bus.Put("other", number{i})
			bus.Put("q", number{i})
			synctest.Wait()
			select {
			case v := <-got:
				if v != i {
					t.Fatalf("got %d, want %d", v, i)
				}
			default:
				t.Fatalf("event %d did not come", i)
			}
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || r.Reason() != rstreams.EndCanceled {
			t.Fatal(err, r.Reason())
		}
	})
}

func TestStopTimesEndAReadWithoutAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bus := rstreamstest.New(t)
		bus.Put("q", numbers(3)...)
		stop := make(chan struct{})
		time.AfterFunc(3*time.Second, func() { close(stop) })
		now := time.Now().AddDate(30, 0, 0) // As the test's bus has it.
		for name, c := range map[string]struct {
			bus *rstreams.Bus
			o   rstreams.ReadOptions
		}{
			"run time":          {bus.Bus, rstreams.ReadOptions{RunTime: 3 * time.Second}},
			"stop at":           {bus.Bus, rstreams.ReadOptions{StopAt: now.Add(3 * time.Second)}},
			"session's stop at": {bus.Session(rstreams.Session{StopAt: now.Add(3 * time.Second)}), rstreams.ReadOptions{RunTime: time.Hour}},
			"session's stop":    {bus.Session(rstreams.Session{Stop: stop}), rstreams.ReadOptions{RunTime: time.Hour}},
			"far away":          {bus.Session(rstreams.Session{StopAt: now.AddDate(1, 0, 0)}), rstreams.ReadOptions{RunTime: 3 * time.Second}},
		} {
			c.o.Start, c.o.Follow = "z/", true
			r := newReader(t, c.bus, "q", c.o)
			begin := time.Now()
			_, values, err := read(r)
			if err != nil || r.Reason() != rstreams.EndTime {
				t.Fatal(name, r.Reason(), err)
			}
			if took := time.Since(begin); took > 3*time.Second {
				t.Fatalf("%s: took %s", name, took)
			}
			if time.Since(begin) > 0 {
				wantRange(t, values, 0, 3)
			}
		}
	})
}

func TestCanceledReadIsAnError(t *testing.T) {
	bus := rstreamstest.New(t)
	bus.Put("q", numbers(100)...)
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	cause := errors.New("enough")
	r := newReader(t, bus.Bus, "q", rstreams.ReadOptions{Start: "z/"})
	n := 0
	var last error
	for _, err := range r.All(ctx) {
		if last = err; err == nil {
			if n++; n == 10 {
				cancel(cause)
			}
		}
	}
	if !errors.Is(last, cause) || r.Reason() != rstreams.EndCanceled || n != 10 {
		t.Fatal(n, last, r.Reason())
	}
}

func TestReaderCheckpointsAreConditional(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.PutEvents("q",
		rstreams.Event{Payload: []byte(`{"i":0}`), SourceTimestamp: 1600000000000},
		rstreams.Event{Payload: []byte(`{"i":1}`), SourceTimestamp: 1500000000000, Units: 3},
		rstreams.Event{Payload: []byte(`{"i":2}`), SourceTimestamp: 1700000000000},
	)
	open := func() *rstreams.Reader {
		return newReader(t, bus.Bus, "q", rstreams.ReadOptions{Bot: "b", From: rstreams.Earliest()})
	}
	one, two := open(), open()
	if err := one.Checkpoint(t.Context()); err != nil {
		t.Fatal("nothing was read, nothing is to do:", err)
	}
	for _, r := range []*rstreams.Reader{one, two} {
		if _, _, err := read(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	cp, err := bus.GetCheckpoint(t.Context(), "b", "q")
	if err != nil || cp.Position != ids[2] || cp.Records != 5 || cp.SourceTimestamp != 1500000000000 {
		t.Fatalf("%+v %v", cp, err)
	}
	if err := two.Checkpoint(t.Context()); !errors.Is(err, rstreams.ErrStaleCheckpoint) || !errors.Is(err, store.ErrConflict) {
		t.Fatal(err)
	}
	more := bus.Put("q", number{3})
	if _, _, err := read(one); err != nil {
		t.Fatal(err)
	}
	if err := one.Checkpoint(t.Context()); err != nil || bus.Position("b", "q") != more[0] {
		t.Fatal(err)
	}
}

func TestCheckpointRules(t *testing.T) {
	bus := rstreamstest.New(t)
	a, b := "z/2026/11/21/00/00/1795219200000-0000001", "z/2026/11/21/00/00/1795219200000-0000002"
	set := func(position, expected string, edit func(*rstreams.CheckpointRequest)) error {
		c := rstreams.CheckpointRequest{Bot: "b", Queue: "queue:q", Checkpoint: rstreams.Checkpoint{Position: position}, Expected: expected}
		if edit != nil {
			edit(&c)
		}
		return bus.Checkpoint(t.Context(), c)
	}
	for _, step := range []struct {
		position, expected string
		edit               func(*rstreams.CheckpointRequest)
		want               error
	}{
		{a, b, func(c *rstreams.CheckpointRequest) { c.Backwards = true }, rstreams.ErrStaleCheckpoint},
		{a, "", nil, nil},
		{b, "", nil, rstreams.ErrStaleCheckpoint},
		{b, a, nil, nil},
		{a, b, nil, rstreams.ErrBackwards},
		{a, b, func(c *rstreams.CheckpointRequest) { c.Backwards = true }, nil},
		{b, "z/", func(c *rstreams.CheckpointRequest) { c.Force = true }, nil},
		{"seventeen", b, nil, eid.ErrInvalid},
		{"", b, nil, eid.ErrInvalid},
	} {
		if err := set(step.position, step.expected, step.edit); !errors.Is(err, step.want) {
			t.Fatalf("%+v: %v", step, err)
		}
	}
	if got := bus.Position("b", "q"); got != b {
		t.Fatal(got)
	}
	err := bus.Checkpoint(t.Context(), rstreams.CheckpointRequest{
		Bot: "b", Queue: "system:s", Checkpoint: rstreams.Checkpoint{Position: "row 17"},
	})
	if err != nil || bus.Position("b", "system:s") != "row 17" {
		t.Fatal("positions in systems are free:", err)
	}
	if err := bus.Checkpoint(t.Context(), rstreams.CheckpointRequest{Queue: "q"}); err == nil {
		t.Fatal("no bot: no error")
	}
}

func TestGetAndTraceFindEventsAndTheirAncestors(t *testing.T) {
	bus := rstreamstest.New(t)
	ids := bus.Put("a", numbers(10)...)
	for i, id := range ids {
		e, err := bus.Get(t.Context(), "a", id)
		if err != nil || e.EID != id || string(e.Payload) != fmt.Sprintf(`{"i":%d}`, i) {
			t.Fatal(e, err)
		}
	}
	if _, err := bus.Get(t.Context(), "a", ids[0][:len(ids[0])-7]+"0000099"); !errors.Is(err, rstreams.ErrEventNotFound) {
		t.Fatal(err)
	}
	if _, err := bus.Get(t.Context(), "nowhere", ids[0]); !errors.Is(err, rstreams.ErrEventNotFound) {
		t.Fatal(err)
	}
	for _, step := range [][2]string{{"a", "b"}, {"b", "c"}} {
		bus.Enrich(rstreams.EnrichOptions{Bot: "to-" + step[1], From: []string{step[0]}, To: step[1]}, double)
	}
	last := bus.Events("c")[9]
	steps, err := bus.Trace(t.Context(), "c", last.EID)
	if err != nil || len(steps) != 3 {
		t.Fatal(steps, err)
	}
	for i, want := range []struct{ queue, bot, payload string }{
		{"c", "to-c", `{"i":36}`}, {"b", "to-b", `{"i":18}`}, {"a", "test-writer", `{"i":9}`},
	} {
		s := steps[i]
		if s.Err != nil || s.Queue != want.queue || s.Event.Bot != want.bot || string(s.Event.Payload) != want.payload || s.Units != 1 {
			t.Fatalf("%d: %+v", i, s)
		}
	}
	if err := bus.Store().Chunks.Delete(t.Context(), "b", []string{chunksOf(t, bus, "b")[0].End}); err != nil {
		t.Fatal(err)
	}
	steps, err = bus.Trace(t.Context(), "c", last.EID)
	if err != nil || len(steps) != 2 || !errors.Is(steps[1].Err, rstreams.ErrEventNotFound) {
		t.Fatal(steps, err)
	}
}

func TestTypedReads(t *testing.T) {
	bus := rstreamstest.New(t)
	bus.Put("q", number{1}, number{2}, "text")
	var got []int
	var last error
	for e, err := range rstreams.ReadTyped[number](t.Context(), bus.Bus, "q", rstreams.ReadOptions{Start: "z/"}) {
		if last = err; err == nil {
			got = append(got, e.Value.I)
		}
	}
	if !slices.Equal(got, []int{1, 2}) || !errors.Is(last, rstreams.ErrDecode) {
		t.Fatal(got, last)
	}
}
