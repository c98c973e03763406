//go:build aws

package crash

import (
	"encoding/json"
	"io"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/store"
)

// verify checks that the bus holds what the shards' writers wrote, and nothing else.
func verify(t *testing.T, st store.Store, shards []*shard) {
	t.Helper()
	for _, queue := range queueNames {
		next := make([]int, len(shards))
		lines := events(t, st, queue)
		for _, l := range lines {
			var e struct {
				ID, Event string
				Payload   struct{ Shard, N int }
			}
			if err := json.Unmarshal([]byte(l), &e); err != nil {
				t.Fatalf("queue %s: %v: %.200s", queue, err, l)
			}
			if e.Event != queue || e.Payload.Shard >= len(shards) {
				t.Fatalf("queue %s has %.200s", queue, l)
			}
			if want := next[e.Payload.Shard]; e.Payload.N != want {
				t.Fatalf("queue %s has event %d of shard %d where %d was to come", queue, e.Payload.N, e.Payload.Shard, want)
			}
			next[e.Payload.Shard]++
		}
		for i, s := range shards {
			if next[i] != s.queues[queue] {
				t.Errorf("queue %s has %d events of shard %d, %d were written", queue, next[i], i, s.queues[queue])
			}
		}
		statistics(t, st, queue, len(shards))
	}
	letters := map[string]int{}
	for _, l := range events(t, st, deadletter.Queue) {
		var e struct{ Payload json.RawMessage }
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatal(err)
		}
		letter, err := deadletter.Parse(e.Payload)
		if err != nil {
			t.Fatal(err)
		}
		letters[string(letter.Bytes())]++
	}
	bad := 0
	for _, s := range shards {
		bad += s.bad
	}
	if len(letters) != bad {
		t.Errorf("%d dead letters, want %d", len(letters), bad)
	}
	for raw, n := range letters {
		if n != 1 {
			t.Errorf("%q has %d dead letters", raw, n)
		}
	}
}

// events returns the lines of a queue, and checks its chunks and its head (C20-C24, C30, C32).
func events(t *testing.T, st store.Store, queue string) (out []string) {
	t.Helper()
	row, err := st.Queues.Get(t.Context(), queue)
	if err != nil {
		t.Fatal(err)
	}
	if row.Sequencing.Open {
		t.Errorf("queue %s is still claimed: %+v", queue, row.Sequencing)
	}
	prev := ""
	for {
		page, err := st.Chunks.Query(t.Context(), queue, prev, "z0", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i := range page.Chunks {
			c := &page.Chunks[i]
			first, err := eid.Parse(c.Start)
			if err != nil {
				t.Fatal(err)
			}
			last, err := first.Add(int(c.Records - 1))
			if err != nil || last.String() != c.End || c.Start <= prev || c.Prev != prev {
				t.Errorf("queue %s: chunk %s..%s with %d events says that it follows %s, and comes after %s",
					queue, c.Start, c.End, c.Records, c.Prev, prev)
			}
			lines := body(t, st, c)
			if int64(len(lines)) != c.Records {
				t.Errorf("queue %s: chunk %s has %d lines and says %d", queue, c.End, len(lines), c.Records)
			}
			for i, l := range lines {
				var e struct{ EID *int }
				if err := json.Unmarshal([]byte(l), &e); err != nil || e.EID == nil || *e.EID != i {
					t.Errorf("queue %s: chunk %s, line %d: %v, %.200s", queue, c.End, i, err, l)
				}
			}
			out = append(out, lines...)
			prev = c.End
		}
		if !page.More {
			break
		}
	}
	if row.Head != prev {
		t.Errorf("queue %s has its head at %s, its last chunk ends at %s", queue, row.Head, prev)
	}
	return out
}

func body(t *testing.T, st store.Store, c *store.Chunk) (lines []string) {
	t.Helper()
	gz := c.Gzip
	if c.Blob != nil {
		r, err := st.Blobs.Get(t.Context(), *c.Blob, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if gz, err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	text, err := chunk.AppendGunzip(nil, gz, 64<<20)
	if err != nil || int64(len(text)) != c.Size || int64(len(gz)) != c.GzipSize {
		t.Errorf("chunk %s: %d bytes, %d compressed, says %d and %d: %v", c.End, len(text), len(gz), c.Size, c.GzipSize, err)
	}
	for l := range strings.Lines(string(text)) {
		lines = append(lines, l)
	}
	return lines
}

// statistics checks that what the bots wrote last, as their rows say, is an event of the queue.
func statistics(t *testing.T, st store.Store, queue string, shards int) {
	t.Helper()
	row, err := st.Queues.Get(t.Context(), queue)
	if err != nil {
		t.Fatal(err)
	}
	for i := range shards {
		bot, err := st.Bots.Get(t.Context(), "writer-"+string(rune('0'+i)))
		if err != nil {
			t.Fatal(err)
		}
		if w := bot.Write["queue:"+queue]; w.Position == "" || w.Position > row.Head {
			t.Errorf("bot %s wrote %s to %s, whose head is %s", bot.ID, w.Position, queue, row.Head)
		}
	}
}
