package chunk

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/rstreams-go/rstreams/bus/event"
)

// sampleEvents returns n events with payloads of some 200 bytes: several strings, numbers and nested members.
func sampleEvents(n int) []event.Event {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"pending", "shipped", "blue", "großes Paket", "express", "refund", "north", "gift \"wrapped\"", "small", "paid"}
	word := func() string { return words[r.IntN(len(words))] }
	events := make([]event.Event, n)
	for i := range events {
		payload, err := json.Marshal(map[string]any{
			"orderId": fmt.Sprintf("ord-%08x", r.Uint32()), "status": word(), "total": float64(r.IntN(100000)) / 100, "count": r.IntN(9) + 1,
			"customer": map[string]any{"id": r.IntN(1e6), "name": word() + " " + word(), "vip": r.IntN(2) == 0},
			"items":    []any{map[string]any{"sku": fmt.Sprintf("sku-%d", r.IntN(1e5)), "qty": r.IntN(5)}, word()},
			"note":     nil,
		})
		if err != nil {
			panic(err)
		}
		at := int64(1704164645678 + i*7)
		events[i] = event.Event{Bot: "orders-enrich", Queue: "orders.priced", Payload: payload, Timestamp: at, SourceTimestamp: at - int64(r.IntN(900))}
	}
	return events
}

// chunkText returns the lines of a chunk of 200 KiB, and the events in it.
func chunkText(tb testing.TB) ([]byte, []event.Event) {
	events := sampleEvents(2000)
	var text []byte
	for i := range events {
		var err error
		if text, err = event.AppendLine(text, &events[i], i); err != nil {
			tb.Fatal(err)
		}
		if len(text) >= 200<<10 {
			return text, events[:i+1]
		}
	}
	return text, events
}

// best is the least time that a step took in a run: other load on the machine can only add to it.
type best time.Duration

// lap notes the time since t, and sets t to now.
func (d *best) lap(t *time.Time) {
	now := time.Now()
	if took := best(now.Sub(*t)); *d == 0 || took < *d {
		*d = took
	}
	*t = now
}

func (d best) Seconds() float64 { return time.Duration(d).Seconds() }

// BenchmarkEncodePath measures events to gzip, beside gzip alone of the same text. The ratio is of their throughputs.
func BenchmarkEncodePath(b *testing.B) {
	want, events := chunkText(b)
	b.SetBytes(int64(len(want)))
	text, gz := make([]byte, 0, 300<<10), make([]byte, 0, 300<<10)
	var bare, path best
	for b.Loop() {
		t := time.Now()
		gz = AppendGzip(gz[:0], want)
		bare.lap(&t)
		text = text[:0]
		for i := range events {
			var err error
			if text, err = event.AppendLine(text, &events[i], i); err != nil {
				b.Fatal(err)
			}
		}
		gz = AppendGzip(gz[:0], text)
		path.lap(&t)
	}
	mb := float64(len(want)) / 1e6
	b.ReportMetric(mb/bare.Seconds(), "gzip-MB/s")
	b.ReportMetric(mb/path.Seconds(), "path-MB/s")
	b.ReportMetric(bare.Seconds()/path.Seconds(), "of-gzip")
}

// BenchmarkDecodePath measures gzip to events, beside gunzip alone.
func BenchmarkDecodePath(b *testing.B) {
	want, events := chunkText(b)
	gz := AppendGzip(nil, want)
	b.SetBytes(int64(len(want)))
	text := make([]byte, 0, 300<<10)
	var bare, path best
	for b.Loop() {
		t := time.Now()
		var err error
		if text, err = AppendGunzip(text[:0], gz, 1<<20); err != nil {
			b.Fatal(err)
		}
		bare.lap(&t)
		if text, err = AppendGunzip(text[:0], gz, 1<<20); err != nil {
			b.Fatal(err)
		}
		n := 0
		for rest := text; len(rest) > 0; n++ {
			end := bytes.IndexByte(rest, '\n')
			e, err := event.Parse(rest[:end])
			if err != nil || e.Bot == "" {
				b.Fatal(err)
			}
			rest = rest[end+1:]
		}
		if n != len(events) {
			b.Fatalf("%d events, want %d", n, len(events))
		}
		path.lap(&t)
	}
	mb := float64(len(want)) / 1e6
	b.ReportMetric(mb/bare.Seconds(), "gunzip-MB/s")
	b.ReportMetric(mb/path.Seconds(), "path-MB/s")
	b.ReportMetric(bare.Seconds()/path.Seconds(), "of-gunzip")
}

// BenchmarkStream measures the path of the sequencer: a record's bytes to stored lines, beside gunzip alone.
func BenchmarkStream(b *testing.B) {
	want, _ := chunkText(b)
	gz := AppendGzip(nil, want)
	b.SetBytes(int64(len(want)))
	text, stored := make([]byte, 0, 300<<10), make([]byte, 0, 300<<10)
	var bare, path best
	var l event.Line
	for b.Loop() {
		t := time.Now()
		var err error
		if text, err = AppendGunzip(text[:0], gz, 1<<20); err != nil {
			b.Fatal(err)
		}
		bare.lap(&t)
		r, err := OpenRecord(gz)
		if err != nil {
			b.Fatal(err)
		}
		stored = stored[:0]
		lines := NewLines(r, 0)
		for n := 0; ; n++ {
			line, err := lines.Next()
			if err == io.EOF {
				break
			}
			if err == nil {
				err = event.Scan(line, &l)
			}
			if err != nil {
				b.Fatal(err)
			}
			stored = l.AppendStored(stored, "orders.priced", n+1, 0)
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
		path.lap(&t)
	}
	mb := float64(len(want)) / 1e6
	b.ReportMetric(mb/path.Seconds(), "path-MB/s")
	b.ReportMetric(bare.Seconds()/path.Seconds(), "of-gunzip")
}

// BenchmarkLevels compares compression levels on a chunk; the figures for level 1 are absolute, the others relative to it.
func BenchmarkLevels(b *testing.B) {
	text, _ := chunkText(b)
	const levels = 6
	var took [levels + 1]best
	var size [levels + 1]int
	var writers [levels + 1]*gzip.Writer
	for i := 1; i <= levels; i++ {
		w, err := gzip.NewWriterLevel(nil, i)
		if err != nil {
			b.Fatal(err)
		}
		writers[i] = w
	}
	var out bytes.Buffer
	for b.Loop() {
		for i := 1; i <= levels; i++ {
			out.Reset()
			t := time.Now()
			writers[i].Reset(&out)
			_, _ = writers[i].Write(text)
			_ = writers[i].Close()
			took[i].lap(&t)
			size[i] = out.Len()
		}
	}
	b.ReportMetric(float64(len(text))/1e6/took[1].Seconds(), "L1-MB/s")
	b.ReportMetric(float64(len(text))/float64(size[1]), "L1-ratio")
	for i := 2; i <= levels; i++ {
		b.ReportMetric(took[1].Seconds()/took[i].Seconds(), fmt.Sprintf("L%d-speed", i))
		b.ReportMetric(float64(size[i])/float64(size[1]), fmt.Sprintf("L%d-size", i))
	}
}
