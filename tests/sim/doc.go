// Package sim simulates the whole bus on virtual time: writers, a Kinesis stream with its event source mappings, sequencers,
// dispatchers, bots and readers, over stores that fail, while an oracle checks every write that takes effect.
//
// A run is a function of its seed: the same seed gives the same trace, byte for byte. Everything is in the tests; there is
// nothing to import. README.md tells how to run and replay, docs/simulation.md what is modelled and what that proves.
package sim
