package aws

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Resources names what a bus consists of on AWS. The JSON form, and the outputs of a bus's stack, have the same names (C1).
type Resources struct {
	// Region is where everything else is.
	Region string
	// LeoStream, LeoCron, LeoEvent, LeoSettings and LeoSystem are tables (bus.md 1). The last two may be missing in
	// configurations of old buses; what needs them then fails.
	LeoStream, LeoCron, LeoEvent string
	LeoSettings                  string `json:",omitempty"`
	LeoSystem                    string `json:",omitempty"`
	// LeoS3 is the bucket, LeoKinesisStream and LeoFirehoseStream are the ways in.
	LeoS3, LeoKinesisStream, LeoFirehoseStream string
}

// ErrConfig reports a configuration that names no complete bus. Callers should show the text: it says what is missing.
var ErrConfig = errors.New("incomplete bus configuration")

// Validate reports every required name that is missing, in one error that wraps ErrConfig.
func (r Resources) Validate() error {
	var missing []string
	for _, f := range []struct{ name, value string }{
		{"Region", r.Region}, {"LeoStream", r.LeoStream}, {"LeoCron", r.LeoCron}, {"LeoEvent", r.LeoEvent}, {"LeoS3", r.LeoS3},
		{"LeoKinesisStream", r.LeoKinesisStream}, {"LeoFirehoseStream", r.LeoFirehoseStream},
	} {
		if f.value == "" {
			missing = append(missing, f.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: %s missing; the outputs of the bus's stack have these names", ErrConfig, strings.Join(missing, ", "))
	}
	return nil
}

// ParseResources reads a configuration in either form that leo-sdk takes: the names at the top, or beside `s3` under
// `resources` (sdk.md 1.1). It does not say what is missing; Validate does.
func ParseResources(text []byte) (Resources, error) {
	var doc struct {
		Resources
		S3      json.RawMessage `json:"s3"`
		Verbose *Resources      `json:"resources"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return Resources{}, fmt.Errorf("%w: it is no JSON object of names: %w", ErrConfig, err)
	}
	if doc.Verbose != nil && doc.S3 != nil {
		return *doc.Verbose, nil
	}
	return doc.Resources, nil
}
