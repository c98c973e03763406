package aws_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
)

// What the suite of the ports does not show. All of it needs an emulator of AWS.

// eventually asks until the answer is yes.
func eventually(t *testing.T, what string, ready func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !ready() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Events that come over several shards, in plain and compressed records, are read once each and in order.
func TestRecordsBecomeEventsOnAStreamOfSeveralShards(t *testing.T) {
	bus := awstest.OpenWith(t, *awstest.NewWith(t, awstest.Setup{Shards: 2}))
	st := bus.Store()
	awstest.Pump(t, bus, sequencer.New(st, sequencer.Config{}))
	const batches, queues = 20, 4
	for n := range batches {
		var records []store.Record
		for q := range queues {
			line := fmt.Appendf(nil, `{"id":"w","event":"q%d","payload":{"n":%d},"timestamp":1,"event_source_timestamp":1}`+"\n", q, n)
			if n%2 == 1 {
				line = chunk.AppendGzip(nil, line)
			}
			records = append(records, store.Record{PartitionKey: fmt.Sprint("q", q), Data: line})
		}
		acks, err := st.Intake.Put(t.Context(), records)
		if err != nil {
			t.Fatal(err)
		}
		for i, a := range acks {
			if a.Err != nil || a.Shard == "" || a.Sequence == "" {
				t.Fatalf("record %d has the ack %+v", i, a)
			}
		}
	}
	for q := range queues {
		queue := fmt.Sprint("q", q)
		var page store.Page
		eventually(t, queue, func() bool {
			row, err := st.Queues.Get(t.Context(), queue)
			if err != nil {
				return false
			}
			if page, err = st.Chunks.Query(t.Context(), queue, "", row.Head, 0, 0); err != nil {
				t.Fatal(err)
			}
			n := int64(0)
			for _, c := range page.Chunks {
				n += c.Records
			}
			return n == batches
		})
		var text bytes.Buffer
		for _, c := range page.Chunks {
			r, err := chunk.OpenRecord(c.Gzip)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(&text, r); err != nil {
				t.Fatal(err)
			}
			_ = r.Close() // It only returns buffers.
		}
		at := 0
		for n := range batches {
			i := strings.Index(text.String()[at:], fmt.Sprintf(`"n":%d}`, n))
			if i < 0 {
				t.Fatalf("event %d of %s is missing or too early in %s", n, queue, text.String())
			}
			at += i
		}
		item := awstest.GetItem(t, bus.Resources().LeoEvent, awstest.Key("event", queue))
		if item["max_eid"] == nil || item["v"] == nil {
			t.Errorf("the row of %s is %v", queue, item)
		}
	}
}

func TestFirehoseRecordsBecomeObjects(t *testing.T) {
	bus := awstest.Open(t)
	st := bus.Store()
	acks, err := st.Firehose.Put(t.Context(), []store.Record{{Data: []byte("{\"a\":1}")}, {Data: []byte("{\"a\":2}\n")}})
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range acks {
		if a.Err != nil || a.Sequence == "" {
			t.Errorf("record %d has the ack %+v", i, a)
		}
	}
	var text string
	eventually(t, "the objects", func() bool {
		list, err := st.Blobs.List(t.Context(), "firehose/", "", 0)
		if err != nil {
			t.Fatal(err)
		}
		text = ""
		for _, b := range list {
			text += readBlob(t, st.Blobs, store.BlobRef{Bucket: bus.Resources().LeoS3, Key: b.Key})
		}
		return len(text) >= 16
	})
	lines := strings.SplitAfter(text, "\n")
	slices.Sort(lines)
	if got := strings.Join(lines, ""); got != "{\"a\":1}\n{\"a\":2}\n" {
		t.Errorf("the objects hold %q", text)
	}
}

func readBlob(t *testing.T, b store.Blobs, ref store.BlobRef) string {
	t.Helper()
	r, err := b.Get(t.Context(), ref, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLargeBlobsComeAndGoInParts(t *testing.T) {
	st := awstest.Open(t).Store()
	text := strings.Repeat("0123456789abcde\n", 20<<20/16)
	ref, size, err := st.Blobs.Put(t.Context(), "large", io.MultiReader(strings.NewReader(text))) // Its length is not known.
	if err != nil || size != int64(len(text)) {
		t.Fatalf("stored %d bytes, %v", size, err)
	}
	if readBlob(t, st.Blobs, ref) != text {
		t.Error("the blob changed")
	}
	r, err := st.Blobs.Get(t.Context(), ref, 8<<20-8, 16)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != text[8<<20-8:8<<20+8] {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestManyBlobsAreListedAndDeletedByPages(t *testing.T) {
	st := awstest.Open(t).Store()
	var keys []string
	for i := range 12 {
		key := fmt.Sprintf("k/%02d", i)
		if _, _, err := st.Blobs.Put(t.Context(), key, strings.NewReader("x")); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	for i := range 1500 {
		keys = append(keys, fmt.Sprint("absent/", i))
	}
	list, err := st.Blobs.List(t.Context(), "k/", "k/03", 5)
	if err != nil || len(list) != 5 || list[0].Key != "k/04" {
		t.Errorf("listed %v, %v", list, err)
	}
	if err := st.Blobs.Delete(t.Context(), keys); err != nil {
		t.Fatal(err)
	}
	if list, err = st.Blobs.List(t.Context(), "", "", 0); err != nil || len(list) != 0 {
		t.Errorf("left are %v, %v", list, err)
	}
}

// Bad input: every part that is missing is named, in one line.
func TestCheckNamesWhatIsMissing(t *testing.T) {
	o := *awstest.New(t)
	o.Resources.LeoCron += "X"
	o.Resources.LeoKinesisStream += "X"
	o.Resources.LeoFirehoseStream += "X"
	o.Resources.LeoS3 += "x"
	o.Resources.LeoSystem = o.Resources.LeoStream
	err := awstest.OpenWith(t, o).Check(t.Context())
	if err == nil {
		t.Fatal("a bus of which half is missing is fine")
	}
	for _, want := range []string{"LeoCron (table " + o.Resources.LeoCron + ")", "LeoKinesisStream", "LeoFirehoseStream", "LeoS3", "not there",
		"LeoSystem", "mixed up"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
	if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "LeoSettings") {
		t.Errorf("got %q", err)
	}
	o.Resources = awsbus.Resources{}
	if _, err := awsbus.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "LeoKinesisStream") {
		t.Errorf("no configuration gave %v", err)
	}
}
