package aws

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
)

func TestAnUpdateAsAStatementKeepsItsNamesItsOrderAndItsConditions(t *testing.T) {
	tab := table{name: `my"table`, key: "id"}
	u := newUpdate()
	u.exists("id")
	u.exists("checkpoints")
	u.set(str("first"), "checkpoints", "write", `queue:a"b`)
	u.set(num(2), "n")
	u.remove("old", "part")
	u.is(nil, "gone")
	u.is(str("third"), "sequencing", "fence")
	u.when(u.p("n") + "<=" + u.v(num(4)))
	text, params, ok := tab.statement("key", u)
	want := `UPDATE "my""table" SET "checkpoints"."write"."queue:a""b"=? SET "n"=? REMOVE "old"."part"` +
		` WHERE "id"=? AND "checkpoints" IS NOT MISSING AND "gone" IS MISSING AND "sequencing"."fence"=? AND "n"<=?`
	if !ok || text != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if got, want := strings.Join(mapped(params, text1), " "), "first 2 key third 4"; got != want {
		t.Errorf("parameters %s, want %s", got, want)
	}
	for name, change := range map[string]func(u *update){
		"a new row":          func(u *update) { u.create = item{"id": str("key")} },
		"a sum":              func(u *update) { u.add(1, "n") },
		"a first value":      func(u *update) { u.setOnce(num(1), "n") },
		"too long a text":    func(u *update) { u.set(num(1), strings.Repeat("x", maxStatement)) },
		"nothing to be done": func(u *update) { u.sets = nil },
	} {
		u := newUpdate()
		u.set(num(1), "a")
		change(u)
		if text, _, ok := tab.statement("key", u); ok {
			t.Errorf("%s becomes %.200s", name, text)
		}
	}
}

func text1(v value) string { return text(v) }

// claimsOf returns claims of queues, each of its nth batch.
func claimsOf(n int, queues ...string) []store.Claim {
	return mapped(queues, func(q string) store.Claim {
		return store.Claim{Queue: q, Owner: "a", Shard: "s", First: fmt.Sprint(n), Arrival: 1704164645678, Now: 1704164645678, Lease: 1000}
	})
}

// granted fails the test unless every claim is granted, with that fence.
func granted(t *testing.T, got []store.Claimed, fences ...int64) {
	t.Helper()
	for i, c := range got {
		if c.Err != nil || c.Grant.Fence != fences[i] {
			t.Errorf("claim %d: %+v, want fence %d", i, c, fences[i])
		}
	}
}

func TestClaimsThatFailTogetherAreMadeAlone(t *testing.T) {
	moved := item{"event": str("moved"), "max_eid": str(noHead), "sequencing": sequencingValue(store.Sequencing{Owner: "a", Fence: 7})}
	together := 0
	b, s := openService(t, func(_ int, c call) reply {
		if c.op != "BatchExecuteStatement" {
			return reply{body: "{}"}
		}
		if together++; together > 1 {
			return reply{body: map[string]any{"Responses": []any{map[string]any{}, map[string]any{}, map[string]any{}}}}
		}
		return reply{body: map[string]any{"Responses": []any{
			map[string]any{"TableName": "t-LeoEvent"},
			map[string]any{"Error": map[string]any{"Code": "ConditionalCheckFailed", "Message": "no", "Item": wire(t, moved)}},
			map[string]any{"Error": map[string]any{"Code": "ThrottlingError", "Message": "no"}},
		}}}
	})
	all := b.Store().ClaimAll
	granted(t, all(t.Context(), claimsOf(1, "fine", "moved", "slow")), 1, 1, 1)
	if slices.Contains(s.ops(), "BatchExecuteStatement") {
		t.Error("rows that nobody has seen were written together")
	}
	before := len(s.ops())
	granted(t, all(t.Context(), claimsOf(2, "fine", "moved", "slow")), 2, 8, 2)
	if want := []string{"BatchExecuteStatement", "UpdateItem", "UpdateItem"}; !slices.Equal(s.ops()[before:], want) {
		t.Errorf("requests %v, want %v", s.ops()[before:], want)
	}
	before = len(s.ops())
	granted(t, all(t.Context(), claimsOf(3, "fine", "moved", "slow")), 3, 9, 3)
	if want := []string{"BatchExecuteStatement"}; !slices.Equal(s.ops()[before:], want) {
		t.Errorf("requests %v, want %v", s.ops()[before:], want)
	}
}

func TestALostAnswerToClaimsTogetherIsMadeUpForByEachAlone(t *testing.T) {
	row := func(queue string, fence int64) item {
		return item{"event": str(queue), "max_eid": str(noHead), "sequencing": sequencingValue(store.Sequencing{
			Owner: "a", Fence: fence, Open: true, Shard: "s", First: "2", Base: 1704164645700, Lease: 1704164646678,
		})}
	}
	lost := false
	b, _ := openService(t, func(_ int, c call) reply {
		switch {
		case c.op == "BatchExecuteStatement":
			lost = true
			return reply{lost: true} // It was carried out.
		case lost && c.op == "UpdateItem" && strings.Contains(c.body, `":0":{"M"`) && strings.Contains(c.body, `"N":"1"`):
			return refused(t, row("q", 2)) // The condition is that of the fence before.
		}
		return reply{body: "{}"}
	})
	all := b.Store().ClaimAll
	granted(t, all(t.Context(), claimsOf(1, "p", "q")), 1, 1)
	got := all(t.Context(), claimsOf(2, "p", "q"))
	granted(t, got, 3, 3)
	for _, c := range got {
		if !c.Grant.Dirty || c.Grant.Base != 1704164645700 {
			t.Errorf("%+v does not go on with the claim whose answer was lost", c.Grant)
		}
	}
}

// Policies that were made for an older bus do not allow statements. That must cost requests and nothing else, and not for each batch.
func TestWhereRowsMayNotBeWrittenTogetherEachIsWrittenAlone(t *testing.T) {
	b, s := openService(t, func(_ int, c call) reply {
		if c.op == "BatchExecuteStatement" {
			return reply{status: http.StatusBadRequest, code: "AccessDeniedException"}
		}
		return reply{body: "{}"}
	})
	st := b.Store()
	for n := range int64(4) {
		granted(t, st.ClaimAll(t.Context(), claimsOf(int(n), "p", "q")), n+1, n+1)
		if err := st.Bots.Produced(t.Context(), []store.Produced{
			{Bot: "a", Ref: "queue:p", Checkpoint: store.Checkpoint{Position: "z/1"}},
			{Bot: "b", Ref: "queue:p", Checkpoint: store.Checkpoint{Position: "z/1"}},
		}); err != nil {
			t.Error(err)
		}
	}
	counts := map[string]int{}
	for _, op := range s.ops() {
		counts[op]++
	}
	if counts["BatchExecuteStatement"] != 1 || counts["UpdateItem"] != 16 {
		t.Errorf("requests %v", counts)
	}
}

func TestAClaimThatCannotBeMadeHarmsNoOther(t *testing.T) {
	b, _ := openService(t, func(_ int, c call) reply {
		switch {
		case c.op == "GetItem" && strings.Contains(c.body, "held"):
			return reply{body: map[string]any{"Item": wire(t, item{"event": str("held"), "max_eid": str(noHead),
				"sequencing": sequencingValue(store.Sequencing{Owner: "other", Fence: 5, Open: true, Lease: 1704164645999})})}}
		case c.op == "GetItem" && strings.Contains(c.body, "old"):
			return reply{body: map[string]any{"Item": wire(t, item{"event": str("old"), "max_eid": str("123")})}}
		}
		return reply{body: "{}"}
	})
	for n := range int64(3) {
		got := b.Store().ClaimAll(t.Context(), claimsOf(int(n), "fine", "held", "old", "good", ""))
		granted(t, []store.Claimed{got[0], got[3]}, n+1, n+1)
		var leased *store.LeasedError
		if !errors.As(got[1].Err, &leased) || leased.Owner != "other" || !errors.Is(got[2].Err, store.ErrCorrupt) || !errors.Is(got[4].Err, store.ErrInvalid) {
			t.Errorf("got %v, %v and %v", got[1].Err, got[2].Err, got[4].Err)
		}
	}
}
