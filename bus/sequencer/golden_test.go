package sequencer_test

import (
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"math"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// The recordings in testdata are of the original processor, bus 3.3.1: bus.json has its input and what it wrote,
// kinesis.json the records that leo-sdk 6.0.18 made of events.

type attribute struct {
	S, N *string
	B    []byte
	BOOL *bool
	M    map[string]attribute
	L    []attribute
}

func (a attribute) text() string {
	if a.S == nil {
		return ""
	}
	return *a.S
}

func (a attribute) number() int64 {
	if a.N == nil {
		return 0
	}
	n, err := strconv.ParseInt(*a.N, 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

type goldenCase struct {
	Name  string
	Input struct {
		Case    string `json:"records_of_kinesis_case"`
		Shard   string `json:"shard"`
		Arrival int64  `json:"arrival_ms"`
		Records []struct {
			EventID string `json:"eventID"`
			Kinesis struct {
				Sequence string  `json:"sequenceNumber"`
				Data     []byte  `json:"data"`
				Arrival  float64 `json:"approximateArrivalTimestamp"`
			}
		}
	}
	LeoStream []map[string]attribute
	LeoEvent  []map[string]attribute
	LeoCron   []map[string]attribute
	Lines     []struct {
		Event, End string
		Lines      []string
	}
}

func readGolden(t *testing.T, name string, into any) {
	t.Helper()
	f, err := os.Open("testdata/" + name + ".gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// goldenBatches returns the cases with their input as a batch.
func goldenBatches(t *testing.T) []struct {
	goldenCase
	batch sequencer.Batch
} {
	t.Helper()
	var bus struct{ Cases []goldenCase }
	readGolden(t, "bus.json", &bus)
	var kinesis struct {
		Cases []struct {
			Name       string
			PutRecords []struct {
				Records []struct{ Data string }
			}
		}
	}
	readGolden(t, "kinesis.json", &kinesis)
	records := map[string][][]byte{}
	for _, c := range kinesis.Cases {
		for _, put := range c.PutRecords {
			for _, r := range put.Records {
				data, err := base64.StdEncoding.DecodeString(r.Data)
				if err != nil {
					t.Fatal(err)
				}
				records[c.Name] = append(records[c.Name], data)
			}
		}
	}
	out := make([]struct {
		goldenCase
		batch sequencer.Batch
	}, 0, len(bus.Cases))
	for _, c := range bus.Cases {
		b := sequencer.Batch{Shard: c.Input.Shard}
		for _, r := range c.Input.Records {
			b.Shard, _, _ = strings.Cut(r.EventID, ":")
			b.Records = append(b.Records, sequencer.Record{
				Sequence: r.Kinesis.Sequence, Arrival: int64(math.Round(r.Kinesis.Arrival * 1000)), Data: r.Kinesis.Data,
			})
		}
		for i, data := range records[c.Input.Case] {
			b.Records = append(b.Records, sequencer.Record{
				Sequence: strconv.Itoa(i + 1), Arrival: c.Input.Arrival, Data: data,
			})
		}
		if len(b.Records) == 0 {
			t.Fatalf("case %s has no records", c.Name)
		}
		out = append(out, struct {
			goldenCase
			batch sequencer.Batch
		}{c, b})
	}
	return out
}

// deviations are the cases that come out otherwise here, on purpose.
var deviations = map[string]string{
	"mixed": "counters are per queue, from 0 (rule 3)",
	"refs":  "counters are per queue, from 0 (rule 3)",
	"late":  "chunks are inline unless they are large (rule 5, W-S5)",
	"forms": "zlib of any level and leading space are read; what cannot be read is dead-lettered (W-D8)",
	"rules": "what is dropped there is dead-lettered here (W-D8); a complete event with a __cmd is an event (sdk.md 12)",
}

func TestGoldenBatchesAreStoredAsTheOriginalStoredThem(t *testing.T) {
	st := memory.New(memory.Options{Now: func() time.Time { return time.UnixMilli(1704164645678) }})
	for _, bot := range []string{"botA", "botB", "botZ", "botS"} {
		if err := st.Bots.Register(t.Context(), store.Registration{ID: bot}); err != nil {
			t.Fatal(err)
		}
	}
	now := int64(1704164645678)
	seq := sequencer.New(st, sequencer.Config{Now: func() time.Time { return time.UnixMilli(now) }})
	for _, c := range goldenBatches(t) {
		res, err := seq.Process(t.Context(), c.batch)
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if res.Done != len(c.batch.Records) {
			t.Errorf("%s: %d of %d records done", c.Name, res.Done, len(c.batch.Records))
		}
		if deviations[c.Name] != "" {
			continue
		}
		for _, item := range c.LeoStream {
			compareItem(t, c.goldenCase, st, item)
		}
		for _, row := range c.LeoEvent {
			compareHead(t, c.Name, st, row)
		}
		for _, row := range c.LeoCron {
			compareStats(t, c.goldenCase, st, row)
		}
	}
}

func chunkAt(ctx context.Context, st store.Store, queue, end string) (store.Chunk, bool) {
	for after := ""; ; {
		page, err := st.Chunks.Query(ctx, queue, after, end, 0, 0)
		if err != nil {
			panic(err)
		}
		for _, c := range page.Chunks {
			after = c.End
			if c.End == end {
				return c, true
			}
		}
		if !page.More {
			return store.Chunk{}, false
		}
	}
}

func compareItem(t *testing.T, g goldenCase, st store.Store, item map[string]attribute) {
	t.Helper()
	queue, end := item["event"].text(), item["end"].text()
	c, ok := chunkAt(t.Context(), st, queue, end)
	if !ok {
		t.Errorf("%s: no chunk of %s ends at %s", g.Name, queue, end)
		return
	}
	if c.Start != item["start"].text() || c.Records != item["records"].number() || c.Size != item["size"].number() {
		t.Errorf("%s: chunk %s %s..%s has %d records, %d bytes", g.Name, queue, c.Start, c.End, c.Records, c.Size)
	}
	// Snapshot chunks must not expire while the queue points at them (W-D6).
	if want := item["ttl"].number(); c.Snapshot == 0 && c.Expires != want {
		t.Errorf("%s: chunk of %s expires at %d, want %d", g.Name, queue, c.Expires, want)
	}
	if archive := item["archive"].BOOL; (archive != nil && *archive) != c.Archive || c.Snapshot != item["snapshot"].number() {
		t.Errorf("%s: chunk of %s: archive %v, snapshot %d", g.Name, queue, c.Archive, c.Snapshot)
	}
	if s3 := item["s3"].M; s3 != nil {
		if c.Blob == nil || c.Blob.Key != s3["key"].text() || c.Blob.Bucket != s3["bucket"].text() {
			t.Errorf("%s: chunk of %s has blob %+v", g.Name, queue, c.Blob)
		}
		if c.GzipSize != item["gzipSize"].number() || len(c.Offsets) != len(item["offsets"].L) ||
			c.Timestamp != item["timestamp"].number() || c.SourceTimestamp != item["event_source_timestamp"].number() {
			t.Errorf("%s: chunk of %s: %+v", g.Name, queue, c)
		}
		return
	}
	text, err := chunk.AppendGunzip(nil, c.Gzip, 1<<30)
	if err != nil {
		t.Errorf("%s: %v", g.Name, err)
		return
	}
	got := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for _, l := range g.Lines {
		if l.Event != queue || l.End != end {
			continue
		}
		if len(got) != len(l.Lines) {
			t.Errorf("%s: chunk of %s has %d lines, want %d", g.Name, queue, len(got), len(l.Lines))
			return
		}
		for i := range got {
			if !strings.Contains(l.Lines[i], "<x*") && !sameJSON(t, got[i], l.Lines[i]) {
				t.Errorf("%s: line %d of %s\n got %s\nwant %s", g.Name, i, queue, got[i], l.Lines[i])
			}
		}
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	var x, y any
	if err := json.Unmarshal([]byte(a), &x); err != nil {
		t.Errorf("%s: %v", a, err)
	}
	if err := json.Unmarshal([]byte(b), &y); err != nil {
		t.Errorf("%s: %v", b, err)
	}
	return reflect.DeepEqual(x, y)
}

func compareHead(t *testing.T, name string, st store.Store, row map[string]attribute) {
	t.Helper()
	q, err := st.Queues.Get(t.Context(), row["event"].text())
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if q.Head != row["max_eid"].text() || q.ArchiveEnd != row["archive"].M["end"].text() ||
		q.SnapshotStart != row["snapshot"].M["start"].text() || q.SnapshotNext != row["snapshot"].M["next"].text() {
		t.Errorf("%s: row %+v", name, q)
	}
}

// compareStats checks the write checkpoints of single-queue cases. Theirs name the last event relative to its chunk (W-O7);
// where the batch was one chunk, that is the event.
func compareStats(t *testing.T, g goldenCase, st store.Store, row map[string]attribute) {
	t.Helper()
	b, err := st.Bots.Get(t.Context(), row["id"].text())
	if err != nil {
		t.Errorf("%s: %v", g.Name, err)
		return
	}
	for _, item := range g.LeoStream {
		key := "queue:" + item["event"].text()
		want, ok := row["checkpoints"].M["write"].M[key]
		if !ok || len(g.LeoStream) > 1 || item["archive"].BOOL != nil {
			continue
		}
		got := b.Write[key]
		if got.Records != want.M["records"].number() || got.SourceTimestamp != want.M["source_timestamp"].number() ||
			got.StartedTimestamp != want.M["started_timestamp"].number() || got.EndedTimestamp != want.M["ended_timestamp"].number() {
			t.Errorf("%s: statistics of %s on %s: %+v", g.Name, b.ID, key, got)
		}
		if last := b.ID == "botA" && len(row["checkpoints"].M["write"].M) == 1; last && got.Position != want.M["checkpoint"].text() {
			t.Errorf("%s: %s wrote %s last on %s, want %s", g.Name, b.ID, got.Position, key, want.M["checkpoint"].text())
		}
	}
}

// stored returns every line of a queue with its id, and fails on anything that the format forbids (C20 to C24).
func stored(t *testing.T, st store.Store, queue string) (ids, lines []string) {
	t.Helper()
	prev := ""
	for after := ""; ; {
		page, err := st.Chunks.Query(t.Context(), queue, after, "z0", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Chunks {
			after = c.End
			if c.Start <= prev {
				t.Errorf("chunk %s..%s of %s begins before the end of the one before, %s", c.Start, c.End, queue, prev)
			}
			prev = c.End
			ids = append(ids, idsOf(t, c)...)
			lines = append(lines, linesOf(t, st, c)...)
		}
		if !page.More {
			break
		}
	}
	if q, err := st.Queues.Get(t.Context(), queue); err == nil && q.Head != prev {
		t.Errorf("head of %s is %s, its last chunk ends at %s", queue, q.Head, prev)
	}
	return ids, lines
}

func TestGoldenMixedQueuesAreEachNumberedFromZero(t *testing.T) {
	for _, c := range goldenBatches(t) {
		if c.Name != "mixed" && c.Name != "refs" {
			continue
		}
		st := memory.New(memory.Options{Now: frozen})
		if _, err := sequencer.New(st, sequencer.Config{Now: frozen}).Process(t.Context(), c.batch); err != nil {
			t.Fatal(err)
		}
		for _, item := range c.LeoStream {
			queue := item["event"].text()
			ids, lines := stored(t, st, queue)
			if int64(len(ids)) != item["records"].number() || !strings.HasSuffix(ids[0], "-0000000") {
				t.Errorf("%s: queue %s has ids %v", c.Name, queue, ids)
			}
			i := slices.IndexFunc(c.Lines, func(l struct {
				Event, End string
				Lines      []string
			}) bool {
				return l.Event == queue
			})
			for k, line := range lines {
				if !sameJSON(t, line, c.Lines[i].Lines[k]) {
					t.Errorf("%s: %s, want %s", queue, line, c.Lines[i].Lines[k])
				}
			}
		}
	}
}

func TestGoldenInputThatTheOriginalDropsIsKeptOrDeadLettered(t *testing.T) {
	for _, c := range goldenBatches(t) {
		if c.Name != "forms" && c.Name != "rules" {
			continue
		}
		st := memory.New(memory.Options{Now: frozen})
		res, err := sequencer.New(st, sequencer.Config{Now: frozen}).Process(t.Context(), c.batch)
		if err != nil {
			t.Fatal(err)
		}
		_, letters := stored(t, st, deadletter.Queue)
		var reasons []string
		for _, l := range letters {
			var e struct{ Payload json.RawMessage }
			if err := json.Unmarshal([]byte(l), &e); err != nil {
				t.Fatal(err)
			}
			letter, err := deadletter.Parse(e.Payload)
			if err != nil {
				t.Fatal(err)
			}
			if len(letter.Bytes()) == 0 {
				t.Errorf("letter without its input: %s", l)
			}
			reasons = append(reasons, string(letter.Reason))
		}
		if int(res.DeadLetters) != len(letters) {
			t.Errorf("%d letters counted, %d stored", res.DeadLetters, len(letters))
		}
		switch c.Name {
		case "forms":
			_, lines := stored(t, st, "q.raw")
			// The original kept 10; zlib levels 1 and 9 and the record with a leading space are three more.
			if want := []string{"unknown-record", "bad-line"}; len(lines) != 13 || !slices.Equal(reasons, want) {
				t.Errorf("%d lines, letters %v, want 13 and %v", len(lines), reasons, want)
			}
		case "rules":
			_, lines := stored(t, st, "q.rules")
			_, cmd := stored(t, st, "q.rules2")
			want := slices.Repeat([]string{"bad-event"}, 6)
			if len(lines) != 7 || len(cmd) != 1 || !slices.Equal(reasons, want) {
				t.Errorf("%d and %d lines, letters %v", len(lines), len(cmd), reasons)
			}
		}
	}
}

func frozen() time.Time { return time.UnixMilli(1704164645678) }
