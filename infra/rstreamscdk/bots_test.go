package rstreamscdk

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/jsii-runtime-go"

	"github.com/rstreams-go/rstreams/sdk/bot"
)

func TestBotsBecomeFunctionsOfOneProgram(t *testing.T) {
	tpl := templateOf(t, "rstreams-dev-orders")
	code := map[string]bool{}
	for prefix, want := range map[string]struct {
		id, limit       string
		memory, timeout float64
	}{
		"Botsordersprice": {"orders-price", "384MiB", 512, 60}, "Botsordersmail": {"orders-mail", "144MiB", 192, 900},
		"Botsreports2Fdaily": {"reports/daily", "144MiB", 192, 900},
	} {
		p := tpl.one(t, "AWS::Lambda::Function", prefix).Properties
		env := at(p, "Environment", "Variables").(map[string]any)
		if env["RSTREAMS_BOT"] != want.id || env["RSTREAMS_STACK"] != "rstreams-dev" || env["GOMEMLIMIT"] != want.limit || env["CURRENCY"] != "EUR" {
			t.Errorf("%s: environment %s", want.id, text(env))
		}
		if !strings.Contains(text(env["RSTREAMS_CONFIG"]), `"Fn::ImportValue":"rstreams-dev-LeoStream"`) {
			t.Errorf("%s: configuration %s", want.id, text(env["RSTREAMS_CONFIG"]))
		}
		if p["MemorySize"] != want.memory || p["Timeout"] != want.timeout {
			t.Errorf("%s: %v MB, %v s", want.id, p["MemorySize"], p["Timeout"])
		}
		code[text(p["Code"])] = true
		tpl.one(t, "AWS::Logs::LogGroup", prefix)
		// The bus repeats runs; Lambda must not.
		if got := tpl.one(t, "AWS::Lambda::EventInvokeConfig", prefix).Properties["MaximumRetryAttempts"]; got != 0.0 {
			t.Errorf("%s: Lambda tries again %v times", want.id, got)
		}
	}
	if len(code) != 1 {
		t.Errorf("%d programs, want one", len(code))
	}
}

func TestWP15BotsAreRegisteredByAResourceThatKnowsThemAll(t *testing.T) {
	p := templateOf(t, "rstreams-dev-orders").one(t, "Custom::RStreamsBots", "Bots").Properties
	if got := text(p["ServiceToken"]); got != `{"Fn::ImportValue":"rstreams-dev-Register"}` {
		t.Errorf("ServiceToken %s", got)
	}
	for id, want := range map[string]map[string]string{
		"orders-price": {
			"id": `"orders-price"`, "name": `"orders-price"`, "description": `"prices orders"`, "type": `"cron"`, "triggers": `["orders"]`,
			"writes": `["orders.priced"]`, "timeout": "60000", "delay": "5000", "paused": "false", "tags": `["team:shop"]`,
			// Text, as CloudFormation would make texts of the numbers and booleans in it.
			"settings": `"{\"rate\":1.5,\"strict\":true}"`, "lambdaName": `{"Ref":"BotsorderspriceFunction`,
		},
		"orders-mail":   {"triggers": `["queue:orders.priced"]`, "paused": "true", "settings": "null", "time": "null"},
		"reports/daily": {"triggers": `[]`, "time": `"0 6 * * *"`, "timeZone": `"Europe/Berlin"`, "lambdaName": `{"Ref":"Botsreports2Fdaily`},
		"theirs":        {"triggers": `["orders"]`, "lambdaName": `{"Fn::ImportValue":`},
	} {
		for member, w := range want {
			if got := text(at(p, id, member)); got != w && !(strings.HasPrefix(w, "{") && strings.HasPrefix(got, w)) {
				t.Errorf("%s: %s is %s, want %s", id, member, got, w)
			}
		}
	}
	if p["ServiceTimeout"] == nil {
		t.Error("the stack would wait an hour for a Register function that does not answer")
	}
}

func TestRightsOfBotsFollowTheirDeclaration(t *testing.T) {
	tpl := templateOf(t, "rstreams-dev-orders")
	sids := func(prefix string) (out []string) {
		for _, s := range tpl.statements(t) {
			if strings.HasPrefix(s.owner, prefix) {
				out = append(out, s.Sid)
			}
		}
		return out
	}
	for prefix, writes := range map[string]bool{"Botsordersprice": true, "Botsordersmail": true, "Botsreports2Fdaily": false} {
		for _, sid := range []string{"WriteEvents", "WriteFirehose", "WriteObjects"} {
			if got := slices.Contains(sids(prefix), sid); got != writes {
				t.Errorf("%s has %s: %v", prefix, sid, got)
			}
		}
	}
	for _, s := range tpl.statements(t) {
		limited := strings.HasPrefix(s.owner, "Botsordersprice") && (s.Sid == "ReadQueues" || s.Sid == "ReadHeads")
		if !limited && s.Sid == "ReadQueues" && s.Condition != nil {
			t.Errorf("%s is limited to %s", s.owner, text(s.Condition))
		}
		want := `["orders","orders/_archive","orders/_snapshot","rates","rates/_archive","rates/_snapshot"]`
		if s.Sid == "ReadHeads" { // It may write snapshots.
			want = `["orders","orders.priced","orders.priced/_archive","orders.priced/_snapshot",` + want[len(`["orders",`):]
		}
		if got := text(s.Condition["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"]); limited && got != want {
			t.Errorf("%s %s: %s", s.owner, s.Sid, got)
		}
	}
	if got := text(tpl.one(t, "AWS::IAM::Role", "Botsordersmail").Properties["ManagedPolicyArns"]); got != `["arn:aws:iam::123456789012:policy/mail"]` {
		t.Errorf("policies of orders-mail: %s", got)
	}
}

func TestABotThatFansOutMayInvokeItselfAndNothingElse(t *testing.T) {
	tpl := templateOf(t, "rstreams-dev-orders")
	var owners []string
	for _, s := range tpl.statements(t) {
		if s.Sid != "InvokeItself" {
			continue
		}
		owners = append(owners, s.owner)
		if got := text(s.Resource); !strings.Contains(got, "Botsordersmail") || strings.Contains(got, `"*"`) {
			t.Errorf("it may invoke %s", got)
		}
	}
	if len(owners) != 1 || !strings.HasPrefix(owners[0], "Botsordersmail") {
		t.Errorf("bots that may invoke themselves: %v", owners)
	}
}

func TestC57BotsLiveInOtherStacksRegionsAndAccounts(t *testing.T) {
	name := func(stack string) any {
		return at(templateOf(t, stack).one(t, "Custom::RStreamsBots", "Bots").Properties, "orders-price", "lambdaName")
	}
	token := func(stack string) string {
		return text(templateOf(t, stack).one(t, "Custom::RStreamsBots", "Bots").Properties["ServiceToken"])
	}
	if got := token("import-name"); got != `{"Fn::ImportValue":"rstreams-prod-Register"}` {
		t.Errorf("by name: %s", got)
	}
	// In another region a Register function of its own writes to the bus, and bots are started by ARN.
	if got := token("import-region"); !strings.Contains(got, "BotsRegisterFunction") {
		t.Errorf("other region: registered by %s", got)
	}
	if got := text(name("import-region")); !strings.Contains(got, `"Arn"`) {
		t.Errorf("other region: started as %s", got)
	}
	region := string(templateOf(t, "import-region").text)
	if !strings.Contains(region, "arn:aws:dynamodb:eu-west-1:111111111111:table/s") || !strings.Contains(region, `\"Region\":\"eu-west-1\"`) {
		t.Error("other region: the bots do not refer to the bus's region")
	}
	// In another account, the bot takes on the bus's role, and the bus may start it.
	account := templateOf(t, "import-account")
	if got := token("import-account"); got != `"arn:aws:lambda:eu-west-1:111111111111:function:far-register"` {
		t.Errorf("other account: registered by %s", got)
	}
	permissions := account.of("AWS::Lambda::Permission")
	if len(permissions) != 2 { // Of the bot, and of the app's own function.
		t.Errorf("other account: %d permissions to start bots", len(permissions))
	}
	for id, p := range permissions {
		if got := p.Properties["Principal"]; got != "111111111111" {
			t.Errorf("other account: %v may start %s", got, id)
		}
	}
	for _, s := range account.statements(t) {
		if s.Sid != "WriteLog" && (s.Sid != "BeBot" || text(s.Resource) != `"arn:aws:iam::111111111111:role/far-LeoBotRole-1"`) {
			t.Errorf("other account: the bot may %s", text(s))
		}
	}
	if got := at(account.one(t, "AWS::Lambda::Function", "Bots").Properties, "Environment", "Variables", "RSTREAMS_ROLE"); got != "arn:aws:iam::111111111111:role/far-LeoBotRole-1" {
		t.Errorf("other account: role %v", got)
	}
}

func TestBadBotsAreOneClearError(t *testing.T) {
	bus, err := ImportBus(ImportProps{Stack: "rstreams-dev"})
	if err != nil {
		t.Fatal(err)
	}
	good := bot.Bot{ID: "b", Triggers: []string{"q"}, Run: nothing}
	with := func(change func(*bot.Bot)) []bot.Bot {
		b := good
		change(&b)
		return []bot.Bot{b}
	}
	for name, c := range map[string]struct {
		props BotsProps
		bots  []bot.Bot
		want  []string
	}{
		"no bus":              {BotsProps{Entry: "."}, []bot.Bot{good}, []string{"Bus is missing"}},
		"no bots":             {BotsProps{Bus: bus}, nil, []string{"0 bots"}},
		"no program":          {BotsProps{Bus: bus}, []bot.Bot{good}, []string{"Entry", "Code"}},
		"two programs":        {BotsProps{Bus: bus, Entry: ".", Code: "."}, []bot.Bot{good}, []string{"either Entry"}},
		"a bot twice":         {BotsProps{Bus: bus, Entry: "."}, []bot.Bot{good, good}, []string{"b is there twice"}},
		"too long a run":      {BotsProps{Bus: bus, Entry: "."}, with(func(b *bot.Bot) { b.Timeout = time.Hour }), []string{"Timeout 1h0m0s", "15m0s"}},
		"part of a second":    {BotsProps{Bus: bus, Entry: "."}, with(func(b *bot.Bot) { b.Timeout = 1500 * time.Millisecond }), []string{"whole seconds"}},
		"too little memory":   {BotsProps{Bus: bus, Entry: "."}, with(func(b *bot.Bot) { b.Memory = 64 }), []string{"Memory of bot b 64"}},
		"bad schedule":        {BotsProps{Bus: bus, Entry: "."}, with(func(b *bot.Bot) { b.Schedule = "often" }), []string{"schedule"}},
		"reads of a stranger": {BotsProps{Bus: bus, Entry: ".", Reads: map[string][]string{"x": nil}}, []bot.Bot{good}, []string{"Reads names bot x"}},
		"policy that is none": {BotsProps{Bus: bus, Entry: ".", Policies: map[string][]string{"b": {"x"}}}, []bot.Bot{good}, []string{`"x" must be an ARN of iam`}},
		"taken variable":      {BotsProps{Bus: bus, Entry: ".", Environment: map[string]string{"RSTREAMS_BOT": "x"}}, []bot.Bot{good}, []string{"RSTREAMS_BOT"}},
		"handler with a Run":  {BotsProps{Bus: bus, Handlers: []Handler{{Bot: good}}}, nil, []string{"has no Function", "has a Run"}},
		"several at once":     {BotsProps{Architecture: "mips"}, with(func(b *bot.Bot) { b.ID = "" }), []string{"Bus is missing", "mips", "ID"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewBots(nil, "Bots", c.props, c.bots...)
			if !errors.Is(err, ErrProps) {
				t.Fatalf("%v does not wrap ErrProps", err)
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
}

func TestBadImportsAreOneClearError(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*ImportProps)
		want   string
	}{
		"no stack":                     {func(p *ImportProps) { p.Stack = "" }, "Stack"},
		"half a place":                 {func(p *ImportProps) { p.Region = "" }, "Account and Region"},
		"no account":                   {func(p *ImportProps) { p.Account = "1" }, "12 digits"},
		"nothing to refer to":          {func(p *ImportProps) { p.Resources = nil }, "needs Resources"},
		"a name is missing":            {func(p *ImportProps) { r := *p.Resources; r.LeoCron = ""; p.Resources = &r }, "Resources.LeoCron"},
		"another region's":             {func(p *ImportProps) { p.Region = "us-east-1" }, "us-east-1"},
		"no function that registers":   {func(p *ImportProps) { p.Account, p.Region, p.Register = "", "", "" }, "Register output"},
		"a role that is none":          {func(p *ImportProps) { p.Role = "x" }, `Role: "x"`},
		"a key that is none":           {func(p *ImportProps) { p.KMSKey = "x" }, `KMSKey: "x"`},
		"a function that is not there": {func(p *ImportProps) { p.Register = "x" }, `Register: "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			p := farBus()
			c.change(&p)
			if _, err := ImportBus(p); !errors.Is(err, ErrProps) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want ErrProps with %q", err, c.want)
			}
		})
	}
}

func TestStacksThatCannotReachABusSaySo(t *testing.T) {
	needNode(t)
	app := awscdk.NewApp(&awscdk.AppProps{Outdir: jsii.String(t.TempDir())})
	stack := func(id, account, region string) awscdk.Stack {
		if account == "" {
			return awscdk.NewStack(app, jsii.String(id), nil)
		}
		return awscdk.NewStack(app, jsii.String(id), &awscdk.StackProps{Env: &awscdk.Environment{Account: jsii.String(account), Region: jsii.String(region)}})
	}
	props := farBus()
	noRole, noRegister := props, props
	noRole.Role, noRegister.Register = "", ""
	for name, c := range map[string]struct {
		bus   ImportProps
		stack awscdk.Stack
		want  string
	}{
		"a stack that is anywhere":        {props, stack("a", "", ""), "Env"},
		"another account and region":      {props, stack("b", "222222222222", "us-east-1"), "deploy their stack there"},
		"another account without a role":  {noRole, stack("c", "222222222222", "eu-west-1"), "Role"},
		"the same place, no registration": {noRegister, stack("d", "111111111111", "eu-west-1"), "Register"},
	} {
		bus, err := ImportBus(c.bus)
		if err != nil {
			t.Fatal(name, err)
		}
		_, err = NewBots(c.stack, "Bots", BotsProps{Bus: bus, Entry: "."}, bot.Bot{ID: "b", Run: nothing})
		if !errors.Is(err, ErrProps) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want ErrProps with %q", name, err, c.want)
		}
	}
	bus, err := ImportBus(props)
	if err != nil {
		t.Fatal(err)
	}
	_, err = NewBots(stack("e", "222222222222", "eu-west-1"), "Bots", BotsProps{Bus: bus, Entry: ".", Reads: map[string][]string{"b": {"q"}}}, bot.Bot{ID: "b", Run: nothing})
	if !errors.Is(err, ErrProps) || !strings.Contains(err.Error(), "leave Reads out") {
		t.Errorf("rights that the bus's role does not have: %v", err)
	}
}

// The same source must give the same bytes wherever and whenever it is built, or every deployment would replace every function.
func TestBuildsAreReproducible(t *testing.T) {
	ctx, entry := context.Background(), module+"/infra/rstreamscdk/testdata/hello"
	sum := func() [32]byte {
		dir := t.TempDir()
		if err := buildProgram(ctx, dir, x86, entry); err != nil {
			t.Fatal(err)
		}
		program, err := os.ReadFile(filepath.Join(dir, "bootstrap"))
		if err != nil {
			t.Fatal(err)
		}
		return sha256.Sum256(program)
	}
	if first, second := sum(), sum(); first != second {
		t.Error("two builds differ")
	}
}

func TestFailedBuildsSayWhy(t *testing.T) {
	ctx := context.Background()
	for entry, want := range map[string]string{
		"./nowhere": "nowhere", module + "/bus/ref": "not a main package",
	} {
		if err := buildProgram(ctx, t.TempDir(), arm64, entry); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", entry, err, want)
		}
	}
	if err := buildBus(ctx, t.TempDir(), arm64, []string{"no-such-function"}); err == nil || !strings.Contains(err.Error(), "no-such-function") {
		t.Errorf("a function that is not there: %v", err)
	}
}

func TestSettingsOfRegistrationsAreJSON(t *testing.T) {
	p := templateOf(t, "rstreams-dev-orders").one(t, "Custom::RStreamsBots", "Bots").Properties
	var settings struct {
		Rate   float64
		Strict bool
	}
	if err := json.Unmarshal([]byte(at(p, "orders-price", "settings").(string)), &settings); err != nil || settings.Rate != 1.5 || !settings.Strict {
		t.Errorf("%v: %+v", err, settings)
	}
}
