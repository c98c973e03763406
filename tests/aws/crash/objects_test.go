//go:build aws

package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// killed invokes a function until it is done, and has it killed at every write it makes on the way: before it is passed on, after it,
// before the next one, and so on.
func killed(t *testing.T, f *function, p *proxy, st store.Store, lock string, done func() bool) (kills int) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Minute)
	at, after := 1, false
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("it is not done after %d kills: %s", kills, f.output())
		}
		p.arm(at, after)
		_, err := f.invoke(t.Context(), []byte(`{"Records":[]}`), 20*time.Second)
		_, hit := p.disarm()
		switch {
		case hit != "":
			kills++
			if after {
				at++
			}
			after = !after
			// Nobody is there who could hold it: the test need not wait for the end of its lease.
			if err := st.Settings.Delete(t.Context(), "lock_"+lock); err != nil {
				t.Fatal(err)
			}
		case err != nil:
			t.Fatalf("after %d kills: %v", kills, err)
		}
	}
	return kills
}

// TestKillingTheFirehoseLoaderLoadsEachObjectOnce is W-D9 and W-P10 on the program that is deployed.
func TestKillingTheFirehoseLoaderLoadsEachObjectOnce(t *testing.T) {
	options := awstest.New(t)
	st := awstest.OpenWith(t, *options).Store()
	p := newProxy(t, awstest.Endpoint(t))
	f := newFunction(t, build(t, "firehose-loader"), environment(t, options.Resources, p)...)
	p.kill = func() { f.kill() }
	n := 0
	for object := range 4 {
		var text strings.Builder
		for range 50 {
			fmt.Fprintf(&text, `{"id":"b","event":"fire-%d","payload":{"n":%d}}`+"\n", n%2, n/2)
			n++
		}
		key := fmt.Sprintf("firehose/2026/01/02/03/bus-1-2026-01-02-03-04-%02d-00000000-0000-4000-8000-000000000000", object)
		if _, _, err := st.Blobs.Put(t.Context(), key, strings.NewReader(text.String())); err != nil {
			t.Fatal(err)
		}
	}
	kills := killed(t, f, p, st, "firehose-loader", func() bool {
		left, err := st.Blobs.List(t.Context(), "firehose/", "", 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(left) == 0
	})
	for _, queue := range []string{"fire-0", "fire-1"} {
		if got := payloads(t, events(t, st, queue)); got != upTo(n/2) {
			t.Errorf("queue %s has %s", queue, got)
		}
	}
	t.Logf("%d kills, %d starts", kills, f.starts)
}

// TestKillingTheArchiverLosesAndRepeatsNothing is C39 and C40 on the program that is deployed.
func TestKillingTheArchiverLosesAndRepeatsNothing(t *testing.T) {
	options := awstest.New(t)
	st := awstest.OpenWith(t, *options).Store()
	p := newProxy(t, awstest.Endpoint(t))
	f := newFunction(t, build(t, "archiver"), append(environment(t, options.Resources, p), "RSTREAMS_ARCHIVE_AGE=1ms")...)
	p.kill = func() { f.kill() }
	queues := []string{"a", "b", "c"}
	const each = 30
	for i := range each / 3 {
		publish(t, st, i, queues, 3)
	}
	kills := killed(t, f, p, st, "archiver", func() bool {
		for _, queue := range queues {
			row, err := st.Queues.Get(context.WithoutCancel(t.Context()), queue)
			if err != nil {
				t.Fatal(err)
			}
			if row.ArchiveEnd != row.Head {
				return false
			}
		}
		return true
	})
	for _, queue := range queues {
		var lines []string
		prev := ""
		page, err := st.Chunks.Query(t.Context(), queue+store.ArchiveSuffix, "", "z0", 0, 0)
		if err != nil || page.More {
			t.Fatal(err)
		}
		for _, c := range page.Chunks {
			if !c.Archive || c.Expires != 0 || c.Start <= prev {
				t.Errorf("archive of %s: %+v", queue, c)
			}
			prev = c.End
			lines = append(lines, body(t, st, &c)...)
		}
		if got := payloads(t, lines); got != upTo(each) {
			t.Errorf("the archive of %s has %s", queue, got)
		}
		var last struct{ EID string }
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
			t.Fatal(err)
		}
		if row, err := st.Queues.Get(t.Context(), queue); err != nil || row.ArchiveEnd != prev || last.EID != prev {
			t.Errorf("the archive of %s ends at %s, with event %s; its row says %s, %v", queue, prev, last.EID, row.ArchiveEnd, err)
		}
		// More is written, and what is archived expires: a reader sees one queue (R8).
		publish(t, st, each/3, []string{queue}, 3)
		expire(t, st, queue, prev)
		var read []string
		for e, err := range rstreams.New(st, rstreams.Options{}).Read(t.Context(), queue, rstreams.ReadOptions{Start: "z/"}) {
			if err != nil {
				t.Fatal(err)
			}
			read = append(read, `{"payload":`+string(e.Payload)+`}`)
		}
		if got := payloads(t, read); got != upTo(each+3) {
			t.Errorf("a reader of %s gets %s", queue, got)
		}
	}
	t.Logf("%d kills, %d starts", kills, f.starts)
}

// expire removes the chunks of a queue up to an id, as their time to live would.
func expire(t *testing.T, st store.Store, queue, through string) {
	t.Helper()
	page, err := st.Chunks.Query(t.Context(), queue, "", through, 0, 0)
	if err != nil || page.More {
		t.Fatal(err)
	}
	var ends []string
	for _, c := range page.Chunks {
		ends = append(ends, c.End)
	}
	if err := st.Chunks.Delete(t.Context(), queue, ends); err != nil {
		t.Fatal(err)
	}
}

// payloads returns the numbers of events.
func payloads(t *testing.T, lines []string) string {
	t.Helper()
	var out []string
	for _, l := range lines {
		var e struct{ Payload struct{ N int } }
		if err := json.Unmarshal([]byte(l), &e); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(e.Payload.N))
	}
	return strings.Join(out, " ")
}

func upTo(n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i)
	}
	return strings.Join(out, " ")
}

// publish writes the ith batch of n events to each queue.
func publish(t *testing.T, st store.Store, i int, queues []string, n int) {
	t.Helper()
	var text strings.Builder
	for _, queue := range queues {
		for k := range n {
			fmt.Fprintf(&text, `{"id":"b","event":%q,"payload":{"n":%d}}`+"\n", queue, i*n+k)
		}
	}
	_, err := sequencer.New(st, sequencer.Config{Owner: "test"}).Process(t.Context(), sequencer.Batch{Shard: "s", Records: []sequencer.Record{
		{Sequence: fmt.Sprint(i + 1), Arrival: time.Now().UnixMilli(), Data: chunk.AppendGzip(nil, []byte(text.String()))}}})
	if err != nil {
		t.Fatal(err)
	}
}
