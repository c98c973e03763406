package rstreams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
)

// ErrDecode reports a payload that does not fit the Go type it is wanted as. Callers should pass over the event, or return
// DeadLetter with the error.
var ErrDecode = errors.New("payload does not decode")

// Decode returns the event's payload as a T. Numbers keep their digits if T has json.Number or json.RawMessage for them. The
// error wraps ErrDecode.
func Decode[T any](e Event) (T, error) {
	var v T
	if err := json.Unmarshal(e.Payload, &v); err != nil {
		return v, wrap("decode", e.Queue, e.EID, fmt.Errorf("%w: %w", ErrDecode, err))
	}
	return v, nil
}

// Typed is an event with its payload decoded.
type Typed[T any] struct {
	Event
	// Value is the payload.
	Value T
}

// ReadTyped is Bus.Read with decoded payloads. A payload that does not decode ends the read with ErrDecode.
func ReadTyped[T any](ctx context.Context, b *Bus, queue string, o ReadOptions) iter.Seq2[Typed[T], error] {
	return func(yield func(Typed[T], error) bool) {
		for e, err := range b.Read(ctx, queue, o) {
			if err != nil {
				yield(Typed[T]{}, err)
				return
			}
			v, err := Decode[T](e)
			if !yield(Typed[T]{Event: e, Value: v}, err) || err != nil {
				return
			}
		}
	}
}

// HandlerOf makes a Handler of a function that takes decoded payloads. A payload that does not decode is an error of the
// handler, wrapping ErrDecode: it ends the run. Wrap the Handler to answer it with DeadLetter.
func HandlerOf[In any](h func(ctx context.Context, in In, e Event) (Result, error)) Handler {
	return func(ctx context.Context, e Event) (Result, error) {
		in, err := Decode[In](e)
		if err != nil {
			return Result{}, err
		}
		return h(ctx, in, e)
	}
}

// EnrichTyped is Bus.Enrich for a function that makes exactly one event of each, of decoded payloads. Filters and functions
// with several results use HandlerOf.
func EnrichTyped[In, Out any](
	ctx context.Context, b *Bus, o EnrichOptions, h func(ctx context.Context, in In) (Out, error),
) (RunStats, error) {
	return b.Enrich(ctx, o, HandlerOf(func(ctx context.Context, in In, _ Event) (Result, error) {
		out, err := h(ctx, in)
		if err != nil {
			return Result{}, err
		}
		return Emit(out), nil
	}))
}

// OffloadTyped is Bus.Offload with decoded payloads.
func OffloadTyped[In any](
	ctx context.Context, b *Bus, o OffloadOptions, h func(ctx context.Context, in In, e Event) error,
) (RunStats, error) {
	return b.Offload(ctx, o, func(ctx context.Context, e Event) error {
		in, err := Decode[In](e)
		if err != nil {
			return err
		}
		return h(ctx, in, e)
	})
}
