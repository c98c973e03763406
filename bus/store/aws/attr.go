package aws

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/rstreams-go/rstreams/bus/store"
)

// value is a DynamoDB attribute value, item a whole item or a map in one.
type (
	value = ddb.AttributeValue
	item  = map[string]ddb.AttributeValue
)

func str(s string) value    { return &ddb.AttributeValueMemberS{Value: s} }
func num(n int64) value     { return &ddb.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)} }
func boolean(b bool) value  { return &ddb.AttributeValueMemberBOOL{Value: b} }
func binary(b []byte) value { return &ddb.AttributeValueMemberB{Value: b} }
func object(m item) value   { return &ddb.AttributeValueMemberM{Value: m} }
func list(l ...value) value { return &ddb.AttributeValueMemberL{Value: l} }
func null() value           { return &ddb.AttributeValueMemberNULL{Value: true} }
func strOrNull(s string) value {
	if s == "" {
		return null()
	}
	return str(s)
}

// Readers of values are lenient: what is missing, NULL or of another type is the zero value. Rows are written by several
// programs, and one odd attribute must not hide a row.

// text returns a string, or the digits of a number: positions of systems may be numbers.
func text(v value) string {
	switch v := v.(type) {
	case *ddb.AttributeValueMemberS:
		return v.Value
	case *ddb.AttributeValueMemberN:
		return v.Value
	}
	return ""
}

// integer returns a number; its fraction, which the original back-off leaves, is cut off.
func integer(v value) int64 {
	n, ok := v.(*ddb.AttributeValueMemberN)
	if !ok {
		return 0
	}
	if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
		return i
	}
	f, err := strconv.ParseFloat(n.Value, 64)
	if err != nil || math.Abs(f) >= 1<<62 {
		return 0
	}
	return int64(f)
}

func truth(v value) bool {
	b, ok := v.(*ddb.AttributeValueMemberBOOL)
	return ok && b.Value
}

func bytesOf(v value) []byte {
	if b, ok := v.(*ddb.AttributeValueMemberB); ok {
		return b.Value
	}
	return nil
}

func members(v value) item {
	if m, ok := v.(*ddb.AttributeValueMemberM); ok {
		return m.Value
	}
	return nil
}

func elements(v value) []value {
	if l, ok := v.(*ddb.AttributeValueMemberL); ok {
		return l.Value
	}
	return nil
}

// isNothing tells whether v is missing or NULL.
func isNothing(v value) bool {
	if v == nil {
		return true
	}
	_, ok := v.(*ddb.AttributeValueMemberNULL)
	return ok
}

// at returns the value at a path of maps in it, nil where there is none.
func at(it item, path ...string) value {
	for _, name := range path[:len(path)-1] {
		it = members(it[name])
	}
	return it[path[len(path)-1]]
}

// equal tells whether a and b are the same value. How a number is written does not count: DynamoDB writes them in its own way.
func equal(a, b value) bool {
	switch x := a.(type) {
	case nil:
		return b == nil
	case *ddb.AttributeValueMemberS:
		y, ok := b.(*ddb.AttributeValueMemberS)
		return ok && x.Value == y.Value
	case *ddb.AttributeValueMemberN:
		y, ok := b.(*ddb.AttributeValueMemberN)
		return ok && sameNumber(x.Value, y.Value)
	case *ddb.AttributeValueMemberB:
		y, ok := b.(*ddb.AttributeValueMemberB)
		return ok && bytes.Equal(x.Value, y.Value)
	case *ddb.AttributeValueMemberBOOL:
		y, ok := b.(*ddb.AttributeValueMemberBOOL)
		return ok && x.Value == y.Value
	case *ddb.AttributeValueMemberNULL:
		_, ok := b.(*ddb.AttributeValueMemberNULL)
		return ok
	case *ddb.AttributeValueMemberM:
		y, ok := b.(*ddb.AttributeValueMemberM)
		return ok && maps.EqualFunc(x.Value, y.Value, equal)
	case *ddb.AttributeValueMemberL:
		y, ok := b.(*ddb.AttributeValueMemberL)
		return ok && slices.EqualFunc(x.Value, y.Value, equal)
	}
	return false
}

func sameNumber(a, b string) bool {
	if a == b {
		return true
	}
	x, okA := new(big.Rat).SetString(a)
	y, okB := new(big.Rat).SetString(b)
	return okA && okB && x.Cmp(y) == 0
}

// Limits of DynamoDB's numbers and documents.
const (
	maxDigits = 38
	maxDepth  = 32
)

// fromJSON returns the value of a JSON text. Numbers keep their digits; those that DynamoDB cannot hold are ErrInvalid.
func fromJSON(doc json.RawMessage) (value, error) {
	dec := json.NewDecoder(bytes.NewReader(doc))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("%w JSON: %w", store.ErrInvalid, err)
	}
	return fromAny(v, 1)
}

func fromAny(v any, depth int) (value, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("%w JSON: DynamoDB holds at most %d levels", store.ErrInvalid, maxDepth)
	}
	switch v := v.(type) {
	case string:
		return str(v), nil
	case bool:
		return boolean(v), nil
	case json.Number:
		if !fits(v.String()) {
			return nil, fmt.Errorf("%w number %.60s: DynamoDB holds %d digits and exponents from -130 to 125", store.ErrInvalid, v, maxDigits)
		}
		return &ddb.AttributeValueMemberN{Value: v.String()}, nil
	case map[string]any:
		m := make(item, len(v))
		for name, e := range v {
			x, err := fromAny(e, depth+1)
			if err != nil {
				return nil, err
			}
			m[name] = x
		}
		return object(m), nil
	case []any:
		l := make([]value, len(v))
		for i, e := range v {
			x, err := fromAny(e, depth+1)
			if err != nil {
				return nil, err
			}
			l[i] = x
		}
		return list(l...), nil
	}
	return null(), nil
}

// fits tells whether DynamoDB can hold a number of JSON without loss.
func fits(s string) bool {
	mantissa, e, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(s, "-")), "e")
	exp := 0
	if e != "" {
		var err error
		if exp, err = strconv.Atoi(e); err != nil {
			return false
		}
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	digits := strings.TrimLeft(whole+fraction, "0")
	if digits == "" {
		return true
	}
	first := len(digits) - len(fraction) - 1 + exp // exponent of the first digit
	return len(strings.TrimRight(digits, "0")) <= maxDigits && first >= -130 && first <= 125
}

// toJSON returns a value as JSON. Binary values become base64 and sets become lists: what JSON has no word for.
func toJSON(v value) (json.RawMessage, error) {
	return appendJSON(nil, v)
}

func appendJSON(b []byte, v value) ([]byte, error) {
	switch v := v.(type) {
	case *ddb.AttributeValueMemberS:
		return appendText(b, v.Value), nil
	case *ddb.AttributeValueMemberN:
		if !json.Valid([]byte(v.Value)) {
			return nil, fmt.Errorf("%w: number %q", store.ErrCorrupt, v.Value)
		}
		return append(b, v.Value...), nil
	case *ddb.AttributeValueMemberBOOL:
		return strconv.AppendBool(b, v.Value), nil
	case *ddb.AttributeValueMemberB:
		return appendText(b, base64.StdEncoding.EncodeToString(v.Value)), nil
	case *ddb.AttributeValueMemberM:
		b = append(b, '{')
		for i, name := range slices.Sorted(maps.Keys(v.Value)) {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendText(b, name), ':')
			var err error
			if b, err = appendJSON(b, v.Value[name]); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	case *ddb.AttributeValueMemberL:
		return appendList(b, v.Value)
	case *ddb.AttributeValueMemberSS:
		return appendList(b, mapped(v.Value, str))
	case *ddb.AttributeValueMemberNS:
		return appendList(b, mapped(v.Value, func(n string) value { return &ddb.AttributeValueMemberN{Value: n} }))
	case *ddb.AttributeValueMemberBS:
		return appendList(b, mapped(v.Value, binary))
	}
	return append(b, "null"...), nil
}

func appendList(b []byte, l []value) ([]byte, error) {
	b = append(b, '[')
	for i, e := range l {
		if i > 0 {
			b = append(b, ',')
		}
		var err error
		if b, err = appendJSON(b, e); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendText(b []byte, s string) []byte {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if enc.Encode(s) != nil {
		return append(b, `""`...) // A string can always be encoded.
	}
	return append(b, bytes.TrimRight(buf.Bytes(), "\n")...)
}

func mapped[A, B any](in []A, f func(A) B) []B {
	out := make([]B, len(in))
	for i, a := range in {
		out[i] = f(a)
	}
	return out
}

// errImage reports an image of a stream record that is no item in DynamoDB's JSON.
var errImage = errors.New("no item in DynamoDB's JSON")

// parseImage reads an item in DynamoDB's JSON, as records of table streams have it; nil for none.
func parseImage(image json.RawMessage) (item, error) {
	if trimmed := bytes.TrimSpace(image); len(trimmed) == 0 || string(trimmed) == "null" {
		return nil, nil
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(image, &fields); err != nil {
		return nil, fmt.Errorf("%w: %w: %w", store.ErrCorrupt, errImage, err)
	}
	return parseMembers(fields)
}

func parseMembers(fields map[string]json.RawMessage) (item, error) {
	out := make(item, len(fields))
	for name, doc := range fields {
		v, err := parseValue(doc)
		if err != nil {
			return nil, fmt.Errorf("%w: %w: attribute %q: %w", store.ErrCorrupt, errImage, name, err)
		}
		out[name] = v
	}
	return out, nil
}

// wireValue is a value in DynamoDB's JSON; exactly one member is set.
type wireValue struct {
	S    *string
	N    *string
	B    *[]byte
	BOOL *bool
	NULL *bool
	M    *map[string]json.RawMessage
	L    *[]json.RawMessage
	SS   *[]string
	NS   *[]string
	BS   *[][]byte
}

func parseValue(doc json.RawMessage) (value, error) {
	var w wireValue
	if err := json.Unmarshal(doc, &w); err != nil {
		return nil, err
	}
	switch {
	case w.S != nil:
		return str(*w.S), nil
	case w.N != nil:
		return &ddb.AttributeValueMemberN{Value: *w.N}, nil
	case w.B != nil:
		return binary(*w.B), nil
	case w.BOOL != nil:
		return boolean(*w.BOOL), nil
	case w.NULL != nil:
		return null(), nil
	case w.M != nil:
		m, err := parseMembers(*w.M)
		return object(m), err
	case w.L != nil:
		l := make([]value, len(*w.L))
		for i, e := range *w.L {
			var err error
			if l[i], err = parseValue(e); err != nil {
				return nil, err
			}
		}
		return list(l...), nil
	case w.SS != nil:
		return &ddb.AttributeValueMemberSS{Value: *w.SS}, nil
	case w.NS != nil:
		return &ddb.AttributeValueMemberNS{Value: *w.NS}, nil
	case w.BS != nil:
		return &ddb.AttributeValueMemberBS{Value: *w.BS}, nil
	}
	return nil, errors.New("it has no type")
}
