package config

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/rstreams-go/rstreams/bus/store"
	awsbus "github.com/rstreams-go/rstreams/bus/store/aws"
)

// FindOptions says where Find looks. The zero value is usable.
type FindOptions struct {
	// Dir is where the search for files begins, upward; "" means the working directory.
	Dir string
	// Getenv reads the environment; nil means os.Getenv. The AWS SDK's own variables, such as credentials, are always read
	// from the process's environment.
	Getenv func(name string) string
}

// ErrConfig reports a configuration of a bus on AWS that is incomplete or cannot be used. It is the ErrConfig of bus/store/aws,
// under a name for those who do not import that. Callers should show the text: it says what is missing, and where.
var ErrConfig = awsbus.ErrConfig

// Found is the configuration of a bus on AWS.
type Found struct {
	// Resources are the names of the bus's parts; they are complete.
	Resources awsbus.Resources
	// Endpoint is the emulator's address that the configuration names, "" for none.
	Endpoint string
	// Source says where the configuration is from, for people.
	Source string
}

// MissingError reports a configuration of a bus on AWS that lacks names. It wraps ErrConfig. Callers
// should show the text.
type MissingError struct {
	// Source is where the configuration is from; Missing are the names that it lacks, in the order of the documentation.
	Source  string
	Missing []string
}

// Error names the source and all that is missing.
func (e *MissingError) Error() string {
	return fmt.Sprintf("%v: %s lacks %s; the outputs of the bus's stack have these names", ErrConfig, e.Source,
		strings.Join(e.Missing, ", "))
}

// Unwrap returns ErrConfig.
func (e *MissingError) Unwrap() error { return ErrConfig }

// Find returns the configuration of the bus on AWS of a url ("aws:STAGE", "aws:" or "", as in Parse).
//
// The bus of a stage is that of the nearest file .rstreams/STAGE.json, from the directory upward. Without one, it is what the
// stack rstreams-STAGE published in the configured region: the SSM parameter /rstreams/rstreams-STAGE/config, or the secret
// rstreams-rstreams-STAGE.
//
// Without a stage, the first of these that is there counts, in the order of leo-sdk (sdk.md 1.3; row X1):
//   - the environment variables RSTREAMS_CONFIG, leosdk, leo-sdk, LEOSDK and LEO-SDK: JSON in either form of sdk.md 1.1 (the
//     first may also be the path of a file with it); or, for each of these names, variables NAME_Region, NAME_LeoStream, ...
//     (also in upper or lower case after the first _);
//   - files from the directory upward: leo.config, rstreams.config, leoconfig, rstreamsconfig, .json or .js, there and in
//     config/. A .js file that would count is reported: it cannot be run here;
//   - the secrets that LEO_CONFIG_SECRET and RSTREAMS_CONFIG_SECRET name, in the configured region.
//
// Unlike leo-sdk, what is there but cannot be used is an error, and never silently passed over for the next one: a typing error
// must not send a program to another bus. No region is ever assumed. The errors are *MissingError, another that wraps ErrConfig,
// ErrURL where there is nothing at all, and store.ErrUnavailable where AWS did not answer.
func Find(ctx context.Context, url string, o FindOptions) (Found, error) {
	p, err := Parse(url)
	if err != nil {
		return Found{}, err
	}
	if !p.AWS {
		return Found{}, fmt.Errorf("%w: %s is not on AWS", ErrURL, p)
	}
	return find(ctx, p, o)
}

func find(ctx context.Context, p Place, o FindOptions) (Found, error) {
	if o.Dir == "" {
		dir, err := os.Getwd()
		if err != nil {
			return Found{}, fmt.Errorf("%w: the working directory: %w", store.ErrUnavailable, err)
		}
		o.Dir = dir
	}
	if p.Stage != "" {
		return findStage(ctx, p.Stage, o)
	}
	steps := []func() (Found, bool, error){}
	for _, name := range envNames {
		steps = append(steps, func() (Found, bool, error) { return fromEnv(name, o) })
	}
	steps = append(steps, func() (Found, bool, error) { return fromTree(o.Dir) })
	for _, name := range []string{"LEO_CONFIG_SECRET", "RSTREAMS_CONFIG_SECRET"} {
		steps = append(steps, func() (Found, bool, error) { return fromSecretEnv(ctx, name, o) })
	}
	for _, step := range steps {
		if found, ok, err := step(); ok || err != nil {
			return found, err
		}
	}
	if p.Unnamed {
		return Found{}, fmt.Errorf("%w: none is given, %s is not set, and neither the environment nor a file configures one; %s",
			ErrURL, Env, accepted)
	}
	return Found{}, fmt.Errorf("%w: nothing says which bus %q is: neither RSTREAMS_CONFIG nor a file such as rstreams.config.json in %s or above it, nor "+
		"RSTREAMS_CONFIG_SECRET configures one; name its stage, as in aws:dev", ErrConfig, p.String(), o.Dir)
}

// envNames are the prefixes of the environment's providers, in order.
var envNames = []string{envConfig, "leosdk", "leo-sdk", "LEOSDK", "LEO-SDK"}

// envConfig is the variable whose value may be the path of a file.
const envConfig = "RSTREAMS_CONFIG"

// fromEnv reads the providers of one environment variable. ok tells that it is there.
func fromEnv(name string, o FindOptions) (found Found, ok bool, err error) {
	source := "the environment variable " + name
	if value := strings.TrimSpace(o.getenv(name)); value != "" {
		if name == envConfig && !strings.HasPrefix(value, "{") {
			return fromFile(value, source+", file "+value)
		}
		found, err := parse([]byte(value), source)
		return found, true, err
	}
	var r awsbus.Resources
	for _, f := range fields(&r) {
		for _, key := range []string{f.name, strings.ToUpper(f.name), strings.ToLower(f.name)} {
			if *f.value = o.getenv(name + "_" + key); *f.value != "" {
				ok = true
				break
			}
		}
	}
	if !ok {
		return Found{}, false, nil
	}
	found, err = complete(Found{Resources: r, Source: "the environment variables " + name + "_..."})
	return found, true, err
}

// fileNames are the configuration files, in order.
var fileNames = []string{"leo.config", "rstreams.config", "leoconfig", "rstreamsconfig"}

// fromTree looks for a configuration file in dir and above.
func fromTree(dir string) (Found, bool, error) {
	for {
		for _, sub := range []string{"", "config"} {
			for _, name := range fileNames {
				path := filepath.Join(dir, sub, name)
				if exists(path + ".json") {
					return fromFile(path+".json", "the file "+path+".json")
				}
				if exists(path + ".js") {
					return Found{}, true, fmt.Errorf("%w: %s.js is JavaScript, which is not run here; write what it exports to %s.json, "+
						"or name the bus with %s", ErrConfig, path, path, Env)
				}
			}
		}
		up := filepath.Dir(dir)
		if up == dir {
			return Found{}, false, nil
		}
		dir = up
	}
}

// exists tells whether path is there and no directory.
func exists(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// fromFile reads a configuration file.
func fromFile(path, source string) (Found, bool, error) {
	text, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return Found{}, true, fmt.Errorf("%w: %s: it is neither JSON nor a file that is there", ErrConfig, source)
	case err != nil:
		return Found{}, true, fmt.Errorf("%w: %s: %w", ErrConfig, source, err)
	}
	found, err := parse(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")), source)
	return found, true, err
}

// parse reads a configuration in either form and demands that it is complete.
func parse(text []byte, source string) (Found, error) {
	r, err := awsbus.ParseResources(text)
	if err != nil {
		return Found{}, fmt.Errorf("%s: %w", source, err)
	}
	var more struct {
		Endpoint  string `json:"Endpoint"`
		Resources struct {
			Endpoint string `json:"Endpoint"`
		} `json:"resources"`
	}
	if err := json.Unmarshal(text, &more); err != nil {
		return Found{}, fmt.Errorf("%w: %s: Endpoint: %w", ErrConfig, source, err)
	}
	found := Found{Resources: r, Endpoint: more.Endpoint, Source: source}
	if found.Endpoint == "" {
		found.Endpoint = more.Resources.Endpoint
	}
	return complete(found)
}

// complete demands every required name.
func complete(found Found) (Found, error) {
	if found.Resources.Validate() == nil {
		return found, nil
	}
	missing := &MissingError{Source: found.Source}
	for _, f := range fields(&found.Resources) {
		if *f.value == "" && !f.optional {
			missing.Missing = append(missing.Missing, f.name)
		}
	}
	return Found{}, missing
}

// field is a name of a configuration and where its value is.
type field struct {
	name     string
	value    *string
	optional bool
}

// fields are the names of a configuration (sdk.md 1.1).
func fields(r *awsbus.Resources) []field {
	return []field{
		{"Region", &r.Region, false}, {"LeoStream", &r.LeoStream, false}, {"LeoCron", &r.LeoCron, false},
		{"LeoEvent", &r.LeoEvent, false}, {"LeoS3", &r.LeoS3, false}, {"LeoKinesisStream", &r.LeoKinesisStream, false},
		{"LeoFirehoseStream", &r.LeoFirehoseStream, false},
		{"LeoSettings", &r.LeoSettings, true}, {"LeoSystem", &r.LeoSystem, true},
	}
}
