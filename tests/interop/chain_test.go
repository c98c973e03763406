//go:build aws

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// chainVariable is the environment variable with the number of events of row T1. The contract asks for a million, which takes a quarter
// of an hour; the default is for every day.
const chainVariable = "RSTREAMS_INTEROP_EVENTS"

const stages = 4

// attempts is how often row T1 is tried on an emulator that loses answers.
const attempts = 3

// chain copies a queue through four bots, once by Node and Go in turn and once by Node alone, and compares the queues. Where an answer
// of Kinesis was lost, a writer sent a record again, and every queue behind it has more events than the row is about.
func chain(w *world) {
	for n := 1; ; n++ {
		before := len(w.repeated())
		compare := w.chain(fmt.Sprint("try", n, "-"))
		lost := len(w.repeated()) - before
		if lost == 0 || n == attempts {
			compare()
			return
		}
		w.Logf("%d records are on the stream twice, as answers of Kinesis were lost: once more", lost)
	}
}

func (w *world) repeated() [][]byte {
	return awstest.Repeated(w.Context(), w, w.bus.Resources().LeoKinesisStream)
}

// chain makes the queues, and returns what compares them.
func (w *world) chain(prefix string) (compare func()) {
	total := 20_000
	if text := os.Getenv(chainVariable); text != "" {
		var err error
		if total, err = strconv.Atoi(text); err != nil {
			w.Fatalf("%s: %v", chainVariable, err)
		}
	}
	w.slow = 10 * time.Minute
	source := w.name(prefix + "source")
	begun := time.Now()
	w.nodeWrite(w.name(prefix+"writer"), source, 0, total, 0, nil)
	w.head(source, total)
	w.Logf("%d events written by Node in %v", total, time.Since(begun).Round(time.Millisecond))

	name := func(kind string, stage int) string {
		if stage == 0 {
			return source
		}
		return w.name(fmt.Sprint(prefix, kind, stage))
	}
	var behind []string
	for _, kind := range []string{"mixed", "node"} {
		for stage := 1; stage <= stages; stage++ {
			from, to, bot := name(kind, stage-1), name(kind, stage), w.name(fmt.Sprint(prefix, kind, "-bot", stage))
			w.ok(w.sdk.Checkpoint(w.Context(), rstreams.CheckpointRequest{Bot: bot, Queue: from, Checkpoint: rstreams.Checkpoint{Position: "z/"}}))
			begun, who := time.Now(), "Node"
			if kind == "mixed" && stage%2 == 0 {
				who = "Go"
				_, err := w.sdk.Enrich(w.Context(), rstreams.EnrichOptions{Bot: bot, From: []string{from}, To: to}, hop(bot))
				w.ok(err)
			} else {
				for w.position(bot, from) != w.head(from, 0) { // The original's reads end after 100 queries.
					one := *w
					one.started = nil
					before := w.position(bot, from)
					one.do("enrich", map[string]any{"bot": bot, "inQueue": from, "outQueue": to, "config": map[string]any{}}, nil)
					if w.position(bot, from) == before {
						w.Fatalf("Node's %s does not get past %s", bot, before)
					}
				}
			}
			w.head(to, total)
			w.Logf("%s, stage %d by %s: %v", kind, stage, who, time.Since(begun).Round(time.Millisecond))
			if p, head := w.position(bot, from), w.head(from, 0); p != head {
				behind = append(behind, fmt.Sprintf("the checkpoint of %s is %s, the last event %s", bot, p, head))
			}
		}
	}
	return func() {
		for _, text := range behind {
			w.Error(text)
		}
		for stage := 1; stage <= stages; stage++ {
			mixed, stopMixed := iter.Pull(w.hops(name("mixed", stage-1), name("mixed", stage), w.name(prefix+"mixed-bot")))
			node, stopNode := iter.Pull(w.hops(name("node", stage-1), name("node", stage), w.name(prefix+"node-bot")))
			count := 0
			for ; ; count++ {
				a, okA := mixed()
				b, okB := node()
				if a != b || okA != okB || okA && (a.N != count || len(a.Hops) != stage) {
					w.Fatalf("stage %d, event %d: mixed %+v, Node %+v", stage, count, a, b)
				}
				if !okA {
					break
				}
			}
			stopMixed()
			stopNode()
			if count != total {
				w.Errorf("stage %d: %d of %d events", stage, count, total)
			}
		}
	}
}

// hopped is an event of a chain, without what differs between chains.
type hopped struct {
	N int
	// Hops are the last characters of the bots' names: the stages.
	Hops          string
	Source, Units int64
}

// hops returns the events of a queue that was made of another, and checks their lineage.
func (w *world) hops(from, to, bot string) iter.Seq[hopped] {
	return func(yield func(hopped) bool) {
		parents, stop := iter.Pull2(w.sdk.Read(w.Context(), from, rstreams.ReadOptions{Start: "z/"}))
		defer stop()
		for e, err := range w.sdk.Read(w.Context(), to, rstreams.ReadOptions{Start: "z/"}) {
			w.ok(err)
			parent, err, ok := parents()
			w.ok(err)
			c := e.Correlation
			if !ok || c == nil || c.Source != from || c.Start != parent.EID || c.End != "" && c.End != c.Start {
				w.Fatalf("%s of %s: lineage %+v, want %s of %s", e.EID, to, c, parent.EID, from)
			}
			var p struct {
				N    int
				Hops []string
			}
			w.ok(json.Unmarshal(e.Payload, &p))
			h := hopped{N: p.N, Source: e.SourceTimestamp, Units: c.Units}
			for _, name := range p.Hops {
				stage, found := strings.CutPrefix(name, bot)
				if !found {
					w.Fatalf("%s of %s was at %s", e.EID, to, name)
				}
				h.Hops += stage
			}
			if !strings.HasSuffix(e.Bot, h.Hops[len(h.Hops)-1:]) || !strings.HasPrefix(e.Bot, bot) {
				w.Fatalf("%s of %s was written by %s", e.EID, to, e.Bot)
			}
			if !yield(h) {
				return
			}
		}
	}
}

// hop does what the driver's enrich does.
func hop(bot string) rstreams.Handler {
	return func(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
		var p struct {
			N    int      `json:"n"`
			Hops []string `json:"hops"`
		}
		if err := json.Unmarshal(e.Payload, &p); err != nil {
			return rstreams.Result{}, err
		}
		p.Hops = append(p.Hops, bot)
		return rstreams.Emit(p), nil
	}
}

func (w *world) position(bot, queue string) string {
	w.Helper()
	c, err := w.sdk.GetCheckpoint(w.Context(), bot, queue)
	w.ok(err)
	return c.Position
}

// head waits until a queue holds so many events, 0 for as many as it has, and returns the id of the last.
func (w *world) head(queue string, total int) string {
	w.Helper()
	if total > 0 {
		count, after := int64(0), ""
		w.eventually(fmt.Sprintf("%d events on %s", total, queue), func() bool {
			for {
				page, err := w.store.Chunks.Query(w.Context(), queue, after, "z~", 0, 0)
				w.ok(err)
				for _, c := range page.Chunks {
					count, after = count+c.Records, c.End
				}
				if !page.More {
					return count >= int64(total)
				}
			}
		})
	}
	q, err := w.store.Queues.Get(w.Context(), queue)
	w.ok(err)
	return q.Head
}
