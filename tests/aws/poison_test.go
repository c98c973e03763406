//go:build aws

package e2e

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/tests/aws/internal/testbots"
)

// poison puts records straight on the stream, as any producer may.
type poison struct {
	w       *world
	queue   string
	records []store.Record
	events  int      // that must be readable, in their order
	letters []string // what must be quarantined, byte for byte
}

func (p *poison) record(data []byte) {
	p.records = append(p.records, store.Record{PartitionKey: "0", HashKey: "0", Data: data})
}

// event returns the next line that is an event.
func (p *poison) event() string {
	p.events++
	return fmt.Sprintf(`{"id":%q,"event":%q,"payload":{"run":%q,"n":%d}}`+"\n", writer, p.queue, p.w.run, p.events-1)
}

// bad returns a line that is none.
func (p *poison) bad(line string) string {
	p.letters = append(p.letters, line)
	return line + "\n"
}

// refused is a record that must be quarantined as a whole.
func (p *poison) refused(data []byte) {
	p.letters = append(p.letters, string(data))
	p.record(data)
}

func zip(text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write([]byte(text)) //nolint:errcheck // A bytes.Buffer takes everything.
	z.Close()             //nolint:errcheck // As above.
	return b.Bytes()
}

func deflate(level int, text string) []byte {
	var b bytes.Buffer
	z, err := zlib.NewWriterLevel(&b, level)
	if err != nil {
		panic(err)
	}
	z.Write([]byte(text)) //nolint:errcheck // A bytes.Buffer takes everything.
	z.Close()             //nolint:errcheck // As above.
	return b.Bytes()
}

// Whatever is on the stream, what cannot be an event is kept with the reason and the bytes, and everything else is read (W-D8, bus.md
// 2.4, C19).
func (w *world) testPoison(t *testing.T) {
	p := &poison{w: w, queue: "e2e.poison." + w.run}
	good := func() { p.record(zip(p.event() + p.event())) }
	good()
	// Records in no known form. The last two look like JSON in base64 and like an array of events.
	for _, data := range []string{"hello", "\x00\x01\x02\xff", "\n", `"text"`, "eyJpZCI6ImIifQ==", `[{"id":"b","event":"q","payload":1}]`} {
		p.refused([]byte(data + w.run))
		good()
	}
	// Damaged ones: cut off, with a wrong check sum, with noise in the middle. Lines before the damage are events.
	whole := zip(p.event())
	p.refused(whole[:len(whole)-6])
	whole = deflate(6, p.event())
	whole[len(whole)-1] ^= 0xff
	p.refused(whole)
	p.refused(append([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff}, w.run...))
	p.refused(append([]byte{0x1f, 0x8b}, w.run...))
	good()
	// Forms that the original dropped in silence and that are none the worse for it.
	p.record(deflate(zlib.BestSpeed, p.event()))
	p.record(deflate(zlib.BestCompression, p.event()))
	p.record([]byte("\n  " + p.event()))
	p.record(append(zip(p.event()), zip(p.event())...))
	p.record([]byte(strings.TrimSuffix(p.event(), "\n")))
	// Lines that are no events, among others that are.
	p.record(zip(p.event() +
		p.bad("no json "+w.run) + p.bad(`{"id":"b","event":"q","payload":{"run":"`+w.run+`"}`) + p.bad(`["`+w.run+`"]`) + p.bad(`"`+w.run+`"`) +
		p.event() + "\n\r\n" +
		p.bad(`{"event":"q","payload":{"no":"id","run":"`+w.run+`"}}`) + p.bad(`{"id":"b","payload":{"no":"queue","run":"`+w.run+`"}}`) +
		p.bad(`{"id":"b","event":"q","run":"`+w.run+`"}`) + p.bad(`{"id":"b","event":"q","payload":null,"run":"`+w.run+`"}`) +
		p.event() +
		p.bad(`{"id":"b","event":"q/_archive","payload":{"run":"`+w.run+`"}}`) + p.bad(`{"id":"b","event":"q","snapshot":-5,"payload":{"run":"`+w.run+`"}}`) +
		p.bad(`{"id":"b","event":"q","s3":{"bucket":"elsewhere","key":"`+w.run+`"},"start":0,"end":0,"records":1,"gzipSize":10,"size":10,"offsets":[]}`) +
		p.event()))
	// An event as large as an intake record may be, of bytes that do not compress (C19).
	noise := make([]byte, 427<<10)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range noise {
		noise[i] = byte(r.Uint32())
	}
	fill := base64.StdEncoding.EncodeToString(noise)
	p.record(zip(fmt.Sprintf(`{"id":%q,"event":%q,"payload":{"run":%q,"n":%d,"fill":%q}}`+"\n", writer, p.queue, w.run, p.events, fill)))
	large := p.events
	p.events++
	good()

	ctx := within(t)
	intake := w.bus.Store().Intake
	for len(p.records) > 0 {
		n := min(len(p.records), 20)
		acks, err := intake.Put(ctx, p.records[:n])
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range acks {
			if a.Err != nil {
				t.Fatal(a.Err)
			}
		}
		p.records = p.records[n:]
	}
	events := w.await(t, w.bus.Bus, p.queue, p.events)
	numbers(t, p.queue, w.numbersOf(t, events), p.events)
	w.expect(p.queue, p.events)
	got := decode[struct {
		testbots.Order
		Fill string `json:"fill"`
	}](t, events[large:large+1])[0]
	if len(fill) < 570_000 || got.Fill != fill {
		t.Errorf("the large event has %d bytes, want the %d that were written", len(got.Fill), len(fill))
	}

	letters := map[string]int{}
	for _, e := range w.await(t, w.bus.Bus, deadletter.Queue, len(p.letters)) {
		letter, err := deadletter.Parse(e.Payload)
		if err != nil {
			t.Fatal(err)
		}
		letters[string(letter.Bytes())]++
		if letter.Error == "" || letter.Sequence == "" || letter.At == 0 {
			t.Errorf("a letter that says too little: %s", e.Payload)
		}
	}
	w.expect(deadletter.Queue, len(p.letters))
	for _, want := range p.letters {
		if letters[want] != 1 {
			t.Errorf("%d letters with %q, want 1", letters[want], want)
		}
		delete(letters, want)
	}
	for other, n := range letters {
		t.Errorf("%d letters with %q, which nobody expects", n, other)
	}
}
