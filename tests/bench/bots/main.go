// Command bots is the program of the benchmark's bots on AWS.
package main

import (
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/tests/bench/internal/benchbots"
)

func main() { bot.Main(benchbots.All()...) }
