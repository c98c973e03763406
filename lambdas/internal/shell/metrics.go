package shell

import (
	"encoding/json"
	"io"
	"sync"
	"time"
)

// Namespace is the CloudWatch namespace of the bus's metrics. Their only dimension is "Bus", the name of the bus's stack.
const Namespace = "RStreams"

// Unit is a CloudWatch unit.
type Unit string

// The units in use.
const (
	UnitCount        Unit = "Count"
	UnitMilliseconds Unit = "Milliseconds"
	UnitSeconds      Unit = "Seconds"
	UnitBytes        Unit = "Bytes"
)

// Metric is one value of a metric.
type Metric struct {
	Name  string
	Unit  Unit
	Value float64
}

// Count is a number of things.
func Count[T ~int | ~int64](name string, n T) Metric { return Metric{name, UnitCount, float64(n)} }

// Millis is a time in ms.
func Millis(name string, d time.Duration) Metric {
	return Metric{name, UnitMilliseconds, float64(d.Milliseconds())}
}

// Seconds is a time in seconds.
func Seconds(name string, d time.Duration) Metric { return Metric{name, UnitSeconds, d.Seconds()} }

// Metrics writes metrics as CloudWatch's embedded metric format: JSON lines in the log that CloudWatch turns into metrics, so
// that they cost no request. It is safe for concurrent use.
type Metrics struct {
	mu              sync.Mutex
	out             io.Writer
	stack, function string
	now             func() time.Time
}

// NewMetrics returns metrics of a bus and one of its functions, written to out.
func NewMetrics(out io.Writer, stack, function string, now func() time.Time) *Metrics {
	return &Metrics{out: out, stack: stack, function: function, now: now}
}

// Emit writes the values as one line; without values, nothing. A line that cannot be written is lost: metrics never fail the
// work that they tell of.
func (m *Metrics) Emit(values ...Metric) {
	if len(values) == 0 {
		return
	}
	type definition struct {
		Name string
		Unit Unit
	}
	definitions := make([]definition, len(values))
	line := map[string]any{"Bus": m.stack, "Function": m.function}
	for i, v := range values {
		definitions[i] = definition{v.Name, v.Unit}
		line[v.Name] = v.Value
	}
	line["_aws"] = map[string]any{
		"Timestamp": m.now().UnixMilli(),
		"CloudWatchMetrics": []any{map[string]any{
			"Namespace": Namespace, "Dimensions": [][]string{{"Bus"}}, "Metrics": definitions,
		}},
	}
	text, err := json.Marshal(line)
	if err != nil {
		return // NaN or infinity: no value that CloudWatch would take.
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.out.Write(append(text, '\n')) //nolint:errcheck // See above.
}

// The bus's metrics.
const (
	// MetricRecords, MetricEvents, MetricDeadLetters and MetricRepeats count the intake records that were worked off, the events
	// that were published, those of them in the dead-letter queue, and the events that had been published before.
	MetricRecords     = "Records"
	MetricEvents      = "Events"
	MetricDeadLetters = "DeadLetters"
	MetricRepeats     = "Repeats"
	// MetricIntakeLag is the age, in ms, of the oldest record of a batch when its work ends.
	MetricIntakeLag = "IntakeLag"
	// MetricArchiveBehind is the age, in seconds, of the oldest event that is not archived, over all queues. It has to stay below
	// half of the time that events stay in the index.
	MetricArchiveBehind = "ArchiveBehind"
	// MetricArchiveGaps counts places where events were gone from the index before they were archived, and chunks that were passed
	// over because they cannot be read.
	MetricArchiveGaps = "ArchiveGaps"
	// MetricArchived counts the events that were archived, MetricLoaded the Firehose objects that were loaded.
	MetricArchived = "Archived"
	MetricLoaded   = "FirehoseLoaded"
	// MetricLoadBehind is the age, in seconds, of the oldest Firehose object that is not loaded.
	MetricLoadBehind = "FirehoseBehind"
	// MetricLostBatches is how many batches of the stream were given up and wait in the bucket.
	MetricLostBatches = "LostBatches"
)
