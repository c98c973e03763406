package aws

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// What an emulator cannot show: answers that are lost, items that are not processed, throttling, services that are away.

// brief is the budget of calls that are meant to give up.
const brief = 50 * time.Millisecond

// body returns the members of a request.
func body(t *testing.T, c call) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(c.body), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func wire(t *testing.T, it item) map[string]json.RawMessage {
	t.Helper()
	out := map[string]json.RawMessage{}
	for name, v := range it {
		out[name] = wireOf(t, v)
	}
	return out
}

// wireOf returns a value in DynamoDB's JSON.
func wireOf(t *testing.T, v value) json.RawMessage {
	t.Helper()
	var w any
	switch v := v.(type) {
	case *number:
		w = map[string]string{"N": v.Value}
	default:
		if m := members(v); m != nil {
			w = map[string]any{"M": wire(t, m)}
		} else if isNothing(v) {
			w = map[string]bool{"NULL": true}
		} else if b := bytesOf(v); b != nil {
			w = map[string][]byte{"B": b}
		} else if s := text(v); s != "" {
			w = map[string]string{"S": s}
		} else {
			w = map[string]bool{"BOOL": truth(v)}
		}
	}
	b, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// refused is a failed condition on a row, with the row.
func refused(t *testing.T, it item) reply {
	t.Helper()
	b, err := json.Marshal(map[string]any{"__type": "ConditionalCheckFailedException", "message": "no", "Item": wire(t, it)})
	if err != nil {
		t.Fatal(err)
	}
	return reply{status: http.StatusBadRequest, body: string(b)}
}

func noPath() reply {
	return reply{status: http.StatusBadRequest,
		body: `{"__type":"ValidationException","message":"The document path provided in the update expression is invalid for update"}`}
}

func anyChunk(end string) store.Chunk {
	return store.Chunk{Queue: "q", Start: end, End: end, Records: 1, Gzip: []byte("x")}
}

func TestUnprocessedItemsAreWrittenAgainAndOnlyThose(t *testing.T) {
	var sizes []int
	b, _ := openService(t, func(n int, c call) reply {
		requests := body(t, c)["RequestItems"].(map[string]any)["t-LeoStream"].([]any)
		sizes = append(sizes, len(requests))
		if n < 2 {
			return reply{body: map[string]any{"UnprocessedItems": map[string]any{"t-LeoStream": requests[:len(requests)/2]}}}
		}
		return reply{body: "{}"}
	})
	var list []store.Chunk
	for i := range 8 {
		list = append(list, anyChunk(fmt.Sprint("z/", i)))
	}
	if err := b.Store().Chunks.Put(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(sizes, []int{8, 4, 2}) {
		t.Errorf("requests had %v items", sizes)
	}
}

func TestItemsThatStayUnprocessedAreThrottledOnesOfTheBatch(t *testing.T) {
	b, _ := openService(t, func(_ int, c call) reply {
		requests := body(t, c)["RequestItems"].(map[string]any)["t-LeoStream"].([]any)
		var left []any
		for _, r := range requests {
			if raw, _ := json.Marshal(r); strings.Contains(string(raw), `"z/1"`) {
				left = append(left, r)
			}
		}
		return reply{body: map[string]any{"UnprocessedItems": map[string]any{"t-LeoStream": left}}}
	})
	b.o.Budget = brief
	err := b.Store().Chunks.Put(t.Context(), []store.Chunk{anyChunk("z/0"), anyChunk("z/1"), anyChunk("z/2")})
	says(t, err, store.ErrThrottled, "t-LeoStream", "capacity")
	batch, ok := errors.AsType[*store.BatchError](err)
	if !ok || len(batch.Items) != 1 || batch.Items[0].Index != 1 {
		t.Errorf("got %v", err)
	}
}

// W-P3: one item that DynamoDB refuses does not keep the others from being stored.
func TestARefusedItemDoesNotSpoilItsBatch(t *testing.T) {
	stored := map[string]bool{}
	b, _ := openService(t, func(_ int, c call) reply {
		if strings.Contains(c.body, `"z/3"`) {
			return reply{status: 400, body: `{"__type":"ValidationException","message":"Item size has exceeded the maximum allowed size"}`}
		}
		for i := range 5 {
			if strings.Contains(c.body, fmt.Sprintf(`"z/%d"`, i)) {
				stored[fmt.Sprint(i)] = true
			}
		}
		return reply{body: "{}"}
	})
	var list []store.Chunk
	for i := range 5 {
		list = append(list, anyChunk(fmt.Sprint("z/", i)))
	}
	err := b.Store().Chunks.Put(t.Context(), list)
	says(t, err, store.ErrTooLarge)
	batch, ok := errors.AsType[*store.BatchError](err)
	if !ok || len(batch.Items) != 1 || batch.Items[0].Index != 3 || len(stored) != 4 {
		t.Errorf("got %v, stored %v", err, stored)
	}
}

func TestOfChunksWithOneEndInACallTheLastIsStored(t *testing.T) {
	b, s := openService(t, func(int, call) reply { return reply{body: "{}"} })
	first, last := anyChunk("z/1"), anyChunk("z/1")
	last.Records = 7
	if err := b.Store().Chunks.Put(t.Context(), []store.Chunk{first, last}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(s.calls[0].body, "PutRequest"); got != 1 || !strings.Contains(s.calls[0].body, `"records":{"N":"7"}`) {
		t.Errorf("sent %s", s.calls[0].body)
	}
}

func TestThrottlingIsRetriedAndThenTold(t *testing.T) {
	b, s := openService(t, func(n int, _ call) reply {
		if n < 3 {
			return reply{code: "ProvisionedThroughputExceededException"}
		}
		return reply{body: "{}"}
	})
	if _, err := b.Store().Bots.Get(t.Context(), "b"); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	if n := len(s.ops()); n != 4 {
		t.Errorf("%d requests", n)
	}
	b, _ = openService(t, func(int, call) reply { return reply{code: "ThrottlingException"} })
	b.o.Budget = brief
	_, err := b.Store().Bots.Get(t.Context(), "b")
	says(t, err, store.ErrThrottled, "read table t-LeoCron", "capacity")
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for code, want := range map[string]struct {
		kind error
		says []string
	}{
		"ResourceNotFoundException":   {store.ErrUnavailable, []string{"read table t-LeoCron", "not there", "eu-west-1"}},
		"AccessDeniedException":       {store.ErrUnavailable, []string{"read table t-LeoCron", "permission"}},
		"UnrecognizedClientException": {store.ErrUnavailable, []string{"credentials"}},
		"ExpiredTokenException":       {store.ErrUnavailable, []string{"expired"}},
		"ValidationException":         {store.ErrInvalid, []string{"t-LeoCron"}},
		"SomethingNew":                {store.ErrUnavailable, []string{"t-LeoCron", "SomethingNew"}},
	} {
		b, s := openService(t, func(int, call) reply { return reply{code: code} })
		_, err := b.Store().Bots.Get(t.Context(), "b")
		says(t, err, want.kind, want.says...)
		if n := len(s.ops()); n != 1 {
			t.Errorf("%s was asked for %d times", code, n)
		}
	}
	b, _ := openService(t, func(int, call) reply { return reply{code: "InternalServerError", status: 500} })
	b.o.Budget = brief
	_, err := b.Store().Bots.Get(t.Context(), "b")
	says(t, err, store.ErrUnavailable, "try again later")
	b = openAt(t, "http://127.0.0.1:1")
	b.o.Budget = brief
	_, err = b.Store().Bots.Get(t.Context(), "b")
	says(t, err, store.ErrUnavailable, "cannot reach http://127.0.0.1:1")
	if err := b.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = b.Store().Bots.Get(t.Context(), "b")
	says(t, err, store.ErrUnavailable, "closed")
}

func TestTablesThatTheConfigurationDoesNotNameAreTold(t *testing.T) {
	o := Options{Resources: testResources(), Config: openAt(t, "http://127.0.0.1:1").o.Config}
	o.Resources.LeoSystem, o.Resources.LeoSettings = "", ""
	b, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Store().Systems.Get(t.Context(), "s")
	says(t, err, store.ErrUnavailable, "LeoSystem")
	_, err = b.Store().Systems.List(t.Context(), "", 1)
	says(t, err, store.ErrUnavailable, "LeoSystem")
	says(t, b.Store().Settings.Put(t.Context(), "x", json.RawMessage("1")), store.ErrUnavailable, "LeoSettings")
	says(t, b.Store().Settings.Delete(t.Context(), "x"), store.ErrUnavailable, "LeoSettings")
}

// A write whose answer was lost is made again by the retry. Its condition fails then, and what is stored tells that it was ours.
func TestAWriteWhoseAnswerWasLostIsDoneOnce(t *testing.T) {
	const id = "z/2024/01/02/03/04/1704164645678-0000002"
	instance := func(fields item) item { return item{"id": str("b"), "instances": object(item{"0": object(fields)})} }
	type test struct {
		stored item
		write  func(ctx context.Context, s store.Store) error
	}
	tests := map[string]test{
		"Checkpoint": {
			item{"id": str("b"), "checkpoints": object(item{"read": object(item{"queue:q": checkpointValue(store.Checkpoint{Position: id})})})},
			func(ctx context.Context, s store.Store) error {
				return s.Bots.Checkpoint(ctx, store.CheckpointWrite{Bot: "b", Ref: "queue:q", Checkpoint: store.Checkpoint{Position: id}, Expected: "z/1"})
			},
		},
		"Lock": {
			item{"id": str("b"), "invokeTime": num(20), "token": num(20), "ignorePaused": boolean(true),
				"instances": object(item{"0": object(item{"token": num(20), "invokeTime": num(20)})})},
			func(ctx context.Context, s store.Store) error {
				return s.Bots.Lock(ctx, store.Lock{Bot: "b", Seen: 10, At: 20})
			},
		},
		"Confirm": {
			instance(item{"token": num(20), "requestId": str("r"), "startTime": num(21), "maxDuration": num(5)}),
			func(ctx context.Context, s store.Store) error {
				return s.Bots.Confirm(ctx, store.Confirm{Bot: "b", Token: 20, RequestID: "r", At: 21, MaxDuration: 5})
			},
		},
		"Complete": {
			instance(item{"token": num(20), "requestId": str("r"), "startTime": num(21), "completedTime": num(30), "status": str("error")}),
			func(ctx context.Context, s store.Store) error {
				return s.Bots.Complete(ctx, store.Complete{Bot: "b", Token: 20, RequestID: "r", At: 30, Failed: true})
			},
		},
		"Complete of a run that never started": {
			instance(item{"token": num(20), "requestId": str("released"), "completedTime": num(30), "status": str("error")}),
			func(ctx context.Context, s store.Store) error {
				return s.Bots.Complete(ctx, store.Complete{Bot: "b", Token: 20, At: 30, Failed: true})
			},
		},
		"Swap": {
			item{"id": str("x"), "value": object(item{"n": &number{Value: "2.5"}})},
			func(ctx context.Context, s store.Store) error {
				return s.Settings.Swap(ctx, "x", json.RawMessage("1"), json.RawMessage(`{"n":2.50}`))
			},
		},
		"Acquire": {
			item{"id": str("lock_x"), "value": str("o"), "expires": num(20), "ts": num(10)},
			func(ctx context.Context, s store.Store) error { return s.Settings.Acquire(ctx, "x", "o", 10, 20) },
		},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			for _, lost := range []reply{{lost: true}, {code: "InternalServerError", status: 500}} {
				b, s := openService(t, func(n int, _ call) reply {
					switch n {
					case 0:
						return lost
					case 1:
						return refused(t, c.stored)
					}
					return reply{body: "{}"} // Only Acquire writes what is its own again.
				})
				if err := c.write(t.Context(), b.Store()); err != nil {
					t.Errorf("after a lost answer: %v", err)
				}
				if n := len(s.ops()); n != 2 && name != "Acquire" {
					t.Errorf("requests %v", s.ops())
				}
			}
			if name == "Acquire" {
				return
			}
			b, _ := openService(t, func(int, call) reply { return refused(t, c.stored) })
			if err := c.write(t.Context(), b.Store()); !errors.Is(err, store.ErrConflict) {
				t.Errorf("the same row, with no answer lost, is another's: got %v", err)
			}
		})
	}
}

func TestALostAnswerOfAClaimOrAPublicationIsRecognised(t *testing.T) {
	const head = "z/2024/01/02/03/04/1704164645678-0000002"
	c := store.Claim{Queue: "q", Owner: "a", Shard: "s", First: "5", Arrival: 1704164645678, Now: 1704164645678, Lease: 1000}
	claimed, grant, err := store.Queue{}.Claim(c)
	if err != nil {
		t.Fatal(err)
	}
	a := store.Advance{Queue: "q", Fence: grant.Fence, Head: head, Shard: "s", Through: "9", Now: 7}
	advanced, err := claimed.Advance(a)
	if err != nil {
		t.Fatal(err)
	}
	row := func(q store.Queue, head string) item {
		return item{"event": str("q"), "max_eid": str(head), "v": num(2), "sequencing": sequencingValue(q.Sequencing)}
	}
	later, _, err := advanced.Claim(store.Claim{Queue: "q", Owner: "b", Shard: "t", First: "1", Now: c.Now, Lease: 1})
	if err != nil {
		t.Fatal(err)
	}
	for name, after := range map[string]item{"stored": row(advanced, head), "others have gone on": row(later, head)} {
		b, s := openService(t, func(n int, _ call) reply {
			switch n {
			case 1, 3:
				return reply{lost: true}
			case 2:
				return refused(t, row(claimed, noHead))
			case 4:
				return refused(t, after)
			}
			return reply{body: "{}"}
		})
		got, err := b.Store().Queues.Claim(t.Context(), c)
		if err != nil || !reflect.DeepEqual(got, grant) {
			t.Errorf("%s: claim: %+v, %v", name, got, err)
		}
		if err := b.Store().Queues.Advance(t.Context(), a); err != nil {
			t.Errorf("%s: advance: %v", name, err)
		}
		if want := []string{"GetItem", "UpdateItem", "UpdateItem", "UpdateItem", "UpdateItem"}; !slices.Equal(s.ops(), want) {
			t.Errorf("%s: requests %v", name, s.ops())
		}
	}
	b, _ := openService(t, func(n int, _ call) reply {
		if n == 0 {
			return reply{body: map[string]any{"Item": wire(t, row(claimed, noHead))}}
		}
		return refused(t, row(later, head))
	})
	if err := b.Store().Queues.Advance(t.Context(), a); !errors.Is(err, store.ErrConflict) {
		t.Errorf("a publication that another claim came before: %v", err)
	}
}

// Each write of a call is judged by its own lost answers: a lost refusal before must not hide that a later one was stored.
func TestALostAnswerIsRecognisedAfterAnotherThatDidNothing(t *testing.T) {
	row := item{"id": str("b"), "checkpoints": object(item{"read": object(item{}), "write": object(item{})})}
	stored := item{"id": str("b"), "checkpoints": object(item{
		"read": object(item{"queue:q": checkpointValue(store.Checkpoint{Position: "z/1"})}), "write": object(item{})})}
	b, s := openService(t, func(n int, c call) reply {
		switch n {
		case 0, 4: // The first would have been refused.
			return reply{lost: true}
		case 1:
			return noPath()
		case 3: // The row was made by another writer just now.
			return refused(t, row)
		case 5:
			return refused(t, stored)
		}
		return reply{body: "{}"}
	})
	err := b.Store().Bots.Checkpoint(t.Context(), store.CheckpointWrite{Bot: "b", Ref: "queue:q", Checkpoint: store.Checkpoint{Position: "z/1"}})
	if err != nil {
		t.Error(err)
	}
	if want := []string{"UpdateItem", "UpdateItem", "GetItem", "PutItem", "UpdateItem", "UpdateItem"}; !slices.Equal(s.ops(), want) {
		t.Errorf("requests %v", s.ops())
	}
}

// Fault 40, C69: maps that a row lacks are made, and then the write goes on.
func TestMissingMapsAreMade(t *testing.T) {
	made := false
	b, s := openService(t, func(_ int, c call) reply {
		switch {
		case c.op == "GetItem":
			return reply{body: map[string]any{"Item": wire(t, item{"id": str("b"), "checkpoints": null()})}}
		case strings.Contains(c.body, `"read":{"M":{}}`) && strings.Contains(c.body, `"write":{"M":{}}`):
			made = true
		case !made:
			return noPath()
		}
		return reply{body: "{}"}
	})
	err := b.Store().Bots.Checkpoint(t.Context(), store.CheckpointWrite{Bot: "b", Ref: "queue:q", Checkpoint: store.Checkpoint{Position: "z/1"}})
	if err != nil || !made {
		t.Errorf("got %v, made %v", err, made)
	}
	if want := []string{"UpdateItem", "GetItem", "UpdateItem", "UpdateItem"}; !slices.Equal(s.ops(), want) {
		t.Errorf("requests %v", s.ops())
	}
}

func TestAWarmSequencerClaimsAndPublishesWithOneWriteEach(t *testing.T) {
	b, s := openService(t, func(int, call) reply { return reply{body: "{}"} })
	queues := b.Store().Queues
	for i := range 3 {
		g, err := queues.Claim(t.Context(), store.Claim{
			Queue: "q", Owner: "a", Shard: "s", First: fmt.Sprint(i), Arrival: 1704164645678, Now: 1704164645678, Lease: 1000})
		if err != nil {
			t.Fatal(err)
		}
		head := fmt.Sprintf("z/2024/01/02/03/04/%d-0000002", g.Base)
		if err := queues.Advance(t.Context(), store.Advance{Queue: "q", Fence: g.Fence, Head: head, Shard: "s", Through: fmt.Sprint(i), Now: 7}); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"GetItem", "UpdateItem", "UpdateItem", "UpdateItem", "UpdateItem", "UpdateItem", "UpdateItem"}; !slices.Equal(s.ops(), want) {
		t.Errorf("requests %v", s.ops())
	}
}
