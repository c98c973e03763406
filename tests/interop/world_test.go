//go:build aws

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// row is one line of the contract.
type row struct {
	id, title string
	run       func(w *world)
}

// rows are all of them, in the order of the contract.
func rows() []row {
	return slices.Concat(idRows(), nodeWritesRows(), goWritesRows(), checkpointRows(), runRows(), otherRows())
}

// TestInterop runs every row and prints the table.
func TestInterop(t *testing.T) {
	title := fmt.Sprintf("leo-sdk %s with aws-sdk %s against RStreams for Go", version(t, "leo-sdk"), version(t, "aws-sdk"))
	bus := awstest.Open(t)
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	seq := sequencer.New(bus.Store(), sequencer.Config{Logger: quiet, Owner: "interop", Bucket: bus.Resources().LeoS3})
	awstest.Pump(t, bus, seq)
	w := &world{T: t, bus: bus, store: bus.Store(), log: quiet, sdk: rstreams.New(bus.Store(), rstreams.Options{Logger: quiet})}

	var table strings.Builder
	list := rows()
	for _, r := range list {
		verdict := "not run" // -run may choose rows.
		passed := t.Run(r.id, func(t *testing.T) {
			verdict = "ok"
			one := *w
			one.T, one.row = t, r.id
			r.run(&one)
		})
		if !passed {
			verdict = "FAILED"
		}
		fmt.Fprintf(&table, "  %-4s %-7s %s\n", r.id, verdict, r.title)
	}
	t.Logf("%s, %d rows:\n%s", title, len(list), &table)
}

// version returns the installed version of a Node package.
func version(t *testing.T, name string) string {
	text, err := os.ReadFile(filepath.Join("node", "node_modules", name, "package.json"))
	if err != nil {
		t.Fatalf("%v; run: npm ci --prefix tests/interop/node", err)
	}
	var p struct{ Version string }
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	return p.Version
}

// world is what a row works with.
type world struct {
	*testing.T
	row   string
	bus   *awsbus.Bus
	store store.Store
	sdk   *rstreams.Bus
	log   *slog.Logger

	started *node
	slow    time.Duration // what a Node command or a wait may take, 0 for patience
	mayDie  bool          // a Node process that dies is no failure
}

// name returns a name that no other row uses.
func (w *world) name(base string) string { return strings.ToLower(w.row) + "-" + base }

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// patience bounds the waits for the emulator.
const patience = 60 * time.Second

// eventually waits until done returns true.
func (w *world) eventually(what string, done func() bool) {
	w.Helper()
	limit := max(patience, w.slow)
	ctx, cancel := context.WithTimeout(w.Context(), limit)
	defer cancel()
	for !done() {
		select {
		case <-ctx.Done():
			w.Fatalf("it did not come to be within %v: %s", limit, what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// published waits until the queue holds n events and returns them as this SDK reads them.
func (w *world) published(queue string, n int) []rstreams.Event {
	w.Helper()
	var got []rstreams.Event
	w.eventually(fmt.Sprintf("%d events on %s", n, queue), func() bool {
		got = w.read(queue, rstreams.ReadOptions{Start: "z/"})
		return len(got) >= n
	})
	if len(got) != n {
		w.Fatalf("%d events on %s, want %d", len(got), queue, n)
	}
	return got
}

// read reads with this SDK.
func (w *world) read(queue string, o rstreams.ReadOptions) []rstreams.Event {
	w.Helper()
	var out []rstreams.Event
	for e, err := range w.sdk.Read(w.Context(), queue, o) {
		if err != nil {
			w.Fatalf("read %s: %v", queue, err)
		}
		out = append(out, rstreams.Clone(e))
	}
	return out
}

// write writes payloads with this SDK and waits for their acknowledgement.
func (w *world) write(o rstreams.WriterOptions, payloads ...any) {
	w.Helper()
	wr, err := w.sdk.NewWriter(o)
	w.ok(err)
	for _, p := range payloads {
		_, err := wr.Put(w.Context(), p)
		w.ok(err)
	}
	w.ok(wr.Close(w.Context()))
}

// numbered returns payloads {"n": from}, … {"n": from+count-1}, padded to a size.
func numbered(from, count, pad int) []any {
	out := make([]any, count)
	for i := range out {
		p := map[string]any{"n": from + i}
		if pad > 0 {
			p["pad"] = strings.Repeat("x", pad)
		}
		out[i] = p
	}
	return out
}

// n returns the member n of a payload.
func n(payload json.RawMessage) int {
	var p struct{ N *int }
	if json.Unmarshal(payload, &p) != nil || p.N == nil {
		return -1
	}
	return *p.N
}

// place is an event as the two sides compare it.
type place struct {
	EID string
	N   int
}

func places(events []rstreams.Event) []place {
	out := make([]place, len(events))
	for i, e := range events {
		out[i] = place{e.EID, n(e.Payload)}
	}
	return out
}

// inOrder checks that the places are n = from, from+1, … with growing ids.
func (w *world) inOrder(list []place, from, count int) {
	w.Helper()
	if len(list) != count {
		w.Fatalf("%d events, want %d", len(list), count)
	}
	for i, p := range list {
		if p.N != from+i {
			w.Fatalf("event %d is n=%d, want %d", i, p.N, from+i)
		}
		if i > 0 && p.EID <= list[i-1].EID {
			w.Fatalf("id %s does not follow %s", p.EID, list[i-1].EID)
		}
	}
}
