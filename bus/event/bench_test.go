package event

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// sampleEvents returns n events with payloads of some 200 bytes: several strings, numbers and nested members.
func sampleEvents(n int) []Event {
	r := rand.New(rand.NewPCG(1, 2))
	words := []string{"pending", "shipped", "blue", "großes Paket", "express", "refund", "north", "gift \"wrapped\"", "small", "paid"}
	word := func() string { return words[r.IntN(len(words))] }
	events := make([]Event, n)
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
		events[i] = Event{Bot: "orders-enrich", Queue: "orders.priced", Payload: payload, Timestamp: at, SourceTimestamp: at - int64(r.IntN(900)), Correlation: &Correlation{
			Source: "orders.raw", Start: fmt.Sprintf("z/2024/01/02/03/04/1704164645678-%07d", i), Units: 1,
		}}
	}
	return events
}

func sampleLines(n int) [][]byte {
	lines := make([][]byte, n)
	for i, e := range sampleEvents(n) {
		line, err := AppendLine(nil, &e, i)
		if err != nil {
			panic(err)
		}
		lines[i] = line[:len(line)-1]
	}
	return lines
}

// BenchmarkScan compares ways to read a line. The factors are relative to encoding/json, in the same run.
func BenchmarkScan(b *testing.B) {
	lines := sampleLines(512)
	size := 0
	for _, l := range lines {
		size += len(l)
	}
	b.SetBytes(int64(size))
	var std, valid, scan, parse best
	var l Line
	for b.Loop() {
		t := time.Now()
		for _, line := range lines {
			var v struct {
				ID, Event string
				Payload   json.RawMessage
				Timestamp int64
				Source    int64           `json:"event_source_timestamp"`
				Corr      json.RawMessage `json:"correlation_id"`
			}
			if err := json.Unmarshal(line, &v); err != nil {
				b.Fatal(err)
			}
		}
		std.lap(&t)
		for _, line := range lines {
			if !json.Valid(line) {
				b.Fatal("invalid")
			}
		}
		valid.lap(&t)
		for _, line := range lines {
			if err := Scan(line, &l); err != nil {
				b.Fatal(err)
			}
		}
		scan.lap(&t)
		for _, line := range lines {
			if _, err := Parse(line); err != nil {
				b.Fatal(err)
			}
		}
		parse.lap(&t)
	}
	total := float64(size) / 1e6
	b.ReportMetric(float64(size)/float64(len(lines)), "B/line")
	b.ReportMetric(total/std.Seconds(), "std-MB/s")
	b.ReportMetric(total/scan.Seconds(), "scan-MB/s")
	b.ReportMetric(total/parse.Seconds(), "parse-MB/s")
	b.ReportMetric(std.Seconds()/valid.Seconds(), "valid/std")
	b.ReportMetric(std.Seconds()/scan.Seconds(), "scan/std")
	b.ReportMetric(std.Seconds()/parse.Seconds(), "parse/std")
}

// BenchmarkWrite measures the two ways to write a line.
func BenchmarkWrite(b *testing.B) {
	events, lines := sampleEvents(512), sampleLines(512)
	var scanned = make([]Line, len(lines))
	size := 0
	for i, line := range lines {
		size += len(line)
		if err := Scan(line, &scanned[i]); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(size))
	var line, stored best
	buf := make([]byte, 0, 4096)
	for b.Loop() {
		t := time.Now()
		for i := range events {
			var err error
			if buf, err = AppendLine(buf[:0], &events[i], i); err != nil {
				b.Fatal(err)
			}
		}
		line.lap(&t)
		for i := range scanned {
			buf = scanned[i].AppendStored(buf[:0], "orders.priced", i+1, 0)
		}
		stored.lap(&t)
	}
	total := float64(size) / 1e6
	b.ReportMetric(total/line.Seconds(), "line-MB/s")
	b.ReportMetric(total/stored.Seconds(), "stored-MB/s")
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
