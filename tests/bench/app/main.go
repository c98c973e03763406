// Command app is the CDK app of the benchmark's bots on AWS. Context: bus, the name of the bus's stack; endpoint and architecture
// as for the bus.
package main

import (
	"fmt"
	"os"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/rstreams-go/rstreams/infra/rstreamscdk"
	"github.com/rstreams-go/rstreams/tests/bench/internal/benchbots"
)

func main() {
	app := awscdk.NewApp(nil)
	err := stack(app)
	if err == nil {
		app.Synth(nil)
	}
	jsii.Close()
	if err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

func stack(app awscdk.App) error {
	context := func(name string) string {
		text, _ := app.Node().TryGetContext(jsii.String(name)).(string)
		return text
	}
	name := context("bus")
	bus, err := rstreamscdk.ImportBus(rstreamscdk.ImportProps{Stack: name})
	if err != nil {
		return err
	}
	_, err = rstreamscdk.NewBots(awscdk.NewStack(app, jsii.String(name+"-bots"), nil), "Bots", rstreamscdk.BotsProps{
		Bus: bus, Entry: "./tests/bench/bots", Endpoint: context("endpoint"), Architecture: context("architecture"),
	}, benchbots.All()...)
	return err
}
