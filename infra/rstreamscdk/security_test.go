package rstreamscdk

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The rules of cdk-nag's pack AwsSolutions that concern the types of resources that the constructs make, by their names there, and
// two of our own. cdk-nag itself has no Go module.

// finding is a resource that breaks a rule.
type finding struct{ rule, resource, text string }

// accepted are findings that stay, with the reason. Resources are patterns of logical ids.
var accepted = []struct{ rule, resource, reason string }{
	{"S1", "LeoS3", "access logs need a bucket of their own; AccessLogs names it"},
	{"SMG4", "BusSecret*", "the secret has names of resources and nothing that could be rotated; leo-sdk looks for it there"},
	{"SQS3", "BusDeadLetters*", "it is the queue of dead letters itself"},
	{"IAM5", "*: ListStreams *", "dynamodb:ListStreams knows no resources; event source mappings ask for it"},
	{"IAM5", "*: StartBots *", "limited to functions with the tag of the bus (W-O4)"},
	{"IAM5", "*: StartFunctions *", "the user's own list, Invoke.Functions"},
	{"IAM5", "*: StartBotsOfAccounts *", "accounts that the user names, and whose functions must permit it"},
	{"IAM5", "*: InvokeItself *", "versions and aliases of the bot's own function, for its fan-out"},
	{"IAM5", "*: ReadObjects *", "keys below the bus's prefixes of its own bucket"},
	{"IAM5", "*: WriteObjects *", "keys below the bus's prefixes of its own bucket"},
	{"IAM5", "*: SpareBusObjects *", "it refuses, and allows nothing"},
	{"IAM5", "*: LoadRaw *", "keys below firehose/ of the bus's own bucket"},
	{"IAM5", "*: KeepLostBatches *", "keys below aws/lambda/ of the bus's own bucket"},
	{"IAM5", "*: KeepSchemas *", "keys below files/bus_internal/queue_schemas/ of the bus's own bucket"},
	{"IAM5", "*: DescribeBus *", "the id in a stack's ARN is not known before it is made"},
	{"IAM5", "*: FindBusSecret *", "the six characters that Secrets Manager adds to a secret's name"},
}

// rules return what breaks them.
var rules = map[string]func(*testing.T, *template) []finding{
	"S1: a bucket has access logs": each("AWS::S3::Bucket", "S1", func(_ *template, _ string, p map[string]any) bool {
		return p["LoggingConfiguration"] != nil
	}),
	"S2: a bucket is not public": each("AWS::S3::Bucket", "S2", func(_ *template, _ string, p map[string]any) bool {
		b, _ := p["PublicAccessBlockConfiguration"].(map[string]any)
		return len(b) == 4 && !slices.Contains(slices.Collect(maps.Values(b)), any(false))
	}),
	"S3: a bucket is encrypted": each("AWS::S3::Bucket", "S3", func(_ *template, _ string, p map[string]any) bool { return p["BucketEncryption"] != nil }),
	"S10: a bucket takes TLS only": each("AWS::S3::Bucket", "S10", func(t *template, id string, _ map[string]any) bool {
		return deniesPlainText(t, "AWS::S3::BucketPolicy", id)
	}),
	"DDB3: a table can be recovered": each("AWS::DynamoDB::Table", "DDB3", func(_ *template, _ string, p map[string]any) bool {
		return at(p, "PointInTimeRecoverySpecification", "PointInTimeRecoveryEnabled") == true
	}),
	"KDS1: a stream is encrypted": each("AWS::Kinesis::Stream", "KDS1", func(_ *template, _ string, p map[string]any) bool { return p["StreamEncryption"] != nil }),
	"KDF1: a delivery stream is encrypted": each("AWS::KinesisFirehose::DeliveryStream", "KDF1", func(_ *template, _ string, p map[string]any) bool {
		return p["DeliveryStreamEncryptionConfigurationInput"] != nil
	}),
	"SQS2: a queue is encrypted": each("AWS::SQS::Queue", "SQS2", func(_ *template, _ string, p map[string]any) bool {
		return p["SqsManagedSseEnabled"] == true || p["KmsMasterKeyId"] != nil
	}),
	"SQS3: a queue has one for dead letters": each("AWS::SQS::Queue", "SQS3", func(_ *template, _ string, p map[string]any) bool { return p["RedrivePolicy"] != nil }),
	"SQS4: a queue takes TLS only": each("AWS::SQS::Queue", "SQS4", func(t *template, id string, _ map[string]any) bool {
		return deniesPlainText(t, "AWS::SQS::QueuePolicy", id)
	}),
	"SMG4: a secret is rotated": each("AWS::SecretsManager::Secret", "SMG4", func(*template, string, map[string]any) bool { return false }),
	"L1: a function has the newest runtime": each("AWS::Lambda::Function", "L1", func(_ *template, _ string, p map[string]any) bool {
		return p["Runtime"] == "provided.al2023"
	}),
	"CW: a log ends": each("AWS::Logs::LogGroup", "CW", func(_ *template, _ string, p map[string]any) bool { return p["RetentionInDays"] != nil }),
	"LP: a service starts a function for a known resource of the account": each("AWS::Lambda::Permission", "LP", func(_ *template, _ string, p map[string]any) bool {
		service, _ := p["Principal"].(string)
		return !strings.HasSuffix(service, ".amazonaws.com") || p["SourceArn"] != nil && p["SourceAccount"] != nil
	}),
	"IAM4: no policies of AWS, whose rights change": func(_ *testing.T, t *template) (out []finding) {
		for id, r := range t.of("AWS::IAM::Role") {
			for _, p := range list(r.Properties["ManagedPolicyArns"]) {
				if strings.Contains(text(p), ":aws:policy/") || strings.Contains(text(p), "iam::aws") {
					out = append(out, finding{"IAM4", id, text(p)})
				}
			}
		}
		return out
	},
	"IAM5: no wildcards": func(tt *testing.T, t *template) (out []finding) {
		for _, s := range t.statements(tt) {
			for _, a := range list(s.Action) {
				if strings.Contains(a.(string), "*") {
					out = append(out, finding{"IAM5", s.owner + ": " + s.Sid + " " + a.(string), "action"})
				}
			}
			for _, r := range list(s.Resource) {
				if arn := flat(r); strings.ContainsAny(arn, "*?") {
					out = append(out, finding{"IAM5", s.owner + ": " + s.Sid + " " + arn, "resource"})
				}
			}
		}
		return out
	},
	"TRUST: a role is for services, accounts and roles that are named": func(_ *testing.T, t *template) (out []finding) {
		for id, r := range t.of("AWS::IAM::Role") {
			for _, s := range list(at(r.Properties, "AssumeRolePolicyDocument", "Statement")) {
				if strings.Contains(text(at(s, "Principal")), `"*"`) {
					out = append(out, finding{"TRUST", id, text(s)})
				}
			}
		}
		return out
	},
}

// each is a rule for resources of a type.
func each(typ, rule string, ok func(t *template, id string, properties map[string]any) bool) func(*testing.T, *template) []finding {
	return func(_ *testing.T, t *template) (out []finding) {
		for id, r := range t.of(typ) {
			if !ok(t, id, r.Properties) {
				out = append(out, finding{rule, id, text(r.Properties)})
			}
		}
		return out
	}
}

// deniesPlainText tells whether a policy of a resource refuses requests without TLS.
func deniesPlainText(t *template, typ, id string) bool {
	for _, r := range t.of(typ) {
		if !strings.Contains(text(r.Properties), `"`+id+`"`) {
			continue
		}
		for _, s := range list(at(r.Properties, "PolicyDocument", "Statement")) {
			if at(s, "Effect") == "Deny" && at(s, "Condition", "Bool", "aws:SecureTransport") == "false" {
				return true
			}
		}
	}
	return false
}

// flat renders an ARN with $ for what is not known before the deployment.
func flat(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		if parts, ok := at(v, "Fn::Join", 1).([]any); ok {
			var b strings.Builder
			for _, p := range parts {
				b.WriteString(flat(p))
			}
			return b.String()
		}
		return "$"
	}
	return "$"
}

func TestSecurityRulesHoldOrAreWaivedWithAReason(t *testing.T) {
	used := make([]bool, len(accepted))
	for _, stack := range []string{"rstreams-dev", "rstreams-prod", "rstreams-dev-orders", "import-name", "import-region", "import-account"} {
		tpl := templateOf(t, stack)
		for _, name := range slices.Sorted(maps.Keys(rules)) {
			for _, f := range rules[name](t, tpl) {
				i := slices.IndexFunc(accepted, func(a struct{ rule, resource, reason string }) bool {
					return a.rule == f.rule && matches(a.resource, f.resource)
				})
				if i < 0 {
					t.Errorf("%s: %s: %s: %.300s", stack, name, f.resource, f.text)
					continue
				}
				used[i] = true
			}
		}
	}
	for i, a := range accepted {
		if !used[i] {
			t.Errorf("nothing needs the waiver of %s for %s any more", a.rule, a.resource)
		}
	}
}

// matches compares with a pattern in which * stands for any text.
func matches(pattern, s string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "/", "\x00"), strings.ReplaceAll(s, "/", "\x00"))
	return ok && err == nil
}

func TestEachFunctionMayDoOnlyWhatItIsFor(t *testing.T) {
	tpl := templateOf(t, "rstreams-dev")
	may := func(role, action string) []string {
		var on []string
		for _, s := range tpl.statements(t) {
			if strings.HasPrefix(s.owner, role) && slices.Contains(list(s.Action), any(action)) {
				for _, r := range list(s.Resource) {
					on = append(on, text(r))
				}
			}
		}
		return on
	}
	// who may do what is dangerous
	for action, want := range map[string][]string{
		"lambda:InvokeFunction": {"BusEventTriggerRole", "BusBotRunnerRole", "BusSchedulerRole"},
		"dynamodb:DeleteItem": {
			"BusKinesisProcessorRole", "BusFirehoseLoaderRole", "BusArchiverRole", "BusRegisterRole", "BusBusApiRole", "LeoBotPolicy",
		},
		"s3:DeleteObject": {"BusFirehoseLoaderRole"},
		"sts:AssumeRole":  nil,
		"iam:PassRole":    nil,
	} {
		var got []string
		for _, s := range tpl.statements(t) {
			if slices.Contains(list(s.Action), any(action)) && !slices.Contains(got, s.owner[:len(s.owner)-trim(s.owner)]) {
				got = append(got, s.owner[:len(s.owner)-trim(s.owner)])
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v may, want %v", action, got, want)
		}
	}
	// only sequencers write the index, and nobody but they and registered bots write bots' rows
	for _, action := range []string{"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:BatchWriteItem"} {
		for _, role := range []string{"BusEventTriggerRole", "BusBotRunnerRole", "BusSchedulerRole", "BusMonitorRole", "BusRegisterRole", "LeoBotPolicy"} {
			for _, on := range may(role, action) {
				if strings.Contains(on, "LeoStream") || strings.Contains(on, "LeoEvent") {
					t.Errorf("%s may %s on %s (W-O1)", role, action, on)
				}
			}
		}
	}
}

// trim is the length of the hash at the end of a logical id.
func trim(id string) int {
	if n := len(id) - 8; n > 0 && regexp.MustCompile(`^[0-9A-F]{8}$`).MatchString(id[n:]) {
		return 8
	}
	return 0
}

func TestWO4TheBusStartsOnlyFunctionsOfItsBotsAndThoseThatAreNamed(t *testing.T) {
	for _, stack := range []string{"rstreams-dev", "rstreams-prod"} {
		for _, s := range templateOf(t, stack).statements(t) {
			if !slices.Contains(list(s.Action), any("lambda:InvokeFunction")) {
				continue
			}
			switch s.Sid {
			case "WakeScheduler":
				if got := text(s.Resource); !strings.Contains(got, "BusSchedulerFunction") {
					t.Errorf("%s: %s may start %s", stack, s.owner, got)
				}
			case "StartBots":
				if got := text(s.Condition); got != `{"StringEquals":{"aws:ResourceTag/rstreams-bus":"`+stack+`"}}` {
					t.Errorf("%s: %s under %s", stack, s.owner, got)
				}
			case "StartFunctions", "StartBotsOfAccounts":
				if stack == "rstreams-dev" {
					t.Errorf("%s: %s may start what nobody named", stack, s.owner)
				}
			default:
				t.Errorf("%s: %s %s", stack, s.owner, text(s))
			}
		}
	}
	for id, r := range templateOf(t, "rstreams-dev-orders").of("AWS::Lambda::Function") {
		if !strings.Contains(text(r.Properties["Tags"]), `{"Key":"rstreams-bus","Value":"rstreams-dev"}`) {
			t.Errorf("the bus may not start %s: tags %s", id, text(r.Properties["Tags"]))
		}
	}
	// Copying bots are behind one of the bus's own functions.
	n := 0
	for id, r := range templateOf(t, "rstreams-prod").of("AWS::Lambda::Function") {
		tagged := strings.Contains(text(r.Properties["Tags"]), `{"Key":"rstreams-bus","Value":"rstreams-prod"}`)
		if copies := strings.HasPrefix(id, "BusReplicator"); tagged != copies {
			t.Errorf("%s: the bus may start it: %v, want %v", id, tagged, copies)
		} else if copies {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d functions copy queues, want 1", n)
	}
	if got := text(templateOf(t, "handlers").one(t, "AWS::Lambda::Function", "Theirs").Properties["Tags"]); !strings.Contains(got, "rstreams-bus") {
		t.Errorf("the bus may not start a handler of the app: tags %s", got)
	}
}

func TestWO4ABotMayChangeItsOwnRowOnly(t *testing.T) {
	tpl := templateOf(t, "rstreams-dev-orders")
	n := 0
	for _, s := range tpl.statements(t) {
		for _, r := range list(s.Resource) {
			if s.Sid == "CheckBus" || !strings.Contains(text(r), "LeoCron") {
				continue
			}
			n++
			keys := list(at(map[string]any{"c": any(s.Condition["ForAllValues:StringEquals"])}, "c", "dynamodb:LeadingKeys"))
			if len(keys) != 1 || s.Condition["Null"]["dynamodb:LeadingKeys"] != "false" {
				t.Errorf("%s may change bots: %s", s.owner, text(s))
			}
			for _, id := range []string{"orders-price", "orders-mail", "reports/daily"} {
				mine := strings.Contains(s.owner, strings.NewReplacer("-", "", "/", "2F").Replace(id))
				if mine != slices.Contains(keys, any(id)) {
					t.Errorf("%s has the row of %v", s.owner, keys)
				}
			}
		}
	}
	if n != 3 {
		t.Errorf("%d statements name LeoCron, want one for each bot", n)
	}
}

// isBots tells of the roles of bots and of the policy of programs that are bots.
func isBots(owner string) bool { return owner == "LeoBotPolicy" || strings.HasPrefix(owner, "Bots") }

func TestWP14LocksCanBeReleasedAndNothingElseDeleted(t *testing.T) {
	// What deletes, whatever its name says: a batch of writes and a statement do.
	deletes := []string{"dynamodb:DeleteItem", "dynamodb:BatchWriteItem", "dynamodb:PartiQLDelete", "dynamodb:DeleteTable", "s3:DeleteObject"}
	for _, stack := range []string{"rstreams-dev", "rstreams-dev-orders"} {
		n := 0
		for _, s := range templateOf(t, stack).statements(t) {
			if !isBots(s.owner) {
				continue
			}
			for _, a := range list(s.Action) {
				if !slices.Contains(deletes, a.(string)) {
					continue
				}
				n++
				if like := text(s.Condition["ForAllValues:StringLike"]); a != "dynamodb:DeleteItem" || like != `{"dynamodb:LeadingKeys":["lock_*"]}` ||
					!strings.Contains(text(s.Resource), "LeoSettings") {
					t.Errorf("%s: %s may %v %s under %s", stack, s.owner, a, text(s.Resource), text(s.Condition))
				}
			}
		}
		if n == 0 {
			t.Errorf("%s: no bot may release a lock", stack)
		}
	}
}

func TestBotsCannotTouchWhatTheBusRunsBy(t *testing.T) {
	for _, stack := range []string{"rstreams-dev", "rstreams-dev-orders"} {
		all := templateOf(t, stack).statements(t)
		owners := map[string][]statement{}
		for _, s := range all {
			if isBots(s.owner) && s.Sid != "InvokeItself" { // That is in a policy beside the role's.
				owners[s.owner] = append(owners[s.owner], s)
			}
		}
		if len(owners) == 0 {
			t.Fatalf("%s: no bots", stack)
		}
		for owner, granted := range owners {
			may := func(action, on string, keys ...string) bool {
				return permitted(granted, asked{action: action, on: on, keys: keys})
			}
			for _, id := range []string{"lock_archiver", "lock_firehose-loader", "lock_dispatcher", "firehose-loader", "rstreams_triggers", "retired_any", "registrars_any", "Leo_cron_last_shutdown_time"} {
				for _, action := range []string{"dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"} {
					if may(action, "table/LeoSettings", id) {
						t.Errorf("%s: %s may %s %s", stack, owner, action, id)
					}
				}
			}
			if !may("dynamodb:PutItem", "table/LeoSettings", "mine") || !may("dynamodb:PutItem", "table/LeoSettings", "lock_mine") ||
				!may("dynamodb:DeleteItem", "table/LeoSettings", "lock_mine") {
				t.Errorf("%s: %s may not keep settings and locks", stack, owner)
			}
			if may("s3:PutObject", "object/bus/_archive/q=orders/1.gz") || may("s3:PutObject", "object/bus/_chunks/orders/1.gz") {
				t.Errorf("%s: %s may write over objects of the bus", stack, owner)
			}
			if writes := may("kinesis:PutRecords", "stream/LeoKinesisStream"); writes != may("s3:PutObject", "object/bus/orders/bot/1.gz") {
				t.Errorf("%s: %s may write by one way and not by the other", stack, owner)
			}
		}
	}
}

// TestWhoeverWritesObjectsMayUseTheKeyForIt holds of uploads in parts, which S3 reads again, and so of every writer.
func TestWhoeverWritesObjectsMayUseTheKeyForIt(t *testing.T) {
	writers, keys := map[string]bool{}, map[string][]string{}
	for _, s := range templateOf(t, "rstreams-prod").statements(t) {
		for _, a := range list(s.Action) {
			switch a := a.(string); {
			case a == "s3:PutObject" && s.Effect == "Allow":
				writers[s.owner] = true
			case strings.HasPrefix(a, "kms:"):
				keys[s.owner] = append(keys[s.owner], a)
			}
		}
	}
	if len(writers) < 5 || !writers["LeoWritePolicy"] {
		t.Fatalf("writers: %v", writers)
	}
	for owner := range writers {
		if !slices.Contains(keys[owner], "kms:Decrypt") || !slices.Contains(keys[owner], "kms:GenerateDataKey") {
			t.Errorf("%s may %v only", owner, keys[owner])
		}
	}
}
