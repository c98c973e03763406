package sim

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
)

// writer is a bot that writes events. Its events carry "<writer>.<number>", which no other event of the run has.
type writer struct {
	p    *proc
	w    *world
	name string
	// mixed writers put everything into one shard (hash key 0), with events of several queues in a record, as leo-sdk
	// does. The others put each queue's events under the queue's own partition key.
	mixed bool
	// careful writers have one record under way for each partition key, so that their order survives failures. The others
	// send again what failed, after what succeeded.
	careful bool
	number  int
	records int
	base    store.Store
	// committed is what a direct writer knows to be stored, in order.
	committed []*content
}

// run writes all records through the stream.
func (wr *writer) run(s *stream) {
	p := wr.p
	for left := wr.records; left > 0; {
		batch := 1
		if !wr.careful {
			batch = 1 + p.rng.IntN(4)
		}
		var list []*content
		for range min(batch, left) {
			list = append(list, wr.content())
		}
		left -= len(list)
		for len(list) > 0 {
			var again []*content
			for i, err := range s.put(p, list) {
				if err != nil {
					again = append(again, list[i])
				} else {
					list[i].acknowledged = true
				}
			}
			if list = again; len(list) > 0 {
				p.sleep(p.between(0, 200*time.Millisecond))
			}
		}
		wr.rest()
	}
}

// direct writes all records by calling the sequencer, as the embedded bus's intake does.
func (wr *writer) direct(o *oracle, onHead func(queue, head string)) {
	p := wr.p
	for n := range wr.records {
		c := wr.content()
		c.sequence = n + 1
		for attempt := 1; ; attempt++ {
			call := p.w.process(p.ctx, fmt.Sprintf("%s#%d.%d", wr.name, n, attempt))
			st, commits := connect(call, o, true)
			s := sequencer.New(st, p.w.sequencing(func(k *sequencer.Config) { k.Owner, k.OnPublish = wr.name, onHead }))
			ctx, cancel := invocation(call)
			_, err := p.w.sequence(ctx, s, sequencer.Batch{Records: []sequencer.Record{
				{Sequence: fmt.Sprint(c.sequence), Arrival: p.w.now().UnixMilli(), Data: c.data},
			}})
			cancel()
			p.turn("published")
			if *commits > 0 {
				// Stored, whatever the writer was told: if it was told otherwise, it will write again.
				wr.committed = append(wr.committed, c)
			}
			died := call.dead
			call.cancel(nil)
			if err == nil && !died {
				if *commits == 0 && len(c.lines)+len(c.dead) > 0 {
					p.w.fail("acknowledged means stored", "%s record %d was acknowledged without a commit", wr.name, n)
				}
				c.acknowledged = true
				break
			}
			p.sleep(p.between(0, 200*time.Millisecond))
		}
		wr.rest()
	}
}

func (wr *writer) rest() {
	if d := wr.p.w.plan.pause; d > 0 {
		wr.p.sleep(wr.p.between(0, d))
	}
}

// content makes the next record.
func (wr *writer) content() *content {
	r := wr.p.rng
	plan := &wr.w.plan
	c := &content{writer: wr, partition: "0"}
	queue := wr.queue()
	if !wr.mixed {
		c.partition, c.hash = queue, hashKey(queue)
	}
	if chance(r, plan.pointers) {
		wr.pointer(c, queue)
		return c
	}
	if chance(r, plan.poison/4) {
		c.data = bytes.Repeat([]byte{0xff, byte(r.IntN(256)), 'x'}, 1+r.IntN(20))
		c.dead = [][]byte{c.data}
		return c
	}
	var text bytes.Buffer
	for range 1 + r.IntN(plan.events) {
		if wr.mixed {
			queue = wr.queue()
		}
		if chance(r, plan.poison) {
			wr.badLine(c, &text, queue)
			continue
		}
		wr.line(c, &text, queue)
	}
	if plan.big && r.IntN(10) == 0 {
		wr.bigLine(c, &text, queue)
	}
	wr.encode(c, text.Bytes())
	return c
}

func (wr *writer) queue() string { return fmt.Sprintf("q%d", wr.p.rng.IntN(wr.w.plan.queues)) }

// key returns the next event's identity.
func (wr *writer) key() string {
	wr.number++
	return fmt.Sprintf("%s.%d", wr.name, wr.number)
}

// line adds an event, in one of the shapes that writers use.
func (wr *writer) line(c *content, text *bytes.Buffer, queue string) {
	r := wr.p.rng
	key := wr.key()
	pad := ""
	if n := wr.w.plan.padding; n > 0 {
		pad = `,"p":"` + strings.Repeat("x", r.IntN(n)) + `"`
	}
	name := queue
	if chance(r, wr.w.plan.snapshots) {
		wr.snapshot(c, text, queue, key)
		return
	}
	if r.IntN(4) == 0 {
		name = "queue:" + queue
	}
	extra := ""
	switch r.IntN(6) {
	case 0:
		extra = fmt.Sprintf(`,"timestamp":%d,"event_source_timestamp":%d`, epoch.UnixMilli(), epoch.UnixMilli()-5)
	case 1:
		extra = `,"units":3,"correlation_id":{"source":"queue:src","start":"z/2026"}`
	case 2:
		extra = `,"eid":7,"unknown":[1,2.50]`
	}
	fmt.Fprintf(text, `{"id":"%s","event":"%s","payload":{"k":"%s"%s}%s}`+"\n", wr.name, name, key, pad, extra)
	c.lines = append(c.lines, line{queue, key})
}

// snapshot adds an event of one of two snapshots, or registers it.
func (wr *writer) snapshot(c *content, text *bytes.Buffer, queue, key string) {
	ms := epoch.Add(-time.Duration(wr.p.rng.IntN(2)) * time.Hour).UnixMilli()
	if wr.p.rng.IntN(3) == 0 {
		fmt.Fprintf(text, `{"_cmd":"registerSnapshot","event":"%s","start":%d,"next":%d}`+"\n", queue, ms, ms)
		return
	}
	fmt.Fprintf(text, `{"id":"%s","event":"%s","payload":{"k":"%s"},"snapshot":%d}`+"\n", wr.name, queue, key, ms)
	c.lines = append(c.lines, line{queue + store.SnapshotSuffix, key})
}

// bigLine adds an event that cannot be compressed below the limit of an inline chunk.
func (wr *writer) bigLine(c *content, text *bytes.Buffer, queue string) {
	if wr.w.plan.lineLength > 0 {
		return
	}
	key := wr.key()
	fmt.Fprintf(text, `{"id":"%s","event":"%s","payload":{"k":"%s","p":"`, wr.name, queue, key)
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ+-"
	for range 560_000 {
		text.WriteByte(letters[wr.p.rng.IntN(len(letters))])
	}
	text.WriteString("\"}}\n")
	c.lines = append(c.lines, line{queue, key})
}

// badLine adds a line that is no event, or one that the bus is to ignore.
func (wr *writer) badLine(c *content, text *bytes.Buffer, queue string) {
	key := wr.key()
	bad := pick(wr.p.rng,
		`{"id":"a","event":`, `[1,2]`, `null`, `"text"`, `{"id":"a" "event":"q"}`,
		`{"event":"`+queue+`","payload":{"k":"`+key+`"}}`,
		`{"id":"`+wr.name+`","event":"`+queue+`"}`,
		`{"id":"`+wr.name+`","event":"`+queue+`","payload":null}`,
		`{"id":"`+wr.name+`","event":"`+queue+`","payload":0}`,
		`{"id":"`+wr.name+`","payload":{"k":"`+key+`"}}`,
		`{"id":"`+wr.name+`","event":"`+queue+`/_archive","payload":{"k":"`+key+`"}}`,
		`{"id":"`+wr.name+`","event":"`+queue+`","s3":{"bucket":"elsewhere","key":"x"},"records":0}`,
		"", "\r", `{"_cmd":"unheard","event":"`+queue+`"}`,
	)
	text.WriteString(bad + "\n")
	if !strings.Contains(bad, "_cmd") && strings.TrimSpace(bad) != "" {
		c.dead = append(c.dead, []byte(bad))
	}
}

var gzipWriters = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, 1) // 1 is a level.
	return w
}}

func compress(text []byte) []byte {
	var b bytes.Buffer
	w := gzipWriters.Get().(*gzip.Writer)
	defer gzipWriters.Put(w)
	w.Reset(&b)
	_, _ = w.Write(text) // A buffer does not fail.
	_ = w.Close()
	return b.Bytes()
}

// encode chooses one of the forms of bus.md 2.4.
func (wr *writer) encode(c *content, text []byte) {
	r := wr.p.rng
	limit := wr.w.plan.lineLength
	defer func() {
		// Lines over the limit are dead, with their whole record as evidence.
		if limit == 0 {
			return
		}
		kept := c.lines[:0:0]
		rest := text
		for len(rest) > 0 {
			l, more, _ := bytes.Cut(rest, []byte("\n"))
			rest = more
			if len(l) <= limit {
				continue
			}
			key := keyOf(l)
			for i, k := range c.lines {
				if k.key == key {
					c.lines[i].key = ""
				}
			}
			c.dead = append(c.dead, c.data)
		}
		for _, k := range c.lines {
			if k.key != "" {
				kept = append(kept, k)
			}
		}
		c.lines = kept
	}()
	switch form := r.IntN(8); {
	case form == 0 && bytes.HasPrefix(text, []byte(`{"`)):
		c.data = text
	case form == 1:
		var b bytes.Buffer
		z := zlib.NewWriter(&b)
		_, _ = z.Write(text)
		_ = z.Close()
		c.data = b.Bytes()
	case form == 2:
		half := bytes.IndexByte(text, '\n') + 1
		c.data = append(compress(text[:half]), compress(text[half:])...)
	case form == 3 && chance(r, wr.w.plan.poison):
		c.data = append(compress(text), "this is no gzip member"...)
		c.dead = append(c.dead, c.data)
	default:
		c.data = compress(text)
	}
}

// pointer puts events into a blob and makes the record that stands for them.
func (wr *writer) pointer(c *content, queue string) {
	r := wr.p.rng
	var blob []byte
	var sections []map[string]any
	records, size := 0, 0
	for range 1 + r.IntN(3) {
		var text bytes.Buffer
		n := 1 + r.IntN(5)
		for range n {
			key := wr.key()
			fmt.Fprintf(&text, `{"id":"%s","event":"%s","payload":{"k":"%s"},"eid":%d,"timestamp":%d}`+"\n",
				wr.name, queue, key, len(c.lines), epoch.UnixMilli())
			c.lines = append(c.lines, line{queue, key})
		}
		member := compress(text.Bytes())
		sections = append(sections, map[string]any{
			"event": queue, "start": records, "end": records + n - 1, "records": n, "size": text.Len(), "gzipSize": len(member),
			"offset": size, "gzipOffset": len(blob),
		})
		blob = append(blob, member...)
		records += n
		size += text.Len()
	}
	ref, _, err := wr.base.Blobs.Put(wr.p.ctx, fmt.Sprintf("bus/%s/%s-%d.gz", queue, wr.name, wr.number), bytes.NewReader(blob))
	if err != nil {
		wr.p.check()
		wr.w.fail("blobs can be stored", "%v", err)
	}
	text, err := json.Marshal(map[string]any{
		"event": queue, "start": nil, "end": records - 1, "records": records, "s3": ref, "offsets": sections,
		"gzipSize": len(blob), "size": size,
		"stats": map[string]any{wr.name: map[string]any{
			"start": epoch.UnixMilli(), "end": epoch.UnixMilli(), "units": records, "checkpoint": records - 1,
		}},
		"correlations": []any{}, "timestamp": epoch.UnixMilli(), "event_source_timestamp": epoch.UnixMilli(),
	})
	if err != nil {
		wr.w.fail("pointers can be encoded", "%v", err)
	}
	if limit := wr.w.plan.lineLength; limit > 0 && len(text) > limit {
		c.data = compress(append(text, '\n'))
		c.lines, c.dead = nil, [][]byte{c.data}
		return
	}
	c.data = compress(append(text, '\n'))
}

// keyOf returns the identity in a stored or written line, "" where there is none.
func keyOf(text []byte) string {
	const mark = `"payload":{"k":"`
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

// botOf returns the writer of an event with this identity.
func botOf(key string) string {
	name, _, _ := strings.Cut(key, ".")
	return name
}
