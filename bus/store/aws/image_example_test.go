package aws_test

import (
	"fmt"

	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
)

// A Lambda on the stream of LeoEvent looks at the rows before and after.
func ExampleDecodeQueueImage() {
	row, err := awsbus.DecodeQueueImage([]byte(`{"event": {"S": "orders"}, "v": {"N": "2"},
		"max_eid": {"S": "z/2026/11/21/02/35/1795228519234-0000003"}}`))
	fmt.Println(row.Name, row.Head, err)

	none, err := awsbus.DecodeQueueImage([]byte("null")) // of a row that is new
	fmt.Printf("%q %v\n", none.Head, err)
	// Output:
	// orders z/2026/11/21/02/35/1795228519234-0000003 <nil>
	// "" <nil>
}
