package aws

import (
	"fmt"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/rstreams-go/rstreams/bus/store"
)

// formatVersion is the attribute v of chunks and queues (bus.md 1.2, 1.3).
const formatVersion = 2

// chunkItem returns the item of a chunk (bus.md 1.2). It shares the compressed events with c.
func chunkItem(c *store.Chunk) item {
	it := item{
		"event": str(c.Queue), "end": str(c.End), "start": str(c.Start), "records": num(c.Records),
		"size": num(c.Size), "gzipSize": num(c.GzipSize), "v": num(formatVersion),
	}
	if c.Blob != nil {
		it["s3"] = object(item{"bucket": str(c.Blob.Bucket), "key": str(c.Blob.Key)})
	} else {
		it["gzip"] = binary(c.Gzip)
	}
	if c.Blob != nil || len(c.Offsets) > 0 {
		it["offsets"] = list(mapped(c.Offsets, offsetValue)...)
	}
	for name, n := range map[string]int64{
		"ttl": c.Expires, "snapshot": c.Snapshot, "timestamp": c.Timestamp, "event_source_timestamp": c.SourceTimestamp,
	} {
		if n != 0 {
			it[name] = num(n)
		}
	}
	for name, s := range map[string]string{"prev": c.Prev, "creator": c.Creator} {
		if s != "" {
			it[name] = str(s)
		}
	}
	for name, b := range map[string]bool{"sealed": c.Sealed, "archive": c.Archive} {
		if b {
			it[name] = boolean(true)
		}
	}
	return it
}

// offsetValue returns the map of a section (bus.md 2.7).
func offsetValue(o store.Offset) value {
	m := item{
		"event": strOrNull(o.Event), "start": num(o.Start), "end": num(o.End), "records": num(o.Records), "size": num(o.Size),
		"gzipSize": num(o.GzipSize), "offset": num(o.Offset), "gzipOffset": num(o.GzipOffset),
	}
	if o.StartID != "" || o.EndID != "" {
		m["start"], m["end"] = str(o.StartID), str(o.EndID)
	}
	return object(m)
}

// decodeChunk returns the chunk of an item. Attributes that it does not know are left out. An item of a format before v2, or one
// that holds no events in a form known here, is a *store.ChunkError: guessing could skip events.
func decodeChunk(it item) (store.Chunk, error) {
	c := store.Chunk{
		Queue: text(it["event"]), Start: text(it["start"]), End: text(it["end"]), Records: integer(it["records"]),
		Size: integer(it["size"]), GzipSize: integer(it["gzipSize"]), Gzip: bytesOf(it["gzip"]), Prev: text(it["prev"]),
		Sealed: truth(it["sealed"]), Archive: truth(it["archive"]), Snapshot: integer(it["snapshot"]), Creator: text(it["creator"]),
		Timestamp: integer(it["timestamp"]), SourceTimestamp: integer(it["event_source_timestamp"]), Expires: integer(it["ttl"]),
	}
	if s3 := members(it["s3"]); s3 != nil {
		c.Blob = &store.BlobRef{Bucket: text(s3["bucket"]), Key: text(s3["key"])}
	}
	for _, v := range elements(it["offsets"]) {
		c.Offsets = append(c.Offsets, decodeOffset(members(v)))
	}
	var why string
	_, legacy := it["payload"]
	switch {
	case len(c.Gzip) == 0 && c.Blob == nil && legacy:
		why = "it is a single event of the format before v2; read it with the software that wrote it"
	case len(c.Gzip) == 0 && c.Blob == nil:
		why = "it has neither inline events (gzip) nor an object (s3)"
	case len(c.Gzip) > 0 && c.Blob != nil:
		why = "it has both inline events (gzip) and an object (s3)"
	case c.Blob != nil && (c.Blob.Key == "" || c.Blob.Bucket == ""):
		why = "its object (s3) has no bucket or no key"
	case c.Blob != nil && len(c.Offsets) == 0:
		why = "it has an object (s3) without sections (offsets)"
	case c.Start == "":
		why = "it has no start"
	case c.Records < 1:
		why = "it has no records"
	default:
		return c, nil
	}
	return store.Chunk{}, &store.ChunkError{Chunk: c, Err: fmt.Errorf("%w: %s", store.ErrCorrupt, why)}
}

func decodeOffset(m item) store.Offset {
	o := store.Offset{
		Event: text(m["event"]), Records: integer(m["records"]), Size: integer(m["size"]), GzipSize: integer(m["gzipSize"]),
		Offset: integer(m["offset"]), GzipOffset: integer(m["gzipOffset"]),
	}
	if id, ok := m["end"].(*ddb.AttributeValueMemberS); ok {
		o.StartID, o.EndID = text(m["start"]), id.Value
	} else {
		o.Start, o.End = integer(m["start"]), integer(m["end"])
	}
	return o
}
