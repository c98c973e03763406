package aws

import (
	"strings"
	"testing"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

// itemSize returns what DynamoDB counts for an item, rounded up: names and values, and 3 bytes and one for each member of a map
// or list.
func itemSize(it item) (n int) {
	for name, v := range it {
		n += len(name) + valueSize(v)
	}
	return n
}

func valueSize(v value) int {
	switch v := v.(type) {
	case *ddb.AttributeValueMemberS:
		return len(v.Value)
	case *ddb.AttributeValueMemberN:
		return 21 // the most that a number takes
	case *ddb.AttributeValueMemberB:
		return len(v.Value)
	case *ddb.AttributeValueMemberM:
		return 3 + len(v.Value) + itemSize(v.Value)
	case *ddb.AttributeValueMemberL:
		n := 3 + len(v.Value)
		for _, e := range v.Value {
			n += valueSize(e)
		}
		return n
	}
	return 1
}

// The largest inline chunk of the queue with the longest name is an item that DynamoDB takes (W-P2, C26).
func TestTheLargestInlineChunkIsAnItem(t *testing.T) {
	id := "z/2026/11/21/02/35/1795228519234-0000001"
	c := store.Chunk{
		Queue: strings.Repeat("q", ref.MaxQueueBytes), Start: id, End: id, Prev: id, Records: 1, Size: 1 << 30, GzipSize: store.MaxInlineItem,
		Gzip: make([]byte, store.MaxInlineItem), Sealed: true, Creator: "firehose", Expires: 1795833319,
		Snapshot: 1795228519234, Timestamp: 1795228519234, SourceTimestamp: 1795228519234,
	}
	if err := rules.Chunk(&c); err != nil {
		t.Fatal(err)
	}
	if got := itemSize(chunkItem(&c)); got > 400<<10 {
		t.Errorf("the item has %d bytes, DynamoDB takes %d", got, 400<<10)
	}
	c.Gzip = append(c.Gzip, 0)
	if err := rules.Chunk(&c); err == nil {
		t.Error("a longer chunk is taken")
	}
}

// What package sequencer counts for a section of a pointer (itemBytes) is no less than what it takes.
func TestASectionTakesNoMoreThanIsCounted(t *testing.T) {
	const counted = 60 + 8*10
	const most = 1<<53 - 1 // 16 digits, 9 bytes
	live := offsetValue(store.Offset{Event: "q", Start: most, End: most, Records: most, Size: most, GzipSize: most, Offset: most, GzipOffset: most})
	// valueSize takes the most that any number can have.
	if got := 1 + valueSize(live) - 7*(21-9); got > counted+len("q") {
		t.Errorf("a section takes %d bytes", got)
	}
}
