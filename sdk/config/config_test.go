package config_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/config"
)

func TestParseTakesTheURLOrTheEnvironment(t *testing.T) {
	t.Setenv(config.Env, "embedded:/from/env")
	for url, want := range map[string]string{
		"embedded:./data": "./data", "embedded:data": "data", "embedded:/srv/bus": "/srv/bus", "embedded:///srv/bus": "/srv/bus",
		"": "/from/env", `embedded:C:\bus`: `C:\bus`,
	} {
		place, err := config.Parse(url)
		if err != nil || place.Dir != want || place.AWS {
			t.Errorf("%q: %+v %v, want %q", url, place, err, want)
		}
	}
}

func TestUnknownURLsNameWhatIsAccepted(t *testing.T) {
	t.Setenv(config.Env, "")
	for _, url := range []string{
		"data", "./data", "embedded:", "embedded://", "Embedded:x", "sqlite:x", "aws", "aws:../x", "aws:a b", "aws:-x", "AWS:x", ":x",
	} {
		_, err := config.Parse(url)
		if !errors.Is(err, config.ErrURL) || !strings.Contains(err.Error(), `"embedded:DIR"`) || !strings.Contains(err.Error(), `"aws:STAGE"`) {
			t.Errorf("%q: %v", url, err)
		}
	}
	t.Setenv(config.Env, "kafka:x")
	if _, err := config.Parse(""); err == nil || !strings.Contains(err.Error(), "kafka:x") || !strings.Contains(err.Error(), config.Env) {
		t.Errorf("from the environment: %v", err)
	}
}

func TestParseTakesStages(t *testing.T) {
	t.Setenv(config.Env, "")
	for url, want := range map[string]config.Place{
		"aws:dev": {AWS: true, Stage: "dev"}, "aws://dev-2": {AWS: true, Stage: "dev-2"}, "aws:": {AWS: true},
		"": {AWS: true, Unnamed: true},
	} {
		if place, err := config.Parse(url); err != nil || place != want {
			t.Errorf("%q: %+v %v, want %+v", url, place, err, want)
		}
	}
	for _, url := range []string{"aws:dev", "aws:", "embedded:./data"} {
		if place, err := config.Parse(url); err != nil || place.String() != url {
			t.Errorf("%q is written as %q, %v", url, place, err)
		}
	}
}

func TestOpenGivesAWorkingBackend(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bus")
	for range 2 { // What was written is there when it is opened again.
		b, err := config.Open(t.Context(), "embedded:"+dir, config.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.Store.Settings.Get(t.Context(), "k")
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatal(err)
		}
		if err := b.Store.Settings.Put(t.Context(), "k", []byte(`1`)); err != nil || b.Store.Intake == nil {
			t.Fatal(err)
		}
		if err := b.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir+".file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Open(t.Context(), "embedded:"+dir+".file", config.Options{}); err == nil {
		t.Fatal("a file was opened as a bus")
	}
	if _, err := config.Open(t.Context(), "nothing", config.Options{}); !errors.Is(err, config.ErrURL) {
		t.Fatal(err)
	}
}

func ExampleOpen() {
	_, err := config.Open(context.Background(), "kafka:localhost", config.Options{})
	fmt.Println(strings.SplitAfter(err.Error(), ";")[0])
	// Output: unknown bus: "kafka:localhost";
}
