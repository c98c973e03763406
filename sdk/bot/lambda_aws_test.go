package bot_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"
	ddb "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// Every run that the original bus invokes, with the row that it left, is begun and ended once, also under its token 0.
func TestRunsOfTheOriginalBusAreBegunAndEnded(t *testing.T) {
	bus := awstest.Open(t)
	text, err := os.ReadFile("testdata/invocation.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Note         string
			Row, Payload json.RawMessage
		}
	}
	if err := json.Unmarshal(text, &golden); err != nil || len(golden.Cases) < 5 {
		t.Fatal(err, len(golden.Cases))
	}
	st := bus.Store()
	for _, c := range golden.Cases {
		t.Run(c.Note, func(t *testing.T) {
			row := attributes(t, c.Row)
			id := row["id"].(*ddb.AttributeValueMemberS).Value
			awstest.PutItem(t, bus.Resources().LeoCron, row)
			runs := 0
			fn, err := bot.NewLambda(rstreams.New(st, rstreams.Options{}), bot.LambdaConfig{Lines: io.Discard}, bot.Bot{
				ID: "code", Run: func(ctx context.Context, run *bot.Run) error {
					runs++
					in, err := st.Bots.Get(ctx, id)
					// Whoever looks at the row sees a run that is on for as long as the function may take, give or take what times in
					// whole ms lose.
					end, _ := ctx.Deadline()
					end = end.Add(-10 * time.Millisecond)
					if i := in.Instance; err != nil || i.RequestID != "r" || i.CompletedTime != 0 || i.InvokeTime+i.MaxDuration < end.UnixMilli() {
						t.Errorf("while running: %+v, %v", i, err)
					}
					return nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			ctx = lambdacontext.NewContext(ctx, &lambdacontext.LambdaContext{AwsRequestID: "r"})
			for _, want := range []string{"null", `"already running"`} {
				if answer, err := fn.Invoke(ctx, c.Payload); err != nil || string(answer) != want {
					t.Errorf("%s, %v; want %s", answer, err, want)
				}
			}
			after, err := st.Bots.Get(t.Context(), id)
			if i := after.Instance; err != nil || runs != 1 || i.CompletedTime == 0 || i.Status != store.StatusComplete || after.ErrorCount != 0 {
				t.Errorf("%d runs, %+v, %v", runs, after, err)
			}
		})
	}
}

// A payload without a token is of no run that a bus reserved; the original cannot take a lock for it either.
func TestAnInvocationWithoutATokenRunsNothing(t *testing.T) {
	bus := awstest.Open(t)
	st := bus.Store()
	if err := st.Bots.Register(t.Context(), store.Registration{ID: "b", Invocation: store.Invocation{Type: "lambda", Lambda: "b"}}); err != nil {
		t.Fatal(err)
	}
	fn, err := bot.NewLambda(rstreams.New(st, rstreams.Options{}), bot.LambdaConfig{Lines: io.Discard}, bot.Bot{
		ID: "b", Run: func(context.Context, *bot.Run) error { t.Error("it ran without a lock"); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, ts := range []string{``, `,"ts":0`, `,"ts":null`} {
		answer, err := fn.Invoke(t.Context(), fmt.Appendf(nil, `{"botId":"b","__cron":{"id":"b","iid":"0"%s}}`, ts))
		if err != nil || string(answer) != `"already running"` {
			t.Errorf("%s: %s, %v", ts, answer, err)
		}
	}
}

// attributes reads an item as DynamoDB JSON has it.
func attributes(t *testing.T, text json.RawMessage) awstest.Item {
	t.Helper()
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatal(err)
	}
	out := awstest.Item{}
	for name, raw := range members {
		out[name] = attribute(t, raw)
	}
	return out
}

func attribute(t *testing.T, text json.RawMessage) ddb.AttributeValue {
	t.Helper()
	var v struct {
		S, N *string
		B    []byte
		BOOL *bool
		NULL bool
		M    json.RawMessage
		L    []json.RawMessage
	}
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	switch {
	case v.S != nil:
		return &ddb.AttributeValueMemberS{Value: *v.S}
	case v.N != nil:
		return &ddb.AttributeValueMemberN{Value: *v.N}
	case v.BOOL != nil:
		return &ddb.AttributeValueMemberBOOL{Value: *v.BOOL}
	case v.NULL:
		return &ddb.AttributeValueMemberNULL{Value: true}
	case v.B != nil:
		return &ddb.AttributeValueMemberB{Value: v.B}
	case v.M != nil:
		return &ddb.AttributeValueMemberM{Value: attributes(t, v.M)}
	}
	list := &ddb.AttributeValueMemberL{Value: []ddb.AttributeValue{}}
	for _, item := range v.L {
		list.Value = append(list.Value, attribute(t, item))
	}
	return list
}
