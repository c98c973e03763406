//go:build aws

package interop

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/config"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func otherRows() []row {
	return []row{
		{"F1", "Node's and our instances of a fan-out divide a queue without overlap or rest; the least position is stored", fanOut},
		{"X1", "a configuration that Node finds in the environment or a file is found here, with the same precedence", configurations},
		{"B1", "correlations of events and batches are the same", correlations},
		{"T1", "a chain Node, Go, Node, Go gives what a chain of Node alone gives: events, order, lineage, checkpoints", chain},
	}
}

func fanOut(w *world) {
	const count, icount = 200, 4
	queue := w.name("q")
	var payloads []any
	for i := range count {
		payloads = append(payloads, map[string]any{"n": i, "text": fmt.Sprintf("key-%d-ä😀", i%37)})
	}
	w.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: queue}, payloads...)
	all := places(w.published(queue, count))
	payload := func(e *rstreams.Event) (p struct {
		N    int64
		Text string
	}) {
		w.ok(json.Unmarshal(e.Payload, &p))
		return p
	}
	for name, hash := range map[string]func(e *rstreams.Event) int64{
		"eid":    func(e *rstreams.Event) int64 { return bot.Hash(e.EID) },
		"number": func(e *rstreams.Event) int64 { return payload(e).N },
		"text":   func(e *rstreams.Event) int64 { return bot.Hash(payload(e).Text) },
		"list":   func(e *rstreams.Event) int64 { return payload(e).N + bot.Hash(payload(e).Text) },
	} {
		owner := map[string]int{}
		for i := range icount {
			one := *w
			one.sdk = w.sdk.Session(rstreams.Session{Share: &rstreams.Share{Index: i, Count: icount, Hash: hash}})
			ours := places(one.read(queue, rstreams.ReadOptions{Start: "z/"}))
			for _, p := range ours {
				if was, ok := owner[p.EID]; ok {
					w.Errorf("by %s, %s is in the parts %d and %d", name, p.EID, was, i)
				}
				owner[p.EID] = i
			}
			if i == 0 {
				continue // In Node, instance 0 is the master, which would start the others.
			}
			var raw [][2]any
			w.do("fanout", map[string]any{"bot": w.name("reader"), "queue": queue, "iid": i, "icount": icount, "key": name}, &raw)
			var theirs []string
			for _, r := range raw {
				theirs = append(theirs, fmt.Sprint(r[0]))
			}
			var ids []string
			for _, p := range ours {
				ids = append(ids, p.EID)
			}
			if !slices.Equal(theirs, ids) {
				w.Errorf("by %s, instance %d of %d: Node has %d events, we %d", name, i, icount, len(theirs), len(ids))
			}
		}
		if len(owner) != count {
			w.Errorf("by %s, %d of %d events belong to someone", name, len(owner), count)
		}
	}
	w.reduced(queue, all)
}

// reduced runs a bot of three instances: what is stored is never past what any of them has dealt with.
func (w *world) reduced(queue string, all []place) {
	w.Helper()
	id := w.name("bot")
	position := func() string {
		c, err := w.sdk.GetCheckpoint(w.Context(), id, queue)
		w.ok(err)
		return c.Position
	}
	w.locked(id) // It registers the bot.
	boom := errors.New("boom")
	var mu sync.Mutex
	handled := map[string]int{}
	for _, c := range []struct {
		limit int64 // of instance 1
		fail  error // of instance 2
	}{{0, boom}, {2, nil}, {0, nil}} {
		before := position()
		var last [3]string
		r, err := bot.NewRunner(w.sdk, bot.RunnerConfig{Logger: w.log}, bot.Bot{
			ID: id, FanOut: &bot.FanOut{Instances: 3}, Run: func(ctx context.Context, run *bot.Run) error {
				o := rstreams.OffloadOptions{From: []string{queue}, Read: rstreams.ReadOptions{From: rstreams.Earliest()}}
				if run.Instance == 1 {
					o.Read.Limit = c.limit
				}
				_, err := run.Bus.Offload(ctx, o, func(_ context.Context, e rstreams.Event) error {
					mu.Lock()
					defer mu.Unlock()
					if c.fail == nil {
						handled[e.EID]++
					}
					last[run.Instance] = e.EID
					return nil
				})
				if run.Instance == 2 {
					err = errors.Join(err, c.fail)
				}
				return err
			},
		})
		w.ok(err)
		text, err := json.Marshal(w.locked(id))
		w.ok(err)
		err = errors.Join(r.Do(w.Context(), text), r.Close(w.Context()))
		if errors.Is(err, boom) != (c.fail != nil) {
			w.Errorf("the run ends with %v", err)
		}
		switch after := position(); {
		case c.fail != nil && after != before:
			w.Errorf("after a failure the position is %s", after)
		case c.limit > 0 && (after > last[1] || after <= before):
			w.Errorf("instance 1 stopped at %s and the position is %s", last[1], after)
		case c.fail == nil && c.limit == 0 && after != all[len(all)-1].EID:
			w.Errorf("the position is %s, want %s", after, all[len(all)-1].EID)
		}
	}
	if len(handled) != len(all) {
		w.Errorf("%d of %d events were handled", len(handled), len(all))
	}
}

func configurations(w *world) {
	flat := func(region string) map[string]string {
		return map[string]string{"Region": region, "LeoStream": "s-" + region, "LeoCron": "c-" + region, "LeoEvent": "e-" + region, "LeoS3": "b-" + region,
			"LeoKinesisStream": "k-" + region, "LeoFirehoseStream": "f-" + region, "LeoSettings": "t-" + region}
	}
	text := func(v any) string {
		out, err := json.Marshal(v)
		w.ok(err)
		return string(out)
	}
	verbose := func(region string) any {
		f := flat(region)
		return map[string]any{"region": region, "kinesis": f["LeoKinesisStream"], "s3": f["LeoS3"], "firehose": f["LeoFirehoseStream"], "resources": f}
	}
	parts := func(prefix, region string, spell func(string) string) map[string]string {
		out := map[string]string{}
		for k, v := range flat(region) {
			out[prefix+"_"+spell(k)] = v
		}
		return out
	}
	same := func(s string) string { return s }
	dir := func(files map[string]string) string {
		d := w.TempDir()
		for name, body := range files {
			w.ok(os.MkdirAll(filepath.Dir(filepath.Join(d, name)), 0o755))
			w.ok(os.WriteFile(filepath.Join(d, name), []byte(body), 0o644))
		}
		return d
	}
	empty := dir(nil)
	files := dir(map[string]string{
		"leo.config.json": text(flat("one")), "rstreamsconfig.json": text(flat("two")), "config/leo.config.json": text(flat("three")),
		"a/config/rstreams.config.json": text(verbose("four")), "a/b/c/x": "", "d/leoconfig.json": text(flat("five")), "d/rstreamsconfig.json": text(flat("six")),
	})
	type in struct {
		Env map[string]string `json:"env"`
		Dir string            `json:"dir"`
	}
	both := parts("RSTREAMS_CONFIG", "five", same)
	both["leosdk"] = text(flat("six"))
	cases := []in{
		{map[string]string{"RSTREAMS_CONFIG": text(flat("one"))}, empty},
		{map[string]string{"RSTREAMS_CONFIG": text(verbose("two"))}, empty},
		{map[string]string{"leosdk": text(flat("one"))}, empty},
		{map[string]string{"leo-sdk": text(flat("one"))}, empty},
		{map[string]string{"LEOSDK": text(verbose("one"))}, empty},
		{map[string]string{"LEO-SDK": text(flat("one"))}, empty},
		{parts("RSTREAMS_CONFIG", "three", same), empty},
		{parts("LEOSDK", "three", strings.ToUpper), empty},
		{parts("leosdk", "three", strings.ToLower), empty},
		{map[string]string{"RSTREAMS_CONFIG": text(flat("one")), "LEO-SDK": text(flat("two"))}, empty},
		{map[string]string{"leo-sdk": text(flat("one")), "LEOSDK": text(flat("two"))}, empty},
		{both, empty},
		{nil, files},
		{nil, filepath.Join(files, "a/b/c")},
		{nil, filepath.Join(files, "d")},
		{map[string]string{"LEOSDK": text(flat("env"))}, filepath.Join(files, "a")},
	}
	var theirs []map[string]any
	w.do("configs", map[string]any{"cases": cases}, &theirs)
	for i, c := range cases {
		found, err := config.Find(w.Context(), "aws:", config.FindOptions{Dir: c.Dir, Getenv: func(name string) string { return c.Env[name] }})
		if err != nil {
			w.Errorf("case %d: %v; Node finds %v", i, err, theirs[i])
			continue
		}
		var ours map[string]any
		w.ok(json.Unmarshal([]byte(text(found.Resources)), &ours))
		for name := range flat("") {
			if ours[name] != theirs[i][name] {
				w.Errorf("case %d: %s is %v here and %v in Node (from %s)", i, name, ours[name], theirs[i][name], found.Source)
			}
		}
	}
}

func correlations(w *world) {
	queue := w.name("q")
	w.nodeWrite(w.name("writer"), queue, 0, 10, 0, nil)
	in := w.published(queue, 10)
	in[3].Units = 4
	type wire map[string]any
	asNode := func(e rstreams.Event) wire {
		m := wire{"event": e.Queue, "eid": e.EID, "payload": e.Payload}
		if e.Units != 0 {
			m["units"] = e.Units
		}
		return m
	}
	groups := [][]rstreams.Event{in[:1], in[3:4], in[:2], in[2:7], in}
	var calls []any
	for _, g := range groups {
		if len(g) == 1 {
			calls = append(calls, []any{asNode(g[0])})
			continue
		}
		var list []wire
		for _, e := range g {
			list = append(list, asNode(e))
		}
		calls = append(calls, []any{list})
	}
	var theirs []struct {
		Source, Start, End string
		Units              int64
	}
	w.do("correlate", map[string]any{"calls": calls}, &theirs)
	for i, g := range groups {
		c, err := event.Correlate(g...)
		w.ok(err)
		if t := theirs[i]; c.Source != t.Source || c.Start != t.Start || c.End != t.End || c.Units != t.Units {
			w.Errorf("of %d events: ours %+v, Node's %+v", len(g), *c, t)
		}
	}
	theirQueue, ourQueue := w.name("theirs"), w.name("ours")
	w.do("enrichBatch", map[string]any{"bot": w.name("their-bot"), "inQueue": queue, "outQueue": theirQueue, "count": 4, "start": "z/"}, nil)
	_, err := w.sdk.EnrichBatch(w.Context(), rstreams.EnrichOptions{
		Bot: w.name("our-bot"), From: []string{queue}, To: ourQueue, Read: rstreams.ReadOptions{From: rstreams.Earliest()},
		Batch: rstreams.BatchOptions{Records: 4},
	}, func(_ context.Context, events []rstreams.Event) (rstreams.Result, error) {
		return rstreams.Emit(map[string]any{"n": len(events)}), nil
	})
	w.ok(err)
	a, b := w.published(ourQueue, 3), w.published(theirQueue, 3)
	for i := range a {
		// Node names the last event of the batch only; ours names the first and the last. Where a reader goes on is the same.
		x, y := a[i].Correlation, b[i].Correlation
		if n(a[i].Payload) != n(b[i].Payload) || x.Source != y.Source || cmp.Or(x.End, x.Start) != cmp.Or(y.End, y.Start) || x.Units != y.Units {
			w.Errorf("batch %d: ours %s %+v, Node's %s %+v", i, a[i].Payload, *x, b[i].Payload, *y)
		}
		if x.Start != in[4*i].EID {
			w.Errorf("batch %d: our lineage begins at %s, want %s", i, x.Start, in[4*i].EID)
		}
	}
	if x, y := w.position(w.name("our-bot"), queue), w.position(w.name("their-bot"), queue); x != y || x != in[9].EID {
		w.Errorf("our checkpoint is %s, Node's %s", x, y)
	}
}
