package storetest

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/rstreams-go/rstreams/bus/store"
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

// sameJSON compares JSON texts by meaning, numbers by their digits.
func (e *env) sameJSON(got json.RawMessage, want string) {
	e.Helper()
	norm := func(s string) string {
		var v any
		dec := json.NewDecoder(strings.NewReader(s))
		dec.UseNumber()
		if err := dec.Decode(&v); err != nil {
			e.Fatalf("stored %q: %v", s, err)
		}
		b, err := json.Marshal(v)
		e.ok(err)
		return string(b)
	}
	e.same(norm(string(got)), norm(want))
}
