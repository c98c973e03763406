package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/registry"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// cloudFormation takes answers.
type cloudFormation struct {
	*httptest.Server
	mu      sync.Mutex
	answers []answer
	bodies  []string
	lengths []int64
	types   []string
	refuse  int
}

func newCloudFormation(t *testing.T) *cloudFormation {
	c := &cloudFormation{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || r.Method != http.MethodPut {
			t.Errorf("%s: %v", r.Method, err)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.refuse > 0 {
			c.refuse--
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		var a answer
		if err := json.Unmarshal(body, &a); err != nil {
			t.Error(err)
		}
		c.answers, c.bodies = append(c.answers, a), append(c.bodies, string(body))
		c.lengths, c.types = append(c.lengths, r.ContentLength), append(c.types, r.Header.Get("Content-Type"))
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *cloudFormation) last() answer { return c.answers[len(c.answers)-1] }

func newHandler(t *testing.T, c *cloudFormation) (*handler, store.Store) {
	t.Helper()
	st := memory.New(memory.Options{})
	return &handler{
		registry: registry.New(st, nil), client: c.Client(), logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		wait: func(context.Context, int) {},
	}, st
}

func req(c *cloudFormation, typ, properties, old string) request {
	r := request{RequestType: typ, StackID: "arn:stack", RequestID: "r1", LogicalResourceID: "Bots"}
	if c != nil {
		r.ResponseURL = c.URL
	}
	if typ != "Create" {
		r.PhysicalResourceID = "Bots"
	}
	for text, into := range map[string]*map[string]json.RawMessage{properties: &r.ResourceProperties, old: &r.OldResourceProperties} {
		if text != "" {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				panic(err)
			}
		}
	}
	return r
}

func bot(t *testing.T, st store.Store, id string) store.Bot {
	t.Helper()
	b, err := st.Bots.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAResourceLivesFromItsCreationToItsDeletion(t *testing.T) { // W-P15
	c := newCloudFormation(t)
	h, st := newHandler(t, c)
	const ab, a = `{"ServiceToken": "arn", "a": {"paused": "false"}, "b": {"paused": "false"}}`, `{"ServiceToken": "arn", "a": {"paused": "false"}}`
	for _, step := range []struct {
		request request
		live    string
	}{
		{req(c, "Create", ab, ""), "ab"},
		{req(c, "Create", ab, ""), "ab"}, // a replay
		{req(c, "Update", a, ab), "a"},
		{req(c, "Update", ab, a), "ab"}, // a rollback
		{req(c, "Delete", ab, ""), ""},
		{req(c, "Delete", ab, ""), ""},
		{req(c, "Create", a, ""), "a"},
	} {
		if _, err := h.handle(t.Context(), step.request); err != nil {
			t.Fatal(err)
		}
		if got := c.last(); got.Status != "SUCCESS" || got.PhysicalResourceID != "Bots" || got.RequestID != "r1" || got.StackID != "arn:stack" {
			t.Errorf("%s: answer %+v", step.request.RequestType, got)
		}
		for _, id := range []string{"a", "b"} {
			b, live := bot(t, st, id), strings.Contains(step.live, id)
			if b.Paused == live || b.Archived == live {
				t.Errorf("%s: %s is paused %v, archived %v", step.request.RequestType, id, b.Paused, b.Archived)
			}
		}
	}
	if _, ok := c.last().Data["Registered"]; !ok || c.types[0] != "" {
		t.Errorf("answer %s of type %q", c.bodies[0], c.types[0])
	}
}

func TestAFailureIsAnsweredWithOneClearReason(t *testing.T) {
	c := newCloudFormation(t)
	h, st := newHandler(t, c)
	// Longer than an answer may be, and of characters of several bytes (W-O9).
	long := strings.Repeat("ä", 3000)
	for properties, want := range map[string]string{
		`{"a": {"time": "` + long + `"}}`:                                      "a: invalid schedule",
		`{"QueueReplicationMapping": "[\"q\"]", "SourceQueueReplicator": "f"}`: "QueueReplicationDestinationLeoBotRoleARNs no role",
		`{"QueueReplicationMapping": "[\"q\"]", "QueueReplicationDestinationLeoBotRoleARNs": ["arn:aws:iam::123456789012:role/s-LeoBotRole-X"]}`: "SourceQueueReplicator is not set",
	} {
		if _, err := h.handle(t.Context(), req(c, "Create", properties, "")); err != nil {
			t.Fatal(err)
		}
		got := c.last()
		if got.Status != "FAILED" || !strings.Contains(got.Reason, want) || strings.Contains(got.Reason, "\n") || got.PhysicalResourceID != "failed-r1" {
			t.Errorf("answer %+v", got)
		}
		if body := c.bodies[len(c.bodies)-1]; len(body) > 4096 || int64(len(body)) != c.lengths[len(c.lengths)-1] {
			t.Errorf("%d bytes, content length %d", len(body), c.lengths[len(c.lengths)-1])
		}
		// CloudFormation then deletes what was never created.
		gone := req(c, "Delete", properties, "")
		gone.PhysicalResourceID = got.PhysicalResourceID
		if _, err := h.handle(t.Context(), gone); err != nil || c.last().Status != "SUCCESS" {
			t.Errorf("%v, answer %+v", err, c.last())
		}
	}
	if list, err := st.Bots.List(t.Context(), "", 10); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestAResourceThatWasNeverCreatedTakesNobodysBotsAway(t *testing.T) {
	c := newCloudFormation(t)
	h, st := newHandler(t, c)
	if err := st.Bots.Register(t.Context(), store.Registration{ID: "a"}); err != nil { // by the original software
		t.Fatal(err)
	}
	gone := req(c, "Delete", `{"a": {"time": "never"}}`, "")
	gone.PhysicalResourceID = "failed-r0"
	if _, err := h.handle(t.Context(), gone); err != nil || bot(t, st, "a").Archived {
		t.Errorf("%v, %+v", err, bot(t, st, "a"))
	}
	// But a resource that the original created does.
	if _, err := h.handle(t.Context(), req(c, "Delete", `{"a": {}}`, "")); err != nil || !bot(t, st, "a").Archived {
		t.Errorf("%v, %+v", err, bot(t, st, "a"))
	}
}

func TestAFunctionThatCannotWorkAnswers(t *testing.T) {
	c := newCloudFormation(t)
	h, _ := newHandler(t, c)
	h.broken = errors.New("RSTREAMS_CONFIG is not set")
	if _, err := h.handle(t.Context(), req(c, "Create", `{"a": {}}`, "")); err != nil || !strings.Contains(c.last().Reason, "RSTREAMS_CONFIG") {
		t.Errorf("%v, answer %+v", err, c.last())
	}
	h.broken, h.registry = nil, nil // It panics.
	if _, err := h.handle(t.Context(), req(c, "Create", `{"a": {}}`, "")); err != nil || c.last().Status != "FAILED" {
		t.Errorf("%v, answer %+v", err, c.last())
	}
}

func TestTheAnswerIsSentBeforeTheFunctionsTimeIsOver(t *testing.T) {
	c := newCloudFormation(t)
	h, st := newHandler(t, c)
	st.Bots = stuck{st.Bots}
	h.registry = registry.New(st, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := h.handle(ctx, req(c, "Create", `{"a": {}}`, "")); err != nil || c.last().Status != "FAILED" || !strings.Contains(c.last().Reason, "time") {
		t.Errorf("%v, answer %+v", err, c.last())
	}
}

type stuck struct{ store.Bots }

func (stuck) Register(ctx context.Context, _ store.Registration) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestAnAnswerThatIsRefusedIsSentAgain(t *testing.T) {
	c := newCloudFormation(t)
	h, _ := newHandler(t, c)
	c.refuse = attempts - 1
	if _, err := h.handle(t.Context(), req(c, "Create", `{"a": {}}`, "")); err != nil || len(c.answers) != 1 {
		t.Errorf("%v, %d answers", err, len(c.answers))
	}
	c.refuse = attempts
	if _, err := h.handle(t.Context(), req(c, "Create", `{"a": {}}`, "")); err == nil {
		t.Error("an answer that nobody got is no error")
	}
}

// The address is signed: whoever has it may answer in the stack's name.
func TestTheAddressOfTheAnswerIsNotInErrors(t *testing.T) {
	c := newCloudFormation(t)
	h, _ := newHandler(t, c)
	c.Close()
	for _, url := range []string{c.URL + "/x?Signature=secret", "http://[::1?Signature=secret"} {
		r := req(c, "Create", `{"b":{"id":"b"}}`, "")
		r.ResponseURL = url
		if _, err := h.handle(t.Context(), r); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v", err)
		}
	}
}

func TestADirectInvocationReturnsWhatWasDone(t *testing.T) {
	h, _ := newHandler(t, newCloudFormation(t))
	got, err := h.handle(t.Context(), req(nil, "Create", `{"a": {}}`, ""))
	if d := cmp.Diff(registry.Result{Registered: []string{"a"}}, got); err != nil || d != "" {
		t.Errorf("%v, %s", err, d)
	}
	if _, err := h.handle(t.Context(), req(nil, "Create", `{"a": []}`, "")); !errors.Is(err, registry.ErrInvalid) {
		t.Error(err)
	}
}

func TestTheBussOwnResourceRegistersItsBots(t *testing.T) {
	c := newCloudFormation(t)
	h, st := newHandler(t, c)
	if _, err := h.handle(t.Context(), req(c, "Create", `{"ServiceToken": "arn", "Version": "1"}`, "")); err != nil {
		t.Fatal(err)
	}
	if got := c.last(); got.Status != "SUCCESS" || got.PhysicalResourceID != "install" {
		t.Errorf("answer %+v", got)
	}
	for _, own := range ownBots() {
		if b := bot(t, st, own.ID); b.Invocation.Type != "none" || b.Paused || b.Owner != "leo" {
			t.Errorf("got %+v", b)
		}
	}
}

func TestMappingsBecomeCopyingBotsAndRemovedOnesAreRetired(t *testing.T) { // 3.12
	c := newCloudFormation(t)
	h, st := newHandler(t, c)
	properties := func(mapping string) string {
		text, err := json.Marshal(mapping)
		if err != nil {
			t.Fatal(err)
		}
		return `{"Version": "1", "SourceQueueReplicator": "copier", "QueueReplicationMapping": ` + string(text) +
			`, "QueueReplicationDestinationLeoBotRoleARNs": "arn:aws:iam::123456789012:role/far-LeoBotRole-1A,"}`
	}
	two, one := properties(`["orders", {"pay": "pay-copy"}]`), properties(`["orders"]`)
	if _, err := h.handle(t.Context(), req(c, "Create", two, "")); err != nil || c.last().Status != "SUCCESS" {
		t.Fatalf("%v, answer %+v", err, c.last())
	}
	b := bot(t, st, "replicate-pay-to-123456789012-far-pay-copy")
	if b.Paused || b.Invocation.Lambda != "copier" || b.Triggers[0] != "queue:pay" || !strings.Contains(string(b.Settings), `"destinationQueue":"pay-copy"`) {
		t.Errorf("got %+v", b)
	}
	if _, err := h.handle(t.Context(), req(c, "Update", one, two)); err != nil || !bot(t, st, b.ID).Archived {
		t.Errorf("%v, %+v", err, bot(t, st, b.ID))
	}
	if bot(t, st, "replicate-orders-to-123456789012-far-orders").Archived || bot(t, st, "leo_cron_monitor").Archived {
		t.Error("a bot that is still declared was retired")
	}
}
