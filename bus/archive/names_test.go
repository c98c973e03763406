package archive_test

import (
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/archive"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// TestQueuesWithLongNamesAreArchivedAsFarAsTheirItemsCanBeStored: each section of an object names its queue in the object's item (W-P2),
// and the archive's own name has to be a key.
func TestQueuesWithLongNamesAreArchivedAsFarAsTheirItemsCanBeStored(t *testing.T) {
	w := newWorld(t)
	long, longest := strings.Repeat("l", ref.MaxQueueBytes-len(store.ArchiveSuffix)), strings.Repeat("m", ref.MaxQueueBytes)
	const events = 400
	w.write(long, 0, events)
	w.write(longest, 0, 1)
	w.now = w.now.Add(24 * 3600e9)
	cfg := w.config("a")
	cfg.SectionBytes, cfg.ObjectBytes = 1, 1<<30
	res, err := archive.New(w.store, cfg).Run(t.Context())
	if err != nil || res.Events != events {
		t.Fatalf("%+v, %v", res, err)
	}
	var archived int64
	for _, c := range w.chunks(long + store.ArchiveSuffix) {
		archived += c.Records
		if table := len(c.Offsets) * (len(long) + 140); table > store.MaxInlineItem {
			t.Errorf("the %d sections of %s take %d bytes of an item", len(c.Offsets), c.End, table)
		}
	}
	if archived != events {
		t.Errorf("%d events are archived", archived)
	}
	if blobs, err := w.store.Blobs.List(t.Context(), "", "", 100); err != nil || len(blobs) != res.Objects {
		t.Errorf("%d objects, %d blobs, %v", res.Objects, len(blobs), err)
	}
}
