// Command bots is the program of the end-to-end test's bots: each of their Lambda functions runs it, and RSTREAMS_BOT names the bot.
package main

import (
	"github.com/rstreams-go/rstreams/sdk/bot"
	"github.com/rstreams-go/rstreams/tests/aws/internal/testbots"
)

func main() { bot.Main(testbots.All()...) }
