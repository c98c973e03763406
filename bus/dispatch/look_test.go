package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/store"
)

// looking gives a store a Look as DynamoDB has one: any rows for one request. fail, if set, says why it fails.
func looking(st store.Store, c *counted, fail *error) store.Store {
	plain := st
	st = c.wrap(st)
	st.Look = func(ctx context.Context, keys store.Keys) (store.Rows, error) {
		c.add("look")
		if *fail != nil {
			return store.Rows{}, *fail
		}
		rows := store.Rows{Settings: map[string]json.RawMessage{}, Bots: map[string]store.Bot{}, Queues: map[string]store.Queue{}}
		for _, id := range keys.Settings {
			if doc, err := plain.Settings.Get(ctx, id); err == nil {
				rows.Settings[id] = doc
			}
		}
		for _, id := range keys.Bots {
			if row, err := plain.Bots.Get(ctx, id); err == nil {
				rows.Bots[id] = row
			}
		}
		return rows, nil
	}
	return st
}

// TestWS4OneRequestReadsAllTriggeredBots: where the storage can, the version of the table of triggers and the rows of the bots are
// read together; a table that is not of that version is not used.
func TestWS4OneRequestReadsAllTriggeredBots(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		reads := func(r *run) error {
			r.read("q")
			return nil
		}
		for _, id := range []string{"a", "b"} {
			w.bot(store.Registration{ID: id, Triggers: []string{"q"}}, reads)
		}
		var c counted
		var fail error
		o := w.onceOn(looking(w.st, &c, &fail), OnceConfig{})
		want := func(what string, started int, want string) {
			t.Helper()
			if r := w.moves(o, "q"); r.Started != started {
				t.Errorf("%s: %+v", what, r)
			}
			if got := c.take(); got != want {
				t.Errorf("%s: %q, want %q", what, got, want)
			}
			time.Sleep(time.Second)
		}
		want("without a table", 2, "get 2, list 1, lock 2, setting 1")
		want("with it", 2, "lock 2, look 1")
		w.streamed(o, []string{"c"}, func() { w.bot(store.Registration{ID: "c", Triggers: []string{"q"}}, reads) })
		time.Sleep(time.Second)
		c.take()
		want("a bot is new", 3, "get 3, list 1, lock 3, look 1, setting 1")
		want("and then known", 3, "lock 3, look 1")
		fail = errors.New("no right to read rows together")
		want("if that fails", 3, "get 3, lock 3, look 1, setting 1")
		fail = nil
		time.Sleep(10 * time.Minute)
		want("the table is old", 3, "get 3, list 1, lock 3, setting 1")
	})
}
