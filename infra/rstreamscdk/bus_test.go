package rstreamscdk

import (
	"bytes"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the golden templates")

// The whole of every kind of stack, so that no change of a construct goes unseen. After an intended one:
//
//	go test ./infra/rstreamscdk -update
func TestTemplatesAreGolden(t *testing.T) {
	for _, stack := range []string{"rstreams-dev", "rstreams-prod", "rstreams-local", "rstreams-dev-orders", "import-name", "import-region", "import-account"} {
		got := normal(templateOf(t, stack).text)
		file := filepath.Join("testdata", stack+".template.json")
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
			i := 0
			for i < min(len(g), len(w)) && g[i] == w[i] {
				i++
			}
			t.Errorf("%s differs from line %d on:\n got %s\nwant %s\nIf that is intended: go test ./infra/rstreamscdk -update",
				file, i+1, strings.Join(g[i:min(i+5, len(g))], "\n     "), strings.Join(w[i:min(i+5, len(w))], "\n     "))
		}
	}
}

var assetHash = regexp.MustCompile(`[0-9a-f]{64}`)

// normal replaces the hashes of assets, which follow the programs and not the constructs.
func normal(text []byte) []byte { return append(assetHash.ReplaceAll(text, []byte("HASH")), '\n') }

func TestC1OutputsAndExportsHaveTheOriginalsNames(t *testing.T) {
	for stack, more := range map[string][]string{"rstreams-dev": nil, "rstreams-prod": {"SourceQueueReplicator"}} {
		tpl := templateOf(t, stack)
		want := append([]string{
			"Role", "Policy", "LeoStream", "LeoCron", "LeoEvent", "LeoSettings", "LeoSystem", "LeoS3", "LeoKinesisStream", "LeoFirehoseStream", "Region", "Register",
		}, more...)
		for _, name := range want {
			if got := tpl.Outputs[name].Export.Name; got != stack+"-"+name {
				t.Errorf("%s: output %s is exported as %q", stack, name, got)
			}
		}
		if _, ok := tpl.Outputs["SourceQueueReplicator"]; ok != (more != nil) {
			t.Errorf("%s: output SourceQueueReplicator: %v", stack, ok)
		}
		// Tools list the stack's resources by these ids.
		for _, id := range want[2:10] {
			if id != "Region" && tpl.Resources[id] == nil {
				t.Errorf("%s: no resource has the logical id %s", stack, id)
			}
		}
		for _, r := range []*resource{tpl.one(t, "AWS::SecretsManager::Secret", ""), tpl.one(t, "AWS::SSM::Parameter", "")} {
			config := text(r.Properties["SecretString"]) + text(r.Properties["Value"])
			for _, key := range []string{"Region", "LeoStream", "LeoCron", "LeoEvent", "LeoS3", "LeoKinesisStream", "LeoFirehoseStream", "LeoSettings", "LeoSystem"} {
				if !strings.Contains(config, `\"`+key+`\"`) {
					t.Errorf("%s: %s lacks %s", stack, r.Type, key)
				}
			}
		}
		if got := tpl.one(t, "AWS::SecretsManager::Secret", "").Properties["Name"]; got != "rstreams-"+stack {
			t.Errorf("secret is named %v", got)
		}
		if got := tpl.one(t, "AWS::SSM::Parameter", "").Properties["Name"]; got != "/rstreams/"+stack+"/config" {
			t.Errorf("parameter is named %v", got)
		}
	}
}

func TestTablesHaveTheKeysStreamsAndCapacitiesOfTheOriginal(t *testing.T) {
	dev, prod := templateOf(t, "rstreams-dev"), templateOf(t, "rstreams-prod")
	for id, want := range map[string]struct{ keys, stream, ttl string }{
		"LeoStream":   {`[{"AttributeName":"event","KeyType":"HASH"},{"AttributeName":"end","KeyType":"RANGE"}]`, "null", `{"AttributeName":"ttl","Enabled":true}`},
		"LeoEvent":    {`[{"AttributeName":"event","KeyType":"HASH"}]`, `{"StreamViewType":"NEW_AND_OLD_IMAGES"}`, "null"},
		"LeoCron":     {`[{"AttributeName":"id","KeyType":"HASH"}]`, `{"StreamViewType":"NEW_AND_OLD_IMAGES"}`, "null"},
		"LeoSettings": {`[{"AttributeName":"id","KeyType":"HASH"}]`, "null", "null"},
		"LeoSystem":   {`[{"AttributeName":"id","KeyType":"HASH"}]`, "null", "null"},
	} {
		p := dev.Resources[id].Properties
		if text(p["KeySchema"]) != want.keys || text(p["StreamSpecification"]) != want.stream || text(p["TimeToLiveSpecification"]) != want.ttl {
			t.Errorf("%s: keys %s, stream %s, ttl %s", id, text(p["KeySchema"]), text(p["StreamSpecification"]), text(p["TimeToLiveSpecification"]))
		}
		if p["BillingMode"] != "PAY_PER_REQUEST" {
			t.Errorf("%s is billed as %v (W-S12)", id, p["BillingMode"])
		}
	}
	if got := text(prod.Resources["LeoStream"].Properties["ProvisionedThroughput"]); got != `{"ReadCapacityUnits":20,"WriteCapacityUnits":20}` {
		t.Errorf("LeoStream has %s", got)
	}
	bounds := map[string]bool{}
	for _, r := range prod.of("AWS::ApplicationAutoScaling::ScalableTarget") {
		bounds[text(r.Properties["ScalableDimension"])+text(r.Properties["MinCapacity"])+"-"+text(r.Properties["MaxCapacity"])] = true
	}
	for _, want := range []string{
		`"dynamodb:table:ReadCapacityUnits"20-1000`, `"dynamodb:table:WriteCapacityUnits"20-4000`,
		`"dynamodb:table:ReadCapacityUnits"20-200`, `"dynamodb:table:WriteCapacityUnits"20-200`,
	} {
		if !bounds[want] {
			t.Errorf("no table scales by %s: %v", want, bounds)
		}
	}
}

func TestWO3DataIsEncryptedRecoverableAndPrivate(t *testing.T) {
	const key = `"arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"`
	for _, stack := range []string{"rstreams-dev", "rstreams-prod"} {
		tpl := templateOf(t, stack)
		for id, r := range tpl.of("AWS::DynamoDB::Table") {
			if at(r.Properties, "PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled") != true {
				t.Errorf("%s: %s cannot be recovered", stack, id)
			}
			if r.DeletionPolicy != "Retain" || r.Properties["DeletionProtectionEnabled"] != true {
				t.Errorf("%s: %s goes with its stack", stack, id)
			}
			if stack == "rstreams-prod" && text(at(r.Properties, "SSESpecification", "KMSMasterKeyId")) != key {
				t.Errorf("%s: %s is not under the customer's key", stack, id)
			}
		}
		for _, id := range []string{"LeoS3", "LeoKinesisStream"} {
			if tpl.Resources[id].DeletionPolicy != "Retain" {
				t.Errorf("%s: %s goes with its stack", stack, id)
			}
		}
		if got := at(tpl.Resources["LeoKinesisStream"].Properties, "StreamEncryption", "EncryptionType"); got != "KMS" {
			t.Errorf("%s: stream is encrypted by %v", stack, got)
		}
		bucket := tpl.Resources["LeoS3"].Properties
		if got := text(bucket["PublicAccessBlockConfiguration"]); got != `{"BlockPublicAcls":true,"BlockPublicPolicy":true,"IgnorePublicAcls":true,"RestrictPublicBuckets":true}` {
			t.Errorf("%s: bucket's public access: %s", stack, got)
		}
		if got := text(at(bucket, "BucketEncryption", "ServerSideEncryptionConfiguration", 0, "ServerSideEncryptionByDefault", "SSEAlgorithm")); got != map[string]string{"rstreams-dev": `"AES256"`, "rstreams-prod": `"aws:kms"`}[stack] {
			t.Errorf("%s: bucket is encrypted by %s", stack, got)
		}
	}
	if got := templateOf(t, "rstreams-local").Resources["LeoS3"].DeletionPolicy; got != "Delete" {
		t.Errorf("RemoveData: the bucket is kept: %v", got)
	}
}

func TestWS6RawObjectsAndForgottenUploadsGoAway(t *testing.T) {
	got := text(at(templateOf(t, "rstreams-dev").Resources["LeoS3"].Properties, "LifecycleConfiguration", "Rules"))
	want := `[{"ExpirationInDays":7,"Id":"raw","Prefix":"firehose/","Status":"Enabled"},` +
		`{"AbortIncompleteMultipartUpload":{"DaysAfterInitiation":2},"Id":"uploads","Status":"Enabled"}]`
	if got != want {
		t.Errorf("rules %s", got)
	}
}

func TestC59FirehoseDeliversAsTheOriginalDoes(t *testing.T) {
	p := templateOf(t, "rstreams-dev").Resources["LeoFirehoseStream"].Properties
	s3 := p["ExtendedS3DestinationConfiguration"]
	if text(at(s3, "BufferingHints")) != `{"IntervalInSeconds":60,"SizeInMBs":128}` || at(s3, "Prefix") != "firehose/" || at(s3, "CompressionFormat") != "UNCOMPRESSED" {
		t.Errorf("destination %s", text(s3))
	}
	if p["DeliveryStreamName"] != "rstreams-dev-LeoFirehoseStream" {
		t.Errorf("name %v: LocalStack needs one", p["DeliveryStreamName"])
	}
	if strings.HasPrefix(at(s3, "ErrorOutputPrefix").(string), "firehose/") {
		t.Errorf("what failed would be loaded: %v", at(s3, "ErrorOutputPrefix"))
	}
}

func TestNoEventSourceRetriesForEverOrGivesUpInSilence(t *testing.T) {
	for _, stack := range []string{"rstreams-dev", "rstreams-prod", "rstreams-local"} {
		tpl := templateOf(t, stack)
		sources := tpl.of("AWS::Lambda::EventSourceMapping")
		if len(sources) != 4 {
			t.Errorf("%s has %d event sources, want 4", stack, len(sources))
		}
		for id, r := range sources {
			p := r.Properties
			for _, limit := range []string{"MaximumRetryAttempts", "MaximumRecordAgeInSeconds"} {
				if n, ok := p[limit].(float64); !ok || n < 1 {
					t.Errorf("%s: %s has %s %v", stack, id, limit, p[limit])
				}
			}
			if p["BisectBatchOnFunctionError"] != true || at(p, "DestinationConfig", "OnFailure", "Destination") == nil || p["StartingPosition"] != "TRIM_HORIZON" {
				t.Errorf("%s: %s is %s", stack, id, text(p))
			}
			partial := text(p["FunctionResponseTypes"]) == `["ReportBatchItemFailures"]`
			if emulator := stack == "rstreams-local"; partial == emulator {
				t.Errorf("%s: %s reports partial failures: %v", stack, id, partial)
			}
		}
	}
	p := templateOf(t, "rstreams-dev").one(t, "AWS::Lambda::EventSourceMapping", "BusKinesisProcessor").Properties
	if p["BatchSize"] != 10_000.0 || p["MaximumRecordAgeInSeconds"] != 64_800.0 || p["ParallelizationFactor"] != nil {
		t.Errorf("intake: %s", text(p))
	}
	// Full records are kept, and the loader is told of them. No queue is: S3 would begin with a message of its own there.
	if got := text(at(p, "DestinationConfig", "OnFailure", "Destination")); !strings.Contains(got, ":s3:::") {
		t.Errorf("lost batches go to %s", got)
	}
	n := at(templateOf(t, "rstreams-dev").Resources["LeoS3"].Properties, "NotificationConfiguration")
	if got := text(at(n, "LambdaConfigurations", 1, "Filter")); got != `{"S3Key":{"Rules":[{"Name":"prefix","Value":"aws/lambda/"}]}}` {
		t.Errorf("notification of lost batches: %s", got)
	}
	if got := at(n, "QueueConfigurations"); got != nil {
		t.Errorf("the queue of dead letters gets %s", text(got))
	}
	if got := text(at(n, "LambdaConfigurations", 0, "Filter")); got != `{"S3Key":{"Rules":[{"Name":"prefix","Value":"firehose/"}]}}` {
		t.Errorf("notification of the loader: %s", got)
	}
}

func TestFunctionsAreGoWithBoundedMemoryLogsOfTheirOwnAndTheirEnvironment(t *testing.T) {
	want := map[string]float64{
		"BusKinesisProcessor": 256, "BusEventTrigger": 128, "BusBotRunner": 256, "BusScheduler": 256, "BusMonitor": 256, "BusFirehoseLoader": 640,
		"BusArchiver": 1024, "BusBusApi": 1536, "BusRegister": 256,
	}
	dev := templateOf(t, "rstreams-dev")
	if got := len(dev.of("AWS::Lambda::Function")); got != len(want) {
		t.Errorf("%d functions, want %d: a helper of the CDK among them?", got, len(want))
	}
	roles := map[string]bool{}
	for prefix, memory := range want {
		p := dev.one(t, "AWS::Lambda::Function", prefix).Properties
		if p["Runtime"] != "provided.al2023" || p["Handler"] != "bootstrap" || text(p["Architectures"]) != `["arm64"]` || p["MemorySize"] != memory {
			t.Errorf("%s: %s", prefix, text(p))
		}
		if at(p, "LoggingConfig", "LogGroup") == nil || roles[text(p["Role"])] {
			t.Errorf("%s has no log or no role of its own", prefix)
		}
		roles[text(p["Role"])] = true
		env := at(p, "Environment", "Variables").(map[string]any)
		if env["RSTREAMS_STACK"] != "rstreams-dev" || env["RSTREAMS_PARTIAL_BATCH"] != "true" || env["RSTREAMS_CONFIG"] == nil || env["AWS_ENDPOINT_URL"] != nil {
			t.Errorf("%s: environment %s", prefix, text(env))
		}
	}
	env := func(stack, function string) map[string]any {
		return at(templateOf(t, stack).one(t, "AWS::Lambda::Function", function).Properties, "Environment", "Variables").(map[string]any)
	}
	for _, c := range []struct{ stack, function, name, want string }{
		{"rstreams-dev", "BusKinesisProcessor", "GOMEMLIMIT", "192MiB"},
		{"rstreams-dev", "BusKinesisProcessor", "RSTREAMS_TTL_SECONDS", "604800"},
		{"rstreams-dev", "BusMonitor", "RSTREAMS_MONITOR_HASH_KEY", "0"},
		{"rstreams-prod", "BusMonitor", "RSTREAMS_MONITOR_HASH_KEY", "170141183460469231731687303715884105728"},
		{"rstreams-prod", "BusKinesisProcessor", "RSTREAMS_SKIP_EVENTS", "noise"},
		{"rstreams-prod", "BusFirehoseLoader", "RSTREAMS_SKIP_BOTS", "noisy"},
		{"rstreams-prod", "BusArchiver", "RSTREAMS_TTL_SECONDS", "1209600"},
		{"rstreams-local", "BusKinesisProcessor", "AWS_ENDPOINT_URL", "http://127.0.0.1:4566"},
		{"rstreams-local", "BusKinesisProcessor", "RSTREAMS_PARTIAL_BATCH", "false"},
	} {
		if got := env(c.stack, c.function)[c.name]; got != c.want {
			t.Errorf("%s: %s has %s=%v, want %s", c.stack, c.function, c.name, got, c.want)
		}
	}
	for id, r := range dev.of("AWS::Logs::LogGroup") {
		if r.Properties["RetentionInDays"] != 30.0 {
			t.Errorf("log %s is kept for %v days", id, r.Properties["RetentionInDays"])
		}
	}
	for stack := range map[string]bool{"rstreams-dev": true, "rstreams-prod": true} {
		for id, r := range templateOf(t, stack).Resources {
			if strings.HasPrefix(r.Type, "Custom::") && r.Type != "Custom::RStreamsBots" {
				t.Errorf("%s: %s is a %s, which needs a helper function", stack, id, r.Type)
			}
		}
	}
}

func TestWD10TheArchiverRunsByDefault(t *testing.T) {
	dev := templateOf(t, "rstreams-dev")
	for prefix, want := range map[string]string{"BusScheduler": "rate(1 minute)", "BusArchiver": "rate(10 minutes)"} {
		if got := dev.one(t, "AWS::Events::Rule", prefix).Properties["ScheduleExpression"]; got != want {
			t.Errorf("%s runs by %v, want %s", prefix, got, want)
		}
		dev.one(t, "AWS::Lambda::Permission", prefix)
	}
}

func TestWO2AlarmsCoverWhatCanGoWrong(t *testing.T) {
	alarms := map[string]*resource{}
	for _, r := range templateOf(t, "rstreams-prod").of("AWS::CloudWatch::Alarm") {
		alarms[strings.TrimPrefix(r.Properties["AlarmDescription"].(string), "bus rstreams-prod: ")] = r
	}
	want := []string{
		"dead letters wait", "batches were given up", "writers are throttled", "archive is behind", "archive has gaps", "firehose is behind",
		"firehose cannot deliver", "nobody reads the stream",
	}
	silent := map[string]float64{"scheduler does not run": 300, "firehose-loader does not run": 300, "archiver does not run": 3600}
	want = slices.AppendSeq(want, maps.Keys(silent))
	for _, f := range functionNames(prodProps()) {
		want = append(want, f+" fails", f+" is throttled")
	}
	for _, f := range []string{kinesisProcessor, eventTrigger, botRunner, monitor} {
		want = append(want, f+" is behind its stream")
	}
	slices.Sort(want)
	if got := slices.Sorted(maps.Keys(alarms)); !slices.Equal(got, want) {
		t.Errorf("alarms\n got %q\nwant %q", got, want)
	}
	for name, r := range alarms {
		missing, compare := "notBreaching", "GreaterThanThreshold"
		if silent[name] != 0 { // No value is as bad as 0 then.
			missing, compare = "breaching", "LessThanThreshold"
			if r.Properties["Period"] != silent[name] || r.Properties["Threshold"] != 1.0 {
				t.Errorf("alarm %s: %s", name, text(r.Properties))
			}
		}
		if text(r.Properties["AlarmActions"]) != `["arn:aws:sns:us-east-1:123456789012:ops"]` || r.Properties["TreatMissingData"] != missing ||
			r.Properties["ComparisonOperator"] != compare {
			t.Errorf("alarm %s: %s", name, text(r.Properties))
		}
	}
	if got := alarms["archive is behind"].Properties["Threshold"]; got != 7*day.Seconds() {
		t.Errorf("archive may be behind by %v s, want half of the TTL", got)
	}
	if got := alarms["kinesis-processor is behind its stream"].Properties["Threshold"]; got != float64(time.Minute.Milliseconds()) {
		t.Errorf("processor may be behind by %v ms", got)
	}
}

func TestTwoStagesShareNoNames(t *testing.T) {
	names := func(stack string) map[string]string {
		out := map[string]string{}
		tpl := templateOf(t, stack)
		for id, r := range tpl.Resources {
			for p, v := range r.Properties {
				physical := strings.HasSuffix(p, "Name") && p != "MetricName"
				if s, ok := v.(string); ok && physical {
					out[r.Type+" "+s] = id
				}
			}
		}
		for id, o := range tpl.Outputs {
			out["export "+o.Export.Name] = id
		}
		return out
	}
	dev, test := names("rstreams-dev"), names("rstreams-test")
	for name, id := range dev {
		if other, ok := test[name]; ok {
			t.Errorf("%s of one stage and %s of the other are both %s", id, other, name)
		}
	}
	// What else is named explicitly has the stack's own id in its name.
	if got := text(templateOf(t, "rstreams-dev").Resources["LeoS3"].Properties["BucketName"]); !strings.Contains(got, "AWS::StackId") || !strings.Contains(got, "rstreams-dev") {
		t.Errorf("the bucket is named %s", got)
	}
}

func TestReplicationGoesToTheRegisterFunction(t *testing.T) {
	p := templateOf(t, "rstreams-prod").one(t, "Custom::RStreamsBots", "BusOwnBots").Properties
	if got := p["QueueReplicationMapping"]; got != `[{"orders":{}},{"rates":{"destination":"lake.rates","account":"555555555555","stack":"lake"}}]` {
		t.Errorf("mapping %v", got)
	}
	if got := text(p["QueueReplicationDestinationLeoBotRoleARNs"]); got != text(prodProps().Replication.Roles) {
		t.Errorf("roles %s", got)
	}
	if got := text(at(p, "SourceQueueReplicator")); !strings.Contains(got, "BusReplicatorFunction") {
		t.Errorf("replicator %s", got)
	}
	for _, s := range templateOf(t, "rstreams-prod").statements(t) {
		if s.Sid == "BeBotElsewhere" && text(s.Resource) != text(prodProps().Replication.Roles) {
			t.Errorf("the replicator may assume %s", text(s.Resource))
		}
	}
}

func TestBadPropsAreOneClearError(t *testing.T) {
	for name, c := range map[string]struct {
		props BusProps
		want  []string
	}{
		"shards of an on-demand stream": {BusProps{Intake: Intake{OnDemand: true, Shards: 2}}, []string{"Intake.Shards"}},
		"negative shards":               {BusProps{Intake: Intake{Shards: -1}}, []string{"Intake.Shards -1"}},
		"retention in minutes":          {BusProps{Intake: Intake{Retention: 25*time.Hour + time.Minute}}, []string{"Intake.Retention 25h1m0s", "24h0m0s to 8760h0m0s"}},
		"short retention":               {BusProps{Intake: Intake{Retention: time.Hour}}, []string{"Intake.Retention 1h0m0s"}},
		"no TTL":                        {BusProps{TTL: -time.Second}, []string{"TTL -1s"}},
		"archive slower than the TTL":   {BusProps{TTL: time.Hour, ArchiveEvery: time.Hour}, []string{"ArchiveEvery 1h0m0s", "a quarter"}},
		"hash key of 129 bits":          {BusProps{MonitorHashKey: "340282366920938463463374607431768211456"}, []string{"MonitorHashKey", "2^128"}},
		"hash key of letters":           {BusProps{MonitorHashKey: "x"}, []string{`MonitorHashKey "x"`}},
		"memory":                        {BusProps{Memory: Memory{Monitor: 64}}, []string{"Memory.Monitor 64 must be from 128 to 10240"}},
		"architecture":                  {BusProps{Architecture: "mips"}, []string{`"mips"`, "arm64 or x86_64"}},
		"log retention":                 {BusProps{LogRetention: 42 * day}, []string{"LogRetention"}},
		"capacities that are not used":  {BusProps{Tables: Tables{LeoCron: Capacity{MaxRead: 5}}}, []string{"Tables.LeoCron", "Provisioned"}},
		"bounds the wrong way":          {BusProps{Tables: Tables{LeoCron: Capacity{Provisioned: true, MinRead: 9, MaxRead: 5}}}, []string{"MinRead 9", "MaxRead 5"}},
		"topic that is none":            {BusProps{Alarms: Alarms{Topic: "ops"}}, []string{"Alarms.Topic", `"ops"`}},
		"function by name":              {BusProps{Invoke: Invoke{Functions: []string{"f"}}}, []string{"Invoke.Functions", `"f"`}},
		"account of 11 digits":          {BusProps{Invoke: Invoke{Accounts: []string{"12345678901"}}}, []string{"12 digits"}},
		"principal":                     {BusProps{TrustedPrincipals: []string{"*"}}, []string{"TrustedPrincipals", `"*"`}},
		"endpoint":                      {BusProps{Endpoint: "localhost"}, []string{`Endpoint "localhost"`}},
		"stage no tag can have":         {BusProps{Stage: "a,b"}, []string{"Stage"}},
		"replication without a role":    {BusProps{Replication: &Replication{Queues: []ReplicatedQueue{{Queue: "q"}}}}, []string{"Replication needs Roles"}},
		"replication to nobody": {BusProps{Replication: &Replication{
			Roles: []string{"arn:aws:iam::444444444444:role/a-LeoBotRole-1"}, Queues: []ReplicatedQueue{{Queue: "q", Stack: "b"}},
		}}, []string{"Replication", "stack b"}},
		"skipped queue with a comma": {BusProps{SkipQueues: []string{"a,b"}}, []string{"SkipQueues"}},
		"several at once":            {BusProps{TTL: -1, Architecture: "mips", Endpoint: "x"}, []string{"TTL", "Architecture", "Endpoint"}},
		"code that is not there":     {BusProps{Code: "/nowhere"}, []string{"/nowhere/kinesis-processor/bootstrap", "scripts/build-lambdas"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.props.withDefaults()
			if err == nil {
				_, _, err = busCode(c.props)
			} else if !errors.Is(err, ErrProps) {
				t.Errorf("%v does not wrap ErrProps", err)
			}
			if err == nil {
				t.Fatal("no error")
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than a line: %q", err)
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q does not say %q", err, w)
				}
			}
		})
	}
	if err := checkStackName(strings.Repeat("x", 42)); !errors.Is(err, ErrProps) {
		t.Errorf("a stack name that is too long: %v", err)
	}
}
