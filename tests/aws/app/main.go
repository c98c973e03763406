// Command app is a CDK app as a user of RStreams has one: bots on a bus that another app has deployed.
//
//	cdk deploy --app "go run ./tests/aws/app" -c bus=rstreams-dev -c set=pipeline
//
// Context:
//
//	bus           name of the bus's stack; required
//	set           which bots (package testbots); required
//	stack         name of the bots' stack; default BUS-bots
//	architecture  arm64 or x86_64; default arm64
//	endpoint      address of an emulator
package main

import (
	"fmt"
	"os"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/rstreams-go/rstreams/infra/rstreamscdk"
	"github.com/rstreams-go/rstreams/tests/aws/internal/testbots"
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
	context := func(name, otherwise string) string {
		if text, ok := app.Node().TryGetContext(jsii.String(name)).(string); ok {
			return text
		}
		return otherwise
	}
	name := context("bus", "")
	bus, err := rstreamscdk.ImportBus(rstreamscdk.ImportProps{Stack: name})
	if err != nil {
		return err
	}
	_, err = rstreamscdk.NewBots(awscdk.NewStack(app, jsii.String(context("stack", name+"-bots")), nil), "Bots", rstreamscdk.BotsProps{
		Bus: bus, Entry: "./tests/aws/bots", Endpoint: context("endpoint", ""), Architecture: context("architecture", ""),
	}, testbots.Bots(context("set", ""))...)
	return err
}
