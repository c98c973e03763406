//go:build aws

package interop

import (
	"log/slog"
	"os"

	"github.com/rstreams-go/rstreams/bus/loader"
	"github.com/rstreams-go/rstreams/bus/sequencer"
)

// loadFirehose publishes what the Firehose service has left in the bucket, as the deployed loader does on a schedule.
func (w *world) loadFirehose() {
	w.Helper()
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	l := loader.New(w.store, loader.Config{
		Bucket: w.bus.Resources().LeoS3, Owner: "interop-" + w.row, Logger: quiet, Sequencer: sequencer.Config{Logger: quiet},
	})
	w.eventually("an object of the Firehose service", func() bool {
		page, err := w.store.Blobs.List(w.Context(), loader.Prefix, "", 1)
		w.ok(err)
		return len(page) > 0
	})
	r, err := l.Load(w.Context())
	w.ok(err)
	if r.Busy {
		w.Fatal("another loader is at work")
	}
}
