// Package e2e tests the bus as users have it: two buses deployed with the CDK on an emulator of AWS, bots of a CDK app of its own as Go
// Lambda functions, and programs that use them. Start an emulator, and
//
//	RSTREAMS_TEST_IAM=true RSTREAMS_TEST_ENDPOINT=$(scripts/localstack up --iam) go test -tags aws -timeout 20m ./tests/aws
//
// One test of many parts deploys everything once and removes it at the end. On LocalStack, which is slower, only the parts run that
// the engines could do differently. Environment:
//
//	RSTREAMS_TEST_ENDPOINT  the emulator's address
//	RSTREAMS_TEST_STAGE     a stage to use, if it is there, and to leave behind, instead of one that lives as long as the test
//	RSTREAMS_TEST_PARTS     all: every part, on any engine
//	RSTREAMS_TEST_IAM       true: the emulator has IAM's policies in force, so that refusals are tested too
package e2e
