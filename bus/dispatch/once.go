package dispatch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/schedule"
	"github.com/rstreams-go/rstreams/bus/store"
)

// OnceConfig tunes a Once. The zero value is usable.
type OnceConfig struct {
	// Hosts tells which bots can be invoked; nil means all. Others are asked to run, and their dead runs are ended, but
	// somebody else starts them. It must be quick and safe for concurrent use.
	Hosts func(store.Bot) bool
	// Parallel is how many bots are worked on at once in one call; 0 means 16. A call works on each bot once at a time.
	Parallel int
	// TableAge is when the table of triggers is read again although nobody said that it changed; 0 means 5 minutes.
	TableAge time.Duration
	// Soon is told about bots that are due within SoonWithin and when, so that somebody may call At for them. It may fail,
	// and be nil: a Sweep finds them too, only later.
	Soon func(ctx context.Context, due map[string]time.Time) error
	// Patience is how long one bot may take before its lock, so that one that the storage is slow about holds up no other; 0
	// means 10 s.
	Patience time.Duration
	// Retry is how long to wait before the release of a lock is tried again; 0 means 1 s.
	Retry time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger gets what an operator should know; nil means slog.Default.
	Logger *slog.Logger
}

// SoonWithin is how far ahead OnceConfig.Soon is asked: what is due later is found by a Sweep, made every minute, in time.
const SoonWithin = time.Minute

const (
	// nearly is how long a call waits itself for what is due: about the differences between clocks.
	nearly = 50 * time.Millisecond
	// looks is how often one call looks at one bot: each further look follows a change that somebody made meanwhile.
	looks = 6
	// releases is how often the release of a lock is tried. If all fail, the lock ends by its time.
	releases = 3
	// maxHinted bounds the memory of what Soon was told.
	maxHinted = 10_000
)

// ErrNoTime tells that a bot could not be started because what is left of the call's time might not do for its lock, its
// invocation and, if that fails, the release of the lock. Callers should give a call a minute or more.
var ErrNoTime = errors.New("the time of the call is nearly over")

// Once dispatches in single calls, each of which works on the bots that it is told and then ends: for functions that a change
// stream or a timer invokes, and that may be frozen or killed between calls. It holds no lease, and what it remembers between
// calls only saves work. Any number of calls may run at the same time, in any number of processes, beside Dispatchers too:
// every step is a conditional write, and the lock protocol keeps a bot from running twice.
//
// Moved serves queues whose heads moved, Rows bots whose rows changed, At bots whose time has come, and Sweep all that is due
// by the clock and everything that was left undone: a call that fails or dies leaves nothing that the next Sweep would not find.
//
// One bad bot holds no other up (W-P4): the calls return a *Failures that names those that could not be served. A run is begun only
// if it can be given back before the context's deadline, which takes up to 24 s, as a lock that nobody gives back counts as a run
// until its time is over. A bot whose turn comes later is asked to run, so that somebody else starts it; one whose row says so
// already is a failure with ErrNoTime.
type Once struct {
	steps
	cfg OnceConfig

	triggers triggers

	mu sync.Mutex
	// hinted is what Soon was told. unstarted are runs that have not started, under tokens ahead of the clock. badTimes are
	// schedules that were found to be unreadable.
	hinted    map[string]int64
	unstarted map[string]sighting
	badTimes  map[string]bool
}

// sighting is when a run was first seen.
type sighting struct {
	token int64
	since time.Time
}

// NewOnce returns a Once that starts bots of st through invoker.
func NewOnce(st store.Store, invoker store.Invoker, cfg OnceConfig) *Once {
	if cfg.Hosts == nil {
		cfg.Hosts = func(store.Bot) bool { return true }
	}
	if cfg.Parallel <= 0 {
		cfg.Parallel = 16
	}
	if cfg.TableAge <= 0 {
		cfg.TableAge = 5 * time.Minute
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 10 * time.Second
	}
	if cfg.Retry <= 0 {
		cfg.Retry = time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Once{
		steps: steps{store: st, invoker: invoker, now: cfg.Now, log: cfg.Logger}, cfg: cfg, triggers: newTriggers(),
		hinted: map[string]int64{}, unstarted: map[string]sighting{}, badTimes: map[string]bool{},
	}
}

// Report counts what a call did.
type Report struct {
	// Bots is how many were looked at.
	Bots int
	// Started runs were locked and invoked. Requested bots were asked to run and do so later. Expired runs were dead and
	// were ended. Refused runs were locked, could not be invoked, and count as failed.
	Started, Requested, Expired, Refused int
	// Lost locks went to another process.
	Lost int
}

func (r *Report) add(o Report) {
	r.Bots += o.Bots
	r.Started += o.Started
	r.Requested += o.Requested
	r.Expired += o.Expired
	r.Refused += o.Refused
	r.Lost += o.Lost
}

// BotError is why a bot could not be served.
type BotError struct {
	// Bot is the plain id.
	Bot string
	// Err wraps an error of package store where one fits.
	Err error
}

// Failures reports bots that a call could not serve; it served all others. A later Sweep tries them again. Callers should
// repeat the call only where All tells that nobody was favoured by it.
type Failures struct { //nolint:errname // It is a list, as the name says.
	// Bots are in order of id; there is at least one. Of is how many bots were to be served.
	Bots []BotError
	Of   int
}

// All tells that no bot could be served: the storage is at fault and not a bot.
func (f *Failures) All() bool { return len(f.Bots) >= f.Of }

// Error names the first failure and counts the rest.
func (f *Failures) Error() string {
	return fmt.Sprintf("%d of %d bots could not be served, first %s: %v", len(f.Bots), f.Of, f.Bots[0].Bot, f.Bots[0].Err)
}

// Unwrap returns the causes, for errors.Is and errors.As.
func (f *Failures) Unwrap() []error {
	errs := make([]error, len(f.Bots))
	for i, b := range f.Bots {
		errs[i] = b.Err
	}
	return errs
}

// Moved serves queues whose heads moved: every bot that they trigger runs now, or is asked to run. heads are the newest, by
// plain queue name. A bot that can run costs one read and one write, another one read and at most one write however many of
// its queues moved; archived and deleted bots cost the read. See Rows for why no bot is missed.
func (o *Once) Moved(ctx context.Context, heads map[string]Head) (Report, error) {
	if len(heads) == 0 {
		return Report{}, nil
	}
	errands := o.lookAhead(ctx, heads)
	if errands == nil {
		table, err := o.triggers.get(ctx, o)
		if err != nil {
			return Report{}, err
		}
		errands = errandsOf(table, heads)
	}
	report, _, failed := o.serve(ctx, errands)
	return report, failures(failed, len(errands))
}

// errandsOf returns who is to be served for heads that moved, one errand for each bot.
func errandsOf(table map[string][]string, heads map[string]Head) []*errand {
	byBot := map[string]*errand{}
	for queue, head := range heads {
		for _, bot := range table[queue] {
			e := byBot[bot]
			if e == nil {
				e = &errand{bot: bot, heads: map[string]Head{}}
				byBot[bot] = e
			}
			e.heads[queue] = head
		}
	}
	return slices.Collect(maps.Values(byBot))
}

// lookAhead is errandsOf with the rows for the first look at each bot, read with one request together with the version of
// the table that named the bots. It returns nil where that is not possible or the table is not of that version: then its version
// and the rows are to be read one by one.
func (o *Once) lookAhead(ctx context.Context, heads map[string]Head) []*errand {
	if o.store.Look == nil {
		return nil
	}
	table, version := o.triggers.known(ctx, o)
	if table == nil {
		return nil
	}
	errands := errandsOf(table, heads)
	keys := store.Keys{Settings: []string{TriggersSetting}}
	for _, e := range errands {
		keys.Bots = append(keys.Bots, e.bot)
	}
	if len(keys.Bots) >= store.MaxKeys {
		return nil
	}
	rows, err := o.store.Look(ctx, keys)
	if err != nil || string(rows.Settings[TriggersSetting]) != version {
		return nil // What is wrong shows when they are read one by one.
	}
	for _, e := range errands {
		if row, ok := rows.Bots[e.bot]; ok {
			e.row = &row
		}
	}
	return append([]*errand{}, errands...)
}

// Changed looks at bots: those that are behind or were triggered run, those whose run died are ended, and the back-off of those
// that failed is noted. Unknown ids are passed over.
func (o *Once) Changed(ctx context.Context, bots []string) (Report, error) {
	var errands []*errand
	for _, id := range slices.Compact(slices.Sorted(slices.Values(bots))) {
		errands = append(errands, &errand{bot: id})
	}
	report, due, failed := o.serve(ctx, errands)
	o.soon(ctx, due)
	return report, failures(failed, len(errands))
}

// errand is one bot's work in one call.
type errand struct {
	bot string
	// heads are what moved, by queue; since asks for occurrences of the schedule after it, unless zero.
	heads map[string]Head
	since time.Time
	// row is the bot's as it was read for this call; nil means that it is not read yet.
	row *store.Bot
}

// serve does the errands, each bot's once, Config.Parallel at a time, and returns the bots that could not be served. due is
// when those are due that wait for a time, other than the end of a run.
func (o *Once) serve(ctx context.Context, errands []*errand) (report Report, due map[string]time.Time, failed []BotError) {
	slices.SortFunc(errands, func(a, b *errand) int { return cmp.Compare(a.bot, b.bot) }) // so that a simulation repeats exactly
	due = map[string]time.Time{}
	var mu sync.Mutex
	next := 0
	var wg sync.WaitGroup
	for range min(o.cfg.Parallel, len(errands)) {
		wg.Go(func() {
			for {
				mu.Lock()
				if next == len(errands) {
					mu.Unlock()
					return
				}
				e := errands[next]
				next++
				mu.Unlock()
				r, at, err := o.look(ctx, e)
				mu.Lock()
				report.add(r)
				if !at.IsZero() {
					due[e.bot] = at
				}
				if err != nil {
					failed = append(failed, BotError{Bot: e.bot, Err: err})
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, f := range failed {
		o.log.ErrorContext(ctx, "cannot dispatch a bot", "bot", f.Bot, "error", f.Err)
	}
	return report, due, failed
}

// look does one errand: it reads the row, and again after each change that it meets.
func (o *Once) look(ctx context.Context, e *errand) (report Report, due time.Time, err error) {
	report.Bots = 1
	starts, done := startable(ctx)
	defer done()
	ctx, cancel := context.WithTimeout(ctx, o.cfg.Patience)
	defer cancel()
	for range looks {
		if err := ctx.Err(); err != nil {
			return report, due, fmt.Errorf("dispatch: bot %s: %w", e.bot, err)
		}
		row, err := o.rowOf(ctx, e)
		if errors.Is(err, store.ErrNotFound) {
			return report, due, nil // It was deleted, and nothing makes it again (W-P12).
		}
		if err != nil {
			return report, due, fmt.Errorf("dispatch: bot %s: %w", e.bot, err)
		}
		v := view{Once: o, errand: e, row: row, report: &report, starts: starts}
		again, err := v.act(ctx)
		if err != nil || !again {
			return report, v.due, err
		}
	}
	return report, due, fmt.Errorf("dispatch: %w: bot %s changed during each of %d looks at it", store.ErrConflict, e.bot, looks)
}

// rowOf returns the row that was read for the errand, once, and else reads it.
func (o *Once) rowOf(ctx context.Context, e *errand) (store.Bot, error) {
	if row := e.row; row != nil {
		e.row = nil
		return *row, nil
	}
	return o.store.Bots.Get(ctx, e.bot)
}

// view is a bot's row as one look found it.
type view struct {
	*Once
	errand *errand
	row    store.Bot
	report *Report
	due    time.Time
	// starts ends when no run can be begun any more.
	starts context.Context
}

// startable returns a context that ends when a run that is begun then might not be carried through before ctx ends.
func startable(ctx context.Context) (context.Context, context.CancelFunc) {
	end, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, end.Add(-runTime), ErrNoTime)
}

// act does what is to be done, and tells whether the row is to be read again.
func (v *view) act(ctx context.Context) (again bool, err error) {
	now := v.now()
	r := store.Request{Bot: v.row.ID}
	if !v.row.Archived {
		v.ask(&r, now)
	}
	wanted := asks(&r, &v.row)
	if wanted {
		v.row = asked(v.row, &r)
	}
	dec := Decide(v.row, now)
	runs := dec.Action == Run && v.cfg.Hosts(v.row)
	if runs && v.starts.Err() == nil {
		if wanted {
			dec.Lock.Heads, dec.Lock.Trigger = r.Heads, r.At
		}
		return v.run(ctx, dec)
	}
	if wanted {
		err := v.store.Bots.Request(ctx, r)
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("dispatch: trigger of bot %s: %w", v.row.ID, err)
		}
		v.report.Requested++
	}
	if dec.BackOff != 0 {
		err := v.store.Bots.Control(ctx, v.row.ID, store.Control{ScheduledTrigger: &dec.BackOff})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return false, fmt.Errorf("dispatch: back-off of bot %s: %w", v.row.ID, err)
		}
	}
	switch {
	case runs && !wanted: // Otherwise the change of its row has it started.
		return false, fmt.Errorf("dispatch: bot %s: %w", v.row.ID, context.Cause(v.starts))
	case dec.Action == Expire, dec.Reason == Running && v.overdue(&v.row, now):
		ended, err := v.expire(ctx, &v.row, now)
		if ended {
			v.report.Expired++
		}
		return err == nil, err
	case dec.Action == Wait && dec.Until.Sub(now) <= nearly:
		return sleep(ctx, dec.Until.Sub(now)), ctx.Err()
	case dec.Action == Wait && dec.Reason != Running && v.cfg.Hosts(v.row):
		v.due = dec.Until
	}
	return false, nil
}

// ask collects what the row has not been asked for: heads of its triggers, and an occurrence of its schedule.
func (v *view) ask(r *store.Request, now time.Time) {
	if len(v.errand.heads) > 0 {
		for _, t := range v.row.Triggers {
			if head, ok := v.errand.heads[ref.Queue(t)]; ok {
				askHead(r, &v.row, ref.QueueRef(t), head)
			}
		}
	}
	if v.errand.since.IsZero() {
		return
	}
	if s, ok := v.schedule(&v.row); ok {
		if occurrence, ok := s.Between(v.errand.since, now); ok && missed(&v.row, occurrence, now) {
			askAt(r, &v.row, occurrence, now)
		}
	}
}

// missed tells whether row has not been asked for an occurrence. Triggers of wrong clocks say nothing.
func missed(row *store.Bot, occurrence, now time.Time) bool {
	return occurrence.UnixMilli() > row.Trigger || far(row.Trigger, now.UnixMilli())
}

// schedule returns the bot's schedule, if it has one that can be read.
func (o *Once) schedule(row *store.Bot) (schedule.Schedule, bool) {
	if row.Schedule == "" {
		return schedule.Schedule{}, false
	}
	s, err := schedule.Parse(row.Schedule, row.TimeZone)
	if err == nil {
		return s, true
	}
	key := row.ID + " " + row.Schedule + " " + row.TimeZone
	o.mu.Lock()
	known := o.badTimes[key]
	if len(o.badTimes) < maxHinted {
		o.badTimes[key] = true
	}
	o.mu.Unlock()
	if !known {
		o.log.Error("the bot's schedule cannot be read; it never fires", "bot", row.ID, "error", err)
	}
	return schedule.Schedule{}, false
}

// run takes the lock and invokes. From the lock on, it carries through even when the bot's turn ends.
func (v *view) run(turn context.Context, dec Decision) (again bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(turn), runTime)
	defer cancel()
	_, release, err := v.start(ctx, v.row, dec)
	switch {
	case errors.Is(err, errLost):
		v.report.Lost++
		return true, nil
	case err != nil:
		return false, err
	case release == nil:
		v.report.Started++
		return false, nil
	}
	v.report.Refused++
	for n := 1; ; n++ {
		// Another look then notes the back-off, if there is the time: whoever sees the row change does, too.
		if err = v.release(ctx, release); err == nil || n == releases || !sleep(ctx, v.cfg.Retry) {
			return err == nil && turn.Err() == nil, err
		}
	}
}

// overdue tells whether a run that has not started, under a token that lies ahead of the clock, has had its time. Only the
// time since it was first seen here tells, so that a process must live so long; other runs have their Deadline.
func (o *Once) overdue(row *store.Bot, now time.Time) bool {
	in := &row.Instance
	o.mu.Lock()
	defer o.mu.Unlock()
	if in.StartTime != 0 || !far(in.InvokeTime, now.UnixMilli()) {
		delete(o.unstarted, row.ID)
		return false
	}
	seen, ok := o.unstarted[row.ID]
	if !ok || seen.token != in.Token {
		seen = sighting{token: in.Token, since: now}
		if ok || len(o.unstarted) < maxHinted {
			o.unstarted[row.ID] = seen
		}
	}
	return now.After(seen.since.Add(time.Duration(Deadline(row)-in.InvokeTime) * time.Millisecond))
}

// soon passes on what is due before the next Sweep can be expected to find it, each time once.
func (o *Once) soon(ctx context.Context, due map[string]time.Time) {
	if o.cfg.Soon == nil {
		return
	}
	now := o.now()
	news := map[string]time.Time{}
	o.mu.Lock()
	for bot, at := range due {
		if at.Sub(now) > SoonWithin || o.hinted[bot] == at.UnixMilli() {
			continue
		}
		if len(o.hinted) >= maxHinted {
			clear(o.hinted)
		}
		o.hinted[bot] = at.UnixMilli()
		news[bot] = at
	}
	o.mu.Unlock()
	if len(news) == 0 {
		return
	}
	if err := o.cfg.Soon(ctx, news); err != nil {
		o.log.WarnContext(ctx, "bots that are due soon have to wait for the next sweep", "bots", len(news), "error", err)
	}
}
