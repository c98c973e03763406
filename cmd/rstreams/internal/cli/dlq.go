package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/store"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

func (a *app) dlqCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "dlq", Short: "List, show and write again what is in the dead-letter queue", Args: args(0, 0, "list|show|redrive"),
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.dlqListCommand(), a.dlqShowCommand(), a.dlqRedriveCommand())
	return c
}

// selection says which dead letters are meant.
type selection struct {
	reasons, queues, bots []string
	ids                   []string
	start, end            string
	limit                 int64
}

func (s *selection) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&s.reasons, "reason", nil, "only letters with these reasons")
	f.StringSliceVar(&s.queues, "queue", nil, "only letters of these queues")
	f.StringSliceVar(&s.bots, "bot", nil, "only letters of these bots")
	f.StringVar(&s.start, "start", "", "only letters after this position")
	f.StringVar(&s.end, "end", "", "only letters up to this position")
	f.Int64Var(&s.limit, "limit", 0, "at most so many letters; 0 for all")
}

// has tells whether the selection covers the letter with this id.
func (s *selection) has(id string, l *deadletter.Letter) bool {
	in := func(list []string, v string) bool { return len(list) == 0 || slices.Contains(list, v) }
	return in(s.ids, id) && in(s.reasons, string(l.Reason)) && in(s.queues, l.Queue) && in(s.bots, l.Bot)
}

// eachLetter is called with a letter and its id, and tells whether the letter counts for --limit.
type eachLetter func(id string, l deadletter.Letter) (counts bool, err error)

// selected is a walk over letters of which some are selected.
type selected struct {
	*selection
	n    int64
	seen map[string]bool
}

func (s *selection) begin() *selected { return &selected{selection: s, seen: map[string]bool{}} }

// take calls fn if the letter is selected. ended tells that the limit is reached.
func (s *selected) take(id string, l deadletter.Letter, fn eachLetter) (ended bool, err error) {
	if !s.has(id, &l) {
		return false, nil
	}
	s.seen[id] = true
	counts, err := fn(id, l)
	if counts {
		s.n++
	}
	return s.limit > 0 && s.n >= s.limit, err
}

// missing reports letters that were named and did not come, once the walk is at its end. where says of what.
func (s *selected) missing(where string) error {
	var ids []string
	for _, id := range s.ids {
		if !s.seen[id] {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return fmt.Errorf("dead letter %s: %w %s (see `rstreams dlq show`)", strings.Join(ids, ", "), store.ErrNotFound, where)
}

// letters calls fn with each dead letter of the selection, in order. Payloads that are no letters are told of and passed over.
func (a *app) letters(bus *rstreams.Bus, s *selection, fn eachLetter) error {
	o := rstreams.ReadOptions{From: rstreams.Earliest()}
	var err error
	if o.Start, err = parsePosition(s.start); err != nil {
		return err
	}
	if o.End, err = parsePosition(s.end); err != nil {
		return err
	}
	found := s.begin()
	for e, err := range bus.Read(a.soft, deadletter.Queue, o) {
		if err != nil {
			if a.interrupted() {
				return errInterrupted
			}
			return err
		}
		l, err := deadletter.Parse(e.Payload)
		if err != nil {
			a.note("rstreams: event %s of %s is passed over: %v", e.EID, deadletter.Queue, err)
			continue
		}
		if ended, err := found.take(strings.Clone(e.EID), l, fn); ended || err != nil {
			return err
		}
	}
	return found.missing("among the letters that are selected")
}

// letterGroup is a row of `rstreams dlq list`.
type letterGroup struct {
	Reason   string `json:"reason"`
	Queue    string `json:"queue,omitempty"`
	Bot      string `json:"bot,omitempty"`
	Letters  int64  `json:"letters"`
	Redriven int64  `json:"redriven"`
	First    int64  `json:"first"`
	Last     int64  `json:"last"`
	// Example is the newest letter's fault in words.
	Example string `json:"example"`
}

func (a *app) dlqListCommand() *cobra.Command {
	var asJSON bool
	var s selection
	c := &cobra.Command{
		Use: "list", Short: "Count the dead letters by reason, queue and bot",
		Args: args(0, 0, ""),
		RunE: func(*cobra.Command, []string) (err error) {
			bus, done, err := a.open()
			if err != nil {
				return err
			}
			defer done(&err)
			redriven, err := a.redriven(bus)
			if err != nil {
				return err
			}
			groups := map[[3]string]*letterGroup{}
			err = a.letters(bus, &s, func(id string, l deadletter.Letter) (bool, error) {
				key := [3]string{string(l.Reason), l.Queue, l.Bot}
				g := groups[key]
				if g == nil {
					g = &letterGroup{Reason: key[0], Queue: strings.Clone(key[1]), Bot: strings.Clone(key[2]), First: l.At}
					groups[key] = g
				}
				g.Letters++
				if redriven[id] {
					g.Redriven++
				}
				g.First, g.Last, g.Example = min(g.First, l.At), max(g.Last, l.At), l.Error
				return true, nil
			})
			if err != nil {
				return err
			}
			list := make([]*letterGroup, 0, len(groups))
			for _, g := range groups {
				list = append(list, g)
			}
			slices.SortFunc(list, func(x, y *letterGroup) int {
				return cmp.Or(cmp.Compare(y.Letters, x.Letters), cmp.Compare(x.Reason, y.Reason), cmp.Compare(x.Queue, y.Queue),
					cmp.Compare(x.Bot, y.Bot))
			})
			t := newTable(a.Out, asJSON, "LETTERS", "REDRIVEN", "REASON", "QUEUE", "BOT", "FIRST", "LAST", "NEWEST FAULT")
			now := time.Now()
			for _, g := range list {
				if err := t.row(g, thousands(g.Letters), thousands(g.Redriven), g.Reason, orDash(g.Queue), orDash(g.Bot),
					ago(now, g.First), ago(now, g.Last), shorten(g.Example, 60)); err != nil {
					return err
				}
			}
			return t.end("no dead letters")
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	s.flags(c)
	return c
}

// letterLine is a dead letter as `rstreams dlq show` prints it and `rstreams dlq redrive --edited` reads it.
type letterLine struct {
	EID    string            `json:"eid"`
	Letter deadletter.Letter `json:"letter"`
}

func (a *app) dlqShowCommand() *cobra.Command {
	var s selection
	c := &cobra.Command{
		Use: "show [EID...]", Short: "Print dead letters as JSON Lines, with the original bytes",
		Args: args(0, -1, "[EID...]"),
		RunE: func(_ *cobra.Command, ids []string) (err error) {
			bus, done, err := a.open()
			if err != nil {
				return err
			}
			defer done(&err)
			s.ids = ids
			out := a.buffered()
			enc := json.NewEncoder(out)
			enc.SetEscapeHTML(false)
			err = a.letters(bus, &s, func(id string, l deadletter.Letter) (bool, error) { return true, enc.Encode(letterLine{id, l}) })
			return errors.Join(err, out.Flush())
		},
	}
	s.flags(c)
	return c
}

// shorten cuts s to about n bytes.
func shorten(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-1], "") + "…"
}
