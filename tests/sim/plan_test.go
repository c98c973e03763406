package sim

import (
	"fmt"
	"slices"
	"time"
)

// faultKind is one way in which a store call can go wrong.
type faultKind uint

const (
	// faultDrop: the call never happens; the caller gets an error.
	faultDrop faultKind = 1 << iota
	// faultLost: the call happens; the caller gets an error.
	faultLost
	// faultThrottle: the store refuses.
	faultThrottle
	// faultSlow: the call takes seconds, so that claims, locks and invocations run out meanwhile.
	faultSlow
	// faultPartial: of a batch of chunks, some fail.
	faultPartial
	// faultConflict: the call happens, its answer is lost, and a retry below the port is told that the condition failed.
	faultConflict
	// faultShort: a page of a query is cut short, perhaps to nothing.
	faultShort

	allFaults faultKind = 1<<iota - 1
)

// plan is what a seed decides before it begins.
type plan struct {
	// sticky is how likely the process that had the last turn gets the next one.
	sticky float64
	// atomic gives the sequencer the store's transactions, as the embedded bus does; otherwise it has none, as on AWS.
	atomic bool
	// together lets a sequencer without transactions claim several queues with one call.
	together bool
	// direct means that writers call the sequencer themselves, as the embedded bus does. Otherwise they write to a stream.
	direct bool

	faults    faultKind
	faultRate float64
	crashRate float64
	latency   time.Duration // of every call, at most
	putFaults float64       // how often a record put into the stream fails, or seems to
	clockSkew time.Duration // of a shard's arrival times, at most
	queues    int
	writers   int
	records   int // of each writer
	events    int // of each record, at most
	readers   int
	bots      int // bots that read without a dispatcher
	poison    float64
	pointers  float64
	snapshots float64
	archive   bool // a bot archives a queue
	sdk       bool // a bot on the SDK derives a queue
	ahead     bool // groups are prepared while the one before is not yet committed
	big       bool
	pause     time.Duration // between two records of a writer, at most
	padding   int           // bytes of payload, at most

	shards    int
	reshards  int
	batchSize int
	report    bool // the mapping honours reported failures
	bisect    bool
	attempts  int // 0: for ever
	lanes     bool
	again     float64 // how often batches are delivered again
	timeout   time.Duration
	// overlap lets an invocation go on after the mapping gave it up, stray lets a chunk arrive after its writer died, and
	// plainLanes hides from the sequencer which lane a batch is of. See extensions.
	overlap, stray, plainLanes bool
	// owners gives each invocation an owner of its own, as kinesis-processor does. Then it may overlap.
	owners bool

	lease                                            time.Duration
	chunkBytes, chunkRecords, groupBytes, lineLength int

	dispatchers int
	triggered   int // bots that a dispatcher runs
	// runTimeout is how long a run may take, notify whether publications are told to a dispatcher at once.
	runTimeout, dispatchLease time.Duration
	notify                    bool
}

// derive draws the plan of a seed. Every seed leaves many features out: a fault is found where two or three of them meet,
// and features that are always on hide one another.
func derive(seed uint64) plan {
	r := random(seed, "plan")
	coin := func(x float64) bool { return r.Float64() < x }
	p := plan{
		sticky:       pick(r, 0, 0, 0.5, 0.9),
		atomic:       coin(0.25),
		faults:       faultKind(r.Uint64()) & allFaults,
		faultRate:    pick(r, 0, 0.01, 0.03, 0.1),
		crashRate:    pick(r, 0, 0.005, 0.02, 0.05),
		latency:      pick(r, 0, 0, time.Millisecond, 20*time.Millisecond),
		putFaults:    pick(r, 0, 0, 0.05, 0.2),
		clockSkew:    pick(r, 0, 0, 500*time.Millisecond, 10*time.Second),
		queues:       1 + r.IntN(4),
		writers:      1 + r.IntN(4),
		records:      pick(r, 3, 8, 15),
		events:       pick(r, 1, 3, 8),
		readers:      r.IntN(3),
		bots:         r.IntN(3),
		poison:       pick(r, 0, 0, 0.1, 0.4),
		pointers:     pick(r, 0, 0, 0.1),
		snapshots:    pick(r, 0, 0, 0, 0.1),
		archive:      coin(0.2),
		ahead:        coin(0.3),
		big:          coin(0.01),
		pause:        pick(r, 0, 5*time.Millisecond, 300*time.Millisecond, 5*time.Second),
		padding:      pick(r, 0, 20, 200),
		shards:       1 + r.IntN(3),
		reshards:     pick(r, 0, 0, 0, 1, 3),
		batchSize:    pick(r, 1, 3, 10, 100),
		report:       coin(0.5),
		bisect:       coin(0.5),
		again:        pick(r, 0, 0, 0.1, 0.4),
		timeout:      pick(r, 10*time.Second, 60*time.Second, 300*time.Second),
		lease:        pick(r, 10*time.Second, 60*time.Second),
		chunkBytes:   pick(r, 1, 300, 2000, 200<<10),
		chunkRecords: pick(r, 1, 2, 5, 2000),
		groupBytes:   pick(r, 1, 400, 3000, 8<<20),
		lineLength:   pick(r, 0, 0, 250),
	}
	if coin(0.1) {
		p.attempts, p.archive = 3, false // A pointer that is put again comes too late for the archive.
	}
	if !p.atomic && p.attempts == 0 && coin(0.1) {
		p.lanes = true
	}
	if p.atomic && coin(0.5) {
		p.direct, p.lanes, p.archive, p.attempts, p.reshards, p.shards = true, false, false, 0, 0, 0
		p.groupBytes = 8 << 20 // One transaction for each call, so that what a failed call did is known.
	}
	if p.archive {
		p.lineLength = 0 // Pointers are longer than any other line.
	}
	if coin(0.5) {
		p.dispatchers, p.triggered = 1+r.IntN(2), 1+r.IntN(3)
		p.runTimeout = pick(r, 10*time.Second, 60*time.Second)
		p.dispatchLease = pick(r, 5*time.Second, 30*time.Second)
		p.notify = coin(0.5)
	}
	if !p.atomic && coin(0.4) {
		p.owners, p.overlap = true, coin(0.5)
	}
	p.together = !p.atomic && coin(0.5)
	return p
}

// reductions make a plan smaller, one aspect each. A failing seed is tried with them, to find what it needs to fail.
var reductions = []struct {
	name  string
	apply func(*plan)
}{
	{"nodispatch", func(p *plan) { p.dispatchers, p.triggered = 0, 0 }},
	{"notogether", func(p *plan) { p.together = false }},
	{"oneowner", func(p *plan) { p.owners, p.overlap = false, false }},
	{"nobots", func(p *plan) { p.bots = 0 }},
	{"noreaders", func(p *plan) { p.readers = 0 }},
	{"noreshards", func(p *plan) { p.reshards = 0 }},
	{"nocrash", func(p *plan) { p.crashRate = 0 }},
	{"noputfaults", func(p *plan) { p.putFaults = 0 }},
	{"nopoison", func(p *plan) { p.poison = 0 }},
	{"nopointers", func(p *plan) { p.pointers = 0 }},
	{"nosnapshots", func(p *plan) { p.snapshots = 0 }},
	{"noarchive", func(p *plan) { p.archive = false }},
	{"noahead", func(p *plan) { p.ahead = false }},
	{"nobig", func(p *plan) { p.big = false }},
	{"nolatency", func(p *plan) { p.latency = 0 }},
	{"noskew", func(p *plan) { p.clockSkew = 0 }},
	{"noagain", func(p *plan) { p.again = 0 }},
	{"nobisect", func(p *plan) { p.bisect = false }},
	{"noreport", func(p *plan) { p.report = false }},
	{"noattempts", func(p *plan) { p.attempts = 0 }},
	{"nodrop", func(p *plan) { p.faults &^= faultDrop }},
	{"nolost", func(p *plan) { p.faults &^= faultLost }},
	{"nothrottle", func(p *plan) { p.faults &^= faultThrottle }},
	{"noslow", func(p *plan) { p.faults &^= faultSlow }},
	{"nopartial", func(p *plan) { p.faults &^= faultPartial }},
	{"noconflict", func(p *plan) { p.faults &^= faultConflict }},
	{"noshort", func(p *plan) { p.faults &^= faultShort }},
	{"onequeue", func(p *plan) { p.queues = 1 }},
	{"oneshard", func(p *plan) { p.shards = min(p.shards, 1) }},
	{"onewriter", func(p *plan) { p.writers = 1 }},
	{"twowriters", func(p *plan) { p.writers = min(p.writers, 2) }},
	{"fewrecords", func(p *plan) { p.records = min(p.records, 3) }},
	{"fewevents", func(p *plan) { p.events = min(p.events, 2) }},
	{"bigchunks", func(p *plan) { p.chunkBytes, p.chunkRecords = 200<<10, 2000 }},
	{"biggroups", func(p *plan) { p.groupBytes = 8 << 20 }},
	{"fair", func(p *plan) { p.sticky = 0 }},
}

// extensions make a plan larger than the ground on which the sequencer stands (docs/simulation.md). No seed has them.
var extensions = []struct {
	name  string
	apply func(*plan)
}{
	{"overlap", func(p *plan) { p.overlap = true }},
	{"stray", func(p *plan) { p.stray = true }},
	{"plainlanes", func(p *plan) {
		if !p.direct {
			p.lanes, p.plainLanes = true, true
		}
	}},
}

// change applies the named reductions and extensions.
func (p *plan) change(names []string) error {
	for _, name := range names {
		known := false
		for _, r := range append(slices.Clone(reductions), extensions...) {
			if r.name == name {
				r.apply(p)
				known = true
			}
		}
		if !known {
			return fmt.Errorf("no change of a plan is called %q", name)
		}
	}
	return nil
}

// String shows the plan in one line.
func (p plan) String() string {
	type fields plan // without this method
	return fmt.Sprintf("%+v", fields(p))
}
