package aws_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
)

// Rows as they are in the tables, on an emulator: what is written and what other software left.

func s(v string) ddb.AttributeValue { return &ddb.AttributeValueMemberS{Value: v} }
func n(v int64) ddb.AttributeValue  { return &ddb.AttributeValueMemberN{Value: fmt.Sprint(v)} }
func m(v awstest.Item) ddb.AttributeValue {
	return &ddb.AttributeValueMemberM{Value: v}
}
func yes() ddb.AttributeValue     { return &ddb.AttributeValueMemberBOOL{Value: true} }
func nothing() ddb.AttributeValue { return &ddb.AttributeValueMemberNULL{Value: true} }
func l(v ...ddb.AttributeValue) ddb.AttributeValue {
	return &ddb.AttributeValueMemberL{Value: append([]ddb.AttributeValue{}, v...)}
}

const at = "z/2024/01/02/03/00/1704164400000-000000"

func sameRow(t *testing.T, got, want awstest.Item) {
	t.Helper()
	types := cmpopts.IgnoreUnexported(ddb.AttributeValueMemberS{}, ddb.AttributeValueMemberN{}, ddb.AttributeValueMemberM{},
		ddb.AttributeValueMemberL{}, ddb.AttributeValueMemberB{}, ddb.AttributeValueMemberBOOL{}, ddb.AttributeValueMemberNULL{})
	if d := cmp.Diff(want, got, types, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("row (-want +got):\n%s", d)
	}
}

// L5: the rows of the original's createBot (testdata/rows.json), but that triggers are references.
func TestRegisterWritesTheRowOfCreateBot(t *testing.T) {
	o := awstest.New(t)
	bots := awstest.OpenWith(t, *o).Store().Bots
	row := func(id string) awstest.Item { return awstest.GetItem(t, o.Resources.LeoCron, awstest.Key("id", id)) }
	err := bots.Register(t.Context(), store.Registration{
		ID: "g-full", Name: "full", Description: "all of it", Owner: "me", Invocation: store.Invocation{Type: "lambda", Lambda: "fn"},
		Settings: json.RawMessage(`{"source":"src","destination":"dst","color":"red"}`), Schedule: "0 */5 * * * *",
		Triggers: []string{"t1", "queue:t2", "src"}, Writes: []string{"dst"}, Paused: true,
		Extra: map[string]json.RawMessage{"system": json.RawMessage(`{"id":"system:s"}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	full := awstest.Item{
		"id": s("g-full"), "lambdaName": s("fn"), "name": s("full"), "description": s("all of it"), "owner": s("me"), "paused": yes(),
		"lambda": m(awstest.Item{"settings": l(m(awstest.Item{"source": s("src"), "destination": s("dst"), "color": s("red")}))}),
		"time":   s("0 */5 * * * *"), "triggers": l(s("queue:t1"), s("queue:t2"), s("queue:src")), "executionType": s("lambda"),
		"system": m(awstest.Item{"id": s("system:s")}), "instances": m(nil), "requested_kinesis": m(nil),
		"checkpoints": m(awstest.Item{
			"read":  m(awstest.Item{"queue:t1": m(nil), "queue:t2": m(nil), "queue:src": m(nil)}),
			"write": m(awstest.Item{"queue:dst": m(nil)}),
		}),
	}
	sameRow(t, row("g-full"), full)

	if err := bots.Register(t.Context(), store.Registration{ID: "g-min", Invocation: store.Invocation{Type: "lambda"}}); err != nil {
		t.Fatal(err)
	}
	sameRow(t, row("g-min"), awstest.Item{
		"id": s("g-min"), "lambdaName": s("g-min"), "description": nothing(), "time": nothing(), "triggers": l(), "executionType": s("lambda"),
		"paused": &ddb.AttributeValueMemberBOOL{}, "lambda": m(awstest.Item{"settings": l(m(nil))}),
		"instances": m(nil), "requested_kinesis": m(nil), "checkpoints": m(awstest.Item{"read": m(nil), "write": m(nil)}),
	})
}

// The rows of one bot through its life, as the original software would write them (bus.md 1.4).
func TestTheRowOfARun(t *testing.T) {
	o := awstest.New(t)
	bots := awstest.OpenWith(t, *o).Store().Bots
	row := func() awstest.Item { return awstest.GetItem(t, o.Resources.LeoCron, awstest.Key("id", "b")) }
	checkpoint := store.Checkpoint{Position: at + "1", SourceTimestamp: 1, StartedTimestamp: 2, EndedTimestamp: 3, Records: 4}
	point := m(awstest.Item{"checkpoint": s(at + "1"), "source_timestamp": n(1), "started_timestamp": n(2), "ended_timestamp": n(3), "records": n(4)})
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(bots.Checkpoint(t.Context(), store.CheckpointWrite{Bot: "b_reader", Ref: "queue:in", Checkpoint: checkpoint}))
	want := awstest.Item{ // C5, C43: the skeleton of the original
		"id": s("b"), "name": s("b"), "description": nothing(), "lambda": m(nil), "lambdaName": nothing(), "time": nothing(),
		"paused": &ddb.AttributeValueMemberBOOL{}, "instances": m(nil), "requested_kinesis": m(nil),
		"checkpoints": m(awstest.Item{"read": m(awstest.Item{"queue:in": point}), "write": m(nil)}),
	}
	sameRow(t, row(), want)

	must(bots.Request(t.Context(), store.Request{Bot: "b", Heads: map[string]string{"queue:in": at + "5"}, At: 50}))
	must(bots.Produced(t.Context(), []store.Produced{{Bot: "b", Ref: "queue:out", Checkpoint: checkpoint}}))
	want["requested_kinesis"], want["trigger"] = m(awstest.Item{"queue:in": s(at + "5")}), n(50)
	want["checkpoints"] = m(awstest.Item{"read": m(awstest.Item{"queue:in": point}), "write": m(awstest.Item{"queue:out": point})})
	sameRow(t, row(), want)

	read, requested := map[string]string{"queue:in": at + "1"}, map[string]string{"queue:in": at + "5"}
	must(bots.Lock(t.Context(), store.Lock{Bot: "b", At: 100, Progress: read, Requested: requested, Stalls: 2}))
	instance := awstest.Item{"token": n(100), "invokeTime": n(100), "status": nothing()}
	want["instances"], want["invokeTime"], want["token"] = m(awstest.Item{"0": m(instance)}), n(100), n(100)
	want["progress"], want["stalls"] = m(awstest.Item{"queue_position": s(at + "1")}), n(2)
	want["progress_read"], want["progress_requested"] = m(awstest.Item{"queue:in": s(at + "1")}), m(awstest.Item{"queue:in": s(at + "5")})
	sameRow(t, row(), want)

	must(bots.Confirm(t.Context(), store.Confirm{Bot: "b", Token: 100, RequestID: "r", At: 110, MaxDuration: 900}))
	must(bots.Complete(t.Context(), store.Complete{Bot: "b", Token: 100, RequestID: "r", At: 120, Failed: true, Log: []byte("gzip"), RetryAt: 999}))
	maps.Copy(instance, awstest.Item{"startTime": n(110), "requestId": s("r"), "maxDuration": n(900), "completedTime": n(120),
		"status": s("error"), "log": &ddb.AttributeValueMemberB{Value: []byte("gzip")}, "result": nothing()})
	maps.Copy(want, awstest.Item{"errorCount": n(1), "message": nothing(), "scheduledTrigger": n(999)})
	sameRow(t, row(), want)

	must(bots.Lock(t.Context(), store.Lock{Bot: "b", Seen: 100, At: 200}))
	maps.Copy(want, awstest.Item{"invokeTime": n(200), "token": n(200), "progress": m(nil),
		"instances": m(awstest.Item{"0": m(awstest.Item{"token": n(200), "invokeTime": n(200), "status": s("error")})})})
	for _, gone := range []string{"progress_read", "progress_requested", "stalls"} {
		delete(want, gone)
	}
	sameRow(t, row(), want)
}

// The start of leo-sdk 6.0.18 (lib/cron.js, checkLock) tests no completedTime. AWS keeps an invocation for hours that the function
// had no room for, so that a run may be delivered long after it was expired or given back (C50).
func TestARunThatEndedBeforeItStartedCannotBeStartedByTheOriginal(t *testing.T) {
	o := awstest.New(t)
	bots := awstest.OpenWith(t, *o).Store().Bots
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	client := dynamodb.NewFromConfig(awstest.Config(t))
	checkLock := func(token int64) error {
		_, err := client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{
			TableName: &o.Resources.LeoCron, Key: awstest.Key("id", "b"),
			UpdateExpression: awssdk.String("set #instances.#index.#startTime = :startTime, #instances.#index.#requestId = :requestId, #instances.#index.#maxDuration = :maxDuration"),
			ConditionExpression: awssdk.String("#instances.#index.#token = :token AND attribute_not_exists(#instances.#index.#startTime) AND " +
				"attribute_not_exists(#instances.#index.#requestId)"),
			ExpressionAttributeNames: map[string]string{"#instances": "instances", "#index": "0", "#token": "token",
				"#startTime": "startTime", "#requestId": "requestId", "#maxDuration": "maxDuration"},
			ExpressionAttributeValues: awstest.Item{":token": n(token), ":startTime": n(token + 1), ":requestId": s("node"), ":maxDuration": n(5)},
		})
		return err
	}
	must(bots.Register(t.Context(), store.Registration{ID: "b"}))
	// The first lock makes the map of the run, the second takes the id of the run before away.
	for _, token := range []int64{100, 200} {
		must(bots.Lock(t.Context(), store.Lock{Bot: "b", Seen: token - 100, At: token}))
		must(bots.Complete(t.Context(), store.Complete{Bot: "b", Token: token, At: token + 50, Failed: true}))
		if _, refused := errors.AsType[*ddb.ConditionalCheckFailedException](checkLock(token)); !refused {
			t.Errorf("the original starts run %d, which has ended", token)
		}
	}
	must(bots.Lock(t.Context(), store.Lock{Bot: "b", Seen: 200, At: 300}))
	must(checkLock(300))
}

// Rows as the original software leaves them: all steps work on each of them, and what is unknown stays.
func TestRowsOfTheOriginalCanBeRun(t *testing.T) {
	o := awstest.New(t)
	bots := awstest.OpenWith(t, *o).Store().Bots
	rows := map[string]awstest.Item{
		"bare":        {},
		"null maps":   {"checkpoints": nothing(), "instances": nothing(), "requested_kinesis": nothing(), "trigger": nothing()},
		"half a map":  {"checkpoints": m(awstest.Item{"read": m(nil)}), "instances": m(nil)},
		"v1":          {"checkpoint": s("4954"), "checkpoints": m(awstest.Item{"write": m(nil)})},
		"placeholder": {"checkpoints": m(awstest.Item{"read": m(awstest.Item{"queue:in": m(nil)}), "write": m(awstest.Item{"queue:out": m(nil)})})},
		"empty position": {"checkpoints": m(awstest.Item{"read": m(awstest.Item{"queue:in": m(awstest.Item{"checkpoint": s("")})}),
			"write": m(awstest.Item{"queue:out": m(awstest.Item{"checkpoint": nothing()})})}),
			"requested_kinesis": m(awstest.Item{"queue:in": nothing()})},
		"W-P8": {"invokeTime": n(40), "token": n(40), "trigger": n(40),
			"instances": m(awstest.Item{"0": m(awstest.Item{"completedTime": n(45), "status": s("complete")})})},
		"forced": {"invokeTime": n(40), "checkpoint": s("x"), "instances": m(awstest.Item{"0": m(awstest.Item{"token": n(40), "requestId": s("r0"),
			"startTime": n(41), "invokeTime": n(40), "maxDuration": n(1), "status": nothing()})})},
		"lock without an instance": {"invokeTime": n(40), "instances": m(nil)},
		"run":                      {"invokeTime": n(40), "instances": m(awstest.Item{"0": m(awstest.Item{"token": n(7), "invokeTime": n(40), "requestId": s("a"), "startTime": n(41), "completedTime": n(50), "status": s("complete"), "result": nothing(), "log": nothing()})})},
		"zero":                     {"invokeTime": n(0), "trigger": n(0), "scheduledTrigger": n(0), "errorCount": n(0)},
		"fractions":                {"scheduledTrigger": &ddb.AttributeValueMemberN{Value: "1704164645678.0625"}, "trigger": &ddb.AttributeValueMemberN{Value: "12.5"}},
	}
	for name, left := range rows {
		t.Run(name, func(t *testing.T) {
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			row := maps.Clone(left)
			row["id"], row["health"], row["custom"] = s(name), m(awstest.Item{"mute": yes()}), l(n(1))
			awstest.PutItem(t, o.Resources.LeoCron, row)
			before, err := bots.Get(t.Context(), name)
			must(err)
			must(bots.Checkpoint(t.Context(), store.CheckpointWrite{Bot: name, Ref: "queue:in", Checkpoint: store.Checkpoint{Position: at + "1"}}))
			must(bots.Request(t.Context(), store.Request{Bot: name, Heads: map[string]string{"queue:in": at + "2"}, At: 100}))
			must(bots.Produced(t.Context(), []store.Produced{{Bot: name, Ref: "queue:out", Checkpoint: store.Checkpoint{Position: at + "3"}}}))
			must(bots.Lock(t.Context(), store.Lock{Bot: name, Seen: before.InvokeTime, At: 200, Heads: map[string]string{"queue:in2": at + "4"}, Trigger: 150}))
			if err := bots.Lock(t.Context(), store.Lock{Bot: name, Seen: before.InvokeTime, At: 201}); !errors.Is(err, store.ErrConflict) {
				t.Errorf("a second lock: %v", err)
			}
			must(bots.Confirm(t.Context(), store.Confirm{Bot: name, Token: 200, RequestID: "r", At: 210, MaxDuration: 5}))
			must(bots.Extend(t.Context(), store.Confirm{Bot: name, Token: 200, RequestID: "r", MaxDuration: 9}))
			must(bots.Complete(t.Context(), store.Complete{Bot: name, Token: 200, RequestID: "r", At: 220, Result: []byte("x")}))
			must(bots.Register(t.Context(), store.Registration{ID: name, Triggers: []string{"in", "more"}, Paused: true}))
			got, err := bots.Get(t.Context(), name)
			must(err)
			want := store.Bot{
				ID: name, Triggers: []string{"queue:in", "queue:more"},
				Read:      map[string]store.Checkpoint{"queue:in": {Position: at + "1"}, "queue:more": {}},
				Write:     map[string]store.Checkpoint{"queue:out": {Position: at + "3"}},
				Requested: map[string]string{"queue:in": at + "2", "queue:in2": at + "4"},
				Trigger:   150, InvokeTime: 200, Token: 200, ScheduledTrigger: before.ScheduledTrigger,
				Instance: store.Instance{Token: 200, InvokeTime: 200, RequestID: "r", StartTime: 210, MaxDuration: 9, CompletedTime: 220,
					Status: store.StatusComplete, Result: []byte("x")},
				Extra: map[string]json.RawMessage{"health": json.RawMessage(`{"mute":true}`), "custom": json.RawMessage(`[1]`)},
			}
			if c, ok := before.Extra["checkpoint"]; ok {
				want.Extra["checkpoint"] = c
			}
			if d := cmp.Diff(want, got, cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNumericPositionsOfSystemsGoOn(t *testing.T) {
	o := awstest.New(t)
	bots := awstest.OpenWith(t, *o).Store().Bots
	awstest.PutItem(t, o.Resources.LeoCron, awstest.Item{"id": s("b"), "checkpoints": m(awstest.Item{"write": m(nil),
		"read": m(awstest.Item{"system:x": m(awstest.Item{"checkpoint": n(12345)})})})})
	w := store.CheckpointWrite{Bot: "b", Ref: "system:x", Expected: "12344", Checkpoint: store.Checkpoint{Position: "12346"}}
	if err := bots.Checkpoint(t.Context(), w); !errors.Is(err, store.ErrConflict) {
		t.Errorf("another position: %v", err)
	}
	w.Expected = "12345"
	if err := bots.Checkpoint(t.Context(), w); err != nil {
		t.Error(err)
	}
}

// A bot of more queues than one expression can name.
func TestManyQueuesOfOneBot(t *testing.T) {
	o := awstest.New(t)
	bots := awstest.OpenWith(t, *o).Store().Bots
	heads := map[string]string{}
	var produced []store.Produced
	var triggers []string
	for i := range 130 {
		r := fmt.Sprintf("queue:a.queue.with.a-long_name.%d", i)
		heads[r] = at + "1"
		triggers = append(triggers, r)
		produced = append(produced, store.Produced{Bot: "b", Ref: r, Checkpoint: store.Checkpoint{Position: at + "1"}})
	}
	r := store.Registration{ID: "b"}
	for _, step := range []func() error{
		func() error { return bots.Register(t.Context(), r) },
		func() error { r.Triggers = triggers; return bots.Register(t.Context(), r) },
		func() error { return bots.Request(t.Context(), store.Request{Bot: "b", Heads: heads, At: 5}) },
		func() error { return bots.Produced(t.Context(), produced) },
		func() error { return bots.Produced(t.Context(), produced) },
		func() error { return bots.Lock(t.Context(), store.Lock{Bot: "b", At: 10, Heads: heads, Trigger: 6}) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	b, err := bots.Get(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Requested) != 130 || len(b.Write) != 130 || len(b.Read) != 130 || b.Trigger != 6 || b.Token != 10 {
		t.Errorf("requested %d, written %d, read %d, trigger %d", len(b.Requested), len(b.Write), len(b.Read), b.Trigger)
	}
}

func TestTheRowOfAQueue(t *testing.T) {
	o := awstest.New(t)
	queues := awstest.OpenWith(t, *o).Store().Queues
	row := func(q string) awstest.Item {
		it := awstest.GetItem(t, o.Resources.LeoEvent, awstest.Key("event", q))
		delete(it, "sequencing")
		return it
	}
	claim := func(q string) store.Grant {
		t.Helper()
		g, err := queues.Claim(t.Context(), store.Claim{Queue: q, Owner: "a", Shard: "s", First: "1", Arrival: 5, Now: 5, Lease: 10})
		if err != nil {
			t.Fatal(err)
		}
		return g
	}
	advance := func(q string, g store.Grant, head string) {
		t.Helper()
		if err := queues.Advance(t.Context(), store.Advance{Queue: q, Fence: g.Fence, Head: head, Shard: "s", Through: "1", Now: 77}); err != nil {
			t.Fatal(err)
		}
	}
	g := claim("q")
	// The original reads a queue without max_eid up to now; it must not see what is not published (C32, C68).
	sameRow(t, row("q"), awstest.Item{"event": s("q"), "max_eid": s("z/"), "v": n(2)})
	advance("q", g, at+"9")
	sameRow(t, row("q"), awstest.Item{"event": s("q"), "max_eid": s(at + "9"), "v": n(2), "timestamp": n(77)})

	old := awstest.Item{"event": s("old"), "max_eid": s(at + "3"), "v": n(2), "timestamp": n(5), "name": s("Old"),
		"tags": l(s("x")), "archive": m(awstest.Item{"end": s(at + "1")}), "skip_archive": yes()}
	awstest.PutItem(t, o.Resources.LeoEvent, old)
	g = claim("old")
	if g.Head != at+"3" || g.Base != 1704164400001 || g.Fence != 1 {
		t.Errorf("the first claim of a queue of the original bus gave %+v", g)
	}
	sameRow(t, row("old"), old)
	advance("old", g, at+"4")
	old["max_eid"], old["timestamp"] = s(at+"4"), n(77)
	sameRow(t, row("old"), old)

	// The original publishes beside us: what the process remembers is wrong then, and is noticed.
	old["max_eid"] = s(at + "8")
	awstest.PutItem(t, o.Resources.LeoEvent, old)
	if g = claim("old"); g.Head != at+"8" || g.Base != 1704164400001 {
		t.Errorf("a claim after the original published gave %+v", g)
	}
	if err := queues.SetSnapshot(t.Context(), "old", "_snapshot/z/x", "z/x"); err != nil {
		t.Fatal(err)
	}
	q, err := queues.Get(t.Context(), "old")
	if err != nil || q.SnapshotNext != "z/x" || q.ArchiveEnd != at+"1" || !q.SkipArchive {
		t.Errorf("got %+v, %v", q, err)
	}
	awstest.PutItem(t, o.Resources.LeoEvent, awstest.Item{"event": s("v1"), "max_eid": s("49546986683135544286507457936321625675700192471156785154")})
	if _, err := queues.Get(t.Context(), "v1"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("a queue of the format before v2: %v", err)
	}
	list, err := queues.List(t.Context(), "", 10)
	if err != nil || len(list) != 2 {
		t.Errorf("listed %v, %v", list, err)
	}
}

func TestLockItemsAreTheOriginals(t *testing.T) {
	o := awstest.New(t)
	settings := awstest.OpenWith(t, *o).Store().Settings
	if err := settings.Acquire(t.Context(), "g", "run-1", 1000, 2000); err != nil {
		t.Fatal(err)
	}
	key := awstest.Key("id", "lock_g")
	sameRow(t, awstest.GetItem(t, o.Resources.LeoSettings, key), awstest.Item{"id": s("lock_g"), "ts": n(1000), "expires": n(2000), "value": s("run-1")})
	awstest.PutItem(t, o.Resources.LeoSettings, awstest.Item{"id": s("kinesis-processor-x"), "value": n(5), "sequence": s("49")})
	if err := settings.Put(t.Context(), "kinesis-processor-x", json.RawMessage("6")); err != nil {
		t.Fatal(err)
	}
	got := awstest.GetItem(t, o.Resources.LeoSettings, awstest.Key("id", "kinesis-processor-x"))
	sameRow(t, got, awstest.Item{"id": s("kinesis-processor-x"), "value": n(6), "sequence": s("49")})
}

// W-P13: a listing goes on to the end, whatever the size of the table, and its pages are in order.
func TestListingOfALargeTable(t *testing.T) {
	o := awstest.New(t)
	queues := awstest.OpenWith(t, *o).Store().Queues
	var want []string
	blank := make([]byte, 30_000)
	for i := range 90 { // 2.7 MB: three pages of a scan
		name := fmt.Sprintf("q%03d", (i*37)%90)
		want = append(want, name)
		awstest.PutItem(t, o.Resources.LeoEvent, awstest.Item{"event": s(name), "v": n(2), "max_eid": s(at + "1"), "other": &ddb.AttributeValueMemberB{Value: blank}})
	}
	slices.Sort(want)
	for _, limit := range []int{0, 7, 89, 90, 91} {
		var got []string
		for after := ""; ; after = got[len(got)-1] {
			page, err := queues.List(t.Context(), after, limit)
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range page {
				got = append(got, q.Name)
			}
			if len(page) < limit || limit == 0 {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
}
