// Package rstreamscdk has the AWS CDK constructs of RStreams: NewBus makes a bus, NewBots makes Lambda functions of bots and
// registers them on one.
//
//	bus, err := rstreamscdk.NewBus(stack, "Bus", rstreamscdk.BusProps{})
//	...
//	_, err = rstreamscdk.NewBots(stack, "Bots", rstreamscdk.BotsProps{Bus: bus, Entry: "./cmd/orders"}, orders.Bots()...)
//
// A bus is one per stack: its outputs are exported as <stack>-<Name>, its secret is rstreams-<stack> and its SSM parameter
// /rstreams/<stack>/config. Everything else has a name that CloudFormation makes, so that any number of buses live in one
// account (C1, bus.md 4).
//
// The functions are Go programs, which the constructs build with the go command when the app is synthesised. No function of
// any other language is deployed, the helpers of the CDK included: what the CDK would do by such a helper is done here by a
// property of the resource itself.
//
// Constructs report what is wrong with their props in one error, before they make anything. Faults that the CDK itself finds
// are panics of its own.
package rstreamscdk
