package rstreams_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"testing"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

// benchPayload is a payload of about 200 bytes.
func benchPayload(i int) json.RawMessage {
	return fmt.Appendf(nil, `{"i":%d,"name":"customer %d","city":"Lisbon","items":[{"sku":"A-%05d","n":%d},{"sku":"B-%05d","n":%d}],`+
		`"total":%d.%02d,"note":"leave it with the neighbour, please","paid":true}`, i, i*7919%100003, i%99991, i%9, i%77777, i%5, i%1000, i%100)
}

// nullIntake takes everything.
type nullIntake struct{ plain bool }

func (n nullIntake) Limits() store.IntakeLimits {
	return store.IntakeLimits{Records: 500, Bytes: 5 << 20, RecordBytes: 1 << 20, Plain: n.plain}
}

func (nullIntake) Put(_ context.Context, records []store.Record) ([]store.Ack, error) {
	return make([]store.Ack, len(records)), nil
}

func BenchmarkWriterPutRaw(b *testing.B) {
	for _, plain := range []bool{true, false} {
		b.Run(fmt.Sprintf("plain=%v", plain), func(b *testing.B) {
			bus := rstreams.New(store.Store{Intake: nullIntake{plain}}, rstreams.Options{})
			w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "bench", Queue: "q"})
			if err != nil {
				b.Fatal(err)
			}
			payload := benchPayload(1)
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := w.PutRaw(b.Context(), payload); err != nil {
					b.Fatal(err)
				}
			}
			if err := w.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkWriterPaths writes to nowhere by each path.
func BenchmarkWriterPaths(b *testing.B) {
	for name, path := range map[string]rstreams.Path{
		"intake": rstreams.PathIntake, "blobs": rstreams.PathBlobs, "firehose": rstreams.PathFirehose, "firehose-gzip": rstreams.PathFirehoseGzip,
	} {
		b.Run(name, func(b *testing.B) {
			bus := rstreams.New(store.Store{Intake: nullIntake{}, Firehose: nullIntake{}, Blobs: nullBlobs{}}, rstreams.Options{})
			w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "bench", Queue: "q", Path: path})
			if err != nil {
				b.Fatal(err)
			}
			var payloads [1000]json.RawMessage
			for i := range payloads {
				payloads[i] = benchPayload(i)
			}
			b.SetBytes(int64(len(payloads[0])))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if _, err := w.PutRaw(b.Context(), payloads[i%len(payloads)]); err != nil {
					b.Fatal(err)
				}
				i++
			}
			if err := w.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// nullBlobs reads everything and keeps nothing.
type nullBlobs struct{ store.Blobs }

func (nullBlobs) Put(_ context.Context, key string, r io.Reader) (store.BlobRef, int64, error) {
	n, err := io.Copy(io.Discard, r)
	return store.BlobRef{Bucket: "bucket", Key: key}, n, err
}

const benchEvents = 200_000

func benchBus(b *testing.B) *rstreamstest.Bus {
	bus := rstreamstest.New(b)
	w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "bench", Queue: "q"})
	if err != nil {
		b.Fatal(err)
	}
	for i := range benchEvents {
		if _, err := w.PutRaw(b.Context(), benchPayload(i)); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
	return bus
}

// BenchmarkRead reads events of some 300 bytes; BenchmarkGunzip, the measure for it, only decompresses the same chunks.
func BenchmarkRead(b *testing.B) {
	bus := benchBus(b)
	b.ReportAllocs()
	for b.Loop() {
		n, size := 0, int64(0)
		r, err := bus.NewReader("q", rstreams.ReadOptions{Start: "z/"})
		if err != nil {
			b.Fatal(err)
		}
		for e, err := range r.All(b.Context()) {
			if err != nil {
				b.Fatal(err)
			}
			n += min(len(e.Payload), 1)
		}
		if size = r.Stats().Bytes; n != benchEvents {
			b.Fatal(n)
		}
		b.SetBytes(size)
	}
	b.ReportMetric(float64(benchEvents)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkGunzip(b *testing.B) {
	bus := benchBus(b)
	page, err := bus.Store().Chunks.Query(b.Context(), "q", "z/", "z9", 1<<20, 1<<30)
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 8<<20)
	for b.Loop() {
		size := int64(0)
		for _, c := range page.Chunks {
			text, err := chunk.AppendGunzip(buf[:0], c.Gzip, 64<<20)
			if err != nil {
				b.Fatal(err)
			}
			size += int64(len(text))
		}
		b.SetBytes(size)
	}
	b.ReportMetric(float64(benchEvents)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkEndToEnd writes, sequences and reads at the same time.
func BenchmarkEndToEnd(b *testing.B) {
	for b.Loop() {
		bus := rstreamstest.New(b)
		w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "bench", Queue: "q"})
		if err != nil {
			b.Fatal(err)
		}
		done := make(chan int)
		go func() {
			n := 0
			for _, err := range bus.Read(b.Context(), "q", rstreams.ReadOptions{Start: "z/", Follow: true, Limit: benchEvents}) {
				if err != nil {
					b.Error(err)
				}
				n++
			}
			done <- n
		}()
		for i := range benchEvents {
			if _, err := w.PutRaw(b.Context(), benchPayload(i)); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
		if n := <-done; n != benchEvents {
			b.Fatal(n)
		}
	}
	b.ReportMetric(float64(benchEvents)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

// BenchmarkEmbedded writes to a bus on disk and reads it at the same time.
func BenchmarkEmbedded(b *testing.B) {
	for b.Loop() {
		bus, err := rstreams.Open(b.Context(), "embedded:"+b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		w, err := bus.NewWriter(rstreams.WriterOptions{Bot: "bench", Queue: "q"})
		if err != nil {
			b.Fatal(err)
		}
		done := make(chan int)
		go func() {
			n := 0
			for _, err := range bus.Read(b.Context(), "q", rstreams.ReadOptions{Start: "z/", Follow: true, Limit: benchEvents}) {
				if err != nil {
					b.Error(err)
				}
				n++
			}
			done <- n
		}()
		for i := range benchEvents {
			if _, err := w.PutRaw(b.Context(), benchPayload(i)); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
		if n := <-done; n != benchEvents {
			b.Fatal(n)
		}
		if err := bus.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(benchEvents)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}
