package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// nodeModules is where tests/interop installs the published Node SDK.
const nodeModules = "tests/interop/node"

// order is a payload as a program in Go has it. The Node program's payloads are objects, too: to compare with bytes that are
// ready to be sent would be a comparison with less work.
type order struct {
	OrderID  string `json:"orderId"`
	Customer struct {
		ID   int    `json:"id"`
		Name string `json:"name"`
		VIP  bool   `json:"vip"`
	} `json:"customer"`
	State    string      `json:"state"`
	Total    json.Number `json:"total"`
	Currency string      `json:"currency"`
	Lines    []orderLine `json:"lines"`
	Note     *string     `json:"note"`
}

type orderLine struct {
	SKU string `json:"sku"`
	Qty int    `json:"qty"`
}

// versus compares the SDK with the published Node SDK on the same events in the same run: CPU seconds for a million events of
// both, the network replaced by stubs on both sides. Written payloads are objects in both; read ones are what each SDK delivers.
func versus(mode string, payload int, target float64) func(ctx context.Context, s size) (figure, error) {
	return func(ctx context.Context, s size) (figure, error) {
		n := s.Events / 3
		list := payloadsOf(n, payload)
		dir, err := os.MkdirTemp("", "rstreams-bench-")
		if err != nil {
			return figure{}, err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		file := filepath.Join(dir, "events.jsonl")
		ours, raw := 0.0, 0.0
		switch mode {
		case "write":
			if err = os.WriteFile(file, append(bytes.Join(rawBytes(list), []byte("\n")), '\n'), 0o600); err == nil {
				ours, raw, err = writeBoth(ctx, s, list)
			}
		case "read":
			ours, raw, err = readBoth(ctx, s, list, file)
		}
		if err != nil {
			return figure{}, err
		}
		theirs, err := runNode(ctx, mode, file, n, max(2, s.Rounds/2))
		if err != nil {
			return figure{}, err
		}
		each := 1e6 / float64(n)
		f := figure{
			name:     fmt.Sprintf("%s, %d-byte payloads: leo-sdk / ours", mode, averageSize(list)),
			measured: theirs / ours, target: target, format: "%.1f",
			note: fmt.Sprintf("CPU-s per million events: leo-sdk %.1f, ours %.2f; from JSON that is ready %.2f (%.0f times)",
				theirs*each, ours*each, raw*each, theirs/raw),
		}
		if mode == "read" {
			// The reader delivers a payload as JSON, which a bot decodes if it needs to; leo-sdk has decoded it.
			f.measured = theirs / raw
			f.note = fmt.Sprintf("CPU-s per million events: leo-sdk %.1f, ours %.2f; with encoding/json into structs %.2f (%.1f times)",
				theirs*each, raw*each, ours*each, theirs/ours)
		}
		return f, nil
	}
}

func rawBytes(list []json.RawMessage) [][]byte {
	out := make([][]byte, len(list))
	for i, p := range list {
		out[i] = p
	}
	return out
}

func averageSize(list []json.RawMessage) int {
	n := 0
	for _, p := range list {
		n += len(p)
	}
	return n / len(list)
}

// writeBoth measures the writer with payloads that are structs, and with payloads that are JSON already.
func writeBoth(ctx context.Context, s size, list []json.RawMessage) (typed, raw float64, err error) {
	orders := make([]order, len(list))
	for i, p := range list {
		if err := json.Unmarshal(p, &orders[i]); err != nil {
			return 0, 0, err
		}
	}
	times, err := least(ctx, s.Rounds, func() error {
		st := memory.New(memory.Options{})
		st.Intake = &capture{}
		w, err := rstreams.New(st, rstreams.Options{}).NewWriter(rstreams.WriterOptions{
			Bot: "shop", Queue: "orders", Chunk: rstreams.ChunkOptions{Bytes: 200 << 10},
		})
		if err != nil {
			return err
		}
		for i := range orders {
			if _, err := w.Put(ctx, &orders[i]); err != nil {
				return err
			}
		}
		return w.Close(ctx)
	}, func() error { return writeAll(ctx, &capture{}, list) })
	if err != nil {
		return 0, 0, err
	}
	return times[0].Seconds(), times[1].Seconds(), nil
}

// readBoth publishes the events, leaves what a table would hold in file for the Node SDK, and measures the reader with
// decoding of payloads into structs, and without.
func readBoth(ctx context.Context, s size, list []json.RawMessage, file string) (typed, raw float64, err error) {
	in := &capture{keep: true}
	if err := writeAll(ctx, in, list); err != nil {
		return 0, 0, err
	}
	st := memory.New(memory.Options{})
	if err := sequenceAll(ctx, st, in.records); err != nil {
		return 0, 0, err
	}
	if err := dumpItems(ctx, st, file); err != nil {
		return 0, 0, err
	}
	bus := rstreams.New(st, rstreams.Options{})
	read := func(each func(e rstreams.Event) error) func() error {
		return func() error {
			n := 0
			for e, err := range bus.Read(ctx, "orders", rstreams.ReadOptions{Start: "z/"}) {
				if err != nil {
					return err
				}
				if err := each(e); err != nil {
					return err
				}
				n++
			}
			if n != len(list) {
				return fmt.Errorf("%d events were read of %d", n, len(list))
			}
			return nil
		}
	}
	times, err := least(ctx, s.Rounds, read(func(e rstreams.Event) error {
		var o order
		return json.Unmarshal(e.Payload, &o)
	}), read(func(e rstreams.Event) error {
		if len(e.Payload) == 0 || e.EID == "" {
			return errors.New("an event without payload or id")
		}
		return nil
	}))
	if err != nil {
		return 0, 0, err
	}
	return times[0].Seconds(), times[1].Seconds(), nil
}

// dumpItems writes the queue's chunks as items of LeoStream, one a line.
func dumpItems(ctx context.Context, st store.Store, file string) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriter(f)
	enc := json.NewEncoder(w)
	for after := ""; ; {
		page, err := st.Chunks.Query(ctx, "orders", after, "z~", 0, 0)
		if err != nil {
			return err
		}
		for _, k := range page.Chunks {
			after = k.End
			err := enc.Encode(map[string]any{
				"event": k.Queue, "start": k.Start, "end": k.End, "records": k.Records, "size": k.Size, "gzipSize": k.GzipSize,
				"gzip": k.Gzip, "v": 2,
			})
			if err != nil {
				return err
			}
		}
		if !page.More {
			return w.Flush()
		}
	}
}

// runNode returns the CPU seconds of the Node SDK for n events, the least of several rounds.
func runNode(ctx context.Context, mode, file string, n, rounds int) (float64, error) {
	if _, err := os.Stat(filepath.Join(nodeModules, "node_modules", "leo-sdk")); err != nil {
		return 0, fmt.Errorf("the Node SDK is not installed; run: npm ci --prefix %s", nodeModules)
	}
	script, err := filepath.Abs("tests/bench/node/bench.js")
	if err != nil {
		return 0, err
	}
	cmd := exec.CommandContext(ctx, "node", "--expose-gc", script, mode, file, strconv.Itoa(rounds))
	cmd.Dir = nodeModules
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return 0, fmt.Errorf("the Node SDK: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	var r struct {
		Seconds float64 `json:"seconds"`
		Events  int     `json:"events"`
	}
	if err := json.Unmarshal(bytes.TrimSpace(out), &r); err != nil {
		return 0, fmt.Errorf("the Node SDK said %.200q: %w", out, err)
	}
	if r.Events != n {
		return 0, fmt.Errorf("the Node SDK did %d events of %d", r.Events, n)
	}
	return r.Seconds, nil
}
