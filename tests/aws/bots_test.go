//go:build aws

package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	gocmp "github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/monitor"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/tests/aws/internal/testbots"
)

// row returns a bot's row.
func (w *world) row(t *testing.T, id string) store.Bot {
	t.Helper()
	row, err := w.bus.Store().Bots.Get(within(t), id)
	if err != nil {
		t.Fatalf("bot %s: %v", id, err)
	}
	return row
}

// atRest waits until a bot has nothing to do and returns its row.
func (w *world) atRest(t *testing.T, id string) (row store.Bot) {
	t.Helper()
	until(t, func(context.Context) string {
		row = w.row(t, id)
		if row.Instance.InvokeTime != 0 && row.Instance.CompletedTime == 0 {
			return "bot " + id + " is running"
		}
		if row.Trigger > row.InvokeTime && !row.Paused {
			return "bot " + id + " is asked to run"
		}
		return ""
	})
	return row
}

// testCron: the clock's bot runs at its seconds, and not more often.
func (w *world) testCron(t *testing.T) {
	w.bots(t)
	const n = 5
	ticks := decode[testbots.Tick](t, w.await(t, w.bus.Bus, testbots.Ticks, n))
	var gaps []int64
	for i := range ticks[1:] {
		gaps = append(gaps, ticks[i+1].At-ticks[i].At)
	}
	t.Logf("first tick %.1f s after the deployment of the bus, then after %v ms", time.UnixMilli(ticks[0].At).Sub(w.began).Seconds(), gaps)
	row := w.row(t, testbots.Clock)
	if row.Schedule == "" || row.ErrorCount != 0 {
		t.Errorf("the clock has schedule %q and %d errors", row.Schedule, row.ErrorCount)
	}
	runs := map[int64]bool{}
	for _, tick := range ticks {
		runs[tick.At/5000] = true
	}
	if len(runs) < n-1 { // A start that is late may fall together with the next.
		t.Errorf("%d ticks in %d periods of 5 s", n, len(runs))
	}
}

// testPause: C52. Pausing and resuming is what the command line does; one run of a paused bot too.
func (w *world) testPause(t *testing.T) {
	w.bots(t)
	const n = 10
	w.rstreams(t, "pause", testbots.Pausable)
	before := w.row(t, testbots.Pausable)
	if !before.Paused {
		t.Fatal("the bot is not paused")
	}
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: testbots.Gated}, n, w.orders(0))
	w.asked(t, testbots.Pausable, testbots.Gated, w.await(t, w.bus.Bus, testbots.Gated, n)[n-1].EID)
	if row := w.row(t, testbots.Pausable); row.InvokeTime != before.InvokeTime {
		t.Fatal("the paused bot was started")
	}
	w.rstreams(t, "run", "--force", "--wait", "2m", testbots.Pausable)
	numbers(t, "what one run of a paused bot released", w.numbersOf(t, w.await(t, w.bus.Bus, testbots.Released, n)), n)
	once := w.row(t, testbots.Pausable)
	if !once.Paused || once.IgnorePaused {
		t.Errorf("after its one run the bot has paused %v and ignorePaused %v", once.Paused, once.IgnorePaused)
	}
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: testbots.Gated}, n, w.orders(n))
	w.asked(t, testbots.Pausable, testbots.Gated, w.await(t, w.bus.Bus, testbots.Gated, 2*n)[2*n-1].EID)
	if row := w.row(t, testbots.Pausable); row.InvokeTime != once.InvokeTime {
		t.Error("the paused bot ran a second time")
	}
	w.rstreams(t, "resume", testbots.Pausable)
	numbers(t, "what the bot released", w.numbersOf(t, w.await(t, w.bus.Bus, testbots.Released, 2*n)), 2*n)
	w.expect(testbots.Gated, 2*n)
	w.expect(testbots.Released, 2*n)
}

// asked waits until the bus has noted on a bot's row that a queue has come to an event: it has then decided whether to start the bot.
func (w *world) asked(t *testing.T, id, queue, event string) {
	t.Helper()
	until(t, func(context.Context) string {
		if at := w.row(t, id).Requested["queue:"+queue]; at < event {
			return fmt.Sprintf("bot %s was asked to run up to %q, not to %q", id, at, event)
		}
		return ""
	})
}

// testFailing: C53. The times are those that the monitor tells.
func (w *world) testFailing(t *testing.T) {
	w.bots(t)
	const n = 5
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: testbots.Refused}, n, w.orders(0))
	numbers(t, testbots.Accepted, w.numbersOf(t, w.await(t, w.bus.Bus, testbots.Accepted, n)), n)
	w.expect(testbots.Refused, n)
	w.expect(testbots.Accepted, n)
	if row := w.atRest(t, testbots.Failing); row.ErrorCount != 0 || row.Instance.Status != store.StatusComplete {
		t.Errorf("after its success the bot has %d errors and status %q", row.ErrorCount, row.Instance.Status)
	}
	var runs []activity
	until(t, func(ctx context.Context) string {
		runs = slices.DeleteFunc(w.activities(t, ctx, testbots.Failing), func(a activity) bool { return a.Type != "completed" })
		if len(runs) <= testbots.Failures {
			return fmt.Sprintf("the monitor knows of %d runs of %s", len(runs), testbots.Failing)
		}
		return ""
	})
	wait := 1.0
	for i := range testbots.Failures {
		wait *= 2.25
		pause := float64(runs[i+1].Start-runs[i].TS) / 1000
		if !runs[i].Error || pause < wait-0.1 {
			t.Errorf("run %d (error: %v) was followed after %.2f s, want %.2f", i, runs[i].Error, pause, wait)
		}
		t.Logf("after failure %d the next run began %.2f s later, due after %.2f", i+1, pause, wait)
	}
	if runs[testbots.Failures].Error {
		t.Errorf("run %d failed too", testbots.Failures)
	}
}

// testCrash: C58. The bot's process ends in the middle of its run.
func (w *world) testCrash(t *testing.T) {
	w.bots(t)
	const n = 5
	began := time.Now()
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: testbots.Deadly}, n, w.orders(0))
	numbers(t, testbots.Survived, w.numbersOf(t, w.await(t, w.bus.Bus, testbots.Survived, n)), n)
	w.expect(testbots.Deadly, n)
	w.expect(testbots.Survived, n)
	t.Logf("the events came %.1f s after they were written; the time limit of the run that died is %v", time.Since(began).Seconds(),
		testbots.CrashingTimeout)
	if _, err := w.bus.Store().Settings.Get(within(t), testbots.CrashNote(w.run)); err != nil {
		t.Errorf("the bot did not crash: %v", err)
	}
	if row := w.atRest(t, testbots.Crashing); row.Instance.Status != store.StatusComplete {
		t.Errorf("the bot's last run has status %q", row.Instance.Status)
	}
}

// activity is an event of the queue monitor.
type activity struct {
	ID    string `json:"id"`
	Type  string `json:"type"`
	From  string `json:"from"`
	To    string `json:"to"`
	Start int64  `json:"start"`
	TS    int64  `json:"ts"`
	Error bool   `json:"is_error"`
	Units int64  `json:"units"`
}

// activities returns what the monitor has told of a bot since the run of the test began.
func (w *world) activities(t *testing.T, ctx context.Context, bot string) []activity {
	t.Helper()
	var events []rstreams.Event
	for e, err := range w.bus.Read(ctx, monitor.Queue, rstreams.ReadOptions{From: rstreams.At(w.began)}) {
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, e)
	}
	return slices.DeleteFunc(decode[activity](t, events), func(a activity) bool { return a.ID != bot })
}

// testMonitor looks at what testPipeline has left.
func (w *world) testMonitor(t *testing.T) {
	until(t, func(ctx context.Context) string {
		kinds, read := map[string]int{}, int64(0)
		for _, a := range w.activities(t, ctx, testbots.Price) {
			kinds[cmp.Or(a.From+a.To, a.Type)]++
			if a.From != "" {
				read += a.Units
			}
			if a.Error {
				t.Fatalf("the monitor tells of an error: %+v", a)
			}
		}
		for _, kind := range []string{"started", "completed", "queue:" + testbots.Orders, "queue:" + testbots.Priced} {
			if kinds[kind] == 0 {
				return fmt.Sprintf("the monitor tells nothing of %s, but %v", kind, kinds)
			}
		}
		if kinds["started"] < kinds["completed"] {
			return fmt.Sprintf("of %d runs, %d have ended", kinds["started"], kinds["completed"])
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if want := int64(w.counts[testbots.Orders]); read != want {
			return fmt.Sprintf("the monitor tells of %d events read, want %d", read, want)
		}
		return ""
	})
}

// testStack: W-P15, C44. A stack of bots comes, changes and goes.
func (w *world) testStack(t *testing.T) {
	stack := w.bus.stack + "-temp"
	const bystander = "e2e-bystander"
	ctx := within(t)
	err := w.bus.Store().Bots.Register(ctx, store.Registration{
		ID: bystander, Invocation: store.Invocation{Type: "none"}, Triggers: []string{"e2e.stays"}, Paused: true,
		Extra: map[string]json.RawMessage{"of_others": json.RawMessage(`{"a":[1,2]}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	gone := false
	t.Cleanup(func() {
		if !gone {
			w.destroyBots(t, stack)
		}
	})
	if err := w.deployBots(t.Context(), stack, testbots.First); err != nil {
		t.Fatal(err)
	}
	first := w.row(t, testbots.Stays)
	if first.Description != "before" || first.Paused || first.Archived || first.Invocation.Lambda == "" || w.row(t, testbots.Leaves).Archived {
		t.Fatalf("after the first deployment: %+v", first)
	}
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: "e2e.stays"}, 10, w.orders(0))
	w.await(t, w.bus.Bus, "e2e.stayed", 10)
	before := w.atRest(t, testbots.Stays)
	kept := before.Read["queue:e2e.stays"].Position

	if err := w.deployBots(t.Context(), stack, testbots.Second); err != nil {
		t.Fatal(err)
	}
	second := w.row(t, testbots.Stays)
	if second.Description != "after" || !slices.Equal(second.Tags, []string{"new"}) || second.Timeout != 120_000 ||
		!slices.Contains(second.Triggers, "queue:e2e.more") || second.Paused || second.Archived {
		t.Errorf("after the second deployment: %+v", second)
	}
	if at := second.Read["queue:e2e.stays"].Position; kept == "" || at != kept {
		t.Errorf("the checkpoint is %q after a change of the bot, want %q", at, kept)
	}
	if left := w.row(t, testbots.Leaves); !left.Paused || !left.Archived {
		t.Errorf("the bot that left its stack has paused %v and archived %v", left.Paused, left.Archived)
	}
	if comes := w.row(t, testbots.Comes); comes.Paused || comes.Archived {
		t.Errorf("the new bot has paused %v and archived %v", comes.Paused, comes.Archived)
	}
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: "e2e.stays"}, 10, w.orders(10))
	numbers(t, "e2e.stayed", w.numbersOf(t, w.await(t, w.bus.Bus, "e2e.stayed", 20)), 20)
	w.expect("e2e.stayed", 20)
	last := w.atRest(t, testbots.Stays)

	w.bots(t) // They must not come while it is looked at what there is.
	others, item := w.configuration(t), w.item(t, bystander)
	w.destroyBots(t, stack)
	gone = true
	for _, id := range []string{testbots.Stays, testbots.Comes, testbots.Leaves} {
		if row := w.row(t, id); !row.Paused || !row.Archived {
			t.Errorf("bot %s of the deleted stack has paused %v and archived %v", id, row.Paused, row.Archived)
		}
	}
	if at := w.row(t, testbots.Stays).Read["queue:e2e.stays"].Position; at != last.Read["queue:e2e.stays"].Position {
		t.Errorf("the checkpoint of the bot is %q now that its stack is deleted", at)
	}
	if diff := gocmp.Diff(others, w.configuration(t)); diff != "" {
		t.Errorf("the deletion of the stack touched other bots:\n%s", diff)
	}
	if diff := gocmp.Diff(item, w.item(t, bystander)); diff != "" {
		t.Errorf("the deletion of the stack touched the row of another bot:\n%s", diff)
	}
	numbers(t, "e2e.stayed", w.numbersOf(t, w.await(t, w.bus.Bus, "e2e.stayed", 20)), 20)
}

// configuration returns what is declared of the bots that are not of testStack.
func (w *world) configuration(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for after := ""; ; {
		page, err := w.bus.Store().Bots.List(within(t), after, 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range page {
			switch b.ID {
			case testbots.Stays, testbots.Leaves, testbots.Comes, testbots.Pausable:
				continue
			}
			out[b.ID] = fmt.Sprintf("%s %+v %s %q %v %v %v %d %v", b.Name, b.Invocation, b.Settings, b.Schedule, b.Triggers, b.Paused, b.Archived, b.Timeout,
				slices.Sorted(maps.Keys(b.Extra)))
		}
		if len(page) < 100 {
			return out
		}
		after = page[len(page)-1].ID
	}
}

// item returns a bot's row as the table has it.
func (w *world) item(t *testing.T, id string) string {
	t.Helper()
	out, err := dynamodb.NewFromConfig(awstest.Config(t)).GetItem(within(t), &dynamodb.GetItemInput{
		TableName: &w.bus.resources.LeoCron, Key: map[string]ddb.AttributeValue{"id": &ddb.AttributeValueMemberS{Value: id}},
	})
	if err != nil || len(out.Item) == 0 {
		t.Fatalf("bot %s: %v", id, err)
	}
	text, err := json.Marshal(out.Item)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// testReplication: bus.md 3.12.
func (w *world) testReplication(t *testing.T) {
	const n = 300
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: testbots.Mirrored}, n, w.orders(0))
	w.expect(testbots.Mirrored, n)
	original := w.await(t, w.bus.Bus, testbots.Mirrored, n)
	copies := w.await(t, w.other.Bus, testbots.Mirrored, n)
	numbers(t, "the copy", w.numbersOf(t, copies), n)
	for i, e := range copies {
		if c := e.Correlation; c == nil || c.Source != testbots.Mirrored || c.Start != original[i].EID {
			t.Fatalf("copy %d is derived from %+v, want %s", i, c, original[i].EID)
		}
	}
	if row, err := w.other.Store().Bots.Get(within(t), testbots.Price); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the other bus has a bot of this one: %+v, %v", row, err)
	}
}
