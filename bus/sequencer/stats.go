package sequencer

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/eid"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// add appends a numbered chunk and what it says of its writers.
func (n *numbered) add(queue string, c store.Chunk, bots []botStat, first eid.ID, base int64) {
	n.chunks = append(n.chunks, c)
	n.last = c.End
	for _, b := range bots {
		position := c.End
		if !c.Archive {
			if id, err := first.Add(int(min(b.last, c.Records-1))); err == nil {
				position = id.String()
			}
		}
		i := slices.IndexFunc(n.stats, func(p store.Produced) bool { return p.Bot == b.bot })
		if i < 0 {
			i = len(n.stats)
			n.stats = append(n.stats, store.Produced{Bot: b.bot, Ref: ref.QueueRef(queue)})
		}
		p := &n.stats[i]
		p.Position = position // The id of a real event, not one relative to its chunk (W-O7).
		p.Records += b.units
		p.SourceTimestamp = max(p.SourceTimestamp, b.source)
		p.StartedTimestamp = max(p.StartedTimestamp, b.stamp)
		p.EndedTimestamp = base
	}
}

// pointerLast returns the index, in the blob, of a bot's last event. The statistics of a pointer say it relative to the last
// section that the bot wrote in, which they do not name: with one bot that is the last section.
func pointerLast(p *chunk.Pointer, s chunk.Stat) int64 {
	if len(p.Stats) == 1 || len(p.Offsets) == 0 {
		return p.Records - 1
	}
	var index int64
	if err := json.Unmarshal(s.Checkpoint, &index); err != nil || index < 0 {
		return p.Records - 1
	}
	return min(p.Offsets[len(p.Offsets)-1].Start+index, p.Records-1)
}

// mergeStats adds the statistics of one queue's further streams.
func mergeStats(into, more []store.Produced) []store.Produced {
	for _, p := range more {
		i := slices.IndexFunc(into, func(o store.Produced) bool { return o.Bot == p.Bot && o.Ref == p.Ref })
		if i < 0 {
			into = append(into, p)
			continue
		}
		o := &into[i]
		o.Position = p.Position
		o.Records += p.Records
		o.SourceTimestamp = max(o.SourceTimestamp, p.SourceTimestamp)
		o.StartedTimestamp = max(o.StartedTimestamp, p.StartedTimestamp)
		o.EndedTimestamp = max(o.EndedTimestamp, p.EndedTimestamp)
	}
	slices.SortStableFunc(into, func(a, b store.Produced) int {
		return strings.Compare(a.Bot+"\x00"+a.Ref, b.Bot+"\x00"+b.Ref)
	})
	return into
}
