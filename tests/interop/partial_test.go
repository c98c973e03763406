//go:build aws

package interop

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// partialResults: of the results of one event, all but the last are partial.
func partialResults(w *world) {
	source := w.name("source")
	w.nodeWrite(w.name("writer"), source, 0, 4, 0, nil)
	in := places(w.published(source, 4))

	// Node: events with partial lineage, then the final one.
	theirs := w.name("theirs")
	position := func(id string) string {
		c, err := w.sdk.GetCheckpoint(w.Context(), id, source)
		w.ok(err)
		return c.Position
	}
	derive := func(k int, start string) {
		w.do("write", map[string]any{"bot": theirs, "queue": w.name("theirs-out"), "events": []any{map[string]any{
			"payload": map[string]any{"n": k}, "correlation_id": map[string]any{"source": source, start: in[0].EID, "units": 1},
		}}}, nil)
	}
	derive(0, "partial_start")
	derive(1, "partial_start")
	if p := position(theirs); p != "" {
		w.Errorf("Node: partial results moved the position to %s", p)
	}
	derive(2, "start")
	if p := position(theirs); p != in[0].EID {
		w.Errorf("Node: after the final result the position is %q", p)
	}

	// Ours: three results for each event, each in a record of its own. The intake takes two of the second event's and no more.
	ours := w.name("ours")
	taken := 0
	tapped, _ := w.tapped(func(int, int) error {
		if taken == 5 {
			return fmt.Errorf("%w: for the test", store.ErrThrottled)
		}
		taken++
		return nil
	})
	three := func(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
		i := n(e.Payload) * 10
		return rstreams.Emit(map[string]any{"n": i}, map[string]any{"n": i + 1}, map[string]any{"n": i + 2}), nil
	}
	o := rstreams.EnrichOptions{
		Bot: ours, From: []string{source}, To: w.name("ours-out"), Read: rstreams.ReadOptions{From: rstreams.Earliest()},
		Write: rstreams.WriterOptions{Chunk: rstreams.ChunkOptions{Records: 1}, GiveUp: 300 * time.Millisecond},
	}
	if _, err := tapped.sdk.Enrich(w.Context(), o, three); err == nil {
		w.Error("the run whose results were refused reports success")
	}
	if p := position(ours); p != "" && p != in[0].EID {
		w.Errorf("ours: two of three results moved the position to %s, past %s", p, in[0].EID)
	}
	o.Write = rstreams.WriterOptions{}
	_, err := w.sdk.Enrich(w.Context(), o, three)
	w.ok(err)
	if p := position(ours); p != in[3].EID {
		w.Errorf("ours: at the end the position is %q, want %s", p, in[3].EID)
	}
	want := []int{0, 1, 2, 10, 11, 12, 20, 21, 22, 30, 31, 32}
	w.eventually("all results", func() bool {
		got := map[int]bool{}
		for _, e := range w.read(w.name("ours-out"), rstreams.ReadOptions{Start: "z/"}) {
			got[n(e.Payload)] = true
		}
		return slices.Equal(slices.Sorted(maps.Keys(got)), want)
	})
	if got := w.nodeReadAs(ours, source, nil); len(got) != 0 {
		w.Errorf("Node still finds %v for our bot", got)
	}
}

func fanoutLocation(w *world) {
	id, queue := w.name("bot"), w.name("q")
	w.nodeWrite(w.name("writer"), queue, 0, 9, 0, nil)
	all := places(w.published(queue, 9))
	payload := w.locked(id)
	w.ok(w.store.Bots.Checkpoint(w.Context(), store.CheckpointWrite{Bot: id, Ref: "queue:" + queue, Checkpoint: store.Checkpoint{Position: all[0].EID}}))

	// Each side's SDK as instance 1, whatever is stored there.
	one := w.sdk.Session(rstreams.Session{Bot: id, Location: rstreams.Location{Attribute: "instances", Instance: "1"}})
	for _, i := range []int{5, 3} {
		w.ok(one.Checkpoint(w.Context(), rstreams.CheckpointRequest{Queue: queue, Checkpoint: rstreams.Checkpoint{Position: all[i].EID, Records: 2}, Backwards: true}))
	}
	ours := at(w.botItem(id), "instances", "1", "queue:"+queue)
	w.do("registry", map[string]any{"cron": map[string]any{"id": id, "iid": 1, "cploc": "instances"}}, nil)
	w.ok(w.nodeCheckpoint(id, w.name("q2"), map[string]any{"eid": all[4].EID, "units": 2, "source_timestamp": 1, "started_timestamp": 2, "ended_timestamp": 3}))
	w.ok(w.nodeCheckpoint(id, w.name("q2"), map[string]any{"eid": all[2].EID, "units": 2, "source_timestamp": 1, "started_timestamp": 2, "ended_timestamp": 3}))
	theirs := at(w.botItem(id), "instances", "1", "queue:"+w.name("q2"))
	if a, b := kinds(ours), kinds(theirs); len(a) != 5 || !maps.Equal(a, b) {
		w.Errorf("ours %v, Node's %v", a, b)
	}
	if got := flat(w.botItem(id))[".instances.1.queue:"+queue+".checkpoint"]; got != fmt.Sprintf("%q", all[3].EID) {
		w.Errorf("our instance's position is %s, want %s", got, all[3].EID)
	}

	// A bot that a bus fans out: it begins at starteid, ends at maxeid, and checkpoints there.
	cron := payload["__cron"].(map[string]any)
	cron["cploc"], cron["iid"], cron["icount"] = "instances", "0", 2
	cron["starteid"], cron["maxeid"] = map[string]any{"queue:" + queue: all[1].EID}, all[6].EID
	var got []place
	_, err := w.runOurs(id, payload, func(ctx context.Context, run *bot.Run) error {
		_, err := run.Bus.Offload(ctx, rstreams.OffloadOptions{From: []string{queue}}, func(_ context.Context, e rstreams.Event) error {
			got = append(got, place{e.EID, n(e.Payload)})
			return nil
		})
		return err
	})
	w.ok(err)
	if !slices.Equal(got, all[2:7]) {
		w.Errorf("the instance got %v, want %v", got, all[2:7])
	}
	row := flat(w.botItem(id))
	if at := row[".instances.0.queue:"+queue+".checkpoint"]; at != fmt.Sprintf("%q", all[6].EID) {
		w.Errorf("the instance's position is %s, want %s", at, all[6].EID)
	}
	if at := row[".checkpoints.read.queue:"+queue+".checkpoint"]; at != fmt.Sprintf("%q", all[0].EID) {
		w.Errorf("the bot's own checkpoint moved to %s", at)
	}
	if row[".instances.0.status"] != `"complete"` {
		text, _ := json.Marshal(row)
		w.Errorf("the run is not complete: %s", text)
	}
}
