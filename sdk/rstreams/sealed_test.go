package rstreams_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// TestPayloadsAreTheSameWhateverTheOrderOfMembers: lines of this SDK end with their payload, those of other writers need not,
// and both may stand in one chunk or in chunks side by side.
func TestPayloadsAreTheSameWhateverTheOrderOfMembers(t *testing.T) {
	bus := rstreamstest.New(t)
	const times = `"timestamp":1704164645678,"event_source_timestamp":1704164645678`
	var want []string
	put := func(lines ...string) {
		t.Helper()
		acks, err := bus.Store().Intake.Put(t.Context(), []store.Record{{PartitionKey: "0", Data: []byte(strings.Join(lines, "\n") + "\n")}})
		if err != nil || acks[0].Err != nil {
			t.Fatal(err, acks)
		}
	}
	for i := range 20 {
		payload := fmt.Sprintf(`{"n":%d,"text":"},\"payload\":{"}`, i)
		last := fmt.Sprintf(`{"id":"b","event":"q",%s,"eid":0,"payload":%s}`, times, payload)
		first := fmt.Sprintf(`{"id":"b","event":"q","payload":%s,%s,"eid":0,"more":{"payload":1}}`, payload, times)
		twice := fmt.Sprintf(`{"id":"b","event":"q",%s,"eid":0,"payload":{"old":1},"payload":%s}`, times, payload)
		switch i % 4 {
		case 0:
			put(last, last)
			want = append(want, payload, payload)
		case 1:
			put(last, first, last)
			want = append(want, payload, payload, payload)
		case 2:
			put(twice)
			want = append(want, payload)
		default:
			put(first)
			want = append(want, payload)
		}
	}
	sealed := map[bool]int{}
	page, err := bus.Store().Chunks.Query(t.Context(), "q", "", "z0", 1000, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range page.Chunks {
		sealed[c.Sealed]++
	}
	if sealed[true] == 0 || sealed[false] == 0 {
		t.Fatalf("chunks by seal: %v", sealed)
	}
	i := 0
	for e, err := range bus.Read(t.Context(), "q", rstreams.ReadOptions{Start: "z/"}) {
		if err != nil {
			t.Fatal(err)
		}
		if !json.Valid(e.Payload) || string(e.Payload) != want[i] || !event.Truthy(e.Payload) {
			t.Errorf("event %d: %s, want %s", i, e.Payload, want[i])
		}
		i++
	}
	if i != len(want) {
		t.Errorf("%d events, want %d", i, len(want))
	}
}
