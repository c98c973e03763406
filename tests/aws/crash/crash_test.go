//go:build aws

package crash

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
)

// TestKillingTheProcessorBetweenAnyTwoOfItsWritesLosesAndRepeatsNothing has two shards, each with a process of its own, that carry
// the same queues. Each process is killed at its first write, before it and after it, then at its second, and so on.
func TestKillingTheProcessorBetweenAnyTwoOfItsWritesLosesAndRepeatsNothing(t *testing.T) {
	kills := 50
	if text := os.Getenv("RSTREAMS_CRASH_KILLS"); text != "" {
		var err error
		if kills, err = strconv.Atoi(text); err != nil {
			t.Fatalf("RSTREAMS_CRASH_KILLS: %v", err)
		}
	}
	endpoint := awstest.Endpoint(t)
	options := awstest.New(t)
	bus := awstest.OpenWith(t, *options)
	for _, bot := range []string{"writer-0", "writer-1"} {
		if err := bus.Store().Bots.Register(t.Context(), store.Registration{ID: bot}); err != nil {
			t.Fatal(err)
		}
	}
	program := build(t, "kinesis-processor")
	var shards []*shard
	for i := range 2 {
		shards = append(shards, newShard(t, i, program, endpoint, bus.Resources()))
	}
	var work sync.WaitGroup
	for _, s := range shards {
		work.Go(func() { s.run(t.Context(), kills) })
	}
	work.Wait()
	if t.Failed() {
		return
	}
	verify(t, bus.Store(), shards)
	for _, s := range shards {
		t.Logf("shard %d: %d kills in %d batches of %d records with %d events, %d starts; at most %d writes in a batch; killed at %v; memory %d MiB",
			s.index, s.kills, s.batches, len(s.records), s.events, s.function.starts, s.most, s.hits, s.memory>>10)
		requests := s.proxy.requests()
		t.Logf("shard %d: requests, retries included: %v", s.index, requests)
	}
}

// build compiles a function as it is deployed.
func build(t *testing.T, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "bootstrap")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-tags", "lambda.norpc", "-o", program,
		"github.com/rstreams-go/rstreams/lambdas/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// record is a record in the form in which Lambda hands it over.
type record struct {
	EventID string `json:"eventID"`
	Kinesis struct {
		SequenceNumber string  `json:"sequenceNumber"`
		PartitionKey   string  `json:"partitionKey"`
		Arrival        float64 `json:"approximateArrivalTimestamp"`
		Data           []byte  `json:"data"`
	} `json:"kinesis"`
}

// shard is a shard of a stream, its writer, and its event source mapping.
type shard struct {
	t        *testing.T
	index    int
	rng      *rand.Rand
	function *function
	proxy    *proxy

	records []record
	queues  map[string]int // events written to each
	bad     int            // records that are none

	kills, batches, events, most, memory int
	hits                                 map[string]int
}

func newShard(t *testing.T, index int, program, endpoint string, resources awsbus.Resources) *shard {
	t.Helper()
	s := &shard{
		t: t, index: index, rng: rand.New(rand.NewPCG(1, uint64(index))), queues: map[string]int{}, hits: map[string]int{},
		proxy: newProxy(t, endpoint),
	}
	s.function = newFunction(t, program, environment(t, resources, s.proxy)...)
	s.proxy.kill = func() { s.function.kill() }
	return s
}

// environment is that of a function of the bus, but for a short lease.
func environment(t *testing.T, resources awsbus.Resources, p *proxy) []string {
	t.Helper()
	config, err := json.Marshal(resources)
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"RSTREAMS_CONFIG=" + string(config), "RSTREAMS_STACK=crash", "RSTREAMS_PARTIAL_BATCH=true", "RSTREAMS_LEASE=1s",
		"AWS_ENDPOINT_URL=" + p.server.URL,
	}
}

// queueNames are the queues of all shards.
var queueNames = []string{"orders", "orders.priced", "customers", "stock", "audit/all"}

// write appends n records to the shard.
func (s *shard) write(n int) {
	for range n {
		var text strings.Builder
		for range 1 + s.rng.IntN(12) {
			queue := queueNames[s.rng.IntN(len(queueNames))]
			payload := fmt.Sprintf(`{"shard":%d,"n":%d}`, s.index, s.queues[queue])
			if s.rng.IntN(150) == 0 {
				// So large that its chunk goes to the bucket.
				raw := make([]byte, 450<<10)
				for i := range raw {
					raw[i] = byte(s.rng.Uint32())
				}
				payload = fmt.Sprintf(`{"shard":%d,"n":%d,"fill":%q}`, s.index, s.queues[queue], base64.StdEncoding.EncodeToString(raw))
			}
			fmt.Fprintf(&text, `{"id":"writer-%d","event":%q,"payload":%s}`+"\n", s.index, queue, payload)
			s.queues[queue]++
			s.events++
		}
		data := chunk.AppendGzip(nil, []byte(text.String()))
		if s.rng.IntN(40) == 0 {
			s.bad++
			s.append([]byte(fmt.Sprintf("\x00bad record %d of shard %d", s.bad, s.index)))
		}
		s.append(data)
	}
}

func (s *shard) append(data []byte) {
	var r record
	r.Kinesis.SequenceNumber = fmt.Sprintf("4959033827149025660855969253836%025d", len(s.records)+1)
	r.EventID = fmt.Sprintf("shardId-%012d:%s", s.index, r.Kinesis.SequenceNumber)
	r.Kinesis.PartitionKey = "0"
	r.Kinesis.Arrival = float64(time.Now().UnixMilli()) / 1000
	r.Kinesis.Data = data
	s.records = append(s.records, r)
}

// run delivers batches as an event source mapping does, and has the process killed in each, until it was killed often enough and
// everything is delivered.
func (s *shard) run(ctx context.Context, kills int) {
	at, kill, after := 0, 1, false
	retry := false
	for ctx.Err() == nil && !s.t.Failed() && (s.kills < kills || at < len(s.records)) {
		if len(s.records)-at < 20 && s.kills < kills {
			s.write(20 + s.rng.IntN(60))
		}
		n := min(1+s.rng.IntN(60), len(s.records)-at)
		if s.kills < kills && (!retry || s.rng.IntN(3) == 0) {
			s.proxy.arm(kill, after)
		} else {
			s.proxy.arm(0, false)
		}
		done, err := s.deliver(ctx, s.records[at:at+n])
		writes, hit := s.proxy.disarm()
		s.batches++
		at += done
		retry = done < n
		switch {
		case hit != "":
			when := "before "
			if after {
				when = "after "
			}
			s.hits[when+hit]++
			s.kills++
			if after {
				kill++
			}
			after = !after
		case err == nil && done == n:
			s.most = max(s.most, writes)
			if s.kills < kills && kill > writes {
				kill, after = 1, false // There is no write of this number.
			}
		default:
			s.t.Logf("shard %d: %d of %d records done, %v", s.index, done, n, err)
		}
	}
	s.memory = s.function.memory(os.ReadFile)
}

// deliver invokes the function with a batch and returns how many of its records are done.
func (s *shard) deliver(ctx context.Context, records []record) (done int, err error) {
	payload, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		s.t.Error(err)
		return 0, err
	}
	body, err := s.function.invoke(ctx, payload, 30*time.Second)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Failures []struct {
			ID string `json:"itemIdentifier"`
		} `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Failures == nil {
		s.t.Errorf("the answer %s: %v", body, err)
		return 0, err
	}
	if len(answer.Failures) == 0 {
		return len(records), nil
	}
	i := slices.IndexFunc(records, func(r record) bool { return r.Kinesis.SequenceNumber == answer.Failures[0].ID })
	if i < 0 {
		s.t.Errorf("the answer names a record that was not in the batch: %s", body)
	}
	return max(i, 0), fmt.Errorf("reported from record %d on", i)
}
