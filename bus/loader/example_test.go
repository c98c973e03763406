package loader_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/rstreams-go/rstreams/bus/loader"
	"github.com/rstreams-go/rstreams/bus/store/memory"
)

// Firehose left an object; the loader makes its lines readable, once.
func ExampleLoader_Load() {
	ctx := context.Background()
	st := memory.New(memory.Options{})
	lines := `{"id":"shop","event":"orders","payload":{"item":"pear"}}` + "\n" + `{"id":"shop","event":"orders","payload":{"item":"plum"}}` + "\n"
	if _, _, err := st.Blobs.Put(ctx, "firehose/2026/01/02/03/bus-1-2026-01-02-03-04-05-0000", strings.NewReader(lines)); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		res, err := loader.New(st, loader.Config{Bucket: "memory", Owner: "example"}).Load(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(res.Objects, "objects,", res.Events, "events")
	}
	// Output:
	// 1 objects, 2 events
	// 0 objects, 0 events
}
