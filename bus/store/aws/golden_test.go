package aws

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rstreams-go/rstreams/bus/store"
)

// goldenRow is an item that the original software left, in DynamoDB's JSON.
type goldenRow struct {
	Case string
	Item json.RawMessage
}

// golden returns the rows of a kind in testdata/rows.json: recorded from leo-sdk 6.0.18, leo-cron 2.0.2-beta and the bus 3.3.1.
func golden(t *testing.T, kind string) []goldenRow {
	t.Helper()
	text, err := os.ReadFile("testdata/rows.json")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string][]goldenRow
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	if len(all[kind]) == 0 {
		t.Fatalf("no golden rows of kind %s", kind)
	}
	return all[kind]
}

func goldenItem(t *testing.T, r goldenRow) item {
	t.Helper()
	it, err := parseImage(r.Item)
	if err != nil {
		t.Fatalf("%s: %v", r.Case, err)
	}
	return it
}

// goldenBot returns the row of one case.
func goldenBot(t *testing.T, name string) item {
	t.Helper()
	for _, r := range golden(t, "bots") {
		if r.Case == name {
			return goldenItem(t, r)
		}
	}
	t.Fatalf("no golden bot %q", name)
	return nil
}

func sameItem(t *testing.T, what string, got, want item) {
	t.Helper()
	g, err := toJSON(object(got))
	if err != nil {
		t.Fatal(err)
	}
	w, err := toJSON(object(want))
	if err != nil {
		t.Fatal(err)
	}
	if !equal(object(got), object(want)) {
		t.Errorf("%s:\n got %s\nwant %s", what, g, w)
	}
}

// C20, C39, C41: what the original wrote is understood whole, so that writing it again gives the same item.
func TestGoldenChunksAreTheSameAfterDecodingAndEncoding(t *testing.T) {
	for _, r := range golden(t, "chunks") {
		it := goldenItem(t, r)
		c, err := decodeChunk(it)
		if err != nil {
			t.Errorf("%s: %v", r.Case, err)
			continue
		}
		sameItem(t, r.Case, chunkItem(&c), it)
	}
}

func TestChunksOfUnknownFormsAreCorruptNotEmpty(t *testing.T) {
	good := store.Chunk{Queue: "q", Start: "z/1", End: "z/2", Records: 1, Gzip: []byte("x")}
	for what, spoil := range map[string]func(it item){
		"legacy event":        func(it item) { delete(it, "gzip"); it["payload"] = str(`{"a":1}`) },
		"legacy compressed":   func(it item) { it["gzip"] = boolean(true); it["payload"] = binary([]byte("x")) },
		"no events":           func(it item) { delete(it, "gzip") },
		"gzip as text":        func(it item) { it["gzip"] = str("H4sIAAAA") },
		"no object key":       func(it item) { delete(it, "gzip"); it["s3"] = object(item{"bucket": str("b")}) },
		"object, no sections": func(it item) { delete(it, "gzip"); it["s3"] = object(item{"bucket": str("b"), "key": str("k")}) },
		"both":                func(it item) { it["s3"] = object(item{"bucket": str("b"), "key": str("k")}) },
		"no start":            func(it item) { delete(it, "start") },
		"no records":          func(it item) { it["records"] = str("many") },
	} {
		it := chunkItem(&good)
		spoil(it)
		_, err := decodeChunk(it)
		bad, ok := errors.AsType[*store.ChunkError](err)
		if !ok || !errors.Is(err, store.ErrCorrupt) || bad.Chunk.Queue != "q" || bad.Chunk.End != "z/2" {
			t.Errorf("%s: got %v", what, err)
		}
	}
	it := chunkItem(&good)
	it["unknown"], it["ttl"] = list(str("x")), null()
	if got, err := decodeChunk(it); err != nil || cmp.Diff(good, got) != "" {
		t.Errorf("unknown attributes: %v %v", got, err)
	}
}

func TestGoldenQueues(t *testing.T) {
	want := map[string]store.Queue{
		"q.three":          {Name: "q.three", Head: "z/2024/01/02/03/04/1704164645678-0000002", Timestamp: 1704164645678},
		"q.arc":            {Name: "q.arc", ArchiveEnd: "z/2024/01/01/00/00/1704067200000-0000007"},
		"q.snap":           {Name: "q.snap", SnapshotStart: "_snapshot/z/2024/01/02/02/04/", SnapshotNext: "z/2024/01/02/02/04/"},
		"q.snap/_snapshot": {Name: "q.snap/_snapshot", Head: "z/2024/01/02/02/04/1704164645678-0000005", Timestamp: 1704164645678},
	}
	for _, r := range golden(t, "queues") {
		q, err := DecodeQueueImage(r.Item)
		if err != nil {
			t.Errorf("%s: %v", r.Case, err)
			continue
		}
		if w, ok := want[q.Name]; ok {
			if d := cmp.Diff(w, q); d != "" {
				t.Errorf("%s: %s", r.Case, d)
			}
			delete(want, q.Name)
		}
		if _, _, err := q.Claim(store.Claim{Queue: q.Name, Owner: "a", Shard: "s", First: "1", Arrival: 1, Now: 1, Lease: 1}); err != nil {
			t.Errorf("%s: a queue of the original bus cannot be claimed: %v", r.Case, err)
		}
	}
	for name := range want {
		t.Errorf("no golden queue %s", name)
	}
}

func TestAHeadOfTheOldFormatIsCorrupt(t *testing.T) {
	_, err := DecodeQueueImage(json.RawMessage(`{"event":{"S":"old"},"max_eid":{"S":"49546986683135544286507457936321625675700192471156785154"}}`))
	if !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

func TestAnAbsentImageIsTheZeroRow(t *testing.T) {
	for _, image := range []string{"", "null", " null\n"} {
		b, err := DecodeBotImage(json.RawMessage(image))
		if err != nil || b.ID != "" {
			t.Errorf("bot: %v %v", b, err)
		}
		q, err := DecodeQueueImage(json.RawMessage(image))
		if err != nil || q.Name != "" {
			t.Errorf("queue: %v %v", q, err)
		}
	}
	for _, image := range []string{"1", `{"id":{"X":"b"}}`, `{"id":"b"}`, `{`} {
		if _, err := DecodeBotImage(json.RawMessage(image)); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("%s: got %v", image, err)
		}
	}
}

func TestGoldenBots(t *testing.T) {
	at := store.Checkpoint{Position: "z/2024/01/02/03/00/1704164400000-0000005", SourceTimestamp: 1704164642678,
		StartedTimestamp: 1704164643678, EndedTimestamp: 1704164644678, Records: 5}
	for name, want := range map[string]store.Bot{
		"create: createBot full": {
			ID: "g-full", Name: "full", Description: "all of it", Owner: "me", Invocation: store.Invocation{Type: "lambda", Lambda: "fn"},
			Settings: json.RawMessage(`{"color":"red","destination":"dst","source":"src"}`), Schedule: "0 */5 * * * *",
			Triggers: []string{"queue:t1", "queue:t2", "queue:src"}, Paused: true,
			Read:  map[string]store.Checkpoint{"queue:t1": {}, "queue:t2": {}, "queue:src": {}},
			Write: map[string]store.Checkpoint{"queue:dst": {}},
			Extra: map[string]json.RawMessage{"system": json.RawMessage(`{"id":"system:s"}`)},
		},
		"checkpoint: unknown bot: row is created": {
			ID: "g-none", Name: "g-none", Read: map[string]store.Checkpoint{"queue:src": func() store.Checkpoint {
				c := at
				c.Position = "z/2024/01/02/03/00/1704164400000-0000001"
				return c
			}()},
		},
		"checkpoint: row without checkpoints map": {ID: "g-nomap"},
		"lock: reportComplete forceComplete: instance replaced": { // W-P8: no invokeTime in the instance
			ID: "g-lock", Name: "g-lock", Description: "g-lock", Invocation: store.Invocation{Type: "lambda", Lambda: "g-lock"},
			Triggers: []string{"queue:src"}, Read: map[string]store.Checkpoint{"queue:src": {}},
			Trigger: 1704164645778, InvokeTime: 1704164645688, Token: 1704164645678,
			Instance: store.Instance{CompletedTime: 1704164645798, Status: store.StatusComplete},
			Extra:    map[string]json.RawMessage{"message": json.RawMessage(`[{"msg":"hi"}]`)},
		},
		"invocation: invocation lambda with qualifier": {
			ID: "i-bot15", Name: "n", Invocation: store.Invocation{Type: "lambda", Lambda: "arn:aws:lambda:eu-west-1:111111111111:function:other", Qualifier: "live"},
		},
	} {
		got := decodeBot(goldenBot(t, name))
		ignore := cmp.Options{cmpopts.EquateEmpty()}
		if want.ID == "i-bot15" {
			got = store.Bot{ID: want.ID, Name: got.Name, Invocation: got.Invocation}
		}
		got.Instance.Log, want.Instance.Log = nil, nil
		if d := cmp.Diff(want, got, ignore); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	odd := decodeBot(goldenBot(t, "checkpoint: system as source, numeric position"))
	if got := odd.Read["system:ext"].Position; got != "12345" {
		t.Errorf("a numeric position is %q", got)
	}
	failed := decodeBot(goldenBot(t, "lock: reportComplete error"))
	if failed.Instance.Status != store.StatusError || failed.ErrorCount != 1 || len(failed.Instance.Log) == 0 {
		t.Errorf("a failed run is %+v", failed.Instance)
	}
	backoff := decodeBot(goldenBot(t, "invocation after: errorCount rose 3 to 4: backs off"))
	if backoff.ScheduledTrigger < 1704164645678 {
		t.Errorf("a scheduled trigger with a fraction is %d", backoff.ScheduledTrigger)
	}
}

// C43: the row of an unknown bot is the original's.
func TestTheSkeletonIsTheOriginals(t *testing.T) {
	want := goldenBot(t, "checkpoint: unknown bot: row is created")
	row := decodeBot(want)
	sameItem(t, "skeleton", skeleton("g-none", "queue:src", checkpointValue(row.Read["queue:src"])), want)
}

func TestOddAttributesOfBots(t *testing.T) {
	b := decodeBot(item{
		"id": str("b"), "name": null(), "triggers": list(str("q"), str("queue:q"), null(), object(item{"id": str("x"), "type": str("bot")}), num(4)),
		"tags": str("app:one, two,,"), "scheduledTrigger": num(0), "trigger": str("no number"), "errorCount": null(),
		"lambda": null(), "checkpoints": null(), "instances": list(), "requested_kinesis": null(), "time": null(), "lambdaName": null(),
	})
	want := store.Bot{ID: "b", Triggers: []string{"queue:q", "bot:x", "queue:4"}, Tags: []string{"app:one", "two"}}
	if d := cmp.Diff(want, b, cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

func TestNumbersAreKeptOrRefused(t *testing.T) {
	for _, n := range []string{"0", "-1", "12345678901234567890", "1.5", "99999999999999999999999999999999999999", "1e125", "-1.5e-129", "0e999"} {
		v, err := fromJSON(json.RawMessage(n))
		if err != nil {
			t.Errorf("%s: %v", n, err)
			continue
		}
		if back, err := toJSON(v); err != nil || string(back) != n {
			t.Errorf("%s came back as %s, %v", n, back, err)
		}
	}
	for _, n := range []string{"999999999999999999999999999999999999999", "1e126", "1e-131", "1e99999999999", "0.1234567890123456789012345678901234567891"} {
		if _, err := fromJSON(json.RawMessage(n)); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: got %v", n, err)
		}
	}
	if !equal(&number{Value: "2.50"}, &number{Value: "2.5"}) || !equal(&number{Value: "1E2"}, &number{Value: "100"}) || equal(&number{Value: "1"}, &number{Value: "2"}) {
		t.Error("numbers are not compared by value")
	}
}

type number = ddb.AttributeValueMemberN
