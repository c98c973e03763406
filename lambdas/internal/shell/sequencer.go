package shell

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/sequencer"
)

// The environment of functions that publish.
const (
	// EnvTTL is how long events stay in the index, in seconds; 604800, 7 days, where it is not set.
	EnvTTL = "RSTREAMS_TTL_SECONDS"
	// EnvSkipEvents and EnvSkipBots are queues and bots, separated by commas, whose events are dropped for good.
	EnvSkipEvents = "RSTREAMS_SKIP_EVENTS"
	EnvSkipBots   = "RSTREAMS_SKIP_BOTS"
	// EnvLease is for how long an invocation that died keeps its queues from others; 20s where it is not set.
	EnvLease = "RSTREAMS_LEASE"
)

const (
	defaultTTL   = 7 * 24 * time.Hour
	defaultLease = 20 * time.Second
	// maxTTL is a hundred years, in seconds.
	maxTTL = 100 * 365 * 24 * 3600
)

// TTL returns how long events stay in the index. The error wraps ErrConfig.
func (e *Env) TTL() (time.Duration, error) {
	text := e.Getenv(EnvTTL)
	if text == "" {
		return defaultTTL, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxTTL {
		return 0, fmt.Errorf("%w: %s is %q, want a number of seconds, at least 1", ErrConfig, EnvTTL, text)
	}
	return time.Duration(n) * time.Second, nil
}

// Sequencer reads how events are to be published on this bus: everything but the owner, which each invocation has of its own. The error
// wraps ErrConfig.
func (e *Env) Sequencer() (sequencer.Config, error) {
	ttl, err := e.TTL()
	if err != nil {
		return sequencer.Config{}, err
	}
	lease, err := e.Duration(EnvLease, defaultLease)
	if err != nil {
		return sequencer.Config{}, err
	}
	cfg := sequencer.Config{
		TTL: ttl, Lease: lease, ChunkBytes: chunkBytes, GroupBytes: e.groupBytes(), Logger: e.Logger, Bucket: e.Bus.Resources().LeoS3, Prefixes: objectPrefixes(), CheckBlobs: true,
		SkipBots: list(e.Getenv(EnvSkipBots)),
	}
	for _, queue := range list(e.Getenv(EnvSkipEvents)) {
		cfg.SkipQueues = append(cfg.SkipQueues, ref.Queue(queue))
	}
	return cfg, nil
}

// objectPrefixes are where the objects of events are: bots and the bus's functions may read these and no others.
func objectPrefixes() []string { return []string{"bus/", "files/"} }

// chunkBytes is where chunks end: text that cannot be compressed at all still fits in an item then, and a BatchWriteItem, of 25 items
// at most, brings as much as it can. The original's are half of that.
const chunkBytes = 380_000

// groupBytes is how much text is published at once: an eighth of the function's memory. Each group costs a claim and a head for
// each of its queues. 0, the sequencer's own default, outside of Lambda.
func (e *Env) groupBytes() int {
	const least, most = 8 << 20, 64 << 20
	mb, err := strconv.Atoi(e.Getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"))
	if err != nil {
		return 0
	}
	return min(max(mb<<20/8, least), most)
}

// list splits a list at commas.
func list(text string) []string {
	var out []string
	for item := range strings.SplitSeq(text, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}
