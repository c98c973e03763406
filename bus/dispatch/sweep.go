package dispatch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/bus/schedule"
	"github.com/rstreams-go/rstreams/bus/store"
)

// maxHold is how long an occurrence of a schedule that cannot be stored keeps the tick back, and with it the time from which a
// new bot's schedule counts. After that, the bot's next occurrence fires.
const maxHold = time.Hour

// Sweep looks at every bot once and serves what is due: schedules, also the occurrences since the tick of an earlier
// Sweep, which fire once however many they are (C54, W-D12); ScheduledTriggers and back-offs that are over; runs that died (C58,
// W-P7); and heads that a bot was not asked for, whatever became of those who should have. It should be called every minute.
//
// With stay > 0 it then waits for what becomes due within stay from its beginning, serves that at its time, and returns.
// It returns when the next bot is due that it knows of, the zero time for never, and when ctx ends. An error that is no
// *Failures means that not all bots were looked at; the tick then stays, so that the next Sweep serves their schedules.
func (o *Once) Sweep(ctx context.Context, stay time.Duration) (next time.Time, report Report, err error) {
	began := o.now()
	s := newSweep(o, began)
	if err := s.readTick(ctx); err != nil {
		return time.Time{}, report, err
	}
	if err := s.readHeads(ctx); err != nil {
		return time.Time{}, report, err
	}
	for after := ""; ; {
		page, err := o.store.Bots.List(ctx, after, scanPage)
		if err != nil {
			return time.Time{}, s.report, fmt.Errorf("dispatch: list of bots: %w", err)
		}
		if err := s.page(ctx, page); err != nil {
			return time.Time{}, s.report, err
		}
		if len(page) < scanPage {
			break
		}
		after = page[len(page)-1].ID
	}
	if err := s.storeTick(ctx); err != nil {
		return time.Time{}, s.report, err
	}
	s.keep(ctx, began.Add(stay))
	for _, at := range s.agenda {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return next, s.report, failures(s.failed, s.of)
}

// At waits until each bot is due, and then looks at it. Bots that are due later than stay from now are left to others.
func (o *Once) At(ctx context.Context, due map[string]time.Time, stay time.Duration) (Report, error) {
	s := newSweep(o, o.now())
	maps.Copy(s.agenda, due)
	s.keep(ctx, s.began.Add(stay))
	return s.report, failures(s.failed, s.of)
}

// sweep is the work of one call.
type sweep struct {
	*Once
	began time.Time
	// tick is until when schedules were served before, stored its stored form. hold is until when they are after this call.
	tick   time.Time
	stored json.RawMessage
	hold   time.Time
	// heads are of all queues.
	heads map[string]Head
	// agenda is when bots are due that wait for a time, and times are the schedules of those that have one.
	agenda map[string]time.Time
	times  map[string]schedule.Schedule
	report Report
	failed []BotError
	of     int
}

func newSweep(o *Once, began time.Time) *sweep {
	return &sweep{Once: o, began: began, hold: began, agenda: map[string]time.Time{}, times: map[string]schedule.Schedule{}}
}

func (s *sweep) readTick(ctx context.Context) error {
	s.tick = s.began
	raw, err := s.store.Settings.Get(ctx, TickSetting)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("dispatch: time of the last schedule: %w", err)
	}
	s.stored = raw
	var ms float64
	if err := json.Unmarshal(raw, &ms); err != nil {
		s.log.WarnContext(ctx, "the setting is no time in ms; missed schedules are not made up for",
			"setting", TickSetting, "value", string(raw))
		return nil
	}
	if t := time.UnixMilli(int64(ms)); t.Before(s.began) {
		s.tick = t
	}
	return nil
}

// storeTick stores the new tick unless another call did. Either is right: who stores a tick has served everything since the
// tick that it replaces.
func (s *sweep) storeTick(ctx context.Context) error {
	if oldest := s.began.Add(-maxHold); s.hold.Before(oldest) {
		s.hold = oldest
	}
	next := json.RawMessage(fmt.Sprint(s.hold.UnixMilli()))
	err := s.store.Settings.Swap(ctx, TickSetting, s.stored, next)
	if err != nil && !errors.Is(err, store.ErrConflict) {
		return fmt.Errorf("dispatch: time of the last schedule: %w", err)
	}
	return nil
}

func (s *sweep) readHeads(ctx context.Context) error {
	s.heads = map[string]Head{}
	for after := ""; ; {
		page, err := s.store.Queues.List(ctx, after, scanPage)
		if err != nil {
			return fmt.Errorf("dispatch: list of queues: %w", err)
		}
		for i := range page {
			after = page[i].Name
			if page[i].Head != "" {
				s.heads[after] = Head{ID: page[i].Head, At: page[i].Timestamp}
			}
		}
		if len(page) < scanPage {
			return nil
		}
	}
}

// page serves the rows of a page and notes when they are due next.
func (s *sweep) page(ctx context.Context, rows []store.Bot) error {
	var errands []*errand
	occurrences := map[string]time.Time{}
	for i := range rows {
		row := &rows[i]
		e := &errand{bot: row.ID}
		if !row.Archived {
			for _, t := range row.Triggers {
				queue := ref.Queue(t)
				if head, ok := s.heads[queue]; ok && head.ID > row.Requested[ref.QueueRef(t)] {
					if e.heads == nil {
						e.heads = map[string]Head{}
					}
					e.heads[queue] = head
				}
			}
			if times, ok := s.schedule(row); ok {
				if occurrence, ok := times.Between(s.tick, s.began); ok && missed(row, occurrence, s.began) {
					e.since = s.tick
					occurrences[row.ID] = occurrence
				}
				s.times[row.ID] = times
				s.note(row.ID, times.Next(s.began))
			}
		}
		dec := Decide(*row, s.began)
		switch {
		case e.heads != nil, !e.since.IsZero(), dec.BackOff != 0, dec.Action == Expire,
			dec.Action == Run && s.cfg.Hosts(*row), dec.Reason == Running && s.overdue(row, s.began):
			errands = append(errands, e)
		case dec.Action == Wait && dec.Reason != Running && s.cfg.Hosts(*row):
			s.note(row.ID, dec.Until)
		}
	}
	for _, f := range s.do(ctx, errands) {
		if occurrence, ok := occurrences[f.Bot]; ok && !occurrence.After(s.hold) {
			s.hold = occurrence.Add(-time.Millisecond)
		}
	}
	return ctx.Err()
}

// do serves errands and returns those of them that failed.
func (s *sweep) do(ctx context.Context, errands []*errand) []BotError {
	report, due, failed := s.serve(ctx, errands)
	s.report.add(report)
	s.of += len(errands)
	s.failed = append(s.failed, failed...)
	for id, at := range due {
		s.note(id, at)
	}
	return failed
}

// note puts a bot on the agenda, or earlier on it, unless at is zero.
func (s *sweep) note(id string, at time.Time) {
	if at.IsZero() {
		return
	}
	if old, ok := s.agenda[id]; !ok || at.Before(old) {
		s.agenda[id] = at
	}
}

// keep serves what is on the agenda, at its time, until nothing is left on it up to the end, or ctx ends.
func (s *sweep) keep(ctx context.Context, end time.Time) {
	for ctx.Err() == nil {
		var first time.Time
		for _, at := range s.agenda {
			if first.IsZero() || at.Before(first) {
				first = at
			}
		}
		if first.IsZero() || first.After(end) {
			return
		}
		now := s.now()
		if wait := first.Sub(now); wait > 0 {
			if !sleep(ctx, min(wait, clockCheck)) {
				return
			}
			continue
		}
		var errands []*errand
		for id, at := range s.agenda {
			if at.After(now) {
				continue
			}
			delete(s.agenda, id)
			e := &errand{bot: id}
			if times, ok := s.times[id]; ok {
				// The tick stays: another sweep looks for these occurrences again, in case this one ends here.
				e.since = s.began
				s.note(id, times.Next(now))
			}
			errands = append(errands, e)
		}
		s.do(ctx, errands)
	}
}

// failures returns the error of a call in which these of so many bots failed, or nil.
func failures(bots []BotError, of int) error {
	if len(bots) == 0 {
		return nil
	}
	slices.SortFunc(bots, func(a, b BotError) int { return cmp.Compare(a.Bot, b.Bot) })
	return &Failures{Bots: bots, Of: of}
}
