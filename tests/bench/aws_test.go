package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/tests/bench/internal/benchbots"
)

func TestTheOriginalNeedsWhatOneEventCosts(t *testing.T) {
	// One event, one consumer that derives another event, and nothing for the monitor (bus.md, Appendix B).
	o := observation{
		Puts: 1, Derived: 1, Batches: []int{1, 1}, Heads: 2, Producers: 2, EventTrigger: 2, BotRunner: 3, Monitor: 3, Triggered: 1, Starts: 1, Runs: 1,
	}
	want := map[string]int{
		// Twice a guard, a chunk, a head and statistics; then a trigger, a lock, a confirmation, the reader's two requests, a
		// checkpoint and a completion.
		dynamoDB: 2*4 + 7,
		kinesis:  2,
		s3:       0,
		// The processor and the event trigger twice, the monitor, the cron processor once more for the trigger, the bot.
		lambdas: 2 + 2 + 3 + 4 + 1,
	}
	if got := original(o); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTheOriginalPutsLargeBatchesIntoObjects(t *testing.T) {
	got := original(observation{Batches: []int{10_000, 10_001, 50_000}})
	if got[s3] != 2 {
		t.Errorf("%d objects for batches of 100, 101 and 500 records", got[s3])
	}
}

func TestTheOriginalReadsItsBotsByTheClock(t *testing.T) {
	for span, want := range map[time.Duration]int{9 * time.Second: 0, 10 * time.Second: 1, 59 * time.Second: 6, time.Minute: 8} {
		if got := original(observation{Span: span})[dynamoDB]; got != want {
			t.Errorf("%v: %d scans, want %d", span, got, want)
		}
	}
}

func TestTheOriginalWritesOnceInARunAtLeast(t *testing.T) {
	if got := original(observation{Puts: 3, Derived: 2, Runs: 5, Monitored: 1})[kinesis]; got != 9 {
		t.Errorf("%d requests", got)
	}
}

func TestAWriterOfSeveralQueuesCountsOnceInABatch(t *testing.T) {
	var o observation
	o.publications(map[string]map[string]bool{
		"a": {benchbots.Source(0): true, benchbots.Source(2): true, benchbots.Source(3): true}, "b": {benchbots.Derived(0): true, "monitor": true},
	})
	if o.Heads != 5 || o.Producers != 4 {
		t.Errorf("%+v", o)
	}
}

func TestTheOriginalsCallsAreFull(t *testing.T) {
	line := []byte(strings.Repeat("x", 300) + "\n")
	for lines, want := range map[int]int{1: 1, 100: 1, 10_000: 1, 10_001: 2, 25_000: 3} { // They compress to next to nothing.
		got, err := originalPuts(slicesOf(line, lines))
		if err != nil || got != want {
			t.Errorf("%d lines: %d calls, %v, want %d", lines, got, err, want)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	differ := make([][]byte, 3000)
	for i := range differ {
		for range 20 {
			differ[i] = fmt.Appendf(differ[i], "%016x", rng.Uint64())
		}
	}
	// Half of the text is left: about 480 kB.
	if got, err := originalPuts(differ); err != nil || got != 3 {
		t.Errorf("%d calls for what compresses to more than two take, %v", got, err)
	}
}

func slicesOf(line []byte, n int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = line
	}
	return out
}

func TestRequestsAreToldApart(t *testing.T) {
	for _, c := range []struct {
		method, path, target, auth, ranged, want string
	}{
		{"POST", "/", "DynamoDB_20120810.UpdateItem", "", "", "DynamoDB UpdateItem"},
		{"POST", "/", "DynamoDBStreams_20120810.GetRecords", "", "", "DynamoDBStreams GetRecords"},
		{"POST", "/", "Kinesis_20131202.PutRecords", "", "", "Kinesis PutRecords"},
		{"POST", "/", "Logs_20140328.FilterLogEvents", "", "", "Logs FilterLogEvents"},
		{"POST", "/2015-03-31/functions/f/invocations", "", "x/lambda/y", "", "Lambda Invoke"},
		{"GET", "/2015-03-31/functions/f", "", "x/lambda/y", "", "Lambda control GET functions"},
		{"PUT", "/bucket/a/key", "", "Credential=k/20260101/us-east-1/s3/aws4_request", "", "S3 PUT"},
		{"GET", "/bucket/a/key", "", "Credential=k/20260101/us-east-1/s3/aws4_request", "bytes=0-9", "S3 GET range"},
		{"PUT", "/bucket/a/key?uploadId=1", "", "Credential=k/20260101/us-east-1/s3/aws4_request", "", "S3 PUT multipart"},
		{"GET", "/bucket", "", "Credential=k/20260101/us-east-1/s3/aws4_request", "", "S3 GET bucket"},
		{"POST", "/", "", "Credential=k/20260101/us-east-1/cloudformation/aws4_request", "", "cloudformation POST"},
	} {
		r := httptest.NewRequest(c.method, c.path, nil)
		for k, v := range map[string]string{"X-Amz-Target": c.target, "Authorization": c.auth, "Range": c.ranged} {
			if v != "" {
				r.Header.Set(k, v)
			}
		}
		if got := classify(r).String(); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.method, c.path, got, c.want)
		}
	}
}

func TestTheCounterPassesRequestsOnAndCountsThem(t *testing.T) {
	var bodies []string
	emulator := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body)
		bodies = append(bodies, b.String())
	}))
	defer emulator.Close()
	count, err := newCounter(emulator.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(count)
	defer proxy.Close()
	sent := []string{
		`{"TableName":"heads","Key":{"event":{"S":"q"}},"ExpressionAttributeNames":{"#a":"max_eid","#b":"timestamp"},"ExpressionAttributeValues":{":a":{"M":{"owner":{"S":"o"}}}}}`,
		`{"TableName":"heads","Key":{"event":{"S":"q"}},"ExpressionAttributeNames":{"#a":"sequencing"}}`,
		`{"TableName":"bots","Key":{"id":{"S":"b"}},"ExpressionAttributeNames":{"#a":"invokeTime"}}`,
	}
	for _, body := range sent {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, proxy.URL, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Amz-Target", "DynamoDB_20120810.UpdateItem")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
	}
	if !reflect.DeepEqual(bodies, sent) {
		t.Errorf("the emulator got %q", bodies)
	}
	// A request is counted after its answer has left.
	proxy.Close()
	counts, batches, hop := count.take()
	want := map[request]int{{dynamoDB, publish, "heads"}: 1, {dynamoDB, "UpdateItem", "heads"}: 1, {dynamoDB, lock, "bots"}: 1}
	if !reflect.DeepEqual(counts, want) || !batches["o"]["q"] || hop <= 0 {
		t.Errorf("counted %v, batches %v, hop %v", counts, batches, hop)
	}
	if counts, _, _ := count.take(); len(counts) != 0 {
		t.Errorf("counted twice: %v", counts)
	}
}

func TestTheTableSaysWhereThisBusIsNotLower(t *testing.T) {
	var b bytes.Buffer
	worse := printAWS(&b, []*workload{{
		name: "bulk", events: 1000, ours: map[string]int{dynamoDB: 5, kinesis: 3, lambdas: 2}, theirs: map[string]int{dynamoDB: 10, kinesis: 3, lambdas: 1},
		latencies: []time.Duration{time.Second, 2 * time.Second}, later: 100 * time.Millisecond,
	}}, false)
	text := b.String()
	if worse != 2 || strings.Count(text, "NOT LOWER") != 2 || !strings.Contains(text, "equal, none") || !strings.Contains(text, "0.50") ||
		!strings.Contains(text, "2100") {
		t.Errorf("%d worse in\n%s", worse, text)
	}
}
