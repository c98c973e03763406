package shell

import (
	"io"
	"strings"
	"testing"
)

// The functions of a bus may read objects under bus/ and files/ only (infra/rstreamscdk, grants.go): a pointer to another one must be
// a dead letter before anybody asks for its object (W-O1).
func TestPointersMayNameObjectsOfEventsOnly(t *testing.T) {
	config := `{"Region":"us-east-1","LeoStream":"s","LeoCron":"c","LeoEvent":"e","LeoS3":"bucket","LeoKinesisStream":"k","LeoFirehoseStream":"f"}`
	env, err := Open(t.Context(), "test", func(n string) string { return map[string]string{EnvConfig: config, EnvStack: "bus"}[n] }, io.Discard, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer env.Bus.Close(t.Context()) //nolint:errcheck // Nothing was asked of it.
	cfg, err := env.Sequencer()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(cfg.Prefixes, " "); got != "bus/ files/" || cfg.Bucket != "bucket" || !cfg.CheckBlobs {
		t.Errorf("pointers may name %q in bucket %q, checked %v", got, cfg.Bucket, cfg.CheckBlobs)
	}
}
