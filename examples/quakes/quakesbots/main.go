// Command quakesbots is the earthquake demonstration as a user's own program: the bots of examples/quakes under bot.Main.
//
//	export RSTREAMS_BUS=embedded:./quakes
//	rstreams dev ./examples/quakes/quakesbots     # builds it and runs its bots
//	rstreams run quakes-source                    # in another terminal: writes the week
//
// The same program is each of the demonstration's Lambda functions (scripts/deploy STAGE --demo); RSTREAMS_BOT names the bot.
package main

import (
	"os"
	"time"

	"github.com/rstreams-go/rstreams/examples/quakes"
	"github.com/rstreams-go/rstreams/sdk/bot"
)

func main() {
	csv := os.Getenv("QUAKES_CSV")
	if csv == "" {
		csv = "quakes.csv"
	}
	bot.Main(quakes.Bots(quakes.Config{CSV: csv, Totals: os.Stdout, TotalsSchedule: "* * * * * *", Pace: 3 * time.Second})...)
}
