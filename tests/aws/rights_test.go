//go:build aws

package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	awssdk "github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/bus/store/aws/awstest"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
	"github.com/rstreams-go/rstreams/tests/aws/internal/testbots"
)

// iamVariable tells that the emulator has IAM's policies in force (scripts/localstack up --iam), so that every part of the test
// proves the rights of the functions and bots in it.
const iamVariable = "RSTREAMS_TEST_IAM"

// testRights: who has no rights is told so in one line, and a bot's rights are to its own row (W-O4).
func (w *world) testRights(t *testing.T) {
	if os.Getenv(iamVariable) != "true" {
		t.Skipf("the emulator has no policies in force: start it with --iam, and set %s=true", iamVariable)
	}
	queue := "e2e.rights." + w.run
	put(t, w.bus.Bus, rstreams.WriterOptions{Bot: writer, Queue: queue}, 1, w.orders(0))
	w.await(t, w.bus.Bus, queue, 1)
	w.expect(queue, 1)

	key, secret := w.user(t, "nobody-"+w.run, "")
	env := append(slices.DeleteFunc(w.environment(), func(v string) bool { return strings.HasPrefix(v, "AWS_ACCESS_KEY_ID=") }),
		"AWS_ACCESS_KEY_ID="+key, "AWS_SECRET_ACCESS_KEY="+secret)
	events := filepath.Join(t.TempDir(), "events")
	if err := os.WriteFile(events, []byte(`{"n":1}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := w.bus.resources
	for _, c := range []struct {
		args []string
		on   string
	}{
		{[]string{"queues"}, r.LeoEvent}, {[]string{"bots"}, r.LeoCron}, {[]string{"read", queue, "--start", "z/"}, r.LeoEvent},
		{[]string{"write", queue, "--bot", writer, events}, r.LeoKinesisStream},
	} {
		w.refused(t, "no permission to "+c.args[0], w.root, env, "aws:"+w.bus.stage, c.args, []string{"no permission", c.on})
	}

	w.bots(t)
	key, secret = w.user(t, "ship-"+w.run, w.policyOf(t, testbots.Ship))
	bus := w.as(t, key, secret)
	first, err := w.bus.Bus.GetCheckpoint(t.Context(), testbots.Ship, queue)
	if err != nil {
		t.Fatal(err)
	}
	move := func(bot string) error {
		return bus.Checkpoint(t.Context(), rstreams.CheckpointRequest{
			Bot: bot, Queue: queue, Checkpoint: rstreams.Checkpoint{Position: "z/2024"}, Expected: first.Position,
		})
	}
	if err := move(testbots.Ship); err != nil {
		t.Errorf("its own checkpoint: %v", err)
	}
	if err := move(testbots.Price); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "no permission") {
		t.Errorf("the checkpoint of another bot: %v", err)
	}
	if row, err := w.bus.Bus.GetCheckpoint(t.Context(), testbots.Price, queue); err != nil || row.Position != "" {
		t.Errorf("the other bot has %+v, %v", row, err)
	}
}

// as opens the bus with the rights of a key.
func (w *world) as(t *testing.T, key, secret string) *rstreams.Bus {
	t.Helper()
	config := awstest.Config(t)
	config.Credentials = credentials.NewStaticCredentialsProvider(key, secret, "")
	backend := awstest.OpenWith(t, awsbus.Options{Resources: w.bus.resources, Config: &config, Endpoint: w.endpoint})
	return rstreams.New(backend.Store(), rstreams.Options{})
}

// user makes a user with a policy, "" for none, and returns a key of it.
func (w *world) user(t *testing.T, name, policy string) (key, secret string) {
	t.Helper()
	w.iam(t, "CreateUser", "UserName", name)
	if policy != "" {
		w.iam(t, "PutUserPolicy", "UserName", name, "PolicyName", "all", "PolicyDocument", policy)
	}
	out := w.iam(t, "CreateAccessKey", "UserName", name)
	return tag(t, out, "AccessKeyId")[0], tag(t, out, "SecretAccessKey")[0]
}

// policyOf returns the policy of a bot's role.
func (w *world) policyOf(t *testing.T, bot string) string {
	t.Helper()
	for _, part := range w.parts(t, w.bus.stack+"-bots") {
		if *part.ResourceType != "AWS::IAM::Role" {
			continue
		}
		role := *part.PhysicalResourceId
		for _, name := range tag(t, w.iam(t, "ListRolePolicies", "RoleName", role), "member") {
			document, err := url.QueryUnescape(tag(t, w.iam(t, "GetRolePolicy", "RoleName", role, "PolicyName", name), "PolicyDocument")[0])
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(document, "LeadingKeys") && strings.Contains(document, `"`+bot+`"`) {
				return document
			}
		}
	}
	t.Fatalf("no role has a policy with the row of %s", bot)
	return ""
}

// tag returns the texts of an element of an answer.
func tag(t *testing.T, answer, name string) []string {
	t.Helper()
	var out []string
	for _, m := range regexp.MustCompile("<"+name+">([^<]*)</"+name+">").FindAllStringSubmatch(answer, -1) {
		out = append(out, html.UnescapeString(m[1]))
	}
	if out == nil {
		t.Logf("no %s in %s", name, answer)
		out = []string{""}
	}
	return out
}

// iam asks IAM as the account's root. Only the test needs it, so that there is no client of it among the modules.
func (w *world) iam(t *testing.T, action string, params ...string) string {
	t.Helper()
	form := url.Values{"Action": {action}, "Version": {"2010-05-08"}}
	for i := 0; i < len(params); i += 2 {
		form.Set(params[i], params[i+1])
	}
	body := form.Encode()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.endpoint, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	err = v4.NewSigner().SignHTTP(t.Context(), awssdk.Credentials{AccessKeyID: "test", SecretAccessKey: "test"}, req,
		fmt.Sprintf("%x", sha256.Sum256([]byte(body))), "iam", awstest.Region, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	out, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(out.Body)
	if err = errors.Join(err, out.Body.Close()); err != nil || out.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v\n%s", action, out.Status, err, text)
	}
	return string(text)
}
