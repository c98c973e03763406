package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// enricher is a bot on the SDK: it derives an event from most events of a queue. It dies and is started again.
type enricher struct {
	w        *world
	o        *oracle
	s        *stream
	p        *proc
	id       string
	from, to string
	number   int
	// derived holds the source ids of what the intake has stored.
	derived map[string]bool
}

// wants tells whether the bot derives something from an event.
func wants(id string) bool { return !strings.HasSuffix(id, "3") }

func (e *enricher) run(p *proc) {
	e.p = p
	for n := 0; !e.caughtUp(); n++ {
		me := e.w.process(e.w.ctx, fmt.Sprintf("%s#%d", e.id, n))
		err := e.once(me)
		p.turn("ended")
		e.w.note(me.name, "ends: %v", err)
		if me.dead {
			e.w.counters.crashes++
		}
		me.cancel(nil)
		e.w.counters.runs++
		p.sleep(p.between(0, 3*time.Second))
	}
}

func (e *enricher) caughtUp() bool {
	return e.w.settled && e.o.bot(e.id).read["queue:"+e.from] == e.o.queue(e.from).head
}

func (e *enricher) once(p *proc) error {
	st, _ := connect(p, e.o, false)
	st.Intake = &intake{e, p}
	bus := rstreams.New(st, rstreams.Options{Now: e.w.now, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithTimeoutCause(p.ctx, e.w.plan.timeout, errTimeout)
	defer cancel()
	last := ""
	_, err := bus.Enrich(ctx, rstreams.EnrichOptions{
		Bot: e.id, From: []string{e.from}, To: e.to,
		Read:            rstreams.ReadOptions{From: rstreams.Earliest(), Limit: int64(e.p.rng.IntN(3) * 20)},
		Write:           rstreams.WriterOptions{Chunk: rstreams.ChunkOptions{Records: 1 + e.p.rng.IntN(5)}},
		CheckpointEvery: pick(e.p.rng, 0, -1, 10*time.Millisecond),
	}, func(_ context.Context, ev rstreams.Event) (rstreams.Result, error) {
		e.w.gate(p.name, "handle")
		if last != "" && ev.EID <= last {
			e.w.fail("a reader goes forward", "%s: %s after %s", e.id, ev.EID, last)
		}
		last = ev.EID
		if !wants(ev.EID) {
			return rstreams.Handled(), nil
		}
		if !e.w.calm && chance(e.w.rng, e.w.plan.faultRate/4) {
			return rstreams.Result{}, errFunction
		}
		e.number++
		return rstreams.Emit(map[string]string{"k": fmt.Sprintf("%s.%d", e.id, e.number), "src": ev.EID}), nil
	})
	return err
}

// moved is called when the checkpoint moves: everything up to it must have been derived, and be stored (C14).
func (e *enricher) moved(position string) {
	for _, x := range e.o.queue(e.from).events {
		if x.id > position {
			return
		}
		if wants(x.id) && !e.derived[x.id] {
			e.w.fail("a checkpoint follows what was derived", "%s at %s, but nothing of %s is stored", e.id, position, x.id)
			return
		}
	}
}

// check compares what was published with the source: every event, and the first derivation of each in order.
func (e *enricher) check() {
	seen := map[string]bool{}
	last := ""
	for _, x := range e.o.queue(e.to).events {
		var l struct {
			Payload struct {
				From string `json:"src"`
			} `json:"payload"`
			Correlation struct {
				Source string `json:"source"`
				Start  string `json:"start"`
			} `json:"correlation_id"`
		}
		if err := json.Unmarshal(x.raw, &l); err != nil {
			e.w.fail("derived events can be read", "%v", err)
			return
		}
		from := l.Payload.From
		if l.Correlation.Source != e.from || l.Correlation.Start != from {
			e.w.fail("a derived event names its source", "%s: %+v", from, l.Correlation)
		}
		if !seen[from] && from < last {
			e.w.fail("events are derived in the order of their sources", "%s after %s", from, last)
			return
		}
		last = max(last, from)
		seen[from] = true
	}
	for _, x := range e.o.queue(e.from).events {
		if wants(x.id) && !seen[x.id] {
			e.w.fail("a bot handles every event", "%s passed over %s", e.id, x.id)
			return
		}
	}
}

// intake is the stream as a process of the SDK sees it.
type intake struct {
	e *enricher
	p *proc
}

// Limits implements store.Intake.
func (in *intake) Limits() store.IntakeLimits {
	return store.IntakeLimits{Records: 20, Bytes: 1 << 20, RecordBytes: 1 << 18}
}

// Put implements store.Intake.
func (in *intake) Put(ctx context.Context, records []store.Record) ([]store.Ack, error) {
	w, p := in.e.w, in.p
	w.gate(p.name, "PutRecords")
	c := connection{p: p}
	if err := c.alive(ctx); err != nil {
		return nil, err
	}
	var list []*content
	for _, r := range records {
		k, err := in.content(r)
		if err != nil {
			w.fail("the SDK writes records of lines", "%v", err)
			return nil, err
		}
		list = append(list, k)
	}
	o := c.draw(0)
	if o.crash && !o.applied || o.fault == faultDrop {
		if o.crash {
			p.crash()
		}
		return nil, errNetwork
	}
	acks := make([]store.Ack, len(list))
	for i, err := range in.e.s.take(p.name, list) {
		if err != nil {
			acks[i].Err = fmt.Errorf("simulated: %w", store.ErrThrottled)
		}
	}
	if o.crash {
		p.crash()
	}
	if o.crash || o.fault == faultLost {
		return nil, errNetwork
	}
	return acks, nil
}

func (in *intake) content(r store.Record) (*content, error) {
	k := &content{partition: r.PartitionKey, data: r.Data, derived: in.e}
	if r.HashKey == "" {
		k.hash = hashKey(r.PartitionKey)
	}
	z, err := gzip.NewReader(bytes.NewReader(r.Data))
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(z)
	for d.More() {
		var l struct {
			Queue   string `json:"event"`
			Payload struct {
				Key  string `json:"k"`
				From string `json:"src"`
			} `json:"payload"`
		}
		if err := d.Decode(&l); err != nil {
			return nil, err
		}
		if _, err := eid.Parse(l.Payload.From); err != nil || l.Payload.Key == "" {
			return nil, errors.Join(err, errors.New("the payload is not what the handler emitted"))
		}
		k.lines = append(k.lines, line{l.Queue, l.Payload.Key})
		k.sources = append(k.sources, l.Payload.From)
	}
	return k, nil
}

// TestABotOnTheSDKNeitherLosesNorReorders runs worlds in which a bot on sdk/rstreams derives a queue. The SDK draws its
// back-off at random, so these runs do not repeat exactly: a failing one shows its own trace.
func TestABotOnTheSDKNeitherLosesNorReorders(t *testing.T) {
	n := uint64(60)
	if text := os.Getenv("RSTREAMS_SIM_SEEDS"); text != "" {
		many, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatalf("RSTREAMS_SIM_SEEDS: %v", err)
		}
		n = max(n, many/20)
	}
	var total counters
	for seed := uint64(1); seed <= n; seed++ {
		p := derive(seed)
		if p.direct || p.attempts > 0 {
			continue
		}
		p.sdk, p.dispatchers, p.triggered, p.bots, p.readers, p.big, p.lineLength, p.snapshots = true, 0, 0, 0, 0, false, 0, 0
		out := simulate(t, seed, p, true)
		total.add(out.counters)
		if out.failure != nil {
			t.Fatalf("seed %d: %v\n%s", seed, out.failure, strings.Join(out.trace[max(0, len(out.trace)-tailLines):], "\n"))
		}
	}
	t.Logf("%+v", total)
}
