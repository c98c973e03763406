package aws

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
)

// sentRecord is a record of a PutRecords request.
type sentRecord struct {
	Data                          []byte
	PartitionKey, ExplicitHashKey string
}

func sentRecords(t *testing.T, c call) []sentRecord {
	t.Helper()
	var in struct {
		StreamName string
		Records    []sentRecord
	}
	if err := json.Unmarshal([]byte(c.body), &in); err != nil || in.StreamName != "t-Kinesis" {
		t.Errorf("request %q: %v", c.body, err)
	}
	return in.Records
}

// stored answers that all records are stored, but for those with an error code.
func stored(n int, codes map[int]string) reply {
	type result struct {
		SequenceNumber, ShardId, ErrorCode, ErrorMessage string `json:",omitempty"`
	}
	out := struct {
		FailedRecordCount int
		Records           []result
	}{FailedRecordCount: len(codes)}
	for i := range n {
		if code := codes[i]; code != "" {
			out.Records = append(out.Records, result{ErrorCode: code, ErrorMessage: "Rate exceeded\nfor shard"})
			continue
		}
		out.Records = append(out.Records, result{SequenceNumber: fmt.Sprint(100 + i), ShardId: "shardId-0"})
	}
	return reply{body: out}
}

func records(data ...string) []store.Record {
	out := make([]store.Record, len(data))
	for i, d := range data {
		out[i].Data = []byte(d)
	}
	return out
}

// W10: the writer learns of each record what became of it, and nothing is sent again that it does not know of.
func TestFailuresOfRecordsAreToldByTheirPlace(t *testing.T) {
	b, s := openService(t, func(_ int, c call) reply {
		return stored(len(sentRecords(t, c)), map[int]string{
			1: "ProvisionedThroughputExceededException", 3: "SomethingNew", 4: "InternalFailure", 5: "InternalServerError",
		})
	})
	acks, err := newIntake(b).Put(t.Context(), records("a", "b", "c", "d", "e", "f"))
	if err != nil {
		t.Fatal(err)
	}
	for i, sequence := range []string{"100", "", "102", "", "", ""} {
		if acks[i].Sequence != sequence || (acks[i].Err == nil) != (sequence != "") {
			t.Errorf("ack %d is %+v", i, acks[i])
		}
	}
	if acks[0].Shard != "shardId-0" {
		t.Errorf("the shard is %q", acks[0].Shard)
	}
	says(t, acks[1].Err, store.ErrThrottled, "t-Kinesis", "Rate exceeded for shard")
	says(t, acks[4].Err, store.ErrThrottled, "t-Kinesis", "InternalFailure")
	says(t, acks[5].Err, store.ErrThrottled, "t-Kinesis", "InternalServerError")
	for _, permanent := range []error{store.ErrInvalid, store.ErrTooLarge, store.ErrUnavailable, store.ErrCorrupt, store.ErrNotFound} {
		if errors.Is(acks[3].Err, permanent) {
			t.Errorf("a failure that passes is told as %v", acks[3].Err)
		}
	}
	if n := len(s.ops()); n != 1 {
		t.Errorf("%d requests were made", n)
	}
}

func TestRecordsWithoutKeysGoWhereTheOriginalSendsThem(t *testing.T) {
	long := strings.Repeat("q", 300)
	var got []sentRecord
	b, _ := openService(t, func(_ int, c call) reply {
		got = sentRecords(t, c)
		return stored(len(got), nil)
	})
	_, err := newIntake(b).Put(t.Context(), []store.Record{
		{Data: []byte("a")}, {Data: []byte("b"), PartitionKey: "q"}, {Data: []byte("c"), PartitionKey: "0", HashKey: "7"},
		{Data: []byte("d"), HashKey: "9"}, {Data: []byte("e"), PartitionKey: long}, {Data: []byte("f"), PartitionKey: long},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []sentRecord{
		{[]byte("a"), "0", "0"}, {[]byte("b"), "q", ""}, {[]byte("c"), "0", "7"}, {[]byte("d"), "0", "9"},
	} {
		if fmt.Sprint(got[i]) != fmt.Sprint(want) {
			t.Errorf("record %d was sent as %+v", i, got[i])
		}
	}
	if k := got[4].PartitionKey; len(k) > 256 || k == "" || k != got[5].PartitionKey || got[4].ExplicitHashKey != "" {
		t.Errorf("a long key was sent as %q and %q", k, got[5].PartitionKey)
	}
}

func TestWhatKinesisWouldRefuseIsRefusedAlone(t *testing.T) {
	b, s := openService(t, func(_ int, c call) reply { return stored(len(sentRecords(t, c)), nil) })
	in := newIntake(b)
	full := make([]byte, in.Limits().RecordBytes)
	acks, err := in.Put(t.Context(), []store.Record{
		{Data: full, PartitionKey: strings.Repeat("€", 256)}, {Data: make([]byte, 1<<20)}, {Data: []byte("x"), HashKey: "-1"},
		{Data: []byte("x"), HashKey: "340282366920938463463374607431768211456"}, {Data: []byte("x"), PartitionKey: "\xff"},
		{Data: []byte("x"), HashKey: "340282366920938463463374607431768211455"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, kind := range []error{nil, store.ErrTooLarge, store.ErrInvalid, store.ErrInvalid, store.ErrInvalid, nil} {
		if kind == nil && acks[i].Sequence == "" {
			t.Errorf("ack %d is %+v", i, acks[i])
		}
		if kind != nil {
			says(t, acks[i].Err, kind)
		}
	}
	if acks[5].Sequence != "101" {
		t.Errorf("the second record that was sent has the ack %+v", acks[5])
	}
	_, err = in.Put(t.Context(), make([]store.Record, 501))
	says(t, err, store.ErrTooLarge, "501", "split")
	six := make([]store.Record, 6)
	for i := range six {
		six[i].Data = full
	}
	_, err = in.Put(t.Context(), six)
	says(t, err, store.ErrTooLarge, "split")
	if n := len(s.ops()); n != 1 {
		t.Errorf("%d requests were made", n)
	}
	acks, err = in.Put(t.Context(), nil)
	if err != nil || len(acks) != 0 {
		t.Errorf("nothing was acknowledged as %v, %v", acks, err)
	}
}

func TestACallIsMadeAgainAsItWas(t *testing.T) {
	for name, first := range map[string]reply{
		"throttled":       {code: "ProvisionedThroughputExceededException"},
		"a lost answer":   {lost: true},
		"a server's fail": {code: "InternalFailure", status: 500},
	} {
		t.Run(name, func(t *testing.T) {
			b, s := openService(t, func(n int, c call) reply {
				if n == 0 {
					return first
				}
				return stored(len(sentRecords(t, c)), nil)
			})
			acks, err := newIntake(b).Put(t.Context(), records("a", "b"))
			if err != nil || acks[0].Sequence != "100" || acks[1].Sequence != "101" {
				t.Fatalf("got %+v, %v", acks, err)
			}
			if s.calls[0].body != s.calls[1].body {
				t.Errorf("%q was sent again as %q", s.calls[0].body, s.calls[1].body)
			}
		})
	}
}

func TestAnAnswerThatTellsNotOfAllRecordsIsAnError(t *testing.T) {
	for _, n := range []int{0, 1, 3} {
		b, _ := openService(t, func(int, call) reply { return stored(n, nil) })
		if acks, err := newIntake(b).Put(t.Context(), records("a", "b")); err == nil {
			t.Errorf("an answer for %d of 2 records gave %+v", n, acks)
		}
	}
	b, _ := openService(t, func(int, call) reply { return reply{body: `{"FailedRecordCount":0,"Records":[{"ShardId":"s"}]}`} })
	acks, err := newIntake(b).Put(t.Context(), records("a"))
	if err != nil || acks[0].Err == nil {
		t.Errorf("a record without a sequence number was acknowledged: %+v, %v", acks, err)
	}
}

func TestFirehoseTellsFailuresByTheirPlaceAndEndsLines(t *testing.T) {
	var in struct {
		DeliveryStreamName string
		Records            []struct{ Data []byte }
	}
	b, s := openService(t, func(_ int, c call) reply {
		if err := json.Unmarshal([]byte(c.body), &in); err != nil {
			t.Error(err)
		}
		return reply{body: `{"FailedPutCount":1,"RequestResponses":[{"RecordId":"r0"},
			{"ErrorCode":"ServiceUnavailableException","ErrorMessage":"Slow down."},{"RecordId":"r2"}]}`}
	})
	hose := newFirehose(b)
	buffer := []byte("{\"a\":1}!")
	acks, err := hose.Put(t.Context(), []store.Record{
		{Data: buffer[:7]}, {Data: make([]byte, 1000<<10)}, {Data: []byte("b\n")}, {Data: []byte("c")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if string(buffer) != "{\"a\":1}!" {
		t.Errorf("the caller's bytes became %q", buffer)
	}
	says(t, acks[1].Err, store.ErrTooLarge)
	says(t, acks[2].Err, store.ErrThrottled, "t-Firehose", "Slow down.")
	if acks[0].Sequence != "r0" || acks[3].Sequence != "r2" || acks[0].Err != nil || acks[3].Err != nil {
		t.Errorf("got %+v", acks)
	}
	if in.DeliveryStreamName != "t-Firehose" || len(in.Records) != 3 || string(in.Records[0].Data) != "{\"a\":1}\n" ||
		string(in.Records[1].Data) != "b\n" || string(in.Records[2].Data) != "c\n" {
		t.Errorf("sent %s", in.Records)
	}
	if limits := hose.Limits(); limits.Records != 500 || limits.Bytes+limits.Records > 4<<20 || limits.RecordBytes >= 1000<<10 {
		t.Errorf("limits are %+v", limits)
	}
	_, err = hose.Put(t.Context(), make([]store.Record, 501))
	says(t, err, store.ErrTooLarge)
	if n := len(s.ops()); n != 1 {
		t.Errorf("%d requests were made", n)
	}
}
