package store_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
)

func TestWhatEveryBackendRefusesIsToldBeforehand(t *testing.T) {
	one := json.RawMessage("1")
	good := store.Registration{
		ID: "b", Settings: json.RawMessage(`{}`),
		Extra: map[string]json.RawMessage{"health": json.RawMessage("{}"), "system": json.RawMessage("null")},
	}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	bad := []store.Registration{
		{},
		{ID: "b", Settings: json.RawMessage("{")},
		{ID: "b", Extra: map[string]json.RawMessage{"x": json.RawMessage("{")}},
	}
	for _, name := range []string{"", "id", "lambda", "checkpoints", "instances", "errorCount", "progress_read"} {
		bad = append(bad, store.Registration{ID: "b", Extra: map[string]json.RawMessage{"fine": one, name: one}})
	}
	for _, r := range bad {
		if err := r.Validate(); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%+v: %v", r, err)
		}
	}
}
