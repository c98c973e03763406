package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/rstreams-go/rstreams/bus/deadletter"
	"github.com/rstreams-go/rstreams/bus/event"
	"github.com/rstreams-go/rstreams/bus/ref"
	"github.com/rstreams-go/rstreams/sdk/rstreams"
)

// writeOptions are the flags of `rstreams write`.
type writeOptions struct {
	bot      string
	events   bool
	skipBad  bool
	fromLine int64
	ackEvery int64
	acks     string
	resume   bool
}

func (a *app) writeCommand() *cobra.Command {
	var o writeOptions
	c := &cobra.Command{
		Use:   "write QUEUE --bot BOT [FILE...]",
		Short: "Write JSON Lines to a queue",
		Long: "write writes every line of the files, or of standard input, as the payload of one event. With --events the lines are\n" +
			"whole events (as `rstreams read --events` prints them): they keep their bot, queue, times and correlation, and get\n" +
			"new ids; QUEUE and --bot fill in what they lack.\n\n" +
			"A line that cannot be an event stops the command: everything before it is written, and the message names the line.\n" +
			"--skip-bad puts such lines into the dead-letter queue instead (see `rstreams dlq`).\n\n" +
			"To continue after a crash, have the number of the last acknowledged line kept: --acks FILE keeps it in a file, and\n" +
			"--resume goes on behind it; --ack-every N prints it as JSON Lines, and --from-line N goes on with a line. What is\n" +
			"acknowledged is durable, so nothing is lost; lines that were written but not yet acknowledged when the writer died\n" +
			"are written again.",
		Args: args(1, -1, "QUEUE --bot BOT [FILE...]"),
		RunE: func(_ *cobra.Command, names []string) error { return a.write(names[0], names[1:], o) },
	}
	f := c.Flags()
	f.StringVar(&o.bot, "bot", "", "the bot that writes (required)")
	f.BoolVar(&o.events, "events", false, "lines are whole events, not payloads")
	f.BoolVar(&o.skipBad, "skip-bad", false, "put lines that cannot be events into the dead-letter queue and go on")
	f.Int64Var(&o.fromLine, "from-line", 1, "begin with this line")
	f.Int64Var(&o.ackEvery, "ack-every", 0, "print the last acknowledged line at least every N lines, and at the end")
	f.StringVar(&o.acks, "acks", "", "keep the number of the last acknowledged line in this file")
	f.BoolVar(&o.resume, "resume", false, "begin behind the line in the file of --acks")
	return c
}

func (o *writeOptions) check(queue string) error {
	switch {
	case o.bot == "":
		return usageError(errors.New("name the bot that writes with --bot"))
	case o.resume && o.acks == "":
		return usageError(errors.New("--resume needs the file of --acks"))
	case o.fromLine < 1 || o.ackEvery < 0:
		return usageError(errors.New("--from-line counts from 1, and --ack-every must not be negative"))
	case o.resume && o.fromLine > 1:
		return usageError(errors.New("give --resume or --from-line, not both"))
	}
	if err := storableQueue(queue); err != nil {
		return usageError(err)
	}
	return nil
}

func (a *app) write(queue string, files []string, o writeOptions) (err error) {
	if err := o.check(queue); err != nil {
		return err
	}
	from := o.fromLine - 1
	if o.resume {
		if from, err = loadAcks(o.acks); err != nil {
			return err
		}
	}
	bus, done, err := a.create()
	if err != nil {
		return err
	}
	defer done(&err)

	acks := newAcks(from, a.Out, o.ackEvery, o.acks)
	// The writer's own context is the hard one: a signal ends the input, not what was taken from it.
	w, err := bus.NewWriter(rstreams.WriterOptions{
		Bot: o.bot, Queue: queue, GiveUp: time.Minute,
		OnAck: func(r rstreams.Receipt, err error) { acks.ack(r.Queue, r.Events, err) },
	})
	if err != nil {
		_ = acks.finish()
		return err
	}
	j := &writeJob{a: a, w: w, acks: acks, o: o, queue: ref.Queue(queue), from: from, progress: a.progress(-1, "write "+queue)}
	err = j.run(files)
	closed := w.Close(a.hard)
	j.progress.end()
	finished := acks.finish()
	through, events := acks.state()
	if closed == nil {
		closed = finished
	}
	err = outranked(err, closed)
	if err != nil {
		return &coded{exitCode(err), fmt.Errorf("%w; acknowledged up to line %d (%s events): continue with --from-line %d",
			err, through, thousands(events), through+1)}
	}
	if j.bad > 0 {
		a.note("%s lines could not be events and are in the dead-letter queue; see `rstreams dlq list`", thousands(j.bad))
	}
	a.note("wrote %s events to %s, up to line %d", thousands(events-j.bad), queue, through)
	return nil
}

// outranked returns what ended the input and how the end went as one error. Lines before a bad one may not be stored where the
// bus failed too: its failure then tells the exit code, since whoever corrects the line must not go on behind it.
func outranked(input, end error) error {
	switch {
	case end == nil:
		return input
	case input == nil, errors.Is(input, errInterrupted):
		return end
	case exitCode(input) == codeInput:
		return &coded{exitCode(end), fmt.Errorf("%w; also, %w", end, input)}
	}
	return input
}

// writeJob is one run of `rstreams write`.
type writeJob struct {
	a        *app
	w        *rstreams.Writer
	acks     *acks
	o        writeOptions
	queue    string
	from     int64
	bad      int64
	progress *progress
	line     event.Line
}

// run writes the input until its end, a fault, or a signal.
func (j *writeJob) run(files []string) error {
	ctx, cancel := context.WithCancel(j.a.soft)
	defer cancel()
	blocks := input(ctx, j.a.In, files)
	for {
		select {
		case <-ctx.Done():
			return errInterrupted
		case b, ok := <-blocks:
			if !ok {
				return errInterrupted
			}
			if err := j.block(ctx, b); err != nil {
				return err
			}
			if errors.Is(b.err, io.EOF) {
				return nil
			}
			if b.err != nil {
				return b.err
			}
			j.progress.set(b.first + int64(len(b.ends)) - 1 - j.from)
		}
	}
}

func (j *writeJob) block(ctx context.Context, b *block) error {
	for i := range b.ends {
		n := b.first + int64(i)
		if n <= j.from {
			continue
		}
		line, size := b.line(i), b.cut(i)
		var err error
		switch {
		case size > 0:
			err = fmt.Errorf("%w: the line has %d bytes", rstreams.ErrTooLarge, size)
		case len(line) == 0:
			j.acks.skip(n)
			continue
		default:
			err = j.put(ctx, n, line)
		}
		if err != nil && badLine(err) {
			if !j.o.skipBad {
				return inputError(fmt.Errorf("%s is no event: %w", b.place(i), plain(err)))
			}
			err = j.letter(ctx, n, b.place(i), line, size, plain(err))
		}
		if err != nil {
			if errors.Is(err, context.Canceled) && j.a.interrupted() {
				return errInterrupted
			}
			return err
		}
	}
	return nil
}

// put writes one line.
func (j *writeJob) put(ctx context.Context, n int64, line []byte) error {
	if !j.o.events {
		j.acks.put(j.queue, n)
		if _, err := j.w.PutRaw(ctx, json.RawMessage(line)); err != nil {
			j.acks.takeBack(j.queue)
			return err
		}
		return nil
	}
	if err := event.Scan(line, &j.line); err != nil {
		return err
	}
	var e event.Event
	if err := j.line.Event(&e); err != nil {
		return err
	}
	queue := j.queue
	if e.Queue != "" {
		queue = ref.Queue(e.Queue)
	}
	if err := storable(&j.line, cmp.Or(e.Queue, queue)); err != nil {
		return err
	}
	e.EID = ""
	j.acks.put(queue, n)
	if _, err := j.w.PutEvent(ctx, e); err != nil {
		j.acks.takeBack(queue)
		return err
	}
	return nil
}

// letter puts a line that is no event into the dead-letter queue. size is how many bytes the line has where line is only its
// beginning, else 0.
func (j *writeJob) letter(ctx context.Context, n int64, place string, line []byte, size int64, fault error) error {
	l := deadletter.Letter{
		Reason: deadletter.ReasonLine, Error: place + ": " + fault.Error(), Queue: j.queue, Bot: j.o.bot, Line: int(n),
		At: time.Now().UnixMilli(), Bare: !j.o.events,
	}
	if errors.Is(fault, rstreams.ErrTooLarge) {
		l.Reason = deadletter.ReasonLineTooLong
	}
	l.SetRaw(line)
	l.Size = max(l.Size, size)
	j.acks.put(deadletter.Queue, n)
	_, err := j.w.PutTo(ctx, deadletter.Queue, l)
	if err != nil {
		j.acks.takeBack(deadletter.Queue)
		return fmt.Errorf("%s: cannot write the dead letter: %w", place, err)
	}
	j.bad++
	return nil
}

// badLine tells whether the line is at fault, not the bus.
func badLine(err error) bool {
	for _, fault := range []error{
		event.ErrSyntax, event.ErrPayload, event.ErrFalsyPayload, event.ErrNoBot, event.ErrNoQueue, rstreams.ErrTooLarge,
		ref.ErrInvalid, errNotStorable,
	} {
		if errors.Is(err, fault) {
			return true
		}
	}
	return false
}

// plain is an error without the operation that the SDK puts around it.
func plain(err error) error {
	var e *rstreams.Error
	if errors.As(err, &e) {
		return e.Err
	}
	return err
}
