//go:build aws

package interop

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func idRows() []row {
	return []row{
		{"E1", "event ids and positions are made and parsed as by Node", eventIDs},
		{"E2", "10,000 pairs of positions compare as in Node, by locale and by code", comparisons},
		{"E3", "positions outside the alphabet are refused", badPositions},
		{"E4", "names resolve to the same references", references},
		{"E5", "a counter over seven digits is an error, never a wrap", counterOverflow},
	}
}

func eventIDs(w *world) {
	names := map[string]eid.Granularity{
		"millisecond": eid.Millisecond, "second": eid.Second, "minute": eid.Minute, "hour": eid.Hour, "date": eid.Date,
		"month": eid.Month, "year": eid.Year,
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var calls [][]any
	var want []string
	var positions []string
	for range 200 {
		ms := 1_500_000_000_000 + rng.Int64N(400_000_000_000)
		for name, g := range names {
			calls = append(calls, []any{ms, name})
			p, err := eid.FromTime(time.UnixMilli(ms), g)
			w.ok(err)
			want = append(want, p)
			positions = append(positions, p)
		}
		counter := rng.IntN(10_000_000)
		id, err := eid.New(ms, counter)
		w.ok(err)
		calls = append(calls, []any{ms, "full", counter})
		want = append(want, id.String())
		positions = append(positions, id.String())
	}
	bad := []string{"z/", "1234", "_snapshot/z/2024/01/01", "nonsense", ""}
	var got struct {
		Make  []any
		Parse []any
	}
	w.do("ids", map[string]any{"make": calls, "parse": append(positions, bad...)}, &got)
	for i := range want {
		if got.Make[i] != want[i] {
			w.Errorf("%v: Node makes %v, we %s", calls[i], got.Make[i], want[i])
		}
		at, err := eid.Time(positions[i])
		w.ok(err)
		if ms, _ := got.Parse[i].(json.Number); string(ms) != fmt.Sprint(at.UnixMilli()) {
			w.Errorf("%s: Node says %v, we %d", positions[i], got.Parse[i], at.UnixMilli())
		}
	}
	for i, p := range bad {
		if _, isNumber := got.Parse[len(want)+i].(json.Number); isNumber {
			w.Errorf("Node finds a time in %q: %v", p, got.Parse[len(want)+i])
		}
		if at, err := eid.Time(p); err == nil {
			w.Errorf("we find a time in %q: %v", p, at)
		}
	}
}

func comparisons(w *world) {
	rng := rand.New(rand.NewPCG(3, 4))
	position := func() string {
		id, err := eid.New(1_795_228_519_000+rng.Int64N(200_000), rng.IntN(2000))
		w.ok(err)
		p := id.String()
		switch rng.IntN(5) {
		case 0:
			p = p[:rng.IntN(len(p)-2)+2]
		case 1:
			p += " "
		case 2:
			p = "_snapshot/" + p
		}
		return p
	}
	pairs := make([][2]string, 10_000)
	for i := range pairs {
		pairs[i] = [2]string{position(), position()}
		if i%10 == 0 {
			pairs[i][1] = pairs[i][0]
		}
	}
	var got struct{ Compare [][2]int }
	w.do("ids", map[string]any{"compare": pairs}, &got)
	for i, p := range pairs {
		ours := eid.Compare(p[0], p[1])
		if g := got.Compare[i]; g[1] != ours || cmp.Compare(g[0], 0) != ours {
			w.Errorf("%q and %q: Node %v, we %d", p[0], p[1], g, ours)
		}
	}
}

func badPositions(w *world) {
	queue := w.name("q")
	for _, p := range []string{"z/2024/Ä", "y/2024", "z/2024\n", "2024", "Z/2024", "z/2024A", "z:2024", "z/2024/01/02/03/04/1704164645678_0000005", "z/２０２４"} {
		if err := eid.ValidatePosition(p); !errors.Is(err, eid.ErrInvalid) {
			w.Errorf("%q passes for a position: %v", p, err)
		}
		for _, err := range w.sdk.Read(w.Context(), queue, rstreams.ReadOptions{Start: p}) {
			if !errors.Is(err, eid.ErrInvalid) {
				w.Errorf("a read from %q: %v", p, err)
			}
		}
		err := w.sdk.Checkpoint(w.Context(), rstreams.CheckpointRequest{Bot: w.name("b"), Queue: queue, Checkpoint: rstreams.Checkpoint{Position: p}, Force: true})
		if !errors.Is(err, eid.ErrInvalid) {
			w.Errorf("a checkpoint at %q: %v", p, err)
		}
	}
}

func references(w *world) {
	names := []string{"q", "queue:q", "QUEUE:q", "x:queue:q", "system:s", "bot:b", "system.s", "bot.b", "e_foo", "s_x", "b_bar", "queue:a:b",
		"s_s_q", "queue:s_q", "system:e_s", "bot:b_b", "a.b.c", "a-b_c", "Bot:B", "s_queue:x", "e_bot:y"}
	var got []struct{ RefID, Queue, BotRefID string }
	w.do("refs", map[string]any{"names": names}, &got)
	for i, name := range names {
		r, b := ref.Parse(name), ref.ParseBot(name)
		if r.String() != got[i].RefID || r.Queue() != got[i].Queue || b.String() != got[i].BotRefID {
			w.Errorf("%s: Node %+v, we %s, %s, %s", name, got[i], r, r.Queue(), b)
		}
	}
}

func counterOverflow(w *world) {
	if id, err := eid.New(1_795_228_519_000, eid.MaxCounter+1); err == nil {
		w.Errorf("counter %d gives %s", eid.MaxCounter+1, id)
	}
	id, err := eid.New(1_795_228_519_000, eid.MaxCounter)
	w.ok(err)
	if next, err := id.Add(1); err == nil {
		w.Errorf("the id after %s is %s", id, next)
	}
}
