package event_test

import (
	"encoding/json"
	"fmt"

	"github.com/rstreams-go/rstreams/bus/event"
)

func ExampleAppendLine() {
	e := event.Event{Bot: "orders-enrich", Queue: "orders.priced", Payload: json.RawMessage(`{"total": 12.50}`), Timestamp: 1704164645678}
	line, err := event.AppendLine(nil, &e, 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s", line)

	e.Payload = json.RawMessage(`0`)
	_, err = event.AppendLine(nil, &e, 0)
	fmt.Println(err)
	// Output:
	// {"id":"orders-enrich","event":"orders.priced","timestamp":1704164645678,"eid":0,"payload":{"total": 12.50}}
	// payload is missing, null, false, 0 or "", which the bus does not store: it is 0
}

func ExampleScan() {
	var l event.Line
	err := event.Scan([]byte(`{"id":"b","event":"queue:orders","payload":{"n":1.0},"eid":41}`), &l)
	if err != nil {
		fmt.Println(err)
		return
	}
	queue, err := l.Queue()
	fmt.Println(l.Bot(), queue, err)
	fmt.Printf("%s", l.AppendStored(nil, queue, 0, 1704164645678))
	// Output:
	// b orders <nil>
	// {"id":"b","event":"orders","payload":{"n":1.0},"eid":0,"timestamp":1704164645678,"event_source_timestamp":1704164645678}
}

func ExampleParse() {
	e, err := event.Parse([]byte(`{"id":"b","event":"orders","payload":{"n":12345678901234567890},"custom":true}`))
	fmt.Println(e.Bot, e.Queue, string(e.Payload), e.Extra[0].Name, err)
	// Output: b orders {"n":12345678901234567890} custom <nil>
}
