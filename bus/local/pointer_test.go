package local

import (
	"bytes"
	"testing"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/store"
)

func TestAPointerToABlobThatIsNotThereIsADeadLetter(t *testing.T) {
	b := open(t, t.TempDir())
	good, _, err := b.Store().Blobs.Put(t.Context(), "bus/q/1.gz", bytes.NewReader(chunk.AppendGzip(nil, line("b", "q", 0))))
	if err != nil {
		t.Fatal(err)
	}
	size := int64(len(chunk.AppendGzip(nil, line("b", "q", 0))))
	pointer := func(blob store.BlobRef, size int64) []byte {
		text, err := chunk.AppendPointer(nil, &chunk.Pointer{
			Queue: "q", Blob: blob, Records: 1, Size: int64(len(line("b", "q", 0))), GzipSize: size,
			Offsets: []store.Offset{{Event: "q", Records: 1, Size: int64(len(line("b", "q", 0))), GzipSize: size}},
		})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	putAll(t, b,
		pointer(store.BlobRef{Bucket: good.Bucket, Key: "bus/q/absent.gz"}, size), pointer(store.BlobRef{Bucket: "other", Key: good.Key}, size),
		pointer(good, size+1), pointer(good, size), line("b", "q", 2))
	page, err := b.Store().Chunks.Query(t.Context(), "q", "", "z0", 0, 0)
	if err != nil || len(page.Chunks) != 2 {
		t.Fatalf("the queue has %d chunks, %v", len(page.Chunks), err)
	}
	for _, c := range page.Chunks {
		if c.Blob == nil {
			continue
		}
		body, err := b.Store().Blobs.Get(t.Context(), *c.Blob, 0, -1)
		if err != nil {
			t.Fatalf("a reader of %s stops at: %v", c.End, err)
		}
		_ = body.Close()
	}
	if got := lines(t, b, deadletter.Queue); len(got) != 3 {
		t.Errorf("%d dead letters: %v", len(got), got)
	}
}
