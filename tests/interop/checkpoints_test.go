//go:build aws

package interop

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func checkpointRows() []row {
	return []row{
		{"C1", "a checkpoint has the five members, as numbers where Node has numbers", checkpointMembers},
		{"C2", "Node goes on after our checkpoint and we after Node's: queue, archive, snapshot", checkpointsShared},
		{"C3", "a checkpoint succeeds if and only if the expected position is stored; force always does", checkpointConditions},
		{"C4", "a conflict is told as a stale checkpoint and changes nothing", checkpointConflict},
		{"C5", "a bot without a row gets the skeleton that Node makes", skeletonRow},
		{"C6", "Node and Go alternate on one bot, are killed, and lose nothing", alternating},
		{"C7", "several source queues in one pipeline are all checkpointed", severalSources},
		{"C8", "a partial result does not move the position, the final one does", partialResults},
		{"C9", "an instance of a bus-side fan-out checkpoints at <cploc>.<iid>.<reference>, without a condition", fanoutLocation},
		{"C10", "a trailing _reader is no part of a bot's id", readerSuffix},
	}
}

// botItem returns a bot's row as it is stored.
func (w *world) botItem(id string) awstest.Item {
	w.Helper()
	return awstest.GetItem(w, w.bus.Resources().LeoCron, awstest.Key("id", id))
}

// at follows map members of an item.
func at(item awstest.Item, path ...string) types.AttributeValue {
	var v types.AttributeValue = &types.AttributeValueMemberM{Value: item}
	for _, name := range path {
		m, ok := v.(*types.AttributeValueMemberM)
		if !ok {
			return nil
		}
		v = m.Value[name]
	}
	return v
}

// kinds returns the members of a map and the types of their values.
func kinds(v types.AttributeValue) map[string]string {
	out := map[string]string{}
	m, ok := v.(*types.AttributeValueMemberM)
	if !ok {
		return out
	}
	for name, value := range m.Value {
		out[name] = strings.TrimPrefix(fmt.Sprintf("%T", value), "*types.AttributeValueMember")
	}
	return out
}

// nodeCheckpoint moves a checkpoint with the Node SDK.
func (w *world) nodeCheckpoint(bot, queue string, params map[string]any) error {
	w.Helper()
	return w.command("bot", map[string]any{"method": "checkpoint", "args": []any{bot, queue, params}}, nil)
}

func position(ms int64, counter int) string {
	id, err := eid.New(1_795_228_519_000+ms, counter)
	if err != nil {
		panic(err)
	}
	return id.String()
}

func checkpointMembers(w *world) {
	bot, queue := w.name("ours"), w.name("q")
	w.ok(w.sdk.Checkpoint(w.Context(), rstreams.CheckpointRequest{Bot: bot, Queue: queue, Checkpoint: rstreams.Checkpoint{Position: position(1, 1), Records: 3}}))
	theirs := w.name("theirs")
	w.ok(w.nodeCheckpoint(theirs, queue, map[string]any{"eid": position(1, 1), "units": 3, "source_timestamp": 1, "started_timestamp": 2, "ended_timestamp": 3}))
	a := kinds(at(w.botItem(bot), "checkpoints", "read", "queue:"+queue))
	b := kinds(at(w.botItem(theirs), "checkpoints", "read", "queue:"+queue))
	if len(a) != 5 || !maps.Equal(a, b) {
		w.Errorf("ours %v, Node's %v", a, b)
	}
}

func checkpointsShared(w *world) {
	queue := w.name("shared")
	arch := w.putArchive(queue, w.hourAgo(2), 0, 8)
	w.nodeWrite(w.name("writer"), queue, 8, 10, 0, nil)
	all := append(arch, places(w.published(queue, 18))[8:]...)
	for _, i := range []int{2, 7, 8, 12} {
		bot := w.name(fmt.Sprint("ours", i))
		w.ok(w.sdk.Checkpoint(w.Context(), rstreams.CheckpointRequest{Bot: bot, Queue: queue, Checkpoint: rstreams.Checkpoint{Position: all[i].EID}}))
		if got := w.nodeReadAs(bot, queue, nil); !slices.Equal(got, all[i+1:]) {
			w.Errorf("Node after our checkpoint at %d: %v", i, got)
		}
		bot = w.name(fmt.Sprint("theirs", i))
		w.ok(w.nodeCheckpoint(bot, queue, map[string]any{"eid": all[i].EID, "units": 1, "force": true}))
		if got := places(w.read(queue, rstreams.ReadOptions{Bot: bot})); !slices.Equal(got, all[i+1:]) {
			w.Errorf("we after Node's checkpoint at %d: %v", i, got)
		}
	}
	// Inside a snapshot.
	queue = w.name("snap")
	snap := w.putSnapshot(queue, w.hourAgo(1), 0, 6)
	w.nodeWrite(w.name("writer"), queue, 6, 2, 0, nil)
	all = append(snap, places(w.published(queue, 8))[6:]...)
	for _, i := range []int{0, 4, 5} {
		for _, theirs := range []bool{false, true} {
			bot := w.name(fmt.Sprint("snap", theirs, i))
			if theirs {
				w.ok(w.nodeCheckpoint(bot, queue, map[string]any{"eid": all[i].EID, "units": 1, "force": true}))
			} else {
				w.ok(w.sdk.Checkpoint(w.Context(), rstreams.CheckpointRequest{Bot: bot, Queue: queue, Checkpoint: rstreams.Checkpoint{Position: all[i].EID}}))
			}
			if got := w.nodeReadAs(bot, queue, nil); !slices.Equal(got, all[i+1:]) {
				w.Errorf("Node after the checkpoint %s: %v", all[i].EID, got)
			}
			if got := places(w.read(queue, rstreams.ReadOptions{Bot: bot})); !slices.Equal(got, all[i+1:]) {
				w.Errorf("we after the checkpoint %s: %v", all[i].EID, got)
			}
		}
	}
}

func checkpointConditions(w *world) {
	bot, queue := w.name("bot"), w.name("q")
	move := func(to, expected string, force bool) error {
		return w.sdk.Checkpoint(w.Context(), rstreams.CheckpointRequest{
			Bot: bot, Queue: queue, Checkpoint: rstreams.Checkpoint{Position: to}, Expected: expected, Force: force, Backwards: true,
		})
	}
	one, two, three := position(1, 0), position(2, 0), position(3, 0)
	w.ok(move(one, "", false))
	if err := move(two, "", false); !errors.Is(err, rstreams.ErrStaleCheckpoint) {
		w.Errorf("ours with nothing expected where %s is stored: %v", one, err)
	}
	// What Node expects is what it is told, and it sees what we wrote.
	w.ok(w.nodeCheckpoint(bot, queue, map[string]any{"eid": two, "units": 1, "expected": one}))
	if err := w.nodeCheckpoint(bot, queue, map[string]any{"eid": three, "units": 1, "expected": one}); err == nil || !strings.Contains(err.Error(), "Stale") {
		w.Errorf("Node with the wrong position expected: %v", err)
	}
	if err := move(three, one, false); !errors.Is(err, rstreams.ErrStaleCheckpoint) {
		w.Errorf("ours with the wrong position expected: %v", err)
	}
	w.ok(move(three, two, false))
	w.ok(move(one, "", true))
	w.ok(w.nodeCheckpoint(bot, queue, map[string]any{"eid": two, "units": 1, "force": true}))
	c, err := w.sdk.GetCheckpoint(w.Context(), bot, queue)
	if err != nil || c.Position != two {
		w.Errorf("%v %v", c, err)
	}
}

func checkpointConflict(w *world) {
	bot, queue := w.name("bot"), w.name("q")
	w.ok(w.nodeCheckpoint(bot, queue, map[string]any{"eid": position(5, 0), "units": 2}))
	before := w.botItem(bot)
	err := w.sdk.Checkpoint(w.Context(), rstreams.CheckpointRequest{Bot: bot, Queue: queue, Checkpoint: rstreams.Checkpoint{Position: position(6, 0)}})
	if !errors.Is(err, rstreams.ErrStaleCheckpoint) || !strings.Contains(strings.ToLower(err.Error()), "stale checkpoint") {
		w.Errorf("%v", err)
	}
	if after := w.botItem(bot); fmt.Sprint(flat(after)) != fmt.Sprint(flat(before)) {
		w.Errorf("the row changed from %v to %v", flat(before), flat(after))
	}
}

func skeletonRow(w *world) {
	queue := w.name("q")
	w.ok(w.nodeCheckpoint(w.name("theirs"), queue, map[string]any{"eid": position(1, 0), "units": 1, "source_timestamp": 1, "started_timestamp": 1, "ended_timestamp": 1}))
	w.ok(w.sdk.Checkpoint(w.Context(), rstreams.CheckpointRequest{Bot: w.name("ours"), Queue: queue, Checkpoint: rstreams.Checkpoint{Position: position(1, 0)}}))
	theirs, ours := w.botItem(w.name("theirs")), w.botItem(w.name("ours"))
	for name, kind := range kinds(&types.AttributeValueMemberM{Value: theirs}) {
		if got := kinds(&types.AttributeValueMemberM{Value: ours})[name]; got != kind {
			w.Errorf("%s is %q in our skeleton and %q in Node's", name, got, kind)
		}
	}
	w.ok(w.nodeCheckpoint(w.name("ours"), queue, map[string]any{"eid": position(2, 0), "units": 1, "expected": position(1, 0)}))
}

// flat returns an item as text, for comparison.
func flat(item awstest.Item) map[string]string {
	out := map[string]string{}
	var walk func(path string, v types.AttributeValue)
	walk = func(path string, v types.AttributeValue) {
		switch v := v.(type) {
		case *types.AttributeValueMemberM:
			out[path] = "{}"
			for name, value := range v.Value {
				walk(path+"."+name, value)
			}
		case *types.AttributeValueMemberL:
			out[path] = "[]"
			for i, value := range v.Value {
				walk(fmt.Sprintf("%s[%d]", path, i), value)
			}
		case *types.AttributeValueMemberS:
			out[path] = fmt.Sprintf("%q", v.Value)
		case *types.AttributeValueMemberN:
			out[path] = v.Value
		case *types.AttributeValueMemberBOOL:
			out[path] = fmt.Sprint(v.Value)
		case *types.AttributeValueMemberNULL:
			out[path] = "null"
		case *types.AttributeValueMemberB:
			out[path] = fmt.Sprintf("%x", v.Value)
		default:
			out[path] = fmt.Sprintf("%T", v)
		}
	}
	walk("", &types.AttributeValueMemberM{Value: item})
	return out
}

func alternating(w *world) {
	source, derived, bot := w.name("source"), w.name("derived"), w.name("bot")
	const total = 300
	w.write(rstreams.WriterOptions{Bot: w.name("writer"), Queue: source, Chunk: rstreams.ChunkOptions{Records: 25}}, numbered(0, total, 0)...)
	w.published(source, total)
	w.ok(w.sdk.Checkpoint(w.Context(), rstreams.CheckpointRequest{Bot: bot, Queue: source, Checkpoint: rstreams.Checkpoint{Position: "z/"}}))
	seen := func() map[int]int {
		counts := map[int]int{}
		for _, e := range w.read(derived, rstreams.ReadOptions{Start: "z/"}) {
			counts[n(e.Payload)]++
		}
		return counts
	}
	for round := 0; ; round++ {
		if round > 60 {
			w.Fatalf("after %d rounds %d of %d events are derived", round, len(seen()), total)
		}
		c, err := w.sdk.GetCheckpoint(w.Context(), bot, source)
		w.ok(err)
		left := w.read(source, rstreams.ReadOptions{Start: c.Position})
		if len(left) == 0 {
			break
		}
		limit := 10 + 17*round%50
		one := *w
		one.started = nil // A process of its own, as its SDK remembers positions.
		args := map[string]any{"bot": bot, "inQueue": source, "outQueue": derived, "config": map[string]any{"limit": limit}}
		switch round % 8 {
		case 0, 3:
			one.do("enrich", args, nil)
		case 1:
			_, err := w.sdk.Enrich(w.Context(), rstreams.EnrichOptions{
				Bot: bot, From: []string{source}, To: derived, Read: rstreams.ReadOptions{Limit: int64(limit)},
			}, copyEvent)
			w.ok(err)
		case 2: // Node, killed.
			args["dieAfter"], one.mayDie = limit/2, true
			if err := one.command("enrich", args, nil); len(left) >= limit && !errors.Is(err, errDied) {
				w.Errorf("the killed Node process answers %v", err)
			}
		case 4: // Ours, killed.
			w.killed(job{Bot: bot, From: source, To: derived, Limit: limit, DieAfter: min(limit/2, len(left))})
		case 6: // Node, killed when its results are durable and the position is not moved yet.
			args["dieBeforeCheckpoint"], one.mayDie = true, true
			if err := one.command("enrich", args, nil); !errors.Is(err, errDied) {
				w.Errorf("the killed Node process answers %v", err)
			}
		case 7: // Ours, likewise.
			w.killed(job{Bot: bot, From: source, To: derived, Limit: limit, DieAtAck: 1 + round%2})
		case 5: // Ours, whose context ends in the midst.
			ctx, cancel := context.WithCancel(w.Context())
			count := 0
			_, err := w.sdk.Enrich(ctx, rstreams.EnrichOptions{
				Bot: bot, From: []string{source}, To: derived, Read: rstreams.ReadOptions{Limit: int64(limit)},
			}, func(ctx context.Context, e rstreams.Event) (rstreams.Result, error) {
				if count++; count == min(limit/2, len(left)) {
					cancel()
				}
				return copyEvent(ctx, e)
			})
			cancel()
			if err == nil {
				w.Error("a run whose context ended reports success")
			}
		}
	}
	w.eventually("all derived events", func() bool { return len(seen()) == total })
	repeats := 0
	for _, c := range seen() {
		repeats += c - 1
	}
	w.Logf("%d events, %d repeated, none lost", total, repeats)
}

func copyEvent(_ context.Context, e rstreams.Event) (rstreams.Result, error) {
	return rstreams.Emit(e.Payload), nil
}

func severalSources(w *world) {
	var queues []string
	for i := range 3 {
		queue := w.name(fmt.Sprint("source", i))
		queues = append(queues, queue)
		w.nodeWrite(w.name("writer"), queue, 0, 5, 0, nil)
		w.published(queue, 5)
	}
	bot := w.name("bot")
	_, err := w.sdk.Enrich(w.Context(), rstreams.EnrichOptions{
		Bot: bot, From: queues, To: w.name("derived"), Read: rstreams.ReadOptions{From: rstreams.Earliest()},
	}, copyEvent)
	w.ok(err)
	for _, q := range queues {
		c, err := w.sdk.GetCheckpoint(w.Context(), bot, q)
		w.ok(err)
		all := w.read(q, rstreams.ReadOptions{Start: "z/"})
		if c.Position != all[4].EID {
			w.Errorf("the checkpoint on %s is %s, want %s", q, c.Position, all[4].EID)
		}
		if got := w.nodeReadAs(bot, q, nil); len(got) != 0 {
			w.Errorf("Node still finds %v for the bot on %s", got, q)
		}
	}
}

func readerSuffix(w *world) {
	bot, queue := w.name("bot"), w.name("q")
	w.ok(w.sdk.Checkpoint(w.Context(), rstreams.CheckpointRequest{Bot: bot + "_reader", Queue: queue, Checkpoint: rstreams.Checkpoint{Position: position(1, 0)}}))
	w.ok(w.nodeCheckpoint(bot+"_reader", queue, map[string]any{"eid": position(2, 0), "units": 1, "expected": position(1, 0)}))
	row, err := w.store.Bots.Get(w.Context(), bot)
	if err != nil || row.Read["queue:"+queue].Position != position(2, 0) {
		w.Errorf("%+v %v", row.Read, err)
	}
	if _, err := w.store.Bots.Get(w.Context(), bot+"_reader"); !errors.Is(err, store.ErrNotFound) {
		w.Errorf("there is a row with the suffix: %v", err)
	}
}
