package rstreams

import (
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/rstreams-go/rstreams/bus/event"
)

// Result says what a handler of Enrich wants written. It is made by Emit, EmitTo, EmitOutputs, Handled and SkipAck. The zero
// Result is none of them: returning it without an error fails the run with ErrNoResult, so that an event is passed over only
// where the code says so.
type Result struct {
	kind    resultKind
	outputs []Output
}

type resultKind int

const (
	resultNone resultKind = iota
	resultHandled
	resultSkip
)

// Output is one derived event.
type Output struct {
	// Queue is where it goes; "" means EnrichOptions.To.
	Queue string
	// Payload is encoded as JSON. null, false, 0 and "" are refused, as by Writer.Put.
	Payload any
	// SourceTimestamp, in ms, replaces the one carried over from the source event; 0 keeps that.
	SourceTimestamp int64
	// Units is how many logical events it stands for; 0 means 1.
	Units int64
	// Extra are further members of the event.
	Extra []event.Member
}

// Emit writes one event for each payload to EnrichOptions.To. Without payloads it is Handled.
func Emit(payloads ...any) Result { return EmitTo("", payloads...) }

// EmitTo writes one event for each payload to queue.
func EmitTo(queue string, payloads ...any) Result {
	r := Result{kind: resultHandled, outputs: make([]Output, len(payloads))}
	for i, p := range payloads {
		r.outputs[i] = Output{Queue: queue, Payload: p}
	}
	return r
}

// EmitOutputs writes the given events.
func EmitOutputs(outputs ...Output) Result { return Result{kind: resultHandled, outputs: outputs} }

// Handled says that the event is dealt with and that there is nothing to write: a filter's answer. The position moves past the
// event.
func Handled() Result { return Result{kind: resultHandled} }

// SkipAck says that nothing is to be written and that the event is not dealt with yet: the position does not move because of
// it. It moves past it with the next event that is dealt with; when the run ends before that, the event is read again. It is
// for handlers that collect several events before they write.
func SkipAck() Result { return Result{kind: resultSkip} }

// And returns what both results want written, r's first. A SkipAck makes the whole a SkipAck only if nothing is written.
func (r Result) And(o Result) Result {
	switch {
	case r.kind == resultNone:
		return o
	case o.kind == resultNone:
		return r
	}
	out := Result{kind: resultHandled, outputs: slices.Concat(r.outputs, o.outputs)}
	if len(out.outputs) == 0 && r.kind == resultSkip && o.kind == resultSkip {
		out.kind = resultSkip
	}
	return out
}

// A handler may return any error. It ends the run: what was handled before is finished and checkpointed, and the event is
// read again by the next run. The errors below end differently. They are found through wrapping.

// DeadLetterError is made by DeadLetter and DeadLetterAt.
type DeadLetterError struct {
	// Indexes are the places in the batch of the events that are given up on; nil means all.
	Indexes []int
	// Err is why.
	Err error
}

// DeadLetter gives up on an event, or on every event of a batch: it goes to the bus's dead-letter queue with err as the reason,
// and counts as handled once it is durable there.
func DeadLetter(err error) error { return &DeadLetterError{Err: err} }

// DeadLetterAt gives up on some events of a batch, by their places in it. The others count as handled, and what the handler
// returned beside the error is written. Without places, or with one that the batch does not have, it ends the run like any other error.
func DeadLetterAt(err error, indexes ...int) error {
	return &DeadLetterError{Indexes: append([]int{}, indexes...), Err: err}
}

// errPlace reports a DeadLetterAt that names events which the batch does not have, or none.
var errPlace = errors.New("DeadLetterAt names no event of the batch")

// check reports places that a batch of n events does not have: their events would count as handled, and be in no letter.
func (e *DeadLetterError) check(n int) error {
	if e.Indexes == nil {
		return nil
	}
	for _, i := range e.Indexes {
		if i < 0 || i >= n {
			return fmt.Errorf("%w: %d of %d", errPlace, i, n)
		}
	}
	if len(e.Indexes) == 0 {
		return errPlace
	}
	return nil
}

// Error returns the reason.
func (e *DeadLetterError) Error() string { return "dead letter: " + text(e.Err) }

// Unwrap returns the reason.
func (e *DeadLetterError) Unwrap() error { return e.Err }

// RetryError is made by RetryAfter.
type RetryError struct {
	// After is how long to wait.
	After time.Duration
	// Err is why.
	Err error
}

// RetryAfter has the handler called again with the same event, or batch, after d: here, if the run still lasts so long, else
// the run ends with the *RetryError, and whoever runs the bot should run it again after d. Later events wait meanwhile.
func RetryAfter(d time.Duration, err error) error { return &RetryError{After: d, Err: err} }

// Error returns the reason.
func (e *RetryError) Error() string { return fmt.Sprintf("retry after %s: %s", e.After, text(e.Err)) }

// Unwrap returns the reason.
func (e *RetryError) Unwrap() error { return e.Err }

// StopError is made by StopWithoutCheckpoint.
type StopError struct{}

// StopWithoutCheckpoint ends the run without an error and without moving past the event. What was handled before is finished
// and checkpointed.
func StopWithoutCheckpoint() error { return &StopError{} }

// Error says what was asked for.
func (*StopError) Error() string { return "stop without checkpoint" }

// stops tells whether all that err says is to stop. A failure beside it remains one.
func stops(err error) bool {
	switch e := err.(type) { //nolint:errorlint // It walks the whole tree itself.
	case *StopError:
		return true
	case *RetryError:
		return false // It has to reach whoever runs the bot.
	case interface{ Unwrap() error }:
		return stops(e.Unwrap())
	case interface{ Unwrap() []error }:
		return !slices.ContainsFunc(e.Unwrap(), func(part error) bool { return !stops(part) })
	}
	return false
}

// PartialError is made by HandledFirst.
type PartialError struct {
	// Done is how many events, from the first of the batch, are dealt with.
	Done int
	// Err is what went wrong with the next.
	Err error
}

// HandledFirst says that the first n events of a batch are dealt with, and that err came next. The run ends with err, and the
// position moves past the n events.
func HandledFirst(n int, err error) error { return &PartialError{Done: n, Err: err} }

// Error returns the cause.
func (e *PartialError) Error() string {
	return fmt.Sprintf("after %d events of the batch: %s", e.Done, text(e.Err))
}

// Unwrap returns the cause.
func (e *PartialError) Unwrap() error { return e.Err }

func text(err error) string {
	if err == nil {
		return "no reason given"
	}
	return err.Error()
}

// PanicError is a panic of a function that the program gave: a handler, or one of the options' functions where a goroutine of this
// package calls it. It ends the run, the read or the Writer like any other error.
type PanicError struct {
	// Value is what the function panicked with, Stack where.
	Value any
	Stack []byte
}

// Error returns value and stack.
func (e *PanicError) Error() string {
	return fmt.Sprintf("the program's code panicked: %v\n%s", e.Value, e.Stack)
}

// protect calls code of the program and returns a panic of it as an error.
func protect(fn func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return fn()
}
