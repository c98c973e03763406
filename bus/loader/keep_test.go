package loader_test

import (
	"errors"
	"testing"

	"github.com/rstreams-go/rstreams/bus/loader"
	"github.com/rstreams-go/rstreams/bus/store"
)

// Copies under the prefix that is loaded from would be loaded again, and copied again, for ever.
func TestCopiesAreNotKeptWhereTheyWouldBeLoadedAgain(t *testing.T) {
	w := newWorld(t)
	w.deliver(1, line("q", 0))
	cfg := w.config("a")
	cfg.Keep = loader.Prefix + "done/"
	if res, err := loader.New(w.store, cfg).Load(t.Context()); !errors.Is(err, store.ErrInvalid) || res.Events != 0 {
		t.Errorf("%+v, %v", res, err)
	}
	cfg.Keep = ""
	cfg.Prefix = "files/"
	if res, err := loader.New(w.store, cfg).Load(t.Context()); !errors.Is(err, store.ErrInvalid) || res.Events != 0 {
		t.Errorf("%+v, %v", res, err)
	}
}
