// Package interop proves that programs on the published Node SDK and programs on this one share a bus: every row of the
// contract (sdk.md section 10) is a test in which one side writes and the other reads, on an emulator of AWS. The tests have the
// build tag aws:
//
//	scripts/localstack up
//	npm ci --prefix tests/interop/node
//	RSTREAMS_TEST_ENDPOINT=http://127.0.0.1:4566 go test -tags aws -v ./tests/interop
//
// The last lines of the output are the table of the rows. Row T1 copies 20,000 events through its chains; the environment variable
// RSTREAMS_INTEROP_EVENTS asks for more, such as the million of the contract, which takes a quarter of an hour (use -timeout 1h).
package interop
