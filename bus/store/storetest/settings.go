package storetest

import (
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

var settingsTests = []test{
	{"Get returns what Put stored, or ErrNotFound", func(e *env) {
		_, err := e.Settings.Get(e.Context(), e.name("id"))
		e.is(err, store.ErrNotFound)
		for _, v := range []string{`{"a":[1,2.50,"<é>"],"b":null}`, `"text"`, `12345678901234567`, `true`} {
			e.ok(e.Settings.Put(e.Context(), e.name("id"), json.RawMessage(v)))
			got, err := e.Settings.Get(e.Context(), e.name("id"))
			e.ok(err)
			e.sameJSON(got, v)
		}
	}},
	{"Put refuses what is not JSON", func(e *env) {
		for _, v := range []string{"", "{", "text"} {
			e.is(e.Settings.Put(e.Context(), e.name("id"), json.RawMessage(v)), store.ErrInvalid)
		}
		e.is(e.Settings.Put(e.Context(), "", json.RawMessage("1")), store.ErrInvalid)
	}},
	{"Swap replaces what is stored there if it is the old value", func(e *env) {
		id := e.name("id")
		e.ok(e.Settings.Put(e.Context(), id, json.RawMessage(`{"a":1,"b":[true,"x"]}`)))
		e.ok(e.Settings.Swap(e.Context(), id, json.RawMessage(`{"a":1,"b":[true,"x"]}`), json.RawMessage(`2`)))
		e.setting(id, `2`)
		for _, old := range []string{`3`, `"2"`, `{"a":1,"b":[true,"x"]}`, `null`, `[2]`} {
			e.is(e.Settings.Swap(e.Context(), id, json.RawMessage(old), json.RawMessage(`4`)), store.ErrConflict)
		}
		e.is(e.Settings.Swap(e.Context(), id, nil, json.RawMessage(`4`)), store.ErrConflict)
		e.setting(id, `2`)
	}},
	{"Swap with nothing as the old value stores what is new, once", func(e *env) {
		id := e.name("id")
		e.is(e.Settings.Swap(e.Context(), id, json.RawMessage(`null`), json.RawMessage(`1`)), store.ErrConflict)
		e.ok(e.Settings.Swap(e.Context(), id, nil, json.RawMessage(`null`)))
		e.is(e.Settings.Swap(e.Context(), id, nil, json.RawMessage(`2`)), store.ErrConflict)
		e.setting(id, `null`)
		e.ok(e.Settings.Swap(e.Context(), id, json.RawMessage(`null`), json.RawMessage(`2`)))
		e.setting(id, `2`)
	}},
	{"Swap compares values as JSON, where the order of members does not count", func(e *env) {
		id := e.name("id")
		e.ok(e.Settings.Put(e.Context(), id, json.RawMessage(`{"a":1,"b":{"c":[1.5,20],"d":"<é>"}}`)))
		e.is(e.Settings.Swap(e.Context(), id, json.RawMessage(`{"a":1,"b":{"c":[20,1.5],"d":"<é>"}}`), json.RawMessage(`1`)), store.ErrConflict)
		same := json.RawMessage(` { "b" : {"d":"\u003c\u00e9>","c":[ 1.50, 2e1 ]}, "a":1 } `)
		e.ok(e.Settings.Swap(e.Context(), id, same, json.RawMessage(`1`)))
		e.setting(id, `1`)
	}},
	{"Swap refuses what is not JSON", func(e *env) {
		id := e.name("id")
		for _, v := range []string{"", "{", "text"} {
			e.is(e.Settings.Swap(e.Context(), id, nil, json.RawMessage(v)), store.ErrInvalid)
			e.is(e.Settings.Swap(e.Context(), id, json.RawMessage(v), json.RawMessage("1")), store.ErrInvalid)
		}
		e.is(e.Settings.Swap(e.Context(), "", nil, json.RawMessage("1")), store.ErrInvalid)
		_, err := e.Settings.Get(e.Context(), id)
		e.is(err, store.ErrNotFound)
	}},
	{"of many that swap the same value exactly one succeeds", func(e *env) {
		id := e.name("id")
		var old json.RawMessage
		for round := range e.rounds(20) {
			won := e.race(8, func(i int) error {
				return e.Settings.Swap(e.Context(), id, old, json.RawMessage(fmt.Sprintf(`{"round":%d,"by":%d}`, round, i)))
			})
			e.same(len(won), 1)
			old = json.RawMessage(fmt.Sprintf(`{"by":%d,"round":%d}`, won[0], round))
			e.setting(id, string(old))
		}
	}},
	{"Delete removes a setting; an absent one is not an error", func(e *env) {
		id := e.name("id")
		e.ok(e.Settings.Delete(e.Context(), id))
		e.ok(e.Settings.Put(e.Context(), id, json.RawMessage(`1`)))
		e.ok(e.Settings.Put(e.Context(), e.name("other"), json.RawMessage(`2`)))
		e.ok(e.Settings.Delete(e.Context(), id))
		e.ok(e.Settings.Delete(e.Context(), id))
		_, err := e.Settings.Get(e.Context(), id)
		e.is(err, store.ErrNotFound)
		e.setting(e.name("other"), `2`)
		e.ok(e.Settings.Swap(e.Context(), id, nil, json.RawMessage(`3`)))
	}},
	{"a lock that a wrong clock took for years counts as free", func(e *env) {
		l := e.name("l")
		e.ok(e.Settings.Acquire(e.Context(), l, "ahead", 1_000_000_000_000, 1_000_000_005_000))
		e.ok(e.Settings.Acquire(e.Context(), l, "b", 1000, 6000))
		e.is(e.Settings.Acquire(e.Context(), l, "ahead", 2000, 7000), store.ErrConflict)
		day := int64(24 * 60 * 60 * 1000)
		e.ok(e.Settings.Acquire(e.Context(), e.name("long"), "a", 1000, 1000+3*day))
		e.is(e.Settings.Acquire(e.Context(), e.name("long"), "b", 1000, 1000+2*day), store.ErrConflict)
	}},
	{"Acquire takes a free lock, and the owner's own again", func(e *env) {
		l := e.name("lock")
		e.ok(e.Settings.Acquire(e.Context(), l, "a", 1000, 2000))
		e.is(e.Settings.Acquire(e.Context(), l, "b", 1500, 2500), store.ErrConflict)
		e.ok(e.Settings.Acquire(e.Context(), l, "a", 1500, 3000))
		e.is(e.Settings.Acquire(e.Context(), l, "b", 2500, 9000), store.ErrConflict)
		e.ok(e.Settings.Acquire(e.Context(), e.name("other"), "b", 1500, 2500))
	}},
	{"a lock can be taken from the moment it expires", func(e *env) {
		l := e.name("lock")
		e.ok(e.Settings.Acquire(e.Context(), l, "a", 1000, 2000))
		e.is(e.Settings.Acquire(e.Context(), l, "b", 1999, 3000), store.ErrConflict)
		e.ok(e.Settings.Acquire(e.Context(), l, "b", 2000, 3000))
		e.is(e.Settings.Acquire(e.Context(), l, "a", 2000, 3000), store.ErrConflict)
	}},
	{"Release frees the owner's lock and no other's", func(e *env) {
		l := e.name("lock")
		e.ok(e.Settings.Release(e.Context(), l, "a"))
		e.ok(e.Settings.Acquire(e.Context(), l, "a", 1000, 2000))
		e.ok(e.Settings.Release(e.Context(), l, "b"))
		e.is(e.Settings.Acquire(e.Context(), l, "b", 1500, 2500), store.ErrConflict)
		e.ok(e.Settings.Release(e.Context(), l, "a"))
		e.ok(e.Settings.Acquire(e.Context(), l, "b", 1500, 2500))
		e.ok(e.Settings.Release(e.Context(), l, "a")) // it has lost it before
		e.is(e.Settings.Acquire(e.Context(), l, "a", 1600, 2500), store.ErrConflict)
	}},
	{"of many that acquire a lock at once exactly one gets it", func(e *env) {
		for round := range e.rounds(20) {
			var won atomic.Int32
			var wg sync.WaitGroup
			for i := range 8 {
				wg.Go(func() {
					err := e.Settings.Acquire(e.Context(), e.name(fmt.Sprint(round)), fmt.Sprint("owner", i), 1000, 2000)
					if err == nil {
						won.Add(1)
					}
				})
			}
			wg.Wait()
			e.same(won.Load(), int32(1))
		}
	}},
}

// setting checks what is stored.
func (e *env) setting(id, want string) {
	e.Helper()
	got, err := e.Settings.Get(e.Context(), id)
	e.ok(err)
	e.sameJSON(got, want)
}

// sameJSON compares JSON texts by meaning: neither the order of members counts nor how a number is written.
func (e *env) sameJSON(got json.RawMessage, want string) {
	e.Helper()
	if !rules.SameJSON(got, json.RawMessage(want)) {
		e.Fatalf("stored %s, want %s", got, want)
	}
}
