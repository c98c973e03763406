package aws

import (
	"encoding/json"
	"strings"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// theInstance is the only key of a bot's instances that is in use (bus.md 1.4.3).
const theInstance = "0"

// decodeBot returns the row of a LeoCron item (bus.md 1.4). What is missing or odd is the zero value.
func decodeBot(it item) store.Bot {
	b := store.Bot{
		ID: text(it["id"]), Name: text(it["name"]), Description: text(it["description"]), Owner: text(it["owner"]),
		Invocation: decodeInvocation(it), Schedule: text(it["time"]), TimeZone: text(it["time_zone"]),
		Triggers: decodeTriggers(it["triggers"]), Tags: decodeTags(it["tags"]),
		Paused: truth(it["paused"]), Archived: truth(it["archived"]), IgnorePaused: truth(it["ignorePaused"]),
		Timeout: integer(it["timeout"]), Delay: integer(it["delay"]),
		Read: decodeCheckpoints(at(it, "checkpoints", "read")), Write: decodeCheckpoints(at(it, "checkpoints", "write")),
		Requested: texts(members(it["requested_kinesis"])),
		Trigger:   integer(it["trigger"]), ScheduledTrigger: integer(it["scheduledTrigger"]), ErrorCount: int(integer(it["errorCount"])),
		InvokeTime: integer(it["invokeTime"]), Token: integer(it["token"]),
		Progress: texts(members(it["progress_read"])), ProgressRequested: texts(members(it["progress_requested"])),
		Stalls: int(integer(it["stalls"])), Instance: decodeInstance(at(it, "instances", theInstance)),
	}
	if l := elements(members(it["lambda"])["settings"]); len(l) > 0 && !isNothing(l[0]) && !isEmpty(l[0]) {
		b.Settings, _ = toJSON(l[0]) // DynamoDB's numbers are JSON's.
	}
	for name, v := range it {
		if store.OwnAttribute(name) || name == "executionType" && text(v) == executionType || name == "message" && isNothing(v) {
			continue
		}
		if doc, err := toJSON(v); err == nil {
			if b.Extra == nil {
				b.Extra = map[string]json.RawMessage{}
			}
			b.Extra[name] = doc
		}
	}
	return b
}

func isEmpty(v value) bool {
	m, ok := v.(*ddb.AttributeValueMemberM)
	return ok && len(m.Value) == 0
}

// decodeInvocation returns how a bot is run: its invocation, or what its lambdaName means (bus.md 3.7).
func decodeInvocation(it item) store.Invocation {
	m := members(it["invocation"])
	in := store.Invocation{
		Type: text(m["type"]), Lambda: text(m["lambdaName"]), Qualifier: text(m["qualifier"]), ARN: text(m["arn"]), URL: text(m["url"]),
	}
	name := text(it["lambdaName"])
	switch {
	case in.Type == "" && in.Lambda == "" && name == "":
		return in
	case in.Type == "":
		in.Type = "lambda"
	}
	if in.Type == "lambda" && in.Lambda == "" {
		in.Lambda = name
	}
	return in
}

// decodeTriggers returns a bot's triggers as references, whether they are names, references or objects.
func decodeTriggers(v value) []string {
	var out []string
	seen := map[string]bool{}
	for _, e := range elements(v) {
		r := ref.Parse(text(e))
		if m := members(e); m != nil {
			r = ref.FromObject(text(m["type"]), text(m["id"]))
		}
		if r.ID == "" || seen[r.String()] {
			continue
		}
		seen[r.String()] = true
		out = append(out, r.String())
	}
	return out
}

// decodeTags returns a bot's tags, whether they are a list, a set or a text with commas (sdk.md 6.6).
func decodeTags(v value) []string {
	switch v := v.(type) {
	case *ddb.AttributeValueMemberSS:
		return v.Value
	case *ddb.AttributeValueMemberL:
		return mapped(v.Value, text)
	case *ddb.AttributeValueMemberS:
		var out []string
		for tag := range strings.SplitSeq(v.Value, ",") {
			if tag = strings.TrimSpace(tag); tag != "" {
				out = append(out, tag)
			}
		}
		return out
	}
	return nil
}

func decodeCheckpoints(v value) map[string]store.Checkpoint {
	m := members(v)
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]store.Checkpoint, len(m))
	for name, v := range m {
		c := members(v)
		out[name] = store.Checkpoint{
			Position: text(c["checkpoint"]), SourceTimestamp: integer(c["source_timestamp"]),
			StartedTimestamp: integer(c["started_timestamp"]), EndedTimestamp: integer(c["ended_timestamp"]), Records: integer(c["records"]),
		}
	}
	return out
}

// checkpointValue returns the map of a checkpoint (bus.md 1.4.2). Without a position it is not found by the original's test for one.
func checkpointValue(c store.Checkpoint) value {
	m := item{
		"source_timestamp": num(c.SourceTimestamp), "started_timestamp": num(c.StartedTimestamp),
		"ended_timestamp": num(c.EndedTimestamp), "records": num(c.Records),
	}
	if c.Position != "" {
		m["checkpoint"] = str(c.Position)
	}
	return object(m)
}

func decodeInstance(v value) store.Instance {
	m := members(v)
	return store.Instance{
		Token: integer(m["token"]), InvokeTime: integer(m["invokeTime"]), RequestID: text(m["requestId"]),
		StartTime: integer(m["startTime"]), MaxDuration: integer(m["maxDuration"]), CompletedTime: integer(m["completedTime"]),
		Status: text(m["status"]), Log: bytesOf(m["log"]), Result: bytesOf(m["result"]),
	}
}

// DecodeBotImage returns the row in an image of a LeoCron stream record: an item in DynamoDB's JSON. An absent image is the zero
// row.
func DecodeBotImage(image json.RawMessage) (store.Bot, error) {
	it, err := parseImage(image)
	if err != nil || it == nil {
		return store.Bot{}, err
	}
	return decodeBot(it), nil
}
