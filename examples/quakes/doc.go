// Package quakes is the demonstration that `rstreams demo` runs: real earthquake records go through every kind of bot.
//
//	quakes-source   writes a week of the U.S. Geological Survey's feed to   quakes.raw
//	quakes-score    classifies each record (enrich)                         quakes.raw -> quakes.scored
//	quakes-hourly   sums them up by region and hour (reduce)                quakes.scored -> quakes.hourly
//	quakes-csv      writes a CSV file (offload)                             quakes.scored -> a file
//	quakes-totals   prints totals on a schedule (cron)
//
// The bots are ordinary sdk/bot values: nothing in them knows on which backend the bus is.
package quakes
