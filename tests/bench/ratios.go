package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// capture is an intake that keeps or drops what it is given. It takes what Kinesis takes.
type capture struct {
	mu      sync.Mutex
	keep    bool
	records [][]byte
}

func (c *capture) Put(_ context.Context, records []store.Record) ([]store.Ack, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.keep {
		for _, r := range records {
			c.records = append(c.records, bytes.Clone(r.Data))
		}
	}
	return make([]store.Ack, len(records)), nil
}

func (c *capture) Limits() store.IntakeLimits {
	return store.IntakeLimits{Records: 500, Bytes: 5 << 20, RecordBytes: 1 << 20}
}

// writeAll writes payloads through the SDK's writer into an intake.
func writeAll(ctx context.Context, in store.Intake, list []json.RawMessage) error {
	return writeChunks(ctx, in, list, rstreams.ChunkOptions{Bytes: 200 << 10})
}

// writeChunks is writeAll with records of another size.
func writeChunks(ctx context.Context, in store.Intake, list []json.RawMessage, o rstreams.ChunkOptions) error {
	st := memory.New(memory.Options{})
	st.Intake = in
	w, err := rstreams.New(st, rstreams.Options{}).NewWriter(rstreams.WriterOptions{Bot: "shop", Queue: "orders", Chunk: o})
	if err != nil {
		return err
	}
	for _, p := range list {
		if _, err := w.PutRaw(ctx, p); err != nil {
			return err
		}
	}
	return w.Close(ctx)
}

// sample is what the ratios compare: payloads, the compressed records that the SDK's writer makes of them, what is in the
// records, and the level of compression.
type sample struct {
	list      []json.RawMessage
	gz, texts [][]byte
	level     int
}

func newSample(ctx context.Context, s size) (*sample, error) {
	x := &sample{list: payloads(s.Events)}
	in := &capture{keep: true}
	if err := writeAll(ctx, in, x.list); err != nil {
		return nil, err
	}
	x.gz = in.records
	for _, r := range x.gz {
		zr, err := gzip.NewReader(bytes.NewReader(r))
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(zr)
		if err != nil {
			return nil, err
		}
		x.texts = append(x.texts, text)
	}
	var err error
	x.level, err = levelOf(x.gz[0], x.texts[0])
	return x, err
}

// levelOf finds the level at which the bus compresses, so that bare gzip does the same: a comparison with another level would
// mean nothing.
func levelOf(gz, text []byte) (int, error) {
	for level := gzip.BestSpeed; level <= gzip.BestCompression; level++ {
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, level)
		if err != nil {
			return 0, err
		}
		if _, err := w.Write(text); err != nil {
			return 0, err
		}
		if err := w.Close(); err != nil {
			return 0, err
		}
		if b.Len() == len(gz) && bytes.Equal(b.Bytes()[headerBytes:], gz[headerBytes:]) {
			return level, nil
		}
	}
	return 0, errors.New("the bus does not compress as the library at any level does")
}

// headerBytes is the length of a gzip header without a name. It says nothing of how the rest is compressed.
const headerBytes = 10

// least runs the steps in turn and returns the least CPU time of each.
func least(ctx context.Context, rounds int, steps ...func() error) ([]time.Duration, error) {
	times := make([]time.Duration, len(steps))
	for round := range rounds {
		for i, step := range steps {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			runtime.GC()
			before := cpuTime()
			if err := step(); err != nil {
				return nil, err
			}
			if took := cpuTime() - before; round == 0 || took < times[i] {
				times[i] = took
			}
		}
	}
	return times, nil
}

// gzipAll is bare compression of the texts.
func gzipAll(texts [][]byte, level int) func() error {
	return func() error {
		var b bytes.Buffer
		w, err := gzip.NewWriterLevel(&b, level)
		if err != nil {
			return err
		}
		for _, text := range texts {
			b.Reset()
			w.Reset(&b)
			if _, err := w.Write(text); err != nil {
				return err
			}
			if err := w.Close(); err != nil {
				return err
			}
		}
		return nil
	}
}

// gunzipAll is bare decompression.
func gunzipAll(gz [][]byte) func() error {
	return func() error {
		var in bytes.Reader
		var zr gzip.Reader
		buf := make([]byte, 64<<10)
		for _, b := range gz {
			in.Reset(b)
			if err := zr.Reset(&in); err != nil {
				return err
			}
			for {
				_, err := zr.Read(buf)
				if err == io.EOF {
					break
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// perMillion says what a time means for a million events.
func perMillion(d time.Duration, events int) string {
	return fmt.Sprintf("%.2f CPU-s per million events", d.Seconds()*1e6/float64(events))
}

// encodeAll is the writer's encode path: events become lines, lines become compressed records. Nothing else is done.
func encodeAll(list []json.RawMessage, texts [][]byte) func() error {
	var text, gz []byte
	return func() error {
		n := 0
		for _, want := range texts {
			text = text[:0]
			for i := 0; len(text) < len(want); i++ {
				var err error
				e := event.Event{Bot: "shop", Queue: "orders", Payload: list[n], Timestamp: encodeTime, SourceTimestamp: encodeTime}
				if text, err = event.AppendLine(text, &e, i); err != nil {
					return err
				}
				n++
			}
			gz = chunk.AppendGzip(gz[:0], text)
		}
		if n != len(list) {
			return fmt.Errorf("%d events were encoded of %d", n, len(list))
		}
		return nil
	}
}

// encodeTime is a time of as many digits as the present.
const encodeTime = 1795219200000

func encodeRatio(ctx context.Context, s size) (figure, error) {
	x, err := newSample(ctx, s)
	if err != nil {
		return figure{}, err
	}
	times, err := least(ctx, s.Rounds, gzipAll(x.texts, x.level), encodeAll(x.list, x.texts))
	if err != nil {
		return figure{}, err
	}
	return figure{
		name: "writer's encode path / bare gzip", measured: times[0].Seconds() / times[1].Seconds(), target: 0.7, format: "%.2f",
		note: fmt.Sprintf("%s; gzip level %d", perMillion(times[1], s.Events), x.level),
	}, nil
}

func writerRatio(ctx context.Context, s size) (figure, error) {
	x, err := newSample(ctx, s)
	if err != nil {
		return figure{}, err
	}
	times, err := least(ctx, s.Rounds, gzipAll(x.texts, x.level), func() error { return writeAll(ctx, &capture{}, x.list) })
	if err != nil {
		return figure{}, err
	}
	return figure{
		name: "SDK's whole writer / bare gzip", measured: times[0].Seconds() / times[1].Seconds(), format: "%.2f",
		note: perMillion(times[1], s.Events) + "; clock, locks, acknowledgements included",
	}, nil
}

// sequenceAll publishes the records on st.
func sequenceAll(ctx context.Context, st store.Store, gz [][]byte) error {
	seq := sequencer.New(st, sequencer.Config{})
	now := time.Now().UnixMilli()
	b := sequencer.Batch{Records: make([]sequencer.Record, len(gz))}
	for i, data := range gz {
		b.Records[i] = sequencer.Record{Sequence: fmt.Sprint(i + 1), Arrival: now, Data: data}
	}
	r, err := seq.Process(ctx, b)
	if err == nil && r.DeadLetters > 0 {
		err = fmt.Errorf("%d dead letters", r.DeadLetters)
	}
	return err
}

func readerRatio(ctx context.Context, s size) (figure, error) {
	x, err := newSample(ctx, s)
	if err != nil {
		return figure{}, err
	}
	st := memory.New(memory.Options{})
	if err := sequenceAll(ctx, st, x.gz); err != nil {
		return figure{}, err
	}
	// What is compared is what the queue holds, not what the writer sent.
	var stored [][]byte
	for after := ""; ; {
		page, err := st.Chunks.Query(ctx, "orders", after, "z~", 0, 0)
		if err != nil {
			return figure{}, err
		}
		for _, k := range page.Chunks {
			stored, after = append(stored, k.Gzip), k.End
		}
		if !page.More {
			break
		}
	}
	bus := rstreams.New(st, rstreams.Options{})
	read := func() error {
		n := 0
		for e, err := range bus.Read(ctx, "orders", rstreams.ReadOptions{Start: "z/"}) {
			if err != nil {
				return err
			}
			if len(e.Payload) > 0 && e.EID != "" {
				n++
			}
		}
		if n != s.Events {
			return fmt.Errorf("%d events were read of %d", n, s.Events)
		}
		return nil
	}
	times, err := least(ctx, s.Rounds, gunzipAll(stored), read)
	if err != nil {
		return figure{}, err
	}
	return figure{
		name: "reader / bare gunzip", measured: times[0].Seconds() / times[1].Seconds(), target: 0.6, format: "%.2f",
		note: perMillion(times[1], s.Events),
	}, nil
}

func sequencerRatio(ctx context.Context, s size) (figure, error) {
	x, err := newSample(ctx, s)
	if err != nil {
		return figure{}, err
	}
	times, err := least(ctx, s.Rounds, gunzipAll(x.gz), gzipAll(x.texts, x.level), func() error {
		return sequenceAll(ctx, memory.New(memory.Options{}), x.gz)
	})
	if err != nil {
		return figure{}, err
	}
	return figure{
		name: "sequencer / (gunzip + gzip)", measured: (times[0] + times[1]).Seconds() / times[2].Seconds(), target: 0.5,
		format: "%.2f", note: perMillion(times[2], s.Events),
	}, nil
}
