package rstreams_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// bigObject stores an object of one section with n events of about size bytes as queue q.
func bigObject(t testing.TB, n, size int) *rstreams.Bus {
	t.Helper()
	st := memory.New(memory.Options{})
	pr, pw := io.Pipe()
	text := int64(0)
	go func() {
		z, _ := gzip.NewWriterLevel(pw, 1)
		fill := strings.Repeat("x", size)
		for i := range n {
			k, err := fmt.Fprintf(z, `{"id":"b","event":"q","payload":{"i":%d,"fill":"%s"},"eid":%d}`+"\n", i, fill, i)
			text += int64(k)
			if err != nil {
				return
			}
		}
		_ = z.Close()
		_ = pw.Close()
	}()
	blob, gz, err := st.Blobs.Put(t.Context(), "bus/q/big.gz", pr)
	if err != nil {
		t.Fatal(err)
	}
	first, err := eid.New(1795132800000, 0)
	if err != nil {
		t.Fatal(err)
	}
	last, err := first.Add(n - 1)
	if err != nil {
		t.Fatal(err)
	}
	err = st.Chunks.Put(t.Context(), []store.Chunk{{
		Queue: "q", Start: first.String(), End: last.String(), Records: int64(n), Size: text, GzipSize: gz, Blob: &blob,
		Offsets: []store.Offset{{Event: "q", End: int64(n - 1), Records: int64(n), Size: text, GzipSize: gz}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	grant, err := st.Queues.Claim(t.Context(), store.Claim{Queue: "q", Owner: "o", Arrival: 1, Now: 1, Lease: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Queues.Advance(t.Context(), store.Advance{Queue: "q", Fence: grant.Fence, Head: last.String(), Now: 1}); err != nil {
		t.Fatal(err)
	}
	return rstreams.New(st, rstreams.Options{})
}

func TestReadingAHugeObjectNeedsLittleMemory(t *testing.T) {
	const size = 2000
	n := 500_000 // 1 GB of text in one gzip member.
	if raceDetector {
		n /= 10
	}
	bus := bigObject(t, n, size)
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	debug.FreeOSMemory()
	var before, now runtime.MemStats
	runtime.ReadMemStats(&before)
	r := newReader(t, bus, "q", rstreams.ReadOptions{Start: "z/"})
	count, most := 0, uint64(0)
	for e, err := range r.All(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if count%20_000 == 0 {
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
			if want := fmt.Sprintf(`{"i":%d,`, count); !bytes.HasPrefix(e.Payload, []byte(want)) {
				t.Fatalf("event %d is %.40s", count, e.Payload)
			}
		}
		count++
	}
	if count != n || r.Stats().Bytes < int64(n)*size {
		t.Fatalf("%d events, %d bytes", count, r.Stats().Bytes)
	}
	if grown := int64(most) - int64(before.HeapAlloc); grown > 64<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	} else {
		t.Logf("the heap grew by %d MiB at most", grown>>20)
	}
}

func TestLinesThatAreTooLongAreNoEvents(t *testing.T) {
	const n = 50
	bus := bigObject(t, n, 100_000)
	r := newReader(t, bus, "q", rstreams.ReadOptions{Start: "z/", MaxLine: 50_000, Memory: 1 << 20})
	if _, _, err := read(r); !errors.Is(err, chunk.ErrLineTooLong) {
		t.Fatal(err)
	}
	r = newReader(t, bus, "q", rstreams.ReadOptions{Start: "z/", MaxLine: 50_000, Memory: 1 << 20, Malformed: rstreams.MalformedSkip})
	if _, values, err := read(r); err != nil || len(values) != 0 || r.Stats().Malformed != n {
		t.Fatal(len(values), r.Stats(), err)
	}
	r = newReader(t, bus, "q", rstreams.ReadOptions{Start: "z/", Memory: 1 << 20})
	_, values, err := read(r)
	if err != nil {
		t.Fatal(err)
	}
	wantRange(t, values, 0, n)
}
