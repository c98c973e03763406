package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/store"
)

// The functions below change b in place but never a map, slice or byte slice that b held before: they replace it. A backend
// may therefore keep the old row for rollback by copying the struct.

// NewBot returns the row that a checkpoint of an unknown bot makes (bus.md 1.4.2, C43).
func NewBot(id string) store.Bot {
	return store.Bot{ID: id, Name: id}
}

// Register applies r to b, which is the stored row or, with exists false, the zero Bot.
func Register(b *store.Bot, exists bool, r store.Registration) error {
	if err := r.Validate(); err != nil {
		return err
	}
	triggers, err := References(r.Triggers)
	if err != nil {
		return fmt.Errorf("%w registration of bot %s: trigger: %w", store.ErrInvalid, r.ID, err)
	}
	writes, err := References(r.Writes)
	if err != nil {
		return fmt.Errorf("%w registration of bot %s: written queue: %w", store.ErrInvalid, r.ID, err)
	}
	if !exists {
		b.Paused = r.Paused
	}
	b.ID, b.Name, b.Description, b.Owner = r.ID, r.Name, r.Description, r.Owner
	b.Invocation = r.Invocation
	b.Settings = slices.Clone(r.Settings)
	if len(b.Settings) == 0 {
		b.Settings = nil
	}
	b.Schedule, b.TimeZone = r.Schedule, r.TimeZone
	b.Triggers = triggers
	b.Timeout, b.Delay = r.Timeout, r.Delay
	b.Tags = slices.Clone(r.Tags)
	b.Extra = withExtra(b.Extra, r.Extra)
	b.Read = withPlaceholders(b.Read, triggers)
	b.Write = withPlaceholders(b.Write, writes)
	return nil
}

// References returns names as references, each once, in order (bus.md 2.1).
func References(names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		r := ref.Parse(name)
		if r.ID == "" {
			return nil, fmt.Errorf("reference %q names nothing", name)
		}
		if s := r.String(); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out, nil
}

func withPlaceholders(m map[string]store.Checkpoint, refs []string) map[string]store.Checkpoint {
	out := cloned(m)
	for _, r := range refs {
		if _, ok := out[r]; !ok {
			out[r] = store.Checkpoint{}
		}
	}
	return out
}

// cloned returns a copy of m that can be written to.
func cloned[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return maps.Clone(m)
}

// BotID returns the bot that id means for checkpoints: a trailing "_reader" is dropped (sdk.md, bus.md 1.4.2).
func BotID(id string) string { return strings.TrimSuffix(id, "_reader") }

// Control applies c to b.
func Control(b *store.Bot, c store.Control) {
	set(&b.Paused, c.Paused)
	set(&b.Archived, c.Archived)
	set(&b.IgnorePaused, c.IgnorePaused)
	set(&b.Trigger, c.Trigger)
	set(&b.ScheduledTrigger, c.ScheduledTrigger)
	set(&b.ErrorCount, c.ErrorCount)
}

func set[T any](dst, src *T) {
	if src != nil {
		*dst = *src
	}
}

// CheckpointWrite says why a backend must refuse w whatever is stored, or nil.
func CheckpointWrite(w store.CheckpointWrite) error {
	if BotID(w.Bot) == "" || w.Ref == "" {
		return fmt.Errorf("%w checkpoint: bot %q, reference %q", store.ErrInvalid, w.Bot, w.Ref)
	}
	l := w.Location
	if (l.Attribute == "") != (l.Instance == "") || l.Attribute == "checkpoints" {
		return fmt.Errorf("%w checkpoint of bot %s: the location %q, %q of a fan-out", store.ErrInvalid, w.Bot, l.Attribute, l.Instance)
	}
	return nil
}

// NoLocation is CheckpointWrite for backends whose rows have no room for the checkpoints of a bus-side fan-out.
func NoLocation(w store.CheckpointWrite) error {
	if w.Location != (store.Location{}) {
		return fmt.Errorf("%w checkpoint of bot %s: the location %s.%s of a bus-side fan-out exists on AWS only",
			store.ErrInvalid, w.Bot, w.Location.Attribute, w.Location.Instance)
	}
	return CheckpointWrite(w)
}

// StaleCheckpoint is the error of a checkpoint whose condition failed.
func StaleCheckpoint(w store.CheckpointWrite, stored string) error {
	return fmt.Errorf("%w: Stale Checkpoint: bot %s is at %q on %s, not at %q",
		store.ErrConflict, BotID(w.Bot), stored, w.Ref, w.Expected)
}

// Checkpoint applies w to b, the zero Bot where none is stored (C42, C43).
func Checkpoint(b *store.Bot, exists bool, w store.CheckpointWrite) error {
	stored := b.Read[w.Ref].Position
	if !w.Force && stored != w.Expected {
		return StaleCheckpoint(w, stored)
	}
	if !exists {
		*b = NewBot(BotID(w.Bot))
	}
	b.Read = cloned(b.Read)
	b.Read[w.Ref] = w.Checkpoint
	return nil
}

// Produced applies p to b and tells whether that changed it.
func Produced(b *store.Bot, p store.Produced) bool {
	old, ok := b.Write[p.Ref]
	if ok && (old.Position > p.Position || old == p.Checkpoint) {
		return false
	}
	b.Write = cloned(b.Write)
	b.Write[p.Ref] = p.Checkpoint
	return true
}

// Request applies r to b and tells whether that changed it: heads and the trigger only grow (W-D4).
func Request(b *store.Bot, r store.Request) bool {
	changed := false
	for queue, head := range r.Heads {
		if head <= b.Requested[queue] {
			continue
		}
		if !changed {
			b.Requested = cloned(b.Requested)
		}
		b.Requested[queue] = head
		changed = true
	}
	if r.At > b.Trigger {
		b.Trigger = r.At
		changed = true
	}
	return changed
}

// Lock reserves a run: the first of the three conditional updates of bus.md 1.4.3. It records what a request in it says.
func Lock(b *store.Bot, l store.Lock) error {
	if l.At <= l.Seen {
		return fmt.Errorf("%w lock of bot %s: time %d is not after the last one, %d", store.ErrInvalid, l.Bot, l.At, l.Seen)
	}
	if b.InvokeTime != l.Seen {
		return fmt.Errorf("%w: bot %s was locked at %d since it was read", store.ErrConflict, l.Bot, b.InvokeTime)
	}
	b.InvokeTime, b.Token = l.At, l.At
	b.Progress, b.ProgressRequested, b.Stalls = maps.Clone(l.Progress), maps.Clone(l.Requested), l.Stalls
	b.IgnorePaused = false
	b.Instance = store.Instance{Token: l.At, InvokeTime: l.At, Status: b.Instance.Status}
	Request(b, store.Request{Heads: l.Heads, At: l.Trigger})
	return nil
}

// Released is the request id of a run that ended before it started: its invocation failed, or nothing came of it in time. The
// start of the original software tests that there is no request id, and not that there is no end: without one, a delivery that
// comes hours later would start beside the run after it (C50).
const Released = "released"

// Confirm starts a run: the second update. A run that was completed before it started, because its invocation failed,
// cannot start any more: the next one may be running.
func Confirm(b *store.Bot, c store.Confirm) error {
	i := &b.Instance
	switch {
	case c.RequestID == "" || c.At == 0:
		return fmt.Errorf("%w start of bot %s: it needs a request id and a time", store.ErrInvalid, c.Bot)
	case i.Token != c.Token:
		return fmt.Errorf("%w: run %d of bot %s is not the newest, %d is", store.ErrConflict, c.Token, c.Bot, i.Token)
	case !reserved(i):
		return fmt.Errorf("%w: no run of bot %s is reserved", store.ErrConflict, c.Bot)
	case i.StartTime != 0 || i.RequestID != "" || i.CompletedTime != 0:
		return fmt.Errorf("%w: run %d of bot %s was started before, by request %q", store.ErrConflict, c.Token, c.Bot, i.RequestID)
	}
	i.StartTime, i.RequestID, i.MaxDuration = c.At, c.RequestID, c.MaxDuration
	return nil
}

// Extend renews the claim of a started run (fault 56).
func Extend(b *store.Bot, c store.Confirm) error {
	i := &b.Instance
	if i.StartTime == 0 || !holds(i, c.Token, c.RequestID) {
		return lostLock(c.Bot, c.Token)
	}
	i.MaxDuration = c.MaxDuration
	return nil
}

// Complete ends a run: the third update. A run ends once, so that an error is counted once.
func Complete(b *store.Bot, c store.Complete) error {
	i := &b.Instance
	if !holds(i, c.Token, c.RequestID) {
		return lostLock(c.Bot, c.Token)
	}
	i.CompletedTime, i.Status = c.At, StatusOf(c)
	if i.RequestID == "" {
		i.RequestID = Released
	}
	i.Log, i.Result = slices.Clone(c.Log), slices.Clone(c.Result)
	if c.Failed {
		b.ErrorCount++
	} else {
		b.ErrorCount = 0
	}
	if c.RunAgain {
		b.Trigger = AgainAt(c)
	}
	if c.RetryAt != 0 {
		b.ScheduledTrigger = c.RetryAt
	}
	return nil
}

// AgainAt returns the trigger that a run which asks for another one leaves: its end, in ms, or what is just after its invocation,
// where the clock of who invoked it is ahead of its own. A trigger that is not after the invocation asks for nothing.
func AgainAt(c store.Complete) int64 { return max(c.At, c.Token+1) }

// StatusOf returns the status that c leaves.
func StatusOf(c store.Complete) string {
	if c.Failed {
		return store.StatusError
	}
	return store.StatusComplete
}

// holds tells whether the run with this token and request id has the lock. Before the start the request id is "".
func holds(i *store.Instance, token int64, requestID string) bool {
	return i.Token == token && reserved(i) && i.RequestID == requestID && i.CompletedTime == 0
}

// reserved tells whether there is a run at all. The original bus locks a bot that was never triggered under the token 0, so
// that 0 says nothing by itself.
func reserved(i *store.Instance) bool { return i.Token != 0 || i.InvokeTime != 0 }

func lostLock(bot string, token int64) error {
	return fmt.Errorf("%w: run %d of bot %s has lost its lock", store.ErrConflict, token, bot)
}

// CloneBot returns a copy of b that shares nothing with it.
func CloneBot(b store.Bot) store.Bot {
	b.Settings = slices.Clone(b.Settings)
	b.Triggers, b.Tags = slices.Clone(b.Triggers), slices.Clone(b.Tags)
	b.Extra = cloneExtra(b.Extra)
	b.Read, b.Write = maps.Clone(b.Read), maps.Clone(b.Write)
	b.Requested = maps.Clone(b.Requested)
	b.Progress, b.ProgressRequested = maps.Clone(b.Progress), maps.Clone(b.ProgressRequested)
	b.Instance.Log, b.Instance.Result = slices.Clone(b.Instance.Log), slices.Clone(b.Instance.Result)
	return b
}

// CloneChunk returns a copy of c that shares nothing with it.
func CloneChunk(c store.Chunk) store.Chunk {
	c.Gzip = slices.Clone(c.Gzip)
	c.Offsets = slices.Clone(c.Offsets)
	if c.Blob != nil {
		blob := *c.Blob
		c.Blob = &blob
	}
	return c
}
