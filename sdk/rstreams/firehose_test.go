package rstreams_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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

func firehoseLimits() store.IntakeLimits {
	return store.IntakeLimits{Records: 500, Bytes: 4 << 20, RecordBytes: 1_024_000}
}

// newFirehose returns a writer whose Firehose is s.
func newFirehose(t *testing.T, s *scripted, o rstreams.WriterOptions) *rstreams.Writer {
	t.Helper()
	s.limits = firehoseLimits()
	st := memory.New(memory.Options{})
	st.Firehose = s
	o.Bot = "writer"
	return mustWriter(t, rstreams.New(st, rstreams.Options{Logger: slog.New(slog.DiscardHandler)}), o)
}

// firehoseEvents decodes accepted records as a loader does, and returns the payloads of each queue.
func (s *scripted) firehoseEvents(t *testing.T) map[string][]int {
	t.Helper()
	got := map[string][]int{}
	for _, r := range s.accepted {
		if !strings.HasSuffix(string(r.Data), "\n") {
			t.Fatal("a record that does not end its line")
		}
		for line := range strings.Lines(string(r.Data)) {
			text, err := chunk.FirehoseLine([]byte(strings.TrimSuffix(line, "\n")))
			if err != nil {
				t.Fatal(err)
			}
			for one := range strings.Lines(string(text)) {
				e, err := event.Parse([]byte(strings.TrimSuffix(one, "\n")))
				if err != nil {
					t.Fatal(err)
				}
				v, err := rstreams.Decode[number](e)
				if err != nil {
					t.Fatal(err)
				}
				got[e.Queue] = append(got[e.Queue], v.I)
			}
		}
	}
	return got
}

func TestFirehoseRecordsAreLinesThatTheLoaderReads(t *testing.T) { // W11
	for path, begins := range map[rstreams.Path]string{rstreams.PathFirehose: `{"id":"writer"`, rstreams.PathFirehoseGzip: "H4sI"} {
		s := &scripted{}
		w := newFirehose(t, s, rstreams.WriterOptions{Path: path})
		for i := range 300 {
			mustPut(t, w, []string{"a", "b", "c"}[i%3], number{i / 3})
		}
		mustClose(t, w)
		got := s.firehoseEvents(t)
		for _, queue := range []string{"a", "b", "c"} {
			wantRange(t, got[queue], 0, 100)
		}
		if s.count() != 1 {
			t.Errorf("path %d: %d records for one flush", path, s.count())
		}
		for line := range strings.Lines(string(s.accepted[0].Data)) {
			if !strings.HasPrefix(line, begins) {
				t.Errorf("path %d: %.40s", path, line)
			}
		}
	}
}

func TestFirehoseRecordsKeepTheLimits(t *testing.T) {
	for _, path := range []rstreams.Path{rstreams.PathFirehose, rstreams.PathFirehoseGzip} {
		s := &scripted{}
		w := newFirehose(t, s, rstreams.WriterOptions{Path: path, MaxBytes: 3 << 20})
		rnd := rand.New(rand.NewPCG(3, 4))
		fill := make([]byte, 30_000)
		for i := range 300 {
			for k := range fill {
				fill[k] = byte(rnd.Uint32())
			}
			mustPut(t, w, []string{"a", "b"}[i%2], map[string]any{"i": i / 2, "fill": base64.StdEncoding.EncodeToString(fill)})
		}
		mustClose(t, w)
		for _, r := range s.accepted {
			if limit := map[rstreams.Path]int{rstreams.PathFirehose: 900 << 10, rstreams.PathFirehoseGzip: 1_024_000}[path]; len(r.Data) > limit {
				t.Errorf("path %d: a record of %d bytes", path, len(r.Data))
			}
		}
		got := s.firehoseEvents(t)
		wantRange(t, got["a"], 0, 150)
		wantRange(t, got["b"], 0, 150)
	}
}

func TestFirehoseRecordsThatFailedAreSentAgainAndNoOthers(t *testing.T) { // fault 23
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			rnd := rand.New(rand.NewPCG(seed, 5))
			s := &scripted{answer: func(int, int) error {
				mu.Lock()
				defer mu.Unlock()
				if rnd.IntN(2) == 0 {
					return store.ErrThrottled
				}
				return nil
			}}
			w := newFirehose(t, s, rstreams.WriterOptions{Path: rstreams.PathFirehose, Chunk: rstreams.ChunkOptions{Records: 5}})
			for i := range 200 {
				mustPut(t, w, fmt.Sprint("q", i%4), number{i / 4})
			}
			mustClose(t, w)
			got := s.firehoseEvents(t)
			for q := range 4 {
				wantRange(t, got[fmt.Sprint("q", q)], 0, 50)
			}
		})
	}
}

func TestFirehoseChunksWaitASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scripted{}
		w := newFirehose(t, s, rstreams.WriterOptions{Queue: "q", Path: rstreams.PathFirehose})
		mustPut(t, w, "", 1)
		time.Sleep(time.Second - time.Millisecond)
		synctest.Wait()
		if s.count() != 0 {
			t.Error("sent before its time")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if s.count() != 1 {
			t.Errorf("%d records after a second", s.count())
		}
		mustClose(t, w)
	})
}

func TestABusWithoutFirehoseSaysSo(t *testing.T) {
	st := memory.New(memory.Options{})
	st.Intake = &scripted{limits: kinesisLimits()}
	_, err := rstreams.New(st, rstreams.Options{}).NewWriter(rstreams.WriterOptions{Bot: "b", Path: rstreams.PathFirehose})
	if err == nil || !strings.Contains(err.Error(), "this bus has no Firehose") {
		t.Error(err)
	}
	_, err = rstreams.New(st, rstreams.Options{}).NewWriter(rstreams.WriterOptions{Bot: "b", Path: 99})
	if err == nil || errors.Is(err, store.ErrInvalid) {
		t.Error(err)
	}
}

func TestEventsThroughFirehoseAreReadable(t *testing.T) {
	onEveryBackend(t, func(t *testing.T, bus *rstreams.Bus) {
		for _, path := range []rstreams.Path{rstreams.PathFirehose, rstreams.PathFirehoseGzip} {
			queue := fmt.Sprint("q", path)
			w := mustWriter(t, bus, rstreams.WriterOptions{Bot: "b", Queue: queue, Path: path})
			for i := range 500 {
				mustPut(t, w, "", number{i})
			}
			mustClose(t, w)
			_, values, err := read(newReader(t, bus, queue, rstreams.ReadOptions{Start: "z/"}))
			if err != nil {
				t.Fatal(err)
			}
			wantRange(t, values, 0, 500)
		}
	})
}
