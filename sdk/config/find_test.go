package config_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
	"github.com/rstreams-go/rstreams/sdk/config"
)

// place makes a directory with files, and returns options to look from dir in it, in an environment of its own.
func place(t *testing.T, dir string, files, env map[string]string) config.FindOptions {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir = filepath.Join(root, dir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return config.FindOptions{Dir: dir, Getenv: func(name string) string { return env[name] }}
}

// bus is a whole configuration as JSON, but for the names that are left out.
func bus(t *testing.T, without ...string) string {
	t.Helper()
	r := map[string]string{
		"Region": "eu-west-1", "LeoStream": "s", "LeoCron": "c", "LeoEvent": "e", "LeoS3": "b", "LeoKinesisStream": "k",
		"LeoFirehoseStream": "f", "LeoSettings": "se", "LeoSystem": "sy",
	}
	for _, name := range without {
		delete(r, name)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Row X1: what leo-sdk 6.0.18 resolves is resolved here, with the same precedence. testdata/providers.json was recorded with it.
func TestX1ProvidersResolveAsInLeoSDK(t *testing.T) {
	t.Setenv(config.Env, "")
	text, err := os.ReadFile("testdata/providers.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Cases []struct {
			Name, Dir  string
			Env, Files map[string]string
			Want       *awsbus.Resources
		}
	}
	if err := json.Unmarshal(text, &golden); err != nil || len(golden.Cases) < 30 {
		t.Fatal(err, len(golden.Cases))
	}
	for _, c := range golden.Cases {
		t.Run(c.Name, func(t *testing.T) {
			found, err := config.Find(t.Context(), "aws:", place(t, c.Dir, c.Files, c.Env))
			if c.Want == nil {
				if err == nil {
					t.Errorf("found %+v, leo-sdk finds nothing", found)
				}
				return
			}
			if err != nil || found.Resources != *c.Want {
				t.Errorf("%+v, %v\nleo-sdk: %+v", found.Resources, err, *c.Want)
			}
		})
	}
}

func TestHalfAConfigurationIsRefusedWithAllThatIsMissing(t *testing.T) {
	half := bus(t, "Region", "LeoCron", "LeoFirehoseStream", "LeoSystem")
	want := []string{"Region", "LeoCron", "LeoFirehoseStream"}
	for name, o := range map[string]config.FindOptions{
		"RSTREAMS_CONFIG":  place(t, "", nil, map[string]string{"RSTREAMS_CONFIG": half, "leosdk": bus(t)}),
		"rstreams.config":  place(t, "", map[string]string{"rstreams.config.json": half, "leoconfig.json": bus(t)}, nil),
		"LEOSDK_...":       place(t, "", nil, map[string]string{"LEOSDK_LeoStream": "s", "LEOSDK_LEOEVENT": "e", "LEOSDK_leos3": "b", "LEOSDK_LeoKinesisStream": "k"}),
		"dev.json":         place(t, "x", map[string]string{".rstreams/dev.json": half}, nil),
		"resources beside": place(t, "", nil, map[string]string{"RSTREAMS_CONFIG": `{"s3":"b","resources":` + half + `}`}),
	} {
		url := "aws:"
		if name == "dev.json" {
			url = "aws:dev"
		}
		_, err := config.Find(t.Context(), url, o)
		var missing *config.MissingError
		if !errors.As(err, &missing) || !errors.Is(err, awsbus.ErrConfig) || !slices.Equal(missing.Missing, want) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, word := range want {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the text does not name %s: %v", name, word, err)
			}
		}
	}
}

func TestWhatIsThereButBrokenIsNotPassedOver(t *testing.T) {
	for name, c := range map[string]struct {
		files, env map[string]string
		say        []string
	}{
		"no JSON in the environment": {nil, map[string]string{"RSTREAMS_CONFIG": "{", "leosdk": bus(t)}, []string{"RSTREAMS_CONFIG"}},
		"no JSON in a file":          {map[string]string{"leo.config.json": "{", "rstreams.config.json": bus(t)}, nil, []string{"leo.config.json"}},
		"a file that is not there":   {nil, map[string]string{"RSTREAMS_CONFIG": "/nowhere/bus.json", "leosdk": bus(t)}, []string{"RSTREAMS_CONFIG", "/nowhere/bus.json"}},
		"JavaScript":                 {map[string]string{"leo.config.js": "module.exports={}", "rstreams.config.json": bus(t)}, nil, []string{"leo.config.js", "leo.config.json"}},
		"JavaScript in config":       {map[string]string{"config/leoconfig.js": "module.exports={}"}, nil, []string{"leoconfig.js"}},
		"an array":                   {nil, map[string]string{"leosdk": "[1]"}, []string{"leosdk"}},
	} {
		_, err := config.Find(t.Context(), "aws:", place(t, "", c.files, c.env))
		if !errors.Is(err, awsbus.ErrConfig) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, word := range c.say {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the text does not say %q: %v", name, word, err)
			}
		}
	}
}

func TestAFileMayBeNamedAndMayNameAnEmulator(t *testing.T) {
	withEndpoint := strings.Replace(bus(t), "{", `{"Endpoint":"http://127.0.0.1:4566",`, 1)
	o := place(t, "", map[string]string{"some.json": "\xef\xbb\xbf" + withEndpoint}, nil)
	path := filepath.Join(o.Dir, "some.json")
	o.Getenv = func(name string) string { return map[string]string{"RSTREAMS_CONFIG": path}[name] }
	found, err := config.Find(t.Context(), "aws:", o)
	if err != nil || found.Endpoint != "http://127.0.0.1:4566" || found.Resources.LeoStream != "s" || !strings.Contains(found.Source, path) {
		t.Errorf("%+v, %v", found, err)
	}
	o = place(t, "a/b/c", map[string]string{".rstreams/dev.json": bus(t), "a/.rstreams/dev.json": withEndpoint, "a/.rstreams/qa.json": bus(t)}, nil)
	for stage, endpoint := range map[string]string{"dev": "http://127.0.0.1:4566", "qa": ""} {
		if found, err = config.Find(t.Context(), "aws:"+stage, o); err != nil || found.Endpoint != endpoint {
			t.Errorf("%s: %+v, %v", stage, found, err)
		}
	}
}

func TestNothingAtAllSaysWhatIsAccepted(t *testing.T) {
	t.Setenv(config.Env, "")
	o := place(t, "", nil, nil)
	if _, err := config.Find(t.Context(), "", o); !errors.Is(err, config.ErrURL) || !strings.Contains(err.Error(), `"embedded:DIR"`) ||
		!strings.Contains(err.Error(), config.Env) {
		t.Errorf("without a url: %v", err)
	}
	if _, err := config.Find(t.Context(), "aws:", o); !errors.Is(err, awsbus.ErrConfig) || !strings.Contains(err.Error(), "aws:dev") {
		t.Errorf("aws: %v", err)
	}
	if _, err := config.Find(t.Context(), "embedded:x", o); !errors.Is(err, config.ErrURL) {
		t.Errorf("embedded: %v", err)
	}
}

// fakeAWS answers GetParameter and GetSecretValue from maps, and remembers the regions it was asked for.
func fakeAWS(t *testing.T, parameters, secrets map[string]string) (endpoint string, regions map[string]bool) {
	t.Helper()
	regions = map[string]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var in struct{ Name, SecretId string }
		if err := json.Unmarshal(body, &in); err != nil {
			t.Errorf("%s: %v", body, err)
		}
		for _, region := range []string{"eu-west-1", "ap-south-1"} {
			if strings.Contains(r.Header.Get("Authorization"), "/"+region+"/") {
				regions[region] = true
			}
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		text, ok := parameters[in.Name]
		out := map[string]any{"Parameter": map[string]any{"Name": in.Name, "Value": text}}
		missing := "ParameterNotFound"
		if in.SecretId != "" {
			text, ok = secrets[in.SecretId]
			out, missing = map[string]any{"SecretString": text}, "ResourceNotFoundException"
		}
		if text == "denied" {
			ok, missing = false, "AccessDeniedException"
		}
		if !ok {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"__type":%q,"message":"no %s%s"}`, missing, in.Name, in.SecretId)
			return
		}
		if err := json.NewEncoder(w).Encode(out); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, regions
}

// cleanAWS keeps the AWS configuration of this machine out of the test.
func cleanAWS(t *testing.T) {
	t.Helper()
	for _, name := range []string{"AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL", config.Env} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestAStageIsFoundByWhatItsStackPublished(t *testing.T) {
	cleanAWS(t)
	endpoint, regions := fakeAWS(t,
		map[string]string{"/rstreams/rstreams-dev/config": bus(t), "/rstreams/rstreams-half/config": bus(t, "LeoS3"), "/rstreams/rstreams-no/config": "denied"},
		map[string]string{"rstreams-rstreams-qa": bus(t), "rstreams-rstreams-no": "denied"})
	env := map[string]string{"AWS_REGION": "ap-south-1", "AWS_ENDPOINT_URL": endpoint}
	o := place(t, "", nil, env)
	for _, stage := range []string{"dev", "qa"} {
		if found, err := config.Find(t.Context(), "aws:"+stage, o); err != nil || found.Resources.LeoStream != "s" {
			t.Errorf("%s: %+v, %v", stage, found, err)
		}
	}
	if !regions["ap-south-1"] || regions["eu-west-1"] {
		t.Errorf("asked in %v", regions)
	}
	var missing *config.MissingError
	if _, err := config.Find(t.Context(), "aws:half", o); !errors.As(err, &missing) || !slices.Equal(missing.Missing, []string{"LeoS3"}) {
		t.Errorf("half: %v", err)
	}
	for stage, words := range map[string][]string{
		"gone": {"rstreams-gone", "ap-south-1", "scripts/deploy gone", ".rstreams"}, "no": {"AccessDeniedException", "/rstreams/rstreams-no/config"},
	} {
		_, err := config.Find(t.Context(), "aws:"+stage, o)
		if !errors.Is(err, store.ErrUnavailable) {
			t.Errorf("%s: %v", stage, err)
			continue
		}
		for _, word := range words {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the text does not say %q: %v", stage, word, err)
			}
		}
	}
}

func TestSecretsAreTheLastResort(t *testing.T) {
	cleanAWS(t)
	other := strings.Replace(bus(t), `"s"`, `"other"`, 1)
	endpoint, _ := fakeAWS(t, nil, map[string]string{"one": bus(t), "two": other})
	env := map[string]string{"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL": endpoint, "RSTREAMS_CONFIG_SECRET": "two"}
	find := func(files map[string]string) (config.Found, error) {
		return config.Find(t.Context(), "", place(t, "", files, env))
	}
	if found, err := find(nil); err != nil || found.Resources.LeoStream != "other" || !strings.Contains(found.Source, "RSTREAMS_CONFIG_SECRET") {
		t.Errorf("%+v, %v", found, err)
	}
	env["LEO_CONFIG_SECRET"] = "one"
	if found, err := find(nil); err != nil || found.Resources.LeoStream != "s" {
		t.Errorf("LEO_CONFIG_SECRET comes first: %+v, %v", found, err)
	}
	third := strings.Replace(bus(t), `"s"`, `"file"`, 1)
	if found, err := find(map[string]string{"leo.config.json": third}); err != nil || found.Resources.LeoStream != "file" {
		t.Errorf("a file comes before: %+v, %v", found, err)
	}
	env["LEO_CONFIG_SECRET"] = "gone"
	if _, err := find(nil); !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("a secret that is not there: %v", err)
	}
}

// Fault 42: leo-sdk would look in us-east-1, or us-west-2.
func TestFault42NoRegionIsAssumed(t *testing.T) {
	cleanAWS(t)
	for url, env := range map[string]map[string]string{"aws:dev": {}, "aws:": {"RSTREAMS_CONFIG_SECRET": "x"}} {
		_, err := config.Find(t.Context(), url, place(t, "", nil, env))
		if !errors.Is(err, awsbus.ErrConfig) || !strings.Contains(err.Error(), "AWS_REGION") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestAnEmulatorThatIsDownIsSaidAtOnce(t *testing.T) {
	cleanAWS(t)
	server := httptest.NewServer(nil)
	endpoint := server.URL
	server.Close()
	o := config.Options{Find: place(t, "", map[string]string{".rstreams/dev.json": strings.Replace(bus(t), "{", `{"Endpoint":"`+endpoint+`",`, 1)}, nil)}
	_, err := config.Open(t.Context(), "aws:dev", o)
	if !errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), endpoint) || !strings.Contains(err.Error(), "scripts/localstack up") {
		t.Errorf("%v", err)
	}
	o.Find = place(t, "", map[string]string{".rstreams/dev.json": strings.Replace(bus(t), "{", `{"Endpoint":"localhost",`, 1)}, nil)
	if _, err := config.Open(t.Context(), "aws:dev", o); !errors.Is(err, awsbus.ErrConfig) {
		t.Errorf("an endpoint that is no address: %v", err)
	}
}

func TestAnEmulatorNeverGetsTheCredentialsOfAProfile(t *testing.T) {
	cleanAWS(t)
	file := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(file, []byte("[work]\naws_access_key_id = AKIDWORK\naws_secret_access_key = secret\naws_session_token = token\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_PROFILE", "work")
	for key, want := range map[string]string{"": "test", "AKIDENV": "AKIDENV"} {
		t.Setenv("AWS_ACCESS_KEY_ID", key)
		t.Setenv("AWS_SECRET_ACCESS_KEY", "other")
		var signed http.Header
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			signed = r.Header
			_ = json.NewEncoder(w).Encode(map[string]any{"Parameter": map[string]any{"Value": bus(t)}})
		}))
		env := map[string]string{"AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": key, "AWS_PROFILE": "work"}
		if _, err := config.Find(t.Context(), "aws:dev", place(t, "", nil, env)); err != nil {
			t.Error(err)
		}
		server.Close()
		if got := signed.Get("Authorization"); !strings.Contains(got, "Credential="+want+"/") || signed.Get("X-Amz-Security-Token") != "" {
			t.Errorf("key %q: signed %q, token %q", key, got, signed.Get("X-Amz-Security-Token"))
		}
	}
}
