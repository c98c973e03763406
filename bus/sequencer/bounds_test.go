package sequencer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

func TestARecordThatInflatesWithoutEndIsCutOffAndKept(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	seq := sequencer.New(st, sequencer.Config{MaxText: 4000, GroupBytes: 1000})
	var lines []string
	for n := range 100 {
		lines = append(lines, line("q", n))
	}
	r := zipped(1, lines...)
	batch := sequencer.Batch{Shard: "s", Records: []sequencer.Record{r, plain(2, line("q", 100))}}
	result, err := seq.Process(t.Context(), batch)
	if err != nil || result.Done != 2 || result.DeadLetters != 1 {
		t.Fatalf("%+v, %v", result, err)
	}
	whole := 4000 / len(lines[10])
	if got := numbers(t, st, "q"); !strings.HasPrefix(got, upTo(whole)+" ") || !strings.HasSuffix(got, " 100") {
		t.Errorf("got events %s", got)
	}
	if l := letters(t, st); len(l) != 1 || !bytes.Equal(l[0].Bytes(), r.Data) || l[0].Reason != deadletter.ReasonCorrupt {
		t.Errorf("got %+v", l)
	}
	again, err := seq.Process(t.Context(), batch)
	if err != nil || again.Events != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
}

func TestARecordOfBadLinesMakesABoundedNumberOfLetters(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	// Groups are small: that the record is full of bad lines must be known from group to group.
	seq := sequencer.New(st, sequencer.Config{GroupBytes: 10_000})
	r := zipped(1, strings.Repeat("x\n", 50_000), line("q", 0), "y\n", line("q", 1))
	batch := sequencer.Batch{Shard: "s", Records: []sequencer.Record{r, plain(2, "z\n", line("q", 2))}}
	batch.Records[1].Data = chunk.AppendGzip(nil, batch.Records[1].Data)
	result, err := seq.Process(t.Context(), batch)
	if err != nil || result.Done != 2 {
		t.Fatalf("%+v, %v", result, err)
	}
	if got := numbers(t, st, "q"); got != upTo(3) {
		t.Errorf("got events %s", got)
	}
	l := letters(t, st)
	if len(l) != 1002 || result.DeadLetters != 1002 {
		t.Fatalf("%d letters, %d counted", len(l), result.DeadLetters)
	}
	if string(l[999].Bytes()) != "x" || !bytes.Equal(l[1000].Bytes(), r.Data) || string(l[1001].Bytes()) != "z" {
		t.Errorf("got %+v", l[999:])
	}
}

func TestManyQueuesAreWorkedOffInGroups(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	seq := sequencer.New(st, sequencer.Config{})
	var lines []string
	for n := range 2500 {
		lines = append(lines, line(fmt.Sprintf("q%d", n), n), line("common", n))
	}
	batch := sequencer.Batch{Shard: "s", Records: []sequencer.Record{zipped(1, lines...)}}
	p, err := seq.Prepare(t.Context(), batch, sequencer.Cursor{})
	if err != nil || !p.Next.More(batch) {
		t.Fatalf("all queues are one group: %v", err)
	}
	result, err := seq.Process(t.Context(), batch)
	if err != nil || result.Events != 5000 || len(result.Heads) != 2501 {
		t.Fatalf("%d events, %v", result.Events, err)
	}
	if got := numbers(t, st, "common"); got != upTo(2500) {
		t.Errorf("got events %s", got)
	}
}

// counting counts calls.
type counting struct {
	store.Bots
	produced int
}

func (c *counting) Produced(ctx context.Context, p []store.Produced) error {
	c.produced++
	return c.Bots.Produced(ctx, p)
}

func TestStatisticsOfABatchAreOneWriteWS2(t *testing.T) {
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	bots := &counting{Bots: st.Bots}
	st.Bots = bots
	if err := st.Bots.Register(t.Context(), store.Registration{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	var records []sequencer.Record
	for n := range 20 {
		records = append(records, plain(n+1, line("q", n)))
	}
	_, err := sequencer.New(st, sequencer.Config{GroupBytes: 1}).Process(t.Context(), sequencer.Batch{Shard: "s", Records: records})
	if err != nil {
		t.Fatal(err)
	}
	row, err := st.Bots.Get(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	head, err := st.Queues.Get(t.Context(), "q")
	if err != nil {
		t.Fatal(err)
	}
	if w := row.Write["queue:q"]; w.Records != 20 || w.Position != head.Head || bots.produced != 1 {
		t.Errorf("%d writes, %+v, head %s", bots.produced, w, head.Head)
	}
}

// failing lets the nth advance fail.
type failing struct {
	store.Queues
	advances int
}

func (f *failing) Advance(ctx context.Context, a store.Advance) error {
	if f.advances--; f.advances == 0 {
		return errCrash
	}
	return f.Queues.Advance(ctx, a)
}

func TestAnAttemptThatFailsAndLivesDoesNotKeepTheNextWaitingForItsLease(t *testing.T) {
	now := frozen()
	st := memory.New(memory.Options{Now: frozen})
	st.Atomic = nil
	good := st.Queues
	st.Queues = &failing{Queues: good, advances: 2}
	config := func(owner string) sequencer.Config {
		return sequencer.Config{Owner: owner, Lease: 20 * time.Second, Parallel: 1, Now: func() time.Time { return now }}
	}
	batch := sequencer.Batch{Shard: "s", Records: []sequencer.Record{plain(1, line("a", 0), line("b", 0), line("c", 0))}}
	if _, err := sequencer.New(st, config("first")).Process(t.Context(), batch); !errors.Is(err, errCrash) {
		t.Fatalf("got %v", err)
	}
	for queue, open := range map[string]bool{"a": false, "b": true} {
		row, err := good.Get(t.Context(), queue)
		if err != nil {
			t.Fatal(err)
		}
		s := row.Sequencing
		if s.Open != open || open && s.Lease != now.Add(2*time.Second).UnixMilli() {
			t.Errorf("queue %s: %+v", queue, s)
		}
	}
	now = now.Add(2*time.Second + time.Millisecond)
	result, err := sequencer.New(st, config("second")).Process(t.Context(), batch)
	if err != nil || result.Events+result.Repeats != 3 {
		t.Fatalf("%+v, %v", result, err)
	}
	for _, queue := range []string{"a", "b", "c"} {
		if got := numbers(t, st, queue); got != "0" {
			t.Errorf("queue %s has %s", queue, got)
		}
	}
}
