package dispatch

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/store"
)

// readGolden reads a recording of the original.
func readGolden(t *testing.T, name string, v any) {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, v); err != nil {
		t.Fatal(err)
	}
}

// plain turns DynamoDB JSON into plain values.
func plain(t *testing.T, raw json.RawMessage) any {
	t.Helper()
	var v map[string]json.RawMessage
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	for kind, x := range v {
		switch kind {
		case "S", "B":
			var s string
			if json.Unmarshal(x, &s) == nil {
				return s
			}
			return ""
		case "N":
			var s string
			if err := json.Unmarshal(x, &s); err != nil {
				t.Fatal(err)
			}
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		case "BOOL":
			return string(x) == "true"
		case "NULL":
			return nil
		case "M":
			return plainMap(t, x)
		case "L":
			var items []json.RawMessage
			if err := json.Unmarshal(x, &items); err != nil {
				t.Fatal(err)
			}
			out := []any{}
			for _, it := range items {
				out = append(out, plain(t, it))
			}
			return out
		}
	}
	t.Fatalf("no DynamoDB value: %s", raw)
	return nil
}

func plainMap(t *testing.T, raw json.RawMessage) map[string]any {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	out := map[string]any{}
	for k, x := range m {
		out[k] = plain(t, x)
	}
	return out
}

// rowOf reads the parts of a LeoCron item that decisions are made on.
func rowOf(t *testing.T, raw json.RawMessage) store.Bot {
	t.Helper()
	m := plainMap(t, raw)
	str := func(v any) string { s, _ := v.(string); return s }
	num := func(v any) int64 { n, _ := v.(int64); return n }
	flag := func(v any) bool { b, _ := v.(bool); return b }
	sub := func(v any) map[string]any { x, _ := v.(map[string]any); return x }
	b := store.Bot{
		ID: str(m["id"]), Name: str(m["name"]),
		Paused: flag(m["paused"]), Archived: flag(m["archived"]), IgnorePaused: flag(m["ignorePaused"]),
		Trigger: num(m["trigger"]), ScheduledTrigger: num(m["scheduledTrigger"]), ErrorCount: int(num(m["errorCount"])),
		InvokeTime: num(m["invokeTime"]), Read: map[string]store.Checkpoint{}, Requested: map[string]string{},
	}
	if name := str(m["lambdaName"]); name != "" {
		b.Invocation = store.Invocation{Type: "lambda", Lambda: name}
	}
	if in := sub(m["invocation"]); in != nil {
		b.Invocation = store.Invocation{Type: str(in["type"]), Lambda: str(in["lambdaName"]), Qualifier: str(in["qualifier"])}
	}
	if l, ok := sub(m["lambda"])["settings"].([]any); ok && len(l) > 0 {
		b.Settings, _ = json.Marshal(l[0])
	}
	triggers, _ := m["triggers"].([]any)
	for _, r := range triggers {
		b.Triggers = append(b.Triggers, str(r))
	}
	for r, v := range sub(m["requested_kinesis"]) {
		b.Requested[r] = str(v)
	}
	for r, v := range sub(sub(m["checkpoints"])["read"]) {
		b.Read[r] = store.Checkpoint{Position: str(sub(v)["checkpoint"])}
	}
	if in := sub(sub(m["instances"])["0"]); in != nil {
		b.Instance = store.Instance{
			Token: num(in["token"]), InvokeTime: num(in["invokeTime"]), RequestID: str(in["requestId"]),
			StartTime: num(in["startTime"]), MaxDuration: num(in["maxDuration"]),
			CompletedTime: num(in["completedTime"]), Status: str(in["status"]),
		}
	}
	return b
}

type goldenInvocation struct {
	Clock int64
	Cases []struct {
		Note    string
		Row     json.RawMessage
		Invoked *struct {
			Payload map[string]any
		}
		Updates []struct {
			UpdateExpression          string
			ConditionExpression       string
			ExpressionAttributeValues json.RawMessage
		}
	}
}

// deviations are the cases in which Decide does otherwise than the original, on purpose.
var deviations = map[string]struct {
	why  string
	want Decision
}{
	"ended, behind only on the second trigger": {
		"W-P11: every trigger counts, not only the first",
		Decision{Action: Run, Reason: Behind},
	},
	"running longer than maxDuration": {
		"W-P7, C58: the dead run is ended as failed first, and the next one waits for its back-off like after any error",
		Decision{Action: Expire, Reason: Died},
	},
	"archived": {
		"W-P6: archived bots do not run",
		Decision{Action: Idle, Reason: Archived},
	},
	"errorCount rose 0 to 1: backs off": {
		"back-off counts from the end of the failed run, not from when the change was seen; this one ended 9 s ago",
		Decision{Action: Run, Reason: Retry},
	},
	"errorCount rose 3 to 4: backs off": {
		"as before: 25628 ms from the end of the run, which was 9 s ago",
		Decision{Action: Wait, Reason: BackingOff, Until: time.UnixMilli(1704164645678 - 9000 + 25628),
			BackOff: 1704164645678 - 9000 + 25628},
	},
}

func TestDecideAgreesWithTheOriginalProcessor(t *testing.T) {
	var g goldenInvocation
	readGolden(t, "invocation.json", &g)
	now := time.UnixMilli(g.Clock)
	seen := 0
	for _, c := range g.Cases {
		t.Run(c.Note, func(t *testing.T) {
			row := rowOf(t, c.Row)
			got := Decide(row, now)
			if dev, ok := deviations[c.Note]; ok {
				seen++
				if dev.want.Action == Run {
					dev.want.Lock = got.Lock
				}
				if diff := cmp.Diff(dev.want, got); diff != "" {
					t.Errorf("%s:\n%s", dev.why, diff)
				}
				return
			}
			if (got.Action == Run) != (c.Invoked != nil) {
				t.Fatalf("decided %v (%s), the original invoked: %v", got.Action, got.Reason, c.Invoked != nil)
			}
			if got.Action != Run {
				return
			}
			lock := c.Updates[len(c.Updates)-1]
			values := plainMap(t, lock.ExpressionAttributeValues)
			seenInvoke, _ := values[":lastInvokeTime"].(int64)
			if got.Lock.Seen != seenInvoke || got.Lock.At != values[":invokeTime"] {
				t.Errorf("lock sees %d and is at %d, the original saw %v and was at %v",
					got.Lock.Seen, got.Lock.At, values[":lastInvokeTime"], values[":invokeTime"])
			}
			progress, _ := values[":progress"].(map[string]any)["queue_position"].(string)
			if got.Lock.Progress["queue:src"] != progress {
				t.Errorf("progress %q, the original noted %q", got.Lock.Progress["queue:src"], progress)
			}
		})
	}
	if seen != len(deviations) {
		t.Errorf("%d of %d deviations met", seen, len(deviations))
	}
}

// TestPayloadIsThePartOfTheOriginalThatBotsUse: settings at the top, botId, id, name, lock and __cron are the original's,
// but for the token (W-P16: it is the invoke time, not the trigger). Nothing else is sent (W-P5).
func TestPayloadIsThePartOfTheOriginalThatBotsUse(t *testing.T) {
	var g goldenInvocation
	readGolden(t, "invocation.json", &g)
	compared := 0
	for _, c := range g.Cases {
		if c.Invoked == nil {
			continue
		}
		row := rowOf(t, c.Row)
		text, err := Payload(row, g.Clock)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		want := map[string]any{}
		for _, k := range []string{"source", "color", "id", "name", "botId", "lock", "__cron"} {
			if v, ok := c.Invoked.Payload[k]; ok {
				want[k] = v
			}
		}
		own := want["__cron"].(map[string]any)
		own["ts"] = float64(g.Clock)
		for _, v := range own["checkpoints"].(map[string]any)["read"].(map[string]any) {
			// The recorded rows hold bare positions; stored checkpoints have all members.
			for _, k := range []string{"source_timestamp", "started_timestamp", "ended_timestamp", "records"} {
				v.(map[string]any)[k] = float64(0)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s:\n%s", c.Note, diff)
		}
		compared++
	}
	if compared < 10 {
		t.Errorf("only %d payloads compared", compared)
	}
}

func TestPayloadShedsCheckpointsToFit(t *testing.T) {
	b := store.Bot{ID: "b", Settings: json.RawMessage(`{"html":"<&>","big":12345678901234567890,"botId":"other","__cron":{}}`), Triggers: []string{"queue:t"},
		Read: map[string]store.Checkpoint{"queue:t": {Position: "z/1"}}, Write: map[string]store.Checkpoint{}}
	for i := range 2000 {
		b.Write[fmt.Sprintf("queue:out-%d-%s", i, strings.Repeat("x", 100))] = store.Checkpoint{Position: "z/2"}
	}
	text, err := Payload(b, 7)
	if err != nil || len(text) > MaxPayload {
		t.Fatalf("%d bytes, %v", len(text), err)
	}
	if s := string(text); !strings.Contains(s, `"queue:t":{"checkpoint":"z/1"`) || strings.Contains(s, "queue:out-") ||
		strings.Count(s, "botId") != 1 || strings.Count(s, "__cron") != 1 || !strings.Contains(s, `"html":"<&>"`) || !strings.Contains(s, `"big":12345678901234567890`) {
		t.Errorf("payload %.300s", s)
	}
	for i := range 2000 {
		b.Read[fmt.Sprintf("queue:in-%d-%s", i, strings.Repeat("x", 100))] = store.Checkpoint{Position: "z/2"}
	}
	if text, err = Payload(b, 7); err != nil || strings.Contains(string(text), "queue:in-") || !strings.Contains(string(text), "queue:t") {
		t.Errorf("%d bytes, %v", len(text), err)
	}
	b.Settings = json.RawMessage(`{"blob":"` + strings.Repeat("x", MaxPayload) + `"}`)
	if _, err := Payload(b, 7); err == nil {
		t.Error("settings that cannot fit were accepted")
	}
	b.Settings = json.RawMessage(`[1]`)
	if _, err := Payload(b, 7); err == nil {
		t.Error("settings that are no object were accepted")
	}
}
