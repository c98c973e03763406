package ref_test

import (
	"fmt"

	"github.com/rstreams-go/rstreams/bus/ref"
)

func ExampleParse() {
	for _, s := range []string{"orders", "queue:orders", "bot:pricer", "system:sap"} {
		r := ref.Parse(s)
		fmt.Println(r, r.Queue(), r.Sub("error"))
	}
	// Output:
	// queue:orders orders orders.error
	// queue:orders orders orders.error
	// bot:pricer bot.pricer bot.pricer.error
	// system:sap system.sap system.sap.error
}

func ExampleValidateQueue() {
	fmt.Println(ref.ValidateQueue("orders"))
	fmt.Println(ref.ValidateQueue("queue:"))
	// Output:
	// <nil>
	// invalid queue name: "queue:" names no queue once its type and the prefixes s_, e_ and b_ are removed
}
