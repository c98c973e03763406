package rstreamscdk

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/sdk/replicate"
)

// BusProps configures NewBus. The zero value of every field is usable: a bus that costs next to nothing while it is idle, and
// whose data outlives its stack. The fields are the parameters of the original (bus.md 4.1) as typed values, and what
// bus.md 5.4 misses there.
type BusProps struct {
	// Stage is the value of the tag `environment`; "" means dev.
	Stage string
	// Intake is the Kinesis stream that events arrive by.
	Intake Intake
	// Tables has the capacity of tables that are not billed by request.
	Tables Tables
	// TTL is how long events stay in LeoStream; 0 means 7 days. Archived events stay readable for longer.
	TTL time.Duration
	// MonitorHashKey is the explicit hash key of monitor events, a decimal number below 2^128; "" means 0.
	MonitorHashKey string
	// Memory is the size of the bus's functions.
	Memory Memory
	// Invoke is what the bus may start, beyond the functions that NewBots makes.
	Invoke Invoke
	// TrustedPrincipals are accounts and roles that may assume the bus's Role, as account numbers or ARNs: bots elsewhere, and
	// buses that replicate to this one.
	TrustedPrincipals []string
	// Replication copies queues to other buses; nil for none.
	Replication *Replication
	// ArchiveEvery is how often the archiver looks for events to archive; 0 means 10 minutes.
	ArchiveEvery time.Duration
	// SkipQueues and SkipBots are queues and bots whose events are dropped for good as they arrive: a way out when one of them
	// floods the bus.
	SkipQueues, SkipBots []string
	// RawRetention is how long objects of Firehose are kept that could not be loaded, in whole days; 0 means 7 days (W-S6). What
	// is loaded is deleted at once.
	RawRetention time.Duration
	// LogRetention is how long logs are kept, one of the times that CloudWatch Logs knows; 0 means 30 days.
	LogRetention time.Duration
	// Alarms says when alarms go off and who is told.
	Alarms Alarms
	// KMSKey is the ARN of a customer key for the tables, the stream and the bucket; "" means keys that AWS owns or manages. Its
	// key policy must let the account's policies decide.
	KMSKey string
	// AccessLogs is the name of a bucket for the access logs of the bus's bucket; "" for none.
	AccessLogs string
	// RemoveData makes the removal of the stack remove the events too, as far as CloudFormation can: a bucket must be empty.
	RemoveData bool
	// Architecture is arm64 or x86_64; "" means arm64.
	Architecture string
	// Code is a directory with a built program NAME/bootstrap for each function; "" means that the construct builds them.
	Code string
	// Endpoint is the address of an emulator, for tests: every function gets it as AWS_ENDPOINT_URL, and what emulators do not
	// know is left out. "" means AWS.
	Endpoint string
}

// Intake configures the Kinesis stream.
type Intake struct {
	// OnDemand bills by use instead of by shard, and lets AWS choose the shards. Programs on leo-sdk write to one shard whatever
	// their number.
	OnDemand bool
	// Shards is the number of shards; 0 means 1. It must be 0 with OnDemand.
	Shards int
	// Retention is how long records are kept, in whole hours, from 24 to 8760; 0 means 24 hours.
	Retention time.Duration
	// Window is how long a batch may be gathered before it is sequenced, in whole seconds, at most 300; 0 means not at all. It
	// saves requests and costs latency.
	Window time.Duration
	// Retries is how often a batch that fails as a whole is tried again, from 1 to 10000; 0 means 60. What still fails is kept
	// in the bucket, under aws/lambda/, and an alarm goes off.
	Retries int
}

// Tables has the capacities of the tables. The zero value of each bills by request.
type Tables struct{ LeoStream, LeoEvent, LeoCron, LeoSettings, LeoSystem Capacity }

// Capacity is what a table is provisioned with. It follows the load between its bounds, at 70 % use.
type Capacity struct {
	// Provisioned reserves capacity instead of billing by request.
	Provisioned bool
	// MinRead, MaxRead, MinWrite and MaxWrite are units; 0 means what the original has (bus.md 1.1).
	MinRead, MaxRead, MinWrite, MaxWrite int
}

// Memory has the sizes of functions, in MB from 128 to 10240; 0 means the default of each.
type Memory struct {
	KinesisProcessor, EventTrigger, BotRunner, Scheduler, Monitor, FirehoseLoader, Archiver, BusAPI, Register, Replicator int
}

// Invoke says what the bus may start. Functions that carry the tag rstreams-bus with the name of the bus's stack may always be
// started; those that NewBots makes have it. Nothing else may be started by default (W-O4).
type Invoke struct {
	// Functions are ARNs of other functions, with or without wildcards.
	Functions []string
	// Accounts are accounts whose functions may be started, as far as those functions permit it, and whose stacks may register
	// bots: NewBots in another account sees to both.
	Accounts []string
	// Topics are ARNs of SNS topics that bots are behind.
	Topics []string
	// Policy is the ARN of a managed policy for the functions that start bots: the original's parameter LambdaInvokePolicy.
	Policy string
}

// Replication says which queues are copied to other buses (bus.md 3.12).
type Replication struct {
	// Roles are the ARNs of the Role outputs of the destination buses. The first is the default destination.
	Roles []string
	// Queues are copied.
	Queues []ReplicatedQueue
}

// ReplicatedQueue is a queue that is copied.
type ReplicatedQueue struct {
	// Queue is its name here, Destination its name there; "" means the same.
	Queue, Destination string
	// Account and Stack say which of the Roles' buses it goes to; "" means those of the first. Region is where that bus is; ""
	// means the region of this bus.
	Account, Stack, Region string
}

// Alarms configures the alarms.
type Alarms struct {
	// Topic is the ARN of an SNS topic that is told; "" makes alarms that only show.
	Topic string
	// Lag is how far the sequencing of events and the reaction to them may be behind; 0 means 5 minutes.
	Lag time.Duration
	// Off makes no alarms at all.
	Off bool
}

// withDefaults returns the props with every default filled in, or one error that names everything that is wrong.
func (p BusProps) withDefaults() (BusProps, error) {
	var c checks
	set(&p.Stage, "dev")
	set(&p.TTL, 7*24*time.Hour)
	set(&p.MonitorHashKey, "0")
	set(&p.ArchiveEvery, 10*time.Minute)
	set(&p.RawRetention, 7*day)
	set(&p.LogRetention, 30*day)
	set(&p.Alarms.Lag, 5*time.Minute)
	set(&p.Architecture, arm64)
	set(&p.Intake.Retention, 24*time.Hour)
	set(&p.Intake.Retries, 60)
	if !p.Intake.OnDemand {
		set(&p.Intake.Shards, 1)
	} else if p.Intake.Shards != 0 {
		c.bad("Intake.Shards must be 0 with Intake.OnDemand")
	}
	c.between("Intake.Shards", p.Intake.Shards, 0, 10_000)
	c.between("Intake.Retries", p.Intake.Retries, 1, 10_000)
	c.span("Intake.Retention", p.Intake.Retention, time.Hour, 24*time.Hour, 8760*time.Hour)
	c.span("Intake.Window", p.Intake.Window, time.Second, 0, 300*time.Second)
	c.span("TTL", p.TTL, time.Second, time.Second, 100*365*day)
	c.span("ArchiveEvery", p.ArchiveEvery, time.Minute, time.Minute, day)
	c.span("RawRetention", p.RawRetention, day, day, 3650*day)
	c.span("Alarms.Lag", p.Alarms.Lag, time.Second, time.Minute, 12*time.Hour)
	if p.ArchiveEvery > 0 && p.ArchiveEvery > p.TTL/4 {
		c.bad("ArchiveEvery %v must be at most a quarter of the TTL %v, or events could vanish before they are archived", p.ArchiveEvery, p.TTL)
	}
	if n, ok := new(big.Int).SetString(p.MonitorHashKey, 10); !ok || n.Sign() < 0 || n.BitLen() > 128 {
		c.bad("MonitorHashKey %q must be a decimal number below 2^128", p.MonitorHashKey)
	}
	c.tag("Stage", p.Stage)
	c.logRetention(p.LogRetention)
	if p.Architecture != arm64 && p.Architecture != x86 {
		c.bad("Architecture %q must be %s or %s", p.Architecture, arm64, x86)
	}
	for _, q := range p.SkipQueues {
		if err := ref.ValidateQueue(q); err != nil || strings.Contains(q, ",") {
			c.bad("SkipQueues: %q is no name of a queue that a list with commas can hold", q)
		}
	}
	for _, b := range p.SkipBots {
		if b == "" || strings.Contains(b, ",") {
			c.bad("SkipBots: %q is no id of a bot that a list with commas can hold", b)
		}
	}
	p.Tables.defaults(&c)
	p.Memory.defaults(&c)
	c.arns("Invoke.Functions", "lambda", p.Invoke.Functions)
	c.arns("Invoke.Topics", "sns", p.Invoke.Topics)
	for _, a := range p.Invoke.Accounts {
		c.account("Invoke.Accounts", a)
	}
	c.optionalARN("Invoke.Policy", "iam", p.Invoke.Policy)
	c.optionalARN("Alarms.Topic", "sns", p.Alarms.Topic)
	c.optionalARN("KMSKey", "kms", p.KMSKey)
	for _, t := range p.TrustedPrincipals {
		if !accountNumber.MatchString(t) {
			c.arns("TrustedPrincipals", "iam", []string{t})
		}
	}
	if p.Replication != nil {
		p.Replication.check(&c)
	}
	c.endpoint(p.Endpoint)
	return p, c.err("the bus")
}

// defaults fills in the capacities of the original (bus.md 1.1).
func (t *Tables) defaults(c *checks) {
	for _, e := range []struct {
		name     string
		capacity *Capacity
		min, max int
	}{
		{"LeoStream", &t.LeoStream, 20, 1000}, {"LeoEvent", &t.LeoEvent, 5, 50}, {"LeoCron", &t.LeoCron, 20, 200},
		{"LeoSettings", &t.LeoSettings, 5, 50}, {"LeoSystem", &t.LeoSystem, 5, 50},
	} {
		v := e.capacity
		if !v.Provisioned {
			if *v != (Capacity{}) {
				c.bad("Tables.%s has capacities but is not Provisioned", e.name)
			}
			continue
		}
		for _, kind := range []struct {
			name     string
			min, max *int
		}{{"Read", &v.MinRead, &v.MaxRead}, {"Write", &v.MinWrite, &v.MaxWrite}} {
			set(kind.min, e.min)
			set(kind.max, max(e.max, *kind.min))
			if *kind.min < 1 || *kind.max < *kind.min {
				c.bad("Tables.%s: Min%s %d and Max%s %d must be at least 1 and in this order", e.name, kind.name, *kind.min, kind.name, *kind.max)
			}
		}
	}
}

// defaults fills in the sizes (bus.md 4.1). The processor needs less than the original's 640 MB: it holds no whole batch.
func (m *Memory) defaults(c *checks) {
	for _, e := range []struct {
		name string
		size *int
		mb   int
	}{
		{"KinesisProcessor", &m.KinesisProcessor, 256}, {"EventTrigger", &m.EventTrigger, 128}, {"BotRunner", &m.BotRunner, 256},
		{"Scheduler", &m.Scheduler, 256}, {"Monitor", &m.Monitor, 256}, {"FirehoseLoader", &m.FirehoseLoader, 640},
		{"Archiver", &m.Archiver, 1024}, {"BusAPI", &m.BusAPI, 1536}, {"Register", &m.Register, 256}, {"Replicator", &m.Replicator, 256},
	} {
		set(e.size, e.mb)
		c.between("Memory."+e.name, *e.size, 128, 10_240)
	}
}

// check reports what is wrong with a replication: every queue needs a bus to go to, and every bus a queue (bus.md 3.12).
func (r *Replication) check(c *checks) {
	if len(r.Roles) == 0 || len(r.Queues) == 0 {
		c.bad("Replication needs Roles and Queues; leave it nil for none")
		return
	}
	for _, q := range r.Queues {
		if err := ref.ValidateQueue(q.Queue); err != nil {
			c.bad("Replication: %w", err)
		}
	}
	if _, err := replicate.Routes(r.Roles, r.mapping()); err != nil {
		c.bad("Replication: %w", err)
	}
}

// mapping returns the original's parameter QueueReplicationMapping.
func (r *Replication) mapping() []byte {
	type to struct {
		Destination string `json:"destination,omitempty"`
		Account     string `json:"account,omitempty"`
		Stack       string `json:"stack,omitempty"`
		Region      string `json:"region,omitempty"`
	}
	list := make([]map[string]to, len(r.Queues))
	for i, q := range r.Queues {
		list[i] = map[string]to{q.Queue: {q.Destination, q.Account, q.Stack, q.Region}}
	}
	text, err := json.Marshal(list)
	if err != nil {
		panic(err) // texts always marshal
	}
	return text
}

const (
	arm64 = "arm64"
	x86   = "x86_64"
	day   = 24 * time.Hour
)

// set fills in a default.
func set[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// checks gathers what is wrong.
type checks struct{ errs []error }

func (c *checks) bad(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

// err returns everything that is wrong with something in one error, nil for nothing.
func (c *checks) err(what string) error {
	if len(c.errs) == 0 {
		return nil
	}
	texts := make([]string, len(c.errs))
	for i, e := range c.errs {
		texts[i] = e.Error()
	}
	return fmt.Errorf("%w: %s: %s", ErrProps, what, strings.Join(texts, "; "))
}

// ErrProps reports props that make no sense. Callers should show the text: it names every fault.
var ErrProps = errors.New("wrong props")

func (c *checks) between(name string, v, low, high int) {
	if v < low || v > high {
		c.bad("%s %d must be from %d to %d", name, v, low, high)
	}
}

// span checks a time, which must be whole units between two bounds.
func (c *checks) span(name string, v, unit, low, high time.Duration) {
	if v < low || v > high || v%unit != 0 {
		c.bad("%s %v must be from %v to %v in units of %v", name, v, low, high, unit)
	}
}

var (
	accountNumber = regexp.MustCompile(`^\d{12}$`)
	tagValue      = regexp.MustCompile(`^[\pL\pZ\pN_.:/=+\-@]{0,256}$`)
	anyARN        = regexp.MustCompile(`^arn:aws[a-z-]*:([a-z0-9-]+):[a-z0-9*-]*:[0-9*]*:.+$`)
	endpointURL   = regexp.MustCompile(`^https?://[^/\s]+/?$`)
)

func (c *checks) account(name, v string) {
	if !accountNumber.MatchString(v) {
		c.bad("%s: %q must be an account number of 12 digits", name, v)
	}
}

func (c *checks) tag(name, v string) {
	if !tagValue.MatchString(v) {
		c.bad("%s: %q must be what a tag may hold: letters, digits, spaces and _.:/=+-@", name, v)
	}
}

func (c *checks) arns(name, service string, list []string) {
	for _, v := range list {
		if m := anyARN.FindStringSubmatch(v); m == nil || m[1] != service {
			c.bad("%s: %q must be an ARN of %s, arn:aws:%s:...", name, v, service, service)
		}
	}
}

func (c *checks) optionalARN(name, service, v string) {
	if v != "" {
		c.arns(name, service, []string{v})
	}
}

func (c *checks) endpoint(v string) {
	if v != "" && !endpointURL.MatchString(v) {
		c.bad("Endpoint %q must be an address such as http://127.0.0.1:4566", v)
	}
}
