package aws

import (
	"strconv"
	"strings"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
)

// update is one conditional UpdateItem in the making: what it sets and removes and under which conditions. It names every
// attribute by a placeholder, so that names of any kind are fine.
type update struct {
	sets    []assignment
	removes []string
	adds    []string
	conds   []string
	marks   [][]string
	parents [][]string
	names   map[string]string // attribute to placeholder
	values  map[string]value
	// create is a new item that is put instead of an update, if there is none.
	create item
	// orAbsent takes a failed condition whose answer has no row for a row that is not there, without looking again. DynamoDB
	// answers so; where another service leaves the row out, the write is given up.
	orAbsent bool
}

// assignment is one part of a SET.
type assignment struct {
	path []string
	v    value
	text string
}

func newUpdate() *update { return &update{names: map[string]string{}, values: map[string]value{}} }

// p returns the expression of a path.
func (u *update) p(path ...string) string {
	var b strings.Builder
	for i, name := range path {
		placeholder, ok := u.names[name]
		if !ok {
			placeholder = "#" + strconv.Itoa(len(u.names))
			u.names[name] = placeholder
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(placeholder)
	}
	return b.String()
}

// v returns the expression of a value.
func (u *update) v(v value) string {
	placeholder := ":" + strconv.Itoa(len(u.values))
	u.values[placeholder] = v
	return placeholder
}

// set sets the value at path and returns the value's expression, for conditions.
func (u *update) set(v value, path ...string) string {
	name := u.v(v)
	u.assign(v, u.p(path...)+"="+name, path)
	return name
}

// setOnce sets the value at path if there is none.
func (u *update) setOnce(v value, path ...string) {
	p := u.p(path...)
	u.assign(v, p+"=if_not_exists("+p+","+u.v(v)+")", path)
}

func (u *update) assign(v value, text string, path []string) {
	u.sets = append(u.sets, assignment{path, v, text})
	u.needs(path)
}

// needs notes the map that must be there for path to be written.
func (u *update) needs(path []string) {
	if len(path) > 1 {
		u.parents = append(u.parents, path[:len(path)-1])
	}
}

// remove removes the value at path.
func (u *update) remove(path ...string) {
	u.removes = append(u.removes, u.p(path...))
	u.needs(path)
}

// setOrRemove sets the value at path, or removes it if it is nil.
func (u *update) setOrRemove(v value, path ...string) {
	if v == nil {
		u.remove(path...)
		return
	}
	u.set(v, path...)
}

// add adds a number to the value at path.
func (u *update) add(n int64, path ...string) {
	u.adds = append(u.adds, u.p(path...)+" "+u.v(num(n)))
	u.needs(path)
}

// when adds a condition.
func (u *update) when(condition string) { u.conds = append(u.conds, condition) }

// is is the condition that path holds v; nil stands for no value.
func (u *update) is(v value, path ...string) {
	if v == nil {
		u.when("attribute_not_exists(" + u.p(path...) + ")")
		return
	}
	u.when(u.p(path...) + "=" + u.v(v))
}

// asIn is the condition that path holds what it holds in seen.
func (u *update) asIn(seen item, path ...string) { u.is(at(seen, path...), path...) }

// exists is the condition that path holds something.
func (u *update) exists(path ...string) { u.when("attribute_exists(" + u.p(path...) + ")") }

// unlessAbove is the condition that path holds nothing, or something that op (< or <=) the value with that expression allows.
func (u *update) unlessAbove(op, v string, path ...string) {
	p := u.p(path...)
	u.when("(attribute_not_exists(" + p + ") OR " + p + op + v + ")")
}

// mark notes that what is set at path identifies this write: whoever finds it stored after a request without an answer knows
// that the request was carried out.
func (u *update) mark(path ...string) { u.marks = append(u.marks, path) }

// stored tells whether seen holds all marks, which at least one must be.
func (u *update) stored(seen item) bool {
	for _, path := range u.marks {
		want, ok := u.wanted(path)
		if !ok || !equal(want, at(seen, path...)) {
			return false
		}
	}
	return len(u.marks) > 0
}

// wanted returns what the update leaves at path, which may be within a map that it sets.
func (u *update) wanted(path []string) (value, bool) {
	for _, a := range u.sets {
		if len(a.path) > len(path) || strings.Join(a.path, "\x00") != strings.Join(path[:len(a.path)], "\x00") {
			continue
		}
		if len(a.path) == len(path) {
			return a.v, true
		}
		v := at(members(a.v), path[len(a.path):]...)
		return v, v != nil
	}
	return nil, false
}

// expression returns the update expression, "" for none.
func (u *update) expression() string {
	var b strings.Builder
	clause := func(word string, parts []string) {
		if len(parts) == 0 {
			return
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(word)
		b.WriteString(strings.Join(parts, ","))
	}
	clause("SET ", mapped(u.sets, func(a assignment) string { return a.text }))
	clause("REMOVE ", u.removes)
	clause("ADD ", u.adds)
	return b.String()
}

// condition returns the condition expression, nil for none.
func (u *update) condition() *string {
	if len(u.conds) == 0 {
		return nil
	}
	s := strings.Join(u.conds, " AND ")
	return &s
}

// attributeNames and attributeValues return what the placeholders stand for, nil for none: DynamoDB refuses empty maps.
func (u *update) attributeNames() map[string]string {
	if len(u.names) == 0 {
		return nil
	}
	out := make(map[string]string, len(u.names))
	for name, placeholder := range u.names {
		out[placeholder] = name
	}
	return out
}

func (u *update) attributeValues() map[string]ddb.AttributeValue {
	if len(u.values) == 0 {
		return nil
	}
	return u.values
}
