package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/lambdas/internal/dispatcher"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

func newEnv(st store.Store, out io.Writer) *shell.Env {
	return &shell.Env{
		Store: st, Logger: slog.New(slog.DiscardHandler), Metrics: shell.NewMetrics(out, "bus", "event-trigger", time.Now),
		PartialBatch: true, Getenv: func(string) string { return "" },
	}
}

// started records the bots that were invoked.
type started []string

func (s *started) Invoke(_ context.Context, bot store.Bot, _ []byte) error {
	*s = append(*s, bot.ID)
	return nil
}

// TestTheOriginalsBatches replays the recorded stream records of the original: the same bots are asked for the same heads.
func TestTheOriginalsBatches(t *testing.T) {
	raw, err := os.ReadFile("testdata/triggers.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Cases []struct {
			Note    string
			Records json.RawMessage
			Updates []struct {
				Key                       struct{ ID struct{ S string } }
				ExpressionAttributeNames  map[string]string
				ExpressionAttributeValues map[string]map[string]string
			}
		}
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	for _, c := range g.Cases {
		st := memory.New(memory.Options{})
		for _, r := range []store.Registration{
			{ID: "t-one", Triggers: []string{"q.t1"}},
			{ID: "t-two", Triggers: []string{"queue:q.t2", "q.t1"}},
			{ID: "t-arch", Triggers: []string{"q.t1"}},
		} {
			r.Invocation = store.Invocation{Type: "lambda", Lambda: r.ID}
			if err := st.Bots.Register(t.Context(), r); err != nil {
				t.Fatal(err)
			}
		}
		yes := true
		if err := st.Bots.Control(t.Context(), "t-arch", store.Control{Archived: &yes}); err != nil {
			t.Fatal(err)
		}
		var e shell.DynamoEvent
		if err := json.Unmarshal([]byte(`{"Records":`+string(c.Records)+`}`), &e); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		var s started
		env := newEnv(st, &out)
		answer, err := handler(env, dispatcher.New(env, &s), time.Now)(t.Context(), e)
		if err != nil || answer.Failed() != "" {
			t.Errorf("%s: %v, %v", c.Note, answer, err)
		}
		want, got, bots := map[string]string{}, map[string]string{}, map[string]bool{}
		for _, u := range c.Updates {
			for name, attr := range u.ExpressionAttributeNames {
				if n, ok := strings.CutPrefix(name, "#n_"); ok {
					want[u.Key.ID.S+" "+attr] = u.ExpressionAttributeValues[":v_"+n]["S"]
					bots[u.Key.ID.S] = true
				}
			}
		}
		for _, id := range []string{"t-one", "t-two", "t-arch"} {
			b, err := st.Bots.Get(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			for ref, head := range b.Requested {
				got[id+" "+ref] = head
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", c.Note, diff)
		}
		if len(s) != len(bots) {
			t.Errorf("%s: started %v", c.Note, s)
		}
		if want := fmt.Sprintf(`"RunsStarted":%d`, len(s)); len(s) > 0 && !strings.Contains(out.String(), want) {
			t.Errorf("%s: metrics %s", c.Note, out.String())
		}
	}
}

// record returns a change of a queue's row.
func record(n int, old, now string) shell.DynamoRecord {
	var r shell.DynamoRecord
	r.Change.SequenceNumber = fmt.Sprint(1000 + n)
	r.Change.Created.Time = time.UnixMilli(1_795_228_500_000)
	image := func(s string) json.RawMessage {
		if s == "" {
			return nil
		}
		return json.RawMessage(s)
	}
	r.Change.OldImage, r.Change.NewImage = image(old), image(now)
	return r
}

func row(queue, head, more string) string {
	return fmt.Sprintf(`{"event":{"S":%q},"max_eid":{"S":%q}%s}`, queue, head, more)
}

// TestOnlyAHeadThatMovedCounts: claims and releases, archives and snapshots, deletions and unreadable rows move none.
func TestOnlyAHeadThatMovedCounts(t *testing.T) {
	const (
		one = "z/2026/11/21/02/35/1795228500001-0000001"
		two = "z/2026/11/21/02/35/1795228500002-0000001"
	)
	open := `,"sequencing":{"M":{"open":{"BOOL":true},"fence":{"N":"2"}}}`
	published := `,"timestamp":{"N":"1795228499000"}`
	at := int64(1_795_228_500_000)
	for _, c := range []struct {
		what    string
		records []shell.DynamoRecord
		want    map[string]dispatch.Head
		bad     int
	}{
		{"nothing", nil, nil, 0},
		{"a new queue", []shell.DynamoRecord{record(1, "", row("q", one, published))}, map[string]dispatch.Head{"q": {ID: one, At: 1_795_228_499_000}}, 0},
		{"no time of publication", []shell.DynamoRecord{record(1, "", row("q", one, ""))}, map[string]dispatch.Head{"q": {ID: one, At: at}}, 0},
		{"a claim of a new queue", []shell.DynamoRecord{record(1, "", row("q", "z/", open))}, nil, 0},
		{"a claim", []shell.DynamoRecord{record(1, row("q", one, ""), row("q", one, open))}, nil, 0},
		{"an archive", []shell.DynamoRecord{record(1, row("q", one, ""), row("q", one, `,"archive":{"M":{"end":{"S":"z/2"}}}`))}, nil, 0},
		{"a deletion", []shell.DynamoRecord{record(1, row("q", one, ""), "")}, nil, 0},
		{"the newest of a batch", []shell.DynamoRecord{
			record(1, "", row("q", one, "")), record(2, row("q", one, ""), row("q", two, "")), record(3, row("p", "z/", ""), row("p", one, "")),
		}, map[string]dispatch.Head{"q": {ID: two, At: at}, "p": {ID: one, At: at}}, 0},
		{"an unreadable row among others", []shell.DynamoRecord{
			record(1, "", row("old", "not an id", "")), record(2, "", row("q", one, "")), record(3, "", `{"event":7}`),
		}, map[string]dispatch.Head{"q": {ID: one, At: at}}, 2},
		{"an unreadable old row", []shell.DynamoRecord{record(1, row("q", "not an id", ""), row("q", one, ""))}, map[string]dispatch.Head{"q": {ID: one, At: at}}, 0},
	} {
		heads, bad := moved(newEnv(store.Store{}, io.Discard), shell.DynamoEvent{Records: c.records}, time.Now())
		if c.want == nil {
			c.want = map[string]dispatch.Head{}
		}
		if diff := cmp.Diff(c.want, heads); diff != "" || bad != c.bad {
			t.Errorf("%s: %d unreadable, %s", c.what, bad, diff)
		}
	}
}

// down is a table that refuses everything, or one row of it.
type down struct {
	store.Bots
	bot string
	err error
}

func (d down) Get(ctx context.Context, id string) (store.Bot, error) {
	if d.bot == "" || d.bot == id {
		return store.Bot{}, d.err
	}
	return d.Bots.Get(ctx, id)
}

// TestWhatComesAgain: a batch does when the storage fails, and not because of one bad bot (W-P4).
func TestWhatComesAgain(t *testing.T) {
	head := "z/2026/11/21/02/35/1795228500001-0000001"
	for _, c := range []struct {
		what    string
		bots    int
		bad     string
		err     error
		partial bool
		again   string
		fails   bool
	}{
		{"all is well", 3, "nobody", nil, true, "", false},
		{"one bad bot", 3, "b1", store.ErrThrottled, true, "", false},
		{"the storage is down", 3, "", store.ErrUnavailable, true, "1001", false},
		{"the storage is down, on an emulator", 3, "", store.ErrUnavailable, false, "", true},
		{"nothing that a repetition helps", 1, "", store.ErrTooLarge, true, "", false},
		{"the only bot, throttled", 1, "", store.ErrThrottled, true, "1001", false},
	} {
		st := memory.New(memory.Options{})
		for i := range c.bots {
			if err := st.Bots.Register(t.Context(), store.Registration{
				ID: fmt.Sprint("b", i), Triggers: []string{"q"}, Invocation: store.Invocation{Type: "lambda", Lambda: "f"},
			}); err != nil {
				t.Fatal(err)
			}
		}
		if c.err != nil {
			st.Bots = down{st.Bots, c.bad, c.err}
		}
		var s started
		env := newEnv(st, io.Discard)
		env.PartialBatch = c.partial
		answer, err := handler(env, dispatcher.New(env, &s), time.Now)(t.Context(), shell.DynamoEvent{Records: []shell.DynamoRecord{
			record(1, "", row("q", head, "")), record(2, "", row("p", head, "")),
		}})
		if (err != nil) != c.fails || answer.Failed() != c.again || err != nil && !errors.Is(err, c.err) {
			t.Errorf("%s: again from %q, %v", c.what, answer.Failed(), err)
		}
	}
}

// unreachable are functions of a region that does not answer, but for one.
type unreachable struct{ but string }

func (u unreachable) Invoke(ctx context.Context, bot store.Bot, _ []byte) error {
	if bot.ID == u.but {
		return nil
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// TestWP4TargetsThatDoNotAnswerLeaveNoBotLocked when the function's time is over, and hold up no other bot.
func TestWP4TargetsThatDoNotAnswerLeaveNoBotLocked(t *testing.T) {
	for _, c := range []struct {
		far     int
		started bool // in this invocation; else it is asked to run, which bot-runner sees
	}{{200, true}, {1000, false}} {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Until(time.Date(2026, 11, 21, 2, 35, 0, 0, time.UTC)))
			st := memory.New(memory.Options{})
			for i := range c.far + 1 {
				if err := st.Bots.Register(t.Context(), store.Registration{
					ID: fmt.Sprintf("b%04d", i), Triggers: []string{"q"}, Invocation: store.Invocation{Type: "lambda", Lambda: "f"},
				}); err != nil {
					t.Fatal(err)
				}
			}
			near := fmt.Sprintf("b%04d", c.far)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			env := newEnv(st, io.Discard)
			head := "z/2026/11/21/02/35/1795228500001-0000001"
			answer, err := handler(env, dispatcher.New(env, unreachable{near}), time.Now)(ctx, shell.DynamoEvent{Records: []shell.DynamoRecord{
				record(1, "", row("q", head, "")),
			}})
			if end, _ := ctx.Deadline(); err != nil || answer.Failed() != "" || time.Until(end) < dispatcher.Reserve {
				t.Errorf("%d: again from %q, %v, %v left", c.far, answer.Failed(), err, time.Until(end))
			}
			bots, err := st.Bots.List(t.Context(), "", c.far+1)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range bots {
				switch {
				case b.ID == near:
					if locked := dispatch.Deadline(&b) != 0; locked != c.started || b.Requested["queue:q"] != head {
						t.Errorf("%d: started %v, %+v", c.far, locked, b)
					}
				case dispatch.Deadline(&b) != 0 || b.Requested["queue:q"] != head:
					t.Fatalf("%d: %s is locked, or was not asked: %+v", c.far, b.ID, b.Instance)
				}
			}
		})
	}
}

// TestLocalBotsAreAskedOnly: the process that has them starts them.
func TestLocalBotsAreAskedOnly(t *testing.T) {
	st := memory.New(memory.Options{})
	if err := st.Bots.Register(t.Context(), store.Registration{ID: "b", Triggers: []string{"q"}, Invocation: store.Invocation{Type: "local"}}); err != nil {
		t.Fatal(err)
	}
	var s started
	env := newEnv(st, io.Discard)
	head := "z/2026/11/21/02/35/1795228500001-0000001"
	if _, err := handler(env, dispatcher.New(env, &s), time.Now)(t.Context(), shell.DynamoEvent{
		Records: []shell.DynamoRecord{record(1, "", row("q", head, ""))},
	}); err != nil {
		t.Fatal(err)
	}
	if b, err := st.Bots.Get(t.Context(), "b"); err != nil || b.Requested["queue:q"] != head || len(s) != 0 {
		t.Errorf("started %v, %+v, %v", s, b, err)
	}
}
