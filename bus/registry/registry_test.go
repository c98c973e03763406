package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/registry"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

var now = time.Date(2026, 11, 21, 2, 35, 19, 0, time.UTC)

const mine = "arn:stack/Bots"

func open(t *testing.T) (store.Store, *registry.Registry) {
	t.Helper()
	st := memory.New(memory.Options{Now: func() time.Time { return now }})
	return st, registry.New(st, func() time.Time { return now })
}

// set reads properties from pairs of a name and JSON.
func set(pairs ...string) *registry.Set {
	s := &registry.Set{Properties: map[string]json.RawMessage{}}
	for i := 0; i < len(pairs); i += 2 {
		s.Properties[pairs[i]] = json.RawMessage(pairs[i+1])
	}
	return s
}

func apply(t *testing.T, r *registry.Registry, registrar string, next, old *registry.Set) registry.Result {
	t.Helper()
	result, err := r.Apply(t.Context(), registrar, next, old)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func bot(t *testing.T, st store.Store, id string) store.Bot {
	t.Helper()
	b, err := st.Bots.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestABotIsRegisteredAsServerlessLeoDeclaresIt(t *testing.T) {
	st, r := open(t)
	// What CloudFormation delivers: every number and boolean is text.
	apply(t, r, mine, set("shop-dev-price", `{
		"id": "shop-dev-price", "name": "price", "type": "cron", "lambdaName": "shop-dev-price-fn", "time": "0 */5 * * * *",
		"tags": "app:shop, team:a", "timeout": "60000",
		"settings": {"source": "orders", "destination": "prices", "botNumber": "0", "botCount": "2", "code": "007", "on": "true"}
	}`), nil)
	got := bot(t, st, "shop-dev-price")
	var settings map[string]any
	if err := json.Unmarshal(got.Settings, &settings); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"source": "orders", "destination": "prices", "botNumber": 0.0, "botCount": 2.0, "code": "007", "on": "true"}
	if d := cmp.Diff(want, settings); d != "" {
		t.Errorf("settings: %s", d)
	}
	if got.Name != "price" || got.Description != "price" || got.Schedule != "0 */5 * * * *" || got.Timeout != 60000 {
		t.Errorf("got %+v", got)
	}
	if d := cmp.Diff(store.Invocation{Type: "lambda", Lambda: "shop-dev-price-fn"}, got.Invocation); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"queue:orders"}, got.Triggers); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"app:shop", "team:a"}, got.Tags); d != "" {
		t.Error(d)
	}
	if _, ok := got.Write["queue:prices"]; !ok {
		t.Error("the written queue has no placeholder")
	}
	if string(got.Extra["type"]) != `"cron"` {
		t.Errorf("attributes %s", got.Extra)
	}
}

func TestNewBotsBeginPausedUnlessToldOtherwise(t *testing.T) { // C61
	st, r := open(t)
	apply(t, r, mine, set("a", `{}`, "b", `{"paused": false}`, "c", `{"paused": "false"}`, "d", `"{\"paused\": true}"`), nil)
	for id, want := range map[string]bool{"a": true, "b": false, "c": false, "d": true} {
		if got := bot(t, st, id).Paused; got != want {
			t.Errorf("%s: paused %v", id, got)
		}
	}
	if got := bot(t, st, "a").Invocation.Lambda; got != "a" {
		t.Errorf("the function is %q", got)
	}
}

func TestOnlyKnownMembersAreCoerced(t *testing.T) { // W-O8
	st, r := open(t)
	apply(t, r, mine, set("x", `{"id": "123", "name": "true", "ignoreMonitor": "true", "webhook": "1.5",
		"settings": "{\"limit\": 10, \"zip\": \"01234\", \"yes\": true}"}`), nil)
	got := bot(t, st, "123")
	if got.Name != "true" || string(got.Extra["ignoreMonitor"]) != "true" || string(got.Extra["webhook"]) != `"1.5"` {
		t.Errorf("got %+v", got)
	}
	if d := cmp.Diff(`{"limit":10,"yes":true,"zip":"01234"}`, string(got.Settings)); d != "" {
		t.Error(d)
	}
}

func TestTheIDOfABotIsTheNameInAFunctionsARN(t *testing.T) {
	st, r := open(t)
	apply(t, r, mine, set("x", `{"id": "arn:aws:lambda:us-east-1:123456789012:function:price:live"}`), nil)
	if got := bot(t, st, "price"); got.Invocation.Lambda != "price" {
		t.Errorf("got %+v", got.Invocation)
	}
}

func TestRegisteringAgainChangesConfigurationOnly(t *testing.T) { // C44
	st, r := open(t)
	apply(t, r, mine, set("a", `{"paused": false, "triggers": ["q"]}`), nil)
	write := store.CheckpointWrite{Bot: "a", Ref: "queue:q", Checkpoint: store.Checkpoint{Position: "z/2026/11/21/02/35/1795228519000-0000001"}}
	yes := true
	if err := errors.Join(st.Bots.Checkpoint(t.Context(), write), st.Bots.Control(t.Context(), "a", store.Control{Paused: &yes})); err != nil {
		t.Fatal(err)
	}
	apply(t, r, mine, set("a", `{"paused": false, "triggers": ["q", "p"]}`), set("a", `{}`))
	got := bot(t, st, "a")
	if !got.Paused || got.Read["queue:q"].Position != write.Position || len(got.Triggers) != 2 {
		t.Errorf("got %+v", got)
	}
	before := got
	apply(t, r, mine, set("a", `{"paused": false, "triggers": ["q", "p"]}`), set("a", `{}`))
	if d := cmp.Diff(before, bot(t, st, "a")); d != "" {
		t.Errorf("a repeat changed the row: %s", d)
	}
}

func TestBotsThatVanishArePausedAndArchivedAndComeBackAsTheyWere(t *testing.T) { // W-P15
	st, r := open(t)
	both, one := set("a", `{"paused": false}`, "b", `{"paused": false}`), set("a", `{"paused": false}`)
	apply(t, r, mine, both, nil)
	for range 2 { // The same request may come twice.
		if got := apply(t, r, mine, one, both); cmp.Diff([]string{"b"}, got.Retired) != "" {
			t.Errorf("got %+v", got)
		}
		if b := bot(t, st, "b"); !b.Paused || !b.Archived {
			t.Errorf("got %+v", b)
		}
	}
	if b := bot(t, st, "a"); b.Paused || b.Archived {
		t.Errorf("got %+v", b)
	}
	if got := apply(t, r, mine, both, one); cmp.Diff([]string{"b"}, got.Revived) != "" {
		t.Errorf("got %+v", got)
	}
	if b := bot(t, st, "b"); b.Paused || b.Archived {
		t.Errorf("got %+v", b)
	}
	if got := apply(t, r, mine, both, one); len(got.Revived) != 0 {
		t.Errorf("revived twice: %+v", got)
	}
}

func TestARevivedBotIsPausedIfItWasBefore(t *testing.T) {
	st, r := open(t)
	apply(t, r, mine, set("a", `{}`), nil)
	apply(t, r, mine, nil, set("a", `{}`))
	apply(t, r, mine, set("a", `{"paused": false}`), nil)
	if b := bot(t, st, "a"); !b.Paused || b.Archived {
		t.Errorf("got %+v", b)
	}
}

func TestABotThatAnOperatorArchivedStaysSo(t *testing.T) {
	st, r := open(t)
	apply(t, r, mine, set("a", `{"paused": false}`), nil)
	yes := true
	if err := st.Bots.Control(t.Context(), "a", store.Control{Archived: &yes}); err != nil {
		t.Fatal(err)
	}
	apply(t, r, mine, set("a", `{}`), nil)
	apply(t, r, mine, nil, set("a", `{}`))
	apply(t, r, mine, set("a", `{}`), nil)
	if b := bot(t, st, "a"); !b.Archived {
		t.Errorf("got %+v", b)
	}
}

func TestABotThatAnotherRegistrarTookOverIsLeftAlone(t *testing.T) {
	st, r := open(t)
	declared := set("a", `{"paused": false}`)
	apply(t, r, mine, declared, nil)
	// CloudFormation creates a renamed resource before it deletes the old one.
	apply(t, r, "arn:stack/Renamed", declared, nil)
	if got := apply(t, r, mine, nil, declared); cmp.Diff([]string{"a"}, got.Kept) != "" {
		t.Errorf("got %+v", got)
	}
	if b := bot(t, st, "a"); b.Paused || b.Archived {
		t.Errorf("got %+v", b)
	}
}

// A resource that is renamed is created anew before the old one is deleted. If the stack's update fails in between, CloudFormation
// deletes the new one, and asks nothing of the old one: its bots must go on.
func TestARenameThatIsRolledBackLeavesTheBotsRunning(t *testing.T) {
	st, r := open(t)
	a, b := set("a", `{"paused":false}`), set("a", `{"paused":false,"time":"0 * * * *"}`)
	apply(t, r, "old", a, nil)
	apply(t, r, "new", b, nil)
	for range 2 { // Also when the request comes twice.
		got, err := r.Retire(t.Context(), "new", false, a)
		if row := bot(t, st, "a"); err != nil || row.Paused || row.Archived || len(got.Kept) != 1 || len(got.Retired) != 0 {
			t.Fatalf("%+v, %v, row %+v", got, err, row)
		}
	}
	// It is the old one's again, with all that this means.
	apply(t, r, "old", a, a)
	if got, err := r.Retire(t.Context(), "old", false, a); err != nil || len(got.Retired) != 1 || !bot(t, st, "a").Archived {
		t.Fatalf("%+v, %v", got, err)
	}
	// A later registrar begins without any of that.
	apply(t, r, "third", b, nil)
	if got, err := r.Retire(t.Context(), "third", false, a); err != nil || len(got.Retired) != 1 || !bot(t, st, "a").Archived {
		t.Fatalf("%+v, %v", got, err)
	}
	// A rename that is not rolled back.
	apply(t, r, "old", a, nil)
	apply(t, r, "new", b, nil)
	if got, err := r.Retire(t.Context(), "old", false, a); err != nil || len(got.Kept) != 1 || bot(t, st, "a").Archived {
		t.Fatalf("%+v, %v", got, err)
	}
	if got, err := r.Retire(t.Context(), "new", false, a); err != nil || len(got.Retired) != 1 || !bot(t, st, "a").Archived {
		t.Fatalf("%+v, %v", got, err)
	}
}

func TestAnInvalidDeclarationIsOneErrorAndWritesNothing(t *testing.T) {
	st, r := open(t)
	for property, want := range map[string]string{
		`{"time": "now and then"}`:                 "invalid schedule",
		`{"triggers": [1]}`:                        "triggers",
		`{"triggers": [""]}`:                       "queue name",
		`{"timeout": "soon"}`:                      "timeout",
		`{"paused": "perhaps"}`:                    "paused",
		`{"timeZone": "Mars/Base"}`:                "Mars/Base",
		`{"triggers": ["system:"]}`:                "system:",
		`{"errorCount": 5}`:                        "errorCount",
		`{"instances": {}}`:                        "instances",
		`{"checkpoints": {"read": {}}}`:            "checkpoints",
		`{"archived": "false"}`:                    "archived",
		`[1]`:                                      "JSON object",
		`"text"`:                                   "JSON object",
		`{"invocation": {"type": "fargate"}}`:      "fargate",
		`{"invocation": {"type": "sns"}}`:          "arn",
		`{"settings": [1]}`:                        "settings",
		`{"id": "good"}`:                           "declared twice",
		`{"LeoRegisterType": "table"}`:             "LeoRegisterType",
		`{"queue": "q"}`:                           "bad: it has a queue",
		`{"queue": "q", "schemas": {"1": {}}}`:     "semantic version",
		`{"queue": "q", "schemas": {"1.0.0": {}}}`: "versionSchema",
		`{"queue": "q", "schemas": {"1.0.0": {"versionSchema": {"type": 5}}}}`:                 "1.0.0",
		`{"queue": "q", "schemas": {"1.0.0": {"versionSchema": {"$ref": "http://x/y.json"}}}}`: "not declared with it",
	} {
		_, err := r.Apply(t.Context(), mine, set("good", `{}`, "bad", property), nil)
		if !errors.Is(err, registry.ErrInvalid) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", property, err)
		}
	}
	if list, err := st.Bots.List(t.Context(), "", 10); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestSystemsAreMerged(t *testing.T) {
	st, r := open(t)
	apply(t, r, mine, set("sys", `{"LeoRegisterType": "system", "id": "system:erp", "label": "ERP", "settings": {"a": 1}}`), nil)
	got := apply(t, r, mine, set("erp", `{"LeoRegisterType": "system", "settings": {"b": "2"}}`), set())
	if cmp.Diff([]string{"erp"}, got.Systems) != "" {
		t.Errorf("got %+v", got)
	}
	s, err := st.Systems.Get(t.Context(), "erp")
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(s.Doc, &doc); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"label": "ERP", "settings": map[string]any{"a": 1.0, "b": "2"}}
	if d := cmp.Diff(want, doc); d != "" {
		t.Error(d)
	}
}

func TestQueueSchemasAreCheckedAndStored(t *testing.T) {
	st, r := open(t)
	apply(t, r, mine, set("orders", `{"queue": "queue:orders", "schemas": {"1.0.0": {
		"definitionsSchema": {"$id": "definitions.json", "definitions": {"amount": {"type": "number", "minimum": "0", "const": "5"}}},
		"versionSchema": {"type": "object", "additionalProperties": "false", "required": ["amount"],
			"properties": {"amount": {"$ref": "definitions.json#/definitions/amount"}, "note": {"type": "string", "maxLength": "10"}}}
	}}}`), nil)
	body, err := st.Blobs.Get(t.Context(), store.BlobRef{Key: registry.SchemaKey("orders"), Bucket: bucket(t, st)}, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"1.0.0":{"definitionsSchema":{"$id":"definitions.json","definitions":{"amount":{"const":"5","minimum":0,"type":"number"}}},` +
		`"versionSchema":{"additionalProperties":false,"properties":{"amount":{"$ref":"definitions.json#/definitions/amount"},` +
		`"note":{"maxLength":10,"type":"string"}},"required":["amount"],"type":"object"}}}`
	if d := cmp.Diff(want, string(text)); d != "" {
		t.Error(d)
	}
}

func bucket(t *testing.T, st store.Store) string {
	t.Helper()
	b, _, err := st.Blobs.Put(t.Context(), "x", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bucket
}

func TestAFailureInTheMiddleIsMendedByARepeat(t *testing.T) {
	for failing := 1; failing <= 12; failing++ {
		st, _ := open(t)
		calls := 0
		faulty := st
		faulty.Settings = failSettings{st.Settings, func() bool { calls++; return calls == failing }}
		r := registry.New(faulty, func() time.Time { return now })
		both, none := set("a", `{"paused": false}`, "b", `{"paused": false}`), set()
		for _, step := range []struct{ next, old *registry.Set }{{both, nil}, {none, both}, {both, none}} {
			if _, err := r.Apply(t.Context(), mine, step.next, step.old); err != nil {
				if _, err = r.Apply(t.Context(), mine, step.next, step.old); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, id := range []string{"a", "b"} {
			if b := bot(t, st, id); b.Paused || b.Archived {
				t.Errorf("failure %d: %s is paused %v, archived %v", failing, id, b.Paused, b.Archived)
			}
		}
	}
}

type failSettings struct {
	store.Settings
	fail func() bool
}

func (s failSettings) Put(ctx context.Context, id string, value json.RawMessage) error {
	if s.fail() {
		return store.ErrThrottled
	}
	return s.Settings.Put(ctx, id, value)
}

func (s failSettings) Swap(ctx context.Context, id string, old, next json.RawMessage) error {
	if s.fail() {
		return store.ErrThrottled
	}
	return s.Settings.Swap(ctx, id, old, next)
}

func (s failSettings) Delete(ctx context.Context, id string) error {
	if s.fail() {
		return store.ErrThrottled
	}
	return s.Settings.Delete(ctx, id)
}

func ExampleRegistry_Apply() {
	ctx := context.Background()
	st := memory.New(memory.Options{})
	r := registry.New(st, nil)

	first := &registry.Set{Properties: map[string]json.RawMessage{
		"price":  json.RawMessage(`{"triggers": ["orders"], "paused": false}`),
		"report": json.RawMessage(`{"time": "0 6 * * *", "paused": false}`),
	}}
	result, err := r.Apply(ctx, "stack/Bots", first, nil)
	fmt.Println(result.Registered, err)

	second := &registry.Set{Properties: map[string]json.RawMessage{"price": first.Properties["price"]}}
	result, err = r.Apply(ctx, "stack/Bots", second, first)
	fmt.Println(result.Registered, result.Retired, err)
	// Output:
	// [price report] <nil>
	// [price] [report] <nil>
}
