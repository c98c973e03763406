package archive_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/rstreams-go/rstreams/bus/archive"
	"github.com/rstreams-go/rstreams/bus/sequencer"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// An archiver passes over all queues, now and then.
func ExampleArchiver_Run() {
	ctx := context.Background()
	st := memory.New(memory.Options{})
	_, err := sequencer.New(st, sequencer.Config{}).Process(ctx, sequencer.Batch{Shard: "s", Records: []sequencer.Record{
		{Sequence: "1", Arrival: time.Now().UnixMilli(), Data: []byte(`{"id":"shop","event":"orders","payload":{"item":"pear"}}`)}}})
	if err != nil {
		log.Fatal(err)
	}
	inTwoHours := func() time.Time { return time.Now().Add(2 * time.Hour) }
	res, err := archive.New(st, archive.Config{Owner: "example", Age: time.Hour, Now: inTwoHours}).Run(ctx)
	if err != nil {
		log.Fatal(err)
	}
	row, err := st.Queues.Get(ctx, "orders")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(res.Events, "events archived, everything:", row.ArchiveEnd == row.Head)
	// Output:
	// 1 events archived, everything: true
}
