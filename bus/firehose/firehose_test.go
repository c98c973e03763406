package firehose_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/firehose"
	"github.com/rstreams-go/rstreams/bus/store"
)

// taken is an intake that keeps what it is given.
type taken struct {
	limits store.IntakeLimits
	calls  [][]string
	fail   map[string]error // by the record's text
	err    error
}

func (t *taken) Limits() store.IntakeLimits { return t.limits }

func (t *taken) Put(_ context.Context, records []store.Record) ([]store.Ack, error) {
	if t.err != nil {
		return nil, t.err
	}
	var call []string
	acks := make([]store.Ack, len(records))
	for i, r := range records {
		call = append(call, string(r.Data))
		acks[i] = store.Ack{Shard: "s", Sequence: fmt.Sprint(len(t.calls), "-", i), Err: t.fail[string(r.Data)]}
	}
	t.calls = append(t.calls, call)
	return acks, nil
}

func intake() *taken {
	return &taken{limits: store.IntakeLimits{Records: 3, Bytes: 200, RecordBytes: 64, Plain: true}}
}

func put(t *testing.T, in store.Intake, data ...string) []store.Ack {
	t.Helper()
	records := make([]store.Record, len(data))
	for i, d := range data {
		records[i].Data = []byte(d)
	}
	acks, err := in.Put(t.Context(), records)
	if err != nil || len(acks) != len(data) {
		t.Fatalf("%d acks, %v", len(acks), err)
	}
	return acks
}

func gz(text string) string {
	return base64.StdEncoding.EncodeToString(chunk.AppendGzip(nil, []byte(text)))
}

func TestEveryFormOfRecordGoesThroughTheIntakeInOrder(t *testing.T) {
	to := intake()
	acks := put(t, firehose.New(to),
		"{\"n\":1}\n{\"n\":2}\r\n\n", gz("{\"n\":3}\n")+"\n"+gz("{\"n\":4}")+"\n{\"n\":5}", base64.StdEncoding.EncodeToString([]byte("{\"n\":6}\n")), "", "\n")
	for _, a := range acks {
		if a.Err != nil {
			t.Error(a.Err)
		}
	}
	want := [][]string{{"{\"n\":1}\n{\"n\":2}\n"}, {"{\"n\":3}\n{\"n\":4}\n{\"n\":5}\n"}, {"{\"n\":6}\n"}}
	if d := cmp.Diff(want, to.calls); d != "" {
		t.Error(d)
	}
}

func TestWhatIsNoEventIsARecordOfItsOwn(t *testing.T) {
	to := intake()
	put(t, firehose.New(to), "text\n{\"n\":1}\nHello, world\n [1]\n"+gz("x\n{\"n\":2}\n")+"\n")
	want := [][]string{{"text", "{\"n\":1}\n", "Hello, world"}, {"[1]", "x", "{\"n\":2}\n"}}
	if d := cmp.Diff(want, to.calls); d != "" {
		t.Error(d)
	}
}

func TestRecordsAndCallsKeepTheLimitsOfTheIntake(t *testing.T) {
	to := intake()
	var text strings.Builder
	for i := range 40 {
		fmt.Fprintf(&text, "{\"n\":%02d,\"pad\":\"xxxx\"}\n", i)
	}
	put(t, firehose.New(to), gz(text.String()))
	var got strings.Builder
	for _, call := range to.calls {
		size := 0
		for _, r := range call {
			if size += len(r); len(r) > to.limits.RecordBytes {
				t.Errorf("a record of %d bytes", len(r))
			}
			got.WriteString(r)
		}
		if len(call) > to.limits.Records || size > to.limits.Bytes {
			t.Errorf("a call of %d records, %d bytes", len(call), size)
		}
	}
	if got.String() != text.String() {
		t.Error("the lines are not what was put")
	}
}

func TestARecordWithALineThatDoesNotFitIsRefusedWhole(t *testing.T) {
	to := intake()
	acks := put(t, firehose.New(to), "{\"n\":1}\n{\"n\":\""+strings.Repeat("x", 64)+"\"}\n", "{\"n\":2}\n")
	if !errors.Is(acks[0].Err, store.ErrTooLarge) || acks[1].Err != nil {
		t.Error(acks)
	}
	if d := cmp.Diff([][]string{{"{\"n\":2}\n"}}, to.calls); d != "" {
		t.Error(d)
	}
}

func TestARecordOfWhichAPartFailedIsNotAcknowledged(t *testing.T) {
	to := intake()
	to.fail = map[string]error{"bad": store.ErrThrottled}
	acks := put(t, firehose.New(to), "{\"n\":1}\nbad\n", "{\"n\":2}\n")
	if !errors.Is(acks[0].Err, store.ErrThrottled) || acks[1].Err != nil {
		t.Error(acks)
	}
	to.err = store.ErrUnavailable
	if _, err := firehose.New(to).Put(t.Context(), []store.Record{{Data: []byte("{}")}}); !errors.Is(err, store.ErrUnavailable) {
		t.Error(err)
	}
}

func TestTheLimitsOfTheServiceHold(t *testing.T) {
	in := firehose.New(intake())
	if _, err := in.Put(t.Context(), make([]store.Record, firehose.MaxRecords+1)); !errors.Is(err, store.ErrTooLarge) {
		t.Error(err)
	}
	big := store.Record{Data: make([]byte, firehose.MaxRecordBytes)}
	if _, err := in.Put(t.Context(), []store.Record{big, big, big, big, big}); !errors.Is(err, store.ErrTooLarge) {
		t.Error(err)
	}
	acks, err := in.Put(t.Context(), []store.Record{{Data: make([]byte, firehose.MaxRecordBytes+1)}})
	if err != nil || !errors.Is(acks[0].Err, store.ErrTooLarge) {
		t.Error(acks, err)
	}
}

func Example() {
	to := &taken{limits: store.IntakeLimits{Records: 500, Bytes: 5 << 20, RecordBytes: 1 << 20}}
	in := firehose.New(to)
	_, err := in.Put(context.Background(), []store.Record{{Data: []byte("{\"id\":\"b\",\"event\":\"q\",\"payload\":1}\n")}})
	fmt.Println(err, to.calls)
	// Output: <nil> [[{"id":"b","event":"q","payload":1}
	// ]]
}
