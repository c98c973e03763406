package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// readOptions are the flags of `rstreams read`.
type readOptions struct {
	bot, start, end string
	limit           int64
	follow          bool
	events          bool
	checkpoint      bool
	skipMalformed   bool
	skipGaps        bool
}

func (a *app) readCommand() *cobra.Command {
	var o readOptions
	c := &cobra.Command{
		Use:   "read QUEUE",
		Short: "Read a queue as JSON Lines",
		Long: "read prints the payloads of a queue's events in order, one a line, exactly as they were written; --events prints whole\n" +
			"events with their ids.\n\n" +
			"It begins with the oldest event, or after --start: an event id, a date such as z/2026/11/21 or 2026-11-21T10:00:00Z,\n" +
			"or `head` for what is to come. With --bot it begins at the bot's checkpoint, if there is one; --checkpoint moves that\n" +
			"checkpoint once what was read is written out. It ends at the newest event, or waits for more with --follow.",
		Args: args(1, 1, "QUEUE"),
		RunE: func(_ *cobra.Command, names []string) error { return a.read(names[0], o) },
	}
	f := c.Flags()
	f.StringVar(&o.start, "start", "", "begin after this position (default: the bot's checkpoint, or the oldest event)")
	f.StringVar(&o.end, "end", "", "end with this position, inclusive")
	f.Int64Var(&o.limit, "limit", 0, "end after so many events; 0 for no limit")
	f.BoolVar(&o.follow, "follow", false, "wait for more events at the end")
	f.StringVar(&o.bot, "bot", "", "read as this bot: begin at its checkpoint")
	f.BoolVar(&o.checkpoint, "checkpoint", false, "move the checkpoint of --bot")
	f.BoolVar(&o.events, "events", false, "print whole events, not payloads")
	f.BoolVar(&o.skipMalformed, "skip-malformed", false, "pass over stored lines that are no events, with a note")
	f.BoolVar(&o.skipGaps, "skip-gaps", false, "pass over events that are proven missing, with a note")
	return c
}

// options turns the flags into the SDK's.
func (o *readOptions) options(a *app) (rstreams.ReadOptions, error) {
	r := rstreams.ReadOptions{
		Bot: o.bot, From: rstreams.Earliest(), Limit: o.limit, Follow: o.follow, StrictQueue: !o.follow,
		OnMalformed: func(e *rstreams.LineError) { a.note("rstreams: passed over: %s", oneLine(e)) },
		OnGap:       func(e *rstreams.GapError) { a.note("rstreams: passed over: %s", oneLine(e)) },
	}
	if o.skipMalformed {
		r.Malformed = rstreams.MalformedSkip
	}
	if o.skipGaps {
		r.Gaps = rstreams.GapSkip
	}
	switch {
	case o.limit < 0:
		return r, usageError(errors.New("--limit must not be negative"))
	case o.checkpoint && o.bot == "":
		return r, usageError(errors.New("--checkpoint needs --bot"))
	}
	var err error
	if r.Start, err = parsePosition(o.start); err != nil {
		return r, err
	}
	if r.Start == "head" {
		r.Start, r.From, r.Bot = "", rstreams.Latest(), ""
	}
	if r.End, err = parsePosition(o.end); err != nil {
		return r, err
	}
	if r.End == "head" {
		r.End = ""
	}
	if o.checkpoint && r.Bot == "" {
		return r, usageError(errors.New("--checkpoint does not go with --start head; use `rstreams checkpoint set BOT QUEUE head`"))
	}
	return r, nil
}

// checkpointEvery is how many events, and how much time, lie between two checkpoints of `rstreams read --checkpoint`.
const (
	checkpointEvery     = 10_000
	checkpointEveryTime = time.Second
)

func (a *app) read(queue string, o readOptions) (err error) {
	opts, err := o.options(a)
	if err != nil {
		return err
	}
	bus, done, err := a.open()
	if err != nil {
		return err
	}
	defer done(&err)
	r, err := bus.NewReader(queue, opts)
	if err != nil {
		return usageError(err)
	}
	out := &lineWriter{w: a.buffered()}
	if o.follow {
		defer out.flushEvery(20 * time.Millisecond)()
	}
	p := &progress{} // A bar among the lines of a terminal would spoil both.
	if !isTerminal(a.Out) {
		p = a.progress(-1, "read "+queue)
	}
	defer p.end()

	save := func() error {
		if err := out.flush(); err != nil {
			return fmt.Errorf("cannot write the output: %w", err)
		}
		if !o.checkpoint {
			return nil
		}
		return r.Checkpoint(a.hard)
	}
	var buf []byte
	saved, count := time.Now(), int64(0)
	for e, err := range r.All(a.soft) {
		if err != nil {
			if a.interrupted() && r.Reason() == rstreams.EndCanceled {
				break
			}
			return errors.Join(err, save())
		}
		if buf, err = appendOutput(buf[:0], &e, o.events); err != nil {
			return err
		}
		if err := out.line(buf); err != nil {
			return fmt.Errorf("cannot write the output: %w", err)
		}
		if count++; count%1024 == 0 {
			p.set(count)
		}
		if o.checkpoint && (count%checkpointEvery == 0 || time.Since(saved) > checkpointEveryTime) {
			if err := save(); err != nil {
				return err
			}
			saved = time.Now()
		}
	}
	if err := save(); err != nil {
		return err
	}
	if a.interrupted() && !o.follow {
		return fmt.Errorf("%w after %s events; go on with --start %q", errInterrupted, thousands(count), r.Position())
	}
	return nil
}

// appendOutput appends the line that stands for e.
func appendOutput(dst []byte, e *rstreams.Event, whole bool) ([]byte, error) {
	if !whole {
		return append(append(dst, e.Payload...), '\n'), nil
	}
	dst = append(dst, `{"eid":`...)
	dst = strconv.AppendQuote(dst, e.EID)
	dst = append(dst, ',')
	at := len(dst)
	dst, err := event.AppendLine(dst, e, -1)
	if err != nil {
		return dst, fmt.Errorf("event %s: %w", e.EID, err)
	}
	copy(dst[at:], dst[at+1:]) // the envelope's own brace
	return dst[:len(dst)-1], nil
}

// lineWriter writes lines through a buffer that a second goroutine may flush. After a failed write every call fails.
type lineWriter struct {
	mu sync.Mutex
	w  *bufio.Writer
}

func (l *lineWriter) line(b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, err := l.w.Write(b)
	return err
}

func (l *lineWriter) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Flush()
}

// flushEvery flushes what is buffered again and again, until the function that it returns is called.
func (l *lineWriter) flushEvery(d time.Duration) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(d)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				_ = l.flush() // The next line shows the error, which sticks.
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}
