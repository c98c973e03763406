package rstreams_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// scripted is an intake whose answers a test decides.
type scripted struct {
	limits store.IntakeLimits
	// answer returns the error of one record of call number call, and the error of the whole call.
	answer func(call, record int) error
	whole  func(call int) error
	// block, if set, is received from before each answer.
	block chan struct{}

	mu       sync.Mutex
	calls    int
	accepted []store.Record
	sizes    []int // records of each call
}

func (s *scripted) Limits() store.IntakeLimits { return s.limits }

func (s *scripted) Put(ctx context.Context, records []store.Record) ([]store.Ack, error) {
	if s.block != nil {
		select {
		case <-s.block:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	call := s.calls
	s.calls++
	s.sizes = append(s.sizes, len(records))
	if s.whole != nil {
		if err := s.whole(call); err != nil {
			return nil, err
		}
	}
	acks := make([]store.Ack, len(records))
	for i, r := range records {
		if s.answer != nil {
			acks[i].Err = s.answer(call, i)
		}
		if acks[i].Err == nil {
			r.Data = bytes.Clone(r.Data)
			s.accepted = append(s.accepted, r)
			acks[i].Shard, acks[i].Sequence = "shard", fmt.Sprint(len(s.accepted))
		}
	}
	return acks, nil
}

// count returns how many records were accepted.
func (s *scripted) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.accepted)
}

// lines returns the accepted lines of each queue.
func (s *scripted) lines(t *testing.T) map[string][]event.Event {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]event.Event{}
	for _, r := range s.accepted {
		text, err := chunk.OpenRecord(r.Data)
		if err != nil {
			t.Fatal(err)
		}
		lines := chunk.NewLines(text, 32<<20)
		for {
			line, err := lines.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			e, err := event.Parse(bytes.Clone(line))
			if err != nil {
				t.Fatal(err)
			}
			out[e.Queue] = append(out[e.Queue], e)
		}
	}
	return out
}

func kinesisLimits() store.IntakeLimits {
	return store.IntakeLimits{Records: 500, Bytes: 5 << 20, RecordBytes: 1 << 20}
}

func newWriter(t *testing.T, s *scripted, o rstreams.WriterOptions) *rstreams.Writer {
	t.Helper()
	st := memory.New(memory.Options{})
	st.Intake = s
	if s.limits == (store.IntakeLimits{}) {
		s.limits = kinesisLimits()
	}
	o.Bot = "writer"
	w, err := rstreams.New(st, rstreams.Options{Logger: slog.New(slog.DiscardHandler)}).NewWriter(o)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestRefusedRecordsNeverReorderAQueue(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			var mu sync.Mutex
			flip := func(p float64) bool {
				mu.Lock()
				defer mu.Unlock()
				return rnd.Float64() < p
			}
			s := &scripted{
				limits: store.IntakeLimits{Records: 3, Bytes: 5 << 20, RecordBytes: 1 << 20},
				answer: func(int, int) error {
					if flip(0.4) {
						return store.ErrThrottled
					}
					return nil
				},
				whole: func(int) error {
					if flip(0.2) {
						return errors.New("no route to host")
					}
					return nil
				},
			}
			w := newWriter(t, s, rstreams.WriterOptions{Chunk: rstreams.ChunkOptions{Records: 3}})
			var acks []rstreams.Ack
			const queues, each = 5, 40
			for i := range each {
				for q := range queues {
					ack, err := w.PutTo(t.Context(), fmt.Sprintf("q%d", q), number{i + 1})
					if err != nil {
						t.Fatal(err)
					}
					acks = append(acks, ack)
				}
			}
			if err := w.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			lines := s.lines(t)
			for q := range queues {
				var values []int
				for _, e := range lines[fmt.Sprintf("q%d", q)] {
					v, err := rstreams.Decode[number](e)
					if err != nil {
						t.Fatal(err)
					}
					values = append(values, v.I)
				}
				wantRange(t, values, 1, each+1) // In order, none lost, none twice.
			}
			for _, ack := range acks {
				receipt, err := ack.Wait(t.Context())
				if err != nil || receipt.Shard != "shard" || receipt.Sequence == "" || receipt.Index >= receipt.Events {
					t.Fatalf("%+v %v", receipt, err)
				}
			}
		})
	}
}

func TestRecordsAreGzipOfLinesAsLeoSDKWritesThem(t *testing.T) {
	s := &scripted{}
	w := newWriter(t, s, rstreams.WriterOptions{Queue: "queue:q"})
	payload := json.RawMessage(`{"html":"<a href=\"x\">&amp;</a>","big":12345678901234567890,"exp":1e21,"u":"\u2028"}`)
	if _, err := w.PutRaw(t.Context(), payload); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Put(t.Context(), map[string]string{"a": "<&>"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	data := s.accepted[0].Data
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b, 8}) {
		t.Fatalf("record begins % x", data[:4])
	}
	if s.accepted[0].PartitionKey != "0" || s.accepted[0].HashKey != "0" {
		t.Fatalf("%+v", s.accepted[0])
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	if len(lines) != 2 || !strings.Contains(lines[0], string(payload)) || !strings.Contains(lines[1], `{"a":"<&>"}`) {
		t.Fatalf("%s", text)
	}
	for i, line := range lines {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatal(err)
		}
		if m["id"] != "writer" || m["event"] != "q" || m["eid"] != float64(i) {
			t.Fatalf("%v", m)
		}
		if _, ok := m["timestamp"].(float64); !ok || m["timestamp"] != m["event_source_timestamp"] {
			t.Fatalf("%v", m)
		}
	}
}

func TestPartitionsDecideTheKeys(t *testing.T) {
	for _, c := range []struct {
		partition        rstreams.Partition
		partKey, hashKey string
	}{
		{rstreams.SinglePartition(), "0", "0"},
		{rstreams.QueuePartition(), "q", ""},
		{rstreams.HashPartition("170141183460469231731687303715884105728"), "0", "170141183460469231731687303715884105728"},
	} {
		s := &scripted{}
		w := newWriter(t, s, rstreams.WriterOptions{Queue: "q", Partition: c.partition})
		if _, err := w.Put(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r := s.accepted[0]; r.PartitionKey != c.partKey || r.HashKey != c.hashKey {
			t.Fatalf("%+v, want %q %q", r, c.partKey, c.hashKey)
		}
	}
}

func TestChunksCloseByRecordsBytesAndTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		w := newWriter(t, s, rstreams.WriterOptions{Queue: "q", Chunk: rstreams.ChunkOptions{Records: 10, Bytes: 2000, Linger: time.Second}})
		put := func(payload any) {
			t.Helper()
			if _, err := w.Put(t.Context(), payload); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 10 {
			put(i + 1)
		}
		synctest.Wait()
		if len(s.accepted) != 1 {
			t.Fatalf("after ten events: %d records", len(s.accepted))
		}
		put(strings.Repeat("x", 1950))
		synctest.Wait()
		if len(s.accepted) != 2 {
			t.Fatalf("after 2000 bytes: %d records", len(s.accepted))
		}
		put(1)
		time.Sleep(999 * time.Millisecond)
		synctest.Wait()
		if len(s.accepted) != 2 {
			t.Fatal("sent before its time")
		}
		put(2)
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if len(s.accepted) != 3 {
			t.Fatalf("after the linger: %d records", len(s.accepted))
		}
		put(3) // The timer runs anew.
		time.Sleep(time.Second)
		synctest.Wait()
		if len(s.accepted) != 4 {
			t.Fatalf("after the second linger: %d records", len(s.accepted))
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFullWriterWaitsOrSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{block: make(chan struct{})}
		w := newWriter(t, s, rstreams.WriterOptions{Queue: "q", MaxEvents: 5})
		for i := range 5 {
			if _, err := w.TryPut(i + 1); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.TryPut(6); !errors.Is(err, rstreams.ErrFull) {
			t.Fatalf("a sixth event: %v", err)
		}
		if n, size := w.Pending(); n != 5 || size == 0 {
			t.Fatal(n, size)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := w.Put(ctx, 6); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("waiting for a minute: %v", err)
		}
		done := make(chan error)
		go func() {
			_, err := w.Put(t.Context(), 6)
			done <- err
		}()
		synctest.Wait()
		close(s.block)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if err := w.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := len(s.lines(t)["q"]); n != 6 {
			t.Fatalf("%d events", n)
		}
		if n, size := w.Pending(); n != 0 || size != 0 {
			t.Fatal(n, size)
		}
	})
}

func TestFailedWriterKeepsTheUnsentEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{answer: func(call, _ int) error {
			if call > 0 {
				return fmt.Errorf("%w: no such stream", store.ErrInvalid)
			}
			return nil
		}}
		var told []string
		w := newWriter(t, s, rstreams.WriterOptions{
			Queue: "q", Chunk: rstreams.ChunkOptions{Records: 2, Linger: -1},
			OnAck: func(r rstreams.Receipt, err error) { told = append(told, fmt.Sprint(r.Events, err == nil)) },
		})
		var acks []rstreams.Ack
		for i := range 5 {
			ack, err := w.Put(t.Context(), number{i + 1})
			if err != nil {
				t.Fatal(err)
			}
			acks = append(acks, ack)
		}
		if err := w.Flush(t.Context()); !errors.Is(err, store.ErrInvalid) {
			t.Fatalf("flush: %v", err)
		}
		var unsent []int
		for _, e := range w.Unsent() {
			v, err := rstreams.Decode[number](e)
			if err != nil {
				t.Fatal(err)
			}
			unsent = append(unsent, v.I)
		}
		wantRange(t, unsent, 3, 6)
		for i, ack := range acks {
			if _, err := ack.Wait(t.Context()); (err == nil) != (i < 2) {
				t.Fatalf("event %d: %v", i, err)
			}
		}
		if _, err := w.Put(t.Context(), 6); !errors.Is(err, store.ErrInvalid) {
			t.Fatalf("put after the failure: %v", err)
		}
		if err := w.Close(t.Context()); !errors.Is(err, store.ErrInvalid) || !strings.Contains(err.Error(), "not acknowledged: 3") {
			t.Fatalf("close: %v", err)
		}
		if want := []string{"2 true", "2 false", "1 false"}; !slices.Equal(told, want) {
			t.Fatalf("told %v, want %v", told, want)
		}
	})
}

func TestClosingGivesUpWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{whole: func(int) error { return store.ErrThrottled }}
		w := newWriter(t, s, rstreams.WriterOptions{Queue: "q"})
		ack, err := w.Put(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if err := w.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("close: %v", err)
		}
		if _, err := ack.Wait(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("ack: %v", err)
		}
		if len(w.Unsent()) != 1 {
			t.Fatalf("unsent %v", w.Unsent())
		}
		if s.calls < 500 || s.calls > 2000 {
			t.Fatalf("%d attempts in an hour", s.calls)
		}
		if _, err := w.Put(t.Context(), 1); err == nil {
			t.Fatal("put after close succeeded")
		}
	})
}

func TestGiveUpEndsEndlessRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{whole: func(int) error { return store.ErrThrottled }}
		w := newWriter(t, s, rstreams.WriterOptions{Queue: "q", GiveUp: time.Minute})
		if _, err := w.Put(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(t.Context()); !errors.Is(err, store.ErrThrottled) {
			t.Fatalf("close: %v", err)
		}
	})
}

func TestLeoChunksCloseAsThoseOfLeoSDK(t *testing.T) { // W7
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		w := newWriter(t, s, rstreams.WriterOptions{Queue: "q", Chunk: rstreams.LeoChunks()})
		for i := range 250 {
			mustPut(t, w, "", number{i})
		}
		time.Sleep(200*time.Millisecond - 1)
		synctest.Wait()
		if s.count() != 2 {
			t.Fatalf("%d records, want two of 100 events", s.count())
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if s.count() != 3 {
			t.Fatalf("%d records after 200 ms", s.count())
		}
		// The event that reaches 204800 bytes is the last of its chunk, however far it goes beyond.
		for _, size := range []int{150_000, 50_000, 600_000, 10} {
			mustPut(t, w, "", strings.Repeat("x", size))
		}
		synctest.Wait()
		if s.count() != 4 {
			t.Fatalf("%d records after 800 KB", s.count())
		}
		mustClose(t, w)
		text, err := chunk.AppendGunzip(nil, s.accepted[3].Data, 1<<20)
		if err != nil || bytes.Count(text, []byte("\n")) != 3 {
			t.Errorf("%d lines, %v", bytes.Count(text, []byte("\n")), err)
		}
		if s.accepted[0].PartitionKey != "0" || s.accepted[0].HashKey != "0" { // W8
			t.Errorf("%+v", s.accepted[0])
		}
	})
}
