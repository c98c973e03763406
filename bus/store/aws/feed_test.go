package aws

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
)

// streamService plays the streams of a bus's tables. Sequence numbers count a shard's records from 1.
type streamService struct {
	t      *testing.T
	shards map[string][]*streamShard // by table
	// iterators were given out for shards: "shard:next".
	expired map[string]bool
	issued  int
	trimmed bool
}

type streamShard struct {
	id, parent string
	closed     bool
	records    []map[string]any
}

func (s *streamService) add(table, shard, key, id, oldHead, newHead string) {
	image := func(head string) map[string]any { return map[string]any{"max_eid": map[string]string{"S": head}} }
	for _, sh := range s.shards[table] {
		if sh.id == shard {
			sh.records = append(sh.records, map[string]any{"eventName": "MODIFY", "dynamodb": map[string]any{
				"Keys": map[string]any{key: map[string]string{"S": id}}, "SequenceNumber": strconv.Itoa(len(sh.records) + 1),
				"OldImage": image(oldHead), "NewImage": image(newHead),
			}})
		}
	}
}

func (s *streamService) answer(_ int, c call) reply {
	var in struct {
		TableName, StreamArn, ShardId, ShardIteratorType, SequenceNumber, ShardIterator string
		Limit                                                                           int
	}
	if err := json.Unmarshal([]byte(c.body), &in); err != nil {
		s.t.Error(err)
	}
	switch c.op {
	case "DescribeTable":
		return reply{body: map[string]any{"Table": map[string]any{"LatestStreamArn": "arn:" + in.TableName,
			"StreamSpecification": map[string]any{"StreamEnabled": true}}}}
	case "DescribeStream":
		var list []any
		for _, sh := range s.shards[strings.TrimPrefix(in.StreamArn, "arn:")] {
			r := map[string]string{"StartingSequenceNumber": "1"}
			if sh.closed {
				r["EndingSequenceNumber"] = "9"
			}
			d := map[string]any{"ShardId": sh.id, "SequenceNumberRange": r}
			if sh.parent != "" {
				d["ParentShardId"] = sh.parent
			}
			list = append(list, d)
		}
		return reply{body: map[string]any{"StreamDescription": map[string]any{"Shards": list}}}
	case "GetShardIterator":
		if s.trimmed {
			return reply{code: "TrimmedDataAccessException"}
		}
		sh := s.shard(in.ShardId)
		if sh == nil {
			return reply{code: "ResourceNotFoundException"}
		}
		from := map[string]int{"TRIM_HORIZON": 0, "LATEST": len(sh.records)}[in.ShardIteratorType]
		if in.ShardIteratorType == "AFTER_SEQUENCE_NUMBER" {
			from, _ = strconv.Atoi(in.SequenceNumber)
		}
		s.issued++
		return reply{body: map[string]string{"ShardIterator": fmt.Sprintf("%s:%d:%d", in.ShardId, from, s.issued)}}
	case "GetRecords":
		if s.expired[in.ShardIterator] {
			return reply{code: "ExpiredIteratorException"}
		}
		f := strings.Split(in.ShardIterator, ":")
		sh := s.shard(f[0])
		from, _ := strconv.Atoi(f[1])
		to := min(from+in.Limit, len(sh.records))
		out := map[string]any{"Records": sh.records[from:to]}
		if !sh.closed || to < len(sh.records) {
			s.issued++
			out["NextShardIterator"] = fmt.Sprintf("%s:%d:%d", sh.id, to, s.issued)
		}
		return reply{body: out}
	}
	return reply{code: "UnknownOperationException"}
}

func (s *streamService) shard(id string) *streamShard {
	for _, list := range s.shards {
		for _, sh := range list {
			if sh.id == id {
				return sh
			}
		}
	}
	return nil
}

func openStreams(t *testing.T) (*streamService, store.Feed) {
	t.Helper()
	s := &streamService{t: t, expired: map[string]bool{}, shards: map[string][]*streamShard{
		"t-LeoEvent": {{id: "e0", closed: true}, {id: "e1", parent: "e0"}}, "t-LeoCron": {{id: "c1"}},
	}}
	b, _ := openService(t, s.answer)
	return s, newFeed(b)
}

func read(t *testing.T, f store.Feed, cursor string, limit int) ([]string, string) {
	t.Helper()
	changes, next, err := f.Changes(t.Context(), cursor, limit)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, c := range changes {
		out = append(out, c.ID)
	}
	return out, next
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAClaimIsNoChangeAndAnyWriteOfABotIs(t *testing.T) {
	s, f := openStreams(t)
	s.add("t-LeoEvent", "e1", "event", "before", "", "z/1")
	_, cursor := read(t, f, "", 10)
	s.add("t-LeoEvent", "e1", "event", "claimed", "z/1", "z/1")
	s.add("t-LeoEvent", "e1", "event", "moved", "z/1", "z/2")
	s.add("t-LeoCron", "c1", "id", "bot", "", "")
	got, next := read(t, f, cursor, 10)
	expect(t, got, "moved", "bot")
	again, _ := read(t, f, cursor, 10)
	expect(t, again, "moved", "bot")
	rest, _ := read(t, f, next, 10)
	expect(t, rest)
	if err := f.Wait(t.Context(), cursor); err != nil {
		t.Error(err)
	}
}

func TestABusyShardDoesNotHideTheOthers(t *testing.T) {
	s, f := openStreams(t)
	_, cursor := read(t, f, "", 10)
	for range 10 {
		s.add("t-LeoEvent", "e1", "event", "busy", "", "z/2")
	}
	s.add("t-LeoCron", "c1", "id", "bot", "", "")
	var seen []string
	for range 3 {
		var got []string
		got, cursor = read(t, f, cursor, 2)
		seen = append(seen, got...)
	}
	if !slices.Contains(seen, "bot") {
		t.Errorf("three pages told %q", seen)
	}
}

func TestAClosedShardIsFollowedByItsChildren(t *testing.T) {
	s, f := openStreams(t)
	_, cursor := read(t, f, "", 10)
	s.add("t-LeoEvent", "e1", "event", "a", "", "z/1")
	s.shards["t-LeoEvent"][1].closed = true
	got, cursor := read(t, f, cursor, 10) // The children are not told yet.
	expect(t, got, "a")
	s.shards["t-LeoEvent"] = append(s.shards["t-LeoEvent"], &streamShard{id: "e2", parent: "e1"}, &streamShard{id: "e3", parent: "e1"})
	s.add("t-LeoEvent", "e2", "event", "b", "", "z/1")
	s.add("t-LeoEvent", "e3", "event", "c", "", "z/1")
	if err := f.Wait(t.Context(), cursor); err != nil {
		t.Error(err)
	}
	got, cursor = read(t, f, cursor, 10)
	expect(t, got)
	got, cursor = read(t, f, cursor, 10)
	slices.Sort(got)
	expect(t, got, "b", "c")
	got, _ = read(t, f, cursor, 10)
	expect(t, got)
}

func TestAnExpiredIteratorIsRenewedWhereThePlaceIsKnown(t *testing.T) {
	s, f := openStreams(t)
	_, start := read(t, f, "", 10)
	s.add("t-LeoEvent", "e1", "event", "a", "", "z/1")
	s.add("t-LeoCron", "c1", "id", "x", "", "")
	got, known := read(t, f, start, 10)
	expect(t, got, "a", "x")
	for i := range s.issued + 1 {
		for _, at := range []string{"e1:0:", "e1:1:", "c1:0:", "c1:1:"} {
			s.expired[at+strconv.Itoa(i)] = true
		}
	}
	s.add("t-LeoEvent", "e1", "event", "b", "", "z/1")
	got, _ = read(t, f, known, 10)
	expect(t, got, "b")
	_, _, err := f.Changes(t.Context(), start, 10)
	says(t, err, store.ErrNotFound, "t-LeoEvent")
	if err := f.Wait(t.Context(), start); err != nil {
		t.Errorf("a cursor that Changes refuses is waited for: %v", err)
	}
}

func TestAPlaceThatWasTrimmedIsNotFound(t *testing.T) {
	s, f := openStreams(t)
	_, cursor := read(t, f, "", 10)
	s.add("t-LeoEvent", "e1", "event", "a", "", "z/1")
	_, cursor = read(t, f, cursor, 10)
	other := newFeed(openAt(t, "http://"+"127.0.0.1:1"))
	if _, _, err := other.Changes(t.Context(), cursor, 10); err == nil {
		t.Error("a bus that is down gave changes")
	} else {
		says(t, err, store.ErrUnavailable, "127.0.0.1:1")
	}
	s.trimmed = true
	b2, _ := openService(t, s.answer) // Another process, which has no iterators.
	_, _, err := newFeed(b2).Changes(t.Context(), cursor, 10)
	says(t, err, store.ErrNotFound)
}
