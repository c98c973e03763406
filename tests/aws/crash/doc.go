// Package crash kills the bus's kinesis-processor, the program that is deployed, between any two of its writes, and checks that no
// event is lost, repeated, skipped or reordered.
//
// The test plays Lambda: it serves the runtime API to the program and the batches of an event source mapping, cut otherwise at
// every retry. It also plays the network: all requests to the emulator go through it, so that it can kill the program just before a
// write is passed on, or when its effect is there and its answer is not. Run it with an emulator (RSTREAMS_TEST_ENDPOINT) and
//
//	go test -tags aws ./tests/aws/crash
//
// RSTREAMS_CRASH_KILLS says how often each of the two shards' processes is killed (default 50).
package crash
