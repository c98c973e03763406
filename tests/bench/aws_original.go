package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/tests/bench/internal/benchbots"
)

// observation is what a workload showed on this bus, as far as the original's requests for the same workload follow from it.
type observation struct {
	// Span is from the first write to the last answer.
	Span time.Duration
	// Puts are the PutRecords that the original's SDK needs for what the workload's writers write, and Derived those for what
	// its bots write, if they wrote it in one run.
	Puts, Derived int
	// Batches are the events of each batch of the Kinesis stream that had any.
	Batches []int
	// Heads counts the queues of each of those batches, and Producers their bots: the original publishes a queue once in a batch.
	Heads, Producers int
	// EventTrigger, BotRunner and Monitor are invocations by the tables' streams.
	EventTrigger, BotRunner, Monitor int
	// Monitored are the invocations of the monitor that had something to tell.
	Monitored int
	// Triggered counts the bots that each batch of heads made due; Starts the batches of heads after which a run began.
	Triggered, Starts int
	// Runs are runs of bots.
	Runs int
}

// The original's constants (bus.md, Appendix A).
const (
	originalChunkRecords = 100
	originalChunkBytes   = 200 << 10
	originalPutRecords   = 100
	originalPutBytes     = 200 << 10
	// A batch of more records than this goes to S3.
	originalInline = 100
	// The scheduler reads LeoCron so often, the event trigger at most so often.
	originalSchedule = 30 * time.Second
	originalTable    = 10 * time.Second
	// Before the first attempt, the SDK waits (sdk.md 4.3).
	originalWait = 10 * time.Millisecond
)

// original returns the requests that the original needs for the same workload, by service (bus.md section 3 and Appendix B,
// sdk.md 4.2). Where its number depends on chance, the least that is possible is taken, so that the original's real numbers are
// the same or higher:
//
//   - Event source mappings deliver as many batches as they delivered here, although the original's records are smaller, and to
//     its event trigger no more than there were batches of events. Its bots run as often as ours did.
//   - Flushes of the SDK are full, and no timer cuts one short. A run that has something to do writes at least once.
//   - In a batch of up to 100 records, a queue needs one BatchWriteItem. A batch counts as one for S3 only if its events fill more than
//     100 full records; being late by 3 s is not counted. Such a batch puts one object, and its readers fetch none.
//   - Producer statistics and monitor events cause no invocations of their own.
//   - A run reads all there is with one Query, whose last page is never empty, and makes one checkpoint (fault 34 makes one for each
//     flush by time).
//   - Nothing is retried. No bot has settings in another table. The scheduler writes no trigger, and its own invocations every
//     five minutes are counted as what fits into the time of the workload, as are scans of LeoCron.
func original(o observation) map[string]int {
	batches := len(o.Batches)
	objects := 0
	for _, events := range o.Batches {
		if (events+originalChunkRecords-1)/originalChunkRecords > originalInline {
			objects++
		}
	}
	writes := max(o.Derived, o.Runs)
	heads := min(o.EventTrigger, batches)
	scans := int(o.Span/originalSchedule) + int(o.Span/originalTable)
	return map[string]int{
		dynamoDB: batches + // LeoSettings: the guard of the time base
			o.Heads + // LeoStream: one BatchWriteItem for each queue
			o.Heads + // LeoEvent: one update for each queue
			o.Producers + // LeoCron: statistics of each producer
			o.Triggered + // LeoCron: trigger
			5*o.Runs + // LeoCron: lock, confirmation, checkpoint, completion; LeoCron and LeoEvent: the reader's BatchGetItem
			o.Runs + // LeoStream: the reader's Query
			scans,
		kinesis: o.Puts + writes + o.Monitored,
		s3:      objects,
		// The processor, the event trigger, the monitor, and the cron processor. A trigger is a change of LeoCron whose batch
		// leads to the lock, so that it comes before that of the lock; this bus takes the lock in the event trigger.
		lambdas: batches + heads + o.Monitor + o.BotRunner + o.Starts + o.Runs + int(o.Span/(5*time.Minute)),
	}
}

// publications notes the queues that each batch published, and how many bots have written them: each queue has one, and each of
// bulk's writers has several queues.
func (o *observation) publications(batches map[string]map[string]bool) {
	for _, queues := range batches {
		bots := map[string]bool{}
		for queue := range queues {
			if n, err := strconv.Atoi(strings.TrimPrefix(queue, benchbots.Sources)); err == nil {
				queue = fmt.Sprint(benchbots.Sources, n%writers)
			}
			bots[queue] = true
		}
		o.Heads += len(queues)
		o.Producers += len(bots)
	}
}

// originalPuts returns how many PutRecords the original's SDK makes of lines that are written as fast as it takes them (sdk.md 4.2).
func originalPuts(lines [][]byte) (int, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b) // zlib's default level, as Node's
	puts, chunks, size := 0, 0, 0
	records, text := 0, 0
	for i, line := range lines {
		if _, err := z.Write(line); err != nil {
			return 0, err
		}
		records, text = records+1, text+len(line)
		last := i == len(lines)-1
		if records < originalChunkRecords && text < originalChunkBytes && !last {
			continue
		}
		if err := z.Close(); err != nil {
			return 0, err
		}
		chunks, size = chunks+1, size+b.Len()
		b.Reset()
		z.Reset(&b)
		records, text = 0, 0
		if chunks == originalPutRecords || size >= originalPutBytes || last {
			puts, chunks, size = puts+1, 0, 0
		}
	}
	return puts, nil
}
