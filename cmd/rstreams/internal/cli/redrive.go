package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// redrivenQueue holds one event for each dead letter that was written again, so that nobody does it twice by accident.
const redrivenQueue = deadletter.Queue + ".redriven"

// redriveBot signs what redrive writes for its own use.
const redriveBot = "rstreams-redrive"

// redriveMark is the payload of an event of redrivenQueue.
type redriveMark struct {
	// Letter is the id of the dead letter, Queue where it was written to, At when, in ms.
	Letter string `json:"letter"`
	Queue  string `json:"queue"`
	At     int64  `json:"at"`
}

// redriven returns the ids of the letters that were written again.
func (a *app) redriven(bus *rstreams.Bus) (map[string]bool, error) {
	ids := map[string]bool{}
	for e, err := range bus.Read(a.soft, redrivenQueue, rstreams.ReadOptions{From: rstreams.Earliest()}) {
		if err != nil {
			if a.interrupted() {
				return nil, errInterrupted
			}
			return nil, err
		}
		var m redriveMark
		if err := json.Unmarshal(e.Payload, &m); err != nil || m.Letter == "" {
			a.note("rstreams: event %s of %s is passed over: it is not of `rstreams dlq redrive`", e.EID, redrivenQueue)
			continue
		}
		ids[m.Letter] = true
	}
	return ids, nil
}

// redriveOptions are the flags of `rstreams dlq redrive`.
type redriveOptions struct {
	all, again, dryRun bool
	to, edited         string
}

func (a *app) dlqRedriveCommand() *cobra.Command {
	var s selection
	var o redriveOptions
	c := &cobra.Command{
		Use:   "redrive [EID...]",
		Short: "Write dead letters again",
		Long: "redrive writes the original input of dead letters again: a whole event to the queue it names (or to that of the letter,\n" +
			"or to --to), with a correlation to the letter; a payload, where the letter is marked as \"bare\", to the queue of the\n" +
			"letter. Name letters by id, select them with flags, or take --all; --limit counts those that are written.\n\n" +
			"What is still no event is told of and left. To correct it, edit the \"raw\" of `rstreams dlq show > letters.jsonl`\n" +
			"and redrive with --edited letters.jsonl.\n\n" +
			"Each letter is written again once: the queue " + redrivenQueue + " remembers it (--again overrides). Only a crash\n" +
			"between writing and remembering repeats a letter; none is lost.",
		Args: args(0, -1, "[EID...]"),
		RunE: func(_ *cobra.Command, ids []string) error {
			s.ids = ids
			selected := len(ids)+len(s.reasons)+len(s.queues)+len(s.bots) > 0 || s.start != "" || s.end != "" || s.limit > 0
			if !selected && !o.all && o.edited == "" {
				return usageError(errors.New("name letters by id, select them with --reason, --queue or --bot, or take --all"))
			}
			if o.edited != "" && (s.start != "" || s.end != "") {
				return usageError(errors.New("with --edited select letters by id, --reason, --queue or --bot; --start and --end do not count"))
			}
			if o.to != "" {
				if err := storableQueue(o.to); err != nil {
					return usageError(fmt.Errorf("--to: %w", err))
				}
			}
			return a.redrive(&s, o)
		},
	}
	s.flags(c)
	f := c.Flags()
	f.BoolVar(&o.all, "all", false, "all dead letters")
	f.BoolVar(&o.again, "again", false, "also letters that were written again before")
	f.BoolVar(&o.dryRun, "dry-run", false, "write nothing, only tell what would happen")
	f.StringVar(&o.to, "to", "", "write to this queue instead")
	f.StringVar(&o.edited, "edited", "", "take the letters in this file, as `dlq show` prints them, with corrected \"raw\"")
	return c
}

// redriveJob is one run of `rstreams dlq redrive`.
type redriveJob struct {
	a *app
	o redriveOptions
	w *rstreams.Writer
	// done are the letters that were written again before this run, put those of this run: a file may have one twice.
	done, put map[string]bool
	// marks are of events that are put but not yet durable.
	marks                    []redriveMark
	written, before, refused int
}

// redriveBatch is how many letters are written before they are remembered.
const redriveBatch = 500

func (a *app) redrive(s *selection, o redriveOptions) (err error) {
	bus, done, err := a.open()
	if err != nil {
		return err
	}
	defer done(&err)
	j := &redriveJob{a: a, o: o, put: map[string]bool{}}
	if j.done, err = a.redriven(bus); err != nil {
		return err
	}
	if j.w, err = bus.NewWriter(rstreams.WriterOptions{Bot: redriveBot, GiveUp: time.Minute}); err != nil {
		return err
	}
	if o.edited != "" {
		err = j.file(s)
	} else {
		err = a.letters(bus, s, j.letter)
	}
	for _, e := range []error{j.flush(), j.w.Close(a.hard)} {
		if err == nil {
			err = e
		}
	}
	verb := "written again"
	if o.dryRun {
		verb = "would be written again"
	}
	a.note("%d letters %s, %d were before, %d cannot be", j.written, verb, j.before, j.refused)
	if err == nil && j.refused > 0 {
		err = inputError(fmt.Errorf("%d letters hold no event; correct them with `rstreams dlq show` and --edited", j.refused))
	}
	return err
}

// file redrives the letters of the edited file.
func (j *redriveJob) file(s *selection) error {
	f, err := os.Open(j.o.edited)
	if err != nil {
		return inputError(fmt.Errorf("cannot read the letters: %w", err))
	}
	defer func() { _ = f.Close() }()
	r, found := bufio.NewReader(f), s.begin()
	for n := 1; ; n++ {
		text, err := r.ReadBytes('\n')
		if len(bytes.TrimSpace(text)) > 0 {
			var l letterLine
			switch e := json.Unmarshal(text, &l); {
			case e != nil || l.EID == "" || l.Letter.Reason == "":
				return inputError(fmt.Errorf("line %d of %s is no dead letter as `rstreams dlq show` prints it", n, j.o.edited))
			case l.Letter.Raw != "" && len(l.Letter.RawBytes) > 0:
				return inputError(fmt.Errorf("line %d of %s has both \"raw\" and \"raw_base64\"; leave out the one that does not count", n, j.o.edited))
			}
			if ended, err := found.take(l.EID, l.Letter, j.letter); ended || err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return found.missing("in " + j.o.edited)
		}
		if err != nil {
			return inputError(fmt.Errorf("cannot read the letters: %w", err))
		}
	}
}

// letter writes one letter again, and tells whether it did. Those that it does not write leave room for others below --limit.
func (j *redriveJob) letter(id string, l deadletter.Letter) (bool, error) {
	if j.put[id] || j.done[id] && !j.o.again {
		j.before++
		return false, nil
	}
	e, err := revive(&l, j.o.to)
	if err == nil && !j.o.dryRun {
		e.Correlation = &rstreams.Correlation{Source: deadletter.Queue, Start: id, Units: max(e.Units, 1)}
		_, err = j.w.PutEvent(j.a.soft, e)
	}
	switch {
	case err == nil:
	case badLine(err):
		j.refused++
		j.a.note("rstreams: letter %s: %s", id, oneLine(plain(err)))
		return false, nil
	case j.a.interrupted():
		return false, errInterrupted
	default:
		return false, err
	}
	j.put[id] = true
	j.written++
	j.marks = append(j.marks, redriveMark{Letter: id, Queue: e.Queue, At: time.Now().UnixMilli()})
	if len(j.marks) >= redriveBatch {
		return true, j.flush()
	}
	return true, nil
}

// flush makes what was put durable and remembers it.
func (j *redriveJob) flush() error {
	if j.o.dryRun || len(j.marks) == 0 {
		return nil
	}
	ctx := j.a.hard
	if err := j.w.Flush(ctx); err != nil {
		return err
	}
	for _, m := range j.marks {
		if err := j.mark(ctx, m); err != nil {
			return fmt.Errorf("cannot remember what was written again: %w", err)
		}
	}
	j.marks = j.marks[:0]
	return j.w.Flush(ctx)
}

func (j *redriveJob) mark(ctx context.Context, m redriveMark) error {
	_, err := j.w.PutTo(ctx, redrivenQueue, m)
	return err
}

// revive makes an event of a letter's original bytes: the payload of one of the letter's queue where the letter says so, else a
// whole event. to is the queue it shall go to, "" for its own. The error is badLine: what is still no event stays where it is,
// since as the payload of another event nobody would look for it.
func revive(l *deadletter.Letter, to string) (rstreams.Event, error) {
	raw := bytes.TrimSpace(l.Bytes())
	if n := int64(len(l.Bytes())); n < l.Size {
		return rstreams.Event{}, fmt.Errorf("%w: the letter holds the first %d bytes of %d; write the line again, or correct \"raw\" and leave \"size\" out",
			event.ErrSyntax, n, l.Size)
	}
	var e rstreams.Event
	var line event.Line
	if l.Bare {
		e.Payload = raw
	} else {
		if err := event.Scan(raw, &line); err != nil {
			return e, err
		}
		if err := line.Event(&e); err != nil {
			return e, err
		}
	}
	e.EID, e.Queue, e.Bot = "", cmp.Or(to, e.Queue, l.Queue), cmp.Or(e.Bot, l.Bot, redriveBot)
	if e.Queue == "" {
		return e, fmt.Errorf("%w, nor does the letter; name one with --to", event.ErrNoQueue)
	}
	if err := storable(&line, e.Queue); err != nil {
		return e, err
	}
	_, err := event.AppendLine(nil, &e, -1)
	return e, err
}
