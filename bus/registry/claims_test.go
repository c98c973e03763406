package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/registry"
	"github.com/rstreams-go/rstreams/bus/store"
)

func TestAnOperatorsPauseOutlivesARetirement(t *testing.T) {
	st, r := open(t)
	declared := set("b", `{"paused": false}`)
	apply(t, r, mine, declared, nil)
	apply(t, r, mine, nil, declared)
	no, yes := false, true
	if err := st.Bots.Control(t.Context(), "b", store.Control{Archived: &no, Paused: &yes}); err != nil {
		t.Fatal(err)
	}
	if got := apply(t, r, mine, declared, nil); len(got.Revived) != 0 || !bot(t, st, "b").Paused {
		t.Errorf("%+v, %+v", got, bot(t, st, "b"))
	}
	// The old retirement is forgotten: the operator archives it himself.
	if err := st.Bots.Control(t.Context(), "b", store.Control{Archived: &yes}); err != nil {
		t.Fatal(err)
	}
	if apply(t, r, mine, declared, declared); !bot(t, st, "b").Archived {
		t.Error("a bot that an operator archived was revived")
	}
}

// theirs registers a bot as the original software does, and returns its row.
func theirs(t *testing.T, st store.Store) store.Bot {
	t.Helper()
	err := st.Bots.Register(t.Context(), store.Registration{
		ID: "b", Name: "theirs", Owner: "they", Invocation: store.Invocation{Type: "lambda", Lambda: "old"}, Schedule: "0 9 * * *",
		Triggers: []string{"q"}, Extra: map[string]json.RawMessage{"color": json.RawMessage(`"red"`), "health": json.RawMessage(`{}`)},
	})
	if err != nil {
		t.Fatal(err)
	}
	return bot(t, st, "b")
}

const adopting = `{"lambdaName": "new", "settings": {"x": 1}, "triggers": ["q"], "time": "0 8 * * *", "color": "blue"}`

// A creation is undone where another resource of its stack cannot be created, and an update of a resource where another one cannot be
// updated.
func TestABotThatWasThereIsGivenBackWhenItsAdoptionIsUndone(t *testing.T) {
	declared := set("b", adopting)
	for name, undo := range map[string]func(*registry.Registry) (registry.Result, error){
		"creation": func(r *registry.Registry) (registry.Result, error) {
			return r.Retire(t.Context(), mine, false, declared)
		},
		"failed creation": func(r *registry.Registry) (registry.Result, error) {
			return r.Retire(t.Context(), mine, true, declared)
		},
		"update": func(r *registry.Registry) (registry.Result, error) {
			return r.Apply(t.Context(), mine, set(), declared)
		},
	} {
		for failing := 1; ; failing++ { // Whatever fails at first.
			st, _ := open(t)
			want := theirs(t, st)
			calls := 0
			faulty := st
			faulty.Settings = failSettings{st.Settings, func() bool { calls++; return calls == failing }}
			r := registry.New(faulty, func() time.Time { return now })
			for range 2 {
				if _, err := r.Apply(t.Context(), mine, declared, nil); err == nil {
					break
				}
			}
			if b := bot(t, st, "b"); b.Invocation.Lambda != "new" || b.Owner != "they" {
				t.Fatalf("%s: %+v", name, b)
			}
			got, err := undo(r)
			if err != nil {
				got, err = undo(r)
			}
			if err != nil || cmp.Diff([]string{"b"}, got.Kept) != "" || len(got.Retired) != 0 {
				t.Errorf("%s: failure %d: %+v, %v", name, failing, got, err)
			}
			want.Extra["registrar"] = json.RawMessage(`""`)
			if d := cmp.Diff(want, bot(t, st, "b")); d != "" {
				t.Errorf("%s: failure %d: %s", name, failing, d)
			}
			if failing > calls {
				break
			}
		}
	}
}

func TestABotThatAStackKeptIsRetiredWithIt(t *testing.T) {
	declared := set("b", adopting)
	for name, keep := range map[string]func(t *testing.T, r *registry.Registry, at *time.Time){
		"for a day":    func(_ *testing.T, _ *registry.Registry, at *time.Time) { *at = at.Add(24 * time.Hour) },
		"at an update": func(t *testing.T, r *registry.Registry, _ *time.Time) { apply(t, r, mine, declared, declared) },
	} {
		st, _ := open(t)
		theirs(t, st)
		at := now
		r := registry.New(st, func() time.Time { return at })
		apply(t, r, mine, declared, nil)
		keep(t, r, &at)
		if got, err := r.Retire(t.Context(), mine, false, declared); err != nil || len(got.Retired) != 1 || !bot(t, st, "b").Archived {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// aside calls before just before the nth conditional write of a setting.
type aside struct {
	store.Settings
	n      int
	before func()
}

func (a *aside) Swap(ctx context.Context, id string, old, next json.RawMessage) error {
	if a.n--; a.n == 0 {
		a.before()
	}
	return a.Settings.Swap(ctx, id, old, next)
}

func TestStacksThatDeployABotAtTheSameMomentBothHaveIt(t *testing.T) {
	declared := set("b", `{"paused": false}`)
	for name, prepare := range map[string]func(t *testing.T, st store.Store, r *registry.Registry){
		"new":            func(*testing.T, store.Store, *registry.Registry) {},
		"of a third one": func(t *testing.T, _ store.Store, r *registry.Registry) { apply(t, r, "third", declared, nil) },
	} {
		st, plain := open(t)
		prepare(t, st, plain)
		meddled := st
		meddled.Settings = &aside{Settings: st.Settings, n: 1, before: func() { apply(t, plain, "one", declared, nil) }}
		apply(t, registry.New(meddled, func() time.Time { return now }), "other", declared, nil)
		for _, by := range []string{"third", "other"} {
			if _, err := plain.Retire(t.Context(), by, true, declared); err != nil || bot(t, st, "b").Archived {
				t.Errorf("%s: %s took the bot away from the stack that still has it: %v", name, by, err)
			}
		}
		if got, err := plain.Retire(t.Context(), "one", false, declared); err != nil || len(got.Retired) != 1 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestABotThatIsDeclaredWhileItIsRetiredGoesOn(t *testing.T) {
	declared := set("b", `{"paused": false}`)
	for n := 1; n <= 2; n++ {
		st, plain := open(t)
		apply(t, plain, "old", declared, nil)
		meddled := st
		meddled.Settings = &aside{Settings: st.Settings, n: n, before: func() { apply(t, plain, "new", declared, nil) }}
		got, err := registry.New(meddled, func() time.Time { return now }).Retire(t.Context(), "old", false, declared)
		if b := bot(t, st, "b"); err != nil || len(got.Kept) != 1 || b.Archived || b.Paused {
			t.Errorf("before write %d: %+v, %v, row %+v", n, got, err, b)
		}
		if got, err := plain.Retire(t.Context(), "new", false, declared); err != nil || len(got.Retired) != 1 {
			t.Errorf("before write %d: %+v, %v", n, got, err)
		}
	}
}

func TestABotThatIsGoneLeavesNoClaim(t *testing.T) {
	st, _ := open(t)
	gone := st
	gone.Bots = unregistered{st.Bots}
	declared := set("b", `{"paused": false}`)
	if _, err := registry.New(gone, nil).Apply(t.Context(), "one", declared, nil); !errors.Is(err, store.ErrThrottled) {
		t.Fatal(err)
	}
	r := registry.New(st, func() time.Time { return now })
	if got, err := r.Retire(t.Context(), "one", true, declared); err != nil || len(got.Kept)+len(got.Retired) != 0 {
		t.Errorf("%+v, %v", got, err)
	}
	apply(t, r, "two", declared, nil)
	if got, err := r.Retire(t.Context(), "two", false, declared); err != nil || len(got.Retired) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}

// unregistered refuses registrations.
type unregistered struct{ store.Bots }

func (unregistered) Register(context.Context, store.Registration) error { return store.ErrThrottled }

func TestClaimsOfTheOldFormCount(t *testing.T) {
	st, r := open(t)
	declared := set("b", `{"paused": false}`)
	apply(t, r, "one", declared, nil)
	if err := st.Settings.Put(t.Context(), registry.ClaimsPrefix+"b", json.RawMessage(`["two","one"]`)); err != nil {
		t.Fatal(err)
	}
	if got, err := r.Retire(t.Context(), "one", false, declared); err != nil || len(got.Kept) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := r.Retire(t.Context(), "two", false, declared); err != nil || len(got.Retired) != 1 {
		t.Errorf("%+v, %v", got, err)
	}
}
