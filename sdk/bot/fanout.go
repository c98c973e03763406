package bot

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/bus/dispatch"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// FanOut divides the events of each run among instances of the bot's code, by a hash of each event's key: every event goes to
// exactly one instance, and events of the same key to the same one, in order (sdk.md 6.5). In Lambda, the run's function invokes
// itself once for each further instance; elsewhere the instances are goroutines. All read up to one bound, the same for all.
//
// Reads through Run.Bus deliver the instance's events only. Checkpoints are held back until all instances have ended well;
// then each queue's moves to the least position up to which every instance has dealt with everything. A queue that an instance did
// not checkpoint stays where it was, and after an error of any instance all do. So Enrich, Offload and Reader.Checkpoint are the way
// to checkpoint here: they count the events of the others too. A *rstreams.StopError, or a *rstreams.RetryError without a cause,
// ends its own instance, and ends it well; of several RetryErrors the longest counts.
//
// All instances must read from the same place. What decides it may change between their starts, such as the queue's snapshot or the
// day (Today): then the run fails with ErrStaleCheckpoint and leaves the queue's checkpoint where it was. So code that computes
// a start, for ReadOptions.Start or At, should do so from the run's Token and not from the clock.
type FanOut struct {
	// Instances is how many there are, 20 at most; 0 means 2. Choose, if set, decides it for each run instead; what it returns is
	// brought between 1 and 20.
	Instances int
	Choose    func(run *Run) int
	// Key returns the hash of an event's key, usually Hash of some part of it; nil means Hash of its id. It must be a pure
	// function of the event, and safe for concurrent use. It is not called where there is one instance only; a panic of it ends the
	// run as one of Run does.
	Key func(e *rstreams.Event) int64
}

const (
	maxInstances = 20
	// workerMargin is how much earlier than the run an instance ends, so that its answer arrives in time (sdk.md 6.5).
	workerMargin = 3 * time.Second
)

// Hash returns the hash of a key made of parts: the sum over the parts of what leo-sdk's fan-out computes for each, 31 h + u over
// the UTF-16 units u of a string, in 32 bits. A single string is the usual case. Numbers as keys are their own hash; there are
// no fractional ones, which match no instance in leo-sdk.
func Hash(parts ...string) int64 {
	var sum int64
	for _, part := range parts {
		var h int32
		for _, r := range part {
			if r >= 0x10000 {
				r -= 0x10000
				h = h*31 + (0xd800 + r>>10)
				r = 0xdc00 + r&0x3ff
			}
			h = h*31 + r
		}
		sum += int64(h)
	}
	return sum
}

// instances returns how many instances the run has.
func (f *FanOut) instances(run *Run) int {
	n := cmp.Or(f.Instances, 2)
	if f.Choose != nil {
		n = f.Choose(run)
	}
	return min(max(n, 1), maxInstances)
}

// outcome is what an instance of a fan-out reports: leo-sdk's response of a worker, with what it lacks.
type outcome struct {
	IID   int               `json:"iid"`
	Error json.RawMessage   `json:"error,omitempty"`
	Data  json.RawMessage   `json:"data,omitempty"`
	Bots  map[string]places `json:"checkpoints"`
	// RunAgain tells that the instance asked for another run.
	RunAgain bool `json:"runAgain,omitempty"`
	// RetryAfter, in ms, is that of the RetryError among what is wrong, 0 for none; Wish tells that nothing else is.
	RetryAfter int64 `json:"retryAfter,omitempty"`
	Wish       bool  `json:"wish,omitempty"`

	err error // of an instance in this process
}

type places struct {
	Read map[string]place `json:"read"`
}

// place is a checkpoint of an instance; Expected is the position that the bus had.
type place struct {
	rstreams.Checkpoint
	Expected string `json:"expected,omitempty"`
	// From and Snapshot are those of a rstreams.LedgerEntry.
	From     string `json:"from,omitempty"`
	Snapshot string `json:"snapshot,omitempty"`
}

// report turns a ledger into what an instance reports.
func report(iid int, l *rstreams.Ledger, err error) outcome {
	o := outcome{IID: iid, err: err, Bots: map[string]places{}}
	for _, e := range l.Entries() {
		p, ok := o.Bots[e.Bot]
		if !ok {
			p = places{Read: map[string]place{}}
			o.Bots[e.Bot] = p
		}
		p.Read[e.Ref] = place{Checkpoint: e.Checkpoint, Expected: e.Expected, From: e.From, Snapshot: e.Snapshot}
	}
	return o
}

// instance runs the bot's code as one instance.
func (a *attempt) instance(ctx context.Context, run *Run, session rstreams.Session, index, count int) outcome {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ledger, mine := &rstreams.Ledger{}, newPart(a.inv.bot.FanOut.Key, stop)
	session.Share, session.Ledger = mine.share(index, count), ledger
	own := *run
	own.Bus, own.Instance, own.Instances = a.bus.Session(session), index, count
	err := mine.result(protect(func() error { return a.inv.bot.Run(withRun(ctx, &own), &own) }))
	if _, asked := later(err); wish(err) && !asked {
		err = nil // It only stopped.
	}
	return report(index, ledger, err)
}

// fanOut runs all instances and stores the checkpoints on which they agree.
func (a *attempt) fanOut(ctx context.Context, run *Run, session rstreams.Session) error {
	f := a.inv.bot.FanOut
	count := f.instances(run)
	bound, err := a.bound(ctx, session.Max)
	if err != nil {
		return err
	}
	session.Max = bound
	run.Instances = count

	// The first instance that fails ends the others: nothing of this run will be checkpointed.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	outcomes := make([]outcome, count)
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			if i == 0 || a.invoke == nil {
				outcomes[i] = a.instance(ctx, run, session, i, count)
			} else {
				outcomes[i] = a.remote(ctx, bound, i, count)
			}
			if err := outcomes[i].err; err != nil && !wish(err) {
				cancel(errSibling)
			}
		})
	}
	wg.Wait()
	return a.reduce(ctx, run, outcomes)
}

// errSibling ends the instances of a fan-out of which one has failed.
var errSibling = errors.New("another instance of the fan-out has failed")

// bySibling tells whether a part of an instance's error is that end.
func bySibling(part error) bool {
	return errors.Is(part, errSibling) || errors.Is(part, context.Canceled)
}

// bound returns the position up to which the instances read: now, and what is known to be there if clocks are behind.
func (a *attempt) bound(ctx context.Context, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	now := a.cfg.Now().UTC()
	bound := now.Format("z/2006/01/02/15/04/") + strconv.FormatInt(now.UnixMilli(), 10)
	row, err := a.bus.Store().Bots.Get(ctx, a.inv.id)
	if err != nil {
		return "", fmt.Errorf("fan-out of bot %s: %w", a.inv.id, err)
	}
	for _, head := range row.Requested {
		bound = max(bound, head)
	}
	return bound, nil
}

// remote runs an instance in another invocation of this function. It gets the payload of this one with its number, and the
// bound; leo-sdk would leave out the rest of __cron (fault 50).
func (a *attempt) remote(ctx context.Context, bound string, index, count int) outcome {
	fail := func(err error) outcome {
		return outcome{IID: index, err: fmt.Errorf("instance %d of %d: %w", index, count, err)}
	}
	until := a.start.Add(a.limit - min(workerMargin, a.limit/10))
	payload, err := workerPayload(a.inv, bound, index, count, until)
	if err != nil {
		return fail(err)
	}
	answer, err := a.invoke(ctx, payload)
	if err != nil {
		return fail(err)
	}
	var o outcome
	if err := json.Unmarshal(answer, &o); err != nil || o.Bots == nil && len(o.Error) == 0 {
		return fail(fmt.Errorf("it answered %.300s", answer))
	}
	again := &rstreams.RetryError{After: time.Duration(o.RetryAfter) * time.Millisecond}
	if o.Wish {
		o.err = again
		return o
	}
	if len(o.Error) > 0 && string(o.Error) != "null" {
		var e dispatch.RunError
		if json.Unmarshal(o.Error, &e) != nil || e.Message == "" {
			e.Message = string(o.Error)
		}
		cause := errors.New(e.Message)
		if o.RetryAfter > 0 {
			again.Err = cause
			return fail(again)
		}
		return fail(cause)
	}
	return o
}

// workerPayload returns the payload of an instance, which is to answer until then.
func workerPayload(inv invocation, bound string, index, count int, until time.Time) ([]byte, error) {
	members, cron := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if err := json.Unmarshal(inv.event, &members); err != nil {
		return nil, fmt.Errorf("the payload cannot be passed on: %w", err)
	}
	if raw := members["__cron"]; len(raw) > 0 {
		if err := json.Unmarshal(raw, &cron); err != nil {
			return nil, fmt.Errorf("the payload's __cron cannot be passed on: %w", err)
		}
	}
	for name, value := range map[string]any{
		"id": inv.id, "iid": index, "icount": count, "maxeid": bound, "until": until.UnixMilli(),
	} {
		raw, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		cron[name] = raw
	}
	delete(cron, "time") // The run is as old as its first instance.
	raw, err := json.Marshal(cron)
	if err != nil {
		return nil, err
	}
	members["__cron"] = raw
	return json.Marshal(members)
}

// reduce stores, for each bot and queue, the least position that all instances reported. An instance that wants a later run has
// ended well: what all have dealt with counts, or the next run would get just as far. The wish is then the run's.
func (a *attempt) reduce(ctx context.Context, run *Run, outcomes []outcome) error {
	var errs, wishes, ended []error // ended are of instances that may have been ended by another's failure
	for _, o := range outcomes {
		if o.RunAgain {
			run.RunAgain()
		}
		switch {
		case o.err == nil:
		case wish(o.err):
			wishes = append(wishes, o.err)
		case errors.Is(context.Cause(ctx), errSibling) && all(o.err, bySibling):
			ended = append(ended, o.err)
		default:
			errs = append(errs, o.err)
		}
	}
	if len(errs) == 0 {
		errs = ended
	}
	if len(errs) > 0 {
		return errors.Join(append(errs, wishes...)...)
	}
	for _, bot := range slices.Sorted(maps.Keys(outcomes[0].Bots)) {
		for _, ref := range slices.Sorted(maps.Keys(outcomes[0].Bots[bot].Read)) {
			// One that fails does not keep the others back (fault 21, C7).
			errs = append(errs, storeLeast(ctx, run.Bus, outcomes, bot, ref))
		}
	}
	return errors.Join(append(errs, wishes...)...)
}

// storeLeast stores the checkpoint of a queue that holds for every instance, if there is one.
func storeLeast(ctx context.Context, bus *rstreams.Bus, outcomes []outcome, bot, ref string) error {
	p, ok, err := least(outcomes, bot, ref)
	if err != nil || !ok {
		return err
	}
	// Backwards, because the instances' ledgers have refused what their code was not permitted: a replay begins before the
	// checkpoint.
	return bus.Checkpoint(ctx, rstreams.CheckpointRequest{
		Bot: bot, Queue: ref, Checkpoint: p.Checkpoint, Expected: p.Expected, Backwards: true,
	})
}

// least returns the checkpoint of a queue that holds for every instance. ok is false where one has none.
func least(outcomes []outcome, bot, ref string) (p place, ok bool, err error) {
	for i, o := range outcomes {
		q, ok := o.Bots[bot].Read[ref]
		switch {
		case !ok || q.Position == "":
			return place{}, false, nil
		case i == 0:
			p = q
			continue
		case q.Expected != p.Expected:
			return place{}, false, fmt.Errorf("instance %d of the fan-out began at %q of %s, another at %q: %w",
				o.IID, q.Expected, ref, p.Expected, rstreams.ErrStaleCheckpoint)
		case q.From != p.From || q.Snapshot != p.Snapshot:
			return place{}, false, fmt.Errorf("instance %d of the fan-out began to read %s at %q%s, another at %q%s, because a snapshot was "+
				"registered or the start moved in between; nothing is checkpointed there: %w",
				o.IID, ref, q.From, q.within(), p.From, p.within(), rstreams.ErrStaleCheckpoint)
		}
		p.Position = min(p.Position, q.Position)
		p.Records += q.Records
		p.SourceTimestamp = min(p.SourceTimestamp, q.SourceTimestamp)
		p.StartedTimestamp = min(p.StartedTimestamp, q.StartedTimestamp)
		p.EndedTimestamp = max(p.EndedTimestamp, q.EndedTimestamp)
	}
	return p, true, nil
}

// within names the snapshot that was read, for messages.
func (p place) within() string {
	if p.Snapshot == "" {
		return ""
	}
	return " in snapshot " + p.Snapshot
}
