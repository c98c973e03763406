package registry_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/rstreams-go/rstreams/bus/store"
)

// full declares every field of a bot.
const full = `{"name": "n", "description": "d", "owner": "o", "lambdaName": "f", "settings": {"a": 1}, "time": "0 9 * * *",
	"timeZone": "Europe/Berlin", "triggers": ["q"], "tags": "x,y", "timeout": 5000, "delay": 60000, "paused": false}`

func same(t *testing.T, got, want store.Bot) {
	t.Helper()
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(store.Bot{}, "Extra"), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
}

func TestWhatIsNotDeclaredStays(t *testing.T) {
	st, r := open(t)
	apply(t, r, "", set("b", full), nil)
	want := bot(t, st, "b")
	apply(t, r, "", set("b", `{}`), nil)
	same(t, bot(t, st, "b"), want)

	apply(t, r, "", set("b", `{"lambdaName": "g", "time": "undefined", "timeout": "null", "owner": null}`), nil)
	want.Invocation.Lambda = "g"
	same(t, bot(t, st, "b"), want)

	apply(t, r, "", set("b", `{"settings": {"source": "p"}, "timeZone": "Asia/Tokyo"}`), nil)
	want.Settings, want.TimeZone, want.Triggers = []byte(`{"source":"p"}`), "Asia/Tokyo", []string{"queue:p"}
	want.Read["queue:p"] = store.Checkpoint{}
	same(t, bot(t, st, "b"), want)

	// A time without a zone is one in UTC, and what is declared to be empty is empty.
	apply(t, r, "", set("b", `{"name": "m", "time": "0 8 * * *", "triggers": [], "tags": "", "delay": 0, "owner": ""}`), nil)
	want.Name, want.Schedule, want.TimeZone, want.Triggers, want.Tags, want.Delay, want.Owner = "m", "0 8 * * *", "", nil, nil, 0, ""
	same(t, bot(t, st, "b"), want)
	apply(t, r, "", set("b", `{"time": "", "lambda": {"settings": [{}]}}`), nil)
	want.Schedule, want.Settings = "", []byte(`{}`)
	same(t, bot(t, st, "b"), want)
}

func TestANameIsTheDescriptionOfABotWithoutOne(t *testing.T) {
	st, r := open(t)
	for declared, want := range map[string]string{`{"name": "one"}`: "one", `{"name": "two"}`: "two", `{}`: ""} {
		apply(t, r, "", set("b", declared), nil)
		if b := bot(t, st, "b"); b.Description != b.Name || want != "" && b.Name != want {
			t.Errorf("%s: name %q, description %q", declared, b.Name, b.Description)
		}
	}
}

func TestWhatAStackDeclaresNoMoreGoesAndWhatAnOperatorSetStays(t *testing.T) {
	st, r := open(t)
	first := set("b", `{"triggers": ["q"], "tags": "x", "paused": false}`)
	apply(t, r, mine, first, nil)
	// An operator gives it a schedule, and a delay.
	apply(t, r, "", set("b", `{"time": "0 9 * * *", "timeZone": "Europe/Berlin", "delay": 5000}`), nil)
	want := bot(t, st, "b")
	apply(t, r, mine, first, first) // A deployment that changes nothing of it.
	same(t, bot(t, st, "b"), want)

	second := set("b", `{"settings": {"source": "p"}, "paused": false}`)
	for range 2 { // The same request may come twice.
		apply(t, r, mine, second, first)
	}
	want.Triggers, want.Tags, want.Settings = []string{"queue:p"}, nil, []byte(`{"source":"p"}`)
	want.Read["queue:p"] = store.Checkpoint{}
	same(t, bot(t, st, "b"), want)

	apply(t, r, mine, set("b", `{"paused": false}`), second) // A trigger that followed from settings goes with them.
	want.Triggers, want.Settings = nil, nil
	same(t, bot(t, st, "b"), want)
}

func TestABotThatComesBackHasNothingOfItsLastDeclaration(t *testing.T) {
	st, r := open(t)
	timed, triggered := set("b", `{"time": "0 9 * * *", "paused": false}`), set("b", `{"triggers": ["q"], "paused": false}`)
	apply(t, r, mine, timed, nil)
	apply(t, r, "", set("b", `{"owner": "an operator"}`), nil)
	apply(t, r, mine, nil, timed)
	apply(t, r, mine, triggered, nil)
	if b := bot(t, st, "b"); b.Schedule != "" || b.Owner != "an operator" || len(b.Triggers) != 1 || b.Archived {
		t.Errorf("got %+v", b)
	}
	// A rollback leaves what it was.
	want := bot(t, st, "b")
	apply(t, r, mine, set(), triggered)
	apply(t, r, mine, triggered, set())
	same(t, bot(t, st, "b"), want)
}
