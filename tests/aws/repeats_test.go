//go:build aws

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// repeats are events that are on the intake stream more than once, in records of the same bytes: an answer of Kinesis was lost there,
// and the writer had to send again, as it cannot know (C6). Nothing but that excuses an event that comes twice.
type repeats struct {
	events map[string]int // by identity, how often more than once
	queues map[string]int
}

// identity tells events apart: those of one run of a bot differ in what they hold or derive from, and other runs in their time.
func identity(e *rstreams.Event) string {
	source := ""
	if e.Correlation != nil {
		source = e.Correlation.Start
	}
	return fmt.Sprintf("%s|%s|%d|%s|%s", e.Bot, e.Queue, e.Timestamp, source, e.Payload)
}

// repeats reads the whole intake stream.
func (w *world) repeats(t *testing.T) repeats {
	t.Helper()
	out := repeats{events: map[string]int{}, queues: map[string]int{}}
	for _, data := range awstest.Repeated(within(t), t, w.bus.resources.LeoKinesisStream) {
		out.add(t, data)
	}
	return out
}

// add counts the events of a record that is there once more.
func (r repeats) add(t *testing.T, data []byte) {
	t.Helper()
	lines, err := chunk.OpenRecord(data)
	if err != nil {
		return // It has no events.
	}
	defer lines.Close()
	text, err := io.ReadAll(lines)
	if err != nil {
		return // As above.
	}
	for line := range bytes.Lines(text) {
		if e, err := event.Parse(bytes.TrimSpace(line)); err == nil {
			t.Logf("an answer of Kinesis was lost: this is on the stream twice: %s", line)
			r.events[identity(&e)]++
			r.queues[e.Queue]++
		}
	}
}
