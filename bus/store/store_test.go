package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
)

func TestABatchErrorTellsItsCauses(t *testing.T) {
	err := fmt.Errorf("put: %w", &store.BatchError{Items: []store.ItemError{
		{Index: 3, Err: fmt.Errorf("%w: chunk", store.ErrTooLarge)}, {Index: 7, Err: store.ErrThrottled}}})
	if !errors.Is(err, store.ErrTooLarge) || !errors.Is(err, store.ErrThrottled) || errors.Is(err, store.ErrInvalid) {
		t.Error("the causes cannot be found")
	}
	batch, ok := errors.AsType[*store.BatchError](err)
	if !ok || len(batch.Items) != 2 || batch.Items[1].Index != 7 {
		t.Errorf("got %+v", batch)
	}
	for _, want := range []string{"2 items", "item 3", "too large: chunk"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if (&store.BatchError{}).Error() == "" {
		t.Error("an empty batch error has no text")
	}
}
