package aws

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

// noHead is the max_eid of a queue that was claimed and has no event yet. The original SDK reads a queue that has an item
// but no max_eid up to now (C68), and would see chunks that are not published; below eid.First it sees none.
const noHead = eid.First

// decodeQueue returns the row of a LeoEvent item (bus.md 1.3). A head that is no event id, as queues of the format before v2
// have, is ErrCorrupt.
func decodeQueue(it item) (store.Queue, error) {
	q := store.Queue{
		Name: text(it["event"]), Head: text(it["max_eid"]), Timestamp: integer(it["timestamp"]),
		ArchiveEnd: text(members(it["archive"])["end"]), SkipArchive: truth(it["skip_archive"]),
		SnapshotStart: text(members(it["snapshot"])["start"]), SnapshotNext: text(members(it["snapshot"])["next"]),
	}
	if q.Head == noHead {
		q.Head = ""
	}
	if q.Head != "" && !strings.HasPrefix(q.Head, eid.First) {
		return q, fmt.Errorf("%w: head %.60q of queue %s is no event id; queues of the format before v2 need the software that wrote them",
			store.ErrCorrupt, q.Head, q.Name)
	}
	s := members(it["sequencing"])
	q.Sequencing = store.Sequencing{
		Owner: text(s["owner"]), Lease: integer(s["lease"]), Fence: integer(s["fence"]), Base: integer(s["base"]), Open: truth(s["open"]),
		Shard: text(s["shard"]), First: text(s["first"]), Through: texts(members(s["through"])),
	}
	for _, path := range elements(s["paths"]) {
		q.Sequencing.Paths = append(q.Sequencing.Paths, text(path))
	}
	return q, nil
}

// sequencingValue returns the attribute that the sequencers keep on a row. It is an addition of ours (C28).
func sequencingValue(s store.Sequencing) value {
	m := item{
		"owner": str(s.Owner), "lease": num(s.Lease), "fence": num(s.Fence), "base": num(s.Base), "open": boolean(s.Open),
		"shard": str(s.Shard), "first": str(s.First),
	}
	if len(s.Paths) > 0 {
		m["paths"] = list(mapped(s.Paths, str)...)
	}
	if len(s.Through) > 0 {
		m["through"] = textMap(s.Through)
	}
	return object(m)
}

// texts returns a map of strings, nil for an empty one.
func texts(m item) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := make(map[string]string, len(m))
	for name, v := range m {
		out[name] = text(v)
	}
	return out
}

func textMap(m map[string]string) value {
	out := make(item, len(m))
	for name, s := range m {
		out[name] = str(s)
	}
	return object(out)
}

// DecodeQueueImage returns the row in an image of a LeoEvent stream record: an item in DynamoDB's JSON. An absent image is the
// zero row.
func DecodeQueueImage(image json.RawMessage) (store.Queue, error) {
	it, err := parseImage(image)
	if err != nil || it == nil {
		return store.Queue{}, err
	}
	return decodeQueue(it)
}
