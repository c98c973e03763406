package registry_test

import (
	"encoding/json"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
)

// TestOfABotThatMovesNothingStaysThatOnlyItsOldResourceDeclared: nobody would ever take it away.
func TestOfABotThatMovesNothingStaysThatOnlyItsOldResourceDeclared(t *testing.T) {
	st, r := open(t)
	a := set("b", `{"time": "0 8 * * *", "triggers": ["q"], "timeout": 60, "settings": {"x":1}}`)
	b := set("b", `{"lambdaName": "f"}`)
	apply(t, r, "stack/A", a, nil)
	apply(t, r, "stack/B", b, nil)
	apply(t, r, "stack/A", nil, a)
	x := bot(t, st, "b")
	if x.Schedule != "" || len(x.Triggers) != 0 || x.Timeout != 0 || x.Settings != nil {
		t.Errorf("stale: %+v", x)
	}
	// and the next updates of B
	apply(t, r, "stack/B", b, b)
	x = bot(t, st, "b")
	if x.Schedule != "" || len(x.Triggers) != 0 {
		t.Errorf("stale for ever: schedule %q triggers %v", x.Schedule, x.Triggers)
	}
}

func TestARetirementThatDoesNotSayWhatWasDeclaredKeepsNothing(t *testing.T) {
	st, r := open(t)
	a := set("b", `{"time": "0 8 * * *", "triggers": ["q"], "paused": false}`)
	apply(t, r, mine, a, nil)
	apply(t, r, mine, nil, a)
	if err := st.Settings.Put(t.Context(), "retired_b", json.RawMessage(`{"paused":false,"at":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := st.Settings.Delete(t.Context(), "registrars_b"); err != nil {
		t.Fatal(err)
	}
	apply(t, r, mine, set("b", `{"lambdaName":"f"}`), nil)
	if x := bot(t, st, "b"); x.Schedule != "" || len(x.Triggers) != 0 {
		t.Errorf("stale: %q %v paused %v", x.Schedule, x.Triggers, x.Paused)
	}
}

// TestATimeZoneThatIsNotThereIsNone: CloudFormation makes a text of what is not there.
func TestATimeZoneThatIsNotThereIsNone(t *testing.T) {
	_, r := open(t)
	for _, text := range []string{`{"timeZone":"undefined"}`, `{"time":"undefined","timeZone":"undefined"}`, `{"time":"","timeZone":"null"}`} {
		if _, err := r.Apply(t.Context(), mine, set("b", text), nil); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestABotThatOnlyHadACheckpointIsRetiredWithItsStack: there is nothing to give back.
func TestABotThatOnlyHadACheckpointIsRetiredWithItsStack(t *testing.T) {
	st, r := open(t)
	err := st.Bots.Checkpoint(t.Context(), store.CheckpointWrite{Bot: "b", Ref: "queue:q", Force: true, Checkpoint: store.Checkpoint{Position: "z/2026/11/21/02/35/1795228519000-0000001"}})
	if err != nil {
		t.Fatal(err)
	}
	a := set("b", `{"time": "0 8 * * *", "paused": false}`)
	apply(t, r, mine, a, nil)
	got := apply(t, r, mine, nil, a)
	if x := bot(t, st, "b"); !x.Archived || !x.Paused {
		t.Errorf("%+v archived %v paused %v schedule %q", got, x.Archived, x.Paused, x.Schedule)
	}
}
