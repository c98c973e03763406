package loader_test

import (
	"slices"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/loader"
)

// TestALoaderWhoseNoteIsLostPublishesWhatIsPending: a setting may be deleted, or restored from a copy that is older. The numbers of the
// records must not begin anew then, or new events would pass for repeats of old ones, and their objects be deleted.
func TestALoaderWhoseNoteIsLostPublishesWhatIsPending(t *testing.T) {
	w := newWorld(t)
	load := func(n int, events ...int) {
		t.Helper()
		text := ""
		for _, e := range events {
			text += line("q", e)
		}
		w.deliver(n, text)
		w.now = w.now.Add(time.Minute)
		res, err := loader.New(w.store, w.config("a")).Load(t.Context())
		if err != nil || res.Events != int64(len(events)) || res.Repeats != 0 {
			t.Errorf("object %d: %+v, %v", n, res, err)
		}
	}
	load(0, 0, 1)
	old, err := w.store.Settings.Get(t.Context(), loader.Setting)
	if err != nil {
		t.Fatal(err)
	}
	load(1, 2)
	load(2, 3, 4)
	if err := w.store.Settings.Delete(t.Context(), loader.Setting); err != nil {
		t.Fatal(err)
	}
	load(3, 5)
	if err := w.store.Settings.Put(t.Context(), loader.Setting, old); err != nil {
		t.Fatal(err)
	}
	load(4, 6, 7)
	if got := w.numbers("q"); !slices.Equal(got, upTo(8)) {
		t.Errorf("q has %v", got)
	}
}
