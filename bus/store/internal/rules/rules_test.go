package rules_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

func TestChunksSplitsABatchIntoValidOnesAndFailures(t *testing.T) {
	good := func(end string) store.Chunk {
		return store.Chunk{Queue: "q", Start: end, End: end, Records: 1, Gzip: []byte("x")}
	}
	bad := good("z/2")
	bad.Records = 0
	for name, c := range map[string]struct {
		list   []store.Chunk
		valid  []store.Chunk
		failed []int
	}{
		"none":             {},
		"all valid":        {[]store.Chunk{good("z/1"), good("z/3")}, []store.Chunk{good("z/1"), good("z/3")}, nil},
		"first fails":      {[]store.Chunk{bad, good("z/3")}, []store.Chunk{good("z/3")}, []int{0}},
		"last fails":       {[]store.Chunk{good("z/1"), bad}, []store.Chunk{good("z/1")}, []int{1}},
		"two in the midst": {[]store.Chunk{good("z/1"), bad, bad, good("z/3")}, []store.Chunk{good("z/1"), good("z/3")}, []int{1, 2}},
		"all fail":         {[]store.Chunk{bad, bad}, nil, []int{0, 1}},
	} {
		valid, err := rules.Chunks(c.list)
		if d := cmp.Diff(c.valid, valid); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		var failed []int
		if batch, ok := errors.AsType[*store.BatchError](err); ok {
			for _, it := range batch.Items {
				failed = append(failed, it.Index)
			}
		} else if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d := cmp.Diff(c.failed, failed); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestReferencesAreNormalisedAndUnique(t *testing.T) {
	got, err := rules.References([]string{"a", "queue:a", "bot:b", "system:s", "s_a"})
	if err != nil || strings.Join(got, " ") != "queue:a bot:b system:s" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := rules.References([]string{"a", "system:"}); err == nil {
		t.Error("a reference that names nothing was taken")
	}
}

// A backend keeps the row before a change for rollback by copying the struct: what hangs on it must not change.
func TestARuleNeverChangesWhatTheOldRowHolds(t *testing.T) {
	old := store.Bot{
		ID: "b", Read: map[string]store.Checkpoint{"queue:q": {Position: "z/1"}},
		Write: map[string]store.Checkpoint{"queue:q": {Position: "z/1"}}, Requested: map[string]string{"queue:q": "z/1"},
		Triggers: []string{"queue:q"}, Tags: []string{"t"}, InvokeTime: 5,
		Instance: store.Instance{Token: 5, RequestID: "r", StartTime: 6, Log: []byte{1}},
	}
	want := rules.CloneBot(old)
	row := old
	steps := []error{
		rules.Register(&row, true, store.Registration{ID: "b", Triggers: []string{"x"}, Tags: []string{"u"}, Writes: []string{"w"}}),
		rules.Checkpoint(&row, true, store.CheckpointWrite{Bot: "b", Ref: "queue:q", Expected: "z/1", Checkpoint: store.Checkpoint{Position: "z/2"}}),
		rules.Complete(&row, store.Complete{Bot: "b", Token: 5, RequestID: "r", At: 7, Log: []byte{2}}),
		rules.Lock(&row, store.Lock{Bot: "b", Seen: 5, At: 8, Progress: map[string]string{"queue:q": "z/2"}}),
	}
	if err := errors.Join(steps...); err != nil {
		t.Fatal(err)
	}
	if !rules.Produced(&row, store.Produced{Bot: "b", Ref: "queue:q", Checkpoint: store.Checkpoint{Position: "z/2"}}) ||
		!rules.Request(&row, store.Request{Bot: "b", Heads: map[string]string{"queue:q": "z/2"}, At: 9}) {
		t.Error("a change was not told")
	}
	if d := cmp.Diff(want, old); d != "" {
		t.Error(d)
	}
}

func TestWhatChangesNothingIsNoChange(t *testing.T) {
	b := store.Bot{ID: "b", Trigger: 5, Requested: map[string]string{"queue:q": "z/2"},
		Write: map[string]store.Checkpoint{"queue:q": {Position: "z/2", Records: 1}}}
	if rules.Request(&b, store.Request{Bot: "b", Heads: map[string]string{"queue:q": "z/1", "queue:r": ""}, At: 5}) {
		t.Error("an old request changed the row")
	}
	if rules.Produced(&b, store.Produced{Ref: "queue:q", Checkpoint: store.Checkpoint{Position: "z/1"}}) {
		t.Error("an old statistic changed the row")
	}
}

func TestBlobKeysAreThoseOfS3(t *testing.T) {
	for key, ok := range map[string]bool{"": false, "a": true, "../a": true, strings.Repeat("k", 1024): true,
		strings.Repeat("k", 1025): false, "\xff": false} {
		if err := rules.BlobKey(key); (err == nil) != ok || err != nil && !errors.Is(err, store.ErrInvalid) {
			t.Errorf("key of %d bytes: %v", len(key), err)
		}
	}
}

// The original bus locks a bot that was never triggered, but is behind, under the token 0 (its payload says ts 0).
func TestARunOfTheOriginalBusWithTheTokenZeroIsARun(t *testing.T) {
	b := store.Bot{ID: "b", InvokeTime: 5, Instance: store.Instance{InvokeTime: 5}}
	confirm := store.Confirm{Bot: "b", RequestID: "r", At: 6, MaxDuration: 100}
	if err := rules.Confirm(&b, confirm); err != nil {
		t.Fatal(err)
	}
	if err := rules.Confirm(&b, confirm); !errors.Is(err, store.ErrConflict) {
		t.Errorf("it was started twice: %v", err)
	}
	if err := rules.Extend(&b, confirm); err != nil {
		t.Error(err)
	}
	if err := rules.Complete(&b, store.Complete{Bot: "b", RequestID: "other", At: 7}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("another request ended it: %v", err)
	}
	complete := store.Complete{Bot: "b", RequestID: "r", At: 7, Failed: true}
	if err := rules.Complete(&b, complete); err != nil || b.ErrorCount != 1 || b.Instance.CompletedTime != 7 {
		t.Errorf("%v, %+v", err, b)
	}
	if err := rules.Complete(&b, complete); !errors.Is(err, store.ErrConflict) || b.ErrorCount != 1 {
		t.Errorf("it ended twice: %v", err)
	}
	// Without a reservation there is no run, whatever token is given.
	none := store.Bot{ID: "b"}
	if err := rules.Confirm(&none, confirm); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a run that nobody reserved was started: %v", err)
	}
	if err := rules.Complete(&none, store.Complete{Bot: "b", At: 7}); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a run that nobody reserved was ended: %v", err)
	}
}
