package chunk_test

import (
	"errors"
	"fmt"
	"io"

	"github.com/rstreams-go/rstreams/bus/chunk"
	"github.com/rstreams-go/rstreams/bus/store"
)

func ExampleOpenRecord() {
	record := chunk.AppendGzip(nil, []byte("{\"id\":\"b\",\"event\":\"q\",\"payload\":1}\n{\"id\":\"b\",\"event\":\"q\",\"payload\":2}\n"))
	r, err := chunk.OpenRecord(record)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	lines := chunk.NewLines(r, 1<<20)
	for {
		line, err := lines.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(lines.Number(), string(line))
	}
	// Output:
	// 1 {"id":"b","event":"q","payload":1}
	// 2 {"id":"b","event":"q","payload":2}
}

func ExampleAppendPointer() {
	p := chunk.Pointer{
		Queue: "orders", Blob: store.BlobRef{Bucket: "bus", Key: "bus/orders/1.gz"}, Records: 2, Size: 80, GzipSize: 60,
		Offsets: []store.Offset{{Event: "orders", Start: 0, End: 1, Records: 2, Size: 80, GzipSize: 60}},
	}
	line, err := chunk.AppendPointer(nil, &p)
	fmt.Printf("%s%v\n", line, err)

	p.Records = 3
	_, err = chunk.AppendPointer(nil, &p)
	fmt.Println(err)
	// Output:
	// {"event":"orders","start":null,"end":1,"s3":{"bucket":"bus","key":"bus/orders/1.gz"},"offsets":[{"event":"orders","start":0,"end":1,"records":2,"gzipSize":60,"size":80,"offset":0,"gzipOffset":0}],"gzipSize":60,"size":80,"records":2,"stats":{},"correlations":[]}
	// <nil>
	// invalid pointer record: it has 3 records, 80 bytes, 60 compressed; its sections have 2, 80, 60
}
