//go:build aws

package interop

import (
	"context"
	"io"
	"time"

	"github.com/rstreams-go/rstreams/bus/archive"
	"github.com/rstreams-go/rstreams/bus/loader"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
)

// loadFirehose publishes what the Firehose service has left in the bucket, as the deployed loader does on a schedule.
func (w *world) loadFirehose() {
	w.Helper()
	l := loader.New(w.store, loader.Config{
		Bucket: w.bus.Resources().LeoS3, Owner: "interop-" + w.row, Logger: w.log, Sequencer: sequencer.Config{Logger: w.log},
	})
	w.firehoseObjects()
	r, err := l.Load(w.Context())
	w.ok(err)
	if r.Busy {
		w.Fatal("another loader is at work")
	}
}

// firehoseObjects waits until the Firehose service has left something in the bucket, and returns what its objects hold.
func (w *world) firehoseObjects() []string {
	w.Helper()
	var list []store.BlobInfo
	w.eventually("an object of the Firehose service", func() bool {
		var err error
		list, err = w.store.Blobs.List(w.Context(), loader.Prefix, "", 1000)
		w.ok(err)
		return len(list) > 0
	})
	var out []string
	for _, o := range list {
		r, err := w.store.Blobs.Get(w.Context(), store.BlobRef{Bucket: w.bus.Resources().LeoS3, Key: o.Key}, 0, -1)
		w.ok(err)
		body, err := io.ReadAll(r)
		w.ok(err)
		w.ok(r.Close())
		out = append(out, string(body))
	}
	return out
}

// archive archives everything of one queue, as the deployed archiver does with what is old enough.
func (w *world) archive(queue string) {
	w.Helper()
	st := w.store
	st.Queues = oneQueue{st.Queues, queue}
	a := archive.New(st, archive.Config{
		Owner: "interop-" + w.row, Age: time.Nanosecond, Settle: time.Nanosecond, SectionBytes: 500, Logger: w.log,
		Sequencer: sequencer.Config{Logger: w.log, Bucket: w.bus.Resources().LeoS3},
	})
	_, err := a.Run(w.Context())
	w.ok(err)
}

// oneQueue lists one queue only: the other rows' have faults on purpose.
type oneQueue struct {
	store.Queues
	name string
}

func (q oneQueue) List(ctx context.Context, after string, limit int) ([]store.Queue, error) {
	if after >= q.name {
		return nil, nil
	}
	row, err := q.Get(ctx, q.name)
	return []store.Queue{row}, err
}
