package shell_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/lambdas/internal/shell"
)

const resources = `{"Region":"us-east-1","LeoStream":"s","LeoCron":"c","LeoEvent":"e","LeoSettings":"t","LeoSystem":"y",` +
	`"LeoS3":"b","LeoKinesisStream":"k","LeoFirehoseStream":"f"}`

func environment(changes ...string) func(string) string {
	vars := map[string]string{shell.EnvConfig: resources, shell.EnvStack: "rstreams-test", shell.EnvPartialBatch: "true"}
	for _, c := range changes {
		name, value, _ := strings.Cut(c, "=")
		vars[name] = value
	}
	return func(name string) string { return vars[name] }
}

func open(t *testing.T, changes ...string) (*shell.Env, *bytes.Buffer, *bytes.Buffer) {
	t.Helper()
	var out, log bytes.Buffer
	env, err := shell.Open(t.Context(), "monitor", environment(changes...), &out, &log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := env.Bus.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return env, &out, &log
}

func TestABadEnvironmentIsOneErrorThatNamesTheVariable(t *testing.T) {
	for change, want := range map[string]string{
		"RSTREAMS_CONFIG=":                       "RSTREAMS_CONFIG is not set",
		"RSTREAMS_CONFIG={":                      "RSTREAMS_CONFIG",
		`RSTREAMS_CONFIG={"Region":"us-east-1"}`: "LeoStream",
		"RSTREAMS_STACK=":                        "RSTREAMS_STACK",
		"RSTREAMS_PARTIAL_BATCH=perhaps":         "RSTREAMS_PARTIAL_BATCH",
		"RSTREAMS_LOG_LEVEL=loud":                "RSTREAMS_LOG_LEVEL",
	} {
		_, err := shell.Open(t.Context(), "monitor", environment(change), nil, nil)
		if !errors.Is(err, shell.ErrConfig) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", change, err)
		}
	}
	env, _, _ := open(t, "RSTREAMS_LEASE=soon")
	if _, err := env.Duration("RSTREAMS_LEASE", time.Second); !errors.Is(err, shell.ErrConfig) {
		t.Errorf("got %v", err)
	}
	if d, err := env.Duration("RSTREAMS_OTHER", time.Second); err != nil || d != time.Second {
		t.Errorf("got %v, %v", d, err)
	}
}

func TestAnAnswerNeverPassesAFailureOffAsSuccess(t *testing.T) {
	trouble := errors.New("trouble")
	env, _, log := open(t)
	type answer struct {
		Failures []map[string]string `json:"batchItemFailures"`
	}
	send := func(r shell.BatchResponse) answer {
		t.Helper()
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var a answer
		if err := json.Unmarshal(text, &a); err != nil {
			t.Fatal(err)
		}
		return a
	}
	done, err := env.Respond("ignored", nil)
	if err != nil || len(send(done).Failures) != 0 || done.Failed() != "" {
		t.Errorf("success: %v, %v", done, err)
	}
	part, err := env.Respond("495", trouble)
	if a := send(part); err != nil || len(a.Failures) != 1 || a.Failures[0]["itemIdentifier"] != "495" {
		t.Errorf("a part: %v, %v", a, err)
	}
	if !strings.Contains(log.String(), "trouble") {
		t.Errorf("the failure is not in the log: %s", log)
	}
	for _, bad := range []string{"", " ", "null", "shardId-0:495", "-1"} {
		r, err := env.Respond(bad, trouble)
		if !errors.Is(err, trouble) {
			t.Errorf("%q: %v", bad, err)
		}
		if _, err := json.Marshal(r); err == nil {
			t.Errorf("%q: the answer beside an error can be sent", bad)
		}
	}
	if _, err := json.Marshal(shell.BatchResponse{}); err == nil {
		t.Error("an answer that nobody made can be sent, and would mean success")
	}
	env, _, _ = open(t, "RSTREAMS_PARTIAL_BATCH=false")
	if _, err := env.Respond("495", trouble); !errors.Is(err, trouble) {
		t.Errorf("without partial batches: %v", err)
	}
}

func TestMetricsAreLinesThatCloudWatchReads(t *testing.T) {
	env, out, _ := open(t)
	env.Metrics.Emit()
	env.Metrics.Emit(shell.Count("Events", 3), shell.Millis("Lag", 1500*time.Millisecond), shell.Seconds("Behind", time.Minute))
	var line struct {
		AWS struct {
			Timestamp int64
			Metrics   []struct {
				Namespace  string
				Dimensions [][]string
				Metrics    []struct{ Name, Unit string }
			} `json:"CloudWatchMetrics"`
		} `json:"_aws"`
		Bus, Function       string
		Events, Lag, Behind float64
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	m := line.AWS.Metrics
	if len(m) != 1 || m[0].Namespace != "RStreams" || len(m[0].Metrics) != 3 || m[0].Metrics[1].Unit != "Milliseconds" || m[0].Dimensions[0][0] != "Bus" {
		t.Errorf("got %s", out)
	}
	if line.Bus != "rstreams-test" || line.Events != 3 || line.Lag != 1500 || line.Behind != 60 || line.AWS.Timestamp == 0 {
		t.Errorf("got %s", out)
	}
}

func TestEventsAreReadAsAWSSendsThem(t *testing.T) {
	var k shell.KinesisEvent
	if err := json.Unmarshal([]byte(`{"Records":[{"kinesis":{"kinesisSchemaVersion":"1.0","partitionKey":"0","sequenceNumber":"49590338271490256608559692538361571095921575989136588898",
		"data":"e30=","approximateArrivalTimestamp":1545084650.987},"eventSource":"aws:kinesis","eventID":"shardId-000000000006:49590338271490256608559692538361571095921575989136588898"},
		{"eventID":"odd","kinesis":{"approximateArrivalTimestamp":"2018-12-17T22:10:50.987Z"}}]}`), &k); err != nil {
		t.Fatal(err)
	}
	r := k.Records[0]
	if r.Shard() != "shardId-000000000006" || r.Kinesis.Arrival.UnixMilli() != 1545084650987 || string(r.Kinesis.Data) != "{}" {
		t.Errorf("got %+v", r)
	}
	if r := k.Records[1]; r.Shard() != "" || r.Kinesis.Arrival.UnixMilli() != 1545084650987 {
		t.Errorf("got %+v", r)
	}
	var d shell.DynamoEvent
	if err := json.Unmarshal([]byte(`{"Records":[{"eventID":"1","eventName":"MODIFY","eventSourceARN":"arn","dynamodb":{"Keys":{"id":{"S":"b"}},
		"NewImage":{"id":{"S":"b"}},"SequenceNumber":"111","ApproximateCreationDateTime":1545084650}}]}`), &d); err != nil {
		t.Fatal(err)
	}
	if c := d.Records[0].Change; string(c.NewImage) != `{"id":{"S":"b"}}` || c.OldImage != nil || c.SequenceNumber != "111" || c.Created.Unix() != 1545084650 {
		t.Errorf("got %+v", c)
	}
	var s shell.S3Event
	if err := json.Unmarshal([]byte(`{"Records":[{"eventName":"ObjectCreated:Put","s3":{"bucket":{"name":"b"},"object":{"key":"firehose/a+b%3Dc","size":5}}}]}`), &s); err != nil {
		t.Fatal(err)
	}
	if got := s.Records[0].Key(); got != "firehose/a b=c" {
		t.Errorf("got %q", got)
	}
}

func TestWorkEndsAheadOfItsInvocation(t *testing.T) {
	cause := errors.New("out of time")
	deadline := time.Now().Add(time.Hour)
	parent, cancel := context.WithDeadline(t.Context(), deadline)
	defer cancel()
	ctx, stop := shell.Ahead(parent, time.Minute, cause)
	defer stop()
	if got, _ := ctx.Deadline(); !got.Equal(deadline.Add(-time.Minute)) {
		t.Errorf("got %v", got)
	}
	ctx, stop = shell.Ahead(parent, 10*time.Hour, cause)
	defer stop()
	if got, _ := ctx.Deadline(); deadline.Sub(got) > 31*time.Minute {
		t.Errorf("no time is left for the work: %v", deadline.Sub(got))
	}
	ctx, stop = shell.Ahead(t.Context(), time.Minute, cause)
	defer stop()
	if _, ok := ctx.Deadline(); ok {
		t.Error("a deadline from nowhere")
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	ctx, stop = shell.Ahead(late, time.Minute, cause)
	defer stop()
	if ctx.Err() == nil {
		t.Error("an invocation that is over goes on")
	}
}
