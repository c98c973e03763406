package monitor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/monitor"
	"github.com/rstreams-go/rstreams/bus/store"
)

// image is what the monitor uses of a LeoCron item in DynamoDB's JSON.
type image struct {
	ID            text
	IgnoreMonitor struct{ BOOL bool } `json:"ignoreMonitor"`
	Instances     struct {
		M map[string]struct {
			M struct {
				Token, InvokeTime, CompletedTime number
				Status                           text
			}
		}
	}
	Checkpoints struct {
		M struct {
			Read, Write struct {
				M map[string]struct{ M position }
			}
		}
	}
}

type (
	text     struct{ S string }
	number   struct{ N json.Number }
	position struct {
		Checkpoint text
		Source     number `json:"source_timestamp"`
		Started    number `json:"started_timestamp"`
		Ended      number `json:"ended_timestamp"`
		Records    number
	}
)

func (n number) int() int64 {
	v, _ := n.N.Int64()
	return v
}

func (i *image) bot() store.Bot {
	if i == nil {
		return store.Bot{}
	}
	in := i.Instances.M["0"].M
	b := store.Bot{
		ID: i.ID.S, Read: positions(i.Checkpoints.M.Read.M), Write: positions(i.Checkpoints.M.Write.M),
		Instance: store.Instance{
			Token: in.Token.int(), InvokeTime: in.InvokeTime.int(), CompletedTime: in.CompletedTime.int(), Status: in.Status.S,
		},
	}
	if i.IgnoreMonitor.BOOL {
		b.Extra = map[string]json.RawMessage{"ignoreMonitor": json.RawMessage("true")}
	}
	return b
}

func positions(m map[string]struct{ M position }) map[string]store.Checkpoint {
	out := map[string]store.Checkpoint{}
	for ref, p := range m {
		out[ref] = store.Checkpoint{
			Position: p.M.Checkpoint.S, SourceTimestamp: p.M.Source.int(), StartedTimestamp: p.M.Started.int(),
			EndedTimestamp: p.M.Ended.int(), Records: p.M.Records.int(),
		}
	}
	return out
}

// TestC60EventsAgreeWithTheOriginal replays the recorded changes. The one that deviates on purpose is a run that began and
// ended between two images: the original never reports its end (sdk.md 12).
func TestC60EventsAgreeWithTheOriginal(t *testing.T) {
	raw, err := os.ReadFile("testdata/monitor.json")
	if err != nil {
		t.Fatal(err)
	}
	var g struct {
		Clock int64
		Cases []struct {
			Note   string
			Record struct {
				Dynamodb struct {
					ApproximateCreationDateTime float64
					NewImage, OldImage          *image
				}
			}
			Events []map[string]any
		}
	}
	if err := json.Unmarshal(raw, &g); err != nil {
		t.Fatal(err)
	}
	between := 0
	for _, c := range g.Cases {
		t.Run(c.Note, func(t *testing.T) {
			d := c.Record.Dynamodb
			events, err := monitor.Events(monitor.Change{
				Old: d.OldImage.bot(), New: d.NewImage.bot(), At: int64(math.Round(d.ApproximateCreationDateTime * 1000)),
			})
			if err != nil {
				t.Fatal(err)
			}
			var p pipe
			if err := monitor.Write(t.Context(), &p, events, "7", time.UnixMilli(g.Clock)); err != nil {
				t.Fatal(err)
			}
			want := c.Events
			if c.Note == "started and completed between two images" {
				between++
				last := map[string]any{}
				for k, v := range want[0] {
					last[k] = v
				}
				last["payload"] = map[string]any{
					"id": "m-bot", "type": "completed", "ts": 1704164645668., "start": 1704164645578., "is_error": false,
				}
				last["eid"] = 1.
				want = append(want, last)
			}
			if diff := cmp.Diff(want, p.lines(t)); diff != "" && len(want)+len(events) > 0 {
				t.Error(diff)
			}
			for _, r := range p.records {
				if r.HashKey != "7" || r.PartitionKey != "monitor" {
					t.Errorf("record goes to %q, %q", r.PartitionKey, r.HashKey)
				}
			}
		})
	}
	if between != 1 || len(g.Cases) != 12 {
		t.Errorf("%d cases, %d of them deviate", len(g.Cases), between)
	}
}

// pipe is an intake that keeps what it is given.
type pipe struct {
	limits  store.IntakeLimits
	records []store.Record
	fail    func(call int, r store.Record) error
	calls   int
}

func (p *pipe) Limits() store.IntakeLimits { return p.limits }

func (p *pipe) Put(_ context.Context, records []store.Record) ([]store.Ack, error) {
	p.calls++
	acks := make([]store.Ack, len(records))
	for i, r := range records {
		if p.fail != nil {
			acks[i].Err = p.fail(p.calls, r)
		}
		if acks[i].Err == nil {
			p.records = append(p.records, r)
		}
	}
	return acks, nil
}

// lines returns the events of all records.
func (p *pipe) lines(t *testing.T) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, r := range p.records {
		data := r.Data
		if !p.limits.Plain {
			var err error
			if data, err = chunk.AppendGunzip(nil, data, 1<<30); err != nil {
				t.Fatal(err)
			}
		}
		for line := range strings.Lines(string(data)) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			out = append(out, m)
		}
	}
	return out
}

func ran(invoked, ended int64, status string) store.Bot {
	return store.Bot{ID: "b", Instance: store.Instance{Token: invoked, InvokeTime: invoked, CompletedTime: ended, Status: status}}
}

func TestWhatAChangeOfRunsSays(t *testing.T) {
	for _, c := range []struct {
		what     string
		old, now store.Bot
		want     string
	}{
		{"nothing", ran(5, 0, ""), ran(5, 0, ""), ``},
		{"a new row with a run", store.Bot{}, ran(5, 0, ""), `started 5`},
		{"a new row with a run that ended", store.Bot{}, ran(5, 6, "error"), `started 5, completed 5-6 true`},
		{"the end", ran(5, 0, ""), ran(5, 6, "complete"), `completed 5-6 false`},
		{"the status of the run before stays at the lock", ran(5, 6, "error"), ran(7, 0, "error"), `started 7`},
		{"a run between, with the same end", ran(5, 8, ""), ran(7, 8, "complete"), `started 7, completed 7-8 false`},
		{"an end that leaves nothing else", ran(5, 0, ""), ran(0, 6, "complete"), `completed 5-6 false`},
		{"an end of which nothing is known", store.Bot{ID: "b"}, ran(0, 6, "error"), `completed 100-6 true`},
		{"the row is gone", ran(5, 0, ""), store.Bot{}, ``},
	} {
		events, err := monitor.Events(monitor.Change{Old: c.old, New: c.now, At: 100})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range events {
			var p struct {
				Type      string
				TS, Start int64
				Error     bool `json:"is_error"`
			}
			if err := json.Unmarshal(e.Payload, &p); err != nil || e.Bot != monitor.Bot || e.Queue != monitor.Queue {
				t.Errorf("%+v, %v", e, err)
			}
			if p.Type == "started" {
				got = append(got, fmt.Sprint("started ", p.Start))
			} else {
				got = append(got, fmt.Sprintf("%s %d-%d %v", p.Type, p.Start, p.TS, p.Error))
			}
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: %q, want %q", c.what, s, c.want)
		}
	}
}

// TestPlaceholdersAndResetsSayNothing: only a position is news. Zero units are said where the checkpoint has figures.
func TestPlaceholdersAndResetsSayNothing(t *testing.T) {
	at := func(p string) map[string]store.Checkpoint {
		return map[string]store.Checkpoint{"queue:q": {Position: p, EndedTimestamp: 9}}
	}
	for _, c := range []struct {
		old, now store.Bot
		want     int
	}{
		{store.Bot{ID: "b"}, store.Bot{ID: "b", Read: at(""), Write: at("")}, 0},
		{store.Bot{ID: "b", Read: at("z/1")}, store.Bot{ID: "b", Read: at("")}, 0},
		{store.Bot{ID: "b", Read: at("z/1")}, store.Bot{ID: "b", Read: at("z/0"), Write: at("z/5")}, 2},
	} {
		events, err := monitor.Events(monitor.Change{Old: c.old, New: c.now, At: 100})
		if err != nil || len(events) != c.want {
			t.Errorf("%d events, want %d: %v", len(events), c.want, err)
		}
		for _, e := range events {
			if !strings.Contains(string(e.Payload), `"units":0`) {
				t.Errorf("%s", e.Payload)
			}
		}
	}
}

func many(n int) []event.Event {
	events := make([]event.Event, n)
	for i := range events {
		events[i] = event.Event{Bot: monitor.Bot, Queue: monitor.Queue, Payload: fmt.Appendf(nil, `{"n":%d,"x":"%s"}`, i, strings.Repeat("x", 100))}
	}
	return events
}

// TestRecordsKeepTheLimitsOfTheIntake and the order of the events.
func TestRecordsKeepTheLimitsOfTheIntake(t *testing.T) {
	for _, plain := range []bool{false, true} {
		p := pipe{limits: store.IntakeLimits{Records: 3, Bytes: 5000, RecordBytes: 2000, Plain: plain}}
		if err := monitor.Write(t.Context(), &p, many(100), "0", time.UnixMilli(5)); err != nil {
			t.Fatal(err)
		}
		lines := p.lines(t)
		if len(lines) != 100 || p.calls < 2 {
			t.Fatalf("%d events in %d calls", len(lines), p.calls)
		}
		for i, l := range lines {
			if l["payload"].(map[string]any)["n"] != float64(i) {
				t.Fatalf("event %d is %v", i, l)
			}
		}
		for _, r := range p.records {
			if len(r.Data) > 2000 {
				t.Errorf("a record of %d bytes", len(r.Data))
			}
		}
	}
	if err := monitor.Write(t.Context(), nil, nil, "0", time.UnixMilli(5)); err != nil {
		t.Error(err)
	}
}

// TestARefusedRecordIsPutAgain, others are not; what no repetition helps is an error at once.
func TestARefusedRecordIsPutAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pipe{limits: store.IntakeLimits{RecordBytes: 2000}}
		p.fail = func(call int, r store.Record) error {
			if call < 3 && len(p.records) == 0 {
				return store.ErrThrottled
			}
			return nil
		}
		if err := monitor.Write(t.Context(), &p, many(10), "0", time.UnixMilli(5)); err != nil || len(p.lines(t)) != 10 {
			t.Errorf("%d events, %v", len(p.lines(t)), err)
		}
		p = pipe{fail: func(int, store.Record) error { return store.ErrThrottled }}
		if err := monitor.Write(t.Context(), &p, many(10), "0", time.UnixMilli(5)); !errors.Is(err, store.ErrThrottled) || p.calls != 6 {
			t.Errorf("after %d calls: %v", p.calls, err)
		}
		p = pipe{fail: func(int, store.Record) error { return store.ErrTooLarge }}
		if err := monitor.Write(t.Context(), &p, many(10), "0", time.UnixMilli(5)); !errors.Is(err, store.ErrTooLarge) || p.calls != 1 {
			t.Errorf("after %d calls: %v", p.calls, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		p = pipe{fail: func(int, store.Record) error { cancel(); return store.ErrThrottled }}
		if err := monitor.Write(ctx, &p, many(1), "0", time.UnixMilli(5)); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// TestAWriteThatFailsSaysWhatIsDurable, so that it is not written, and counted, again.
func TestAWriteThatFailsSaysWhatIsDurable(t *testing.T) {
	const events, perCall = 100, 3
	limits := store.IntakeLimits{Records: perCall, RecordBytes: 2000}
	var all pipe
	all.limits = limits
	if err := monitor.Write(t.Context(), &all, many(events), "0", time.UnixMilli(5)); err != nil {
		t.Fatal(err)
	}
	// refuse refuses the nth record, from 0, of the write.
	refuse := func(n int, err error) func(int, store.Record) error {
		return func(_ int, r store.Record) error {
			if string(r.Data) == string(all.records[n].Data) {
				return err
			}
			return nil
		}
	}
	before := func(n int) int { // events
		p := pipe{limits: limits, records: all.records[:n]}
		return len(p.lines(t))
	}
	if before(1) != before(2)-before(1) || len(all.records) < 2*perCall+2 {
		t.Fatalf("%d records, %d events in the first", len(all.records), before(1))
	}
	synctest.Test(t, func(t *testing.T) {
		for n := range all.records {
			for _, cause := range []error{store.ErrThrottled, store.ErrTooLarge, errors.New("a code that nobody knows")} {
				p := pipe{limits: limits, fail: refuse(n, cause)}
				err := monitor.Write(t.Context(), &p, many(events), "0", time.UnixMilli(5))
				var w *monitor.WriteError
				if !errors.As(err, &w) || !errors.Is(err, cause) || w.Durable != before(n) {
					t.Errorf("record %d refused by %v: %v, want %d durable", n, cause, err, before(n))
				}
			}
		}
	})
	down := failing{&pipe{limits: limits}, 2}
	err := monitor.Write(t.Context(), &down, many(events), "0", time.UnixMilli(5))
	var w *monitor.WriteError
	if !errors.As(err, &w) || !errors.Is(err, store.ErrUnavailable) || w.Durable != before(2*perCall) {
		t.Errorf("the third call fails: %v, want %d durable", err, before(2*perCall))
	}
	bad := many(3)
	bad[2].Payload = nil
	if err := monitor.Write(t.Context(), &pipe{}, bad, "0", time.UnixMilli(5)); !errors.As(err, &w) || w.Durable != 0 {
		t.Errorf("an event that is none: %v", err)
	}
}

// failing is an intake that is away after some calls.
type failing struct {
	*pipe
	calls int
}

func (f *failing) Put(ctx context.Context, records []store.Record) ([]store.Ack, error) {
	if f.calls--; f.calls < 0 {
		return nil, store.ErrUnavailable
	}
	return f.pipe.Put(ctx, records)
}

func ExampleEvents() {
	before := store.Bot{ID: "orders-enrich", Instance: store.Instance{InvokeTime: 1_000}}
	after := store.Bot{ID: "orders-enrich", Instance: store.Instance{InvokeTime: 1_000, CompletedTime: 1_800, Status: store.StatusComplete}}
	events, err := monitor.Events(monitor.Change{Old: before, New: after, At: 1_801})
	if err != nil {
		fmt.Println(err)
	}
	for _, e := range events {
		fmt.Println(string(e.Payload))
	}
	// Output: {"id":"orders-enrich","type":"completed","ts":1800,"start":1000,"is_error":false}
}
