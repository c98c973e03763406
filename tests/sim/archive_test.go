package sim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// archiver is the archive bot: again and again it copies what is not archived of a queue into a blob, and puts the pointer
// into the stream. It does not wait for what it put before, so that its pointers come twice, and overlap.
type archiver struct {
	w     *world
	o     *oracle
	s     *stream
	queue string
	files int
}

func (a *archiver) run(p *proc) {
	for {
		p.sleep(p.between(0, 10*time.Second))
		row, err := a.o.base.Queues.Get(p.w.ctx, a.queue)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			a.w.fail("a queue stays", "%v", err)
			return
		}
		if a.w.settled && row.ArchiveEnd == row.Head {
			return
		}
		var events []publishedEvent
		for _, e := range a.o.queue(a.queue).events {
			if e.id > row.ArchiveEnd {
				events = append(events, e)
			}
		}
		if len(events) == 0 {
			continue
		}
		if !a.w.calm {
			events = events[:1+p.rng.IntN(len(events))]
		}
		c := a.pointer(p, events)
		for a.s.put(p, []*content{c})[0] != nil {
			p.sleep(p.between(0, 200*time.Millisecond))
		}
	}
}

// pointer makes the record of an archive file.
func (a *archiver) pointer(p *proc, events []publishedEvent) *content {
	var blob []byte
	var sections []map[string]any
	size := 0
	for rest := events; len(rest) > 0; {
		n := 1 + p.rng.IntN(len(rest))
		var text bytes.Buffer
		for _, e := range rest[:n] {
			fmt.Fprintf(&text, `{"id":"%s","event":"%s","payload":{"k":"%s"},"eid":"%s","timestamp":1}`+"\n", botOf(e.key), a.queue, e.key, e.id)
		}
		member := compress(text.Bytes())
		sections = append(sections, map[string]any{
			"event": a.queue, "start": rest[0].id, "end": rest[n-1].id, "records": n, "size": text.Len(), "gzipSize": len(member),
			"offset": size, "gzipOffset": len(blob),
		})
		blob = append(blob, member...)
		size += text.Len()
		rest = rest[n:]
	}
	a.files++
	ref, _, err := a.o.base.Blobs.Put(p.w.ctx, fmt.Sprintf("bus/%s/archive-%d.gz", a.queue, a.files), bytes.NewReader(blob))
	if err != nil {
		p.w.fail("blobs can be stored", "%v", err)
	}
	text, err := json.Marshal(map[string]any{
		"event": a.queue, "archive": true, "start": events[0].id, "end": events[len(events)-1].id, "records": len(events),
		"s3": ref, "offsets": sections, "gzipSize": len(blob), "size": size, "stats": map[string]any{}, "correlations": []any{},
		"timestamp": epoch.UnixMilli(), "event_source_timestamp": epoch.UnixMilli(),
	})
	if err != nil {
		p.w.fail("pointers can be encoded", "%v", err)
	}
	p.w.note(p.name, "archives %s..%s", short(events[0].id), short(events[len(events)-1].id))
	return &content{partition: "archive", hash: hashKey("archive"), data: compress(append(text, '\n')), maybe: [][]byte{text}}
}

// eidOf returns the id that an archived line carries.
func eidOf(text []byte) string {
	const mark = `"eid":"`
	i := bytes.Index(text, []byte(mark))
	if i < 0 {
		return ""
	}
	text = text[i+len(mark):]
	if i = bytes.IndexByte(text, '"'); i < 0 {
		return ""
	}
	return string(text[:i])
}
