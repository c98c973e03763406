package rstreams_test

import (
	"context"
	"fmt"
	"testing"

	"go.uber.org/goleak"

	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/sdk/rstreamstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// number is the payload that most tests write.
type number struct {
	I int `json:"i"`
}

// numbers returns n payloads.
func numbers(n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = number{i}
	}
	return out
}

// read returns everything a read gives, and its error.
func read(r *rstreams.Reader) (ids []string, values []int, err error) {
	for e, err := range r.All(context.Background()) {
		if err != nil {
			return ids, values, err
		}
		v, err := rstreams.Decode[number](e)
		if err != nil {
			return ids, values, err
		}
		ids = append(ids, e.EID)
		values = append(values, v.I)
	}
	return ids, values, nil
}

func newReader(t *testing.T, b *rstreams.Bus, queue string, o rstreams.ReadOptions) *rstreams.Reader {
	t.Helper()
	r, err := b.NewReader(queue, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantRange checks that values count from first to until, without until.
func wantRange(t *testing.T, values []int, first, until int) {
	t.Helper()
	if got, want := fmt.Sprint(values), fmt.Sprint(counting(first, until)); got != want {
		t.Fatalf("got %.300s\nwant %.300s", got, want)
	}
}

func counting(first, until int) []int {
	var out []int
	for i := first; i < until; i++ {
		out = append(out, i)
	}
	return out
}

var _ = rstreamstest.New
