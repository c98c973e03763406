package imports

import (
	"slices"
	"strings"
	"testing"
)

// wall forbids imports to the packages below its directories.
type wall struct {
	name   string
	inside []string // packages that the rule is about
	except []string // but for these
	forbid func(path string) bool
}

// isAWS tells whether an import speaks to AWS.
func isAWS(path string) bool { return below(path, "github.com/aws") }

// ours returns the path within the module, or "".
func ours(path string) string {
	if rel, ok := strings.CutPrefix(path, module+"/"); ok {
		return rel
	}
	return ""
}

// backends are the implementations of the storage ports.
var backends = []string{"bus/store/sqlite", "bus/store/aws", "bus/store/memory"}

var walls = []wall{
	{
		name: "the domain knows no AWS", inside: []string{"bus"}, except: []string{"bus/store/aws"},
		forbid: isAWS,
	},
	{
		name: "the domain knows nothing above it", inside: []string{"bus"},
		forbid: func(p string) bool { return ours(p) != "" && !below(ours(p), "bus") },
	},
	{
		name: "the SDK knows the domain and nothing else of ours", inside: []string{"sdk"},
		forbid: func(p string) bool { return ours(p) != "" && !below(ours(p), "bus", "sdk") },
	},
	{
		name: "the SDK speaks to AWS through config, the Lambda runtime through bot", inside: []string{"sdk"}, except: []string{"sdk/config", "sdk/bot"},
		forbid: isAWS,
	},
	{
		name: "back ends are chosen in programs, in sdk/config, in bus/local and in test support", inside: []string{"bus", "sdk"},
		except: append([]string{"sdk/config", "sdk/rstreamstest", "bus/local"}, backends...),
		forbid: func(p string) bool { return below(ours(p), backends...) },
	},
	{
		name: "the storage ports know event ids only", inside: []string{"bus/store"}, except: append([]string{"bus/store/storetest", "bus/store/internal"}, backends...),
		forbid: func(p string) bool { return ours(p) != "" && ours(p) != "bus/eid" },
	},
	{
		name: "event ids, references and schedules stand alone", inside: []string{"bus/eid", "bus/ref", "bus/schedule"},
		forbid: func(p string) bool { return strings.Contains(strings.SplitN(p, "/", 2)[0], ".") },
	},
	{
		name: "the command line reaches AWS through the SDK and the ports only", inside: []string{"cmd", "examples"},
		forbid: func(p string) bool { return isAWS(p) || below(ours(p), backends...) },
	},
	{
		name: "Lambdas are thin and do not use the SDK's bots or the command line", inside: []string{"lambdas"},
		forbid: func(p string) bool { return below(ours(p), "cmd", "examples", "infra", "tests") },
	},
	{
		name: "test support stays in tests", inside: []string{"bus", "sdk", "lambdas", "cmd", "infra", "examples"},
		except: []string{"bus/store/storetest", "bus/store/aws/awstest", "sdk/rstreamstest"},
		forbid: func(p string) bool {
			return p == "testing" || p == "testing/synctest" || p == "pgregory.net/rapid" || p == "go.uber.org/goleak" ||
				below(p, "github.com/google/go-cmp") || below(ours(p), "bus/store/storetest", "bus/store/aws/awstest", "sdk/rstreamstest", "tests")
		},
	},
}

func TestImportsPointOneWay(t *testing.T) {
	for _, w := range walls {
		t.Run(w.name, func(t *testing.T) {
			for _, p := range packages(t) {
				if !below(p.rel(), w.inside...) || below(p.rel(), w.except...) {
					continue
				}
				for _, imported := range p.Imports {
					if w.forbid(imported) {
						t.Errorf("%s must not import %s", p.rel(), imported)
					}
				}
			}
		})
	}
}

func TestWallsHoldWhatTheyShould(t *testing.T) {
	// A rule about a package that is not there holds nothing.
	for _, dir := range []string{"bus/eid", "bus/ref", "bus/schedule", "bus/store", "bus/local", "sdk/rstreams", "sdk/config", "sdk/bot"} {
		if !slices.ContainsFunc(packages(t), func(p pkg) bool { return p.rel() == dir }) {
			t.Errorf("there is no package %s", dir)
		}
	}
	for _, path := range []string{"github.com/aws/aws-sdk-go-v2/service/s3", "github.com/aws/aws-lambda-go/lambda"} {
		if !isAWS(path) {
			t.Errorf("%s counts as no AWS package", path)
		}
	}
}

// allowed are the modules that a program gets by importing the SDK. Adding one is a decision: every user downloads,
// compiles and trusts it.
var allowed = []string{
	"github.com/google/uuid",        // version 7 ids of runs and requests
	"github.com/klauspost/compress", // gzip at several times the speed of the standard library
	"golang.org/x/sync",             // errgroup, semaphore

	// A bus on AWS, in sdk/config through bus/store/aws: the clients of the services that it consists of, those of SSM and Secrets
	// Manager to find it, and the Lambda runtime and client in sdk/bot. Every package of awsModules counts, no other of AWS does.

	// the embedded bus
	"modernc.org/sqlite", "modernc.org/libc", "modernc.org/mathutil", "modernc.org/memory",
	"golang.org/x/sys", "github.com/dustin/go-humanize", "github.com/mattn/go-isatty", "github.com/ncruces/go-strftime",
	"github.com/remyoudompheng/bigfft",
}

func TestSDKPullsInOnlyTheAllowedModules(t *testing.T) {
	for _, p := range list(t, "-deps", "./sdk/rstreams", "./sdk/bot") {
		if p.Standard || p.Module == nil || p.Module.Path == module {
			continue
		}
		if m := p.Module.Path; !slices.Contains(allowed, m) && !slices.Contains(awsModules, strings.TrimPrefix(m, "github.com/aws/")) {
			t.Errorf("the SDK pulls in %s of module %s, which is not on the list", p.ImportPath, m)
		}
	}
}

// awsModules are the modules of AWS that the SDK may pull in, below github.com/aws.
var awsModules = []string{
	"aws-lambda-go", "smithy-go", "aws-sdk-go-v2", "aws-sdk-go-v2/config", "aws-sdk-go-v2/credentials",
	"aws-sdk-go-v2/aws/protocol/eventstream", "aws-sdk-go-v2/feature/ec2/imds", "aws-sdk-go-v2/feature/s3/transfermanager",
	"aws-sdk-go-v2/internal/configsources", "aws-sdk-go-v2/internal/endpoints/v2", "aws-sdk-go-v2/internal/v4a",
	"aws-sdk-go-v2/service/internal/accept-encoding", "aws-sdk-go-v2/service/internal/checksum",
	"aws-sdk-go-v2/service/internal/endpoint-discovery", "aws-sdk-go-v2/service/internal/presigned-url",
	"aws-sdk-go-v2/service/internal/s3shared",
	// the bus
	"aws-sdk-go-v2/service/dynamodb", "aws-sdk-go-v2/service/dynamodbstreams", "aws-sdk-go-v2/service/firehose",
	"aws-sdk-go-v2/service/kinesis", "aws-sdk-go-v2/service/lambda", "aws-sdk-go-v2/service/s3", "aws-sdk-go-v2/service/sns",
	// finding it, and the chain of credentials
	"aws-sdk-go-v2/service/secretsmanager", "aws-sdk-go-v2/service/ssm", "aws-sdk-go-v2/service/sts",
	"aws-sdk-go-v2/service/sso", "aws-sdk-go-v2/service/ssooidc", "aws-sdk-go-v2/service/signin",
}

// Functions are started often, and nobody uses an embedded bus in them.
func TestProgramsForLambdaDoNotLinkTheEmbeddedBus(t *testing.T) {
	embedded := []string{"modernc.org/sqlite", module + "/bus/local", module + "/bus/store/sqlite"}
	found := map[bool]int{}
	for _, lambda := range []bool{true, false} {
		args := []string{"-deps", "./sdk/rstreams", "./sdk/bot"}
		if lambda {
			args = append([]string{"-tags=rstreams_lambda"}, args...)
		}
		for _, p := range list(t, args...) {
			if slices.Contains(embedded, p.ImportPath) {
				found[lambda]++
				if lambda {
					t.Errorf("with the tag rstreams_lambda the SDK still imports %s", p.ImportPath)
				}
			}
		}
	}
	if found[false] != len(embedded) {
		t.Errorf("without the tag the SDK imports %d of %v", found[false], embedded)
	}
}
