package storetest

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/rstreams-go/rstreams/bus/store"
)

var systemTests = []test{
	{"Get of an unknown system is ErrNotFound", func(e *env) {
		_, err := e.Systems.Get(e.Context(), e.name("none"))
		e.is(err, store.ErrNotFound)
	}},
	{"Merge creates the document where there is none, without an id", func(e *env) {
		s := e.name("s")
		e.merge(s, `{"id":"other","label":"L <é>","settings":{"n":1.5,"big":12345678901234567890,"list":[1,null,{"a":true}]}}`)
		e.sameSystem(s, `{"label":"L <é>","settings":{"n":1.5,"big":12345678901234567890,"list":[1,null,{"a":true}]}}`)
	}},
	{"Merge merges objects member by member and everything else as a whole", func(e *env) {
		s := e.name("s")
		for _, step := range []struct{ doc, want string }{
			{`{"a":{"b":1,"c":{"d":[1,2]}},"t":"x"}`, `{"a":{"b":1,"c":{"d":[1,2]}},"t":"x"}`},
			{`{"a":{"c":{"d":[3]},"e":null}}`, `{"a":{"b":1,"c":{"d":[3]},"e":null},"t":"x"}`},
			{`{"a":{"c":7,"b":{"f":{}}}}`, `{"a":{"b":{"f":{}},"c":7,"e":null},"t":"x"}`},
			{`{}`, `{"a":{"b":{"f":{}},"c":7,"e":null},"t":"x"}`},
			{`{"t":{"u":1},"a":[]}`, `{"a":[],"t":{"u":1}}`},
			{`{"a":{"x.y":1,"#z":2}}`, `{"a":{"x.y":1,"#z":2},"t":{"u":1}}`},
		} {
			e.merge(s, step.doc)
			e.sameSystem(s, step.want)
		}
	}},
	{"an empty document is a document", func(e *env) {
		e.merge(e.name("s"), `{}`)
		e.sameSystem(e.name("s"), `{}`)
	}},
	{"Merge refuses a document that is no object or has a member without a name, and a system without an id", func(e *env) {
		for _, doc := range []string{"", "null", "1", `"text"`, "[]", "{", `{}{}`, `{"":1}`, `{"a":[{"":1}]}`} {
			e.is(e.Systems.Merge(e.Context(), store.System{ID: e.name("s"), Doc: json.RawMessage(doc)}), store.ErrInvalid)
		}
		e.is(e.Systems.Merge(e.Context(), store.System{Doc: json.RawMessage("{}")}), store.ErrInvalid)
		_, err := e.Systems.Get(e.Context(), e.name("s"))
		e.is(err, store.ErrNotFound)
	}},
	{"concurrent merges of different members are all kept", func(e *env) {
		s := e.name("s")
		n := e.rounds(12)
		want := `"base":true`
		e.merge(s, `{"in":{"base":true}}`)
		var wg sync.WaitGroup
		for i := range n {
			want += fmt.Sprintf(`,"m%d":%d`, i, i)
			wg.Go(func() {
				doc := fmt.Sprintf(`{"in":{"m%d":%d}}`, i, i)
				if err := e.Systems.Merge(e.Context(), store.System{ID: s, Doc: json.RawMessage(doc)}); err != nil {
					e.Error(err)
				}
			})
		}
		wg.Wait()
		e.sameSystem(s, `{"in":{`+want+`}}`)
	}},
	{"List returns systems after an id in order, and fewer than the limit at the end", func(e *env) {
		ids := []string{"a", "a-b", "a1", "b", "c"}
		for _, id := range ids {
			e.merge(e.name(id), fmt.Sprintf(`{"label":%q}`, id))
		}
		for _, limit := range []int{1, 3, 100} {
			var got []string
			for after := e.prefix; ; {
				page, err := e.Systems.List(e.Context(), after, limit)
				e.ok(err)
				if len(page) > limit {
					e.Fatalf("limit %d gave %d systems", limit, len(page))
				}
				for _, s := range page {
					if base, mine := e.base(s.ID); mine {
						e.sameJSON(s.Doc, fmt.Sprintf(`{"label":%q}`, base))
						got = append(got, base)
					}
				}
				if len(page) < limit || !e.mine(page[len(page)-1].ID) {
					break
				}
				after = page[len(page)-1].ID
			}
			e.same(got, ids)
		}
	}},
}

func (e *env) merge(id, doc string) {
	e.Helper()
	e.ok(e.Systems.Merge(e.Context(), store.System{ID: id, Doc: json.RawMessage(doc)}))
}

func (e *env) sameSystem(id, want string) {
	e.Helper()
	got, err := e.Systems.Get(e.Context(), id)
	e.ok(err)
	e.same(got.ID, id)
	e.sameJSON(got.Doc, want)
}
