//go:build !race

package rstreams_test

// raceDetector tells that everything is some twenty times slower.
const raceDetector = false
