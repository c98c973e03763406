package cli

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// stageFile writes the configuration of stage dev into a new directory.
func stageFile(t *testing.T, text string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, ".rstreams"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".rstreams", "dev.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// inAWS prepares a command in a directory, with no configuration of AWS but env.
func inAWS(t *testing.T, dir string, env []string, args ...string) *exec.Cmd {
	t.Helper()
	c := command(t, dir, args...)
	c.Dir = dir
	c.Env = nil
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(strings.ToUpper(v), "LEO") && !strings.HasPrefix(v, "RSTREAMS_") {
			c.Env = append(c.Env, v)
		}
	}
	none := filepath.Join(dir, "none")
	c.Env = append(append(c.Env, "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE="+none, "AWS_SHARED_CREDENTIALS_FILE="+none), env...)
	return c
}

// nobody is an address at which nothing listens.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return "http://" + l.Addr().String()
}

const wholeBus = `"Region":"eu-west-1","LeoStream":"s","LeoCron":"c","LeoEvent":"e","LeoS3":"b","LeoKinesisStream":"k","LeoFirehoseStream":"f"`

// Every command answers a bus on AWS that cannot be used with one line, which names what is missing, and the documented code.
func TestABusOnAWSThatCannotBeUsedIsOneClearLine(t *testing.T) {
	down := nobody(t)
	for name, c := range map[string]struct {
		file string
		env  []string
		bus  string
		code int
		say  []string
	}{
		"half a configuration":                {`{"Region":"eu-west-1","LeoStream":"s"}`, nil, "aws:dev", 2, []string{"dev.json", "LeoCron", "LeoEvent", "LeoS3", "LeoKinesisStream", "LeoFirehoseStream"}},
		"no JSON":                             {`{`, nil, "aws:dev", 2, []string{"dev.json"}},
		"no configuration":                    {`{}`, nil, "aws:", 2, []string{"RSTREAMS_CONFIG", "aws:dev"}},
		"no bus":                              {`{}`, nil, "", 2, []string{"RSTREAMS_BUS", "embedded:DIR", "aws:STAGE"}},
		"half in environment":                 {`{}`, []string{"RSTREAMS_CONFIG_LeoStream=s"}, "", 2, []string{"RSTREAMS_CONFIG_", "Region", "LeoCron"}},
		"no region":                           {`{}`, nil, "aws:prod", 2, []string{"AWS_REGION", "prod.json"}},
		"an emulator that is down":            {`{` + wholeBus + `,"Endpoint":"` + down + `"}`, nil, "aws:dev", 3, []string{down, "scripts/localstack up"}},
		"a stage on an emulator that is down": {`{}`, []string{"AWS_REGION=eu-west-1", "AWS_ENDPOINT_URL=" + down}, "aws:prod", 3, []string{down}},
		"no stage":                            {`{}`, nil, "aws:../x", 2, []string{"aws:../x"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := stageFile(t, c.file)
			for _, args := range [][]string{
				{"queues"}, {"bots"}, {"read", "q"}, {"write", "q", "--bot", "b"}, {"verify"}, {"checkpoint", "get", "b"}, {"pause", "b"}, {"dlq", "list"},
			} {
				if c.bus != "" {
					args = append([]string{"--bus", c.bus}, args...)
				}
				wantFailure(t, finish(t, inAWS(t, dir, c.env, args...)), c.code, c.say, args...)
			}
			if c.bus != "" {
				wantFailure(t, finish(t, inAWS(t, dir, c.env, "demo", "--bus", c.bus)), c.code, c.say, "demo")
			}
		})
	}
}

func TestRegister(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bus")
	ok(t, dir, strings.NewReader(numbered(0, 1)), "write", "orders", "--bot", "shop")
	declared := `{"report":{"lambdaName":"fn","triggers":["orders"],"settings":{"color":"red"},"paused":false},"other":{"id":"nightly","time":"0 3 * * *"}}`
	for range 2 { // Registering again is the same.
		if got := ok(t, dir, strings.NewReader(declared), "register"); !strings.Contains(got, `"registered":["nightly","report"]`) {
			t.Errorf("got %s", got)
		}
		if got := ok(t, dir, nil, "bots", "--json"); !strings.Contains(got, `"bot":"report","state":"idle"`) || !strings.Contains(got, `"bot":"nightly","state":"paused"`) {
			t.Errorf("got %s", got)
		}
	}
	fails(t, dir, strings.NewReader(`[1]`), 5, []string{"standard input"}, "register")
	fails(t, dir, strings.NewReader(`{"x":{"time":"nonsense"}}`), 5, []string{"x"}, "register")
	fails(t, dir, nil, 5, []string{"nowhere.json"}, "register", "nowhere.json")
}
