//go:build aws

package interop

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// members are the members of a JSON object.
type members = map[string]json.RawMessage

// sentRecord is an intake record as Kinesis holds it.
type sentRecord struct {
	shard, key string
	data       []byte
	text       string
	lines      []string
	events     []members
}

// sent returns the intake records with lines for a queue, in order for each shard.
func (w *world) sent(queue string) []sentRecord {
	w.Helper()
	ctx, client, stream := w.Context(), kinesis.NewFromConfig(awstest.Config(w)), w.bus.Resources().LeoKinesisStream
	list, err := client.ListShards(ctx, &kinesis.ListShardsInput{StreamName: &stream})
	w.ok(err)
	var out []sentRecord
	for _, shard := range list.Shards {
		it, err := client.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{
			StreamName: &stream, ShardId: shard.ShardId, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
		})
		w.ok(err)
		for next := it.ShardIterator; next != nil; {
			page, err := client.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: next})
			w.ok(err)
			if len(page.Records) == 0 {
				break
			}
			for _, r := range page.Records {
				s := sentRecord{shard: *shard.ShardId, key: *r.PartitionKey, data: r.Data}
				s.decode(w)
				if slices.ContainsFunc(s.events, func(m members) bool { return queueOf(m["event"]) == queue }) {
					out = append(out, s)
				}
			}
			next = page.NextShardIterator
		}
	}
	return out
}

// queueOf returns the queue that a line's member event names.
func queueOf(v json.RawMessage) string {
	var name string
	if json.Unmarshal(v, &name) != nil {
		return ""
	}
	return ref.Queue(name)
}

// decode fills in text, lines and events. Records of plain lines, which some rows put, have them as they are.
func (s *sentRecord) decode(w *world) {
	w.Helper()
	s.text = string(s.data)
	if bytes.HasPrefix(s.data, []byte{0x1f, 0x8b}) {
		s.text = gunzip(w, s.data)
	}
	s.lines = strings.Split(strings.TrimSuffix(s.text, "\n"), "\n")
	s.events = make([]members, len(s.lines))
	for i, line := range s.lines {
		_ = json.Unmarshal([]byte(line), &s.events[i]) // What is no object names no queue.
	}
}

func gunzip(w *world, data []byte) string {
	w.Helper()
	r, err := gzip.NewReader(bytes.NewReader(data))
	w.ok(err)
	text, err := io.ReadAll(r)
	w.ok(err)
	return string(text)
}

// tap is an Intake that notes what is put, and can refuse.
type tap struct {
	store.Intake
	// refuse, if set, returns the error for a record of a call; both count from 0. Refused records are not stored.
	refuse func(call, record int) error

	mu    sync.Mutex
	calls [][]store.Record
}

func (t *tap) Put(ctx context.Context, records []store.Record) ([]store.Ack, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	call := len(t.calls)
	t.calls = append(t.calls, slices.Clone(records))
	acks := make([]store.Ack, len(records))
	var pass []store.Record
	var places []int
	for i, r := range records {
		if t.refuse != nil {
			if acks[i].Err = t.refuse(call, i); acks[i].Err != nil {
				continue
			}
		}
		pass, places = append(pass, r), append(places, i)
	}
	if len(pass) == 0 {
		return acks, nil
	}
	got, err := t.Intake.Put(ctx, pass)
	if err != nil {
		return nil, err
	}
	for i, at := range places {
		acks[at] = got[i]
	}
	return acks, nil
}

// tapped returns a world whose SDK writes through a tap.
func (w *world) tapped(refuse func(call, record int) error) (*world, *tap) {
	t := &tap{Intake: w.store.Intake, refuse: refuse}
	one := *w
	one.store.Intake = t
	one.sdk = rstreams.New(one.store, rstreams.Options{Logger: w.log})
	return &one, t
}

// names returns the sorted names of an object's members.
func names(m members) []string {
	var out []string
	for name := range m {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// object decodes a JSON object.
func object(w *world, v json.RawMessage) members {
	w.Helper()
	var m members
	if err := json.Unmarshal(v, &m); err != nil {
		w.Fatalf("%.200s is no object: %v", v, err)
	}
	return m
}

// objects decodes an array of objects.
func objects(w *world, v json.RawMessage) []members {
	w.Helper()
	var m []members
	if err := json.Unmarshal(v, &m); err != nil {
		w.Fatalf("%.200s is no array of objects: %v", v, err)
	}
	return m
}

// integer decodes a JSON integer.
func integer(w *world, v json.RawMessage) int64 {
	w.Helper()
	var n int64
	if err := json.Unmarshal(v, &n); err != nil {
		w.Fatalf("%.200s is no integer: %v", v, err)
	}
	return n
}

func text(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) != nil {
		return fmt.Sprintf("no string: %s", v)
	}
	return s
}
