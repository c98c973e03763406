package rules_test

import (
	"encoding/json"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store/internal/rules"
)

func TestSameJSONComparesValuesNotText(t *testing.T) {
	for _, group := range [][]string{
		{`1`, `1.0`, `10e-1`, `0.1e1`, `100E-2`}, {`0`, `-0`, `0.00`, `0e9`}, {`-1.5`, `-15e-1`}, {`1e400`, `10e399`},
		{`12345678901234567890`, `1.2345678901234567890e19`}, {`12345678901234567891`}, {`1e99999999999`}, {`1e99999999998`},
		{`"a"`, `"\u0061"`}, {`"1"`}, {`null`}, {`true`}, {`false`}, {`[]`}, {`{}`, ` { } `}, {`[1,2]`, `[1.0, 2]`}, {`[2,1]`},
		{`{"a":1,"b":[{"c":null}]}`, `{"b":[{"c":null}],"a":1}`}, {`{"a":1}`}, {`{"a":null}`}, {`{"b":null}`}, {`""`},
	} {
		for _, a := range group {
			for _, b := range group {
				if !rules.SameJSON(json.RawMessage(a), json.RawMessage(b)) {
					t.Errorf("%s and %s differ", a, b)
				}
			}
			for _, other := range []string{`7`, `"7"`, `[7]`, `{"x":7}`} {
				if rules.SameJSON(json.RawMessage(a), json.RawMessage(other)) {
					t.Errorf("%s and %s are the same", a, other)
				}
			}
			if rules.SameJSON(json.RawMessage(a), nil) || rules.SameJSON(nil, json.RawMessage(a)) {
				t.Errorf("%s and nothing are the same", a)
			}
		}
	}
	for _, pair := range [][2]string{{`{"a":1}`, `{"a":null}`}, {`{"a":null}`, `{"b":null}`}, {`12345678901234567890`, `12345678901234567891`},
		{`1e99999999999`, `1e99999999998`}, {`1`, `10`}, {`[1,2]`, `[2,1]`}, {`"1"`, `1`}, {`0`, `false`}, {`null`, `{}`}} {
		if rules.SameJSON(json.RawMessage(pair[0]), json.RawMessage(pair[1])) {
			t.Errorf("%s and %s are the same", pair[0], pair[1])
		}
	}
	if !rules.SameJSON(nil, nil) {
		t.Error("nothing and nothing differ")
	}
}
