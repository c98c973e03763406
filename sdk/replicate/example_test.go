package replicate_test

import (
	"fmt"

	"github.com/rstreams-go/rstreams/sdk/replicate"
)

func ExampleRoutes() {
	routes, err := replicate.Routes(
		[]string{"arn:aws:iam::123456789012:role/rstreams-prod-LeoBotRole-1ABC"},
		[]byte(`["orders", {"payments": {"destination": "payments-copy", "region": "eu-west-1"}}]`))
	for _, r := range routes {
		fmt.Println(r.Source, "to", r.Destination, "by", r.BotID())
	}
	fmt.Println(err)

	_, err = replicate.Routes(nil, []byte(`["orders"]`))
	fmt.Println(err)
	// Output:
	// orders to orders by replicate-orders-to-123456789012-rstreams-prod-orders
	// payments to payments-copy by replicate-payments-to-123456789012-rstreams-prod-payments-copy
	// <nil>
	// invalid replication mapping: QueueReplicationMapping has 1 queues and QueueReplicationDestinationLeoBotRoleARNs no role: give the bot role of each bus to copy to
}
