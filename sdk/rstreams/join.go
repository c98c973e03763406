package rstreams

import "slices"

// parcel is a record on its way: chunks of one queue, in order.
type parcel struct {
	chunks []*batch
	data   []byte
}

// join adds to each record the chunks that wait behind its own, as further gzip members (C6), as far as they fit. A record is
// accepted or refused as a whole, so that this keeps the order of a queue where further records in the same call would not, and a
// writer with a backlog needs fewer calls.
func (w *Writer) join(parcels []parcel) {
	if !w.joins || w.limits.RecordBytes == 0 {
		return
	}
	most := w.limits.RecordBytes - 1024 // The keys count too.
	total := 0
	for _, p := range parcels {
		total += len(p.data) + 1024
	}
	for i := range parcels {
		p := &parcels[i]
		if p.chunks[0].file != nil || !isGzip(p.data) {
			continue // A pointer travels alone, and so does text that gzip does not shrink.
		}
		for _, b := range w.behind(p.chunks[0]) {
			if b.data == nil {
				data, err := w.record(b)
				if err != nil {
					break // It is met again when it is the first of its queue.
				}
				b.data = data
			}
			n := len(b.data)
			if !isGzip(b.data) || len(p.data)+n > most || w.limits.Bytes > 0 && total+n > w.limits.Bytes {
				break
			}
			if len(p.chunks) == 1 {
				p.data = slices.Clone(p.data) // The first chunk's own is kept for another attempt.
			}
			p.chunks, p.data = append(p.chunks, b), append(p.data, b.data...)
			total += n
		}
	}
}

// behind returns the sealed chunks after b in its queue, up to one that travels in an object.
func (w *Writer) behind(b *batch) []*batch {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []*batch
	from := slices.Index(w.ready, b)
	for _, next := range w.ready[from+1 : min(len(w.ready), from+1+maxScan)] {
		if next.queue != b.queue {
			continue
		}
		if next.file != nil {
			break
		}
		out = append(out, next)
	}
	return out
}

// isGzip tells whether data begins as a gzip member does.
func isGzip(data []byte) bool { return len(data) > 2 && data[0] == 0x1f && data[1] == 0x8b }
