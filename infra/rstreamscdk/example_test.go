package rstreamscdk_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/rstreams-go/rstreams/infra/rstreamscdk"
	"github.com/rstreams-go/rstreams/sdk/bot"
)

// An app of one's own: a bus, and beside it a stack of bots, which the program in ./cmd/orders declares as the same values.
func Example() {
	defer jsii.Close()
	bots := []bot.Bot{{
		ID: "orders-price", Triggers: []string{"orders"}, Writes: []string{"orders.priced"}, Memory: 512, Timeout: time.Minute,
		Run: func(context.Context, *bot.Run) error { return nil },
	}}

	app := awscdk.NewApp(nil)
	bus, err := rstreamscdk.NewBus(awscdk.NewStack(app, jsii.String("orders-bus"), nil), "Bus", rstreamscdk.BusProps{
		Stage:  "prod",
		Intake: rstreamscdk.Intake{Retention: 72 * time.Hour},
		Alarms: rstreamscdk.Alarms{Topic: "arn:aws:sns:eu-west-1:123456789012:ops"},
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = rstreamscdk.NewBots(awscdk.NewStack(app, jsii.String("orders-bots"), nil), "Bots", rstreamscdk.BotsProps{
		Bus: bus, Entry: "./cmd/orders",
	}, bots...)
	if err != nil {
		log.Fatal(err)
	}
	app.Synth(nil)
}

// What is wrong with props is told in one error, before anything is made.
func ExampleImportBus() {
	_, err := rstreamscdk.ImportBus(rstreamscdk.ImportProps{Stack: "no good name"})
	fmt.Println(errors.Is(err, rstreamscdk.ErrProps))
	// Output: true
}
