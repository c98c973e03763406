package loader_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/internal/crash"
	"github.com/rstreams-go/rstreams/bus/loader"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// world is a store in memory with a clock of its own.
type world struct {
	t     *testing.T
	store store.Store
	now   time.Time
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, now: time.UnixMilli(1_704_164_645_000)}
	w.store = memory.New(memory.Options{Now: func() time.Time { return w.now }})
	w.store.Atomic = nil
	return w
}

func (w *world) config(owner string) loader.Config {
	clock := func() time.Time { return w.now }
	quiet := slog.New(slog.DiscardHandler)
	return loader.Config{
		Bucket: "memory", Owner: owner, Now: clock, Logger: quiet, PartBytes: 200,
		Sequencer: sequencer.Config{Lease: 20 * time.Second, Parallel: 1, Now: clock, Logger: quiet, Bucket: "memory", CheckBlobs: true},
	}
}

// deliver puts an object as Firehose does.
func (w *world) deliver(n int, text string) string {
	w.t.Helper()
	key := fmt.Sprintf("firehose/2024/01/02/03/bus-1-2024-01-02-03-04-%02d-00000000-0000-4000-8000-0000000000ff", n)
	if _, _, err := w.store.Blobs.Put(w.t.Context(), key, strings.NewReader(text)); err != nil {
		w.t.Fatal(err)
	}
	return key
}

func line(queue string, n int) string {
	return fmt.Sprintf(`{"id":"b","event":%q,"payload":{"n":%d}}`+"\n", queue, n)
}

// packedLine returns text as a line of base64 of gzip.
func packedLine(text string) string {
	return base64.StdEncoding.EncodeToString(chunk.AppendGzip(nil, []byte(text))) + "\n"
}

// numbers returns the numbers of the events of a queue, in order, and checks that their chunks do not overlap.
func (w *world) numbers(queue string) (out []int) {
	w.t.Helper()
	prev := ""
	for {
		page, err := w.store.Chunks.Query(w.t.Context(), queue, prev, "z0", 0, 0)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, c := range page.Chunks {
			if c.Start <= prev || c.Creator != "firehose" {
				w.t.Errorf("chunk %s..%s of %q follows %s", c.Start, c.End, c.Creator, prev)
			}
			prev = c.End
			text, err := chunk.AppendGunzip(nil, c.Gzip, 1<<30)
			if err != nil {
				w.t.Fatal(err)
			}
			for l := range strings.Lines(string(text)) {
				var e struct{ Payload struct{ N int } }
				if err := json.Unmarshal([]byte(l), &e); err != nil {
					w.t.Fatal(err)
				}
				out = append(out, e.Payload.N)
			}
		}
		if !page.More {
			return out
		}
	}
}

func (w *world) letters() (out []deadletter.Letter) {
	w.t.Helper()
	page, err := w.store.Chunks.Query(w.t.Context(), deadletter.Queue, "", "z0", 0, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range page.Chunks {
		text, err := chunk.AppendGunzip(nil, c.Gzip, 1<<30)
		if err != nil {
			w.t.Fatal(err)
		}
		for l := range strings.Lines(string(text)) {
			var e struct{ Payload json.RawMessage }
			if err := json.Unmarshal([]byte(l), &e); err != nil {
				w.t.Fatal(err)
			}
			letter, err := deadletter.Parse(e.Payload)
			if err != nil {
				w.t.Fatal(err)
			}
			out = append(out, letter)
		}
	}
	return out
}

func (w *world) keys(prefix string) (keys []string) {
	w.t.Helper()
	list, err := w.store.Blobs.List(w.t.Context(), prefix, "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, b := range list {
		keys = append(keys, b.Key)
	}
	return keys
}

func upTo(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

func TestEveryFormOfLineBecomesReadableC59(t *testing.T) {
	w := newWorld(t)
	raw, err := os.ReadFile("testdata/firehose.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Object struct{ Key, Body string } }
	if err := json.Unmarshal(raw, &golden); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.store.Blobs.Put(t.Context(), golden.Object.Key, strings.NewReader(golden.Object.Body)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.store.Blobs.Put(t.Context(), "firehose/2024/", strings.NewReader("")); err != nil {
		t.Fatal(err) // What some tools make of a folder.
	}
	res, err := loader.New(w.store, w.config("a")).Load(t.Context())
	if err != nil || res.Objects != 1 || res.Events != 8 || res.DeadLetters != 1 || res.Busy || !res.Oldest.IsZero() {
		t.Fatalf("%+v, %v", res, err)
	}
	for queue, want := range map[string]int{"q.fire": 6, "q.fire2": 1, deadletter.Queue: 1} {
		if got := len(w.numbers(queue)); got != want {
			t.Errorf("queue %s has %d events, want %d", queue, got, want)
		}
	}
	if l := w.letters(); len(l) != 1 || string(l[0].Bytes()) != `{"x":1}` || l[0].Reason != deadletter.ReasonEvent {
		t.Errorf("got %+v", l) // The original skipped it silently (W-D8).
	}
	if got := w.keys("firehose/"); !slices.Equal(got, []string{"firehose/2024/"}) {
		t.Errorf("left: %v", got)
	}
}

// TestEachObjectIsLoadedOnceWhereverTheLoaderDies is W-D9 and W-P10: the first loader dies at every of its writes, before or
// after it took effect, and a second one finishes.
func TestEachObjectIsLoadedOnceWhereverTheLoaderDies(t *testing.T) {
	run := func(t *testing.T, p *crash.Process) *world {
		w := newWorld(t)
		n := 0
		for object := range 3 {
			var text, packed strings.Builder
			for i := range 12 {
				to := &text
				if i >= 4 {
					to = &packed // More than a part.
				}
				to.WriteString(line([]string{"q", "p"}[n%2], n/2))
				n++
			}
			w.deliver(object, text.String()+packedLine(packed.String())+fmt.Sprintf("bad %d\n", object))
		}
		for _, r := range []string{"a", "b"} {
			if err := w.store.Bots.Register(t.Context(), store.Registration{ID: r}); err != nil {
				t.Fatal(err)
			}
		}
		config := w.config("first")
		config.Keep = "kept/"
		_, err := loader.New(crash.View(w.store, p), config).Load(t.Context())
		if p.Dead() != (err != nil) {
			t.Fatalf("write %d: %v", p.At, err)
		}
		w.deliver(9, line("q", 18)) // Something comes meanwhile.
		w.now = w.now.Add(61 * time.Second)
		config = w.config("second")
		config.Keep = "kept/"
		res, err := loader.New(w.store, config).Load(t.Context())
		if err != nil || res.Busy {
			t.Fatalf("write %d: %+v, %v", p.At, res, err)
		}
		return w
	}
	free := &crash.Process{}
	run(t, free)
	if free.Writes() < 30 {
		t.Fatalf("only %d writes", free.Writes())
	}
	for at := 1; at <= free.Writes(); at++ {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d %t", at, after), func(t *testing.T) {
				w := run(t, &crash.Process{At: at, After: after})
				if got := w.numbers("q"); !slices.Equal(got, upTo(19)) {
					t.Errorf("q has %v", got)
				}
				if got := w.numbers("p"); !slices.Equal(got, upTo(18)) {
					t.Errorf("p has %v", got)
				}
				if got := len(w.letters()); got != 3 {
					t.Errorf("%d letters", got)
				}
				if got := w.keys("firehose/"); len(got) != 0 {
					t.Errorf("left: %v", got)
				}
				if got := w.keys("kept/"); len(got) != 4 {
					t.Errorf("kept: %v", got)
				}
			})
		}
	}
}

func TestTwoLoadersAtOnceLoadEachObjectOnce(t *testing.T) {
	// The first one stops before each of its writes for so long that a second one takes over, finishes, and is gone.
	for at := 1; ; at++ {
		w := newWorld(t)
		for object := range 3 {
			w.deliver(object, line("q", 3*object)+line("q", 3*object+1)+strings.Repeat(" ", 200)+line("q", 3*object+2))
		}
		writes := 0
		slow := &crash.Process{}
		slow.Before = func(write string) {
			// A chunk is not written that late: sequencers stop before their lease ends (docs/simulation.md).
			if writes++; writes != at || write == "Chunks.Put" {
				return
			}
			w.now = w.now.Add(61 * time.Second)
			if res, err := loader.New(w.store, w.config("second")).Load(t.Context()); err != nil || res.Busy {
				t.Errorf("second: %+v, %v", res, err)
			}
		}
		_, err := loader.New(crash.View(w.store, slow), w.config("first")).Load(t.Context())
		if err != nil {
			t.Errorf("first: %v", err)
		}
		if writes < at {
			break
		}
		w.deliver(9, line("q", 9))
		w.now = w.now.Add(61 * time.Second)
		if _, err := loader.New(w.store, w.config("third")).Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := w.numbers("q"); !slices.Equal(got, upTo(10)) {
			t.Errorf("stopped before write %d: q has %v", at, got)
		}
	}
}

func TestALoaderThatIsRefusedLeavesItsObjectsToTheOneAtWork(t *testing.T) {
	w := newWorld(t)
	w.deliver(0, line("q", 0))
	writes, refused := 0, false
	p := &crash.Process{}
	p.Before = func(string) {
		if writes++; writes == 1 || refused {
			return
		}
		refused = true
		w.deliver(1, line("q", 1))
		if res, err := loader.New(w.store, w.config("second")).Load(t.Context()); err != nil || !res.Busy {
			t.Errorf("second: %+v, %v", res, err)
		}
	}
	if res, err := loader.New(crash.View(w.store, p), w.config("first")).Load(t.Context()); err != nil || res.Objects != 2 {
		t.Errorf("%+v, %v", res, err)
	}
	if got := w.numbers("q"); !slices.Equal(got, upTo(2)) {
		t.Errorf("q has %v", got)
	}
}

func TestWhatCannotBeReadIsKept(t *testing.T) {
	w := newWorld(t)
	config := w.config("a")
	config.Sequencer.MaxLine = 1000
	gz := string(chunk.AppendGzip(nil, []byte(line("q", 2)+line("q", 3)+strings.Repeat("z", 100))))
	base := base64.StdEncoding.EncodeToString(chunk.AppendGzip(nil, []byte(line("q", 4))))
	keys := []string{
		w.deliver(0, line("q", 0)+strings.Repeat("x", 2000)+"\n"+strings.Repeat("y", 2000)+"\n"+line("q", 1)),
		w.deliver(1, gz[:len(gz)-9]),       // Damaged as a whole.
		w.deliver(2, base+"\nHello\nnull"), // Lines that are damaged.
		w.deliver(3, "\x1f\x8bnonsense"),
		w.deliver(4, ""),
	}
	res, err := loader.New(w.store, config).Load(t.Context())
	if err != nil || res.Objects != 5 {
		t.Fatalf("%+v, %v", res, err)
	}
	if got := w.numbers("q"); len(got) < 3 || got[0] != 0 || got[1] != 1 || got[len(got)-1] != 4 {
		t.Errorf("q has %v", got)
	}
	if got := w.keys(loader.Quarantine); len(got) != 3 || got[0] != loader.Quarantine+keys[0] || got[2] != loader.Quarantine+keys[3] {
		t.Errorf("kept: %v", got)
	}
	var raw []string
	for _, l := range w.letters() {
		raw = append(raw, string(l.Bytes()))
	}
	if text := strings.Join(raw, "\n"); strings.Count(text, loader.Quarantine) != 3 || !strings.Contains(text, "\nHello\nnull\n") {
		t.Errorf("letters: %q", raw)
	}
}

// large is a blob of events that is never in memory as a whole.
type large struct {
	store.Blobs
	size int64
}

func (l large) Get(ctx context.Context, ref store.BlobRef, offset, length int64) (io.ReadCloser, error) {
	if !strings.HasPrefix(ref.Key, "firehose/") {
		return l.Blobs.Get(ctx, ref, offset, length)
	}
	return io.NopCloser(io.LimitReader(&repeat{text: []byte(line("q", 1))}, l.size)), nil
}

type repeat struct {
	text []byte
	at   int
}

func (r *repeat) Read(p []byte) (n int, err error) {
	for n < len(p) {
		c := copy(p[n:], r.text[r.at:])
		n, r.at = n+c, (r.at+c)%len(r.text)
	}
	return n, nil
}

// counted counts events and forgets them, and notes the most memory in use.
type counted struct {
	store.Chunks
	events int64
	peak   uint64
}

func (c *counted) Put(_ context.Context, list []store.Chunk) error {
	for _, k := range list {
		c.events += k.Records
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	c.peak = max(c.peak, m.HeapAlloc)
	return nil
}

func TestALargeObjectIsStreamed(t *testing.T) {
	w := newWorld(t)
	w.deliver(0, "x")
	size := int64(128<<20) / int64(len(line("q", 1))) * int64(len(line("q", 1)))
	w.store.Blobs = large{w.store.Blobs, size}
	c := &counted{Chunks: w.store.Chunks}
	w.store.Chunks = c
	config := w.config("a")
	config.PartBytes = 0
	var before runtime.MemStats
	runtime.ReadMemStats(&before)
	res, err := loader.New(w.store, config).Load(t.Context())
	if err != nil || res.Events != size/int64(len(line("q", 1))) || c.events != res.Events {
		t.Fatalf("%+v, %v", res, err)
	}
	t.Logf("at most %d MiB of live memory", (c.peak-before.HeapAlloc)>>20)
	if c.peak > before.HeapAlloc+48<<20 {
		t.Errorf("%d MiB of live memory for an object of 128 MiB", (c.peak-before.HeapAlloc)>>20)
	}
}

func TestADamagedNoteStopsTheLoader(t *testing.T) {
	w := newWorld(t)
	key := w.deliver(0, line("q", 0))
	if err := w.store.Settings.Put(t.Context(), loader.Setting, []byte(`"nonsense"`)); err != nil {
		t.Fatal(err)
	}
	res, err := loader.New(w.store, w.config("a")).Load(t.Context())
	if !errors.Is(err, store.ErrCorrupt) || !bytes.Contains([]byte(err.Error()), []byte(loader.Setting)) {
		t.Errorf("got %v", err)
	}
	if want := time.Date(2024, 1, 2, 3, 4, 0, 0, time.UTC); !res.Oldest.Equal(want) {
		t.Errorf("object %s is pending since %v", key, res.Oldest)
	}
}
