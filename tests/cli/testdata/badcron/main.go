// Command badcron is a program of bots with a schedule that does not exist.
package main

import (
	"context"

	"github.com/rstreams-go/rstreams/sdk/bot"
)

func main() {
	bot.Main(bot.Bot{
		ID: "nightly", Schedule: "61 * * * *",
		Run: func(context.Context, *bot.Run) error { return nil },
	})
}
