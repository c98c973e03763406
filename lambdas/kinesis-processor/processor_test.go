package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

const resources = `{"Region":"us-east-1","LeoStream":"s","LeoCron":"c","LeoEvent":"e","LeoSettings":"t","LeoSystem":"y",` +
	`"LeoS3":"bucket","LeoKinesisStream":"k","LeoFirehoseStream":"f"}`

// harness is a processor on a store in memory.
type harness struct {
	*processor
	out bytes.Buffer // metrics
}

func setup(t *testing.T, st store.Store, changes ...string) *harness {
	t.Helper()
	vars := map[string]string{shell.EnvConfig: resources, shell.EnvStack: "bus", shell.EnvPartialBatch: "true"}
	for _, c := range changes {
		name, value, _ := strings.Cut(c, "=")
		vars[name] = value
	}
	h := &harness{}
	env, err := shell.Open(t.Context(), "kinesis-processor", func(n string) string { return vars[n] }, &h.out, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { env.Bus.Close(context.Background()) })
	env.Store = st
	if h.processor, err = newProcessor(env); err != nil {
		t.Fatal(err)
	}
	return h
}

// onAWS returns a store that, like that of AWS, has no transactions.
func onAWS() store.Store {
	st := memory.New(memory.Options{})
	st.Atomic = nil
	return st
}

// event is a Kinesis event of one shard with the given data.
func event(from int, data ...[]byte) shell.KinesisEvent {
	var e shell.KinesisEvent
	for i, d := range data {
		var r shell.KinesisRecord
		r.Kinesis.SequenceNumber = fmt.Sprint(from + i)
		r.EventID = "shardId-000000000000:" + r.Kinesis.SequenceNumber
		r.Kinesis.Arrival.Time = time.Now().Add(-time.Second)
		r.Kinesis.Data = d
		e.Records = append(e.Records, r)
	}
	return e
}

func lines(queue string, from, to int) []byte {
	var b bytes.Buffer
	for n := from; n < to; n++ {
		fmt.Fprintf(&b, `{"id":"b","event":%q,"payload":{"n":%d},"timestamp":1}`+"\n", queue, n)
	}
	return b.Bytes()
}

// invocation is the context of an invocation with the given id.
func invocation(ctx context.Context, id string) context.Context {
	return lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: id})
}

func records(t *testing.T, st store.Store, queue string) (n int64) {
	t.Helper()
	for after := ""; ; {
		page, err := st.Chunks.Query(t.Context(), queue, after, "z0", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range page.Chunks {
			n, after = n+c.Records, c.End
		}
		if !page.More {
			return n
		}
	}
}

// metrics returns the last line of metrics.
func (h *harness) metrics(t *testing.T) map[string]any {
	t.Helper()
	all := bytes.Split(bytes.TrimSpace(h.out.Bytes()), []byte("\n"))
	var m map[string]any
	if err := json.Unmarshal(all[len(all)-1], &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestABatchIsPublishedOnceHoweverOftenItComes(t *testing.T) {
	st := onAWS()
	h := setup(t, st, "RSTREAMS_SKIP_EVENTS=queue:noise, hum", "RSTREAMS_SKIP_BOTS=loud")
	e := event(10, lines("q", 0, 5), []byte("\x00"), lines("noise", 0, 2), lines("hum", 0, 2), lines("q", 5, 7))
	r, err := h.handle(invocation(t.Context(), "r1"), e)
	if err != nil || r.Failed() != "" {
		t.Fatalf("%v, %v", r, err)
	}
	m := h.metrics(t)
	if m["Events"] != 8.0 || m["DeadLetters"] != 1.0 || m["Records"] != 5.0 || m["Repeats"] != 0.0 || m["IntakeLag"].(float64) < 1000 {
		t.Errorf("got %v", m)
	}
	e.Records = append(e.Records, event(15, lines("q", 7, 9)).Records...)
	if r, err = h.handle(invocation(t.Context(), "r2"), e); err != nil || r.Failed() != "" {
		t.Fatalf("%v, %v", r, err)
	}
	if m := h.metrics(t); m["Events"] != 2.0 || m["Repeats"] != 8.0 {
		t.Errorf("again: %v", m)
	}
	if n := records(t, st, "q"); n != 9 {
		t.Errorf("%d events", n)
	}
	for _, queue := range []string{"noise", "hum"} {
		if n := records(t, st, queue); n != 0 {
			t.Errorf("%d events of %s", n, queue)
		}
	}
	if r, err := h.handle(t.Context(), shell.KinesisEvent{}); err != nil || r.Failed() != "" {
		t.Errorf("no records: %v, %v", r, err)
	}
}

// stuck fails writes of chunks once a number of calls is used up.
type stuck struct {
	store.Chunks
	left int
	// hang makes it wait for the end of its context instead.
	hang bool
}

func (s *stuck) Put(ctx context.Context, chunks []store.Chunk) error {
	if s.left--; s.left >= 0 {
		return s.Chunks.Put(ctx, chunks)
	}
	if s.hang {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return fmt.Errorf("put: %w", store.ErrThrottled)
}

func TestAFailedPartIsReportedFromItsFirstRecordOn(t *testing.T) {
	for partial, want := range map[string]string{"true": "12", "false": ""} {
		st := onAWS()
		chunks := &stuck{Chunks: st.Chunks, left: 2}
		st.Chunks = chunks
		h := setup(t, st, "RSTREAMS_PARTIAL_BATCH="+partial)
		h.cfg.GroupBytes = 1 // A group for each record.
		e := event(10, lines("q", 0, 1), lines("q", 1, 2), lines("p", 2, 3), lines("q", 3, 4))
		r, err := h.handle(invocation(t.Context(), "r1"), e)
		if (err != nil) != (partial == "false") || r.Failed() != want {
			t.Fatalf("partial %s: %v, %v", partial, r, err)
		}
		if err != nil && (!errors.Is(err, store.ErrThrottled) || !strings.Contains(err.Error(), "2 of 4 records")) {
			t.Errorf("got %v", err)
		}
		if m := h.metrics(t); m["Records"] != 2.0 || m["Events"] != 2.0 {
			t.Errorf("got %v", m)
		}
		row, err := st.Queues.Get(t.Context(), "p")
		if err != nil {
			t.Fatal(err)
		}
		if s := row.Sequencing; !s.Open || s.Lease > time.Now().Add(3*time.Second).UnixMilli() || s.Owner != "shardId-000000000000/r1" {
			t.Errorf("the claim keeps the retry waiting: %+v", s)
		}
	}
}

// refusing takes no chunk of one queue.
type refusing struct {
	store.Chunks
	queue string
}

func (r refusing) Put(ctx context.Context, chunks []store.Chunk) error {
	var failed []store.ItemError
	for i := range chunks {
		if chunks[i].Queue == r.queue {
			failed = append(failed, store.ItemError{Index: i, Err: fmt.Errorf("%w chunk", store.ErrInvalid)})
			continue
		}
		if err := r.Chunks.Put(ctx, chunks[i:i+1]); err != nil {
			return err
		}
	}
	if failed != nil {
		return &store.BatchError{Items: failed}
	}
	return nil
}

// Lambda cuts a batch in two when its invocation fails, and at the record that an answer names. An answer that names the first
// record would so have the same batch come again until all of it is given up, because of one record in it.
func TestARecordThatCanNeverBePublishedIsTheOnlyOneThatIsGivenUp(t *testing.T) {
	st := onAWS()
	good := st.Chunks
	st.Chunks = refusing{good, "poison"}
	h := setup(t, st)
	e := event(10, lines("q", 0, 1), lines("q", 1, 2), lines("q", 2, 3), lines("poison", 0, 1), lines("q", 3, 4), lines("q", 4, 5))
	var given []string
	var deliver func(rest []shell.KinesisRecord)
	deliver = func(rest []shell.KinesisRecord) {
		for attempt := range 3 {
			r, err := h.handle(invocation(t.Context(), "r"), shell.KinesisEvent{Records: rest})
			switch {
			case err == nil && r.Failed() == "":
				return
			case err == nil:
				for rest[0].Kinesis.SequenceNumber != r.Failed() {
					rest = rest[1:]
				}
			case len(rest) > 1:
				deliver(rest[:len(rest)/2])
				deliver(rest[len(rest)/2:])
				return
			}
			if attempt == 2 {
				for _, r := range rest {
					given = append(given, r.Kinesis.SequenceNumber)
				}
			}
		}
	}
	deliver(e.Records)
	if len(given) != 1 || given[0] != "13" {
		t.Errorf("records %v are given up", given)
	}
	if n := records(t, st, "q"); n != 5 {
		t.Errorf("%d events of the others", n)
	}
}

func TestAnInvocationAnswersBeforeItsTimeIsOver(t *testing.T) {
	st := onAWS()
	st.Chunks = &stuck{Chunks: st.Chunks, left: 1, hang: true}
	h := setup(t, st, "RSTREAMS_LEASE=1h")
	h.cfg.GroupBytes = 1
	ctx, cancel := context.WithTimeout(invocation(t.Context(), "r1"), 2*time.Second)
	defer cancel()
	r, err := h.handle(ctx, event(10, lines("q", 0, 1), lines("q", 1, 2)))
	if err != nil || r.Failed() != "11" || ctx.Err() != nil {
		t.Errorf("%v, %v, %v", r, err, ctx.Err())
	}
}

func TestWhatCannotBeRememberedIsRefused(t *testing.T) {
	h := setup(t, onAWS())
	mixed := event(1, lines("q", 0, 1), lines("q", 1, 2))
	mixed.Records[1].EventID = "shardId-000000000001:2"
	nameless := event(1, lines("q", 0, 1))
	nameless.Records[0].EventID = "1"
	for _, e := range []shell.KinesisEvent{mixed, nameless} {
		if _, err := h.handle(t.Context(), e); err == nil {
			t.Errorf("%v is taken", e.Records[0].EventID)
		}
	}
	env := h.env
	for _, bad := range []string{"RSTREAMS_TTL_SECONDS=0", "RSTREAMS_TTL_SECONDS=week", "RSTREAMS_LEASE=-1s"} {
		name, value, _ := strings.Cut(bad, "=")
		env.Getenv = func(n string) string {
			if n == name {
				return value
			}
			return ""
		}
		if _, err := newProcessor(env); !errors.Is(err, shell.ErrConfig) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// forgetful keeps no chunks, so that only the processor's own memory is counted, and notes the most that was in use.
type forgetful struct {
	store.Chunks
	events int64
	peak   uint64
}

func (f *forgetful) Put(_ context.Context, chunks []store.Chunk) error {
	for _, c := range chunks {
		f.events += c.Records
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	f.peak = max(f.peak, m.Sys-m.HeapReleased)
	return nil
}

// TestABatchThatInflatesAThousandfoldFitsInTheFunction is W-S9.
func TestABatchThatInflatesAThousandfoldFitsInTheFunction(t *testing.T) {
	const limit = 192 << 20 // GOMEMLIMIT of a function of 256 MB
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit))
	bomb := func(text []byte, times int) []byte {
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		for range times {
			z.Write(text)
		}
		if err := z.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	event1000 := bytes.Repeat(lines("q", 0, 1), 1000)
	var queues bytes.Buffer
	for n := range 5000 {
		queues.Write(lines(fmt.Sprintf("queue-%d", n), n, n+1))
	}
	long := append(bytes.Repeat([]byte("x"), 15<<20), '\n')
	big := []byte(`{"id":"b","event":"big","payload":"` + strings.Repeat("y", 15<<20) + "\"}\n")
	cases := map[string][]byte{
		"events":       bomb(event1000, 300<<20/len(event1000)),
		"bad lines":    bomb(bytes.Repeat([]byte("x\n"), 1<<20), 20),
		"many queues":  bomb(queues.Bytes(), 2),
		"long lines":   bomb(long, 8),
		"large events": bomb(big, 8),
	}
	for name, data := range cases {
		t.Run(name, func(t *testing.T) {
			runtime.GC()
			debug.FreeOSMemory()
			st := onAWS()
			f := &forgetful{Chunks: st.Chunks}
			st.Chunks = f
			h := setup(t, st)
			r, err := h.handle(t.Context(), event(1, data))
			if err != nil || r.Failed() != "" {
				t.Fatalf("%v, %v", r, err)
			}
			t.Logf("%d bytes of input, %d events, at most %d MiB in use", len(data), f.events, f.peak>>20)
			if f.peak > 240<<20 {
				t.Errorf("%d MiB are in use, the function has 256", f.peak>>20)
			}
		})
	}
}
